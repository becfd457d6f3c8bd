"""The images of a classification data set with their labels, wherever they are listed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from scalefuse.data.class_names import check_names, check_separators
from scalefuse.data.image import Image
from scalefuse.data.read import read_image, require_finite
from scalefuse.errors import InputError
from scalefuse.schema import Schema

SPLITS = ("train", "val", "test", "all")
"""The parts of a data set in their order; ``all`` where nothing is split."""

ProblemKind = Literal[
    "empty-class",
    "unknown-label",
    "missing-label",
    "missing-file",
    "duplicate-row",
    "bad-weight",
]


class TableColumns(Schema):
    """Which columns of a CSV file mean what.

    A column that is named here must be there. Where a name is ``None``, the usual ones are tried, without a
    look at capitals, spaces, dashes and underscores.

    Attributes:
        path: the image: a path, or a file name with or without suffix. Usual: ``path``, ``image``,
            ``image_id``, ``filename``, ``file``, ``name``.
        label: the class, or several separated by ``;`` or ``|``. Usual: ``label``, ``labels``, ``class``,
            ``target``.
        split: ``train``, ``val`` or ``test``. Usual: ``split``; without one nothing is split.
        group: what must stay together, such as the patient. Usual: ``patient``, ``patient_id``, ``group``,
            ``subject``; without one every image is on its own.
        weight: how much an image counts in the loss, 0 or more. Usual: ``weight``; without one all count 1.

    Example:
        >>> TableColumns(label="diagnosis").path is None
        True
    """

    path: str | None = None
    label: str | None = None
    split: str | None = None
    group: str | None = None
    weight: str | None = None

    @classmethod
    def parse(cls, text: str) -> "TableColumns":
        """Read columns from the form that they have on the command line.

        Args:
            text: such as ``path=image_id,label=diagnosis``.

        Raises:
            InputError: another form, or another meaning than the five.

        Example:
            >>> TableColumns.parse("path=image_id,label=diagnosis").label
            'diagnosis'
        """
        pairs = [part.partition("=") for part in text.split(",")]
        found = {meaning.strip(): column.strip() for meaning, _, column in pairs}
        if not all(found.values()) or not found.keys() <= cls.model_fields.keys():
            raise InputError(
                f"{text!r}: expected {', '.join(cls.model_fields)} with their columns, such as "
                "path=image_id,label=diagnosis."
            )
        return cls.model_validate(found)


@dataclass(frozen=True)
class ClassificationCase:
    """One image and what it shows.

    Attributes:
        name: differs from that of every other case of its split: the file below the split's folder, the path
            as the CSV file has it, or the place in the ``.npz`` file.
        split: ``train``, ``val``, ``test``, or ``all`` where nothing is split.
        label: index of its class; for multi-label sets the ascending indices of its labels, perhaps none.
        path: the image file; ``None`` for an image in memory.
        group: what must stay together when the data set is split, such as the patient; ``None`` for a case
            on its own.
        weight: how much it counts in the loss, 0 or more.
        pixels: ``(H, W)`` or ``(H, W, 3)``, for an image in memory.
    """

    name: str
    split: str
    label: int | tuple[int, ...]
    path: Path | None = None
    group: str | None = None
    weight: float = 1.0
    pixels: NDArray[Any] | None = field(default=None, repr=False, compare=False)

    @property
    def key(self) -> str:
        """``split/name``, which no other case of the data set has."""
        return f"{self.split}/{self.name}"

    @property
    def labels(self) -> tuple[int, ...]:
        """The indices of all its classes."""
        return self.label if isinstance(self.label, tuple) else (self.label,)

    def read(self) -> Image:
        """The picture in full.

        Raises:
            InputError: as :func:`scalefuse.data.read.read_image`.

        Example:
            >>> case = ClassificationCase("0", "train", 1, pixels=np.zeros((28, 28), np.uint8))
            >>> case.read().size
            (28, 28)
        """
        if self.pixels is not None:
            require_finite(self.pixels, self.key)
            return Image(self.pixels, source=Path(self.key))
        assert self.path is not None, "a case has a file or pixels"
        return read_image(self.path)


@dataclass(frozen=True)
class SetProblem:
    """One fault in how a data set is laid out.

    Attributes:
        kind: a short fixed name.
        split: where.
        message: what is wrong and what to do.
        case: name of the case, if it is one.
    """

    kind: ProblemKind
    split: str
    message: str
    case: str | None = None


@dataclass(frozen=True)
class ClassificationSet:
    """A classification data set.

    Attributes:
        source: the folder, CSV file or ``.npz`` file.
        classes: names of the classes in the order of their indices.
        multi_label: whether an image may carry several labels, or none.
        cases: all cases.
        problems: faults that were found on the way, and whose cases are left out.
        columns: of a table, which column was taken for what.
        left_out: of folders, what lies in them and belongs to no class.
    """

    source: Path
    classes: tuple[str, ...]
    multi_label: bool
    cases: tuple[ClassificationCase, ...]
    problems: tuple[SetProblem, ...] = ()
    columns: str = ""
    left_out: tuple[str, ...] = ()

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the parts that have cases: among ``train``, ``val`` and ``test``, or ``all``."""
        found = {case.split for case in self.cases}
        return tuple(split for split in SPLITS if split in found)

    def part(self, split: str) -> tuple[ClassificationCase, ...]:
        """The cases of one part.

        Raises:
            InputError: there is no such part.

        Example:
            >>> cases = (ClassificationCase("a", "train", 0), ClassificationCase("b", "train", 1))
            >>> found = ClassificationSet(Path("set"), ("no", "yes"), False, cases)
            >>> len(found.part("train"))
            2
            >>> found.part("val")
            Traceback (most recent call last):
            scalefuse.errors.InputError: set: has no part 'val'; it has: train.
        """
        cases = tuple(case for case in self.cases if case.split == split)
        if not cases:
            raise InputError(
                f"{self.source}: has no part {split!r}; it has: {', '.join(self.splits) or 'none'}."
            )
        return cases

    def targets(self, cases: Sequence[ClassificationCase] | None = None) -> NDArray[np.int64]:
        """What a classifier should say.

        Args:
            cases: some of the cases; all by default.

        Returns:
            ``(N,)`` class indices, or for multi-label sets ``(N, K)`` of 0 and 1.

        Example:
            >>> cases = (ClassificationCase("a", "all", (0, 2)), ClassificationCase("b", "all", ()))
            >>> ClassificationSet(Path("set"), ("x", "y", "z"), True, cases).targets()
            array([[1, 0, 1],
                   [0, 0, 0]])
        """
        cases = self.cases if cases is None else cases
        if not self.multi_label:
            return np.array([case.labels[0] for case in cases], np.int64)
        targets = np.zeros((len(cases), len(self.classes)), np.int64)
        for row, case in zip(targets, cases, strict=True):
            row[list(case.labels)] = 1
        return targets


