"""Keeping the thread's stack for signal handlers where a library replaces it."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator


class _Stack(ctypes.Structure):
    # stack_t of <signal.h> on Linux.
    _fields_ = (("address", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextlib.contextmanager
def signal_stack_kept() -> Iterator[None]:
    """Give the calling thread back the alternate signal stack that it had before.

    Compiling a model with OpenVINO (seen in 2026.4) leaves a stack of its own behind and later frees that
    memory. Python's handlers run on the alternate stack, so that the next Ctrl-C or end of a child process
    would be a segmentation fault. Does nothing but on Linux.

    Example:
        >>> with signal_stack_kept():
        ...     pass
    """
    if not sys.platform.startswith("linux"):
        yield
        return
    change = ctypes.CDLL(None, use_errno=True).sigaltstack
    before = _Stack()
    known = change(None, ctypes.byref(before)) == 0
    try:
        yield
    finally:
        if known:
            change(ctypes.byref(before), None)
