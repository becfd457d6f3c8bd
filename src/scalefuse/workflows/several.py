"""Pictures that are named one by one, as ``*.png`` in a shell does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scalefuse.errors import InputError


def several_pictures(sources: Sequence[Path], *, tables: Sequence[str] = ()) -> list[Path]:
    """Refuse, before anything is read, what stands among pictures and is none.

    Args:
        sources: what was named.
        tables: suffixes of files that hold many pictures.

    Returns:
        The pictures in the order given, each once.

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
    return list({source.resolve(): source for source in sources}.values())
