"""A classification data set as a CSV file that lists images and labels."""

import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from scalefuse.data.class_names import composed
from scalefuse.data.classification import (
    ClassificationCase,
    ClassificationSet,
    ProblemKind,
    SetProblem,
    TableColumns,
)
from scalefuse.data.csv_rows import read_rows
from scalefuse.data.medmnist import ARCHIVED, ArchivedPictures
from scalefuse.data.read import IMAGE_SUFFIXES, image_stem, natural_key
from scalefuse.data.segmentation import SPLIT_FOLDERS
from scalefuse.errors import InputError

USUAL: dict[str, tuple[str, ...]] = {
    "path": ("path", "image", "image_id", "filename", "file", "name"),
    "label": ("label", "labels", "class", "target"),
    "split": ("split",),
    "group": ("patient", "patient_id", "group", "subject"),
    "weight": ("weight",),
}
"""Names of columns that are tried where none is chosen; ``PatientID`` and ``patient-id`` count as one."""


def read_class_table(
    path: Path,
    classes: tuple[str, ...] | None,
    multi_label: bool | None,
    columns: TableColumns,
    images: Path | str | None = None,
) -> ClassificationSet:
    """Read a CSV file of images and labels; faults are noted under ``problems``.

    Args:
        path: separated by commas, semicolons or tabs, with a header.
        classes: names of the classes; ``None`` for the labels found, in natural order.
        multi_label: whether an image may carry several labels, separated by ``;`` or ``|``, or none;
            ``None`` for: if any does.
        columns: which columns mean what.
        images: folder that paths start from; by default that of the file.

    Raises:
        InputError: no text, no rows, or a column is missing.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("a.png", "b.png"):
        ...     (folder / name).touch()
        >>> table = folder / "labels.csv"
        >>> _ = table.write_text("image,finding\\na,cyst\\nb,cyst|mass\\n")
        >>> found = read_class_table(table, None, None, TableColumns(label="finding"))
        >>> found.classes, found.targets().tolist()
        (('cyst', 'mass'), [[1, 0], [1, 1]])
    """
    header, rows = _listed(path)
    used = {meaning: _column(path, header, meaning, columns) for meaning in USUAL}
    root = path.parent if images is None else Path(images)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder of images; check the name.")
    label_column = used["label"]
    assert label_column is not None
    texts = [_labels(row.get(label_column) or "") for _, row in rows]
    several = any(len(labels) > 1 for labels in texts) if multi_label is None else multi_label
    found = sorted({label for labels in texts for label in labels}, key=natural_key)
    known = tuple(found) if classes is None else classes
    if not known:
        open_quote = any("\n" in (cell or "") for _, row in rows for cell in row.values())
        hint = ", or close the quotation mark that is open" if open_quote else ""
        raise InputError(f"{path}: the column {label_column!r} is empty; fill in labels{hint}.")
    reader = _Rows(path, used, known, several, _Finder(root))
    for (line, row), labels in zip(rows, texts, strict=True):
        reader.add(line, row, labels)
    told = _told(header, used)
    return ClassificationSet(path, known, several, tuple(reader.cases), tuple(reader.problems), columns=told)


def list_table_images(
    path: Path, columns: TableColumns, images: Path | str | None = None
) -> tuple[list[ClassificationCase], list[str]]:
    """The images that a CSV file lists, without labels, which it may have or not.

    Args:
        path: separated by commas, semicolons or tabs, with a header.
        columns: which column holds the images, and which the split, if any.
        images: folder that paths start from; by default that of the file.

    Returns:
        Cases with no label, and a line for each row whose image is not there.

    Raises:
        InputError: no text, no rows, or no column for the images.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / "a.png").touch()
        >>> _ = (folder / "list.csv").write_text("image\\na\\n")
        >>> [case.path.name for case in list_table_images(folder / "list.csv", TableColumns())[0]]
        ['a.png']
    """
    header, rows = _listed(path)
    name_column, split_column = (_column(path, header, what, columns) for what in ("path", "split"))
    assert name_column is not None
    root = path.parent if images is None else Path(images)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder of images; check the name.")
    finder = _Finder(root)
    cases, problems = [], []
    for line, row in rows:
        name = (row.get(name_column) or "").strip()
        file, pixels = finder.find_picture(name)
        if not isinstance(file, Path):
            problems.append(f"{path}: line {line}: {file}; mend or remove the line.")
            continue
        split = SPLIT_FOLDERS.get(
            (row.get(split_column) or "").strip().lower() if split_column else "", "all"
        )
        cases.append(_case(name, split, (), file, pixels))
    return cases, problems


