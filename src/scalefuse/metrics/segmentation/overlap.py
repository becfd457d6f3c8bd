"""Overlap of one predicted mask with its reference.

**Empty masks.** A ratio whose denominator is empty is 1 where the two masks agree that there is nothing, and
0 where they do not. So all measures are defined for every pair, an empty prediction of an empty image is
perfect, and a missed or an invented object never earns anything:

=========== ========== ==== === ====== =========
prediction  reference  Dice IoU recall precision
=========== ========== ==== === ====== =========
empty       empty      1    1   1      1
something   empty      0    0   0      0
empty       something  0    0   0      0
=========== ========== ==== === ====== =========

Specificity is the recall of the background, under the same rule.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scalefuse.metrics.segmentation.masks import check_masks


class Counts(NamedTuple):
    """Pixels of a mask against its reference.

    Attributes:
        true_positive: foreground in both.
        false_positive: foreground in the prediction only.
        false_negative: foreground in the reference only.
        true_negative: background in both.
    """

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int

    @property
    def dice(self) -> float:
        """2·TP / (2·TP + FP + FN)."""
        wrong = self.false_positive + self.false_negative
        return _ratio(2 * self.true_positive, wrong, agree=wrong == 0)

    @property
    def iou(self) -> float:
        """TP / (TP + FP + FN)."""
        wrong = self.false_positive + self.false_negative
        return _ratio(self.true_positive, wrong, agree=wrong == 0)

    @property
    def recall(self) -> float:
        """TP / (TP + FN)."""
        return _ratio(self.true_positive, self.false_negative, agree=self.false_positive == 0)

    @property
    def precision(self) -> float:
        """TP / (TP + FP)."""
        return _ratio(self.true_positive, self.false_positive, agree=self.false_negative == 0)

    @property
    def specificity(self) -> float:
        """TN / (TN + FP)."""
        return _ratio(self.true_negative, self.false_positive, agree=self.false_negative == 0)


def _ratio(hits: int, misses: int, *, agree: bool) -> float:
    return hits / (hits + misses) if hits + misses else float(agree)


def count(pred: NDArray[Any], target: NDArray[Any]) -> Counts:
    """Count the four kinds of pixels.

    Args:
        pred: mask ``(H, W)``.
        target: reference mask ``(H, W)``.

    Raises:
        InputError: the sizes differ, or the values are no mask.

    Example:
        >>> count(np.array([[1, 1, 0]]), np.array([[1, 0, 0]]))
        Counts(true_positive=1, false_positive=1, false_negative=0, true_negative=1)
    """
    pred, target = check_masks(pred, target)
    both = int(np.count_nonzero(pred & target))
    predicted, wanted = int(np.count_nonzero(pred)), int(np.count_nonzero(target))
    return Counts(both, predicted - both, wanted - both, pred.size - predicted - wanted + both)


def dice(pred: NDArray[Any], target: NDArray[Any]) -> float:
    """Dice coefficient (F1 of pixels), in [0, 1]; empty masks as the module says.

    Args:
        pred: mask ``(H, W)``.
        target: reference mask ``(H, W)``.

    Raises:
        InputError: the sizes differ, or the values are no mask.

    Example:
        >>> round(dice(np.array([[1, 1, 0]]), np.array([[1, 0, 0]])), 3)
        0.667
    """
    return count(pred, target).dice


def iou(pred: NDArray[Any], target: NDArray[Any]) -> float:
    """Intersection over union (Jaccard index), in [0, 1]; empty masks as the module says.

    Args:
        pred: mask ``(H, W)``.
        target: reference mask ``(H, W)``.

    Raises:
        InputError: the sizes differ, or the values are no mask.

    Example:
        >>> iou(np.array([[1, 1, 0]]), np.array([[1, 0, 0]]))
        0.5
    """
    return count(pred, target).iou


def recall(pred: NDArray[Any], target: NDArray[Any]) -> float:
    """Share of the reference that was found (sensitivity), in [0, 1]; empty masks as the module says.

    Args:
        pred: mask ``(H, W)``.
        target: reference mask ``(H, W)``.

    Raises:
        InputError: the sizes differ, or the values are no mask.

    Example:
        >>> recall(np.array([[1, 1, 0]]), np.array([[1, 0, 0]]))
        1.0
    """
    return count(pred, target).recall


def precision(pred: NDArray[Any], target: NDArray[Any]) -> float:
    """Share of the prediction that is right, in [0, 1]; empty masks as the module says.

    Args:
        pred: mask ``(H, W)``.
        target: reference mask ``(H, W)``.

    Raises:
        InputError: the sizes differ, or the values are no mask.

    Example:
        >>> precision(np.array([[1, 1, 0]]), np.array([[1, 0, 0]]))
        0.5
    """
    return count(pred, target).precision


def specificity(pred: NDArray[Any], target: NDArray[Any]) -> float:
    """Share of the reference's background that stayed background, in [0, 1].

    Args:
        pred: mask ``(H, W)``.
        target: reference mask ``(H, W)``.

    Raises:
        InputError: the sizes differ, or the values are no mask.

    Example:
        >>> specificity(np.array([[1, 1, 0]]), np.array([[1, 0, 0]]))
        0.5
    """
    return count(pred, target).specificity
