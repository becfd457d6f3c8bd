"""Areas under the ROC and precision-recall curves for many weightings of the same cases at once."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class RankingAreas(NamedTuple):
    """Areas for every weighting; NaN where a class has no weight.

    Attributes:
        auroc: area under the ROC curve, ``(B,)``.
        auprc: average precision, ``(B,)``; undefined without positive cases.
    """

    auroc: NDArray[np.float64]
    auprc: NDArray[np.float64]


def ranking_areas(
    scores: NDArray[Any], targets: NDArray[Any], weights: NDArray[Any] | None = None
) -> RankingAreas:
    """Area under the ROC curve and average precision, for each of several weightings.

    A resample of cases is a weighting: how often each case was drawn. The scores are sorted once for all of
    them, which scikit-learn's functions of the same values cannot.

    Args:
        scores: one number per case, ``(N,)``; larger for the positive class.
        targets: 0 or 1 per case, ``(N,)``.
        weights: non-negative, ``(B, N)``; each case once where None.

    Reference:
        The values are those of scikit-learn's ``roc_auc_score`` and ``average_precision_score``.

    Example:
        >>> scores, targets = np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1])
        >>> areas = ranking_areas(scores, targets, np.array([[1, 1, 1, 1], [1, 0, 1, 1], [1, 1, 0, 0]]))
        >>> areas.auroc, areas.auprc.round(3)
        (array([0.75, 1.  ,  nan]), array([0.833, 1.   ,   nan]))
    """
    weights = np.ones((1, len(scores))) if weights is None else weights
    order = np.argsort(-np.asarray(scores), kind="stable")
    ranked = np.asarray(scores)[order]
    # Cases of one score enter the curves together.
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    weights, hits = weights[:, order].astype(np.float64), np.asarray(targets)[order] != 0
    true = np.add.reduceat(weights * hits, starts, axis=1)
    false = np.add.reduceat(weights * ~hits, starts, axis=1)
    found, wrong = true.cumsum(axis=1), false.cumsum(axis=1)
    positive, negative = found[:, -1], wrong[:, -1]
    with np.errstate(invalid="ignore", divide="ignore"):
        auroc = (false * (found - true / 2)).sum(axis=1) / (positive * negative)
        drawn = found + wrong
        precision = np.divide(found, drawn, out=np.zeros_like(found), where=drawn > 0)
        auprc = (true * precision).sum(axis=1) / positive
    return RankingAreas(auroc, auprc)
