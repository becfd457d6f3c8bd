"""Files of two folders that belong together although each folder has its own endings or beginnings."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection


def match_without_affixes(first: Collection[str], second: Collection[str]) -> list[tuple[str, str, str]]:
    """Pair names by what is left without the ending or the beginning that all names of one side share.

    ``p1_CT`` and ``p2_CT`` share ``_CT``, and ``p1_MRI`` and ``p2_MRI`` share ``_MRI``; what is left, ``p1``
    and ``p2``, is the same. Of several ways to take endings and beginnings away, that which pairs the most
    names counts, and of these the one that takes the least. A single name shares nothing with itself.

    Args:
        first: names that differ from one another.
        second: the same.

    Returns:
        What is left of each pair and the two names, in the order of ``first``; empty where nothing fits.

    Example:
        >>> match_without_affixes(["21_training", "22_training"], ["22_manual1", "21_manual1", "23_manual1"])
        [('21', '21_training', '21_manual1'), ('22', '22_training', '22_manual1')]
        >>> match_without_affixes(["ct_1", "ct_12"], ["1", "12"])
        [('1', 'ct_1', '1'), ('12', 'ct_12', '12')]
        >>> match_without_affixes(["a", "b"], ["c", "d"])
        []
    """
    best: list[tuple[str, str, str]] = []
    least = 0
    for one, other in itertools.product(_ways(first), _ways(second)):
        left, right = _stripped(first, *one), _stripped(second, *other)
        pairs = [(key, left[key], right[key]) for key in left if key in right]
        taken = sum(map(len, (*one, *other)))
        if pairs and (len(pairs), -taken) > (len(best), -least):
            best, least = pairs, taken
    return best


def _ways(names: Collection[str]) -> list[tuple[str, str]]:
    """Beginnings and endings that may be taken away."""
    if len(names) < 2:
        return [("", "")]
    # No digit is parted from others: of "p10_CT" and "p20_CT" not "0_CT" is the ending.
    beginning = re.sub(r"\d+$", "", _shared_beginning(names))
    ending = re.sub(r"^\d+", "", _shared_beginning([name[::-1] for name in names])[::-1])
    return list(dict.fromkeys(itertools.product(("", beginning), ("", ending))))


def _shared_beginning(names: Collection[str]) -> str:
    alike = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return "".join(letters[0] for letters in alike)


def _stripped(names: Collection[str], beginning: str, ending: str) -> dict[str, str]:
    """Names by what is left of them; those of which nothing is left, or where two beginnings meet, not."""
    whole = [name for name in names if len(name) > len(beginning) + len(ending)]
    return {name[len(beginning) : len(name) - len(ending)]: name for name in whole}
