"""Output files that are written whole or not at all."""

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from scalefuse.errors import OutputError

# What the disk or the permissions can do to a writer; other OSErrors raised inside are not ours to rename.
_ADVICE = {
    errno.ENOSPC: "the disk is full; free some space or choose another folder",
    errno.EDQUOT: "the disk quota is used up; free some space or choose another folder",
    errno.EFBIG: "the file grew beyond the size limit set here; raise the limit or choose another folder",
    errno.EACCES: "permission denied; choose a folder that you may write to",
    errno.EPERM: "not permitted; choose a folder that you may write to",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.EIO: "the disk reported an input/output error; choose another disk",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
    errno.ENOTDIR: "a part of the path is a file, not a folder; choose another folder",
    errno.ENOENT: "the folder does not exist; create it first",
}


def _output_error(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{path}: cannot be written: {_ADVICE.get(error.errno or 0, error.strerror or str(error))}."
    )


def _target(path: Path, *, is_folder: bool) -> Path:
    """Where ``path`` really lies, after making sure that it can be replaced."""
    target = Path(os.path.realpath(path))
    try:
        if is_folder and target.exists() and not target.is_dir():
            raise OutputError(f"{path}: is a file, but a folder is to be written; choose another name.")
        if not is_folder and target.is_dir():
            raise OutputError(
                f"{path}: is a folder, but a file is to be written; give a file name inside it."
            )
        if not is_folder and target.exists() and not target.is_file():
            raise OutputError(f"{path}: is not an ordinary file; give the name of a new or an ordinary file.")
        if target.parent.exists() and not target.parent.is_dir():
            raise OutputError(f"{path}: {path.parent} is a file, not a folder; choose another name.")
        if not target.parent.is_dir():
            raise OutputError(f"{path}: the folder {path.parent} does not exist; create it first.")
    except OutputError:
        raise
    except OSError as error:
        raise _output_error(path, error) from error
    return target


def _hidden_sibling(target: Path) -> Path:
    # A leading dot keeps an unfinished file out of listings; the suffix stays, since writers choose by it.
    suffix = ".nii.gz" if target.name.lower().endswith(".nii.gz") else target.suffix
    return target.parent / f".unfinished-{secrets.token_hex(6)}{suffix}"


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    with path.open("rb") as handle:
        os.fsync(handle.fileno())


@contextlib.contextmanager
def atomic_write(path: Path | str) -> Iterator[Path]:
    """Give a temporary path to write to; move it to ``path`` when the block ends well.

    The temporary file lies in the same folder (so that the move is one step), carries the same suffix and is
    removed on every failure, an interrupt included. A file that stood at ``path`` stays as it was until the
    new one is complete. A symbolic link is followed, not replaced.

    Args:
        path: the file to write; its folder must exist.

    Yields:
        The path to write to, by whatever means: ``open``, ``csv``, ``tifffile`` and so on.

    Raises:
        OutputError: the folder is missing or not writable, the disk is full, or ``path`` is no ordinary file.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with atomic_write(folder / "numbers.csv") as temporary:
        ...     _ = temporary.write_text("a,b")
        >>> (folder / "numbers.csv").read_text(), len(list(folder.iterdir()))
        ('a,b', 1)
    """
    path = Path(path)
    target = _target(path, is_folder=False)
    temporary = _hidden_sibling(target)
    with _clearing_up(path, temporary):
        yield temporary
        _sync(temporary)
        temporary.replace(target)


