"""Overlap over all pixels of all images together.

Pooled values are other quantities than means of per-image values: large objects decide them and a missed
small one vanishes in them. They carry their own names, ``pooled_…``, so that the two are never confused.
"""

from typing import Any

from numpy.typing import NDArray

from scalefuse.metrics.segmentation.overlap import Counts, count


class PooledOverlap:
    """Adds up pixels image by image.

    Example:
        >>> import numpy as np
        >>> pooled = PooledOverlap()
        >>> pooled.add(np.array([[1, 1]]), np.array([[1, 0]]))
        >>> pooled.add(np.array([[1, 1]]), np.array([[1, 1]]))
        >>> pooled.measures()["pooled_iou"]
        0.75
    """

    def __init__(self) -> None:
        self.counts = Counts(0, 0, 0, 0)

    def add(self, pred: NDArray[Any], target: NDArray[Any]) -> None:
        """Add one image.

        Args:
            pred: mask ``(H, W)``.
            target: reference mask ``(H, W)``.

        Raises:
            InputError: the sizes differ, or the values are no mask.
        """
        self.add_counts(count(pred, target))

    def add_counts(self, counts: Counts) -> None:
        """Add the counts of one image."""
        self.counts = Counts(*(total + one for total, one in zip(self.counts, counts, strict=True)))

    def measures(self) -> dict[str, float]:
        """``pooled_dice``, ``pooled_iou``, ``pooled_recall`` and ``pooled_precision``, in [0, 1].

        Empty denominators as in :mod:`scalefuse.metrics.segmentation.overlap`.
        """
        counts = self.counts
        return {
            "pooled_dice": counts.dice,
            "pooled_iou": counts.iou,
            "pooled_recall": counts.recall,
            "pooled_precision": counts.precision,
        }
