"""Ctrl-C, and what the user is told about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Stopped(BaseException):
    """A command was stopped; the message says what is there and how to go on."""


@contextmanager
def told_of_batch(count: Callable[[], int]) -> Iterator[None]:
    """Ctrl-C within says how a batch goes on, for commands that can keep the pictures that are done.

    How many these are is not said: some may just be written.

    Args:
        count: Gives how many pictures there are; 0 before that is known.

    Raises:
        Stopped: Ctrl-C in a batch of several.
    """
    try:
        yield
    except KeyboardInterrupt:
        if count() < 2:
            raise
        raise Stopped(
            "Stopped. Go on with the same command and --skip-existing, which keeps what is done."
        ) from None
