"""Measure a segmentation model, or masks that were made before, against reference masks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from scalefuse.config.loading import load_config
from scalefuse.config.segmentation import SegmentationRun
from scalefuse.data.atomic import files_together, results_folder
from scalefuse.data.intensity import IntensityRange
from scalefuse.data.masks import MaskClasses, read_case_mask
from scalefuse.data.read import read_image
from scalefuse.data.segmentation import SegmentationCase, find_segmentation_cases
from scalefuse.data.segmentation_list import read_case_list
from scalefuse.data.write import check_folder_name
from scalefuse.errors import InputError, ScaleFuseError
from scalefuse.evaluation.segmentation import EvaluationCase, SegmentationEvaluation, evaluate_segmentation
from scalefuse.inference.exported.model import load_model
from scalefuse.inference.segmenter import Segmenter
from scalefuse.inference.trained_masks import trained_classes
from scalefuse.report.curves import calibration_plot
from scalefuse.report.overlay import overlay
from scalefuse.report.sheet import picture_sheet
from scalefuse.report.tables import write_csv, write_json
from scalefuse.workflows.measured_masks import MeasuredMasks, ModelMasks, ReadyMasks, model_classes
from scalefuse.workflows.names import takes_names
from scalefuse.workflows.out_of_memory import is_out_of_memory
from scalefuse.workflows.pipeline import depth_for, made_ahead
from scalefuse.workflows.run_images import held_out_note
from scalefuse.workflows.views import views_notes
from scalefuse.workflows.workload import job_of

NOT_ENOUGH_MEMORY = "not enough memory for a picture of this size; cut it into parts."


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


@takes_names("folder", "output", "predictions")
def evaluate(
    folder: Path,
    output: Path,
    *,
    models: Sequence[str] = (),
    predictions: Path | None = None,
    classes: str | None = None,
    config: str | Path | None = None,
    split: str | None = None,
    postprocess: bool = True,
    tta: bool | None = None,
    spacing: bool = True,
    intensity: str | None = None,
    engine: str = "auto",
    precision: str = "auto",
    on_start: Callable[[int], None] | None = None,
    on_case: Callable[[str], None] | None = None,
) -> SegmentationEvaluationResult:
    """Segment and measure images that have masks, or measure masks made before.

    Writes ``cases.csv``, ``summary.json`` (per-image means with bootstrap 95 % intervals, pooled values,
    best threshold, calibration), ``sheet.png`` (worst, median and best cases) and, for a model,
    ``calibration.png``.

    Args:
        folder: ``images/`` and ``masks/``, or splits with these inside; or a list of them, such as
            ``images.csv`` of a run.
        output: Folder for the results.
        models: Bundles that segment; of several, probabilities are averaged. With ``predictions``, one that
            names the classes.
        predictions: Folder of masks to measure instead, named as the images or with ``_mask`` added. Masks of
            several classes hold their indices, as ``scalefuse predict`` writes them, or, all alike, what the
            reference masks hold; of several labels there is a file ``NAME_mask_LABEL`` or ``LABEL/NAME`` for
            each.
        classes: Names, perhaps with values or colours, of the classes in the masks, as
            :meth:`~scalefuse.data.masks.MaskClasses.parse` reads them; where None, those of the model, with
            the values or colours that it was trained on, or binary.
        config: Run configuration whose data section says so instead.
        split: Split to measure; the last of train, val and test that the folder has where None.
        postprocess: Use the model's fitted threshold and cleaning.
        tta: Average over flips and rotations; None for what the first model says.
        spacing: Distances in mm where NIfTI or DICOM files know the size of their pixels; without, in
            pixels.
        intensity: Which values become black and white.
        engine: What computes the networks; see :func:`~scalefuse.inference.engines.choice.choose_engine`.
        precision: ``auto``, ``fp32`` or ``bf16``.
        on_start: Called once with the number of cases.
        on_case: Called with the name of every finished case.

    Raises:
        ScaleFuseError: Nothing could start, or no case could be measured.
    """
    check_folder_name(output)
    name, cases, failures = _cases(folder, split)
    masks: MeasuredMasks
    segmenter: Segmenter | None = None
    said: list[str] = []
    job = job_of([case.image for case in cases])
    if predictions is None:
        extra: dict[str, Any] = {}
        if intensity is not None:
            extra["intensity"] = IntensityRange.parse(intensity)
        bundles = [load_model(model) for model in models]
        segmenter = Segmenter.from_bundle(
            bundles,
            postprocess=postprocess,
            tta=tta,
            engine=engine,
            precision=precision,
            job=job,
            **extra,
        )
        note = held_out_note(bundles, "folder", folder, name)
        said = [*([] if note is None else [note]), *views_notes(bundles[0], tta=tta, postprocess=postprocess)]
        named = _named_classes((), classes, config, cases)
        masks = ModelMasks(segmenter, trained_classes(bundles) if named is None else named)
    else:
        masks = ReadyMasks(predictions, _named_classes(models, classes, config, cases), cases)
    if not cases:
        raise InputError(f"{folder}: the split {name!r} has no images with masks; nothing can be measured.")
    if on_start is not None:
        on_start(len(cases))

    def predict(case: SegmentationCase) -> EvaluationCase:
        found = _measure(case, masks)
        return found if spacing else found._replace(spacing=None)

    num_measured = 0

    def measured() -> Iterator[EvaluationCase]:
        nonlocal num_measured
        # The next case goes through the network while this one is measured.
        with made_ahead(predict, cases, depth=depth_for(job)) as outcomes:
            for case, outcome in zip(cases, outcomes, strict=True):
                try:
                    yield outcome()
                    num_measured += 1
                except ScaleFuseError as error:
                    failures.append(str(error))
                except (RuntimeError, MemoryError) as error:
                    if not is_out_of_memory(error):
                        raise
                    failures.append(f"{case.image}: {NOT_ENOUGH_MEMORY}")
                if on_case is not None:
                    on_case(case.name)

    with results_folder(output):
        try:
            evaluation = evaluate_segmentation(
                measured(),
                labels=masks.labels,
                multi_label=masks.multi_label,
                postprocessing=masks.postprocessing,
            )
        except InputError:
            if failures and not num_measured:
                raise InputError(f"No case could be measured. First problem: {failures[0]}") from None
            raise
        except MemoryError as error:
            raise InputError(f"{folder}: {NOT_ENOUGH_MEMORY}") from error
        counts = {"num_cases": evaluation.num_cases, "num_failed": len(failures), "failures": failures}
        summary = {"split": name, **counts, **evaluation.summary()}
        if segmenter is not None:
            summary |= {"tta": segmenter.tta, "computed_by": str(segmenter.computed_by)}
        summary["notes"] = [
            *said,
            *masks.notes(),
            *_missing_labels(cases, masks.classes),
        ]
        if predictions is not None:
            # Ready masks have no probabilities to choose a threshold for or to calibrate.
            summary = {
                key: value for key, value in summary.items() if key not in ("best_threshold", "calibration")
            }
        names = ["cases.csv", "summary.json", "sheet.png"]
        with files_together(output) as results:
            write_csv(results / names[0], evaluation.rows)
            write_json(results / names[1], summary)
            _sheet(results / names[2], evaluation, {case.name: case for case in cases}, masks)
            if predictions is None:
                names.append("calibration.png")
                calibration_plot(results / names[3], summary["calibration"])
        files = [output / name for name in names]
        return SegmentationEvaluationResult(evaluation, summary, files, failures)


def _cases(folder: Path, split: str | None) -> tuple[str, list[SegmentationCase], list[str]]:
    splits = read_case_list(folder) if folder.suffix.lower() == ".csv" else find_segmentation_cases(folder)
    if split is None:
        split = next(name for name in ("test", "val", "train", "all", *splits) if name in splits)
    if split not in splits:
        hint = "; images.csv of a run lists what its training held out: evaluate that" * (split == "val")
        raise InputError(f"{folder}: has no split {split!r}; it has: {', '.join(splits)}{hint}.")
    cases = [case for case in splits[split] if case.has_mask]
    failures = [f"{case.image}: has no mask." for case in splits[split] if not case.has_mask]
    return split, cases, failures


def _missing_labels(cases: Sequence[SegmentationCase], classes: MaskClasses | None) -> list[str]:
    """A note on images without a file for one of several labels, which counts as an empty mask."""
    if classes is None or not classes.multi_label:
        return []
    missing = [
        f"{case.name} ({name})"
        for case in cases
        for name in classes.names
        if name not in {label for label, _ in case.label_masks}
    ]
    if not missing:
        return []
    shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
    return [f"{shown}: no reference mask of this label; measured as if it were nowhere on the image."]


def _named_classes(
    models: Sequence[str], classes: str | None, config: str | Path | None, cases: Sequence[SegmentationCase]
) -> MaskClasses | None:
    """What ready masks hold, from the one place that says it; None for binary masks."""
    given = [
        what
        for what, one in (("names", classes), ("a configuration", config), ("a model", models or None))
        if one is not None
    ]
    if len(given) > 1:
        raise InputError(f"Got {' and '.join(given)} for the classes of the masks; give one of them.")
    if len(models) > 1:
        raise InputError(f"Got {len(models)} models for ready masks; give one that names their classes.")
    if classes is not None:
        return MaskClasses.parse(classes, multi_label=any(case.label_masks for case in cases))
    if config is not None:
        run = load_config(config)
        if not isinstance(run, SegmentationRun):
            raise InputError(f"{config}: configures {run.task}; give a configuration of a segmentation.")
        return run.data.classes
    if not models:
        return None
    bundle = load_model(models[0])
    return trained_classes([bundle]) or model_classes(Segmenter.from_bundle(bundle))


def _measure(case: SegmentationCase, masks: MeasuredMasks) -> EvaluationCase:
    target = read_case_mask(case, masks.classes)
    probability, spacing = masks.probability(case, target)
    return EvaluationCase(case.name, probability, target, spacing)


def _sheet(
    path: Path, evaluation: SegmentationEvaluation, cases: dict[str, SegmentationCase], masks: MeasuredMasks
) -> None:
    names = list(dict.fromkeys(row["name"] for row in evaluation.rows))
    dice = evaluation.values("dice")
    rows = []
    for index, label in _shown([int(one) for one in np.argsort(dice, kind="stable")]).items():
        case = cases[names[index]]
        image = read_image(case.image, channels=masks.channels)
        pixels = image.pixels
        wanted = read_case_mask(case, masks.classes)
        wanted = wanted.astype(bool) if masks.classes is None or wanted.ndim == 3 else wanted
        found = masks.mask(case, image)
        empty = np.zeros(pixels.shape[:2], bool)
        pictures = [overlay(pixels, empty), overlay(pixels, wanted), overlay(pixels, found)]
        rows.append((f"{label}: {case.name[:18]}\nDice {dice[index]:.3f}", pictures))
    picture_sheet(path, rows, ["image", "reference", "segmented"], title="Cases by Dice", cell=2.6)


def _shown(order: list[int]) -> dict[int, str]:
    """Which of the cases, sorted from the worst on, the sheet shows, and what it calls them.

    Example:
        >>> _shown([7, 3, 5])
        {7: 'worst', 3: 'median', 5: 'best'}
        >>> list(_shown([7, 3]).values()), list(_shown([7, 3, 5, 1]).values())
        (['worst', 'best'], ['worst', 'worst', 'median', 'best'])
    """
    chosen = dict.fromkeys(order[: 2 if len(order) > 3 else 1], "worst")
    if len(order) > 2:
        chosen |= {order[len(order) // 2]: "median"}
    return chosen if len(order) == 1 else chosen | {order[-1]: "best"}
