"""Splitting a data set into training and validation parts, keeping groups such as patients together."""

from collections import Counter
from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np

from scalefuse.errors import InputError


class Grouped(Protocol):
    """What can be split: something with a name and perhaps a group."""

    @property
    def name(self) -> str:
        """Its own name, which stands for the group where there is none."""

    @property
    def group(self) -> str | None:
        """What must stay together."""


CaseT = TypeVar("CaseT", bound=Grouped)


def split_by_fraction(cases: Sequence[CaseT], fraction: float, seed: int) -> tuple[list[CaseT], list[CaseT]]:
    """Split off a part for validation.

    Whole groups are drawn at random until the part is as near to the fraction as they allow; at least one
    group stays on either side. The outcome depends on the seed and on the names and groups, not on the order
    of the cases.

    Args:
        cases: the cases.
        fraction: share of the cases for validation, in (0, 1).
        seed: of the draw, 0 or more.

    Returns:
        Training and validation cases, each in the order given.

    Raises:
        InputError: a fraction outside (0, 1), or fewer than two groups.

    Example:
        >>> from pathlib import Path
        >>> from scalefuse.data.segmentation import SegmentationCase
        >>> cases = [SegmentationCase(f"{n}", Path(f"{n}.png"), group=f"patient {n // 2}") for n in range(6)]
        >>> train, val = split_by_fraction(cases, 1 / 3, seed=0)
        >>> len(train), len(val), {case.group for case in train} & {case.group for case in val}
        (4, 2, set())
    """
    if not 0 < fraction < 1:
        raise InputError(f"The validation fraction must lie between 0 and 1, but got {fraction}.")
    groups = _groups(cases, seed)
    if len(groups) < 2:
        raise InputError(
            f"{len(cases)} cases in {len(groups)} group cannot be split in two; at least two are needed."
        )
    keys = case_keys(cases)
    wanted = fraction * len(cases)
    chosen: set[str] = set()
    count = 0
    for name, size in groups:
        # A group is taken where that brings the part nearer to its size.
        if len(chosen) < len(groups) - 1 and abs(count + size - wanted) < abs(count - wanted):
            chosen.add(name)
            count += size
    if not chosen:
        # All are too large: the smallest, of several the first.
        chosen.add(min(groups, key=lambda group: group[1])[0])
    held = [key in chosen for key in keys]
    return (
        [case for case, one in zip(cases, held, strict=True) if not one],
        [case for case, one in zip(cases, held, strict=True) if one],
    )


def k_folds(cases: Sequence[CaseT], k: int, seed: int) -> list[tuple[list[CaseT], list[CaseT]]]:
    """Split into k folds for cross-validation.

    Every case is in the validation part of exactly one fold, and no group straddles. Groups are dealt out
    largest first to the smallest fold, so that folds are about as large as each other. As with
    :func:`split_by_fraction`, the order of the cases does not matter.

    Args:
        cases: the cases.
        k: number of folds, 2 or more.
        seed: of the draw, 0 or more.

    Returns:
        ``k`` pairs of training and validation cases, each in the order given.

    Raises:
        InputError: k below 2 or above the number of groups.

    Example:
        >>> from pathlib import Path
        >>> from scalefuse.data.segmentation import SegmentationCase
        >>> folds = k_folds([SegmentationCase(f"{n}", Path(f"{n}.png")) for n in range(5)], k=2, seed=0)
        >>> [(len(train), len(val)) for train, val in folds]
        [(2, 3), (3, 2)]
    """
    if k < 2:
        raise InputError(f"Cross-validation needs at least 2 folds, but got {k}.")
    groups = _groups(cases, seed)
    if k > len(groups):
        kind = "groups" if any(case.group is not None for case in cases) else "cases"
        raise InputError(
            f"{k} folds were asked for, but there are only {len(groups)} {kind}; choose "
            f"{len(groups)} or fewer."
        )
    sizes = [0] * k
    fold_of: dict[str, int] = {}
    # sorted is stable: groups of one size keep their random order.
    for name, size in sorted(groups, key=lambda group: -group[1]):
        fold = sizes.index(min(sizes))
        fold_of[name] = fold
        sizes[fold] += size
    folds = [fold_of[key] for key in case_keys(cases)]
    return [
        (
            [case for case, own in zip(cases, folds, strict=True) if own != fold],
            [case for case, own in zip(cases, folds, strict=True) if own == fold],
        )
        for fold in range(k)
    ]


def case_keys(cases: Sequence[Grouped]) -> list[str]:
    """For each case, what it shares with those that must stay with it and with no other.

    Cases of one name without a group, as an image in ``train`` and another in ``val`` may be, are told apart
    by their order.

    Example:
        >>> from pathlib import Path
        >>> from scalefuse.data.segmentation import SegmentationCase
        >>> case_keys([SegmentationCase("1", Path(f"{part}/1.png")) for part in ("train", "val")])
        ['case 1', 'case 1\\x002']
        >>> case_keys([SegmentationCase("1", Path("1.png"), group="patient 7")])
        ['group patient 7']
    """
    seen: Counter[str] = Counter()
    keys = []
    for case in cases:
        # The prefix keeps a case on its own apart from a group of the same name.
        key = f"case {case.name}" if case.group is None else f"group {case.group}"
        seen[key] += 1
        keys.append(key if case.group is not None or seen[key] == 1 else f"{key}\0{seen[key]}")
    return keys


def _groups(cases: Sequence[Grouped], seed: int) -> list[tuple[str, int]]:
    """Groups with their sizes, in random order."""
    if seed < 0:
        raise InputError(f"The seed must be 0 or more, but got {seed}.")
    sizes = Counter(case_keys(cases))
    names = sorted(sizes)
    return [(names[i], sizes[names[i]]) for i in np.random.default_rng(seed).permutation(len(names))]
