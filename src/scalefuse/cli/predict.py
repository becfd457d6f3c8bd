"""``scalefuse predict``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Instances(StrEnum):
    """How objects are told apart."""

    NONE = "none"
    COMPONENTS = "components"
    WATERSHED = "watershed"


def predict(
    model: Annotated[str, typer.Argument(help="Bundle: a shipped name, a folder or a zip file.")],
    source: Annotated[Path, typer.Argument(help="A picture, or a folder of pictures.", metavar="INPUT")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")] = Path(
        "predicted"
    ),
    ensemble: Annotated[
        list[str] | None, typer.Option(help="Another bundle to average with; repeatable.")
    ] = None,
    probability: Annotated[bool, typer.Option(help="Write the probability map too, 16 bits.")] = False,
    overlay: Annotated[bool, typer.Option(help="Write the picture with the mask's outline.")] = True,
    instances: Annotated[
        Instances, typer.Option(help="Number the objects; watershed parts touching ones.")
    ] = Instances.NONE,
    regions: Annotated[bool, typer.Option(help="Write a CSV table of the objects.")] = False,
    postprocess: Annotated[bool, typer.Option(help="Use the model's fitted threshold and cleaning.")] = True,
    tta: Annotated[
        bool, typer.Option(help="Average over flips and rotations; eight times the work.")
    ] = False,
    intensity: Annotated[
        str | None,
        typer.Option("--range", help="Values that become black and white, such as window:40:80 or minmax."),
    ] = None,
    skip_existing: Annotated[bool, typer.Option(help="Keep masks that stand there already.")] = False,
) -> None:
    """Segment a picture or a folder: a mask in the picture's size, and more on request.

    Example: scalefuse predict msrf-net-nuclei slides/ -o masks/ --instances watershed --regions
    """
    from scalefuse.cli.console import NOTICE, err, out, print_failures, progress_bar
    from scalefuse.workflows.predict import PredictOptions
    from scalefuse.workflows.predict import predict as run

    options = PredictOptions(
        probability=probability,
        overlay=overlay,
        instances=instances.value,
        regions=regions,
        postprocess=postprocess,
        tta=tta,
        intensity=intensity,
        skip_existing=skip_existing,
    )
    total = 0
    with progress_bar("pictures") as bar:
        task = bar.add_task("Segmenting", total=None)

        def start(count: int) -> None:
            nonlocal total
            total = count
            bar.update(task, total=count)

        result = run(
            [model, *(ensemble or [])],
            source,
            output,
            options,
            on_start=start,
            on_image=lambda file, problem: bar.advance(task),
        )
    kept = f", {len(result.skipped)} pictures kept" if result.skipped else ""
    out.print(f"{len(result.written)} files written{kept}: {output}", markup=False)
    err.print(NOTICE, style="dim")
    if result.failures:
        print_failures(result.failures, total)
        raise typer.Exit(3)
