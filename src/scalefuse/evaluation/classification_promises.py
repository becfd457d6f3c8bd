"""What calibration promised, measured on other cases: coverage of prediction sets, operating points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalefuse.errors import InputError
from scalefuse.inference.operating_point import OperatingPoint


def share_interval(hits: int, number: int, confidence: float = 0.95) -> dict[str, Any]:
    """A share with Wilson's interval; NaN where there is nothing to share.

    Reference: Wilson, Journal of the American Statistical Association 22 (1927), without continuity
    correction.

    Args:
        hits: how many.
        number: of how many.
        confidence: of the interval, in (0, 1).

    Example:
        >>> share = share_interval(9, 10)
        >>> share["value"], round(share["low"], 3), round(share["high"], 3), share["n"]
        (0.9, 0.596, 0.982, 10)
    """
    if not number:
        return {"value": float("nan"), "low": float("nan"), "high": float("nan"), "n": 0}
    from scipy.stats import binomtest

    interval = binomtest(hits, number).proportion_ci(confidence, method="wilson")
    return {"value": hits / number, "low": float(interval.low), "high": float(interval.high), "n": number}


def measure_sets(
    sets: NDArray[np.bool_], indicators: NDArray[np.bool_], classes: Sequence[str], coverage: float
) -> dict[str, Any]:
    """How often prediction sets hold the true class, and how large they are.

    Args:
        sets: members, ``(N, K)``.
        indicators: which classes each case is of, ``(N, K)``; exactly one, or for several labels any number.
        classes: names of the K classes.
        coverage: that was promised, in (0, 1).

    Returns:
        ``promised``, ``coverage`` (of true classes, with Wilson's interval), ``coverage_per_class`` (which
        nothing promises where classes exclude one another), ``mean_size`` and ``sizes``: how many sets have
        0, 1, … K members.

    Raises:
        InputError: shapes that differ.

    Example:
        >>> sets = np.array([[True, False], [True, True], [False, False]])
        >>> truth = np.array([[True, False], [False, True], [True, False]])
        >>> found = measure_sets(sets, truth, ["no", "yes"], 0.9)
        >>> round(found["coverage"]["value"], 3), found["mean_size"], found["sizes"]
        (0.667, 1.0, [1, 1, 1])
    """
    if sets.shape != indicators.shape or sets.shape[1] != len(classes):
        raise InputError(
            f"Expected sets and targets (N, {len(classes)}), but got {sets.shape} and {indicators.shape}."
        )
    held, wanted = (sets & indicators).sum(axis=0), indicators.sum(axis=0)
    sizes = sets.sum(axis=1)
    return {
        "promised": coverage,
        "coverage": share_interval(int(held.sum()), int(wanted.sum())),
        "coverage_per_class": {
            label: share_interval(int(hits), int(number))
            for label, hits, number in zip(classes, held, wanted, strict=True)
        },
        "mean_size": float(sizes.mean()),
        "sizes": np.bincount(sizes, minlength=len(classes) + 1).tolist(),
    }


def measure_operating_point(
    probabilities: NDArray[np.floating[Any]],
    indicators: NDArray[np.bool_],
    classes: Sequence[str],
    point: OperatingPoint,
) -> dict[str, Any]:
    """Sensitivity, specificity and predictive values when classes are called from their thresholds on.

    Args:
        probabilities: ``(N, K)``.
        indicators: which classes each case is of, ``(N, K)``.
        classes: names of the K classes.
        point: thresholds, and the sensitivity that was required of them.

    Returns:
        ``required`` and for each class with a threshold: ``threshold``, and ``sensitivity``, ``specificity``,
        ``positive_predictive_value`` and ``negative_predictive_value`` with Wilson's intervals. Predictive
        values are those at the prevalence of these cases.

    Raises:
        InputError: the point names a class that does not exist.

    Example:
        >>> point = OperatingPoint(sensitivity=0.9, thresholds={"yes": 0.3})
        >>> truth = np.array([[True, False], [True, False], [False, True]])
        >>> probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.5, 0.5]])
        >>> found = measure_operating_point(probabilities, truth, ["no", "yes"], point)["classes"]["yes"]
        >>> found["sensitivity"]["value"], found["specificity"]["value"], found["threshold"]
        (1.0, 0.5, 0.3)
    """
    found: dict[str, Any] = {}
    for label, threshold in point.thresholds.items():
        if label not in classes:
            raise InputError(
                f"The operating point names {label!r}, but the classes are {', '.join(classes)}."
            )
        index = list(classes).index(label)
        called, wanted = probabilities[:, index] >= threshold, indicators[:, index]
        true, free = int((called & wanted).sum()), int((~called & ~wanted).sum())
        found[label] = {
            "threshold": threshold,
            "sensitivity": share_interval(true, int(wanted.sum())),
            "specificity": share_interval(free, int((~wanted).sum())),
            "positive_predictive_value": share_interval(true, int(called.sum())),
            "negative_predictive_value": share_interval(free, int((~called).sum())),
        }
    return {"required": point.sensitivity, "classes": found}
