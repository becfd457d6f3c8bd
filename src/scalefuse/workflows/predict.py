"""Apply a trained segmentation model to pictures."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from scalefuse.bundle import Bundle
from scalefuse.data.atomic import results_folder
from scalefuse.data.image import Image
from scalefuse.data.intensity import IntensityRange
from scalefuse.data.read import image_stem, read_image
from scalefuse.data.write import check_folder_name, write_pixels
from scalefuse.errors import ChannelsError, InputError, IntensityChoiceError, OutputError, ScaleFuseError
from scalefuse.inference.engines.choice import EngineChoice, EnsembleChoice
from scalefuse.inference.ensemble import require_segmentation
from scalefuse.inference.exported.model import load_model
from scalefuse.inference.segmenter import Segmentation, Segmenter
from scalefuse.report.overlay import overlay
from scalefuse.report.tables import write_csv
from scalefuse.workflows.faint import FaintPictures
from scalefuse.workflows.leftovers import leftover_notes
from scalefuse.workflows.names import takes_names
from scalefuse.workflows.out_of_memory import is_out_of_memory
from scalefuse.workflows.pipeline import Pipeline, depth_for
from scalefuse.workflows.segment_inputs import find_pictures
from scalefuse.workflows.several import among, place_of
from scalefuse.workflows.views import views_notes
from scalefuse.workflows.workload import job_of

Instances = Literal["none", "components", "watershed"]
_REGION_COLUMNS = (
    "label",
    "area_px",
    "centroid_row",
    "centroid_column",
    "top",
    "left",
    "bottom",
    "right",
    "equivalent_diameter_px",
    "eccentricity",
)
_MOST_IN_PNG = 65535
_REGION_COLUMNS_MM = ("area_mm2", "equivalent_diameter_mm")


def _region_columns(image: Image, spacing: tuple[float, float] | None) -> tuple[str, ...]:
    """The columns of a table with objects, for one without."""
    from scalefuse.inference.regions import intensity_columns

    in_mm = () if spacing is None else _REGION_COLUMNS_MM
    return (*_REGION_COLUMNS, *intensity_columns(image.pixels), *in_mm)


@dataclass(frozen=True)
class PredictOptions:
    """What to write besides the mask, and how to compute it.

    Attributes:
        probability: Write the probability map, 16 bits.
        overlay: Write the picture with the outline of the mask.
        instances: Number the objects: connected components, or a watershed that parts touching ones.
        regions: Write a CSV table of the objects.
        postprocess: Use the model's fitted threshold and cleaning; without it, the threshold is 0.5.
        tta: Average over flips and rotations, eight times the work; None for what the first model says.
        intensity: Which values become black and white, where the model does not say.
        skip_existing: Pass over pictures of which everything asked for stands there already.
        engine: What computes the networks; see :func:`~scalefuse.inference.engines.choice.choose_engine`.
        precision: ``auto``, ``fp32`` or ``bf16``.
    """

    probability: bool = False
    overlay: bool = True
    instances: Instances = "none"
    regions: bool = False
    postprocess: bool = True
    tta: bool | None = None
    intensity: str | None = None
    skip_existing: bool = False
    engine: str = "auto"
    precision: str = "auto"


@dataclass
class PredictResult:
    """What a batch did.

    Attributes:
        written: Files written, in order.
        skipped: Pictures whose results stood there already.
        failures: One line per picture that failed.
        notes: What a user should know of the pictures.
        computed_by: What computed the networks.
    """

    written: list[Path] = field(default_factory=list)
    skipped: list[Path] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    computed_by: EngineChoice | EnsembleChoice | None = None


@takes_names("source", "output")
def predict(
    models: Sequence[str | Bundle],
    source: Path | Sequence[Path],
    output: Path,
    options: PredictOptions | None = None,
    *,
    on_start: Callable[[int], None] | None = None,
    on_image: Callable[[Path, str | None], None] | None = None,
) -> PredictResult:
    """Segment a picture or a folder; a bad picture does not stop the others.

    Writes ``NAME_mask.png`` in the picture's size (0 and 255, or class indices; one file per label where a
    pixel may carry several), and what the options ask for: ``NAME_probability.png``, ``NAME_overlay.png``,
    ``NAME_instances.png`` (``.tif`` above 65535 objects) and ``NAME_regions.csv``. Of several classes or
    labels each has its ``NAME_instances_LABEL.png``, and the table a column ``class``.

    Args:
        models: A bundle, its name or path; of several, probabilities are averaged.
        source: A picture, several, or a folder of pictures.
        output: Folder for the results.
        options: What to write.
        on_start: Called once with the number of pictures.
        on_image: Called after every picture with its path and its error, or None.

    Raises:
        ScaleFuseError: Nothing could start, the only picture failed, all need a range to be chosen, or none
            has the model's channels.
    """
    options = options or PredictOptions()
    bundles = [model if isinstance(model, Bundle) else load_model(model) for model in models]
    extra: dict[str, Any] = {}
    if options.intensity is not None:
        extra["intensity"] = IntensityRange.parse(options.intensity)
    for bundle in bundles:
        # Before what the pictures lack.
        require_segmentation(bundle)
    files, alike, notes = find_pictures(source)
    job = job_of(files)
    segmenter = Segmenter.from_bundle(
        bundles,
        postprocess=options.postprocess,
        tta=options.tta,
        engine=options.engine,
        precision=options.precision,
        job=job,
        **extra,
    )
    check_folder_name(output)
    work = _Work(segmenter, output, options)
    work.check_inputs(source, files)
    result = PredictResult(computed_by=segmenter.computed_by, failures=list(alike.values()), notes=notes)
    result.notes += views_notes(bundles[0], tta=options.tta, postprocess=options.postprocess)
    unchosen: IntensityChoiceError | None = None
    misfits: list[ChannelsError] = []
    if on_start is not None:
        on_start(len(files) + len(alike))
    pipeline = Pipeline(read=work.read, compute=work.compute, finish=work.finish, depth=depth_for(job))
    if on_image is not None:
        for file, line in alike.items():
            on_image(file, line)
    with results_folder(output), pipeline.running(files) as outcomes:
        for file, outcome in zip(files, outcomes, strict=True):
            problem: str | None = None
            try:
                if not outcome():
                    result.skipped.append(file)
            except ScaleFuseError as error:
                if len(files) + len(alike) == 1 or (isinstance(error, OutputError) and not result.written):
                    raise
                if isinstance(error, IntensityChoiceError):
                    unchosen = unchosen or error
                if isinstance(error, ChannelsError):
                    misfits.append(error)
                problem = str(error)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                problem = f"{file}: not enough memory for a picture of this size; cut it into parts."
                if len(files) + len(alike) == 1:
                    raise InputError(problem) from error
            result.written += work.written.pop(file, [])
            if problem is not None:
                result.failures.append(problem)
            if on_image is not None:
                on_image(file, problem)
        if unchosen is not None and not result.written and not result.skipped:
            # Not a bad picture among others: the command lacks an option.
            raise unchosen
        if misfits and len(misfits) == len(files) and not alike:
            # The model is the wrong one, not the pictures.
            raise misfits[0]
        result.notes += work.faint.notes()
        result.notes += leftover_notes(output, map(image_stem, {*files} - {*result.skipped}), result.written)
        return result


@dataclass
class _Work:
    """What is done for each picture, in three steps."""

    segmenter: Segmenter
    output: Path
    options: PredictOptions
    written: dict[Path, list[Path]] = field(default_factory=dict)
    faint: FaintPictures = field(init=False)

    def __post_init__(self) -> None:
        choice = self.segmenter.intensity
        self.faint = FaintPictures(IntensityRange.parse(choice) if isinstance(choice, str) else choice)

    def check_inputs(self, source: Path | Sequence[Path], files: Sequence[Path]) -> None:
        """Refuse, before anything is written, results among or over the pictures themselves.

        Raises:
            OutputError: one of these.
        """
        if among(self.output, source):
            raise OutputError(
                f"{self.output}: is the folder of the pictures, and the next run would take its masks for "
                "pictures too; choose another output folder (-o)."
            )
        inputs = {place_of(file) for file in files}
        for file in files:
            for names in self._names(image_stem(file)):
                for name in names:
                    if place_of(self.output / name) in inputs:
                        raise OutputError(
                            f"{self.output / name}: is one of the input pictures; choose another output "
                            "folder (-o)."
                        )

    def read(self, file: Path) -> Image | None:
        """The picture, or None where everything asked for stands there already."""
        if self.options.skip_existing and all(
            any((self.output / name).exists() for name in names) for names in self._names(image_stem(file))
        ):
            return None
        image = read_image(file, channels=self.segmenter.in_channels)
        self.faint.look(file.name, image)
        return image

    def compute(self, image: Image | None) -> tuple[Image, Segmentation] | None:
        """The picture and what was found in it."""
        if image is None:
            return None
        return image, self.segmenter.segment(image, keep_probability=self.options.probability)

    def finish(self, file: Path, made: tuple[Image, Segmentation] | None) -> bool:
        """Write the files of a picture; False where there is nothing to write."""
        if made is None:
            return False
        written = self.written.setdefault(file, [])
        try:
            self._write(file, *made, written)
        except BaseException:
            # A mask without the objects that were asked for would pass for a whole result, and so would the
            # objects of an earlier run beside it. Where nothing was written yet, earlier results are whole.
            if self.written.pop(file):
                for name in itertools.chain(*self._names(image_stem(file))):
                    (self.output / name).unlink(missing_ok=True)
            raise
        return True

    def _write(self, file: Path, image: Image, found: Segmentation, written: list[Path]) -> None:
        stem, options = image_stem(file), self.options

        def write(name: str, pixels: NDArray[Any]) -> None:
            write_pixels(self.output / name, pixels)
            written.append(self.output / name)

        for suffix, pixels in mask_pictures(found, self.segmenter):
            write(f"{stem}_mask{suffix}.png", pixels)
        if options.probability and found.probability is not None:
            for name, channel in zip(self._probabilities(), found.probability, strict=True):
                write(f"{stem}_probability{name}.png", channel)
        if options.overlay:
            write(f"{stem}_overlay.png", overlay(image.pixels, found.mask))
        if options.instances != "none" or options.regions:
            self._objects(image, found, stem, write, written)

    def _objects(
        self,
        image: Image,
        found: Segmentation,
        stem: str,
        write: Callable[[str, NDArray[Any]], None],
        written: list[Path],
    ) -> None:
        from scalefuse.inference.instances import label_instances
        from scalefuse.inference.regions import regions_table

        method = "components" if self.options.instances == "none" else self.options.instances
        spacing = image.geometry.spacing_mm if image.geometry is not None else None
        table: list[dict[str, Any]] = []
        classes = self._object_classes()
        for label, index in classes:
            if found.mask.ndim == 3:
                mask = found.mask[index]
            else:
                mask = found.mask if found.mask.dtype == np.bool_ else found.mask == index
            numbered, count = label_instances(mask, method=method)
            if self.options.instances != "none":
                suffix = "" if label is None else f"_{label}"
                kind = "png" if count <= _MOST_IN_PNG else "tif"
                pixels = numbered.astype(np.uint16) if count <= _MOST_IN_PNG else numbered
                write(f"{stem}_instances{suffix}.{kind}", pixels)
            if self.options.regions:
                rows = regions_table(numbered, intensity=image.pixels, spacing=spacing)
                table += rows if label is None else [{"class": label, **row} for row in rows]
        if self.options.regions:
            columns = (*(() if classes[0][0] is None else ("class",)), *_region_columns(image, spacing))
            path = self.output / f"{stem}_regions.csv"
            write_csv(path, table, columns=None if table else columns)
            written.append(path)

    def _object_classes(self) -> list[tuple[str | None, int]]:
        """Classes with objects, and their indices; of one class alone no name is needed."""
        labels = list(self.segmenter.labels)
        if self.segmenter.multi_label:
            return [(label, index) for index, label in enumerate(labels)]
        if self.segmenter.num_outputs == 1:
            return [(None, 1)]
        return [(label, index) for index, label in enumerate(labels) if index]

    def _probabilities(self) -> list[str]:
        """How the names of the probabilities' files end."""
        segmenter = self.segmenter
        if segmenter.num_outputs == 1 and not segmenter.multi_label:
            return [""]
        return [f"_{label}" for label in segmenter.labels]

    def _names(self, stem: str) -> list[tuple[str, ...]]:
        """The files of a picture; of several names, one will be there."""
        segmenter, options = self.segmenter, self.options
        every = [f"_{label}" for label in segmenter.labels]
        names: list[tuple[str, ...]] = [
            (f"{stem}_mask{suffix}.png",) for suffix in (every if segmenter.multi_label else [""])
        ]
        if options.probability:
            names += [(f"{stem}_probability{suffix}.png",) for suffix in self._probabilities()]
        if options.overlay:
            names.append((f"{stem}_overlay.png",))
        if options.instances != "none":
            for label, _ in self._object_classes():
                suffix = "" if label is None else f"_{label}"
                names.append(tuple(f"{stem}_instances{suffix}.{kind}" for kind in ("png", "tif")))
        if options.regions:
            names.append((f"{stem}_regions.csv",))
        return names


def mask_pictures(found: Segmentation, segmenter: Segmenter) -> list[tuple[str, NDArray[Any]]]:
    """The mask as files hold it: (suffix of the name, uint8 or uint16 pixels)."""
    if segmenter.multi_label:
        return [
            (f"_{label}", mask.astype(np.uint8) * 255)
            for label, mask in zip(segmenter.labels, found.mask, strict=True)
        ]
    if found.mask.dtype == np.bool_:
        return [("", found.mask.astype(np.uint8) * 255)]
    return [("", found.mask)]
