"""Splitting a classification data set so that every part has its share of every class."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scalefuse.data.classification import ClassificationCase
from scalefuse.errors import InputError

Cases = list[ClassificationCase]


def stratified_split(
    cases: Sequence[ClassificationCase], fraction: float, seed: int
) -> tuple[list[ClassificationCase], list[ClassificationCase]]:
    """Split off a part for validation, with about the fraction of every class.

    Whole groups, such as the images of one patient, are dealt out. The outcome depends on the seed and on
    names, labels and groups, not on the order of the cases.

    Args:
        cases: the cases.
        fraction: share of the cases for validation, in (0, 1).
        seed: of the draw, 0 or more.

    Returns:
        Training and validation cases, each in the order given; at least one group on either side.

    Raises:
        InputError: a fraction outside (0, 1), or fewer than two groups.

    Example:
        >>> cases = [ClassificationCase(f"{n}", "all", int(n % 3 == 0)) for n in range(30)]
        >>> train, val = stratified_split(cases, 0.2, seed=0)
        >>> len(val), sum(case.label for case in val)
        (6, 2)
    """
    if not 0 < fraction < 1:
        raise InputError(f"The validation fraction must lie between 0 and 1, but got {fraction}.")
    part_of = _deal(cases, (1 - fraction, fraction), seed)
    return [c for c in cases if part_of[_key(c)] == 0], [c for c in cases if part_of[_key(c)] == 1]


def stratified_folds(
    cases: Sequence[ClassificationCase], k: int, seed: int
) -> list[tuple[list[ClassificationCase], list[ClassificationCase]]]:
    """Split into k folds for cross-validation, with about the same share of every class in each.

    Every case is in the validation part of exactly one fold, and no group straddles.

    Args:
        cases: the cases.
        k: number of folds, 2 or more.
        seed: of the draw, 0 or more.

    Returns:
        ``k`` pairs of training and validation cases, each in the order given.

    Raises:
        InputError: k below 2 or above the number of groups.

    Example:
        >>> cases = [ClassificationCase(f"{n}", "all", int(n % 3 == 0)) for n in range(30)]
        >>> [sum(case.label for case in val) for _, val in stratified_folds(cases, 5, seed=0)]
        [2, 2, 2, 2, 2]
    """
    if k < 2:
        raise InputError(f"Cross-validation needs at least 2 folds, but got {k}.")
    part_of = _deal(cases, (1 / k,) * k, seed)
    return [
        ([c for c in cases if part_of[_key(c)] != fold], [c for c in cases if part_of[_key(c)] == fold])
        for fold in range(k)
    ]


def _key(case: ClassificationCase) -> str:
    # The prefix keeps a case on its own apart from a group of the same name.
    return f"case {case.key}" if case.group is None else f"group {case.group}"


def _deal(cases: Sequence[ClassificationCase], shares: Sequence[float], seed: int) -> dict[str, int]:
    """The part that each group goes to: always where its classes are wanted most."""
    if seed < 0:
        raise InputError(f"The seed must be 0 or more, but got {seed}.")
    counts = _count_labels(cases)
    if len(counts) < len(shares):
        kind = "groups" if any(case.group is not None for case in cases) else "images"
        raise InputError(
            f"{len(cases)} images in {len(counts)} {kind} cannot be split into {len(shares)} parts; choose "
            "fewer parts or add images."
        )
    names = sorted(counts)
    names = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    total = np.sum(list(counts.values()), axis=0)
    rarest = {name: int(total[:-1][counts[name][:-1] > 0].min(initial=len(cases))) for name in names}
    # Large groups first, and among those of one size the ones with rare classes: both are hard to place late.
    names.sort(key=lambda name: (-counts[name][-1], rarest[name]))
    wanted = np.outer(shares, total)
    sizes = [0] * len(shares)
    part_of: dict[str, int] = {}
    for position, name in enumerate(names):
        # In parts of each class, so that rare ones weigh as much; all cases together only break ties.
        open_shares = wanted / np.maximum(total, 1)
        need = open_shares[:, :-1] @ (counts[name][:-1] > 0) + 1e-6 * open_shares[:, -1]
        empty = [part for part, size in enumerate(sizes) if size == 0]
        left = len(names) - position
        part = max(empty, key=lambda one: need[one]) if left <= len(empty) else int(np.argmax(need))
        part_of[name] = part
        sizes[part] += 1
        wanted[part] -= counts[name]
    return part_of


def _count_labels(cases: Sequence[ClassificationCase]) -> dict[str, NDArray[np.int64]]:
    """For each group its cases of each class; the last number counts all of them."""
    num_classes = 1 + max((label for case in cases for label in case.labels), default=-1)
    counts: dict[str, NDArray[np.int64]] = {}
    for case in cases:
        row = counts.setdefault(_key(case), np.zeros(num_classes + 1, np.int64))
        row[list(case.labels)] += 1
        row[-1] += 1
    return counts
