"""One training at a time in a run folder."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scalefuse.errors import OutputError

LOCK = ".training"
_HELD = (errno.EACCES, errno.EAGAIN)


@contextmanager
def sole_training(folder: Path) -> Iterator[None]:
    """Hold a run folder; the system lets go of it also where the process is killed.

    Nothing is held where the system or the file system has no such locks.

    Args:
        folder: that exists and can be written to.

    Raises:
        OutputError: another process trains there.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, sole_training(Path(folder)):
        ...     [path.name for path in Path(folder).iterdir()]
        ['.training']
    """
    path = folder / LOCK
    with path.open("a") as handle:
        try:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:
            pass
        except OSError as error:
            if error.errno in _HELD:
                raise OutputError(
                    f"{folder}: another process is training there; wait for it, or choose another (-o)."
                ) from error
        # The file stays: another process may hold it already when this one is done.
        yield
