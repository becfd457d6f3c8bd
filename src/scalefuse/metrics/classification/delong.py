"""The area under the ROC curve with the variance that DeLong's method gives it."""

from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scalefuse.errors import InputError


class DeLong(NamedTuple):
    """An area under the ROC curve and how sure it is.

    Attributes:
        auroc: the area, in [0, 1].
        variance: of the area; NaN with a single positive or a single negative case.
        low: lower end of the interval, in [0, 1].
        high: upper end.
    """

    auroc: float
    variance: float
    low: float
    high: float


def delong(scores: NDArray[Any], targets: NDArray[Any], *, confidence: float = 0.95) -> DeLong:
    """Area under the ROC curve with DeLong's interval.

    Ties between a positive and a negative case count one half. The interval is area ± quantile · standard
    error, cut at 0 and 1. Where the classes are parted without an error its width is zero, which says
    nothing about other cases.

    Args:
        scores: one number per case, ``(N,)``; larger for the positive class. Any unit.
        targets: 0 or 1 per case, ``(N,)``.
        confidence: of the interval, in (0, 1).

    Raises:
        InputError: not one number per case, NaN, values other than 0 and 1, or one class only.

    Reference:
        DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988), equations 4 to 7; computed with midranks as
        in Sun and Xu, IEEE Signal Processing Letters 21 (2014), in O(N log N).

    Example:
        >>> found = delong(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1]))
        >>> found.auroc, found.variance, round(found.low, 3), found.high
        (0.75, 0.125, 0.057, 1.0)
    """
    from scipy.stats import rankdata

    scores, targets = np.asarray(scores, np.float64), np.asarray(targets)
    if scores.ndim != 1 or scores.shape != targets.shape:
        raise InputError(
            f"Expected one score and one target per case, but got shapes {scores.shape} and {targets.shape}."
        )
    if np.isnan(scores).any():
        raise InputError(f"Expected numbers as scores, but got {int(np.isnan(scores).sum())} NaN.")
    if not np.isin(targets, (0, 1)).all():
        raise InputError("Expected targets of 0 and 1; turn the class of interest into 1 first.")
    if not 0.0 < confidence < 1.0:
        raise InputError(f"Expected a confidence between 0 and 1, such as 0.95, but got {confidence}.")
    positive, negative = scores[targets == 1], scores[targets == 0]
    m, n = len(positive), len(negative)
    if not m or not n:
        raise InputError(
            f"Expected cases of both classes, but got {m} positive and {n} negative; the area under the ROC "
            "curve is undefined."
        )
    together = rankdata(np.concatenate([positive, negative]))
    # Share of the other class that a case beats: Sun and Xu's structural components.
    beats = (together[:m] - rankdata(positive)) / n
    beaten = 1.0 - (together[m:] - rankdata(negative)) / m
    area = float(beats.mean())
    variance = float(beats.var(ddof=1) / m + beaten.var(ddof=1) / n) if min(m, n) > 1 else float("nan")
    half = NormalDist().inv_cdf(0.5 + confidence / 2) * np.sqrt(variance)
    # Written so that NaN stays NaN.
    low, high = np.clip([area - half, area + half], 0.0, 1.0)
    return DeLong(area, variance, float(low), float(high))
