"""``scalefuse evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Two pictures or folders to fuse and measure (CT/ MRI/), optionally after a bundle to use."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")] = Path(
        "evaluation"
    ),
    fused: Annotated[
        Path | None, typer.Option(help="Measure these fused pictures instead of fusing; paired by name.")
    ] = None,
    strategy: Annotated[
        list[str] | None, typer.Option("--strategy", "-s", help="Fusion strategy to compare; repeatable.")
    ] = None,
    baselines: Annotated[bool, typer.Option(help="Measure the plain baselines too.")] = True,
    metrics: Annotated[
        str | None, typer.Option(help="Comma-separated measures, or 'all'; see the documentation.")
    ] = None,
    range_a: Annotated[
        str | None, typer.Option(help="Values of the first that become black and white.")
    ] = None,
    range_b: Annotated[str | None, typer.Option(help="The same for the second.")] = None,
) -> None:
    """Measure a model, or pictures that were fused before: per-case CSV, summary JSON, picture sheet.

    Example: scalefuse evaluate CT/ MRI/ -s local_energy_ratio -s softmax_nuclear_norm -o evaluation/
    """
    from scalefuse.bundle import is_bundle
    from scalefuse.cli.console import NOTICE, err, means_table, out, print_failures, progress_bar
    from scalefuse.errors import InputError
    from scalefuse.evaluation.fusion import DEFAULT_METRICS
    from scalefuse.metrics import FUSION_METRICS
    from scalefuse.workflows.evaluate_fusion import evaluate as run

    model = "dilran"
    if len(inputs) == 3 and is_bundle(inputs[0]):
        model, *inputs = inputs
    if len(inputs) != 2:
        raise InputError(
            f"Got {len(inputs)} inputs; expected two pictures or folders, or a bundle and two of them."
        )
    chosen = (
        list(DEFAULT_METRICS)
        if metrics is None
        else list(FUSION_METRICS)
        if metrics == "all"
        else [name.strip() for name in metrics.split(",")]
    )
    total = 0
    with progress_bar("pairs") as bar:
        task = bar.add_task("Measuring", total=None)

        def start(count: int) -> None:
            nonlocal total
            total = count
            bar.update(task, total=count)

        result = run(
            Path(inputs[0]),
            Path(inputs[1]),
            output,
            model=model,
            strategies=strategy or (),
            fused=fused,
            baselines=baselines,
            metrics=chosen,
            range_a=range_a,
            range_b=range_b,
            on_start=start,
            on_case=lambda name: bar.advance(task),
        )
    out.print(means_table(result.summary, chosen, title=f"Means over {result.summary['num_cases']} pairs"))
    for note in dict.fromkeys(result.evaluation.notes[:5]):
        err.print(note, style="dim", markup=False)
    out.print("written: " + ", ".join(str(path) for path in result.files), markup=False)
    err.print(NOTICE, style="dim")
    if result.failures:
        print_failures(result.failures, max(total, len(result.failures)))
        raise typer.Exit(3)
