"""Interleaved timing, peak memory, and the description of the machine."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

PAUSE = 0.02
"""Seconds of rest before each timed run."""

_PACKAGES = ("torch", "onnxruntime", "openvino", "numpy", "scipy")
_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "bf16")


@dataclass
class Clock:
    """The time that is left, and where progress is told."""

    seconds: float
    quiet: bool = False
    started: float = field(default_factory=time.perf_counter)

    @property
    def elapsed(self) -> float:
        return time.perf_counter() - self.started

    @property
    def left(self) -> float:
        return self.seconds - self.elapsed

    def say(self, line: str) -> None:
        if not self.quiet:
            print(f"[{self.elapsed:5.0f} s] {line}", file=sys.stderr, flush=True)


def interleaved(
    paths: Mapping[str, Callable[[], Any]],
    *,
    seconds: float,
    at_least: int = 3,
    at_most: int = 15,
    wait: Callable[[], None] = lambda: None,
) -> dict[str, list[float]]:
    """Seconds of each path, run in turn (A B C A B C …), so that a busy moment slows all alike.

    Before each run there is a pause: the threads of one engine wait busily for a moment after their work, and
    would slow the next path. Every turn counts: what takes longer the first time has to have run before.

    Args:
        paths: What to run.
        seconds: No turn is begun that would not end within this time, but for the first ``at_least``.
        at_least: Turns that count at least.
        at_most: Turns that count at most.
        wait: Called before each reading of the clock; waits for a device that works by itself.
    """
    found: dict[str, list[float]] = {name: [] for name in paths}
    begin = time.perf_counter()
    for turn in range(at_most):
        elapsed = time.perf_counter() - begin
        if turn >= at_least and elapsed * (turn + 1) / turn > seconds:
            break
        for name, path in paths.items():
            wait()
            time.sleep(PAUSE)
            start = time.perf_counter()
            path()
            wait()
            found[name].append(time.perf_counter() - start)
    return found


def spread(values: list[float]) -> dict[str, float]:
    """Median, smallest and largest."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def paired_ratio(reference: list[float], values: list[float]) -> dict[str, float]:
    """How many times faster than the reference: median and range over the turns, each within one turn."""
    return spread([one / other for one, other in zip(reference, values, strict=True)])


class PeakMemory:
    """GiB by which resident memory rose at its highest; None where the system cannot tell."""

    gib: float | None = None


@contextmanager
def peak_memory() -> Iterator[PeakMemory]:
    """Measure the highest resident memory above what was resident before (Linux; else ``gib`` stays None)."""
    found = PeakMemory()
    gc.collect()
    reset = _reset_peak()
    before = _status("VmRSS") if reset else 0.0
    yield found
    if reset:
        found.gib = max(0.0, _status("VmHWM") - before)


def _reset_peak() -> bool:
    try:
        # Freed memory that the allocator keeps would be used again and hide what the next path needs.
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    except (OSError, AttributeError):
        return False
    return True


def _status(key: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:")) / 2**20


def describe_machine() -> dict[str, Any]:
    """Processor, instructions, memory, threads and versions; nothing that names the machine."""
    info = _processor()
    packages = {name: found for name in _PACKAGES if (found := _version(name))}
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": info.get("model name") or platform.processor() or platform.machine(),
        "family": " ".join(info.get(key, "?") for key in ("cpu family", "model", "stepping")),
        "instructions": [
            flag for flag in _FLAGS if flag in info.get("flags", info.get("Features", "")).split()
        ],
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(memory, 1),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "packages": packages,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def load_average() -> float | None:
    """Processes that wanted a core over the last minute: above the benchmark's own, the machine was busy."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _processor() -> dict[str, str]:
    try:
        text = Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