def read_classification(
    source: Path | str,
    *,
    classes: Sequence[str] | None = None,
    multi_label: bool | None = None,
    columns: TableColumns | None = None,
    images: Path | str | None = None,
    groups_csv: Path | str | None = None,
    group_column: str | None = None,
    strict: bool = True,
) -> ClassificationSet:
    """Read a data set: a folder per class, a CSV file, or a MedMNIST ``.npz`` file.

    - **A folder per class**, or ``train``, ``val`` (or ``valid``) and ``test`` folders with these inside.
    - **A CSV file** with a header; see :class:`TableColumns`. Several labels separated by ``;`` or ``|``
      make a multi-label set.
    - **A MedMNIST file**: ``train_images`` ``(N, H, W)`` or ``(N, H, W, 3)`` and ``train_labels`` ``(N, 1)``,
      or ``(N, K)`` of 0 and 1 for multi-label sets; the same for ``val`` and ``test``.

    Args:
        source: the folder or file.
        classes: names of the classes in the order of their indices; by default those found, in natural order
            (the MedMNIST ones by the name of the file). Labels that are not among them are a fault.
        multi_label: whether an image may carry several labels; by default found from the source.
        columns: of a CSV file.
        images: folder that the paths of a CSV file start from, by default the file's own. Names without
            suffix are looked up in it and the folders in it.
        groups_csv: for folders, a table of which images belong together, see
            :func:`scalefuse.data.groups.read_groups`.
        group_column: its column.
        strict: raise on the first fault; otherwise leave its case out and note it under ``problems``.

    Returns:
        Classes and cases. Whether they can be trained on says :func:`check_trainable`.

    Raises:
        InputError: no such layout, columns that are missing, two classes of one name, no images; and, if
            strict, a class folder that is empty, a label that is not among ``classes``, a file that is
            missing, an image that is listed twice, a weight that is negative or no number.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("train/covid/1.png", "train/other/2.png", "valid/other/3.png"):
        ...     (folder / name).parent.mkdir(parents=True, exist_ok=True)
        ...     (folder / name).touch()
        >>> found = read_classification(folder)
        >>> found.classes, found.splits, found.part("val")[0].name
        (('covid', 'other'), ('train', 'val'), 'other/3.png')
    """
    from scalefuse.data.classification_folder import read_class_folders
    from scalefuse.data.classification_table import read_class_table
    from scalefuse.data.medmnist import read_medmnist

    source = Path(source)
    named = None if classes is None else check_names(classes)
    suffix = source.suffix.lower()
    if not source.exists():
        raise InputError(
            f"{source}: no such file or folder; give a folder with a folder per class, a CSV file or an .npz "
            "file."
        )
    if groups_csv is not None or group_column is not None:
        if not source.is_dir():
            raise InputError(
                f"{source}: a table of groups goes with a folder of images; in a CSV file name its own "
                "group column."
            )
        if multi_label:
            raise InputError(f"{source}: folders give each image one label; use a CSV file for several.")
    if source.is_dir():
        found = read_class_folders(source, named, groups_csv=groups_csv, group_column=group_column)
    elif suffix == ".npz":
        found = read_medmnist(source, named, multi_label)
    elif suffix in (".csv", ".tsv", ".txt"):
        found = read_class_table(source, named, multi_label, columns or TableColumns(), images)
    else:
        raise InputError(
            f"{source}: expected a folder with a folder per class, a CSV file or an .npz file; "
            "check the name."
        )
    check_separators(found.classes)
    if strict:
        refuse_problems(found.problems)
    return found