_LONGEST = 4000  # characters of a path


class _Rows:
    """Turns rows into cases and notes what is wrong with them."""

    def __init__(
        self,
        path: Path,
        columns: dict[str, str | None],
        classes: tuple[str, ...],
        multi_label: bool,
        finder: "_Finder",
    ) -> None:
        self.cases: list[ClassificationCase] = []
        self.problems: list[SetProblem] = []
        self._path, self._columns, self._finder = path, columns, finder
        self._classes = {name: index for index, name in enumerate(classes)}
        self._multi_label = multi_label
        self._lines: dict[Path, int] = {}

    def add(self, line: int, row: dict[str, str], labels: Sequence[str]) -> None:
        name, split = self._cell(row, "path"), self._split(line, row)
        fault = self._label_fault(labels)
        file, pixels = self._finder.find_picture(name)
        if isinstance(file, str):
            fault = ("missing-file", file)
        elif (earlier := self._lines.setdefault(file.resolve(), line)) != line:
            fault = ("duplicate-row", f"the image {name!r} is listed before, in line {earlier}")
        # Nothing is trained on the test part, whose weights may be left out.
        weight = 1.0 if split == "test" and not self._cell(row, "weight") else self._weight(row)
        if fault is None and weight is None:
            text = f"the weight of {name!r} is {self._cell(row, 'weight')!r}, not a number of 0 or more"
            fault = ("bad-weight", text)
        if fault is not None:
            text = f"{self._path}: line {line}: {fault[1]}; mend or remove the line."
            self.problems.append(SetProblem(fault[0], split, text, name or None))
            return
        assert isinstance(file, Path)
        assert weight is not None
        indices = tuple(sorted({self._classes[label] for label in labels}))
        label: int | tuple[int, ...] = indices if self._multi_label else indices[0]
        group = self._cell(row, "group") or None
        self.cases.append(replace(_case(name, split, label, file, pixels), group=group, weight=weight))

    def _label_fault(self, labels: Sequence[str]) -> tuple[ProblemKind, str] | None:
        if not self._multi_label and len(labels) != 1:
            what = "no label" if not labels else f"{len(labels)} labels ({', '.join(labels)})"
            return "missing-label", f"has {what}, but exactly one was expected"
        unknown = [label for label in labels if label not in self._classes]
        if unknown:
            return "unknown-label", f"{unknown[0]!r} is not among the classes ({', '.join(self._classes)})"
        return None

    def _split(self, line: int, row: dict[str, str]) -> str:
        if self._columns["split"] is None:
            return "all"
        text = self._cell(row, "split")
        split = SPLIT_FOLDERS.get(text.lower())
        if split is None:
            raise InputError(
                f"{self._path}: line {line}: the split is {text!r}, but train, val or test was expected; "
                "mend it."
            )
        return split

    def _weight(self, row: dict[str, str]) -> float | None:
        if self._columns["weight"] is None:
            return 1.0
        try:
            weight = float(self._cell(row, "weight"))
        except ValueError:
            return None
        return weight if math.isfinite(weight) and weight >= 0 else None

    def _cell(self, row: dict[str, str], meaning: str) -> str:
        column = self._columns[meaning]
        return "" if column is None else (row.get(column) or "").strip()


def _case(
    name: str, split: str, label: int | tuple[int, ...], file: Path, pixels: NDArray[Any] | None
) -> ClassificationCase:
    return ClassificationCase(name, split, label, file if pixels is None else None, pixels=pixels)


