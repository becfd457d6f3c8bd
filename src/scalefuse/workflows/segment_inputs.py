"""What is given to a model of segmentation: a picture, several, or a folder of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scalefuse.data.read import image_stem, list_images
from scalefuse.errors import InputError
from scalefuse.workflows.several import several_pictures


def find_pictures(source: Path | Sequence[Path]) -> tuple[list[Path], dict[Path, str], list[str]]:
    """The pictures, what is wrong with each that cannot be told from another, and notes on what is left out.

    Args:
        source: a picture, several, or a folder of pictures.

    Raises:
        InputError: no such file or folder, a folder without pictures, or none of a name of its own.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("a.png", "b.png", "b.tif"):
        ...     (folder / name).touch()
        >>> files, alike, _ = find_pictures(folder)
        >>> [file.name for file in files], [file.name for file in alike]
        (['a.png'], ['b.png', 'b.tif'])
    """
    if not isinstance(source, Path):
        files, alike = _told_apart("", several_pictures(source))
        return files, alike, []
    if not source.exists():
        raise InputError(f"{source}: no such file or folder; check the name.")
    if not source.is_dir():
        return [source], {}, []
    files = list_images(source)
    inner = sorted(
        child.name for child in source.iterdir() if child.is_dir() and not child.name.startswith(".")
    )
    inner = [name for name in inner if list_images(source / name)]
    named = ", ".join(map(repr, inner[:3])) + (f" and {len(inner) - 3} more" if len(inner) > 3 else "")
    if not files:
        hint = f" itself, but its folders do ({named}); give one of these" if inner else ""
        raise InputError(f"{source}: holds no images{hint or '; give a picture or a folder of pictures'}.")
    notes = [f"{source}: pictures in the folders inside ({named}) are left out."] if inner else []
    files, alike = _told_apart(f"{source}: ", files)
    return files, alike, notes


def _told_apart(where: str, files: Sequence[Path]) -> tuple[list[Path], dict[Path, str]]:
    """Pictures whose results have names of their own, and a line for each that would share them."""
    stems: dict[str, list[Path]] = {}
    for file in files:
        stems.setdefault(image_stem(file), []).append(file)
    alone = [found[0] for found in stems.values() if len(found) == 1]
    failures = {}
    for found in stems.values():
        names = [file.name if where else str(file) for file in found]
        for index, file in enumerate(found if len(found) > 1 else []):
            other = names[1 if index == 0 else 0]
            failures[file] = (
                f"{where}{names[index]} would be written under the same name as {other}; rename it, or keep "
                "one."
            )
    if not alone:
        raise InputError(next(iter(failures.values())))
    return alone, failures
