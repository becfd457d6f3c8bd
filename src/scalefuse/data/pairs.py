"""Two files, or two folders of files with names that belong together, as pairs of pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from scalefuse.data.affixes import match_without_affixes
from scalefuse.data.read import image_stem, list_images, natural_key
from scalefuse.errors import InputError


class Pair(NamedTuple):
    """Two pictures that belong together.

    Attributes:
        name: what their names without suffix have in common; for two single files, the first one's.
        a: first file.
        b: second file.
    """

    name: str
    a: Path
    b: Path


def pair_by_name(a: Path | str, b: Path | str) -> tuple[list[Pair], list[str]]:
    """Pair two files, or the files of two folders that have the same name up to the suffix.

    Where no two names are the same, the endings and the beginnings that all names of a folder share are left
    out, such as ``_CT`` and ``_MRI``; see :func:`scalefuse.data.affixes.match_without_affixes`.

    Args:
        a: a file or a folder.
        b: the same kind of thing.

    Returns:
        The pairs in natural order, and one line for every file without a partner.

    Raises:
        InputError: one does not exist, a file and a folder, a folder without images, two files of one name in
            a folder, or no name in common.

    Example:
        >>> import tempfile
        >>> parent = Path(tempfile.mkdtemp())
        >>> for name in ("ct/1.png", "ct/2.png", "mri/1.tif"):
        ...     (parent / name).parent.mkdir(exist_ok=True)
        ...     (parent / name).touch()
        >>> pairs, missing = pair_by_name(parent / "ct", parent / "mri")
        >>> [pair.name for pair in pairs], len(missing)
        (['1'], 1)
    """
    a, b = Path(a), Path(b)
    for path in (a, b):
        if not path.exists():
            raise InputError(f"{path}: no such file or folder; check the name.")
    if a.is_dir() != b.is_dir():
        folder, file = (a, b) if a.is_dir() else (b, a)
        raise InputError(f"{folder} is a folder, but {file} is a file; give two files or two folders.")
    if not a.is_dir():
        return [Pair(image_stem(a), a, b)], []
    files_a, files_b = _files(a), _files(b)
    found = [(name, name, name) for name in files_a if name in files_b]
    found = found or match_without_affixes(files_a, files_b)
    pairs = [Pair(name, files_a[one], files_b[other]) for name, one, other in found]
    pairs.sort(key=lambda pair: natural_key(pair.name))
    alone = sorted(files_a.keys() - {one for _, one, _ in found}, key=natural_key)
    missing = [f"{files_a[name]}: no file named {name!r} in {b}." for name in alone]
    alone = sorted(files_b.keys() - {other for _, _, other in found}, key=natural_key)
    missing += [f"{files_b[name]}: no file named {name!r} in {a}." for name in alone]
    if not pairs:
        raise InputError(
            f"{a} ({len(files_a)} images) and {b} ({len(files_b)} images) have no name in common, for "
            f"instance {next(iter(files_a))!r} and {next(iter(files_b))!r}; name files that belong together "
            "alike."
        )
    return pairs, missing


def paired_by_parts(pairs: Sequence[Pair]) -> str | None:
    """A line on pairs of different names, for instance of folders with endings of their own.

    Args:
        pairs: of two folders.

    Example:
        >>> paired_by_parts([Pair("p1", Path("p1_CT.png"), Path("p1_MRI.png"))])
        "No two names are the same; paired by what they share, such as p1_CT and p1_MRI as 'p1'."
        >>> paired_by_parts([Pair("1", Path("ct/1.png"), Path("mri/1.png"))])
    """
    for pair in pairs:
        stems = image_stem(pair.a), image_stem(pair.b)
        if stems[0] != stems[1]:
            return (
                f"No two names are the same; paired by what they share, such as {stems[0]} and {stems[1]} as "
                f"{pair.name!r}."
            )
    return None


def by_stem(folder: Path, files: Sequence[Path]) -> dict[str, Path]:
    """Files by their names without suffix.

    Args:
        folder: that they lie in, for the message.
        files: of this folder.

    Raises:
        InputError: two files of one name.

    Example:
        >>> by_stem(Path("ct"), [Path("ct/1.png"), Path("ct/1.tif")])
        Traceback (most recent call last):
        scalefuse.errors.InputError: ct: 1.png and 1.tif have the same name up to the suffix, so that it ...
    """
    found: dict[str, Path] = {}
    for file in files:
        stem = image_stem(file)
        if stem in found:
            raise InputError(
                f"{folder}: {found[stem].name} and {file.name} have the same name up to the suffix, so "
                "that it is not clear which one is meant; keep one of them."
            )
        found[stem] = file
    return found


def _files(folder: Path) -> dict[str, Path]:
    files = list_images(folder)
    if not files:
        raise InputError(
            f"{folder}: holds no images; give a folder with PNG, TIFF, JPEG, BMP, GIF, WebP, DICOM or NIfTI "
            "files."
        )
    return by_stem(folder, files)
