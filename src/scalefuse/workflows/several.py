"""Pictures that are named one by one, as ``*.png`` in a shell does."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from scalefuse.errors import InputError


def several_pictures(sources: Sequence[Path], *, tables: Sequence[str] = ()) -> list[Path]:
    """Refuse, before anything is read, what stands among pictures and is none.

    Args:
        sources: what was named.
        tables: suffixes of files that hold many pictures.

    Returns:
        The pictures in the order given, each once. Links are not followed: what they lead to may have another
        name.

    Raises:
        InputError: nothing, a file that is not there, a folder, or a table.

    Example:
        >>> several_pictures([Path("nowhere.png")])
        Traceback (most recent call last):
        scalefuse.errors.InputError: nowhere.png: no such file; check the name.
    """
    if not sources:
        raise InputError("Expected pictures, but got none.")
    for source in sources:
        if not source.exists():
            raise InputError(f"{source}: no such file; check the name.")
        if source.is_dir():
            raise InputError(f"{source}: is a folder; give one folder alone, or pictures only.")
        if source.suffix.lower() in tables:
            raise InputError(f"{source}: holds many pictures; give it alone, or pictures only.")
    once: dict[str, Path] = {}
    for source in sources:
        once.setdefault(os.path.abspath(source), source)  # noqa: PTH100
    return list(once.values())


def place_of(path: Path) -> Path:
    """The file behind links, as ``Path.resolve`` but without an error for links that go round in circles.

    Example:
        >>> place_of(Path("/scans/../scans/1.png"))
        PosixPath('/scans/1.png')
    """
    return Path(os.path.realpath(path))


def among(output: Path, source: Path | Sequence[Path]) -> bool:
    """Whether results in a folder would lie among the pictures, and be taken for pictures the next time.

    Example:
        >>> among(Path("scans"), Path("scans/1.png")), among(Path("scans"), [Path("scans/1.png")])
        (False, True)
    """
    if isinstance(source, Path):
        return source.is_dir() and source.resolve() == output.resolve()
    return output.resolve() in {one.parent.resolve() for one in source}
