"""From a picture to what a classifier takes: one place for training, prediction and export."""

import math
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from scalefuse.data.colour import to_luma_chroma
from scalefuse.data.image import Image
from scalefuse.data.intensity import IntensityRange, resolve_intensity, to_unit
from scalefuse.data.pixels import as_pixels, is_pil, is_tensor
from scalefuse.errors import InputError
from scalefuse.schema import Schema

MIN_SIDE = 2
"""A picture with fewer rows or columns is refused: there is nothing to see on it."""

CROP_MARGIN = 8 / 7
"""The short side over the side that is cut from the middle, as 256 over 224."""

Fit = Literal["resize", "pad", "crop"]


class ClassificationPreprocessing(Schema):
    """How a picture becomes the input of a classifier; stored in its bundle.

    Attributes:
        size: height and width of the input.
        fit: ``resize`` stretches the whole picture; ``pad`` keeps its proportions and fills with 0 (black) on
            both sides; ``crop`` keeps them too, brings the short side to 8/7 of the size and cuts out the
            middle.
        intensity: values that become 0 and 1; needed for DICOM, NIfTI and floating-point pictures.
        mean: taken from all values, which lie in [0, 1] before.
        std: what is left is divided by it.
        multi_label: whether a picture may carry several labels.

    Example:
        >>> ClassificationPreprocessing(size=(28, 28)).fit
        'resize'
    """

    size: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]
    fit: Fit = "resize"
    intensity: IntensityRange | None = None
    mean: float = 0.5
    std: Annotated[float, Field(gt=0)] = 0.5
    multi_label: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not math.isfinite(self.mean) or not math.isfinite(self.std):
            raise ValueError(f"mean {self.mean} and std {self.std} must be finite")
        return self


def prepare(
    image: Image | NDArray[Any], preprocessing: ClassificationPreprocessing, in_channels: int
) -> Tensor:
    """Bring a picture to the size, channels and range that a classifier takes.

    Transparency is dropped without blending, as reading does; 16-bit values keep their steps.

    Args:
        image: a picture, or its pixels ``(H, W)`` or ``(H, W, C)`` with 1 to 4 channels, where the second of
            two and the fourth of four are transparency; of 8 or 16 bits, or real numbers in [0, 1].
        preprocessing: how.
        in_channels: 1 (colour becomes luma) or 3 (grey is repeated).

    Returns:
        ``(C, H, W)`` float32, values in [0, 1].

    Raises:
        InputError: fewer than two rows or columns, NaN or infinite values, another number of channels, or no
            intensity range for pixels that need one.

    Example:
        >>> grey = np.full((40, 60), 51, np.uint8)
        >>> tensor = prepare(grey, ClassificationPreprocessing(size=(28, 28), fit="pad"), 3)
        >>> tensor.shape, tensor[0, 0, 0].item(), round(tensor[0, 14, 14].item(), 3)
        (torch.Size([3, 28, 28]), 0.0, 0.2)
    """
    unit = to_unit_tensor(image, preprocessing.intensity, in_channels)
    return fit_image(unit, preprocessing.size, preprocessing.fit).expand(in_channels, -1, -1).contiguous()


def standardise(tensor: Tensor, preprocessing: ClassificationPreprocessing) -> Tensor:
    """Subtract the mean and divide by the standard deviation of the preprocessing.

    Args:
        tensor: any shape, values in [0, 1].
        preprocessing: has the two numbers.

    Example:
        >>> standardise(torch.tensor([0.0, 1.0]), ClassificationPreprocessing(size=(8, 8))).tolist()
        [-1.0, 1.0]
    """
    return (tensor - preprocessing.mean) / preprocessing.std


def to_unit_tensor(image: Image | NDArray[Any], intensity: IntensityRange | None, in_channels: int) -> Tensor:
    """The values of a picture as a tensor, at its own size.

    Args:
        image: as for :func:`prepare`.
        intensity: values that become 0 and 1; ``None`` for the whole range of 8- and 16-bit pictures.
        in_channels: 1 or 3.

    Returns:
        ``(C, H, W)`` float32 in [0, 1]; one channel also for 3 where all three are equal.

    Raises:
        InputError: as :func:`prepare`.

    Example:
        >>> to_unit_tensor(np.zeros((5, 7, 4), np.uint16), None, 3).shape
        torch.Size([1, 5, 7])
    """
    if in_channels not in (1, 3):
        raise InputError(f"Expected a classifier of 1 or 3 input channels, but got {in_channels}.")
    if not isinstance(image, Image):
        image = _from_array(image)
        if intensity is None and image.pixels.dtype.kind == "f":
            intensity = _of_unit_values(image.pixels)
    height, width = image.size
    if min(height, width) < MIN_SIDE:
        raise InputError(
            f"{image.label}: has {height}×{width} pixel(s) (height×width), but at least "
            f"{MIN_SIDE}×{MIN_SIDE} are needed; take it away or export it again."
        )
    if image.num_channels not in (1, 3):
        raise InputError(
            f"{image.label}: has {image.num_channels} channels, but classifiers see grey or colour; give one "
            "of these."
        )
    unit, _ = to_unit(image.pixels, resolve_intensity(image, intensity))
    if unit.ndim == 3:
        if bool((unit[..., :1] == unit[..., 1:]).all()):
            unit = np.ascontiguousarray(unit[..., 0])
        elif in_channels == 1:
            unit = to_luma_chroma(unit)[0]
    tensor = torch.from_numpy(np.ascontiguousarray(unit))
    return tensor[None] if tensor.ndim == 2 else tensor.permute(2, 0, 1).contiguous()


