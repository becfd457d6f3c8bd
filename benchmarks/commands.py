"""Whole commands, from the shell's point of view: cold start, reading, computing and writing."""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks import inputs
from benchmarks.measuring import Clock, interleaved, spread
from benchmarks.memory import SHIPPED, draw_cells, peak_gib
from benchmarks.paths import predictor
from scalefuse.bundle import load_bundle
from scalefuse.data.phantom import head_phantom
from scalefuse.data.write import write_image, write_pixels
from scalefuse.inference.engines.choice import Job

SCALEFUSE = (sys.executable, "-m", "scalefuse.cli.main")
COUNT, LARGE_COUNT = 20, 40
"""Pictures of two folders that are both large enough for commands to choose the same engine."""


def draw_pictures(folder: Path, count: int, side: int) -> dict[str, Path]:
    """Folders ``ct`` and ``mri`` of drawn heads (at most ten different ones) and ``cells``."""
    folders = {name: folder / name for name in ("ct", "mri", "cells")}
    for one in folders.values():
        one.mkdir(parents=True)
    for index in range(count):
        name = f"{index + 1:04d}.png"
        if index < 10:
            ct, mri = head_phantom(max(side, 32), index)
            write_image(folders["ct"] / name, ((ct[:side, :side] + 200) / 1500).clip(0, 1), bits=8)
            write_image(folders["mri"] / name, mri[:side, :side], bits=8)
            write_pixels(folders["cells"] / name, draw_cells(side, index))
            continue
        for one in folders.values():
            (one / name).write_bytes((one / f"{index % 10 + 1:04d}.png").read_bytes())
    return folders


def compare_commands(
    folder: Path, clock: Clock, seconds: float, *, quick: bool = False, hifuse: str | None = None
) -> dict[str, Any]:
    """Time commands in turn with the networks alone, in this process.

    Returns:
        ``rows`` with seconds and peak memory of each command, and ``pictures`` with the time that a further
        picture costs a command, beside the time that the network alone needs for it.
    """
    side, counts = (48, (1,)) if quick else (256, (1, COUNT, LARGE_COUNT))
    drawn = {count: draw_pictures(folder / f"pictures-{count}", count, side) for count in counts}
    bundle, _ = inputs.hifuse_bundle(folder, hifuse, 16 if quick else 96)
    classifier = str(bundle.source)
    commands = {
        (what, count): _words(what, pictures, classifier, single=count == 1)
        for what in ("fuse", "predict masks", "predict classes")
        for count, pictures in drawn.items()
        if not quick or what == "fuse"
    }
    peaks: dict[tuple[str, int], float] = {}
    outputs = folder / "out"
    outputs.mkdir()

    def run(key: tuple[str, int]) -> None:
        output = outputs / f"{len(list(outputs.iterdir())):04d}"
        peak, _ = peak_gib([*SCALEFUSE, *commands[key], "-o", str(output)])
        peaks[key] = max(peak, peaks.get(key, 0.0))

    clock.say(f"whole commands: {len(commands)}")
    networks, engines = ({}, {}) if quick else _networks(bundle, side)
    # Commands start cold in any turn; the networks alone do not.
    for path in networks.values():
        path()
    times = interleaved(
        {**{str(key): partial(run, key) for key in commands}, **networks},
        seconds=seconds,
        at_least=1 if quick else 2,
        at_most=1 if quick else 5,
    )
    rows = [
        {
            "command": what,
            "pictures": count,
            "words": "scalefuse " + " ".join(_shown(word) for word in words),
            "seconds": times[str((what, count))],
            **spread(times[str((what, count))]),
            "peak_memory_gib": peaks[what, count],
        }
        for (what, count), words in commands.items()
    ]
    pictures = []
    for what in networks:
        few, many = (times[str((what, count))] for count in (COUNT, LARGE_COUNT))
        further = [(b - a) / (LARGE_COUNT - COUNT) for a, b in zip(few, many, strict=True)]
        pictures.append(
            {
                "what": what,
                "engine": engines[what],
                "further_picture": spread(further),
                "network_alone": spread([one / (COUNT if "classes" in what else 1) for one in times[what]]),
            }
        )
    return {"name": "commands", "side": side, "rows": rows, "pictures": pictures}


def _words(what: str, pictures: dict[str, Path], classifier: str, *, single: bool) -> list[str]:
    """Arguments of ``scalefuse`` for a folder, or for its first picture."""
    ct, mri, cells = (
        str(pictures[name] / "0001.png" if single else pictures[name]) for name in ("ct", "mri", "cells")
    )
    if what == "fuse":
        return ["fuse", ct, mri]
    return ["predict", SHIPPED, cells] if what == "predict masks" else ["predict", classifier, ct]


def _shown(word: str) -> str:
    """A path as it would be typed in the folder that holds it."""
    path = Path(word)
    if not path.is_absolute():
        return word
    return f"{path.name}/" if path.is_dir() else path.name


def _networks(classification: Any, side: int) -> tuple[dict[str, Any], dict[str, str]]:
    """The engines that the commands choose, without reading and writing; and their names.

    On one pair and one picture to segment; on a batch of ``COUNT`` to classify, as the command has it.
    """
    job = Job(COUNT, COUNT * side**2 / 1e6)
    fuser, segmenter, classifier = (
        predictor(bundle, job=job) for bundle in (load_bundle("dilran"), load_bundle(SHIPPED), classification)
    )
    pair = inputs.pairs(1, side).tensors[0]
    cells = draw_cells(side)
    images = torch.rand(COUNT, 3, *classifier.preprocessing.size)
    paths = {
        "fuse": lambda: fuser.fuse_tensors(*pair),
        "predict masks": lambda: segmenter.segment(cells, keep_probability=False),
        "predict classes": lambda: classifier.batch_logits(images),
    }
    made = zip(paths, (fuser, segmenter, classifier), strict=True)
    return paths, {name: str(one.computed_by) for name, one in made}


def time_once(words: list[str]) -> tuple[float, float]:
    """Seconds and peak memory in GiB of one ``scalefuse`` command."""
    start = time.perf_counter()
    peak, _ = peak_gib([*SCALEFUSE, *words])
    return time.perf_counter() - start, peak
