"""Percentile bootstrap: how far could a mean over these cases have come out by chance?"""

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scalefuse.errors import InputError

# Resamples drawn at once: bounds memory to a few tens of megabytes for any number of cases.
_VALUES_AT_ONCE = 4_000_000


class Statistic(Protocol):
    """A function such as :func:`numpy.mean` that reduces one axis."""

    def __call__(self, values: NDArray[np.float64], /, *, axis: int) -> Any:
        """Reduce ``axis``."""


def bootstrap_interval(
    values: ArrayLike,
    *,
    statistic: Statistic = np.mean,
    confidence: float = 0.95,
    num_resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a statistic over cases.

    NaN values are no cases: they are dropped before resampling, so that the interval belongs to
    ``statistic`` of the remaining ones. A single case gives an interval of width zero (it says nothing about
    spread), none gives NaN.

    Reference: Efron and Tibshirani, An Introduction to the Bootstrap (1993), section 13.3.

    Args:
        values: one number per case, ``(n,)``.
        statistic: reduces the last axis of an array, such as ``np.mean`` or ``np.median``.
        confidence: share of the resampled statistics inside the interval, in (0, 1).
        num_resamples: how many times the cases are drawn with replacement.
        seed: of the random generator; the same seed gives the same interval.

    Returns:
        The lower and the upper end.

    Raises:
        InputError: not one axis, infinite values, or an argument out of its range.

    Example:
        >>> low, high = bootstrap_interval([0.7, 0.8, 0.9, 0.8])
        >>> round(low, 3), round(high, 3)
        (0.725, 0.875)
    """
    cases = _cases(values)
    _check(confidence, num_resamples)
    cases = cases[~np.isnan(cases)]
    if not cases.size:
        return float("nan"), float("nan")
    generator = np.random.default_rng(seed)
    rows = max(1, _VALUES_AT_ONCE // cases.size)
    drawn = [
        np.asarray(
            statistic(
                cases[generator.integers(0, cases.size, (min(rows, num_resamples - first), cases.size))],
                axis=-1,
            )
        )
        for first in range(0, num_resamples, rows)
    ]
    tail = 50.0 * (1.0 - confidence)
    low, high = np.percentile(np.concatenate(drawn), [tail, 100.0 - tail])
    return float(low), float(high)


def paired_bootstrap(
    x: ArrayLike,
    y: ArrayLike,
    *,
    confidence: float = 0.95,
    num_resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Mean of ``x - y`` over the same cases, with its percentile bootstrap interval.

    Cases are resampled as pairs, so that what makes a case hard for both does not widen the interval. A pair
    in which either value is NaN is dropped.

    Args:
        x: one number per case, ``(n,)``.
        y: the same cases in the same order, ``(n,)``.
        confidence: share of the resampled means inside the interval, in (0, 1).
        num_resamples: how many times the pairs are drawn with replacement.
        seed: of the random generator.

    Returns:
        The mean difference, and the lower and the upper end of its interval.

    Raises:
        InputError: the lengths differ, infinite values, or an argument out of its range.

    Example:
        >>> mean, low, high = paired_bootstrap([0.8, 0.9, 0.7], [0.7, 0.8, 0.6])
        >>> round(mean, 3), round(low, 3), round(high, 3)
        (0.1, 0.1, 0.1)
    """
    first, second = _cases(x), _cases(y)
    if first.size != second.size:
        raise InputError(
            f"Expected the same cases in both lists, but got {first.size} and {second.size} values; "
            "match them by name first."
        )
    difference = first - second
    low, high = bootstrap_interval(difference, confidence=confidence, num_resamples=num_resamples, seed=seed)
    kept = difference[~np.isnan(difference)]
    return (float(kept.mean()) if kept.size else float("nan")), low, high


def resample_counts(
    num_cases: int, *, num_resamples: int = 2000, seed: int = 0
) -> Iterator[NDArray[np.int64]]:
    """How often each case is drawn in each resample, a block of resamples at a time.

    For statistics that are no reduction of one number per case, such as an area under a curve: weighting the
    cases with these counts is the same as drawing them, and all resamples of a block are weighted at once.

    Args:
        num_cases: n, at least 1.
        num_resamples: how many times n cases are drawn with replacement.
        seed: of the random generator.

    Yields:
        ``(B, n)``; every row sums to n. The B of all blocks sum to ``num_resamples``.

    Example:
        >>> [block.sum(axis=1).tolist() for block in resample_counts(5, num_resamples=3)]
        [[5, 5, 5]]
    """
    _check(0.95, num_resamples)
    generator = np.random.default_rng(seed)
    # A quarter: whoever weights the cases holds some arrays of this size.
    rows = max(1, _VALUES_AT_ONCE // 4 // num_cases)
    for first in range(0, num_resamples, rows):
        block = min(rows, num_resamples - first)
        drawn = generator.integers(0, num_cases, (block, num_cases))
        drawn += np.arange(block)[:, None] * num_cases
        yield np.bincount(drawn.ravel(), minlength=block * num_cases).reshape(block, num_cases)


def _cases(values: ArrayLike) -> NDArray[np.float64]:
    cases = np.asarray(values, dtype=np.float64)
    if cases.ndim != 1:
        raise InputError(f"Expected one number per case, shape (n,), but got shape {cases.shape}.")
    if np.isinf(cases).any():
        raise InputError(
            f"Expected finite values (or NaN for a missing one), but got {int(np.isinf(cases).sum())} "
            "infinite ones; give them a finite value or leave these cases out."
        )
    return cases


def _check(confidence: float, num_resamples: int) -> None:
    if not 0.0 < confidence < 1.0:
        raise InputError(f"Expected a confidence between 0 and 1, such as 0.95, but got {confidence}.")
    if num_resamples < 1:
        raise InputError(f"Expected at least 1 resample, but got {num_resamples}.")
