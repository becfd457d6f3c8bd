"""Apply a trained classification model to pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from scalefuse.bundle import Bundle
from scalefuse.data.atomic import results_folder
from scalefuse.data.classification import TableColumns
from scalefuse.data.image import Image
from scalefuse.data.write import check_folder_name, write_pixels
from scalefuse.errors import InputError, IntensityChoiceError, OutputError, ScaleFuseError
from scalefuse.inference.classifier import Classifier
from scalefuse.inference.classifier_views import ENSEMBLE_UNCALIBRATED, UNCALIBRATED
from scalefuse.inference.engines.choice import EngineChoice, EnsembleChoice, Job
from scalefuse.inference.explanation import ExplanationMethod, class_to_explain
from scalefuse.inference.exported.model import load_model
from scalefuse.inference.occlusion import COVERS
from scalefuse.inference.operating_point import OperatingPoint
from scalefuse.report.heatmap import heat_overlay
from scalefuse.workflows.classify_inputs import ClassifyInput, explanation_names, find_inputs
from scalefuse.workflows.classify_tables import Predictions, write_embeddings, write_predictions
from scalefuse.workflows.faint import FaintPictures
from scalefuse.workflows.names import takes_names
from scalefuse.workflows.out_of_memory import is_out_of_memory
from scalefuse.workflows.pipeline import Pipeline
from scalefuse.workflows.several import among, place_of


@dataclass(frozen=True)
class ClassifyOptions:
    """What to write, and how to compute it.

    Attributes:
        formats: Of the table: ``csv``, ``json`` or both.
        explain: Draw where the evidence lies, for each picture.
        explain_by: ``grad-cam`` or ``occlusion``; None for the first.
        stage: Of the network, for Grad-CAM; None for the last one with at least 7×7 cells.
        label: The class to explain, and the class that ``sensitivity`` is of; None for what each picture is
            called, and for the second of two classes.
        embeddings: Write the feature vectors: ``.npz``, or ``.csv`` where this is the only format.
        coverage: Of the prediction sets; None for the model's own.
        sensitivity: Choose the threshold that reaches it on the calibration cases; None for the model's own
            decision.
        postprocess: Use what was fitted on validation data; without it there are no sets.
        tta: Average over the mirrored and turned views that training showed.
        intensity: Which values become black and white, where the model does not say.
        batch_size: Pictures that go through the network at once; one by one where they are explained.
        columns: Of a CSV file that lists the pictures.
        images: Folder that its paths start from, by default its own.
        engine: What computes the networks; see :func:`~scalefuse.inference.engines.choice.choose_engine`.
        precision: ``auto``, ``fp32`` or ``bf16``.
    """

    formats: tuple[Literal["csv", "json"], ...] = ("csv", "json")
    explain: bool = False
    explain_by: ExplanationMethod | None = None
    stage: int | None = None
    label: str | None = None
    embeddings: bool = False
    coverage: float | None = None
    sensitivity: float | None = None
    postprocess: bool = True
    tta: bool = False
    intensity: str | None = None
    batch_size: int = 16
    columns: TableColumns | None = None
    images: Path | None = None
    engine: str = "auto"
    precision: str = "auto"


@dataclass
class ClassifyResult:
    """What a batch did.

    Attributes:
        written: Files written, in order.
        num_pictures: Pictures classified.
        failures: One line per picture that failed.
        notes: What a reader of the results must know.
        computed_by: What computed the networks.
    """

    written: list[Path] = field(default_factory=list)
    num_pictures: int = 0
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    computed_by: EngineChoice | EnsembleChoice | None = None


@takes_names("source", "output")
def classify(
    models: Sequence[str | Path | Bundle],
    source: Path | Sequence[Path],
    output: Path,
    options: ClassifyOptions | None = None,
    *,
    on_start: Callable[[int], None] | None = None,
    on_image: Callable[[Path, str | None], None] | None = None,
) -> ClassifyResult:
    """Classify a picture, a folder with the folders in it, or a table; a bad picture stops no others.

    Writes ``predictions.csv`` and ``predictions.json`` (decision, probabilities, prediction set), and what
    the options ask for: ``NAME_explanation.png`` for each picture, ``embeddings.npz`` or ``.csv``.

    Args:
        models: A bundle, its name or path; of several, probabilities are averaged.
        source: See :func:`scalefuse.workflows.classify_inputs.find_inputs`.
        output: Folder for the results.
        options: What to write.
        on_start: Called once with the number of pictures.
        on_image: Called after every picture with its path and its error, or None.

    Raises:
        ScaleFuseError: Nothing could start, the only picture failed, or all need a range to be chosen.
    """
    options = options or ClassifyOptions()
    bundles = [model if isinstance(model, Bundle) else load_model(model) for model in models]
    extra: dict[str, Any] = {} if options.intensity is None else {"intensity": options.intensity}
    inputs, problems = find_inputs(source, output, columns=options.columns, images=options.images)
    classifier = Classifier.from_bundle(
        bundles,
        postprocess=options.postprocess,
        tta=options.tta,
        batch_size=options.batch_size,
        engine=options.engine,
        precision=options.precision,
        job=Job(len(inputs), 0, passes=1 + (COVERS if options.explain_by == "occlusion" else 0)),
        **extra,
    )
    point, coverage = _check(classifier, options)
    check_folder_name(output)
    if options.explain and among(output, source):
        raise OutputError(
            f"{output}: is the folder of the pictures, and the next run would take its explanations for "
            "pictures too; choose another output folder (-o)."
        )
    batch = _Batch(classifier, options, output, point)
    if options.explain:
        names = explanation_names(inputs)
        batch.drawings = {one.name: output / name for one, name in zip(inputs, names, strict=True)}
        batch.inputs = {place_of(one.path) for one in inputs if one.path is not None}
    batch.result.computed_by = classifier.computed_by
    batch.result.failures += problems
    if on_start is not None:
        on_start(len(inputs) + len(problems))
    size = 1 if options.explain else options.batch_size
    pipeline = Pipeline(
        read=batch.read,
        compute=lambda found: batch.run(found, alone=len(inputs) == 1),
        finish=lambda _, outcome: outcome,
        depth=1,
    )
    parts = [inputs[start : start + size] for start in range(0, len(inputs), size)]
    with results_folder(output):
        with pipeline.running(parts) as outcomes:
            for outcome in outcomes:
                for one, problem in outcome():
                    if on_image is not None:
                        on_image(one.path or Path(one.name), problem)
        if batch.names:
            batch.write([bundle.info.name for bundle in bundles], coverage)
        elif batch.unchosen is not None:
            # Not a bad picture among others: the command lacks an option.
            raise batch.unchosen
    return batch.result


def _check(classifier: Classifier, options: ClassifyOptions) -> tuple[OperatingPoint | None, float | None]:
    """Operating point and coverage to use, after refusing what cannot be done, before any picture is read."""
    fitted = options.coverage is not None or options.sensitivity is not None
    if fitted and len(classifier.engines) > 1:
        raise InputError(ENSEMBLE_UNCALIBRATED)
    if fitted and not options.postprocess:
        raise InputError(
            "Coverage and sensitivity come from what was fitted on validation data; leave them out, or allow "
            "post-processing."
        )
    if fitted and options.tta:
        raise InputError(UNCALIBRATED)
    if not options.explain and (options.stage is not None or options.explain_by is not None):
        raise InputError("A stage and a method are for explanations; ask for them, or leave these out.")
    if options.stage is not None and options.explain_by == "occlusion":
        raise InputError("Occlusion covers the picture itself; leave the stage out, or use grad-cam.")
    if options.label is not None and not options.explain and options.sensitivity is None:
        raise InputError(
            "A class is named for explanations or for a sensitivity; ask for one of them, or leave it out."
        )
    if options.label is not None and options.label not in classifier.labels:
        raise InputError(f"No class {options.label!r}; the model knows {', '.join(classifier.labels)}.")
    if options.explain and options.explain_by != "occlusion":
        classifier.check_stages(options.stage)
    if options.embeddings:
        classifier.check_embeddings()
    fits = classifier.postprocessing
    coverage = options.coverage
    if coverage is None and any(fits.true_probabilities):
        coverage = fits.coverage
    if coverage is not None:
        classifier.prediction_sets(np.empty((0, len(classifier.labels))), coverage)
    point = fits.operating_point
    if options.sensitivity is not None:
        point = classifier.operating_point(options.sensitivity, options.label)
    return point, coverage


@dataclass
class _ReadPicture:
    """A picture that was read, or why it could not be."""

    source: ClassifyInput
    image: Image | None = None
    tensor: torch.Tensor | None = None
    error: Exception | None = None


@dataclass
class _Batch:
    """The work under way: what was asked for, and what was found so far."""

    classifier: Classifier
    options: ClassifyOptions
    output: Path
    point: OperatingPoint | None
    drawings: dict[str, Path] = field(default_factory=dict)
    explained: dict[str, str] = field(default_factory=dict)
    inputs: set[Path] = field(default_factory=set)
    names: list[str] = field(default_factory=list)
    probabilities: list[NDArray[np.float32]] = field(default_factory=list)
    vectors: list[NDArray[np.float32]] = field(default_factory=list)
    unchosen: IntensityChoiceError | None = None
    faint: FaintPictures = field(init=False)
    result: ClassifyResult = field(default_factory=ClassifyResult)

    def __post_init__(self) -> None:
        self.faint = FaintPictures(self.classifier.preprocessing.intensity)

    def read(self, pictures: Sequence[ClassifyInput]) -> list[_ReadPicture]:
        """Read and prepare some pictures; what goes wrong is kept for :meth:`run`."""
        found = []
        for one in pictures:
            picture = _ReadPicture(one)
            try:
                image = one.read()
                picture.tensor = self.classifier.prepare(image)
                self.faint.look(one.name, image)
                picture.image = image if self.options.explain else None
            except (ScaleFuseError, RuntimeError, MemoryError) as error:
                picture.error = error
            found.append(picture)
        return found

    def run(self, pictures: Sequence[_ReadPicture], *, alone: bool) -> list[tuple[ClassifyInput, str | None]]:
        """Classify some pictures; gives each with its error, or None."""
        tensors, images, good = [], [], []
        outcome: list[tuple[ClassifyInput, str | None]] = []
        for picture in pictures:
            one, error = picture.source, picture.error
            if error is not None:
                problem = str(error)
                if is_out_of_memory(error):
                    problem = (
                        f"{one.path or one.name}: not enough memory for a picture of this size; shrink it."
                    )
                elif not isinstance(error, ScaleFuseError):
                    raise error
                if alone:
                    raise error if isinstance(error, ScaleFuseError) else InputError(problem) from error
                if isinstance(error, IntensityChoiceError):
                    self.unchosen = self.unchosen or error
                self.result.failures.append(problem)
                outcome.append((one, problem))
                continue
            assert picture.tensor is not None
            tensors.append(picture.tensor)
            good.append(one)
            outcome.append((one, None))
            if picture.image is not None:
                images.append(picture.image)
        if not good:
            return outcome
        batch = torch.stack(tensors)
        try:
            probabilities = self.classifier.postprocessing.activate(self.classifier.batch_logits(batch))
            if self.options.embeddings:
                self.vectors.append(self.classifier.batch_embeddings(batch))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise InputError(
                f"Not enough memory for {len(batch)} pictures at once; choose a smaller batch size."
            ) from error
        for one, image, row in zip(good, images, probabilities, strict=False):
            try:
                self._draw(one, image, row)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                raise InputError(
                    f"{one.path or one.name}: not enough memory for its explanation; choose a smaller batch "
                    "size, which is also that of the covered pictures."
                ) from error
        self.names += [one.name for one in good]
        self.probabilities.append(probabilities)
        return outcome

    def write(self, models: Sequence[str], coverage: float | None) -> None:
        """Write the tables."""
        found = Predictions(
            classifier=self.classifier,
            models=tuple(models),
            names=tuple(self.names),
            probabilities=np.concatenate(self.probabilities),
            operating_point=self.point,
            coverage=coverage,
            explanations={
                name: path.relative_to(self.output).as_posix() for name, path in self.drawings.items()
            },
            explained=self.explained,
            failures=tuple(self.result.failures),
        )
        self.result.written += write_predictions(found, self.output, self.options.formats)
        if self.options.embeddings:
            vectors = np.concatenate(self.vectors)
            kind: Literal["csv", "npz"] = "csv" if self.options.formats == ("csv",) else "npz"
            self.result.written.append(write_embeddings(self.output, found.names, vectors, kind))
        self.result.num_pictures = len(self.names)
        self.result.notes += found.notes() + self.faint.notes()

    def _draw(self, one: ClassifyInput, image: Image, probabilities: NDArray[np.float32]) -> None:
        path = self.drawings[one.name]
        if path.exists() and place_of(path) in self.inputs:
            raise OutputError(f"{path}: is one of the input pictures; choose another output folder.")
        if self.options.label is not None:
            index = self.classifier.labels.index(self.options.label)
        else:
            index = class_to_explain(
                probabilities, self.classifier.decide(probabilities[None], self.point)[0]
            )
        method = self.options.explain_by or "grad-cam"
        found = self.classifier.explain(image, stage=self.options.stage, class_index=index, method=method)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_pixels(path, heat_overlay(image.pixels, found.map))
        self.result.written.append(path)
        self.explained[one.name] = found.label
