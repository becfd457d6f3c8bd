"""What every measure of a mask asks for first: two Boolean pictures of one size."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalefuse.errors import InputError

Mask = NDArray[np.bool_]
Spacing = tuple[float, float]
"""Distance between neighbouring rows and between neighbouring columns, in mm; (1, 1) counts in pixels."""

PIXELS: Spacing = (1.0, 1.0)


def check_masks(pred: NDArray[Any], target: NDArray[Any]) -> tuple[Mask, Mask]:
    """The two masks as Booleans.

    Whole numbers are taken where they are 0 and 1, or 0 and one other value such as 255.

    Args:
        pred: ``(H, W)``.
        target: ``(H, W)``.

    Raises:
        InputError: not two dimensions, no pixels, different sizes, or values that are no mask.

    Example:
        >>> check_masks(np.array([[0, 255]]), np.array([[True, False]]))[0]
        array([[False,  True]])
    """
    if pred.shape != target.shape or pred.ndim != 2 or 0 in pred.shape:
        raise InputError(
            f"Expected two masks (H, W) of one size, but got {pred.shape} and {target.shape}; "
            "bring the prediction to the size of the reference."
        )
    return _boolean(pred, "prediction"), _boolean(target, "reference")


def check_spacing(spacing: Spacing) -> Spacing:
    """The spacing, if both parts are positive.

    Raises:
        InputError: otherwise.

    Example:
        >>> check_spacing((0.5, 0.5))
        (0.5, 0.5)
    """
    if len(spacing) != 2 or not all(np.isfinite(part) and part > 0 for part in spacing):
        raise InputError(f"Expected a spacing (rows, columns) of positive mm, but got {spacing}.")
    return float(spacing[0]), float(spacing[1])


def _boolean(mask: NDArray[Any], name: str) -> Mask:
    if mask.dtype == np.bool_:
        return mask
    foreground: Mask = mask != 0
    values = mask[foreground]
    if values.size and (values != values[0]).any():
        raise InputError(
            f"Expected a {name} of 0 and one other value, but it holds several, such as {values.min()} and "
            f"{values.max()}; threshold it, or measure class by class."
        )
    return foreground
