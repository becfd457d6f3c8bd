"""Names of classes."""

import csv
import unicodedata
from collections.abc import Sequence

from scalefuse.errors import InputError


def composed(name: str) -> str:
    """A name with each letter and its marks as one character, as most systems write it; macOS parts them.

    Example:
        >>> parted = "O" + chr(0x308) + "dem"
        >>> len(parted), len(composed(parted))
        (5, 4)
    """
    return unicodedata.normalize("NFC", name)


def split_names(text: str) -> tuple[str, ...]:
    """Names that stand in one text, between commas; a name that holds a comma stands in quotation marks.

    Example:
        >>> split_names('normal, "cyst, simple"')
        ('normal', 'cyst, simple')
    """
    return tuple(name.strip() for name in next(csv.reader([text], skipinitialspace=True), []))


def check_names(classes: Sequence[str]) -> tuple[str, ...]:
    """The names, composed, after refusing those that are empty or stand twice.

    Raises:
        InputError: they are no names of classes.

    Example:
        >>> check_names(["normal", "cyst"])
        ('normal', 'cyst')
    """
    names = tuple(map(composed, classes))
    if not names or any(not name.strip() for name in names) or len(set(names)) < len(names):
        raise InputError(f"Expected names of classes that differ from one another, but got {names}.")
    return names


def check_separators(classes: Sequence[str]) -> None:
    """Refuse names that hold what parts labels in tables, or breaks their lines.

    Raises:
        InputError: one does.

    Example:
        >>> check_separators(["cyst|mass"])
        Traceback (most recent call last):
        scalefuse.errors.InputError: A class cannot be called 'cyst|mass': `;` and `|` part the labels of ...
    """
    if parted := [name for name in classes if ";" in name or "|" in name]:
        raise InputError(
            f"A class cannot be called {parted[0]!r}: `;` and `|` part the labels of an image in tables; "
            "give it another name."
        )
    if broken := [name for name in classes if any(ord(sign) < 32 for sign in name)]:
        raise InputError(
            f"A class cannot be called {broken[0]!r}: names with line breaks or other control characters fit "
            "into no table; give it another name."
        )
