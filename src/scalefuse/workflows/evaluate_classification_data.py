"""What a classifier is measured on: cases in the order of its classes, and probabilities made elsewhere."""

from __future__ import annotations

import csv
import difflib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from scalefuse.data.class_names import composed
from scalefuse.data.classification import (
    ClassificationCase,
    ClassificationSet,
    TableColumns,
    read_classification,
)
from scalefuse.data.classification_table import USUAL
from scalefuse.data.csv_rows import delimiter_of
from scalefuse.errors import InputError
from scalefuse.evaluation.classification import probability_problem

PROBABILITY = "probability_"
"""What stands before the class in the name of a column of probabilities."""

_NAMES = ("name", "path", "image", "filename", "file")


UNKNOWN = -1
"""The place of a class that is not among a model's."""


@dataclass(frozen=True)
class Reading:
    """How a data set is read, see :func:`scalefuse.data.classification.read_classification`.

    Attributes:
        classes: names of its classes; those found in it where None.
        columns: of a CSV file; the usual ones where None.
        images: folder that the paths of a CSV file start from; its own where None.
    """

    classes: tuple[str, ...] | None = None
    columns: TableColumns | None = None
    images: Path | None = None


@dataclass(frozen=True)
class EvaluationData:
    """One split of a data set.

    Attributes:
        data: the whole set.
        split: name of the split.
        cases: its cases.
        classes: in the order in which probabilities come.
        order: for each class of the data set its place in ``classes``, or :data:`UNKNOWN` for one that the
            split does not show.
        notes: what was taken for granted.
        failures: one line per case of the split whose image is not there.
    """

    data: ClassificationSet
    split: str
    cases: tuple[ClassificationCase, ...]
    classes: tuple[str, ...]
    order: tuple[int, ...]
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def multi_label(self) -> bool:
        """Whether a case may carry several labels."""
        return self.data.multi_label

    def targets(self, cases: Sequence[ClassificationCase]) -> NDArray[np.int64]:
        """Class indices ``(N,)`` in the order of ``classes``, or 0 and 1 ``(N, K)``."""
        found = self.data.targets(cases)
        if not self.multi_label:
            return np.asarray(np.array(self.order)[found])
        targets = np.zeros((len(found), len(self.classes)), np.int64)
        known = np.array(self.order) != UNKNOWN
        targets[:, np.array(self.order)[known]] = found[:, known]
        return targets


def open_data(
    source: Path,
    split: str | None,
    reading: Reading | None = None,
    *,
    labels: Sequence[str] | None = None,
    multi_label: bool | None = None,
) -> EvaluationData:
    """Read a data set and bring its classes into the order of a model's.

    Classes are matched by name. A MedMNIST file whose classes have numbers only is matched by number, which
    a note says. The model may know classes that the data set lacks, not the reverse.

    Args:
        source: a folder per class, a CSV file or an ``.npz`` file.
        split: name of the split; the first there is of test, val, train and all where None.
        reading: how it is read.
        labels: classes of the model; None for those of the data set.
        multi_label: whether the model gives several labels; None for what the data set says.

    Raises:
        InputError: no such data or split, classes that the model does not know, or one label where several
            are given and the reverse.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("test/covid/1.png", "test/other/2.png"):
        ...     (folder / name).parent.mkdir(parents=True, exist_ok=True)
        ...     (folder / name).touch()
        >>> found = open_data(folder, None, labels=("other", "covid"))
        >>> found.split, found.targets(found.cases)
        ('test', array([1, 0]))
    """
    several = None if source.is_dir() else multi_label
    how = reading or Reading()
    data = read_classification(
        source,
        classes=how.classes,
        multi_label=several,
        columns=how.columns,
        images=how.images,
        strict=False,
    )
    if multi_label is not None and data.multi_label != multi_label:
        raise InputError(
            f"{source}: gives each image one label, but the model gives several; list the labels in a CSV "
            "file."
        )
    there = {case.split for case in data.cases} | {problem.split for problem in data.problems}
    name = split or next(one for one in ("test", "val", "train", "all") if one in there)
    for problem in data.problems:
        # What is wrong in other splits changes nothing here.
        if problem.split == name and problem.kind != "missing-file":
            raise InputError(problem.message)
    failures = [problem.message for problem in data.problems if problem.split == name]
    if failures and name not in data.splits:
        raise InputError(failures[0])
    cases = data.part(name)
    known = tuple(data.classes if labels is None else map(composed, labels))
    if not data.multi_label and len(known) < 2:
        raise InputError(
            f"{source}: has one class only ({', '.join(known)}), so that nothing can be told apart."
        )
    numbers = tuple(str(number) for number in range(len(data.classes)))
    notes: list[str] = []
    if source.suffix.lower() == ".npz" and data.classes == numbers and not set(numbers) <= set(known):
        if len(numbers) > len(known):
            raise InputError(
                f"{source}: has {len(numbers)} classes, but the model knows {len(known)}: {', '.join(known)}."
            )
        notes.append(
            "The file has numbers for its classes; they were taken in the order of the model's: "
            f"{', '.join(f'{number} {label}' for number, label in zip(numbers, known, strict=False))}."
        )
        return EvaluationData(data, name, cases, known, tuple(range(len(numbers))), notes, failures)
    # Classes that only other splits have are nobody's here.
    shown = {data.classes[label] for case in cases for label in case.labels}
    unknown = [label for label in data.classes if label not in known and label in shown]
    if unknown:
        near = difflib.get_close_matches(unknown[0], known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}? Rename it" if near else "rename it, choose another model"
        raise InputError(
            f"{source}: has the class {unknown[0]!r}, but the model knows {', '.join(known)}; {hint}, or "
            "leave its images out."
        )
    return EvaluationData(
        data,
        name,
        cases,
        known,
        tuple(known.index(label) if label in known else UNKNOWN for label in data.classes),
        notes,
        failures,
    )


