"""Random changes to training images, and to their masks with them."""

from typing import Annotated, Self

import numpy as np
from pydantic import Field, model_validator
from torch import Tensor

from scalefuse.data.augmentation_geometry import View, flip_and_turn, sample_view, warp_grid
from scalefuse.data.augmentation_intensity import jitter_intensity
from scalefuse.schema import Schema

Probability = Annotated[float, Field(ge=0, le=1)]
Strength = Annotated[float, Field(ge=0)]


class AugmentationConfig(Schema):
    """How often and how much training images are changed. A probability of 0 turns a change off.

    Attributes:
        flip_horizontal: probability of mirroring left and right.
        flip_vertical: probability of mirroring top and bottom.
        quarter_turns: probability of a random turn by a multiple of 90° (180° only where not square).
        affine: probability of rotation, scaling, shear and shift together.
        rotation_degrees: largest angle, either way.
        scale: largest factor of zooming in or out; drawn evenly on a logarithmic axis. 1 is none.
        stretch: largest factor by which height and width are scaled apart. 1 is none.
        shear_degrees: largest angle, either way.
        shift: largest shift, as a share of the height and width.
        elastic: probability of a smooth random deformation.
        elastic_strength: standard deviation of the displacement, as a share of the size.
        elastic_points: control points of the deformation along each axis.
        colour: probability of a change of brightness, contrast, saturation and hue together.
        brightness: largest shift of all values, which lie in [0, 1].
        contrast: largest factor is 1 plus this, smallest is 1 divided by that.
        saturation: as ``contrast``; colour images only.
        hue: largest turn of the hue, as a share of the full circle; colour images only.
        grey: probability of taking the colour away.
        invert: probability of a negative, as dark stain on bright ground and the reverse.
        gamma: probability of a gamma curve.
        gamma_strength: largest exponent is 1 plus this, smallest is 1 divided by that.
        blur: probability of a Gaussian blur.
        blur_sigma: largest standard deviation, in pixels.
        noise: probability of Gaussian noise.
        noise_std: largest standard deviation; values lie in [0, 1].

    Example:
        >>> AugmentationConfig(hue=0.1).elastic_points
        5
        >>> AugmentationConfig.off().flip_vertical
        0.0
    """

    flip_horizontal: Probability = 0.5
    flip_vertical: Probability = 0.5
    quarter_turns: Probability = 0.5
    affine: Probability = 0.7
    rotation_degrees: Annotated[float, Field(ge=0, le=180)] = 30.0
    scale: Annotated[float, Field(ge=1, le=8)] = 1.3
    stretch: Annotated[float, Field(ge=1, le=4)] = 1.1
    shear_degrees: Annotated[float, Field(ge=0, le=60)] = 8.0
    shift: Annotated[float, Field(ge=0, le=0.5)] = 0.08
    elastic: Probability = 0.3
    elastic_strength: Annotated[float, Field(ge=0, le=0.2)] = 0.02
    elastic_points: Annotated[int, Field(ge=3, le=32)] = 5
    colour: Probability = 0.8
    brightness: Annotated[float, Field(ge=0, le=1)] = 0.15
    contrast: Strength = 0.3
    saturation: Strength = 0.3
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.03
    grey: Probability = 0.05
    invert: Probability = 0.0
    gamma: Probability = 0.3
    gamma_strength: Strength = 0.5
    blur: Probability = 0.15
    blur_sigma: Annotated[float, Field(ge=0, le=16)] = 1.2
    noise: Probability = 0.15
    noise_std: Annotated[float, Field(ge=0, le=1)] = 0.04

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.elastic > 0 and self.elastic_strength * (self.elastic_points - 1) > 0.5:
            raise ValueError(
                f"elastic_strength {self.elastic_strength} with {self.elastic_points} elastic_points would "
                "fold images over; choose fewer points or less strength"
            )
        return self

    @classmethod
    def off(cls) -> "AugmentationConfig":
        """No changes at all.

        Example:
            >>> AugmentationConfig.off().affine
            0.0
        """
        return cls.model_validate(dict.fromkeys(_PROBABILITIES, 0.0))


_PROBABILITIES = (
    "flip_horizontal",
    "flip_vertical",
    "quarter_turns",
    "affine",
    "elastic",
    "colour",
    "grey",
    "invert",
    "gamma",
    "blur",
    "noise",
)


def augment_pair(
    image: Tensor,
    mask: Tensor,
    config: AugmentationConfig,
    rng: np.random.Generator,
    *,
    size: tuple[int, int] | None = None,
    blend_mask: bool = True,
) -> tuple[Tensor, Tensor]:
    """Change an image at random, and its mask in the same way where places move.

    Everything that moves places is one sampling of the image (MONAI's and kornia's chains resample once for
    each step and are several times slower on a CPU). What lies outside of the image is its mirror image. The
    outcome depends on the arguments and the state of ``rng`` only.

    Args:
        image: ``(C, H, W)``, uint8, uint16 or floating point; floating-point values lie in [0, 1].
        mask: ``(M, H, W)``; 0 and 1, or class indices.
        config: what to do.
        rng: where the random numbers come from.
        size: height and width of a random crop, at the resolution of the image; ``None`` for the whole image.
        blend_mask: whether the mask is 0 and 1, so that it can be interpolated and thresholded at half;
            otherwise the nearest class is taken.

    Returns:
        Image ``(C, H', W')`` float32 in [0, 1], and mask ``(M, H', W')`` in its own type.

    Example:
        >>> import torch
        >>> image, mask = torch.rand(3, 40, 50), torch.ones(1, 40, 50)
        >>> config, rng = AugmentationConfig(), np.random.default_rng(0)
        >>> moved, marked = augment_pair(image, mask, config, rng, size=(32, 32))
        >>> moved.shape, marked.shape, marked.unique()
        (torch.Size([3, 32, 32]), torch.Size([1, 32, 32]), tensor([1.]))
    """
    height, width = image.shape[-2:]
    view = View.draw(rng, (height, width), size)
    grid = warp_grid(config, rng, view)
    moved, marked = sample_view(image, mask, view, grid, blend_mask=blend_mask)
    moved, marked = flip_and_turn(moved, marked, config, rng)
    return jitter_intensity(moved, config, rng), marked
