"""Measure a segmentation model, or masks that were made before, against reference masks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalefuse.bundle import load_bundle
from scalefuse.data.atomic import results_folder
from scalefuse.data.intensity import IntensityRange
from scalefuse.data.masks import BINARY, MaskClasses, read_case_mask, read_mask
from scalefuse.data.read import image_stem, list_images, read_image
from scalefuse.data.segmentation import SegmentationCase, find_segmentation_cases
from scalefuse.errors import InputError, ScaleFuseError
from scalefuse.evaluation.segmentation import EvaluationCase, SegmentationEvaluation, evaluate_segmentation
from scalefuse.inference.segmenter import Segmenter
from scalefuse.report.curves import calibration_plot
from scalefuse.report.overlay import overlay
from scalefuse.report.sheet import picture_sheet
from scalefuse.report.tables import write_csv, write_json


@dataclass
class SegmentationEvaluationResult:
    """Files and values of an evaluation.

    Attributes:
        evaluation: Per-case values.
        summary: What ``summary.json`` holds.
        files: Files written.
        failures: One line per case that could not be measured.
    """

    evaluation: SegmentationEvaluation
    summary: dict[str, Any]
    files: list[Path]
    failures: list[str] = field(default_factory=list)


def evaluate(
    folder: Path,
    output: Path,
    *,
    models: Sequence[str] = (),
    predictions: Path | None = None,
    split: str | None = None,
    postprocess: bool = True,
    tta: bool = False,
    intensity: str | None = None,
    on_start: Callable[[int], None] | None = None,
    on_case: Callable[[str], None] | None = None,
) -> SegmentationEvaluationResult:
    """Segment and measure images that have masks, or measure masks made before.

    Writes ``cases.csv``, ``summary.json`` (per-image means with bootstrap 95 % intervals, pooled values,
    best threshold, calibration), ``sheet.png`` (worst, median and best cases) and, for a model,
    ``calibration.png``.

    Args:
        folder: ``images/`` and ``masks/``, or splits with these inside.
        output: Folder for the results.
        models: Bundles that segment; of several, probabilities are averaged.
        predictions: Folder of binary masks to measure instead, named as the images or with ``_mask`` added.
        split: Split to measure; the last of train, val and test that the folder has where None.
        postprocess: Use the model's fitted threshold and cleaning.
        tta: Average over flips and rotations.
        intensity: Which values become black and white.
        on_start: Called once with the number of cases.
        on_case: Called with the name of every finished case.

    Raises:
        ScaleFuseError: Nothing could start, or no case could be measured.
    """
    name, cases, failures = _cases(folder, split)
    segmenter = None
    if predictions is None:
        extra: dict[str, Any] = {"tta": tta}
        if intensity is not None:
            extra["intensity"] = IntensityRange.parse(intensity)
        segmenter = Segmenter.from_bundle(
            [load_bundle(model) for model in models], postprocess=postprocess, **extra
        )
    ready = {} if predictions is None else _predicted_files(predictions)
    if not cases:
        raise InputError(f"{folder}: the split {name!r} has no images with masks; nothing can be measured.")
    if on_start is not None:
        on_start(len(cases))

    def measured() -> Iterator[EvaluationCase]:
        for case in cases:
            try:
                yield _measure(case, segmenter, ready, predictions)
            except ScaleFuseError as error:
                failures.append(str(error))
            if on_case is not None:
                on_case(case.name)

    with results_folder(output):
        try:
            evaluation = evaluate_segmentation(
                measured(),
                labels=segmenter.labels if segmenter else BINARY.names,
                multi_label=bool(segmenter and segmenter.multi_label),
                postprocessing=segmenter.postprocessing if segmenter else None,
            )
        except InputError:
            if failures:
                raise InputError(f"No case could be measured. First problem: {failures[0]}") from None
            raise
        summary = {"split": name, **evaluation.summary()}
        if predictions is not None:
            # Ready masks have no probabilities to choose a threshold for or to calibrate.
            summary = {
                key: value for key, value in summary.items() if key not in ("best_threshold", "calibration")
            }
        files = [output / "cases.csv", output / "summary.json", output / "sheet.png"]
        write_csv(files[0], evaluation.rows)
        write_json(files[1], summary)
        _sheet(files[2], evaluation, {case.name: case for case in cases}, segmenter, ready)
        if predictions is None:
            files.append(output / "calibration.png")
            calibration_plot(files[3], summary["calibration"])
        return SegmentationEvaluationResult(evaluation, summary, files, failures)


def _cases(folder: Path, split: str | None) -> tuple[str, list[SegmentationCase], list[str]]:
    splits = find_segmentation_cases(folder)
    if split is None:
        split = next(name for name in ("test", "val", "train", "all", *splits) if name in splits)
    if split not in splits:
        raise InputError(f"{folder}: has no split {split!r}; it has: {', '.join(splits)}.")
    cases = [case for case in splits[split] if case.has_mask]
    failures = [f"{case.image}: has no mask." for case in splits[split] if not case.has_mask]
    return split, cases, failures


def _predicted_files(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the folder of the masks to measure.")
    files = {image_stem(file): file for file in list_images(folder)}
    return files | {
        stem.removesuffix("_mask"): file for stem, file in files.items() if stem.endswith("_mask")
    }


def _classes(segmenter: Segmenter | None) -> MaskClasses | None:
    if segmenter is None or (segmenter.num_outputs == 1 and not segmenter.multi_label):
        return None
    return MaskClasses(names=segmenter.labels, multi_label=segmenter.multi_label)


def _measure(
    case: SegmentationCase, segmenter: Segmenter | None, ready: dict[str, Path], folder: Path | None
) -> EvaluationCase:
    target = read_case_mask(case, _classes(segmenter))
    if segmenter is None:
        if case.name not in ready:
            raise InputError(f"{folder}: no mask named {case.name!r}.")
        mask = read_mask(ready[case.name])
        _same_size(ready[case.name], mask, target)
        return EvaluationCase(case.name, mask.astype(np.float32), target)
    image = read_image(case.image)
    if image.size != target.shape[-2:]:
        raise InputError(
            f"{case.image}: has {image.size[0]}×{image.size[1]} pixels, but its mask has "
            f"{target.shape[-2]}×{target.shape[-1]}; they must be the same."
        )
    found = segmenter.segment(image)
    assert found.probability is not None
    spacing = image.geometry.spacing_mm if image.geometry is not None else None
    return EvaluationCase(case.name, found.probability, target, spacing)


def _same_size(file: Path, mask: NDArray[Any], target: NDArray[Any]) -> None:
    if mask.shape != target.shape:
        raise InputError(
            f"{file}: has {mask.shape[0]}×{mask.shape[1]} pixels, but the reference mask has "
            f"{target.shape[-2]}×{target.shape[-1]}; they must be the same."
        )


def _sheet(
    path: Path,
    evaluation: SegmentationEvaluation,
    cases: dict[str, SegmentationCase],
    segmenter: Segmenter | None,
    ready: dict[str, Path],
) -> None:
    names = list(dict.fromkeys(row["name"] for row in evaluation.rows))
    dice = evaluation.values("dice")
    order = [int(index) for index in np.argsort(dice, kind="stable")]
    middle = len(order) // 2
    chosen: dict[str, list[int]] = {
        "worst": order[:2],
        "median": order[middle : middle + 1],
        "best": order[-1:],
    }
    rows, seen = [], set()
    for label, indices in chosen.items():
        for index in indices:
            if index in seen:
                continue
            seen.add(index)
            case = cases[names[index]]
            image = read_image(case.image)
            pixels = image.pixels
            wanted = read_case_mask(case, _classes(segmenter))
            wanted = wanted.astype(bool) if _classes(segmenter) is None else wanted
            found: NDArray[Any] = (
                read_mask(ready[case.name]).astype(bool)
                if segmenter is None
                else segmenter.segment(image, keep_probability=False).mask
            )
            empty = np.zeros(pixels.shape[:2], bool)
            pictures = [overlay(pixels, empty), overlay(pixels, wanted), overlay(pixels, found)]
            rows.append((f"{label}: {case.name[:18]}\nDice {dice[index]:.3f}", pictures))
    picture_sheet(path, rows, ["image", "reference", "segmented"], title="Cases by Dice", cell=2.6)
