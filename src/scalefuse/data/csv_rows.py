"""Rows of a CSV file, however it was saved."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from scalefuse.errors import InputError


def read_rows(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Read a CSV file with a header, separated by commas, semicolons or tabs.

    Args:
        path: the file, in UTF-8.

    Returns:
        The names of the columns, and each row with the number of its (first) line.

    Raises:
        InputError: no file, no text, no CSV, two columns of one name, or a row with more cells than the
            header.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "labels.csv"
        >>> _ = file.write_text("image; label\\n1.png;cyst\\n")
        >>> read_rows(file)
        (['image', 'label'], [(2, {'image': '1.png', 'label': 'cyst'})])
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; check the name of the CSV file.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: cannot be read as a CSV file ({error}); save it as UTF-8 text (Excel: 'CSV UTF-8')."
        ) from error
    delimiter = delimiter_of(text.partition("\n")[0])
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        header = [name.strip() for name in reader.fieldnames or []]
    except csv.Error as error:
        raise InputError(f"{path}: the header is not CSV ({error}); mend it.") from error
    if twice := [name for name in dict.fromkeys(header) if name and header.count(name) > 1]:
        raise InputError(
            f"{path}: {header.count(twice[0])} columns are called {twice[0]!r}; rename or remove all but one."
        )
    reader.fieldnames = header
    try:
        rows = [(reader.line_num - _line_ends(row), row) for row in reader]
    except csv.Error as error:
        raise InputError(
            f"{path}: what follows line {reader.line_num} is not CSV ({error}); mend it."
        ) from error
    for line, row in rows:
        # What stands beyond the header, without a name.
        surplus: Sequence[str] = row.get(None) or ()
        if any(cell.strip() for cell in surplus):
            raise InputError(
                f"{path}: line {line} has {len(header) + len(surplus)} cells, but the header has "
                f"{len(header)}; put a cell that holds {delimiter!r} in quotation marks."
            )
    return header, rows


def _line_ends(row: Mapping[str, str | None]) -> int:
    """Line ends in the cells of a row, which quotation marks may hold."""
    return sum(cell.count("\n") for cell in row.values() if isinstance(cell, str))


def delimiter_of(header: str) -> str:
    """What separates the cells of a table: commas, semicolons or tabs.

    Example:
        >>> delimiter_of("name;label")
        ';'
    """
    return max(",;\t", key=header.count)
