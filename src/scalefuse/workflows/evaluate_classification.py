"""Measure a classification model, or probabilities that were made before, against the true classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalefuse.config.base import expand_path
from scalefuse.config.classification import ClassificationRun
from scalefuse.config.loading import load_config
from scalefuse.data.atomic import files_together, results_folder
from scalefuse.data.class_names import split_names
from scalefuse.data.classification import ClassificationCase, TableColumns
from scalefuse.data.write import check_folder_name, write_pixels
from scalefuse.errors import InputError, ScaleFuseError
from scalefuse.evaluation.classification import ClassificationEvaluation, evaluate_classification
from scalefuse.evaluation.classification_promises import measure_operating_point, measure_sets
from scalefuse.inference.classification_postprocessing import ClassificationPostProcessing
from scalefuse.inference.classifier import Classifier
from scalefuse.inference.classifier_ensemble import classifier_arguments
from scalefuse.inference.classifier_views import ENSEMBLE_UNCALIBRATED, UNCALIBRATED
from scalefuse.inference.conformal import prediction_sets
from scalefuse.inference.engines.choice import EngineChoice, EnsembleChoice, Job
from scalefuse.inference.exported.model import load_model
from scalefuse.inference.operating_point import OperatingPoint
from scalefuse.report.classification_plots import classification_figures, figure_pixels
from scalefuse.report.classification_report import write_classification_report
from scalefuse.report.html import Figure
from scalefuse.report.tables import write_csv, write_json
from scalefuse.report.thumbnails import thumbnail
from scalefuse.workflows.classify_cases import classify_cases
from scalefuse.workflows.classify_tables import EMPTY_SET, NO_LABEL, SEPARATOR
from scalefuse.workflows.evaluate_classification_data import (
    PROBABILITY,
    EvaluationData,
    Reading,
    ReadyPredictions,
    open_data,
    write_medmnist,
)
from scalefuse.workflows.names import takes_names
from scalefuse.workflows.run_images import held_out_note

_CASES_SHOWN = 12


@dataclass(frozen=True)
class ClassificationEvaluationOptions:
    """What to measure, and how.

    Attributes:
        split: Split to measure; the first there is of test, val, train and all where None.
        postprocess: Use what was fitted on validation data: temperature, prediction sets, operating point.
        tta: Average over the mirrored and turned views that training showed.
        intensity: Which values become black and white, where the model does not say.
        coverage: Promised by the prediction sets; None for the model's own.
        sensitivity: Measure the operating point that was chosen for it on calibration cases, too.
        positive: Of two classes the one that binary measures are of, and the class of ``sensitivity``.
        batch_size: Pictures that go through the network at once.
        classes: Names of the classes of the data set, separated by commas, in quotation marks where they hold
            one; found in it where None.
        columns: Of a CSV file, as :meth:`~scalefuse.data.classification.TableColumns.parse` reads them.
        images: Folder that the paths of a CSV file start from.
        config: Run configuration whose data section stands in for the three above.
        engine: What computes the networks; see :func:`~scalefuse.inference.engines.choice.choose_engine`.
        precision: ``auto``, ``fp32`` or ``bf16``.
    """

    split: str | None = None
    postprocess: bool = True
    tta: bool = False
    intensity: str | None = None
    coverage: float | None = None
    sensitivity: float | None = None
    positive: str | None = None
    batch_size: int = 16
    classes: str | None = None
    columns: str | None = None
    images: Path | None = None
    config: str | Path | None = None
    engine: str = "auto"
    precision: str = "auto"


@dataclass
class ClassificationEvaluationResult:
    """Files and values of an evaluation.

    Attributes:
        evaluation: Probabilities, targets and decisions.
        summary: What ``summary.json`` holds.
        files: Files written.
        failures: One line per case that could not be measured.
    """

    evaluation: ClassificationEvaluation
    summary: dict[str, Any]
    files: list[Path]
    failures: list[str] = field(default_factory=list)


@dataclass
class _Measured:
    """Cases with probabilities, and how these become sets and decisions."""

    cases: list[ClassificationCase]
    probabilities: NDArray[Any]
    postprocessing: ClassificationPostProcessing
    failures: list[str]
    models: list[str]
    coverage: float | None = None
    asked: OperatingPoint | None = None
    computed_by: EngineChoice | EnsembleChoice | None = None
    num_views: int | None = None


@takes_names("source", "output", "predictions")
def evaluate(
    source: Path,
    output: Path,
    *,
    models: Sequence[str] = (),
    predictions: Path | None = None,
    options: ClassificationEvaluationOptions | None = None,
    on_start: Callable[[int], None] | None = None,
    on_case: Callable[[str], None] | None = None,
) -> ClassificationEvaluationResult:
    """Classify and measure labelled pictures, or measure probabilities made before.

    Writes ``cases.csv``, ``summary.json`` (measures with 95 % intervals, prediction sets, operating points),
    plots (``confusion.png``, ``roc.png``, ``precision-recall.png``, ``reliability.png``), ``report.html``
    and, for a MedMNIST file, probabilities in the format of its evaluator.

    Args:
        source: A folder per class (below ``train``, ``val``, ``test`` or not), a CSV or an ``.npz`` file.
        output: Folder for the results.
        models: Bundles that classify; of several, probabilities are averaged.
        predictions: CSV file of probabilities to measure instead, see
            :class:`~scalefuse.workflows.evaluate_classification_data.ReadyPredictions`.
        options: What to measure.
        on_start: Called once with the number of cases.
        on_case: Called with the name of every finished case.

    Raises:
        ScaleFuseError: Nothing could start, or no case could be measured.
    """
    options = options or ClassificationEvaluationOptions()
    check_folder_name(output)
    # Before the work, and gone again where nothing comes of it.
    with results_folder(output):
        return _evaluate(source, output, models, predictions, options, on_start, on_case)


def _evaluate(
    source: Path,
    output: Path,
    models: Sequence[str],
    predictions: Path | None,
    options: ClassificationEvaluationOptions,
    on_start: Callable[[int], None] | None,
    on_case: Callable[[str], None] | None,
) -> ClassificationEvaluationResult:
    if predictions is not None:
        opened, measured = _read(source, predictions, models, options)
        if on_start is not None:
            on_start(len(measured.cases))
    else:
        bundles, known = classifier_arguments(
            [load_model(model) for model in models], postprocess=options.postprocess
        )
        opened = open_data(
            source,
            options.split,
            _reading(options),
            labels=known["labels"],
            multi_label=known["multi_label"],
        )
        extra: dict[str, Any] = {} if options.intensity is None else {"intensity": options.intensity}
        classifier = Classifier.from_bundle(
            bundles,
            postprocess=options.postprocess,
            tta=options.tta,
            batch_size=options.batch_size,
            engine=options.engine,
            precision=options.precision,
            job=Job(len(opened.cases), 0),
            **extra,
        )
        measured = _promises(classifier, options)
        measured.models = list(models)
        measured.computed_by = classifier.computed_by
        measured.num_views = len(classifier.views)
        note = held_out_note(bundles, "source", source, opened.split)
        opened.notes.extend([] if note is None else [note])
        if on_start is not None:
            on_start(len(opened.cases))
        found = classify_cases(classifier, opened.cases, on_case, failures=opened.failures)
        measured.cases, measured.probabilities = found.cases, classifier.postprocessing.activate(found.logits)
        measured.failures = found.failures
        opened.notes.extend(found.notes)
    binary = not opened.multi_label and len(opened.classes) == 2
    evaluation = evaluate_classification(
        measured.probabilities,
        opened.targets(measured.cases),
        opened.classes,
        multi_label=opened.multi_label,
        # Of more classes it is that of the operating point only.
        positive=options.positive if binary or options.sensitivity is None else None,
        operating_point=measured.postprocessing.operating_point,
    )
    return _write(output, opened, evaluation, measured)


def _read(
    source: Path, predictions: Path, models: Sequence[str], options: ClassificationEvaluationOptions
) -> tuple[EvaluationData, _Measured]:
    if models:
        raise InputError(
            f"Got ready probabilities ({predictions}) and the model {models[0]}; measure either of them."
        )
    if options.sensitivity is not None or options.coverage is not None:
        raise InputError(
            "Sensitivity and coverage need the calibration of a model, which ready probabilities have not; "
            "leave them out."
        )
    ready = ReadyPredictions(predictions)
    opened = open_data(source, options.split, _reading(options))
    cases, probabilities, failures = ready.probabilities(opened)
    plain = ClassificationPostProcessing(multi_label=opened.multi_label)
    return opened, _Measured(cases, probabilities, plain, [*opened.failures, *failures], [str(predictions)])


def _reading(options: ClassificationEvaluationOptions) -> Reading:
    """How to read the data set: the options, and what a configuration says where they say nothing."""
    found = Reading()
    if options.config is not None:
        run = load_config(options.config)
        if not isinstance(run, ClassificationRun):
            raise InputError(
                f"{options.config}: configures {run.task}; give a configuration of a classification."
            )
        data = run.data
        found = Reading(data.classes, data.columns, data.images and expand_path(data.images))
    chosen: dict[str, Any] = {
        "classes": options.classes and split_names(options.classes),
        "columns": options.columns and TableColumns.parse(options.columns),
        "images": options.images,
    }
    return replace(found, **{name: value for name, value in chosen.items() if value})


def _promises(classifier: Classifier, options: ClassificationEvaluationOptions) -> _Measured:
    """The empty table, after refusing promises that the model cannot make."""
    fitted = classifier.postprocessing
    asked = options.sensitivity is not None or options.coverage is not None
    if asked and len(classifier.engines) > 1:
        raise InputError(ENSEMBLE_UNCALIBRATED)
    if asked and options.tta:
        raise InputError(UNCALIBRATED)
    if options.positive is not None and options.positive not in classifier.labels:
        raise InputError(f"No class {options.positive!r}; the model knows {', '.join(classifier.labels)}.")
    measured = _Measured([], np.empty((0, len(classifier.labels))), fitted, [], [])
    if options.coverage is not None or any(fitted.true_probabilities):
        measured.coverage = fitted.coverage if options.coverage is None else options.coverage
        classifier.prediction_sets(measured.probabilities, measured.coverage)
    if options.sensitivity is not None:
        measured.asked = classifier.operating_point(options.sensitivity, options.positive)
    return measured


def _write(
    output: Path, opened: EvaluationData, evaluation: ClassificationEvaluation, measured: _Measured
) -> ClassificationEvaluationResult:
    point, classes = measured.postprocessing.operating_point, opened.classes
    summary: dict[str, Any] = {
        "task": "classification",
        "source": str(opened.data.source),
        "split": opened.split,
        "models": measured.models,
        "decision": _decision(point, evaluation),
        "num_cases": len(measured.cases),
        "num_failed": len(measured.failures),
        "failures": measured.failures,
        **evaluation.summary(),
    }
    if measured.num_views is not None:
        summary["views"] = measured.num_views
    if measured.computed_by is not None:
        summary["computed_by"] = str(measured.computed_by)
    summary["notes"] = opened.notes + summary["notes"]
    members = None
    if measured.coverage is not None:
        members = prediction_sets(measured.probabilities, measured.postprocessing, measured.coverage)
        summary["prediction_sets"] = measure_sets(members, evaluation.indicators, classes, measured.coverage)
    summary["operating_points"] = [
        {
            "origin": origin,
            **measure_operating_point(evaluation.probabilities, evaluation.indicators, classes, one),
        }
        for origin, one in (("stored in the model", point), ("asked for", measured.asked))
        if one is not None
    ]
    with files_together(output) as results:
        files = [results / "cases.csv", results / "summary.json"]
        write_csv(files[0], _rows(evaluation, measured, members))
        write_json(files[1], summary)
        plots = {
            name: figure_pixels(figure)
            for name, figure in classification_figures(evaluation, summary).items()
        }
        for name, pixels in plots.items():
            files.append(results / f"{name}.png")
            write_pixels(files[-1], pixels)
        files.append(results / "report.html")
        write_classification_report(
            files[-1],
            summary,
            plots,
            title=f"Evaluation of {', '.join(Path(model).name for model in measured.models)}",
            cases=_hardest(evaluation, measured.cases),
            cases_title="Cases with the smallest probability of the truth",
        )
        if opened.data.source.suffix.lower() == ".npz" and len(measured.cases) == len(opened.cases):
            run = "-".join(Path(model).stem for model in measured.models)
            files.append(write_medmnist(results, opened, measured.probabilities, run))
    files = [output / file.name for file in files]
    return ClassificationEvaluationResult(evaluation, summary, files, measured.failures)


def _decision(point: OperatingPoint | None, evaluation: ClassificationEvaluation) -> str:
    if point is not None:
        thresholds = ", ".join(f"{label} from {value:.4g} on" for label, value in point.thresholds.items())
        return f"{thresholds} (for a sensitivity of {point.sensitivity:g})"
    return "labels from 0.5 on" if evaluation.kind == "multi-label" else "the most probable class"


def _rows(
    evaluation: ClassificationEvaluation, measured: _Measured, members: NDArray[np.bool_] | None
) -> list[dict[str, Any]]:
    rows = []
    for index, case in enumerate(measured.cases):
        row: dict[str, Any] = {
            "name": case.name,
            "target": _names(evaluation, evaluation.targets[index]) or NO_LABEL,
            "prediction": _names(evaluation, evaluation.predicted[index]) or NO_LABEL,
            "correct": int(evaluation.correct[index]),
        }
        for label, value in zip(evaluation.classes, measured.probabilities[index].tolist(), strict=True):
            # As many digits as tell float32 numbers apart: the table gives the same measures again.
            row[f"{PROBABILITY}{label}"] = f"{value:.9g}"
        if members is not None:
            row["prediction_set"] = _names(evaluation, members[index]) or EMPTY_SET
            row["set_coverage"] = measured.coverage
        rows.append(row)
    return rows


def _names(evaluation: ClassificationEvaluation, chosen: Any) -> str:
    """Names of a class index, or of the true entries of ``(K,)``."""
    if np.ndim(chosen) == 0:
        return evaluation.classes[int(chosen)]
    return SEPARATOR.join(label for label, member in zip(evaluation.classes, chosen, strict=True) if member)


def _hardest(evaluation: ClassificationEvaluation, cases: Sequence[ClassificationCase]) -> list[Figure]:
    wanted = evaluation.indicators
    truth = np.where(wanted, evaluation.probabilities, 1 - evaluation.probabilities)
    # Of classes that exclude one another only the true one counts.
    truth = truth.mean(axis=1) if evaluation.kind == "multi-label" else truth[wanted]
    figures = []
    for index in np.argsort(truth, kind="stable")[:_CASES_SHOWN].tolist():
        try:
            pixels = cases[index].read().pixels
        except ScaleFuseError:
            continue
        target, found = (_names(evaluation, one[index]) for one in (evaluation.targets, evaluation.predicted))
        caption = (
            f"{cases[index].name}: {target or NO_LABEL}, predicted {found or NO_LABEL}; probability of the "
            f"truth {truth[index]:.3f}"
        )
        figures.append(Figure(caption, thumbnail(pixels, side=220)))
    return figures
