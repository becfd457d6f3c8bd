"""One comparison: a reference and what shall be faster, timed in turn beside the ceilings, and held to it."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.breakdown import breakdown
from benchmarks.ceilings import ceilings, rates
from benchmarks.inputs import Inputs
from benchmarks.measuring import Clock, interleaved, paired_ratio, peak_memory, spread

Compute = Callable[[Any], Any]
PROFILED = ("plain", "torch")
"""Beginnings of the names of paths whose time the profiler can split up."""

Agreement = Mapping[str, float | int | None]


@dataclass(frozen=True)
class Contender:
    """One row.

    Attributes:
        name: Shown in the table.
        precision: Which ceiling it is held against: ``fp32`` or ``bf16``.
        make: Makes the function that is timed, from one input to its output.
        gflop: Operations of one run, in thousands of millions; None where nobody counts them.
        expected: What is right for this row; the reference's output where None.
        held_gib: Memory of weights that lie ready before ``make``, in GiB.
        prepared: Whether an earlier row made the engine, so that this one's first result says nothing.
    """

    name: str
    precision: str
    make: Callable[[], Compute]
    gflop: float | None
    expected: Compute | None = None
    held_gib: float = 0.0
    prepared: bool = False


@dataclass(frozen=True)
class Comparison:
    """What is compared; the first contender is the reference.

    Attributes:
        name: Key in the results.
        title: Heading in the tables.
        contenders: The rows.
        timed: Input of the timed runs.
        images: Pictures in it.
        checked: Inputs on which outputs are compared.
        agree: From expected and found outputs to the correctness columns.
    """

    name: str
    title: str
    contenders: list[Contender]
    timed: Any
    images: int
    checked: Inputs
    agree: Callable[[list[Any], list[Any]], Agreement]


@torch.inference_mode()
def compare(
    comparison: Comparison, clock: Clock, seconds: float, *, quick: bool = False, device: str = "cpu"
) -> dict[str, Any]:
    """Make, time and check every contender.

    Args:
        comparison: What.
        clock: Tells progress.
        seconds: For timing (two thirds) and checking (one third); making takes what it takes.
        quick: Few repeats on small ceilings, for tests.
        device: Where the inputs lie and the ceilings are measured: ``cpu`` or ``cuda``.

    Returns:
        ``name``, ``title``, ``images``, ``checked_on``, ``ceilings`` and one dict per row.
    """
    wait = torch.cuda.synchronize if device == "cuda" else _nothing
    rows = [_made(contender, comparison.timed, clock, device) for contender in comparison.contenders]
    working = {row["path"]: row.pop("compute") for row in rows if "compute" in row}
    measured = ceilings(quick=quick, device=device)
    paths: dict[str, Callable[[], Any]] = {
        name: lambda run=run: run(comparison.timed) for name, run in working.items()
    }
    clock.say(f"{comparison.title}: timing {len(paths)} paths")
    times = interleaved(
        {**paths, **{one.name: one.run for one in measured}},
        seconds=seconds * 2 / 3,
        at_least=1 if quick else 3,
        at_most=1 if quick else 15,
        wait=wait,
    )
    best = rates(measured, times)
    clock.say(f"{comparison.title}: comparing outputs")
    reference = comparison.contenders[0].name
    share = seconds / 3 / len(rows)
    checker = _Checker(comparison, working[reference], 2 if quick else None)
    for row, contender in zip(rows, comparison.contenders, strict=True):
        if contender.name not in working:
            continue
        of_row = times[contender.name]
        row |= {"seconds": of_row, **spread(of_row), "speed_up": paired_ratio(times[reference], of_row)}
        row["images_per_second"] = comparison.images / row["median"]
        if contender.gflop is not None:
            row["gflops"] = contender.gflop / row["median"]
            row["share"] = row["gflops"] / max(best[contender.precision].values())
        row["agreement"] = checker.check(contender, working[contender.name], share)
        if device == "cpu" and contender.name.startswith(PROFILED):
            row["breakdown"] = breakdown(paths[contender.name])
    return {
        "name": comparison.name,
        "title": comparison.title,
        "images": comparison.images,
        "checked_on": comparison.checked.source,
        "reference": reference,
        "turns": len(times[reference]),
        "ceilings": best,
        "rows": rows,
    }


def _nothing() -> None:
    """Nothing to wait for: the processor's work is done when the call returns."""


def _made(contender: Contender, timed: Any, clock: Clock, device: str) -> dict[str, Any]:
    """A row with its function, its memory, and how long the first result took; or with what went wrong."""
    clock.say(f"making {contender.name}")
    row: dict[str, Any] = {
        "path": contender.name,
        "precision": contender.precision,
        "gflop": contender.gflop,
    }
    start = time.perf_counter()
    try:
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        with peak_memory() as peak:
            compute = contender.make()
            compute(timed)
            gib = _gpu_peak() if device == "cuda" else None
    except Exception as error:
        # One engine that fails on this machine must not cost the whole table; the row says what happened.
        traceback.print_exc()
        return row | {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
    if contender.prepared:
        return row | {"compute": compute, "first_result_seconds": None, "memory_gib": None}
    return row | {
        "compute": compute,
        "first_result_seconds": time.perf_counter() - start,
        "memory_gib": gib or (None if peak.gib is None else peak.gib + contender.held_gib),
    }


def _gpu_peak() -> float:
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() / 2**30


class _Checker:
    """Compares outputs, as many as time allows; each expected output is computed once."""

    def __init__(self, comparison: Comparison, reference: Compute, at_most: int | None) -> None:
        self.comparison = comparison
        self.reference = reference
        self.inputs = comparison.checked.tensors[:at_most]
        self.known: dict[Compute, list[Any]] = {}

    def check(self, contender: Contender, compute: Compute, seconds: float) -> Agreement:
        right = contender.expected or self.reference
        if compute is right:
            return {}
        expected = self.known.setdefault(right, [])
        found: list[Any] = []
        start = time.perf_counter()
        for index, one in enumerate(self.inputs):
            if index and time.perf_counter() - start > seconds:
                break
            if index == len(expected):
                expected.append(right(one))
            found.append(compute(one))
        pictures = len(found) * self.comparison.images
        return {**self.comparison.agree(expected[: len(found)], found), "pictures": pictures}
