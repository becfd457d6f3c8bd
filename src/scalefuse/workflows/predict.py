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
from scalefuse.inference.segmenter import Segmentation, Segmenter
from scalefuse.report.overlay import overlay
from scalefuse.report.tables import write_csv

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
    """

    probability: bool = False
    overlay: bool = True
    instances: Instances = "none"
    regions: bool = False
    postprocess: bool = True
    tta: bool = False
    intensity: str | None = None
    skip_existing: bool = False


@dataclass
class PredictResult:
    """What a batch did.

    Attributes:
        written: Files written, in order.
        skipped: Pictures whose mask stood there already.
        failures: One line per picture that failed.
    """

    written: list[Path] = field(default_factory=list)
    skipped: list[Path] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


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
    segmenter = Segmenter.from_bundle(bundles, postprocess=options.postprocess, **extra)
    if (options.instances != "none" or options.regions) and (
        segmenter.num_outputs > 1 or segmenter.multi_label
    ):
        raise InputError(
            f"Objects are numbered and listed for models with one class, but this one has "
            f"{', '.join(segmenter.labels)}; leave instances and regions out."
        )
    files = _files(source)
    check_folder_name(output)
    result = PredictResult()
    inputs = {file.resolve() for file in files}
    unchosen: IntensityChoiceError | None = None
    if on_start is not None:
        on_start(len(files))
    with results_folder(output):
        for file in files:
            problem: str | None = None
            try:
                _one(segmenter, file, output, options, result, inputs)
            except ScaleFuseError as error:
                if len(files) == 1 or (isinstance(error, OutputError) and not result.written):
                    raise
                if isinstance(error, IntensityChoiceError):
                    unchosen = unchosen or error
                problem = str(error)
            except (RuntimeError, MemoryError) as error:
                if "memory" not in str(error).lower() and not isinstance(error, MemoryError):
                    raise
                problem = f"{file}: not enough memory for a picture of this size; cut it into parts."
                if len(files) == 1:
                    raise InputError(problem) from error
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


def _one(
    segmenter: Segmenter,
    file: Path,
    output: Path,
    options: PredictOptions,
    result: PredictResult,
    inputs: set[Path],
) -> None:
    stem = image_stem(file)
    mask_file = output / f"{stem}_mask.png"
    if options.skip_existing and (mask_file.exists() or any(output.glob(f"{glob.escape(stem)}_mask_*.png"))):
        result.skipped.append(file)
        return
    image = read_image(file)
    found = segmenter.segment(image, keep_probability=options.probability)

    def write(name: str, pixels: NDArray[Any]) -> None:
        path = output / name
        if path.exists() and path.resolve() in inputs:
            raise OutputError(f"{path}: is one of the input pictures; choose another output folder.")
        write_pixels(path, pixels)
        result.written.append(path)

    for suffix, pixels in mask_pictures(found, segmenter):
        write(f"{stem}_mask{suffix}.png", pixels)
    if options.probability and found.probability is not None:
        names = [""] if len(found.probability) == 1 else [f"_{label}" for label in segmenter.labels]
        for name, channel in zip(names, found.probability, strict=True):
            write(f"{stem}_probability{name}.png", channel)
    if options.overlay:
        write(f"{stem}_overlay.png", overlay(image.pixels, found.mask))
    if options.instances != "none" or options.regions:
        _objects(image, found, output, stem, options, result)


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
    image: Image, found: Segmentation, output: Path, stem: str, options: PredictOptions, result: PredictResult
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
        result.written.append(path)
    if options.regions:
        spacing = image.geometry.spacing_mm if image.geometry is not None else None
        rows = regions_table(labels, intensity=image.pixels, spacing=spacing)
        path = output / f"{stem}_regions.csv"
        write_csv(path, rows, columns=None if rows else _REGION_COLUMNS)
        result.written.append(path)
