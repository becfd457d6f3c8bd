"""Random changes to the training images of a classifier."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from scalefuse.data.augmentation import Probability, Strength
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


class MixConfig(Schema):
    """How images of a batch are mixed with one another, and their targets with them.

    Attributes:
        probability: of mixing a batch.
        mixup: alpha of the beta distribution that mixup draws shares from; 0 turns it off.
        cutmix: alpha of the beta distribution that cutmix draws areas from; 0 turns it off. Where both are
            on, one of the two is drawn for each batch.

    Example:
        >>> MixConfig(mixup=0.2).cutmix
        0.0
    """

    probability: Probability = 1.0
    mixup: Strength = 0.0
    cutmix: Strength = 0.0
