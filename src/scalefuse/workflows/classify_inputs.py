"""What is to be classified: a picture, a folder with folders in it, a table, or a MedMNIST file."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from scalefuse.data.image import Image
from scalefuse.data.read import image_stem, list_images, natural_key, read_image
from scalefuse.errors import InputError
from scalefuse.workflows.several import several_pictures

if TYPE_CHECKING:
    from scalefuse.data.classification import TableColumns

TABLES = (".npz", ".csv", ".tsv", ".txt")
"""Files that list pictures or hold many."""


@dataclass(frozen=True)
class ClassifyInput:
    """One picture to classify.

    Attributes:
        name: as results list it: the path below the folder, or as the table has it.
        read: gives the picture.
        path: its file, or None for one in a MedMNIST file.
    """

    name: str
    read: Callable[[], Image]
    path: Path | None


def find_inputs(
    source: Path | Sequence[Path],
    output: Path,
    *,
    columns: TableColumns | None = None,
    images: Path | None = None,
) -> tuple[list[ClassifyInput], list[str]]:
    """List what is to be classified; nothing is read yet, except MedMNIST files.

    Args:
        source: a picture, or several; a folder of pictures, with all folders in it but hidden ones, each
            once where links lead to it; a CSV file or a MedMNIST ``.npz`` file as for training, whose labels
            are left alone and may be missing.
        output: folder of the results, which is passed over where it lies inside of ``source``.
        columns: of a CSV file.
        images: folder that the paths of a CSV file start from, by default the file's own.

    Returns:
        The pictures, and a line for each entry of a table that names none.

    Raises:
        InputError: there is nothing to classify.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("b/2.png", "b/10.png", "a.png"):
        ...     (folder / name).parent.mkdir(exist_ok=True)
        ...     (folder / name).touch()
        >>> [one.name for one in find_inputs(folder, folder / "predicted")[0]]
        ['a.png', 'b/2.png', 'b/10.png']
    """
    listed = not isinstance(source, Path) or source.is_dir() or source.suffix.lower() not in TABLES
    if listed and (columns is not None or images is not None):
        raise InputError("Columns and a folder of images are for a CSV file; leave them out, or give one.")
    if not isinstance(source, Path):
        return _several(source), []
    if not source.exists():
        raise InputError(f"{source}: no such file or folder; check the name.")
    problems: list[str] = []
    if source.is_dir():
        files = _walk(source, {output.resolve()})
        found = [
            ClassifyInput(file.relative_to(source).as_posix(), partial(read_image, file), file)
            for file in files
        ]
    elif source.suffix.lower() in TABLES:
        if source.suffix.lower() == ".npz":
            from scalefuse.data.medmnist import list_medmnist_images

            cases = list_medmnist_images(source)
        else:
            from scalefuse.data.classification import TableColumns
            from scalefuse.data.classification_table import list_table_images

            cases, problems = list_table_images(source, columns or TableColumns(), images)
        # The same name may stand in several splits.
        split = {case.split for case in cases} != {"all"}
        found = [ClassifyInput(case.key if split else case.name, case.read, case.path) for case in cases]
    else:
        found = [ClassifyInput(source.name, partial(read_image, source), source)]
    if not found and problems:
        raise InputError(f"No image of the table is there. First problem: {problems[0]}")
    if not found:
        raise InputError(
            f"{source}: holds no images; give a picture, a folder of pictures, or a table of them."
        )
    return found, problems


def _several(sources: Sequence[Path]) -> list[ClassifyInput]:
    """Pictures under their file names, those of one name under the folders that tell them apart."""
    files = several_pictures(sources, tables=TABLES)
    places = [Path(os.path.abspath(file)) for file in files]  # noqa: PTH100
    count = Counter(file.name for file in files)
    common = Path(os.path.commonpath([place.parent for place in places]))
    return [
        ClassifyInput(
            file.name if count[file.name] == 1 else place.relative_to(common).as_posix(),
            partial(read_image, file),
            file,
        )
        for file, place in zip(files, places, strict=True)
    ]


def explanation_names(inputs: list[ClassifyInput]) -> list[PurePath]:
    """Where the explanation of each picture goes, below the folder of the results.

    Pictures that differ in the suffix alone keep it in the name.

    Raises:
        InputError: two pictures would share a file.

    Example:
        >>> explanation_names([ClassifyInput("a/scan.nii.gz", lambda: None, None)])[0].as_posix()
        'a/scan_explanation.png'
    """
    plain = [_explanation(one.name, image_stem(PurePath(one.name).name)) for one in inputs]
    # A picture that is listed twice is one picture.
    sharing = Counter(name for name, _ in {(name, one.name) for name, one in zip(plain, inputs, strict=True)})
    seen: dict[PurePath, str] = {}
    names = []
    for one, name in zip(inputs, plain, strict=True):
        if sharing[name] > 1:
            name = _explanation(one.name, PurePath(one.name).name)
        other = seen.setdefault(name, one.name)
        if other != one.name:
            raise InputError(
                f"The explanations of {other} and {one.name} would be written under the same name; keep one "
                "of them, or leave explanations out."
            )
        names.append(name)
    return names


def _explanation(name: str, stem: str) -> PurePath:
    path = PurePath(name)
    # A table may name files anywhere; results stay in their folder.
    parts = [part for part in path.parts[:-1] if part not in (path.anchor, "..", ".")]
    return PurePath(*parts, f"{stem}_explanation.png")


def _walk(folder: Path, seen: set[Path]) -> list[Path]:
    """Images of a folder and of those in it; ``seen`` are folders to pass over."""
    seen.add(folder.resolve())
    files = list_images(folder)
    children = [child for child in folder.iterdir() if child.is_dir() and not child.name.startswith(".")]
    # Folders before links to them; a link to a folder above would never end.
    for child in sorted(children, key=lambda child: (child.is_symlink(), natural_key(child))):
        if child.resolve() not in seen:
            files += _walk(child, seen)
    return files
