"""Cost as work grows: side of the picture, size of the batch, pictures in a folder; and memory of windows."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import inputs
from benchmarks.commands import draw_pictures, time_once
from benchmarks.inference import CHEAP_STRATEGY
from benchmarks.measuring import Clock, peak_memory
from benchmarks.memory import SHIPPED, draw_cells
from benchmarks.nuclear_norm import draw_pair
from benchmarks.paths import AUTO, Pair, predictor
from scalefuse.bundle import load_bundle
from scalefuse.fusion.nuclear_norm import largest_nuclear_norm

SIDES = (128, 256, 512, 1024, 2048)
BATCHES = (1, 2, 4, 8, 16, 32)
COUNTS = (10, 30, 100, 300, 1000)
WINDOW_SIDES = (512, 1024, 2048, 4096)
MINUTES_AT_MOST = 3.0
Series = list[dict[str, Any]]


@torch.inference_mode()
def sides(
    clock: Clock,
    folder: Path,
    values: Iterable[int] = SIDES,
    hifuse: str | None = None,
    pair: Pair = AUTO,
) -> dict[str, Series]:
    """Seconds over the side of one square picture, with the engines that users get by default."""
    values = tuple(values)
    fuser, segmenter, classifier = _predictors(folder, hifuse, pair)

    def fuse(side: int) -> Callable[[], Any]:
        pair = draw_pair(side)
        return lambda: fuser.fuse_tensors(*pair)

    def norms(side: int) -> Callable[[], Any]:
        features = torch.softmax(fuser.engine.encode(draw_pair(side)[1]), dim=1)
        return lambda: largest_nuclear_norm(features)

    def segment(side: int) -> Callable[[], Any]:
        picture = draw_cells(side)
        return lambda: segmenter.segment(picture)

    def classify(side: int) -> Callable[[], Any]:
        image = torch.rand(1, 3, side, side)
        return lambda: classifier.engines[0](image)

    return {
        f"DILRAN, a pair, {CHEAP_STRATEGY}": _series(clock, "side", values, fuse, 4),
        "largest nuclear norm of one image": _series(clock, "side", values, norms, 8),
        f"MSRF-Net ({SHIPPED}), windows above 1024": _series(clock, "side", values, segment, 4),
        "HiFuse-Tiny, whole picture": _series(clock, "side", values, classify, 4),
    }


@torch.inference_mode()
def batches(
    clock: Clock,
    folder: Path,
    values: Iterable[int] = BATCHES,
    hifuse: str | None = None,
    side: int = 128,
    pair: Pair = AUTO,
) -> dict[str, Series]:
    """Seconds over the number of pictures in a batch; HiFuse at its own size, the others at ``side``."""
    values = tuple(values)
    fuser, segmenter, classifier = _predictors(folder, hifuse, pair)
    size = classifier.preprocessing.size if side >= 128 else (side, side)

    def fuse(batch: int) -> Callable[[], Any]:
        a, b = torch.rand(2, batch, 1, side, side)
        return lambda: fuser.fuse_tensors(a, b)

    def segment(batch: int) -> Callable[[], Any]:
        images = torch.rand(batch, 3, side, side)
        return lambda: segmenter.engines[0](images)

    def classify(batch: int) -> Callable[[], Any]:
        images = torch.rand(batch, 3, *size)
        return lambda: classifier.engines[0](images)

    return {
        f"DILRAN, pairs of {side}×{side}": _series(clock, "batch", values, fuse, 2),
        f"MSRF-Net ({SHIPPED}), {side}×{side}": _series(clock, "batch", values, segment, 2),
        f"HiFuse-Tiny, {size[0]}×{size[1]}": _series(clock, "batch", values, classify, 2),
    }


def folders(
    clock: Clock, folder: Path, values: Iterable[int] = COUNTS, hifuse: str | None = None, side: int = 128
) -> dict[str, Series]:
    """Seconds and peak memory of whole commands over the number of pictures in a folder."""
    classifier = str(inputs.hifuse_bundle(folder, hifuse)[0].source)
    found: dict[str, Series] = {"fuse": [], "predict masks": [], "predict classes": []}
    for count in values:
        drawn = draw_pictures(folder / f"pictures-{count}", count, side)
        commands = {
            "fuse": ["fuse", str(drawn["ct"]), str(drawn["mri"])],
            "predict masks": ["predict", SHIPPED, str(drawn["cells"])],
            "predict classes": ["predict", classifier, str(drawn["ct"])],
        }
        for name, words in commands.items():
            clock.say(f"{name}: a folder of {count}")
            seconds, gib = time_once([*words, "-o", str(folder / f"out-{name.replace(' ', '-')}-{count}")])
            found[name].append({"pictures": count, "seconds": seconds, "peak_memory_gib": gib})
    return found


def window_memory(
    clock: Clock, values: Iterable[int] = WINDOW_SIDES, tile: int = 512, pair: Pair = AUTO
) -> Series:
    """Memory of the sliding window beyond the picture and the results, over the picture's side.

    The picture has 3 bytes a pixel; mask and 16-bit probability, 3 bytes together, are the results. Once
    without cleaning the mask, whose numbered objects take 4 bytes a pixel, and once with it.
    """
    segmenters = [
        predictor(load_bundle(SHIPPED), pair, whole_image_limit=1, tile=tile, postprocess=postprocess)
        for postprocess in (False, True)
    ]
    # What is made once, such as an engine's buffers for the window, is not the picture's doing.
    for segmenter in segmenters:
        segmenter.segment(draw_cells(tile))
    rows: Series = []
    for side in values:
        picture = draw_cells(side)
        row: dict[str, Any] = {"side": side}
        for segmenter, key in zip(segmenters, ("beyond_gib", "beyond_with_cleaning_gib"), strict=True):
            clock.say(f"memory of windows: side {side}, {key}")
            with peak_memory() as peak:
                result = segmenter.segment(picture)
            assert result.probability is not None
            row["results_gib"] = (result.mask.nbytes + result.probability.nbytes) / 2**30
            row[key] = None if peak.gib is None else peak.gib - row["results_gib"]
            del result
        rows.append(row)
    return rows


def _predictors(folder: Path, hifuse: str | None, pair: Pair) -> tuple[Any, Any, Any]:
    """Of the shipped bundles and of HiFuse, narrow where torch alone computes, as in tests."""
    bundle, _ = inputs.hifuse_bundle(folder, hifuse, 96 if pair == AUTO else 16)
    return (
        predictor(load_bundle("dilran"), pair, strategy=CHEAP_STRATEGY),
        predictor(load_bundle(SHIPPED), pair),
        predictor(bundle, pair),
    )


def _series(
    clock: Clock, key: str, values: tuple[int, ...], make: Callable[[int], Callable[[], Any]], growth: int
) -> Series:
    """The median of up to three runs after a first; stops where the next value would take too long.

    Args:
        clock: Tells progress.
        key: What grows.
        values: Its values, rising.
        make: From a value to what is timed.
        growth: By how much the time grows from one value to the next.
    """
    rows: Series = []
    for value in values:
        if rows and rows[-1]["seconds"] * growth > 60 * MINUTES_AT_MOST:
            rows.append({key: value, "seconds": None, "left_out": "would take too long"})
            break
        clock.say(f"{make.__name__}: {key} {value}")
        run = make(value)
        with peak_memory() as peak:
            times = [_timed(run)]
        repeats = 3 if times[0] < 5 else 1 if times[0] < 90 else 0
        times += [_timed(run) for _ in range(repeats)]
        rows.append(
            {key: value, "seconds": statistics.median(times[1:] or times), "peak_memory_gib": peak.gib}
        )
        del run
    return rows


def _timed(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def growth_exponent(rows: Series, key: str, least: float = 0.05) -> float | None:
    """Slope of time over ``key`` in a double logarithmic plot, by least squares.

    Args:
        rows: A series.
        key: What grows.
        least: Seconds below which overhead is measured rather than growth; such points are left out.

    Returns:
        1 for growth in proportion, 2 for growth with the square; None where fewer than two points remain.

    Example:
        >>> rows = [{"side": side, "seconds": side**2 / 1000} for side in (10, 20, 40)]
        >>> round(growth_exponent(rows, "side"), 6)
        2.0
    """
    points = [(row[key], row["seconds"]) for row in rows if row["seconds"] and row["seconds"] >= least]
    if len(points) < 2:
        return None
    logarithms = np.log(np.array(points, dtype=float))
    return float(np.polyfit(logarithms[:, 0], logarithms[:, 1], 1)[0])


def scaling(clock: Clock, folder: Path, *, quick: bool = False, hifuse: str | None = None) -> dict[str, Any]:
    """All series, with the engines that commands choose; with ``quick`` two small values of each by torch."""
    if quick:
        torch_alone = Pair("torch", "fp32")
        return {
            "sides": sides(clock, folder / "sides", (32, 64), hifuse, torch_alone),
            "batches": batches(clock, folder / "batches", (1, 2), hifuse, 32, torch_alone),
            "folders": {},
        }
    return {
        "sides": sides(clock, folder / "sides", hifuse=hifuse),
        "batches": batches(clock, folder / "batches", hifuse=hifuse),
        "folders": folders(clock, folder / "folders", hifuse=hifuse),
    }
