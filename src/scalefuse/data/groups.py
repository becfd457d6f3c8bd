"""Which images belong together, such as those of one patient, from a CSV file."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from scalefuse.data.csv_rows import read_rows
from scalefuse.data.read import image_stem
from scalefuse.errors import InputError

NAME_COLUMNS = ("name", "image", "image_id", "filename", "file", "path")
"""Columns of a CSV file that may name the image, the first one found is taken."""


def read_groups(path: Path | str, column: str) -> dict[str, str]:
    """Read which group (patient, site, video, …) every image belongs to.

    Args:
        path: a CSV file with a header, separated by commas, semicolons or tabs. One of the columns
            ``name``, ``image``, ``image_id``, ``filename``, ``file`` or ``path`` names the image, with or
            without folders (those of Windows too) and suffix.
        column: the column with the group. Names of columns are compared without case.

    Returns:
        Group by image, named as in the file but without suffix and with ``/`` between folders.

    Raises:
        InputError: unreadable, columns missing, an empty cell, or one image in two groups.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "patients.csv"
        >>> _ = file.write_text("image,patient\\nscan1.png,7\\nb/scan1.png,8\\n")
        >>> read_groups(file, "patient")
        {'scan1': '7', 'b/scan1': '8'}
    """
    path = Path(path)
    columns, rows = read_rows(path)
    by_lower = {name.lower(): name for name in reversed(columns)}
    name_column = next((by_lower[name] for name in NAME_COLUMNS if name in by_lower), None)
    column = column if column in columns else by_lower.get(column.lower(), column)
    if name_column is None or column not in columns:
        missing = (
            f"one of the columns {', '.join(NAME_COLUMNS)}" if name_column is None else f"column {column!r}"
        )
        raise InputError(
            f"{path}: {missing} was expected, but the columns are {', '.join(columns) or 'none'}."
        )
    groups: dict[str, str] = {}
    for line, row in rows:
        place = PurePosixPath((row[name_column] or "").strip().replace("\\", "/"))
        group = (row[column] or "").strip()
        if not place.name or not group:
            lacking = column if place.name else name_column
            raise InputError(f"{path}: line {line} has no {lacking}; fill it in.")
        name = str(place.with_name(image_stem(place.name)))
        if groups.setdefault(name, group) != group:
            raise InputError(f"{path}: {name} belongs to both {groups[name]!r} and {group!r}; keep one.")
    return groups


def groups_of(
    images: Sequence[Path], groups: Mapping[str, str], *, source: Path | str = "the CSV file"
) -> list[str]:
    """The group of every image.

    A line belongs to the image whose path ends as it does. Where folders differ, because images were moved
    since, it is the file name that counts, as long as no other image and no other line bears it.

    Args:
        images: all images of the data set, of every split.
        groups: see :func:`read_groups`.
        source: where the groups come from, for messages.

    Raises:
        InputError: images without a line, or a line that could mean two images; a split that does not know
            their groups could put one patient on both sides.

    Example:
        >>> groups_of([Path("x/a/1.png"), Path("x/b/1.png")], {"a/1": "anna", "b/1": "ben"})
        ['anna', 'ben']
    """
    lines: defaultdict[str, list[tuple[tuple[str, ...], str]]] = defaultdict(list)
    for name, group in groups.items():
        parts = PurePosixPath(name).parts
        lines[parts[-1]].append((parts, group))
    bearers = Counter(image_stem(image) for image in images)
    found: list[str] = []
    lacking: list[Path] = []
    taken: dict[tuple[str, ...], Path] = {}
    for image in images:
        stem = image_stem(image)
        parts = (*image.absolute().parts[:-1], stem)
        fitting = [(_shared(parts, line), line, group) for line, group in lines[stem]]
        if bearers[stem] > 1 or len({group for _, _, group in fitting}) > 1:
            # A name alone is not enough here: the whole line, or at least a folder, must agree.
            fitting = [one for one in fitting if one[0] >= min(2, len(one[1]))]
        best = max(((shared, shared == len(line)) for shared, line, _ in fitting), default=None)
        fitting = [one for one in fitting if (one[0], one[0] == len(one[1])) == best]
        if len({group for _, _, group in fitting}) != 1:
            lacking.append(image)
            continue
        _, line, group = fitting[0]
        other = taken.setdefault(line, image)
        if other != image:
            raise InputError(
                f"{source}: {'/'.join(line)!r} could mean {other} and {image}; name images with as many of "
                "their folders as tell them apart."
            )
        found.append(group)
    if lacking:
        raise InputError(
            f"{source}: {len(lacking)} of {len(images)} images have no line in it, for instance "
            f"{str(lacking[0])!r}; add them."
        )
    return found


def _shared(path: Sequence[str], line: Sequence[str]) -> int:
    """How many parts two paths have in common, from the end."""
    number = 0
    for one, other in zip(reversed(path), reversed(line), strict=False):
        if one != other:
            break
        number += 1
    return number
