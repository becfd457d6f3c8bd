"""Random changes to the training images of a classifier."""

import math
from typing import Annotated, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from scalefuse.data.augmentation import AugmentationConfig, Probability, Strength
from scalefuse.data.augmentation_intensity import jitter_intensity
from scalefuse.data.classification_input import CROP_MARGIN, Fit
from scalefuse.schema import Schema


class ClassificationAugmentation(Schema):
    """How often and how much training images are changed. A probability of 0 turns a change off.

    Attributes:
        crop: probability of showing a random part of the image instead of the whole.
        crop_scale: smallest and largest share of the image's area that a part has.
        crop_ratio: largest factor by which a part is wider or higher than the whole. 1 is none.
        flip_horizontal: probability of mirroring left and right.
        flip_vertical: probability of mirroring top and bottom.
        quarter_turns: probability of a random turn by a multiple of 90°.
        affine: probability of rotation, shear and shift together.
        rotation_degrees: largest angle, either way.
        shear_degrees: largest angle, either way.
        shift: largest shift, as a share of the height and width.
        num_values: of the changes of values below (brightness and contrast together, colour, gamma, blur,
            noise), how many are drawn for an image, as in RandAugment; each is drawn with its strength.
        brightness: largest shift of all values, which lie in [0, 1].
        contrast: largest factor is 1 plus this, smallest is 1 divided by that.
        saturation: as ``contrast``; colour images only.
        hue: largest turn of the hue, as a share of the full circle; colour images only.
        gamma: largest exponent is 1 plus this, smallest is 1 divided by that.
        blur_sigma: largest standard deviation of a Gaussian blur, in pixels.
        noise_std: largest standard deviation of Gaussian noise; values lie in [0, 1].
        erase: probability of painting over a random rectangle with the image's mean.
        erase_scale: smallest and largest share of the image's area that the rectangle has.

    Example:
        >>> ClassificationAugmentation.off().crop
        0.0
    """

    crop: Probability = 1.0
    crop_scale: tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(gt=0, le=1)]] = (0.5, 1.0)
    crop_ratio: Annotated[float, Field(ge=1, le=4)] = 1.33
    flip_horizontal: Probability = 0.5
    flip_vertical: Probability = 0.0
    quarter_turns: Probability = 0.0
    affine: Probability = 0.5
    rotation_degrees: Annotated[float, Field(ge=0, le=180)] = 15.0
    shear_degrees: Annotated[float, Field(ge=0, le=60)] = 5.0
    shift: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    num_values: Annotated[int, Field(ge=0, le=5)] = 2
    brightness: Annotated[float, Field(ge=0, le=1)] = 0.15
    contrast: Strength = 0.3
    saturation: Strength = 0.2
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.02
    gamma: Strength = 0.4
    blur_sigma: Annotated[float, Field(ge=0, le=16)] = 1.0
    noise_std: Annotated[float, Field(ge=0, le=1)] = 0.03
    erase: Probability = 0.0
    erase_scale: tuple[Annotated[float, Field(gt=0, lt=1)], Annotated[float, Field(gt=0, lt=1)]] = (0.02, 0.2)

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in ("crop_scale", "erase_scale"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} is ({low}, {high}); the first number must not be above the second")
        return self

    @classmethod
    def off(cls) -> "ClassificationAugmentation":
        """No changes at all.

        Example:
            >>> ClassificationAugmentation.off().num_values
            0
        """
        none = dict.fromkeys(("crop", "flip_horizontal", "flip_vertical", "quarter_turns", "affine"), 0.0)
        return cls.model_validate({**none, "num_values": 0, "erase": 0.0})


def augment_image(
    image: Tensor,
    config: ClassificationAugmentation,
    rng: np.random.Generator,
    *,
    size: tuple[int, int],
    fit: Fit = "resize",
) -> Tensor:
    """Change an image at random and bring it to a size.

    Part, flips, turns, affine change and change of size are one sampling of the image: it is not blurred
    twice, and far faster than a chain of transforms. What lies outside of the image is its mirror image, or
    0 where ``fit`` is ``pad``. With all changes off it is what prediction sees, but for the sampling, which
    does not smooth: give images at most a little larger than ``size``. The outcome depends on the arguments
    and the state of ``rng`` only.

    Args:
        image: ``(C, H, W)`` floating point, values in [0, 1].
        config: what to do.
        rng: where the random numbers come from.
        size: height and width of the result.
        fit: as for :class:`scalefuse.data.classification_input.ClassificationPreprocessing`. For ``crop`` a
            part has the proportions of ``size`` and lies anywhere on the image, for the others those of the
            whole.

    Returns:
        ``(C, *size)`` float32, values in [0, 1].

    Reference: cropping as C. Szegedy et al., "Going deeper with convolutions", 2015, section 6; drawing a
    number of changes of values as E. D. Cubuk et al., "RandAugment", 2020, section 3, with strengths fixed by
    the configuration and without solarise, posterise and equalise, which make up findings or hide them;
    erasing as Z. Zhong et al., "Random erasing data augmentation", 2020, filled with the image's mean.

    Example:
        >>> image = torch.rand(1, 40, 50)
        >>> augment_image(image, ClassificationAugmentation(), np.random.default_rng(0), size=(32, 32)).shape
        torch.Size([1, 32, 32])
    """
    theta = torch.from_numpy(_sampling(config, rng, (image.shape[-2], image.shape[-1]), size, fit))
    grid = F.affine_grid(theta[None], [1, 1, *size], align_corners=False)
    outside = "zeros" if fit == "pad" else "reflection"
    moved = F.grid_sample(image[None], grid, mode="bilinear", padding_mode=outside, align_corners=False)[0]
    moved = jitter_intensity(moved.clamp_(0, 1), _draw_values(config, rng, len(image)), rng)
    return _erase(moved, config, rng) if rng.random() < config.erase else moved


