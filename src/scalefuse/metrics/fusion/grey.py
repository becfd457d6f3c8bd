"""The one argument check of every fusion measure: grey images of one size with values in 0–255."""

import sys
from typing import TYPE_CHECKING, TypeAlias, Union

import numpy as np
import numpy.typing as npt

from scalefuse.errors import InputError

if TYPE_CHECKING:
    import torch

GreyImage: TypeAlias = Union[npt.ArrayLike, "torch.Tensor"]
"""What the measures accept: an array or a tensor ``(H, W)``, integer or float, values 0–255."""

FloatImage: TypeAlias = npt.NDArray[np.float64]


def _to_numpy(image: GreyImage, name: str) -> np.ndarray:
    # A tensor can only arrive where torch has been imported, so this module never has to import it.
    torch_module = sys.modules.get("torch")
    if torch_module is not None and isinstance(image, torch_module.Tensor):
        if image.is_complex():
            raise InputError(f"Expected real grey values for {name} but got a tensor of {image.dtype}.")
        if image.dtype == torch_module.bool:
            raise InputError(
                f"Expected grey values 0–255 for {name} but got booleans. Multiply a mask by 255."
            )
        return np.asarray(image.detach().cpu().to(torch_module.float64).numpy())
    return np.asarray(image)


def as_grey(image: GreyImage, name: str = "image", *, min_size: int = 1, measure: str = "") -> FloatImage:
    """Check a grey image and return it as float64.

    Args:
        image: Array or tensor ``(H, W)`` of any integer or float type, values 0–255.
        name: What to call the image in a message.
        min_size: Smallest height and width that the measure can work on.
        measure: The measure's name, for the message about the size.

    Returns:
        The same values as a float64 array ``(H, W)``. Nothing is rounded or rescaled.

    Raises:
        InputError: The image is not two-dimensional, too small, complex, boolean or not numeric, or holds NaN
            or values outside 0–255.

    Example:
        >>> as_grey([[0, 128], [64, 255]]).dtype
        dtype('float64')
    """
    array = _to_numpy(image, name)
    if array.ndim != 2:
        raise InputError(
            f"Expected {name} as one grey image (H, W) but got shape {array.shape}. "
            "Pass one image and one channel at a time; for colour pass the luma."
        )
    if array.dtype.kind not in "iuf":
        raise InputError(
            f"Expected {name} as real numbers 0–255 (integer or float) but got values of type {array.dtype}."
        )
    if min(array.shape) < max(min_size, 1):
        raise InputError(
            f"Expected {name} of at least {max(min_size, 1)}×{max(min_size, 1)} pixels"
            f"{f' for {measure}' if measure else ''} but got {array.shape[0]}×{array.shape[1]}. "
            "Leave this measure out for images this small, or measure the uncropped image."
        )
    grey = array.astype(np.float64)
    low, high = float(grey.min()), float(grey.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        count = int(np.count_nonzero(~np.isfinite(grey)))
        raise InputError(f"Expected finite values in {name} but {count} of {grey.size} are NaN or infinite.")
    if low < 0 or high > 255:
        raise InputError(
            f"Expected values 0–255 in {name} but got {low:g} to {high:g}. "
            "Rescale or clip to what would be written as an 8-bit picture."
        )
    return grey


def as_grey_triple(
    fused: GreyImage, a: GreyImage, b: GreyImage, *, min_size: int = 1, measure: str = ""
) -> tuple[FloatImage, FloatImage, FloatImage]:
    """Check a fused image and its two sources together.

    Args:
        fused: The fused image ``(H, W)``, values 0–255.
        a: The first source, same shape.
        b: The second source, same shape.
        min_size: Smallest height and width that the measure can work on.
        measure: The measure's name, for the message about the size.

    Returns:
        The three images as float64 arrays.

    Raises:
        InputError: One of them is not a grey image of values 0–255 (see :func:`as_grey`), or shapes differ.

    Example:
        >>> import numpy as np
        >>> as_grey_triple(np.zeros((4, 4)), np.zeros((4, 4)), np.zeros((4, 5)))
        Traceback (most recent call last):
        ...
        scalefuse.errors.InputError: Expected one shape for all images but fused is 4×4 and source b is 4×5...
    """
    images = tuple(
        as_grey(image, name, min_size=min_size, measure=measure)
        for image, name in ((fused, "the fused image"), (a, "source a"), (b, "source b"))
    )
    for image, name in zip(images[1:], ("source a", "source b"), strict=True):
        if image.shape != images[0].shape:
            raise InputError(
                f"Expected one shape for all images but fused is {images[0].shape[0]}×{images[0].shape[1]} "
                f"and {name} is {image.shape[0]}×{image.shape[1]}. Register and resample to one grid first."
            )
    return images[0], images[1], images[2]


def as_fused(
    fused: GreyImage, a: GreyImage | None, b: GreyImage | None, *, min_size: int = 1, measure: str = ""
) -> FloatImage:
    """Check the fused image of a measure that needs no sources; sources that are given must fit all the same.

    Args:
        fused: The fused image ``(H, W)``, values 0–255.
        a: The first source or None.
        b: The second source or None.
        min_size: Smallest height and width that the measure can work on.
        measure: The measure's name, for the message about the size.

    Returns:
        The fused image as a float64 array.

    Raises:
        InputError: As :func:`as_grey_triple`.

    Example:
        >>> as_fused([[1, 2]], None, None)
        array([[1., 2.]])
    """
    if a is None and b is None:
        return as_grey(fused, "the fused image", min_size=min_size, measure=measure)
    first = a if a is not None else b
    second = b if b is not None else a
    assert first is not None
    assert second is not None
    return as_grey_triple(fused, first, second, min_size=min_size, measure=measure)[0]
