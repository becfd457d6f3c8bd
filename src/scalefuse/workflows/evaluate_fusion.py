"""Measure fused pictures, of a model or of anything else, against their sources."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalefuse.data.atomic import files_together, results_folder
from scalefuse.data.image import Image
from scalefuse.data.intensity import IntensityRange, resolve_intensity, to_unit
from scalefuse.data.pairs import Pair, by_stem, pair_by_name, paired_by_parts
from scalefuse.data.read import list_images, read_image
from scalefuse.data.write import check_folder_name
from scalefuse.errors import InputError, ScaleFuseError
from scalefuse.evaluation.fusion import (
    DEFAULT_METRICS,
    FusionCase,
    FusionEvaluation,
    check_measures,
    evaluate_fusion,
    luma_8bit,
    source_luma,
)
from scalefuse.fusion.baselines import BASELINES
from scalefuse.inference.engines.choice import EngineChoice
from scalefuse.inference.exported.model import load_model
from scalefuse.inference.fuser import Fuser, RememberingEngine
from scalefuse.metrics import FUSION_METRIC_DEFINITIONS
from scalefuse.report.sheet import picture_sheet
from scalefuse.report.tables import write_csv, write_json
from scalefuse.workflows.names import takes_names
from scalefuse.workflows.out_of_memory import is_out_of_memory
from scalefuse.workflows.pipeline import made_ahead
from scalefuse.workflows.places import Places
from scalefuse.workflows.workload import job_of

SHEET_METRIC = "VIF"
_SMALL_PAIR = 2.0  # megapixels
NOT_ENOUGH_MEMORY = "not enough memory for images of this size; measure smaller ones."


@dataclass
class FusionEvaluationResult:
    """Files and values of an evaluation.

    Attributes:
        evaluation: Per-case values.
        summary: What ``summary.json`` holds.
        files: Files written.
        failures: One line per pair that could not be measured.
    """

    evaluation: FusionEvaluation
    summary: dict[str, Any]
    files: list[Path]
    failures: list[str] = field(default_factory=list)


@takes_names("a", "b", "output", "fused")
def evaluate(
    a: Path,
    b: Path,
    output: Path,
    *,
    model: str = "dilran",
    strategies: Sequence[str] = (),
    fused: Path | None = None,
    baselines: bool = True,
    metrics: Sequence[str] = DEFAULT_METRICS,
    range_a: str | None = None,
    range_b: str | None = None,
    engine: str = "auto",
    precision: str = "auto",
    on_start: Callable[[int], None] | None = None,
    on_case: Callable[[str], None] | None = None,
) -> FusionEvaluationResult:
    """Fuse and measure pairs, or measure pictures that were fused before.

    Writes ``cases.csv``, ``summary.json`` (means, bootstrap 95 % intervals, paired differences, definitions)
    and ``sheet.png`` (worst, median and best case).

    Args:
        a: Picture or folder of the first modality.
        b: The same of the second.
        output: Folder for the results.
        model: Bundle that fuses, unless ``fused`` is given.
        strategies: Strategies to compare; the bundle's own where empty.
        fused: Pictures to measure instead, paired by name.
        baselines: Measure average, pixel-wise maximum and Laplacian pyramid beside it.
        metrics: Names in :data:`scalefuse.metrics.FUSION_METRICS`.
        range_a: Which values of the first modality become black and white.
        range_b: The same for the second.
        engine: What computes the network; see
            :func:`~scalefuse.inference.engines.choice.choose_engine`.
        precision: ``auto``, ``fp32`` or ``bf16``.
        on_start: Called once with the number of pairs.
        on_case: Called with the name of every finished pair.

    Raises:
        ScaleFuseError: Nothing could start, or no pair could be measured.
    """
    check_measures(metrics)
    check_folder_name(output)
    choices = [None if text is None else IntensityRange.parse(text) for text in (range_a, range_b)]
    if fused is not None and strategies:
        raise InputError(
            f"Got ready pictures ({fused}) and the strategy {strategies[0]!r}; measure either "
            "pictures or strategies."
        )
    pairs, failures = pair_by_name(a, b)
    num_unpaired = len(failures)
    note = paired_by_parts(pairs) if Path(a).is_dir() else None
    notes = [] if note is None else [note]
    places = Places()
    ready = _fused_files(fused, pairs) if fused is not None else None
    fusers = {}
    computed_by: EngineChoice | None = None
    job = job_of([pair.a for pair in pairs])
    if ready is None:
        default = Fuser.from_bundle(load_model(model), engine=engine, precision=precision, job=job)
        computed_by = default.computed_by
        remembering = RememberingEngine(default.engine)
        for name in strategies or (default.strategy,):
            fusers[name] = Fuser(remembering, strategy=name)
    if baselines:
        for name in BASELINES:
            fusers[f"baseline:{name}"] = Fuser(None, strategy=f"baseline:{name}")
    if on_start is not None:
        on_start(len(pairs))
    measured: dict[str, Pair] = {}
    main = "fused" if ready is not None else next(iter(fusers))

    def make(pair: Pair) -> tuple[FusionCase, list[NDArray[Any]]]:
        if ready is not None and pair.name not in ready:
            raise InputError(f"{fused}: no fused picture named {pair.name!r}.")
        return _make_case(pair, fusers, None if ready is None else ready[pair.name], choices, places)

    def read(pair: Pair) -> FusionCase:
        return make(pair)[0]

    def cases() -> Iterator[FusionCase]:
        # The next pair is read and fused while this one is measured, unless one alone may fill the memory.
        with made_ahead(read, pairs, depth=int(job.megapixels_each <= _SMALL_PAIR)) as outcomes:
            for pair, outcome in zip(pairs, outcomes, strict=True):
                try:
                    case = outcome()
                except (ScaleFuseError, RuntimeError, MemoryError) as error:
                    if not isinstance(error, ScaleFuseError) and not is_out_of_memory(error):
                        raise
                    said = isinstance(error, ScaleFuseError)
                    failures.append(str(error) if said else f"{pair.name}: {NOT_ENOUGH_MEMORY}")
                    if on_case is not None:
                        on_case(pair.name)
                    continue
                measured[pair.name] = pair
                yield case

    with results_folder(output):
        try:
            evaluation = evaluate_fusion(
                cases(), metrics, on_case=None if on_case is None else lambda case, rows: on_case(case.name)
            )
        except MemoryError as error:
            raise InputError(f"{next(reversed(measured))}: {NOT_ENOUGH_MEMORY}") from error
        if not evaluation.rows:
            raise InputError(
                f"No pair could be measured. First problem: {failures[0] if failures else 'no pairs'}"
            )
        summary = evaluation.summary()
        # Files without a partner are no pairs.
        counts = {"num_failed": len(failures) - num_unpaired, "failures": failures}
        summary = {"num_cases": summary["num_cases"], **counts, **summary}
        summary["notes"] = [*notes, *places.notes(), *evaluation.notes]
        if computed_by is not None:
            summary["computed_by"] = str(computed_by)
        summary["definitions"] = {name: FUSION_METRIC_DEFINITIONS[name] for name in metrics}
        files = [output / "cases.csv", output / "summary.json", output / "sheet.png"]
        with files_together(output) as results:
            write_csv(results / files[0].name, evaluation.rows)
            write_json(results / files[1].name, summary)
            # Made again for the few that are shown: the pictures of all pairs would not fit into memory.
            _draw_sheet(results / files[2].name, evaluation, main, lambda name: make(measured[name])[1])
        return FusionEvaluationResult(evaluation, summary, files, failures)


def _fused_files(folder: Path, pairs: list[Pair]) -> dict[str, Path]:
    if not folder.exists():
        raise InputError(f"{folder}: no such file or folder; give the fused pictures.")
    files = [folder] if folder.is_file() else list_images(folder)
    if folder.is_file() and len(pairs) == 1:
        return {pairs[0].name: folder}
    return by_stem(folder, files)


def _make_case(
    pair: Pair,
    fusers: dict[str, Fuser],
    ready: Path | None,
    choices: Sequence[IntensityRange | None],
    places: Places,
) -> tuple[FusionCase, list[NDArray[Any]]]:
    images = [read_image(pair.a), read_image(pair.b)]
    units = [
        to_unit(image.pixels, resolve_intensity(image, choice))[0]
        for image, choice in zip(images, choices, strict=True)
    ]
    lumas = [_source(image, unit, choice) for image, unit, choice in zip(images, units, choices, strict=True)]
    made: dict[str, NDArray[Any]] = {}
    if ready is not None:
        picture = read_image(ready)
        if picture.size != images[0].size:
            raise InputError(
                f"{ready} is {picture.size[0]}×{picture.size[1]} pixels, but its sources are "
                f"{images[0].size[0]}×{images[0].size[1]}; measure pictures of the sources' size."
            )
        try:
            luma_8bit(picture.pixels)
        except InputError as error:
            raise InputError(f"{ready}: {error}") from error
        made["fused"] = picture.pixels
    for name, fuser in fusers.items():
        made[name] = fuser.fuse_images(images[0], images[1], range_a=choices[0], range_b=choices[1]).pixels
    places.look(pair.name, *images)
    case = FusionCase(
        pair.name, lumas[0], lumas[1], {name: luma_8bit(pixels) for name, pixels in made.items()}
    )
    shown = [
        *(np.rint(unit * 255).astype(np.uint8) for unit in units),
        *(_as_8bit(pixels) for pixels in made.values()),
    ]
    return case, shown


def _source(image: Image, unit: NDArray[Any], choice: IntensityRange | None) -> NDArray[np.float64]:
    return source_luma(image, unit) if choice is None else luma_8bit(unit)


def _as_8bit(pixels: NDArray[Any]) -> NDArray[Any]:
    if pixels.dtype.kind == "f":
        return np.asarray(np.rint(np.clip(pixels, 0, 1) * 255), np.uint8)
    return np.rint(pixels / 257.0).astype(np.uint8) if pixels.dtype == np.uint16 else pixels


def _draw_sheet(
    path: Path, evaluation: FusionEvaluation, main: str, pictures: Callable[[str], list[NDArray[Any]]]
) -> None:
    metric = SHEET_METRIC if SHEET_METRIC in evaluation.metrics else evaluation.metrics[0]
    # A case without a value is neither worst nor best.
    known = [row for row in evaluation.rows if row["method"] == main and math.isfinite(row[metric])]
    rows = sorted(known, key=lambda row: row[metric])
    if not rows:
        rows = [row for row in evaluation.rows if row["method"] == main][:2]
    chosen = {"worst": rows[0], "median": rows[len(rows) // 2], "best": rows[-1]}
    if len(rows) < 3:
        chosen = {str(number + 1): row for number, row in enumerate(rows)}
    lines = [
        (f"{label}: {row['case']}\n{metric} {row[metric]:.3f}", pictures(row["case"]))
        for label, row in chosen.items()
    ]
    picture_sheet(path, lines, ["first", "second", *evaluation.methods], title=f"Cases by {metric} of {main}")
