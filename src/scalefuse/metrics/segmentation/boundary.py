"""Boundary IoU: overlap of the two masks' rims."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalefuse.errors import InputError
from scalefuse.metrics.segmentation.masks import Mask, check_masks
from scalefuse.metrics.segmentation.overlap import count


def boundary_iou(pred: NDArray[Any], target: NDArray[Any], *, dilation_ratio: float = 0.02) -> float:
    """Intersection over union of the parts of both masks that lie near their own outlines.

    Plain IoU of a large object hardly sees its outline; this measure sees nothing else. The rim is as wide as
    ``dilation_ratio`` times the picture's diagonal, at least one pixel. Two empty masks give 1, one empty
    mask gives 0.

    Reference: Cheng et al. 2021, "Boundary IoU", equation 1, with the paper's 2 % of the diagonal; the rim
    is what erosion with a 3×3 square, once per pixel of width, takes away. Outside the picture counts as
    background.

    Args:
        pred: mask ``(H, W)``.
        target: reference mask ``(H, W)``.
        dilation_ratio: width of the rim as a part of the diagonal, above 0.

    Raises:
        InputError: the sizes differ, the values are no mask, or the ratio is not positive.

    Example:
        >>> square = np.zeros((8, 8), bool)
        >>> square[1:6, 1:6] = True
        >>> round(boundary_iou(square, np.roll(square, 1, axis=1)), 3)
        0.333
    """
    if not dilation_ratio > 0:
        raise InputError(f"Expected a dilation ratio above 0, such as 0.02, but got {dilation_ratio}.")
    pred, target = check_masks(pred, target)
    width = max(1, round(dilation_ratio * float(np.hypot(*pred.shape))))
    return count(_rim(pred, width), _rim(target, width)).iou


def _rim(mask: Mask, width: int) -> Mask:
    from scipy.ndimage import minimum_filter

    # Eroding w times with a 3×3 square is eroding once with a (2w+1)×(2w+1) square, which is separable.
    eroded = minimum_filter(mask.view(np.uint8), size=2 * width + 1, mode="constant", cval=0)
    edge: NDArray[np.bool_] = mask & ~eroded.view(np.bool_)
    return edge
