"""Ctrl-C, and what the user is told about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Stopped(BaseException):
    """A command was stopped; the message says what is there and how to go on."""


@contextmanager
def told_of_batch(count: Callable[[], tuple[int, int]]) -> Iterator[None]:
    """Ctrl-C within says how many pictures are done, for commands that can keep these.

    Args:
        count: Gives how many are done, and how many there are.

    Raises:
        Stopped: Ctrl-C in a batch of several.
    """
    try:
        yield
    except KeyboardInterrupt:
        done, total = count()
        if total < 2:
            raise
        raise Stopped(
            f"Stopped after {done} of {total}; the same command with --skip-existing goes on."
        ) from None
