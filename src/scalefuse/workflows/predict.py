"""Apply a trained segmentation model to pictures."""

from __future__ import annotations

import glob
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from scalefuse.bundle import Bundle, load_bundle
from scalefuse.data.atomic import results_folder
from scalefuse.data.image import Image
from scalefuse.data.intensity import IntensityRange
from scalefuse.data.read import image_stem, list_images, read_image
from scalefuse.data.write import check_folder_name, write_pixels
from scalefuse.errors import InputError, IntensityChoiceError, OutputError, ScaleFuseError
from scalefuse.inference.engines.choice import EngineChoice
from scalefuse.inference.segmenter import Segmentation, Segmenter
from scalefuse.report.overlay import overlay
from scalefuse.report.tables import write_csv
from scalefuse.workflows.out_of_memory import is_out_of_memory
from scalefuse.workflows.pipeline import Pipeline, depth_for
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
    "mean_intensity",
)
_REGION_COLUMNS_MM = ("area_mm2", "equivalent_diameter_mm")


def _region_columns(spacing: tuple[float, float] | None) -> tuple[str, ...]:
    """The columns of a table with objects, for one without."""
    return _REGION_COLUMNS if spacing is None else (*_REGION_COLUMNS, *_REGION_COLUMNS_MM)


@dataclass(frozen=True)
class PredictOptions:
    """What to write besides the mask, and how to compute it.

    Attributes:
        probability: Write the probability map, 16 bits.
        overlay: Write the picture with the outline of the mask.
        instances: Number the objects: connected components, or a watershed that parts touching ones.
        regions: Write a CSV table of the objects.
        postprocess: Use the model's fitted threshold and cleaning; without it, the threshold is 0.5.
        tta: Average over flips and rotations; eight times the work.
        intensity: Which values become black and white, where the model does not say.
        skip_existing: Keep masks that stand there already.
        engine: What computes the networks; see :func:`~scalefuse.inference.engines.choice.choose_engine`.
        precision: ``auto``, ``fp32`` or ``bf16``.
    """

    probability: bool = False
    overlay: bool = True
    instances: Instances = "none"
    regions: bool = False
    postprocess: bool = True
    tta: bool = False
    intensity: str | None = None
    skip_existing: bool = False
    engine: str = "auto"
    precision: str = "auto"


@dataclass
class PredictResult:
    """What a batch did.

    Attributes:
        written: Files written, in order.
        skipped: Pictures whose mask stood there already.
        failures: One line per picture that failed.
        computed_by: What computed the networks.
    """

    written: list[Path] = field(default_factory=list)
    skipped: list[Path] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    computed_by: EngineChoice | None = None


def predict(
    models: Sequence[str | Bundle],
    source: Path,
    output: Path,
    options: PredictOptions | None = None,
    *,
    on_start: Callable[[int], None] | None = None,
    on_image: Callable[[Path, str | None], None] | None = None,
) -> PredictResult:
    """Segment a picture or a folder; a bad picture does not stop the others.

    Writes ``NAME_mask.png`` in the picture's size (0 and 255, or class indices; one file per label where a
    pixel may carry several), and what the options ask for: ``NAME_probability.png``, ``NAME_overlay.png``,
    ``NAME_instances.png`` (``.tif`` above 65535 objects) and ``NAME_regions.csv``.

    Args:
        models: A bundle, its name or path; of several, probabilities are averaged.
        source: A picture or a folder of pictures.
        output: Folder for the results.
        options: What to write.
        on_start: Called once with the number of pictures.
        on_image: Called after every picture with its path and its error, or None.

    Raises:
        ScaleFuseError: Nothing could start, the only picture failed, or all need a range to be chosen.
    """
    options = options or PredictOptions()
    bundles = [model if isinstance(model, Bundle) else load_bundle(model) for model in models]
    extra: dict[str, Any] = {"tta": options.tta}
    if options.intensity is not None:
        extra["intensity"] = IntensityRange.parse(options.intensity)
    files = _files(source)
    job = job_of(files, passes=8 if options.tta else 1)
    segmenter = Segmenter.from_bundle(
        bundles,
        postprocess=options.postprocess,
        engine=options.engine,
        precision=options.precision,
        job=job,
        **extra,
    )
    if (options.instances != "none" or options.regions) and (
        segmenter.num_outputs > 1 or segmenter.multi_label
    ):
        raise InputError(
            f"Objects are numbered and listed for models with one class, but this one has "
            f"{', '.join(segmenter.labels)}; leave instances and regions out."
        )
    check_folder_name(output)
    result = PredictResult(computed_by=segmenter.computed_by)
    work = _Work(segmenter, output, options, {file.resolve() for file in files})
    unchosen: IntensityChoiceError | None = None
    if on_start is not None:
        on_start(len(files))
    pipeline = Pipeline(read=work.read, compute=work.compute, finish=work.finish, depth=depth_for(job))
    with results_folder(output), pipeline.running(files) as outcomes:
        for file, outcome in zip(files, outcomes, strict=True):
            problem: str | None = None
            try:
                if not outcome():
                    result.skipped.append(file)
            except ScaleFuseError as error:
                if len(files) == 1 or (isinstance(error, OutputError) and not result.written):
                    raise
                if isinstance(error, IntensityChoiceError):
                    unchosen = unchosen or error
                problem = str(error)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                problem = f"{file}: not enough memory for a picture of this size; cut it into parts."
                if len(files) == 1:
                    raise InputError(problem) from error
            result.written += work.written.pop(file, [])
            if problem is not None:
                result.failures.append(problem)
            if on_image is not None:
                on_image(file, problem)
        if unchosen is not None and not result.written and not result.skipped:
            # Not a bad picture among others: the command lacks an option.
            raise unchosen
        return result


