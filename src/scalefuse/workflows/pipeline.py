"""Reading ahead and writing behind, so that a batch waits for the network and not for the disk."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Generic, TypeVar

from scalefuse.inference.engines.choice import Job

Item = TypeVar("Item")
Read = TypeVar("Read")
Made = TypeVar("Made")
Outcome = TypeVar("Outcome")


def depth_for(job: Job) -> int:
    """How far to read ahead and to write behind: not at all with pictures that fill the memory.

    Example:
        >>> [depth_for(Job(10, 10 * each)) for each in (0.3, 8.0, 100.0)]
        [2, 1, 0]
    """
    each = job.megapixels_each
    return 2 if each <= 4 else 1 if each <= 32 else 0


class Pipeline(Generic[Item, Read, Made, Outcome]):
    """Three steps for each of many items: read, compute, finish.

    One thread reads up to two items ahead, one finishes (draws, compresses, writes) up to two behind, and
    ``compute`` runs in the caller's thread. So at most five items are held. Outcomes come in the items'
    order, and an exception of any step is raised where its item's outcome is asked for.

    Args:
        read: from an item to what is computed on.
        compute: from this to what is finished.
        finish: from an item and this to the outcome.
        depth: items that reading may be ahead, and finishing behind; 0 for one thing after the other.

    Example:
        >>> pipeline = Pipeline(read=int, compute=lambda n: 10 // n, finish=lambda item, made: (item, made))
        >>> with pipeline.running(["2", "0", "x", "5"]) as results:
        ...     for result in results:
        ...         try:
        ...             print(result())
        ...         except (ValueError, ZeroDivisionError) as error:
        ...             print(type(error).__name__)
        ('2', 5)
        ZeroDivisionError
        ValueError
        ('5', 2)
    """

    def __init__(
        self,
        *,
        read: Callable[[Item], Read],
        compute: Callable[[Read], Made],
        finish: Callable[[Item, Made], Outcome],
        depth: int = 2,
    ) -> None:
        self._read, self._compute, self._finish, self._depth = read, compute, finish, depth

    @contextmanager
    def running(self, items: Iterable[Item]) -> Iterator[Iterator[Callable[[], Outcome]]]:
        """Start the threads; they end with the block, also when it is left early.

        A finish that is under way is waited for, so that no file is left half done; nothing further starts.

        Args:
            items: what to process.

        Yields:
            An iterator over functions, in the items' order; each gives the outcome or raises what went wrong.
        """
        reader = ThreadPoolExecutor(1, "read")
        writer = ThreadPoolExecutor(1, "write")
        try:
            yield self._results(iter(items), reader, writer)
        finally:
            for pool in (reader, writer):
                pool.shutdown(wait=True, cancel_futures=True)

    def _results(
        self, items: Iterator[Item], reader: ThreadPoolExecutor, writer: ThreadPoolExecutor
    ) -> Iterator[Callable[[], Outcome]]:
        ahead: deque[tuple[Item, Future[Read]]] = deque()
        behind: deque[Future[Outcome]] = deque()

        def fill(wanted: int) -> None:
            while len(ahead) < wanted:
                try:
                    item = next(items)
                except StopIteration:
                    return
                ahead.append((item, reader.submit(self._read, item)))

        fill(max(1, self._depth))
        while ahead:
            item, coming = ahead.popleft()
            fill(self._depth)
            behind.append(self._started(item, coming, writer))
            del coming
            while behind and (behind[0].done() or len(behind) > self._depth):
                yield behind.popleft().result
            fill(max(1, self._depth))
        while behind:
            yield behind.popleft().result

    def _started(self, item: Item, coming: Future[Read], writer: ThreadPoolExecutor) -> Future[Outcome]:
        """Compute an item and hand it on; what went wrong waits for its turn."""
        try:
            made = self._compute(coming.result())
        except Exception as error:
            failed: Future[Outcome] = Future()
            failed.set_exception(error)
            return failed
        return writer.submit(self._finish, item, made)


@contextmanager
def made_ahead(
    make: Callable[[Item], Made], items: Iterable[Item], *, depth: int = 2
) -> Iterator[Iterator[Callable[[], Made]]]:
    """Make the next items in another thread while the caller works on one.

    Args:
        make: from an item to what the caller wants.
        items: what to process.
        depth: items to be ahead, as :func:`depth_for` gives it.

    Yields:
        As :meth:`Pipeline.running`.

    Example:
        >>> with made_ahead(int, ["2", "x"]) as made:
        ...     print(next(made)())
        2
    """

    def keep(made: Made) -> Made:
        return made

    def hand_over(_: Item, made: Made) -> Made:
        return made

    pipeline = Pipeline(read=make, compute=keep, finish=hand_over, depth=depth)
    with pipeline.running(items) as outcomes:
        yield outcomes
