"""``scalefuse evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def evaluate(
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="For fusion two pictures or folders (CT/ MRI/), after a bundle if not the shipped one. For "
            "segmentation a bundle and a folder with images/ and masks/.",
            metavar="[BUNDLE] DATA...",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")] = Path(
        "evaluation"
    ),
    fused: Annotated[
        Path | None, typer.Option(help="Fusion: measure these pictures instead of fusing; paired by name.")
    ] = None,
    masks: Annotated[
        Path | None, typer.Option(help="Segmentation: measure these masks instead of a bundle's.")
    ] = None,
    strategy: Annotated[
        list[str] | None, typer.Option("--strategy", "-s", help="Fusion: strategy to compare; repeatable.")
    ] = None,
    baselines: Annotated[bool, typer.Option(help="Fusion: measure the plain baselines too.")] = True,
    metrics: Annotated[
        str | None, typer.Option(help="Fusion: comma-separated measures, or 'all'; see the documentation.")
    ] = None,
    range_a: Annotated[
        str | None,
        typer.Option("--range-a", "--range", help="Values (of the first) that become black and white."),
    ] = None,
    range_b: Annotated[str | None, typer.Option(help="Fusion: the same for the second.")] = None,
    split: Annotated[
        str | None, typer.Option(help="Segmentation: train, val or test; the last there is.")
    ] = None,
    postprocess: Annotated[
        bool, typer.Option(help="Segmentation: use the fitted threshold and cleaning.")
    ] = True,
    tta: Annotated[bool, typer.Option(help="Segmentation: average over flips and rotations.")] = False,
) -> None:
    """Measure a model, or results that were made before: per-case CSV, summary JSON, picture sheet.

    Example: scalefuse evaluate CT/ MRI/ -s two_scale_energy_ratio -s softmax_nuclear_norm -o evaluation/

    Example: scalefuse evaluate msrf-net-nuclei nuclei/ --split val -o evaluation/
    """
    from scalefuse.bundle import is_bundle, load_bundle
    from scalefuse.cli.console import NOTICE, err, out, print_failures, progress_bar
    from scalefuse.errors import InputError

    bundles = [name for name in inputs if is_bundle(name)]
    data = [name for name in inputs if name not in bundles]
    segments = masks is not None or (
        bool(bundles) and load_bundle(bundles[0]).info.task == "segmentation" and len(data) == 1
    )
    if segments and len(data) != 1:
        raise InputError(f"Got {len(data)} folders; expected one with images/ and masks/ inside.")
    if not segments and (len(data) != 2 or len(bundles) > 1):
        raise InputError(
            f"Got {' '.join(inputs)}; expected two pictures or folders to fuse (with a fusion bundle before "
            "them, if not the shipped one), or a segmentation bundle and a folder with images/ and masks/."
        )
    with progress_bar("cases") as bar:
        task = bar.add_task("Measuring", total=None)

        def start(count: int) -> None:
            bar.update(task, total=count)

        result: Any
        if segments:
            from scalefuse.workflows.evaluate_segmentation import evaluate as run_segmentation

            result = run_segmentation(
                Path(data[0]),
                output,
                models=bundles,
                predictions=masks,
                split=split,
                postprocess=postprocess,
                tta=tta,
                intensity=range_a,
                on_start=start,
                on_case=lambda name: bar.advance(task),
            )
        else:
            from scalefuse.workflows.evaluate_fusion import evaluate as run_fusion

            result = run_fusion(
                Path(data[0]),
                Path(data[1]),
                output,
                model=bundles[0] if bundles else "dilran",
                strategies=strategy or (),
                fused=fused,
                baselines=baselines,
                metrics=_metrics(metrics),
                range_a=range_a,
                range_b=range_b,
                on_start=start,
                on_case=lambda name: bar.advance(task),
            )
    _print(result, segments=segments)
    out.print("written: " + ", ".join(str(path) for path in result.files), markup=False)
    err.print(NOTICE, style="dim")
    if result.failures:
        print_failures(result.failures, result.summary["num_cases"] + len(result.failures))
        raise typer.Exit(3)


def _metrics(text: str | None) -> list[str]:
    from scalefuse.evaluation.fusion import DEFAULT_METRICS
    from scalefuse.metrics import FUSION_METRICS

    if text is None:
        return list(DEFAULT_METRICS)
    return list(FUSION_METRICS) if text == "all" else [name.strip() for name in text.split(",")]


def _print(result: Any, *, segments: bool) -> None:
    from rich.table import Table

    from scalefuse.cli.console import err, means_table, out

    if not segments:
        metrics = list(result.evaluation.metrics)
        out.print(
            means_table(result.summary, metrics, title=f"Means over {result.summary['num_cases']} pairs")
        )
        for note in dict.fromkeys(result.evaluation.notes[:5]):
            err.print(note, style="dim", markup=False)
        return
    summary = result.summary
    title = f"{summary['num_cases']} cases of {summary['split']}; distances in {summary['distance_unit']}"
    table = Table(title=title, title_justify="left")
    for column in ("measure", *summary["per_image"]):
        table.add_column(column, justify="left" if column == "measure" else "right")
    for measure in next(iter(summary["per_image"].values())):
        cells = [values[measure] for values in summary["per_image"].values()]
        table.add_row(measure, *(f"{v['mean']:.4f} ({v['low']:.4f}–{v['high']:.4f})" for v in cells))
    table.add_section()
    for measure in next(iter(summary["pooled"].values())):
        cells = [values.get(measure) for values in summary["pooled"].values()]
        cells += [None] * (len(summary["per_image"]) - len(cells))
        table.add_row(measure, *("" if value is None else f"{value:.4f}" for value in cells))
    out.print(table)
    for label, best in summary.get("best_threshold", {}).items():
        out.print(
            f"best threshold for {label}: {best['threshold']:g} (mean Dice {best['dice']:.4f})", markup=False
        )