def fit_image(image: Tensor, size: tuple[int, int], fit: Fit) -> Tensor:
    """Bring an image to a size; bilinear, with antialiasing where it shrinks.

    Args:
        image: ``(C, H, W)`` floating point.
        size: height and width.
        fit: see :class:`ClassificationPreprocessing`.

    Returns:
        ``(C, *size)``.

    Example:
        >>> fit_image(torch.ones(1, 10, 20), (8, 8), "pad")[0, :, 4].round(decimals=5).tolist()
        [0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0]
    """
    scaled, (top, left) = fit_geometry((image.shape[-2], image.shape[-1]), size, fit)
    resized = _resize(image, scaled)
    if fit == "pad":
        bottom, right = size[0] - scaled[0] + top, size[1] - scaled[1] + left
        return F.pad(resized, (-left, right, -top, bottom))
    return resized[:, top : top + size[0], left : left + size[1]]


def fit_geometry(
    picture: tuple[int, int], size: tuple[int, int], fit: Fit
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Where the input of a classifier lies on a picture.

    Args:
        picture: height and width of the picture.
        size: height and width of the input.
        fit: see :class:`ClassificationPreprocessing`.

    Returns:
        Height and width to which the picture is resized, and (top, left) of the input on that; negative
        where the input begins before it, in the filling of ``pad``.

    Example:
        >>> fit_geometry((10, 20), (8, 8), "pad"), fit_geometry((20, 20), (7, 7), "crop")
        (((4, 8), (-2, 0)), ((8, 8), (0, 0)))
    """
    if fit == "resize":
        return size, (0, 0)
    if fit == "pad":
        factor = min(size[0] / picture[0], size[1] / picture[1])
        scaled = max(1, round(picture[0] * factor)), max(1, round(picture[1] * factor))
        return scaled, (-((size[0] - scaled[0]) // 2), -((size[1] - scaled[1]) // 2))
    factor = max(size[0] / picture[0], size[1] / picture[1]) * CROP_MARGIN
    scaled = max(size[0], round(picture[0] * factor)), max(size[1], round(picture[1] * factor))
    return scaled, ((scaled[0] - size[0]) // 2, (scaled[1] - size[1]) // 2)


def _resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(image.shape[-2:]) == size:
        return image
    resized = F.interpolate(image[None], size=size, mode="bilinear", align_corners=False, antialias=True)[0]
    return resized.clamp_(0, 1)


def _of_unit_values(pixels: NDArray[Any]) -> IntensityRange:
    low, high = float(pixels.min(initial=0)), float(pixels.max(initial=0))
    if low < 0 or high > 1:
        raise InputError(
            f"Expected real numbers in [0, 1], but got values from {low:g} to {high:g}; choose which values "
            "become 0 and 1, such as intensity='percentile:1:99'."
        )
    return IntensityRange.parse("range:0:1")


def _from_array(pixels: NDArray[Any]) -> Image:
    pixels = as_pixels(pixels)
    if pixels.ndim == 3 and pixels.shape[2] in (1, 2):
        pixels = pixels[..., 0]
    elif pixels.ndim == 3 and pixels.shape[2] == 4:
        pixels = pixels[..., :3]
    if pixels.ndim != 2 and not (pixels.ndim == 3 and pixels.shape[2] == 3):
        raise InputError(
            f"Expected a picture of shape (H, W) or (H, W, C) with 1 to 4 channels, but got {pixels.shape}."
        )
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise InputError("The picture holds NaN or infinite values, but all must be finite; replace them.")
    return Image(pixels.astype(np.uint8) * 255 if pixels.dtype.kind == "b" else pixels)


def is_single(images: object) -> bool:
    """Whether what should be several pictures is one of them, whose rows must not be taken for pictures.

    Example:
        >>> is_single(np.zeros((64, 50, 3))), is_single(np.zeros((8, 64, 50)))
        (True, False)
    """
    if is_tensor(images):
        # PyTorch's own order has the channels first.
        shape = tuple(cast("Tensor", images).shape)
        return len(shape) < 3 or (len(shape) == 3 and (shape[0] in (1, 3) or shape[2] in (3, 4)))
    if isinstance(images, np.ndarray):
        # Nobody's grey pictures are three or four pixels wide.
        return images.ndim < 3 or images.shape[2:] in ((3,), (4,))
    one = isinstance(images, Image | str | Path) or is_pil(images)
    return one or not hasattr(images, "__iter__")
