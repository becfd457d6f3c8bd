"""``make bench``: time and memory of the fusion paths against the paper's plain formulation.

The runs are interleaved (plain, ours, plain, ours, …) in one process, so that a busy machine slows both; only
the ratios count. Written to ``benchmarks/results``: ``bench.json`` and ``bench.md``.
"""

from __future__ import annotations

import json
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import nuclear_norm
from benchmarks.reference.dilran import plain_softmax_nuclear_norm
from scalefuse.fusion import STRATEGIES
from scalefuse.inference.fuser import DEFAULT_STRATEGY, Fuser
from scalefuse.inference.loading import load
from scalefuse.report.tables import markdown_table

RESULTS = Path(__file__).resolve().parent / "results"
REPEATS = 5


def interleaved(paths: dict[str, Callable[[], Any]], repeats: int = REPEATS) -> dict[str, list[float]]:
    """Seconds of each path, run in turn; the first turn warms up and is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in paths}
    for turn in range(repeats + 1):
        for name, path in paths.items():
            start = time.perf_counter()
            path()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def ceiling() -> float:
    """GFLOP/s of a large fp32 matrix product, measured in this run."""
    a = torch.randn(2048, 2048)
    times = interleaved({"mm": lambda: a @ a})["mm"]
    return 2 * 2048**3 / statistics.median(times) / 1e9


def pair_times() -> tuple[list[list[str]], dict[str, Any]]:
    """Whole pairs, 256×256: every strategy, and the paper's with all singular values decomposed."""
    fuser: Any = load("dilran")
    a, b = nuclear_norm.draw_pair()

    def plain() -> Tensor:
        with torch.inference_mode():
            f1, f2 = fuser.engine.encode(a), fuser.engine.encode(b)
            picture: Tensor = fuser.engine.decode(plain_softmax_nuclear_norm(f1, f2)).clamp(0, 1)
            return picture

    fusers = {
        name: Fuser(fuser.engine, strategy=name)
        for name in (DEFAULT_STRATEGY, "feature_energy_ratio", "softmax_nuclear_norm")
    }
    error = (plain() - fusers["softmax_nuclear_norm"].fuse_tensors(a, b)).abs().max().item()
    assert error < 1e-5, f"the fast path differs from the plain one by {error}"
    paths: dict[str, Callable[[], Any]] = {"softmax_nuclear_norm, all singular values": plain}
    for name, one in fusers.items():
        paths[name] = lambda one=one: one.fuse_tensors(a, b)
    times = interleaved(paths)
    base = statistics.median(times["softmax_nuclear_norm, all singular values"])
    rows = []
    for name, values in times.items():
        middle = statistics.median(values)
        rows.append(
            [
                name,
                f"{middle * 1e3:.0f}",
                f"{min(values) * 1e3:.0f}–{max(values) * 1e3:.0f}",
                f"{base / middle:.2f}×",
            ]
        )
    return rows, {"seconds": times, "max_abs_difference": error}


def strategy_times() -> tuple[list[list[str]], dict[str, Any]]:
    """The strategies alone, on features of a 256×256 pair."""
    fuser: Any = load("dilran")
    with torch.inference_mode():
        f1, f2 = (fuser.engine.encode(image) for image in nuclear_norm.draw_pair())
        times = interleaved({name: lambda s=s: s(f1, f2) for name, s in STRATEGIES.items()})
    rows = [[name, f"{statistics.median(values) * 1e3:.1f}"] for name, values in times.items()]
    return rows, {"seconds": times}


def main() -> int:
    """Measure, print and write."""
    RESULTS.mkdir(exist_ok=True)
    peak = ceiling()
    pair_rows, pair_raw = pair_times()
    strategy_rows, strategy_raw = strategy_times()
    norm_rows = nuclear_norm.measure()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    machine = {
        "processor": platform.processor() or platform.machine(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "fp32_matrix_product_gflops": round(peak, 1),
        "peak_memory_gib": round(memory, 2),
    }
    text = "\n".join(
        [
            "# Benchmark",
            "",
            f"`make bench`; medians of {REPEATS} interleaved runs. Only ratios within this run count. "
            "Machine: " + ", ".join(f"{key} {value}" for key, value in machine.items()) + ".",
            "",
            "## A 256×256 pair, from pictures to picture (fp32)",
            "",
            markdown_table(["path", "median, ms", "range, ms", "speed-up"], pair_rows),
            "",
            "## Largest nuclear norms",
            "",
            nuclear_norm.HEADER,
            *(row.markdown() for row in norm_rows),
            "",
            "## Strategies alone, on the features of a 256×256 pair",
            "",
            markdown_table(["strategy", "median, ms"], strategy_rows),
            "",
        ]
    )
    (RESULTS / "bench.md").write_text(text)
    (RESULTS / "bench.json").write_text(
        json.dumps({"machine": machine, "pair": pair_raw, "strategies": strategy_raw}, indent=1) + "\n"
    )
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