class _Finder:
    """Finds image files, and pictures in MedMNIST files, by what a table calls them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._archived = ArchivedPictures(root)
        self._by_stem: dict[str, list[Path]] | None = None
        self._in_folder: dict[Path, dict[str, list[Path]]] = {}

    def find_picture(self, name: str) -> tuple[Path | str, NDArray[Any] | None]:
        """The file and, of pictures in MedMNIST files, the pixels; a text where there is none to be had."""
        # Unlike Path.is_file, no error for what can be no file's name.
        if ARCHIVED in name and not os.path.isfile(self.root / name):  # noqa: PTH113
            try:
                place, pixels = self._archived.find(name)
            except InputError as error:
                return str(error).rstrip("."), None
            return (f"{name!r}: no such picture in the file" if pixels is None else place), pixels
        found = self.find(name) if name else None
        return found or f"the image {name!r} is not in {self.root}", None

    def find(self, name: str) -> Path | str | None:
        """The file; a text where two could be meant or none can be; ``None`` where none is."""
        if "\n" in name or len(name) > _LONGEST:
            return (
                f"the image's name has {len(name)} characters, from {name[:40]!r}; perhaps a quotation mark "
                "is not closed, or this is no column of names"
            )
        direct = self.root / name
        # Unlike Path.is_file, no error for what can be no file's name.
        if os.path.isfile(direct):  # noqa: PTH113
            return direct
        if "\\" in name:
            # As Windows writes it.
            return self.find(name.replace("\\", "/"))
        if Path(name).name != name:
            # A path with folders means that place, perhaps without its suffix.
            if direct.parent not in self._in_folder:
                self._in_folder[direct.parent] = _stems(direct.parent.glob("*"))
            return _one_of(self._in_folder[direct.parent].get(direct.name, []), name)
        if self._by_stem is None:
            self._by_stem = _stems(_files_below(self.root))
        files = self._by_stem.get(image_stem(name), [])
        if image_stem(name) != name:
            files = [file for file in files if file.name == name]
        return _one_of(files, name)


def _files_below(root: Path) -> Iterator[Path]:
    """All files of a folder and the folders in it, linked ones too, each folder once."""
    seen: set[str] = set()
    for folder, inner, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            inner.clear()
            continue
        seen.add(real)
        yield from (Path(folder, name) for name in names)


def _stems(files: Iterable[Path]) -> dict[str, list[Path]]:
    """Image files by their names without suffix."""
    by_stem: dict[str, list[Path]] = {}
    for file in sorted(files):
        if file.name.lower().endswith(IMAGE_SUFFIXES) and not file.name.startswith("."):
            by_stem.setdefault(image_stem(file), []).append(file)
    return by_stem


def _one_of(files: Sequence[Path], name: str) -> Path | str | None:
    if len(files) > 1:
        return f"both {files[0]} and {files[1]} could be meant by {name!r}"
    return files[0] if files else None


def _listed(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    header, rows = read_rows(path)
    if not rows:
        raise InputError(f"{path}: lists no images; a header and a line for each image were expected.")
    return header, rows


def _column(path: Path, header: Sequence[str], meaning: str, columns: TableColumns) -> str | None:
    chosen: str | None = getattr(columns, meaning)
    if chosen is not None and chosen not in header:
        raise InputError(
            f"{path}: has no column {chosen!r} for the {meaning}; the columns are "
            f"{', '.join(header) or 'none'}."
        )
    if chosen is not None:
        return chosen
    spelt = {_plain(name): name for name in reversed(header)}
    found = next((spelt[_plain(name)] for name in USUAL[meaning] if _plain(name) in spelt), None)
    if found is None and meaning in ("path", "label"):
        raise InputError(
            f"{path}: has no column for the {meaning} ({', '.join(USUAL[meaning])}); the columns are "
            f"{', '.join(header) or 'none'}; name the right one."
        )
    return found


def _plain(name: str) -> str:
    """The name of a column without what people write in different ways."""
    return re.sub(r"[\s_-]", "", name).casefold()


def _told(header: Sequence[str], used: Mapping[str, str | None]) -> str:
    """Which column was taken for what, for people to see."""
    taken = [f"{meaning} from {name!r}" for meaning, name in used.items() if name is not None]
    absent = [meaning for meaning, name in used.items() if name is None]
    ignored = [repr(name) for name in header if name not in used.values()]
    told = f"{', '.join(taken)}; no column for {', '.join(absent)}" if absent else ", ".join(taken)
    return f"{told}; not used: {', '.join(ignored)}" if ignored else told


def _labels(text: str) -> list[str]:
    return [label for part in re.split(r"[;|]", composed(text)) if (label := part.strip())]
