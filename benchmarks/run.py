"""``make bench``: the three networks against their plain formulations, training steps, and whole commands.

Written to ``benchmarks/results``: ``bench.json``, ``bench.md`` and ``bench.png``; from these the page
``docs/results/speed.md``. On a machine with a CUDA device, ``bench-gpu`` likewise. Results on real pictures
need ``SCALEFUSE_DATA``; without it, pictures are drawn.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import nuclear_norm
from benchmarks.commands import compare_commands
from benchmarks.compare import Comparison, compare
from benchmarks.inference import CHEAP_STRATEGY, QUICK, Sizes, comparisons
from benchmarks.jobs import Job, has_gpu, hide_gpu, run_jobs
from benchmarks.measuring import Clock, paired_ratio
from benchmarks.page import RESULTS, standing_result, with_added, write_page, write_results
from benchmarks.paths import installed_pairs
from benchmarks.training import compare_steps, trainings
from scalefuse.inference.fuser import DEFAULT_STRATEGY

SECONDS = 540.0
WEIGHTS = {"dilran": 2.0, "msrf_net": 2.0, "msrf_net_half": 1.0, "hifuse_1": 1.0, "hifuse_16": 2.5}


def parse(words: list[str] | None, description: str, seconds: float) -> argparse.Namespace:
    """The options that ``make bench`` and ``make bench-full`` share."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=seconds, help="time to aim at")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, torch only: does it run at all?")
    parser.add_argument("--only", action="append", help="a measurement by name; repeatable")
    parser.add_argument(
        "--compiled", action="store_true", help="torch.compile too; a minute for each network"
    )
    parser.add_argument("--hifuse", help="bundle of a HiFuse-Tiny to measure instead of random weights")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS, help="folder for the results")
    return parser.parse_args(words)


def inference_jobs(arguments: argparse.Namespace, folder: Path, clock: Clock, *, compiled: bool) -> list[Job]:
    """One job for each comparison of inference."""
    quick = arguments.quick
    pairs = installed_pairs(quick=quick, compiled=compiled)
    found = comparisons(pairs, QUICK if quick else Sizes(), folder, arguments.hifuse)
    if quick:
        # The others are the same code at other sizes.
        found = {
            name: make for name, make in found.items() if name not in ("msrf_net", "hifuse_1", "hifuse_2")
        }

    def run(make: Any, seconds: float) -> dict[str, Any]:
        comparison: Comparison = make()
        section = compare(comparison, clock, seconds, quick=quick)
        if comparison.name == "dilran":
            section["default_over_cheap"] = _default_over_cheap(section, [pair.name for pair in pairs])
        return section

    return [
        Job(name, "comparisons", WEIGHTS.get(name, 1.0), partial(run, make)) for name, make in found.items()
    ]


def jobs(arguments: argparse.Namespace, folder: Path, clock: Clock) -> list[Job]:
    """All measurements of ``make bench``."""
    quick = arguments.quick
    found = inference_jobs(arguments, folder, clock, compiled=arguments.compiled)
    if not quick:
        found.append(Job("nuclear_norms", "nuclear_norms", 1.0, lambda seconds: _nuclear_norms()))
    for name, make in trainings(QUICK if quick else Sizes(), quick=quick).items():
        step = partial(_train, make, clock, quick=quick)
        found.append(Job(name, "training", 2.0, step))
    run_commands = partial(compare_commands, folder, clock, quick=quick, hifuse=arguments.hifuse)
    found.append(Job("commands", "commands", 2.0, run_commands))
    # What takes longest comes last: it costs nothing else its time.
    return sorted(found, key=lambda job: job.name == "train_msrf_net")


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """All results of ``make bench`` on the processor."""
    clock = Clock(arguments.seconds)
    with tempfile.TemporaryDirectory(prefix="scalefuse-bench-") as folder:
        return run_jobs("bench", chosen(jobs(arguments, Path(folder), clock), arguments.only), clock)


def chosen(found: list[Job], only: list[str] | None) -> list[Job]:
    """The jobs that were asked for by name; all where none was."""
    unknown = set(only or []) - {job.name for job in found}
    if unknown:
        sys.exit(f"No measurement {', '.join(unknown)}; there are: {', '.join(job.name for job in found)}.")
    return [job for job in found if only is None or job.name in only]


def _train(make: Any, clock: Clock, seconds: float, *, quick: bool) -> dict[str, Any]:
    return compare_steps(make(), clock, seconds, quick=quick)


def _default_over_cheap(section: dict[str, Any], engines: list[str]) -> dict[str, dict[str, float]]:
    times = {row["path"]: row["seconds"] for row in section["rows"] if "seconds" in row}
    return {
        engine: paired_ratio(times[f"{engine}, {DEFAULT_STRATEGY}"], times[f"{engine}, {CHEAP_STRATEGY}"])
        for engine in engines
        if {f"{engine}, {DEFAULT_STRATEGY}", f"{engine}, {CHEAP_STRATEGY}"} <= times.keys()
    }


def _nuclear_norms() -> list[str]:
    return [row.markdown() for row in nuclear_norm.measure(repeats=3)]


def main(words: list[str] | None = None) -> int:
    """Measure, write and print."""
    arguments = parse(words, __doc__, SECONDS)
    if has_gpu() and not arguments.only:
        command = [sys.executable, "-m", "benchmarks.gpu", "-o", str(arguments.output)]
        done = subprocess.run([*command, *(["--quick"] if arguments.quick else [])], check=False)
        if done.returncode:
            print(f"the GPU's part failed ({done.returncode}); the processor's goes on", file=sys.stderr)
    hide_gpu()
    standing = standing_result(arguments.output, "bench") if arguments.only else None
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