def refuse_problems(problems: Sequence[SetProblem]) -> None:
    """Raise on the first fault of a data set, if there is any.

    Args:
        problems: those that matter.

    Raises:
        InputError: there are some.

    Example:
        >>> refuse_problems([SetProblem("missing-label", "train", "line 2: has no label.")])
        Traceback (most recent call last):
        scalefuse.errors.InputError: line 2: has no label.
    """
    if problems:
        more = len(problems) - 1
        raise InputError(problems[0].message + (f" ({more} more such faults follow.)" if more else ""))


def check_trainable(
    data: ClassificationSet,
    train: Sequence[ClassificationCase],
    val: Sequence[ClassificationCase] = (),
) -> None:
    """Refuse parts from which a classifier cannot learn what it is measured on.

    Args:
        data: the data set, for its classes.
        train: what is trained on.
        val: what is validated on.

    Raises:
        InputError: no cases, one class only, a class without training images, in validation a label that
            training never saw, or weights that are all 0.

    Example:
        >>> cases = (ClassificationCase("a", "train", 0), ClassificationCase("b", "val", 1))
        >>> data = ClassificationSet(Path("set"), ("no", "yes"), False, cases)
        >>> check_trainable(data, data.part("train"), data.part("val"))
        Traceback (most recent call last):
        scalefuse.errors.InputError: set: the validation part has 1 image(s) of 'yes', which ...
    """
    source = data.source
    if not train:
        raise InputError(f"{source}: no images are left to train on; check the splits.")
    if len(data.classes) < 2 and not data.multi_label:
        raise InputError(
            f"{source}: has one class only ({', '.join(data.classes)}); at least two are needed, add images "
            "of another."
        )
    seen = {label for case in train for label in case.labels}
    for index, name in enumerate(data.classes):
        if index in seen:
            continue
        count = sum(index in case.labels for case in val)
        if count:
            raise InputError(
                f"{source}: the validation part has {count} image(s) of {name!r}, which training never saw; "
                "add such images to the training part or take them out."
            )
        raise InputError(
            f"{source}: no training image shows {name!r}; add some, or leave the class out of `classes`."
        )
    if math.fsum(case.weight for case in train) <= 0:
        raise InputError(f"{source}: the weights of all {len(train)} training images are 0; mend them.")
