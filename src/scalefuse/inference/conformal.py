"""Prediction sets that hold the true class with a chosen probability: split-conformal prediction.

What is stored is no threshold but the sorted scores of the calibration cases, so that the coverage can be
chosen when predicting.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from scalefuse.errors import InputError

if TYPE_CHECKING:
    from scalefuse.inference.classification_postprocessing import ClassificationPostProcessing

SetMethod = Literal["lac", "aps"]
"""``lac``: smallest sets on average, may be empty. ``aps``: larger for difficult pictures, never empty."""

_DIGITS = 5


def conformal_rank(num_cases: int, coverage: float) -> int:
    """Which of the sorted calibration scores, counted from 1, bounds the score of a new case.

    ``⌈(n + 1) · coverage⌉``: the finite-sample correction, without which the coverage would be met in the
    limit of many calibration cases only.

    Args:
        num_cases: calibration cases n.
        coverage: wanted, in (0, 1).

    Returns:
        The rank; above ``num_cases`` where there are too few cases for this coverage, and only the set of all
        classes reaches it.

    Raises:
        InputError: a coverage outside (0, 1).

    Reference:
        Angelopoulos, Bates: A Gentle Introduction to Conformal Prediction, arXiv 2107.07511, section 1.

    Example:
        >>> conformal_rank(99, 0.9), conformal_rank(9, 0.9), conformal_rank(8, 0.9)
        (90, 9, 9)
    """
    check_share("coverage", coverage)
    # 100 · 0.07 is a little above 7 in binary digits; that must not cost a rank.
    return math.ceil((num_cases + 1) * coverage - 1e-9)


def check_share(name: str, value: float) -> None:
    """Refuse a share that is no number strictly between 0 and 1.

    Args:
        name: what it is called in the message.
        value: the share.

    Raises:
        InputError: outside (0, 1).

    Example:
        >>> check_share("coverage", 95)
        Traceback (most recent call last):
        scalefuse.errors.InputError: Expected a coverage between 0 and 1, but got 95; give 0.95 for 95 %.
    """
    if not 0 < value < 1:
        hint = f"give {value / 100:g} for {value:g} %" if 1 < value < 100 else "give for instance 0.95"
        raise InputError(f"Expected a {name} between 0 and 1, but got {value:g}; {hint}.")


def true_probabilities(probabilities: NDArray[Any], targets: NDArray[Any]) -> tuple[tuple[float, ...], ...]:
    """The calibration table: for each class, the probabilities that cases of this class got for it.

    The scores of LAC, 1 - p, follow from it, and so do the thresholds for a required sensitivity. Values are
    sorted and rounded down to five digits, which can only make sets larger and thresholds lower.

    Args:
        probabilities: ``(N, K)`` of calibration cases, as the predictor gives them (after the temperature).
        targets: class indices ``(N,)``, or 0 and 1 ``(N, K)`` where a picture may carry several labels.

    Returns:
        K tuples; an empty one for a class without a case.

    Raises:
        InputError: shapes or values that do not fit.

    Example:
        >>> true_probabilities(np.array([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7]]), np.array([0, 0, 1]))
        ((0.6, 0.9), (0.7,))
    """
    probabilities, targets = _checked(probabilities, targets)
    classes = range(probabilities.shape[1])
    if targets.ndim == 1:
        chosen = [probabilities[targets == index, index] for index in classes]
    else:
        chosen = [probabilities[targets[:, index] > 0, index] for index in classes]
    return tuple(tuple(_rounded(np.sort(values), np.floor)) for values in chosen)


def adaptive_scores(probabilities: NDArray[Any], targets: NDArray[Any]) -> tuple[float, ...]:
    """Scores of adaptive prediction sets (APS): probability of the true class and of all more probable ones.

    Args:
        probabilities: ``(N, K)`` of calibration cases.
        targets: class indices ``(N,)``.

    Returns:
        N scores, sorted, rounded up to five digits.

    Raises:
        InputError: shapes or values that do not fit.

    Reference:
        Romano, Sesia, Candès: Classification with Valid and Adaptive Coverage, NeurIPS 2020, without the
        randomisation: equal pictures get equal sets, which are a little larger.

    Example:
        >>> adaptive_scores(np.array([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3]]), np.array([1, 1]))
        (0.6, 0.8)
    """
    probabilities, targets = _checked(probabilities, targets)
    if targets.ndim != 1:
        raise InputError("Adaptive sets need classes that exclude one another, but cases carry several.")
    scores = _cumulative(probabilities)[np.arange(len(targets)), targets]
    return tuple(_rounded(np.sort(scores), np.ceil))


def lac_threshold(table: Sequence[float], coverage: float) -> float:
    """Smallest probability at which a class belongs to the set, so that the coverage holds.

    The true probability of a new case is at least the r-th smallest of n calibration cases with probability
    ``1 - r / (n + 1)``.

    Args:
        table: probabilities that calibration cases got for their true class, in any order.
        coverage: wanted, in (0, 1).

    Returns:
        In [0, 1]; 0 (every class) where there are too few cases for this coverage.

    Raises:
        InputError: a coverage outside (0, 1).

    Example:
        >>> nine = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
        >>> lac_threshold(nine, 0.8), lac_threshold(nine, 0.9), lac_threshold(nine, 0.95)
        (0.2, 0.1, 0.0)
    """
    rank = conformal_rank(len(table), coverage)
    return 0.0 if rank > len(table) else float(sorted(table)[len(table) - rank])


def prediction_sets(
    probabilities: NDArray[Any],
    postprocessing: ClassificationPostProcessing,
    coverage: float | None = None,
    *,
    method: SetMethod = "lac",
) -> NDArray[np.bool_]:
    """Classes that cannot be ruled out at the coverage.

    For classes that exclude one another, the true one is in the set with at least this probability, on
    average over calibration sets and new cases drawn like them; nothing is promised for a single class or for
    pictures from elsewhere. For several labels per picture, each label that is present is in the set with at
    least this probability. A set of LAC may be empty: then the picture resembles no class as calibration
    cases did.

    Args:
        probabilities: ``(N, K)``, as the predictor gives them.
        postprocessing: with the calibration scores.
        coverage: wanted, in (0, 1); None for the one stored.
        method: ``"lac"``, or ``"aps"`` for classes that exclude one another.

    Returns:
        ``(N, K)``, true for members.

    Raises:
        InputError: no calibration scores, a coverage outside (0, 1), no such method, or probabilities of
            another number of classes or with NaN.

    Example:
        >>> from scalefuse.inference.classification_postprocessing import ClassificationPostProcessing
        >>> scores = ClassificationPostProcessing(true_probabilities=((0.4, 0.6, 0.7), (0.5, 0.8, 0.9)))
        >>> prediction_sets(np.array([[0.45, 0.55], [0.2, 0.8]]), scores, 0.8)
        array([[ True,  True],
               [False,  True]])
    """
    coverage = postprocessing.coverage if coverage is None else coverage
    check_share("coverage", coverage)
    table = postprocessing.true_probabilities
    if not any(table):
        raise InputError(
            "The model carries no calibration scores, so that no prediction sets can be made; leave the "
            "coverage out, or train the model with validation pictures (an export at another size has none)."
        )
    if method not in get_args(SetMethod):
        raise InputError(f"Expected {' or '.join(get_args(SetMethod))}, but got {method!r}.")
    probabilities = checked_probabilities(probabilities, len(table))
    if method == "aps":
        return _adaptive_sets(probabilities, postprocessing.adaptive_scores, coverage)
    if postprocessing.multi_label:
        thresholds = np.array([lac_threshold(values, coverage) for values in table])
    else:
        thresholds = np.array(lac_threshold([value for values in table for value in values], coverage))
    members: NDArray[np.bool_] = probabilities >= thresholds
    return members


def checked_probabilities(probabilities: object, num_classes: int) -> NDArray[Any]:
    """Probabilities as an array.

    Args:
        probabilities: ``(N, K)``.
        num_classes: K.

    Raises:
        InputError: another shape, or NaN among them, which would fall under no class.

    Example:
        >>> checked_probabilities([[0.25, 0.75]], 2)
        array([[0.25, 0.75]])
    """
    values: NDArray[Any] = np.asarray(probabilities)
    if values.ndim != 2 or values.shape[1] != num_classes or values.dtype.kind not in "fbui":
        raise InputError(
            f"Expected probabilities (N, {num_classes}), one per class, but got shape {values.shape}."
        )
    if np.isnan(values).any():
        raise InputError("Expected probabilities, but some are NaN; leave these pictures out.")
    return values


def _adaptive_sets(
    probabilities: NDArray[Any], scores: Sequence[float], coverage: float
) -> NDArray[np.bool_]:
    if not scores:
        raise InputError("The model carries no scores for adaptive sets; use the method 'lac'.")
    rank = conformal_rank(len(scores), coverage)
    bound = np.inf if rank > len(scores) else sorted(scores)[rank - 1]
    members: NDArray[np.bool_] = _cumulative(probabilities) <= bound
    # Adding the most probable class can only raise the coverage, and an empty set helps nobody.
    members[np.arange(len(members)), probabilities.argmax(axis=1)] = True
    return members


def _cumulative(probabilities: NDArray[Any]) -> NDArray[np.float64]:
    """For each class its probability and that of all more probable ones; of equals, the first leads."""
    values = probabilities.astype(np.float64)
    order = np.argsort(-values, axis=1, kind="stable")
    total = np.cumsum(np.take_along_axis(values, order, axis=1), axis=1)
    result = np.empty_like(values)
    np.put_along_axis(result, order, total, axis=1)
    return result


def _rounded(values: NDArray[Any], how: Any) -> list[float]:
    scale = 10**_DIGITS
    # The tiny step keeps 0.6 from becoming 0.59999, or 0.60001, by its binary digits.
    step = 1e-9 if how is np.floor else -1e-9
    return [float(value) for value in how(values.astype(np.float64) * scale + step) / scale]


def _checked(probabilities: Any, targets: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    probabilities, targets = np.asarray(probabilities), np.asarray(targets)
    if probabilities.ndim != 2 or not np.isfinite(probabilities).all():
        raise InputError(
            f"Expected finite probabilities (N, K), but got shape {probabilities.shape}"
            f"{'' if probabilities.ndim != 2 else ' with NaN or infinite values'}."
        )
    if targets.shape not in ((len(probabilities),), probabilities.shape):
        raise InputError(
            f"Expected targets of shape ({len(probabilities)},) or {probabilities.shape}, but got "
            f"{targets.shape}."
        )
    indices = targets.ndim == 1 and len(targets) > 0
    if indices and not 0 <= targets.min() <= targets.max() < probabilities.shape[1]:
        raise InputError(
            f"Expected class indices from 0 to {probabilities.shape[1] - 1}, but got {targets.min()} to "
            f"{targets.max()}."
        )
    return probabilities, targets
