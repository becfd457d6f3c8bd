"""Peak resident memory of ``scalefuse predict`` on large pictures, with everything that it can write.

``python -m benchmarks.memory --side 2048 --side 4096`` shows how memory grows with the picture: by the
results alone (mask, 16-bit probability, overlay and labels). ``--side 8192`` is the size that the limit of
3 GiB is stated for; it takes many minutes a model on one core. ``full-width`` is MSRF-Net of width 32, random
weights, whose noisy masks hold more objects than any real one. Each picture is predicted in a process of its
own; what is measured is that process, start to end. Exit code 1 where the limit is exceeded.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from scalefuse.data.write import write_pixels
from scalefuse.report.tables import markdown_table

SHIPPED, FULL_WIDTH = "msrf-net-nuclei", "full-width"
LIMIT_GIB = 3.0
# A small process in between: on Linux the peak of a new process starts with that of the one which started it.
_CHILD = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""
OUTPUTS = ("--probability", "--overlay", "--instances", "components", "--regions")


def draw_cells(side: int, seed: int = 0) -> np.ndarray:
    """A noisy colour picture ``(side, side, 3)`` of bright discs on a dark ground, 8 bits."""
    generator = np.random.default_rng(seed)
    tile = min(side, 512)
    rows, columns = np.mgrid[:tile, :tile]
    grey = np.full((tile, tile), 25.0)
    for _ in range(40):
        row, column = generator.uniform(0, tile, 2)
        near = (rows - row) ** 2 + (columns - column) ** 2 < generator.uniform(6, 16) ** 2
        grey[near] = generator.uniform(110, 220)
    picture = np.empty((side, side, 3), np.uint8)
    for top in range(0, side, tile):
        for left in range(0, side, tile):
            part = picture[top : top + tile, left : left + tile]
            noise = generator.normal(0, 8, part.shape)
            part[...] = (grey[: part.shape[0], : part.shape[1], None] + noise).clip(0, 255)
    return picture


def full_width_bundle(folder: Path) -> Path:
    """A bundle of MSRF-Net as published, with random weights."""
    import torch

    from scalefuse.bundle import BundleInfo, save_bundle
    from scalefuse.networks.msrf_net.spec import MSRFNetConfig, build

    torch.manual_seed(0)
    config = MSRFNetConfig()
    info = BundleInfo(name=FULL_WIDTH, task="segmentation", network=config, labels=("background", "object"))
    return save_bundle(folder / FULL_WIDTH, info, build(config).state_dict(), "# random weights\n")


def peak_gib(command: list[str]) -> tuple[float, float]:
    """Peak resident memory in GiB and seconds of a command, which must succeed."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-S", "-c", _CHILD, *command], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)}: failed with exit code {done.returncode}.")
    unit = 1 if sys.platform == "darwin" else 1024
    return int(done.stdout) * unit / 2**30, time.perf_counter() - start


def main(words: list[str] | None = None) -> int:
    """Measure and print a table; see the module's text."""
    parser = argparse.ArgumentParser(prog="benchmarks.memory", description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, action="append", help="pixels; repeatable; 2048 and 4096 if none")
    parser.add_argument("--model", action="append", help=f"{SHIPPED}, {FULL_WIDTH} or a bundle; repeatable")
    arguments = parser.parse_args(words)
    models = arguments.model or [SHIPPED, FULL_WIDTH]
    rows, worst = [], 0.0
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary)
        for side in arguments.side or [2048, 4096]:
            write_pixels(home / "cells.png", draw_cells(side))
            for model in models:
                bundle = str(full_width_bundle(home)) if model == FULL_WIDTH else model
                predict = [sys.executable, "-m", "scalefuse.cli.main", "predict", bundle]
                command = [*predict, str(home / "cells.png"), "-o", str(home / "out"), *OUTPUTS]
                peak, seconds = peak_gib(command)
                worst = max(worst, peak)
                rows.append([f"{side}×{side}", model, f"{peak:.2f}", f"{seconds:.0f}"])
                print(*rows[-1], flush=True)
    print(markdown_table(["picture", "model", "peak memory, GiB", "seconds"], rows))
    return int(worst > LIMIT_GIB)


if __name__ == "__main__":
    sys.exit(main())
