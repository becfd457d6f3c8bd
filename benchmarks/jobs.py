"""Measurements one after another within a budget of time, and what surrounds their results."""

from __future__ import annotations

import gc
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks.measuring import Clock, describe_machine, load_average

SHARE_OF_MAKING = 0.35
"""Part of a job's time that is left for converting and compiling, which no repeat shortens."""

LATEST = 1.5
"""When the last job may begin, in parts of the budget: some jobs take longer than their share."""


@dataclass(frozen=True)
class Job:
    """One measurement.

    Attributes:
        name: For ``--only``.
        part: Key of the results that its own is added to.
        weight: Its part of the time, relative to the others'.
        run: From the seconds it may take to its result.
    """

    name: str
    part: str
    weight: float
    run: Callable[[float], Any]


def has_gpu() -> bool:
    """Whether torch finds a CUDA device; asked in another process, since a device once seen stays seen."""
    if torch.version.cuda is None:
        return False
    question = "import sys, torch; sys.exit(not torch.cuda.is_available())"
    return subprocess.run([sys.executable, "-c", question], check=False).returncode == 0


def hide_gpu() -> None:
    """Keep this process and those it starts on the processor; called before torch looks for devices."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""


def run_jobs(kind: str, jobs: list[Job], clock: Clock) -> dict[str, Any]:
    """Run all jobs that the time allows; the first always runs.

    What is left of the budget is shared anew before each job, so that a slow machine gets fewer repeats. A
    job that would begin much after the end is left out and named.

    Returns:
        The results, with the machine, the date, the command and the load around them.
    """
    results: dict[str, Any] = {
        "kind": kind,
        "command": _command(kind),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": describe_machine(),
        "load_average": {"before": load_average()},
        "left_out": [],
    }
    for index, job in enumerate(jobs):
        if clock.elapsed > LATEST * clock.seconds and index:
            clock.say(f"no time left for {job.name}")
            results["left_out"].append(job.name)
            continue
        share = max(clock.left, 1.0) * job.weight / sum(one.weight for one in jobs[index:])
        clock.say(f"{job.name}: {share:.0f} s")
        found = job.run(share * (1 - SHARE_OF_MAKING))
        if isinstance(found, list):
            results.setdefault(job.part, []).extend(found)
        elif job.part in ("comparisons", "training"):
            results.setdefault(job.part, []).append(found)
        else:
            results[job.part] = found
        gc.collect()
    results["load_average"]["after"] = load_average()
    results["seconds"] = clock.elapsed
    return results


def _command(kind: str) -> str:
    """What was typed; of absolute paths only the names."""
    if len(sys.argv) == 1:
        return f"make {kind}"
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    words = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:]]
    return shlex.join(["python", "-m", spec.name if spec else kind, *words])
