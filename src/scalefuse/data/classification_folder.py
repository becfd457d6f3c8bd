"""A classification data set as a folder per class."""

from dataclasses import replace
from pathlib import Path

from scalefuse.data.class_names import composed
from scalefuse.data.classification import SPLITS, ClassificationCase, ClassificationSet, SetProblem
from scalefuse.data.groups import groups_of, read_groups
from scalefuse.data.read import list_images, natural_key
from scalefuse.data.segmentation import IMAGE_FOLDERS, MASK_FOLDERS, SPLIT_FOLDERS
from scalefuse.errors import InputError

_LAYOUT = "expected a folder per class in it, or in 'train', 'val' (or 'valid') and 'test' folders in it"

_FLAT = "move them up, or list them in a CSV file with path, label and perhaps patient"


def read_class_folders(
    folder: Path,
    classes: tuple[str, ...] | None,
    *,
    groups_csv: Path | str | None = None,
    group_column: str | None = None,
) -> ClassificationSet:
    """Find the images of a folder per class.

    Names of classes are those of their folders, in natural order. Files of other formats and folders inside
    of class folders are left alone; images in these are noted under ``left_out``. Faults are noted under
    ``problems``.

    Args:
        folder: holds a folder per class, or ``train``, ``val`` and ``test`` folders with these inside.
        classes: names of the classes; ``None`` for those found.
        groups_csv: see :func:`scalefuse.data.groups.read_groups`.
        group_column: its column.

    Raises:
        InputError: no such layout, no images, two splits or classes of one meaning, or the table of groups
            does not fit.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("grade 2/a.png", "grade 10/b.png"):
        ...     (folder / name).parent.mkdir()
        ...     (folder / name).touch()
        >>> (folder / "grade 11").mkdir()
        >>> found = read_class_folders(folder, None)
        >>> found.classes, [problem.kind for problem in found.problems]
        (('grade 2', 'grade 10', 'grade 11'), ['empty-class'])
    """
    groups = None
    if groups_csv is not None or group_column is not None:
        if groups_csv is None or group_column is None:
            raise InputError(
                "A CSV file and the name of one of its columns are needed together to keep groups such as "
                f"patients apart, but got file {groups_csv} and column {group_column!r}; give both."
            )
        groups = read_groups(groups_csv, group_column)
    parts = _parts(folder)
    names = {composed(child.name) for part in parts.values() for child in _subfolders(part)}
    known = tuple(sorted(names, key=natural_key)) if classes is None else classes
    cases: list[ClassificationCase] = []
    problems: list[SetProblem] = []
    left_out: list[str] = []
    for split in (split for split in SPLITS if split in parts):
        if beside := list_images(parts[split]):
            left_out.append(
                f"{parts[split]}: {len(beside)} images beside the folders of the classes, such as "
                f"{beside[0].name!r}, are left out; move them into one."
            )
        for child in _subfolders(parts[split]):
            files = list_images(child)
            inner = [folder for folder in _subfolders(child) if _holds_images(folder)]
            if inner and files:
                left_out.append(f"{child}: images in folders inside ({_named(inner)}) are left out; {_FLAT}.")
            if not files:
                text = f"{child}: holds no images, but is the folder of a class; add images or take it away."
                if inner:
                    text = (
                        f"{child}: its images lie in folders inside ({_named(inner)}), but were expected in "
                        f"the folder of the class itself; {_FLAT}."
                    )
                problems.append(SetProblem("empty-class", split, text))
                continue
            name = composed(child.name)
            if name not in known:
                text = (
                    f"{child}: {name!r} is not among the classes ({', '.join(known)}); name it too, "
                    "rename the folder or take it away."
                )
                problems.append(SetProblem("unknown-label", split, text))
                continue
            label = known.index(name)
            cases += [ClassificationCase(f"{child.name}/{file.name}", split, label, file) for file in files]
    if not cases and not problems:
        raise InputError(f"{folder}: no images found; {_LAYOUT}.")
    if groups is not None and groups_csv is not None:
        files = [case.path for case in cases if case.path is not None]
        found = groups_of(files, groups, source=groups_csv)
        cases = [replace(case, group=group) for case, group in zip(cases, found, strict=True)]
    return ClassificationSet(folder, known, False, tuple(cases), tuple(problems), left_out=tuple(left_out))


def _holds_images(folder: Path) -> bool:
    """Whether there are images in a folder or in one inside of it."""
    # A link to a folder above would never end.
    inner = (child for child in _subfolders(folder) if not child.is_symlink())
    return bool(list_images(folder)) or any(_holds_images(child) for child in inner)


def _named(folders: list[Path]) -> str:
    return repr(folders[0].name) + (f" and {len(folders) - 1} more" if len(folders) > 1 else "")


def _parts(folder: Path) -> dict[str, Path]:
    """The folders that hold a folder per class, by split."""
    children = _subfolders(folder)
    if not children:
        raise InputError(f"{folder}: holds no folders; {_LAYOUT}.")
    # A class may be called 'test'; the folder of a split holds folders itself.
    split_folders = [
        child for child in children if child.name.lower() in SPLIT_FOLDERS and _subfolders(child)
    ]
    parts: dict[str, Path] = {}
    for child in split_folders:
        split = SPLIT_FOLDERS[child.name.lower()]
        if split in parts:
            raise InputError(
                f"{folder}: both {parts[split].name!r} and {child.name!r} mean {split}; keep one."
            )
        parts[split] = child
    others = [child.name for child in children if child not in split_folders]
    if parts and others:
        raise InputError(
            f"{folder}: holds the folder {others[0]!r} beside {split_folders[0].name!r}, so that it is not "
            "clear whether folders are classes or splits; keep one layout."
        )
    parts = parts or {"all": folder}
    for part in parts.values():
        names = {child.name.lower() for child in _subfolders(part)}
        if names & set(IMAGE_FOLDERS) and names <= {*IMAGE_FOLDERS, *MASK_FOLDERS}:
            raise InputError(
                f"{part}: holds {' and '.join(sorted(names))}, which is how images and masks for "
                f"segmentation are laid out; for classification {_LAYOUT}."
            )
    return parts


def _subfolders(folder: Path) -> list[Path]:
    try:
        children = [child for child in folder.iterdir() if child.is_dir() and not child.name.startswith(".")]
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror}); check the permissions.") from error
    return sorted(children, key=natural_key)