def _sampling(
    config: ClassificationAugmentation,
    rng: np.random.Generator,
    source: tuple[int, int],
    size: tuple[int, int],
    fit: Fit,
) -> NDArray[np.float32]:
    """``(2, 3)``: from places of the result to places of the image, both in [-1, 1] along each axis."""
    drawn = rng.random(5)
    part, centre = _part(config, rng, source, size, fit, random=drawn[0] < config.crop)
    # Matrices act on (x, y).
    matrix = np.diag([part[1] / size[1], part[0] / size[0]])
    if drawn[1] < config.affine:
        angle, shear = np.radians(rng.uniform(-1, 1, 2) * (config.rotation_degrees, config.shear_degrees))
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        matrix = turn @ np.array([[1.0, math.tan(shear)], [0.0, 1.0]]) @ matrix
        centre = centre + rng.uniform(-1, 1, 2) * config.shift * (part[1], part[0])
    flips = np.where(drawn[2:4] < (config.flip_horizontal, config.flip_vertical), -1.0, 1.0)
    quarters = int(rng.integers(4)) if drawn[4] < config.quarter_turns else 0
    if size[0] != size[1]:
        quarters = 2 * (quarters // 2)
    turn = np.linalg.matrix_power(np.array([[0.0, -1.0], [1.0, 0.0]]), quarters)
    halves = np.array([source[1], source[0]]) / 2
    linear = (matrix @ turn @ np.diag(flips * np.array([size[1], size[0]]) / 2)) / halves[:, None]
    return np.concatenate([linear, (centre / halves)[:, None]], axis=1).astype(np.float32)


def _part(
    config: ClassificationAugmentation,
    rng: np.random.Generator,
    source: tuple[int, int],
    size: tuple[int, int],
    fit: Fit,
    *,
    random: bool,
) -> tuple[tuple[float, float], NDArray[np.float64]]:
    """Height and width of what is shown, in pixels of the image, and its middle (x, y) from the image's."""
    factors = (size[0] / source[0], size[1] / source[1])
    room: tuple[float, float] = source
    if fit == "pad":
        room = size[0] / min(factors), size[1] / min(factors)
    if not random:
        if fit == "crop":
            room = tuple(length / (max(factors) * CROP_MARGIN) for length in size)  # type: ignore[assignment]
        return room, np.zeros(2)
    area, ratio = rng.uniform(*config.crop_scale), config.crop_ratio ** (rng.uniform(-1, 1) / 2)
    height, width = math.sqrt(area) / ratio * room[0], math.sqrt(area) * ratio * room[1]
    if fit == "crop":
        # The proportions of the result at the same area, not those of the image.
        change = math.sqrt(factors[0] / factors[1])
        height, width = height * change, width / change
    part = min(height, room[0]), min(width, room[1])
    return part, rng.uniform(-0.5, 0.5, 2) * (room[1] - part[1], room[0] - part[0])


def _draw_values(
    config: ClassificationAugmentation, rng: np.random.Generator, channels: int
) -> AugmentationConfig:
    tone, colour = {"brightness", "contrast"}, {"saturation", "hue"} if channels == 3 else set()
    changes = [tone, colour, {"gamma"}, {"blur_sigma"}, {"noise_std"}]
    possible = [names for names in changes if any(getattr(config, name) > 0 for name in names)]
    places = rng.permutation(len(possible))[: config.num_values]
    drawn = {name for place in places for name in possible[place]}
    strengths = {name: getattr(config, name) if name in drawn else 0.0 for name in _STRENGTHS}
    strengths["gamma_strength"] = strengths.pop("gamma")
    chances = {
        "colour": float(bool(drawn & (tone | colour))),
        "gamma": float("gamma" in drawn),
        "blur": float("blur_sigma" in drawn),
        "noise": float("noise_std" in drawn),
    }
    return _OFF.model_copy(update={**strengths, **chances})


_OFF = AugmentationConfig.off()
_STRENGTHS = ("brightness", "contrast", "saturation", "hue", "gamma", "blur_sigma", "noise_std")


def _erase(image: Tensor, config: ClassificationAugmentation, rng: np.random.Generator) -> Tensor:
    height, width = image.shape[-2:]
    area, ratio = rng.uniform(*config.erase_scale) * height * width, 3 ** rng.uniform(-1, 1)
    rows = min(height, max(1, round(math.sqrt(area * ratio))))
    columns = min(width, max(1, round(math.sqrt(area / ratio))))
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    image[:, top : top + rows, left : left + columns] = image.mean(dim=(1, 2))[:, None, None]
    return image