@contextlib.contextmanager
def _clearing_up(path: Path, temporary: Path) -> Iterator[None]:
    """Take away what is unfinished; what went wrong in writing it is told of the path that the user knows."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        if error.errno in _ADVICE and _concerns(error, temporary):
            raise _output_error(path, error) from error
        raise
    finally:
        _remove(temporary)


def _concerns(error: OSError, temporary: Path) -> bool:
    """Whether an error came from writing there, and not from some other file opened inside the block."""
    names = [
        os.fsdecode(name)
        for name in (error.filename, error.filename2)
        if isinstance(name, str | bytes | Path)
    ]
    return not names or any(name.startswith(str(temporary)) for name in names)


@contextlib.contextmanager
def atomic_folder(path: Path | str) -> Iterator[Path]:
    """Give a temporary folder to fill; move it to ``path`` when the block ends well.

    As :func:`atomic_write`, for results of several files, such as a bundle. A folder that stood at ``path``
    is replaced as a whole.

    Args:
        path: the folder to write; the folder that holds it must exist.

    Yields:
        An empty folder beside ``path``.

    Raises:
        OutputError: it cannot be written, or a file stands at ``path``.

    Example:
        >>> import tempfile
        >>> parent = Path(tempfile.mkdtemp())
        >>> with atomic_folder(parent / "bundle") as temporary:
        ...     _ = (temporary / "bundle.json").write_text("{}")
        >>> [file.name for file in (parent / "bundle").iterdir()]
        ['bundle.json']
    """
    path = Path(path)
    target = _target(path, is_folder=True)
    temporary = target.parent / f".unfinished-{secrets.token_hex(6)}"
    old = target.parent / f".replaced-{secrets.token_hex(6)}"
    with _clearing_up(path, temporary):
        temporary.mkdir()
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                _sync(file)
        if target.exists():
            target.rename(old)
        try:
            temporary.rename(target)
        except BaseException:
            if old.exists():
                old.rename(target)
            raise
        finally:
            if target.exists():
                _remove(old)


@contextlib.contextmanager
def files_together(path: Path | str) -> Iterator[Path]:
    """Give a temporary folder for files that belong together; move them to ``path`` when the block ends well.

    As :func:`atomic_folder`, but what else lies in the folder stays.

    Args:
        path: the folder for the files; it must exist.

    Yields:
        An empty folder inside it.

    Raises:
        OutputError: they cannot be written, or no ordinary file stands where one of them shall be.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with files_together(folder) as temporary:
        ...     _ = (temporary / "cases.csv").write_text("a,b")
        ...     _ = (temporary / "summary.json").write_text("{}")
        >>> sorted(file.name for file in folder.iterdir())
        ['cases.csv', 'summary.json']
    """
    path = Path(path)
    temporary = path / f".unfinished-{secrets.token_hex(6)}"
    try:
        with _clearing_up(path, temporary):
            temporary.mkdir()
            yield temporary
            written = [
                (one, _target(path / one.name, is_folder=False)) for one in sorted(temporary.iterdir())
            ]
            for file, target in written:
                if target.parent == Path(os.path.realpath(path)):
                    _sync(file)
                    file.replace(target)
                else:
                    # A link to a file elsewhere.
                    with atomic_write(target) as copy:
                        shutil.copyfile(file, copy)
    except OutputError as error:
        # Users know the names of the results only.
        raise OutputError(str(error).replace(str(temporary), str(path))) from error


@contextlib.contextmanager
def results_folder(path: Path | str) -> Iterator[Path]:
    """Create a folder for results; take it away again where nothing was written to it.

    Args:
        path: the folder; one that exists stays whatever happens.

    Yields:
        The folder.

    Raises:
        OutputError: as :func:`check_writable_folder`.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp()) / "new" / "results"
        >>> try:
        ...     with results_folder(folder):
        ...         raise ValueError
        ... except ValueError:
        ...     folder.parent.exists()
        False
    """
    path = Path(path)
    new: list[Path] = []
    with contextlib.suppress(OSError):
        new = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        yield check_writable_folder(path)
    finally:
        # Only empty folders can be taken away like this.
        for folder in new:
            with contextlib.suppress(OSError):
                folder.rmdir()


def check_writable_folder(path: Path | str, *, create: bool = True) -> Path:
    """Make sure that files can be written to a folder, before any work is done.

    Args:
        path: the folder.
        create: create it, with its parents, where it does not exist.

    Returns:
        The folder.

    Raises:
        OutputError: it is a file, does not exist and shall not be created, or cannot be written to.

    Example:
        >>> import tempfile
        >>> check_writable_folder(Path(tempfile.mkdtemp()) / "new" / "results").is_dir()
        True
    """
    path = Path(path)
    probe = path / f".unfinished-{secrets.token_hex(6)}"
    try:
        if path.exists() and not path.is_dir():
            raise OutputError(
                f"{path}: is a file, but a folder for the results is needed; choose another name."
            )
        if not path.exists() and not create:
            raise OutputError(f"{path}: the folder does not exist; create it first.")
        path.mkdir(parents=True, exist_ok=True)
        probe.touch()
    except OutputError:
        raise
    except OSError as error:
        raise _output_error(path, error) from error
    finally:
        _remove(probe)
    return path
