"""``scalefuse fuse``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from scalefuse.cli.engine_options import Engine, EngineOption, Precision, PrecisionOption, say_computed_by


class Format(StrEnum):
    """File formats of the result."""

    AUTO = "auto"
    PNG = "png"
    TIFF = "tiff"
    NIFTI = "nifti"


_RANGE = "full, minmax, percentile:LOW:HIGH, window:CENTRE:WIDTH or range:LOW:HIGH"


def fuse(
    a: Annotated[
        Path, typer.Argument(help="A picture, or a folder of pictures, of the first modality.", metavar="A")
    ],
    b: Annotated[
        Path,
        typer.Argument(help="The registered picture or folder of the second; paired by name.", metavar="B"),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the results, or a file name for two files.")
    ] = Path("fused"),
    strategy: Annotated[
        str | None,
        typer.Option("--strategy", "-s", help="Fusion strategy; see `scalefuse networks dilran`."),
    ] = None,
    model: Annotated[
        str, typer.Option("--model", "-m", help="Bundle: name, folder or zip file; or an export's folder.")
    ] = "dilran",
    range_a: Annotated[
        str | None, typer.Option("--range-a", help=f"Values of A that become black and white: {_RANGE}.")
    ] = None,
    range_b: Annotated[str | None, typer.Option("--range-b", help="The same for B.")] = None,
    format_: Annotated[
        Format, typer.Option("--format", help="auto: NIfTI where the first picture is one, else PNG.")
    ] = Format.AUTO,
    skip_existing: Annotated[bool, typer.Option(help="Keep results that stand there already.")] = False,
    engine: EngineOption = Engine.AUTO,
    precision: PrecisionOption = Precision.AUTO,
) -> None:
    """Fuse two registered images of one patient, or two folders of them, into one picture each.

    8- and 16-bit PNG and TIFF, JPEG, BMP, GIF, WebP, single DICOM slices and 2-D
    NIfTI are read. Colour is kept. The result is a PNG or TIFF (16 bits if an
    input has more than 8), or NIfTI with the first image's geometry.

    Example: scalefuse fuse CT/ MRI/ -o fused/
    """
    from scalefuse.cli.console import NOTICE, end_batch, err, out, progress_bar
    from scalefuse.cli.stopping import told_of_batch
    from scalefuse.workflows.fuse import fuse as run

    total = 0
    with told_of_batch(lambda: total), progress_bar("pictures") as bar:
        task = bar.add_task("Fusing", total=None, visible=False)

        def start(count: int) -> None:
            nonlocal total
            total = count
            bar.update(task, total=count, visible=True)

        result = run(
            a,
            b,
            output,
            model=model,
            strategy=strategy,
            range_a=range_a,
            range_b=range_b,
            output_format=format_.value,
            skip_existing=skip_existing,
            engine=engine.value,
            precision=precision.value,
            on_start=start,
            on_pair=lambda pair, problem: bar.advance(task),
        )
    if result.ranges:
        bounds = {f"first {a[0]:g}…{a[1]:g}, second {b[0]:g}…{b[1]:g}" for a, b in result.ranges.values()}
        shown = bounds.pop() if len(bounds) == 1 else "chosen per picture"
        err.print(f"black…white: {shown}", style="dim")
    for note in result.notes:
        err.print(f"note: {note}", style="dim", markup=False)
    say_computed_by(result.computed_by)
    kept = f", {len(result.skipped)} kept" if result.skipped else ""
    written = result.written[0] if len(result.written) == 1 and not result.skipped else output
    done = len(result.written) + len(result.skipped)
    if done:
        out.print(f"{len(result.written)} written{kept}: {written}", markup=False)
        err.print(NOTICE, style="dim")
    end_batch(result.failures, done + len(result.failures))
