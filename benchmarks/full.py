"""``make bench-full``: compiled networks and all pictures, growth with size, batch and folder, loss curves.

Written to ``benchmarks/results``: ``bench-full.json``, ``.md`` and plots; from these the page
``docs/results/speed.md``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.curves import loss_curves
from benchmarks.jobs import Job, hide_gpu, run_jobs
from benchmarks.measuring import Clock
from benchmarks.page import RESULTS, standing_result, with_added, write_page, write_results
from benchmarks.paths import Pair
from benchmarks.run import chosen, inference_jobs, parse
from benchmarks.scaling import scaling, window_memory

SECONDS = 7200.0


def jobs(arguments: argparse.Namespace, folder: Path, clock: Clock) -> list[Job]:
    """All measurements of ``make bench-full``."""
    quick = arguments.quick

    def grow(seconds: float) -> dict[str, Any]:
        return scaling(clock, folder / "scaling", quick=quick, hifuse=arguments.hifuse)

    def slide(seconds: float) -> list[dict[str, Any]]:
        if quick:
            return window_memory(clock, (64, 128), 32, Pair("torch", "fp32"))
        return window_memory(clock)

    def train(seconds: float) -> list[dict[str, Any]]:
        if quick:
            return loss_curves(clock, steps=2, seeds=1, side=48, small=True)
        return loss_curves(clock)

    compared = inference_jobs(arguments, folder, clock, compiled=not quick)
    return [
        Job("scaling", "scaling", 4.0, grow),
        Job("windows", "windows", 1.0, slide),
        Job("curves", "curves", 2.0, train),
        *compared,
    ]


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """All results of ``make bench-full``."""
    clock = Clock(arguments.seconds)
    with tempfile.TemporaryDirectory(prefix="scalefuse-bench-") as folder:
        return run_jobs("bench-full", chosen(jobs(arguments, Path(folder), clock), arguments.only), clock)


def main(words: list[str] | None = None) -> int:
    """Measure, write and print."""
    arguments = parse(words, __doc__, SECONDS)
    hide_gpu()
    standing = standing_result(arguments.output, "bench-full") if arguments.only else None
    results = measure(arguments)
    if standing is not None:
        results = with_added(standing, results)
    files = write_results(arguments.output, results)
    page = write_page() if arguments.output == RESULTS else write_page(arguments.output, arguments.output)
    print(files[1].read_text(encoding="utf-8"))
    print(f"written: {', '.join(str(file) for file in [*files, page])}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
