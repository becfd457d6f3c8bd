"""Starting a training with an allocator that keeps its memory."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

TUNABLES = "GLIBC_TUNABLES"

KEPT = ":".join(
    f"glibc.malloc.{name}={value}"
    for name, value in (
        ("mmap_max", 0),
        ("trim_threshold", 10**11),
        ("top_pad", 2**28),
        # Without it, what is cut off an aligned block is not joined to it again, and blocks are not reused.
        ("tcache_count", 0),
    )
)
"""Large blocks come from the heap, which grows by 256 MiB at a time and is not given back."""


def start_again_with_kept_memory() -> None:
    """Replace this process by itself with :data:`KEPT`, where that pays.

    By default the C library of Linux asks the system for every large block and gives it back after use; the
    system clears it each time, which takes up to half of a training step. It reads its settings once, at the
    start of a process, hence the replacement, which keeps process number, files and signals.
    """
    environment = environment_with_kept_memory(sys.argv[1:], os.environ)
    # Called from another program with arguments of its own making, there is nothing to start again.
    if environment is not None and sys.orig_argv[-len(sys.argv[1:]) :] == sys.argv[1:]:
        sys.stdout.flush()
        sys.stderr.flush()
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def environment_with_kept_memory(
    arguments: Sequence[str], environment: Mapping[str, str]
) -> dict[str, str] | None:
    """The environment for a training, or None for other commands, other systems and users' own settings.

    Args:
        arguments: of the command line, without the program's name.
        environment: of the process. What it says of the allocator (``GLIBC_TUNABLES``, ``MALLOC_…``,
            ``LD_PRELOAD``) stands.

    Example:
        >>> environment_with_kept_memory(["predict", "model", "pictures"], {}) is None
        True
    """
    chosen = any(name in (TUNABLES, "LD_PRELOAD") or name.startswith("MALLOC_") for name in environment)
    if arguments[:1] != ["train"] or chosen or not _has_glibc():
        return None
    return {**environment, TUNABLES: KEPT}


def _has_glibc() -> bool:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (AttributeError, ValueError, OSError):
        # Other systems and other C libraries.
        return False