class ReadyPredictions:
    """Probabilities from a file, by case.

    Two kinds of files are known. A table with a header has a column ``name`` and one ``probability_CLASS``
    per class, as ``scalefuse predict`` writes it (``CLASS`` alone will do). A table without a header is
    MedMNIST's: the number of the case in its split, then a probability per class in the order of the set's.

    Args:
        path: CSV file, separated by commas, semicolons or tabs.

    Raises:
        InputError: unreadable, no probabilities in it, NaN or values that are no probabilities, or one name
            twice.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "made.csv"
        >>> _ = file.write_text("name,probability_no,probability_yes\\na.png,0.25,0.75\\n")
        >>> ready = ReadyPredictions(file)
        >>> ready.classes, ready.rows["a.png"].tolist()
        (('no', 'yes'), [0.25, 0.75])
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open(newline="", encoding="utf-8-sig") as handle:
                delimiter = delimiter_of(handle.readline())
                handle.seek(0)
                reader = csv.reader(handle, delimiter=delimiter)
                lines = [line for line in reader if any(cell.strip() for cell in line)]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise InputError(
                f"{path}: cannot be read as a CSV file ({error}); save it as UTF-8 text (Excel: 'CSV UTF-8')."
            ) from error
        if not lines:
            raise InputError(f"{path}: is empty; expected a line of probabilities per case.")
        self.medmnist = all(_is_number(cell) for cell in lines[0])
        self.classes: tuple[str, ...] | None = None
        columns = list(range(1, len(lines[0])))
        name_column, body = 0, lines
        if not self.medmnist:
            header, body = [cell.strip() for cell in lines[0]], lines[1:]
            name_column, columns = self._columns(header)
            self.classes = tuple(header[column].removeprefix(PROBABILITY) for column in columns)
        self.rows: dict[str, NDArray[np.float64]] = {}
        for number, line in enumerate(body, start=1 if self.medmnist else 2):
            name = line[name_column].strip() if len(line) > name_column else ""
            values = np.array([_number(line[column] if column < len(line) else "") for column in columns])
            if not name or name in self.rows:
                raise InputError(
                    f"{path}: line {number} {f'names {name!r} again' if name else 'has no name'}; mend it."
                )
            self.rows[name] = values
        self._used: set[str] = set()
        # A file name alone finds its line where it is one of a kind.
        self._by_file: dict[str, list[str]] = {}
        for name in self.rows:
            self._by_file.setdefault(PurePath(name).name, []).append(name)

    def _columns(self, header: Sequence[str]) -> tuple[int, list[int]]:
        name = next((header.index(one) for one in _NAMES if one in header), None)
        marked = [index for index, cell in enumerate(header) if cell.startswith(PROBABILITY)]
        # Columns that a list of images has, beside those of its classes.
        known = {column for columns in USUAL.values() for column in columns}
        others = [index for index, cell in enumerate(header) if index != name and cell not in known]
        if name is None or not (marked or others):
            raise InputError(
                f"{self.path}: expected a column 'name' and a column 'probability_CLASS' for each class, but "
                f"the columns are {', '.join(header)}."
            )
        return name, marked or others

    def probabilities(
        self, opened: EvaluationData
    ) -> tuple[list[ClassificationCase], NDArray[np.float64], list[str]]:
        """The cases that the file has a line for, their probabilities ``(N, K)``, and a line for each other.

        Raises:
            InputError: the columns are not the classes of the data set, a value is no probability, or no case
                is in the file.
        """
        order = self._class_order(opened.classes)
        self._used.clear()
        found: list[ClassificationCase] = []
        rows: list[NDArray[np.float64]] = []
        failures = []
        unique = Counter(PurePath(case.name).name for case in opened.cases)
        for index, case in enumerate(opened.cases):
            row = self._row(case, index, opened.data.source, unique)
            if row is None:
                failures.append(f"{self.path}: has no line for {case.name!r}.")
                continue
            found.append(case)
            rows.append(row[order])
        if not found:
            raise InputError(f"No case could be measured. First problem: {failures[0]}")
        unused = [name for name in self.rows if name not in self._used]
        if unused:
            opened.notes.append(
                f"{self.path} has {len(unused)} line(s) for no image of the split {opened.split!r}, such as "
                f"{unused[0]!r}."
            )
        values = np.array(rows)
        problem = probability_problem(values, multi_label=opened.multi_label)
        if problem is not None:
            raise InputError(f"{self.path}: the line of {found[problem[0]].name!r} {problem[1]}")
        return found, values, failures

    def _class_order(self, classes: Sequence[str]) -> list[int]:
        width = len(next(iter(self.rows.values()))) if self.rows else 0
        if self.classes is None:
            if width != len(classes):
                raise InputError(
                    f"{self.path}: has {width} probabilities a line, but the data set has {len(classes)} "
                    f"classes: {', '.join(classes)}."
                )
            return list(range(width))
        if sorted(self.classes) != sorted(classes):
            raise InputError(
                f"{self.path}: has probabilities of {', '.join(self.classes)}, but the classes of the data "
                f"set are {', '.join(classes)}; name the columns probability_CLASS."
            )
        return [self.classes.index(label) for label in classes]

    def _row(
        self, case: ClassificationCase, index: int, source: Path, unique: Mapping[str, int]
    ) -> NDArray[np.float64] | None:
        if self.medmnist:
            self._used.add(str(index))
            return self.rows.get(str(index))
        names = [case.name, case.key]
        if case.path is not None and case.path.is_relative_to(source):
            names.append(case.path.relative_to(source).as_posix())
        file = PurePath(case.name).name
        alike = self._by_file.get(file, [])
        if unique[file] == len(alike) == 1:
            names += alike
        name = next((name for name in names if name in self.rows), None)
        if name is None:
            return None
        self._used.add(name)
        return self.rows[name]


def write_medmnist(
    folder: Path, opened: EvaluationData, probabilities: NDArray[np.floating], run: str
) -> Path:
    """Write probabilities as MedMNIST's evaluator does, for a split whose cases are all measured.

    The file is called ``SET_SPLIT_[AUC]x_[ACC]y@RUN.csv`` and holds the number of the case and a probability
    per class, in the order of the file's classes, without a header. Area and accuracy are those of MedMNIST:
    the mean over classes against the rest, and the threshold 0.5 for two classes and for labels.

    Args:
        folder: that holds the file.
        opened: the split.
        probabilities: ``(N, K)``, of all its cases in their order.
        run: name of the run.

    Raises:
        OutputError: it cannot be written.

    Reference:
        Yang et al., Scientific Data 10:41 (2023), and the description of result files that comes with its
        data.
    """
    from scalefuse.data.atomic import atomic_write
    from scalefuse.metrics.classification import ranking_areas

    # A class of the set that the model does not know has no probability, and no case in this split.
    padded = np.pad(np.asarray(probabilities, np.float64), ((0, 0), (0, 1)))
    scores = padded[:, [len(opened.classes) if place == UNKNOWN else place for place in opened.order]]
    targets = opened.data.targets(opened.cases)
    wanted = targets > 0 if opened.multi_label else targets[:, None] == np.arange(scores.shape[1])
    binary = not opened.multi_label and scores.shape[1] == 2
    columns = [1] if binary else range(scores.shape[1])
    told_apart = [k for k in columns if 0 < wanted[:, k].sum() < len(wanted)]
    areas = [ranking_areas(scores[:, k], wanted[:, k]).auroc[0] for k in told_apart]
    area = np.mean(areas) if areas else np.nan
    if opened.multi_label:
        accuracy = np.mean((scores > 0.5) == wanted)
    else:
        accuracy = np.mean((scores[:, 1] > 0.5 if binary else scores.argmax(axis=1)) == targets)
    # What stands before a known flag's name belongs to it, such as a part that somebody added.
    stem = opened.data.source.stem
    flag = re.match(r"[a-z]+mnist(3d)?(_\d+)?(?![a-z0-9])", stem)
    run = re.sub(r"[^A-Za-z0-9.-]+", "-", run) or "scalefuse"
    name = f"{flag.group() if flag else stem}_{opened.split}_[AUC]{area:.3f}_[ACC]{accuracy:.3f}@{run}.csv"
    with (
        atomic_write(folder / name) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as handle,
    ):
        csv.writer(handle, lineterminator="\n").writerows(
            [number, *map(repr, row)] for number, row in enumerate(scores.tolist())
        )
    return folder / name


def _is_number(cell: str) -> bool:
    return not np.isnan(_number(cell))


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return float("nan")