def _files(source: Path) -> list[Path]:
    if not source.exists():
        raise InputError(f"{source}: no such file or folder; check the name.")
    files = list_images(source) if source.is_dir() else [source]
    if not files:
        raise InputError(f"{source}: holds no images; give a picture or a folder of pictures.")
    stems: dict[str, Path] = {}
    for file in files:
        other = stems.setdefault(image_stem(file), file)
        if other != file:
            raise InputError(
                f"{source}: {other.name} and {file.name} would be written under the same name; keep one."
            )
    return files


@dataclass
class _Work:
    """What is done for each picture, in three steps."""

    segmenter: Segmenter
    output: Path
    options: PredictOptions
    inputs: set[Path]
    written: dict[Path, list[Path]] = field(default_factory=dict)

    def read(self, file: Path) -> Image | None:
        """The picture, or None where its mask stands there already."""
        stem = image_stem(file)
        if self.options.skip_existing:
            several = self.output.glob(f"{glob.escape(stem)}_mask_*.png")
            if (self.output / f"{stem}_mask.png").exists() or any(several):
                return None
        return read_image(file)

    def compute(self, image: Image | None) -> tuple[Image, Segmentation] | None:
        """The picture and what was found in it."""
        if image is None:
            return None
        return image, self.segmenter.segment(image, keep_probability=self.options.probability)

    def finish(self, file: Path, made: tuple[Image, Segmentation] | None) -> bool:
        """Write the files of a picture; False where there is nothing to write."""
        if made is None:
            return False
        image, found = made
        stem, options, written = image_stem(file), self.options, self.written.setdefault(file, [])

        def write(name: str, pixels: NDArray[Any]) -> None:
            path = self.output / name
            if path.exists() and path.resolve() in self.inputs:
                raise OutputError(f"{path}: is one of the input pictures; choose another output folder.")
            write_pixels(path, pixels)
            written.append(path)

        for suffix, pixels in mask_pictures(found, self.segmenter):
            write(f"{stem}_mask{suffix}.png", pixels)
        if options.probability and found.probability is not None:
            names = [""] if len(found.probability) == 1 else [f"_{label}" for label in self.segmenter.labels]
            for name, channel in zip(names, found.probability, strict=True):
                write(f"{stem}_probability{name}.png", channel)
        if options.overlay:
            write(f"{stem}_overlay.png", overlay(image.pixels, found.mask))
        if options.instances != "none" or options.regions:
            _objects(image, found, self.output, stem, options, written)
        return True


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


def _objects(
    image: Image, found: Segmentation, output: Path, stem: str, options: PredictOptions, written: list[Path]
) -> None:
    from scalefuse.inference.instances import label_instances
    from scalefuse.inference.regions import regions_table

    if found.mask.dtype != np.bool_ or found.mask.ndim != 2:
        raise InputError("Tables of objects are made for models with one class; leave the table out.")
    labels, number = label_instances(
        found.mask, method="components" if options.instances == "none" else options.instances
    )
    if options.instances != "none":
        path = output / f"{stem}_instances.{'png' if number <= 65535 else 'tif'}"
        write_pixels(path, labels.astype(np.uint16) if number <= 65535 else labels)
        written.append(path)
    if options.regions:
        spacing = image.geometry.spacing_mm if image.geometry is not None else None
        rows = regions_table(labels, intensity=image.pixels, spacing=spacing)
        path = output / f"{stem}_regions.csv"
        write_csv(path, rows, columns=None if rows else _region_columns(spacing))
        written.append(path)
