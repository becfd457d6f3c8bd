"""Fuse two pictures, or two folders of pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from scalefuse.data.atomic import results_folder
from scalefuse.data.image import Image
from scalefuse.data.intensity import IntensityRange
from scalefuse.data.pairs import Pair, pair_by_name, paired_by_parts
from scalefuse.data.read import IMAGE_SUFFIXES, read_image
from scalefuse.data.write import WRITE_SUFFIXES, check_folder_name, check_output_suffix, write_image
from scalefuse.errors import InputError, IntensityChoiceError, OutputError, ScaleFuseError
from scalefuse.inference.engines.choice import EngineChoice
from scalefuse.inference.exported.model import load_model
from scalefuse.inference.fuser import FusedImage, Fuser
from scalefuse.workflows.names import takes_names
from scalefuse.workflows.out_of_memory import is_out_of_memory
from scalefuse.workflows.pipeline import Pipeline, depth_for
from scalefuse.workflows.places import Places
from scalefuse.workflows.workload import job_of

Ranges = tuple[tuple[float, float], tuple[float, float]]
OutputFormat = Literal["auto", "png", "tiff", "nifti"]
_SUFFIXES = {"png": (".png",), "tiff": (".tif", ".tiff"), "nifti": (".nii.gz", ".nii")}


@dataclass
class FuseResult:
    """What a batch did.

    Attributes:
        written: Files written, in order.
        skipped: Files that stood there already and were kept.
        failures: One line per pair that could not be fused.
        ranges: For each file, what became black and white in both inputs.
        computed_by: What computed the network.
        notes: What a user should know of the pictures.
    """

    written: list[Path] = field(default_factory=list)
    skipped: list[Path] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    ranges: dict[str, Ranges] = field(default_factory=dict)
    computed_by: EngineChoice | None = None
    notes: list[str] = field(default_factory=list)


@takes_names("a", "b", "output")
def fuse(
    a: Path,
    b: Path,
    output: Path,
    *,
    model: str = "dilran",
    strategy: str | None = None,
    range_a: str | None = None,
    range_b: str | None = None,
    output_format: OutputFormat = "auto",
    skip_existing: bool = False,
    engine: str = "auto",
    precision: str = "auto",
    on_start: Callable[[int], None] | None = None,
    on_pair: Callable[[Pair, str | None], None] | None = None,
) -> FuseResult:
    """Fuse registered pictures, pair by pair; a bad pair does not stop the others.

    Args:
        a: A picture or a folder of pictures.
        b: The same kind; folders are paired by file name.
        output: Folder for the results; for two files also the name of one.
        model: Name or path of a bundle.
        strategy: Fusion strategy, or None for the bundle's.
        range_a: Which values of the first picture become black and white, such as ``window:40:80``.
        range_b: The same for the second picture.
        output_format: ``auto`` gives NIfTI where the first picture is one, else PNG; the name of one
            file must agree with any other.
        skip_existing: Keep results that stand there already.
        engine: What computes the network; see :func:`~scalefuse.inference.engines.choice.choose_engine`.
        precision: ``auto``, ``fp32`` or ``bf16``.
        on_start: Called once with the number of pairs.
        on_pair: Called after every pair with it and its error, or None.

    Raises:
        ScaleFuseError: Nothing could start: bad arguments, no pairs, no bundle, folder not writable; or the
            only pair failed; or none could be fused because a range must be chosen.
    """
    choices = [None if text is None else IntensityRange.parse(text) for text in (range_a, range_b)]
    pairs, missing = pair_by_name(a, b)
    single = not Path(a).is_dir()
    job = job_of([pair.a for pair in pairs])
    fuser = Fuser.from_bundle(
        load_model(model), strategy=strategy, engine=engine, precision=precision, job=job
    )
    as_file = single and output.name.lower().endswith(WRITE_SUFFIXES)
    if single and not as_file and not output.is_dir() and output.name.lower().endswith(IMAGE_SUFFIXES):
        check_output_suffix(output)
    if not single:
        check_folder_name(output)
        if output.resolve() in (a.resolve(), b.resolve()):
            raise OutputError(
                f"{output}: is a folder of the pictures, and fused ones would lie among them; choose another "
                "output folder (-o)."
            )
    if as_file and output_format != "auto" and check_output_suffix(output) not in _SUFFIXES[output_format]:
        raise InputError(
            f"{output}: is no name for the format {output_format!r} asked for; end it in "
            f"{' or '.join(_SUFFIXES[output_format])}, or leave the format out."
        )
    folder = output.parent if as_file else output
    # A baseline has nothing computed by a network.
    computed_by = None if ":" in fuser.strategy else fuser.computed_by
    result = FuseResult(failures=list(missing), computed_by=computed_by)
    if a.resolve() == b.resolve():
        result.notes.append(f"{a}: is both the first and the second input, so that nothing is joined.")
    if not single and (note := paired_by_parts(pairs)):
        result.notes.append(note)
    unchosen: IntensityChoiceError | None = None
    if on_start is not None:
        on_start(len(pairs))

    places = Places()

    def read(pair: Pair) -> tuple[Path, tuple[Image, Image] | None]:
        image_a, image_b = read_image(pair.a), read_image(pair.b)
        target = output if as_file else folder / (pair.name + _suffix(image_a.kind, output_format))
        if target.exists() and target.resolve() in (pair.a.resolve(), pair.b.resolve()):
            raise OutputError(f"{target}: is one of the inputs; choose another output folder or name.")
        if skip_existing and target.exists():
            return target, None
        return target, (image_a, image_b)

    def compute(given: tuple[Path, tuple[Image, Image] | None]) -> tuple[Path, FusedImage | None]:
        target, images = given
        if images is None:
            return target, None
        fused = fuser.fuse_images(*images, range_a=choices[0], range_b=choices[1])
        places.look(target.name, *images)
        return target, fused

    def finish(pair: Pair, made: tuple[Path, FusedImage | None]) -> tuple[Path, Ranges | None]:
        target, fused = made
        if fused is None:
            return target, None
        write_fused(target, fused)
        return target, fused.ranges

    pipeline = Pipeline(read=read, compute=compute, finish=finish, depth=depth_for(job))
    with results_folder(folder), pipeline.running(pairs) as outcomes:
        for pair, outcome in zip(pairs, outcomes, strict=True):
            problem: str | None = None
            try:
                target, ranges = outcome()
                if ranges is None:
                    result.skipped.append(target)
                else:
                    result.written.append(target)
                    result.ranges[pair.name] = ranges
            except ScaleFuseError as error:
                if single or (isinstance(error, OutputError) and not result.written and not result.skipped):
                    raise
                if isinstance(error, IntensityChoiceError):
                    unchosen = unchosen or error
                problem = str(error)
                result.failures.append(problem)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                problem = f"{pair.name}: not enough memory for images of this size; fuse smaller ones."
                if single:
                    raise InputError(problem) from error
                result.failures.append(problem)
            if on_pair is not None:
                on_pair(pair, problem)
        if unchosen is not None and not result.written and not result.skipped:
            # Not a bad pair among others: the command lacks an option.
            raise unchosen
        result.notes += places.notes()
        return result


def write_fused(path: Path, fused: FusedImage) -> None:
    """Write a fused picture; NIfTI gets the geometry of the first input.

    Raises:
        OutputError: It cannot be written.
    """
    write_image(path, fused.unit, bits=fused.bits, like=fused.like)


def _suffix(kind: str, output_format: OutputFormat) -> str:
    if output_format == "auto":
        output_format = "nifti" if kind == "nifti" else "png"
    return _SUFFIXES[output_format][0]
