"""Files of two folders that belong together although each folder has its own endings or beginnings."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Collection


def match_without_affixes(first: Collection[str], second: Collection[str]) -> list[tuple[str, str, str]]:
    """Pair names by what is left without the ending or the beginning that the names of one side share.

    ``p1_CT`` and ``p2_CT`` share ``_CT``, and ``p1_MRI`` and ``p2_MRI`` share ``_MRI``; what is left, ``p1``
    and ``p2``, is the same. Of several ways to take endings and beginnings away, that which pairs the most
    names counts, and of these the one that takes the least. A single name shares nothing with itself. An
    ending that two thirds of the names share counts too, so that a stray file hides none; names without it
    pair with nothing.

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
    backwards = [name[::-1] for name in names]
    beginning = re.sub(r"\d+$", "", _shared(names))
    # Not so for beginnings: these are more often a patient than a kind of file.
    endings = [re.sub(r"^\d+", "", one[::-1]) for one in (_shared(backwards), _shared_by_most(backwards))]
    return list(dict.fromkeys(itertools.product(("", beginning), ("", *endings))))


def _shared_by_most(names: Collection[str]) -> str:
    """The longest beginning that two thirds of the names share, two at the least."""
    ordered = sorted(names)
    reach = max(2, math.ceil(2 / 3 * len(ordered))) - 1
    # In order, what lies between two names shares what the two share.
    return max((_shared(pair) for pair in zip(ordered, ordered[reach:], strict=False)), key=len)


def _shared(names: Collection[str]) -> str:
    """The beginning that all names share."""
    alike = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return "".join(letters[0] for letters in alike)


def _stripped(names: Collection[str], beginning: str, ending: str) -> dict[str, str]:
    """Names by what is left of them; those that differ, or of which nothing is left, not."""
    whole = [
        name
        for name in names
        if len(name) > len(beginning) + len(ending) and name.startswith(beginning) and name.endswith(ending)
    ]
    return {name[len(beginning) : len(name) - len(ending)]: name for name in whole}
