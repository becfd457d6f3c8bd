"""Distances between the outlines of a predicted mask and of its reference.

The outline of a mask are its pixels with a neighbour (of four) outside it; pixels at the picture's border
belong to it. Distances run between pixel centres, in the unit of ``spacing``.

**Empty masks.** Both empty: distance 0, surface Dice 1. One empty, that is, a missed or an invented object:
the distance is the picture's diagonal, which no real distance exceeds, and surface Dice is 0. Elsewhere such
a case is NaN or infinite and drops out of the mean, so that missing an object improves the result.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scalefuse.errors import InputError
from scalefuse.metrics.segmentation.masks import PIXELS, Mask, Spacing, check_masks, check_spacing


class SurfaceDistances(NamedTuple):
    """Distances between two outlines.

    Attributes:
        from_pred: of every outline pixel of the prediction to the nearest one of the reference, ``(n,)``.
        from_target: the other way round, ``(m,)``.
        diagonal: of the picture, in the same unit: what a miss counts.
    """

    from_pred: NDArray[np.float64]
    from_target: NDArray[np.float64]
    diagonal: float

    @property
    def hd95(self) -> float:
        """The larger of the two 95th percentiles."""
        return max(_percentile_95(self.from_pred), _percentile_95(self.from_target))

    @property
    def assd(self) -> float:
        """Mean of all distances of both directions."""
        both = np.concatenate([self.from_pred, self.from_target])
        return float(both.mean()) if both.size else 0.0

    def surface_dice(self, tolerance: float) -> float:
        """Share of both outlines that lies within ``tolerance`` of the other one."""
        if not self.from_pred.size and not self.from_target.size:
            return 1.0
        # A miss counts the diagonal; a tolerance beyond it would make the miss a hit.
        limit = min(tolerance, np.nextafter(self.diagonal, 0))
        near = np.count_nonzero(self.from_pred <= limit) + np.count_nonzero(self.from_target <= limit)
        return float(near) / (self.from_pred.size + self.from_target.size)


def surface_distances(
    pred: NDArray[Any], target: NDArray[Any], spacing: Spacing = PIXELS
) -> SurfaceDistances:
    """Measure the outlines once, for several measures.

    Args:
        pred: mask ``(H, W)``.
        target: reference mask ``(H, W)``.
        spacing: mm between rows and between columns; (1, 1) counts in pixels.

    Raises:
        InputError: the sizes differ, the values are no mask, or the spacing is not positive.

    Example:
        >>> surface_distances(np.array([[1, 0, 0]]), np.array([[0, 0, 1]])).from_pred
        array([2.])
    """
    pred, target = check_masks(pred, target)
    spacing = check_spacing(spacing)
    diagonal = float(np.hypot(pred.shape[0] * spacing[0], pred.shape[1] * spacing[1]))
    pred_edge, target_edge = _outline(pred), _outline(target)
    # Only the part that holds both outlines matters; the distance transform of the rest would be thrown away.
    part = _bounding_box(pred_edge | target_edge)
    pred_edge, target_edge = pred_edge[part], target_edge[part]
    return SurfaceDistances(
        _distances(pred_edge, target_edge, spacing, diagonal),
        _distances(target_edge, pred_edge, spacing, diagonal),
        diagonal,
    )


def hd95(pred: NDArray[Any], target: NDArray[Any], spacing: Spacing = PIXELS) -> float:
    """95 % Hausdorff distance: the larger of the two directed 95th percentiles.

    Percentiles are interpolated linearly. Empty masks as the module says.

    Reference: Huttenlocher et al. 1993 for the distance; the percentile as in MONAI, which this equals where
    both masks hold something.

    Args:
        pred: mask ``(H, W)``.
        target: reference mask ``(H, W)``.
        spacing: mm between rows and between columns; (1, 1) counts in pixels.

    Raises:
        InputError: the sizes differ, the values are no mask, or the spacing is not positive.

    Example:
        >>> hd95(np.array([[1, 0, 0]]), np.array([[0, 0, 1]]), (1.0, 0.5))
        1.0
        >>> hd95(np.zeros((3, 4), bool), np.ones((3, 4), bool))
        5.0
    """
    return surface_distances(pred, target, spacing).hd95


def assd(pred: NDArray[Any], target: NDArray[Any], spacing: Spacing = PIXELS) -> float:
    """Average symmetric surface distance: mean over the pixels of both outlines.

    Empty masks as the module says.

    Args:
        pred: mask ``(H, W)``.
        target: reference mask ``(H, W)``.
        spacing: mm between rows and between columns; (1, 1) counts in pixels.

    Raises:
        InputError: the sizes differ, the values are no mask, or the spacing is not positive.

    Example:
        >>> assd(np.array([[1, 1, 0]]), np.array([[1, 0, 0]])).__round__(3)
        0.333
    """
    return surface_distances(pred, target, spacing).assd


def surface_dice(
    pred: NDArray[Any], target: NDArray[Any], spacing: Spacing = PIXELS, *, tolerance: float = 2.0
) -> float:
    """Normalised surface Dice: share of both outlines that lies within a tolerance of the other one.

    Empty masks as the module says.

    Reference: Nikolov et al. 2021, "Clinically applicable segmentation of head and neck anatomy", equation 3.
    Outline pixels are counted, not weighted by the length of the contour through them.

    Args:
        pred: mask ``(H, W)``.
        target: reference mask ``(H, W)``.
        spacing: mm between rows and between columns; (1, 1) counts in pixels.
        tolerance: accepted distance, in the unit of ``spacing``; zero or more.

    Raises:
        InputError: the sizes differ, the values are no mask, the spacing is not positive, or the tolerance
            is negative.

    Example:
        >>> surface_dice(np.array([[1, 0, 0]]), np.array([[0, 0, 1]]), tolerance=1.0)
        0.0
        >>> surface_dice(np.array([[1, 0, 0]]), np.array([[0, 0, 1]]), tolerance=2.0)
        1.0
    """
    if not tolerance >= 0:
        raise InputError(f"Expected a tolerance of zero or more, but got {tolerance}.")
    return surface_distances(pred, target, spacing).surface_dice(tolerance)


def _outline(mask: Mask) -> Mask:
    inside = np.zeros_like(mask)
    inside[1:-1, 1:-1] = (
        mask[1:-1, 1:-1] & mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
    )
    return mask & ~inside


def _bounding_box(mask: Mask) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return slice(0, 0), slice(0, 0)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _distances(edge: Mask, to: Mask, spacing: Spacing, diagonal: float) -> NDArray[np.float64]:
    if not edge.any() or not to.any():
        return np.full(int(np.count_nonzero(edge)), diagonal)
    from scipy.ndimage import distance_transform_edt

    distances: NDArray[np.float64] = distance_transform_edt(~to, sampling=spacing)[edge]
    return distances


def _percentile_95(distances: NDArray[np.float64]) -> float:
    return float(np.percentile(distances, 95)) if distances.size else 0.0
