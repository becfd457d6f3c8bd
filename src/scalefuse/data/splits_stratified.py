"""Splitting a classification data set: each part gets its share of every class, groups stay together."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from scalefuse.data.splits import Grouped, case_keys
from scalefuse.errors import InputError


class Labelled(Grouped, Protocol):
    """What can be split: something with a name, perhaps a group, and the indices of its classes."""

    @property
    def labels(self) -> tuple[int, ...]:
        """The indices of its classes; several or none for multi-label sets."""


CaseT = TypeVar("CaseT", bound=Labelled)


def stratified_split_by_fraction(
    cases: Sequence[CaseT], fraction: float, seed: int
) -> tuple[list[CaseT], list[CaseT]]:
    """Split off a part for validation that has the same share of each class, as far as groups allow.

    At least one group stays on either side. The outcome depends on the seed and on the names, groups and
    labels, not on the order of the cases.

    Args:
        cases: the cases.
        fraction: share of the cases for validation, in (0, 1).
        seed: of the draw, 0 or more.

    Returns:
        Training and validation cases, each in the order given.

    Raises:
        InputError: a fraction outside (0, 1), a negative seed, or fewer than two groups.

    Example:
        >>> from scalefuse.data.classification import ClassificationCase
        >>> cases = [ClassificationCase(str(n), "all", int(n < 4)) for n in range(12)]
        >>> train, val = stratified_split_by_fraction(cases, 0.25, seed=0)
        >>> len(train), [sum(case.label == label for case in val) for label in (0, 1)]
        (9, [2, 1])
    """
    if not 0 < fraction < 1:
        raise InputError(f"The validation fraction must lie between 0 and 1, but got {fraction}.")
    parts = _deal(cases, np.array([1 - fraction, fraction]), seed)
    train = [case for case, part in zip(cases, parts, strict=True) if part == 0]
    return train, [case for case, part in zip(cases, parts, strict=True) if part == 1]


def stratified_k_folds(cases: Sequence[CaseT], k: int, seed: int) -> list[tuple[list[CaseT], list[CaseT]]]:
    """Split into k folds for cross-validation, each with its share of every class, as far as groups allow.

    Every case is in the validation part of exactly one fold, and no group straddles.

    Args:
        cases: the cases.
        k: number of folds, 2 or more.
        seed: of the draw, 0 or more.

    Returns:
        ``k`` pairs of training and validation cases, each in the order given.

    Raises:
        InputError: k below 2 or above the number of groups, or a negative seed.

    Example:
        >>> from scalefuse.data.classification import ClassificationCase
        >>> cases = [ClassificationCase(str(n), "all", int(n < 4)) for n in range(12)]
        >>> [sum(case.label for case in val) for _, val in stratified_k_folds(cases, 4, seed=0)]
        [1, 1, 1, 1]
    """
    if k < 2:
        raise InputError(f"Cross-validation needs at least 2 folds, but got {k}.")
    parts = _deal(cases, np.full(k, 1 / k), seed)
    return [
        (
            [case for case, part in zip(cases, parts, strict=True) if part != fold],
            [case for case, part in zip(cases, parts, strict=True) if part == fold],
        )
        for fold in range(k)
    ]


def _deal(cases: Sequence[Labelled], shares: NDArray[np.float64], seed: int) -> list[int]:
    """The part of each case.

    Groups are dealt out one by one, those that hold much of a class first, to the part that lacks their
    classes most. scikit-learn's StratifiedGroupKFold goes the same way, but knows neither several labels per
    case nor parts of different sizes.

    Reference: K. Sechidis et al., "On the stratification of multi-label data", 2011, section 3; deviation:
    all classes of a group count together, in proportion to how rare they are, and groups have any size.
    """
    if seed < 0:
        raise InputError(f"The seed must be 0 or more, but got {seed}.")
    keys = case_keys(cases)
    names = sorted(set(keys))
    if len(names) < len(shares):
        kind = "groups" if any(case.group is not None for case in cases) else "cases"
        raise InputError(
            f"{len(shares)} parts were asked for, but there are only {len(names)} {kind}; choose fewer parts."
        )
    place = {name: index for index, name in enumerate(names)}
    num_classes = 1 + max((label for case in cases for label in case.labels), default=-1)
    # The last column counts the cases themselves, so that parts get the right sizes too.
    counts = np.zeros((len(names), num_classes + 1))
    for key, case in zip(keys, cases, strict=True):
        counts[place[key], [*case.labels, -1]] += 1
    totals = np.maximum(counts.sum(axis=0), 1)
    relative = counts / totals
    order = np.random.default_rng(seed).permutation(len(names))
    # A stable sort: groups that weigh the same keep their random order.
    order = order[np.argsort(-relative[order].sum(axis=1), kind="stable")]
    # What each part still lacks of each class, as a share of the whole.
    lacking = np.tile(shares[:, None], (1, num_classes + 1))
    part_of = np.zeros(len(names), int)
    filled = np.zeros(len(shares), int)
    for done, group in enumerate(order):
        # How much nearer each part would come to its shares, by squared errors over shares (chi-squared).
        gain = (2 * lacking @ relative[group] - relative[group] @ relative[group]) / shares
        if len(names) - done <= int((filled == 0).sum()):
            gain = np.where(filled == 0, gain, -np.inf)  # the last groups go where nothing is yet
        # Rounding must not decide between parts that gain as much as each other.
        part = int(np.argmax(np.round(gain, 12)))
        part_of[group] = part
        filled[part] += 1
        lacking[part] -= relative[group]
    return [int(part_of[place[key]]) for key in keys]
