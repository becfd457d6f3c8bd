"""``scalefuse evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scalefuse.cli.engine_options import Engine, EngineOption, Precision, PrecisionOption, say_computed_by
from scalefuse.cli.evaluate_tables import print_classes, print_fusion, print_masks

if TYPE_CHECKING:
    from collections.abc import Callable

FUSION_ONLY = ("fused", "strategy", "baselines", "metrics", "range_b")
SEGMENTATION_ONLY = ("masks", "spacing")
CLASSIFICATION_ONLY = (
    *("predictions", "coverage", "sensitivity", "label", "columns", "images", "batch_size"),
)
"""Parameters of :func:`evaluate` that mean nothing to the other tasks, and are refused there."""

_SHARED_BY_TWO = ("split", "postprocess", "tta", "ensemble", "classes", "config")
_REFUSED = {
    "fusion": (*SEGMENTATION_ONLY, *CLASSIFICATION_ONLY, *_SHARED_BY_TWO),
    "segmentation": (*FUSION_ONLY, *CLASSIFICATION_ONLY),
    "classification": (*FUSION_ONLY, *SEGMENTATION_ONLY),
}
_FUSION, _MASKS, _CLASSES = "Fusion", "Segmentation", "Classification"


def evaluate(
    context: typer.Context,
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="For fusion two pictures or folders (CT/ MRI/), after a bundle if not the shipped one. For "
            "segmentation a bundle and a folder with images/ and masks/. For classification a bundle and a "
            "folder per class, a CSV file or a MedMNIST .npz file. Several bundles are averaged.",
            metavar="BUNDLE|DATA",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")] = Path(
        "evaluation"
    ),
    range_a: Annotated[
        str | None,
        typer.Option("--range-a", "--range", help="Values (of the first) that become black and white."),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="train, val or test; the last there is. For segmentation and classification."),
    ] = None,
    ensemble: Annotated[
        list[str] | None,
        typer.Option(help="Another bundle to average with; repeatable. For segmentation and classification."),
    ] = None,
    postprocess: Annotated[
        bool,
        typer.Option(help="Use what was fitted on validation data. For segmentation and classification."),
    ] = True,
    tta: Annotated[
        bool | None,
        typer.Option(
            help="Average over flips and rotations, to classify over those of the training; by default as "
            "the bundle of a segmentation says. For segmentation and classification.",
            show_default=False,
        ),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(help="Classes of the data, for masks perhaps with values: background=0,nucleus=255."),
    ] = None,
    config: Annotated[
        str | None, typer.Option(help="Run configuration whose data section says how to read the data.")
    ] = None,
    engine: EngineOption = Engine.AUTO,
    precision: PrecisionOption = Precision.AUTO,
    fused: Annotated[
        Path | None,
        typer.Option(
            help="Measure these pictures instead of fusing; paired by name.", rich_help_panel=_FUSION
        ),
    ] = None,
    strategy: Annotated[
        list[str] | None,
        typer.Option("--strategy", "-s", help="Strategy to compare; repeatable.", rich_help_panel=_FUSION),
    ] = None,
    baselines: Annotated[
        bool, typer.Option(help="Measure the plain baselines too.", rich_help_panel=_FUSION)
    ] = True,
    metrics: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated measures, or 'all'; see the documentation.", rich_help_panel=_FUSION
        ),
    ] = None,
    range_b: Annotated[
        str | None, typer.Option(help="As --range, for the second.", rich_help_panel=_FUSION)
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option(help="Measure these masks instead of a bundle's.", rich_help_panel=_MASKS),
    ] = None,
    spacing: Annotated[
        bool,
        typer.Option(
            help="Distances in mm where NIfTI or DICOM files know the size of their pixels.",
            rich_help_panel=_MASKS,
        ),
    ] = True,
    predictions: Annotated[
        Path | None,
        typer.Option(
            help="Measure the probabilities in this CSV file instead of a bundle's.", rich_help_panel=_CLASSES
        ),
    ] = None,
    sensitivity: Annotated[
        float | None,
        typer.Option(
            help="Measure the threshold that was calibrated for it too, such as 0.95.",
            rich_help_panel=_CLASSES,
        ),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(
            "--class",
            help="Positive class of two, and class of --sensitivity; the second.",
            rich_help_panel=_CLASSES,
        ),
    ] = None,
    coverage: Annotated[
        float | None,
        typer.Option(
            help="Share of cases whose prediction set shall hold the truth, such as 0.95.",
            rich_help_panel=_CLASSES,
        ),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            help="Columns of a CSV file, such as path=image_id,label=diagnosis.", rich_help_panel=_CLASSES
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(help="Folder that a CSV file's paths start from.", rich_help_panel=_CLASSES),
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Pictures at once.", min=1, rich_help_panel=_CLASSES)] = 16,
) -> None:
    """Measure a model, or results that were made before: per-case CSV, summary JSON, pictures.

    Example: scalefuse evaluate CT/ MRI/ -s guided_bands -s softmax_nuclear_norm -o evaluation/

    Example: scalefuse evaluate msrf-net-nuclei nuclei/ --split val -o evaluation/

    Example: scalefuse evaluate runs/covid/bundle pictures/ --split test --sensitivity 0.95 -o evaluation/
    """
    from scalefuse.cli.console import NOTICE, end_batch, err, out, progress_bar

    task, bundles, data = _sort(inputs, ensemble or [], fused=fused, masks=masks, predictions=predictions)
    _refuse(context, task, ready=any(path is not None for path in (fused, masks, predictions)))
    computing = {"engine": engine.value, "precision": precision.value}
    run: Callable[..., Any]
    arguments: dict[str, Any]
    if task == "segmentation":
        from scalefuse.workflows.evaluate_segmentation import evaluate as run

        arguments = {
            "models": bundles,
            "predictions": masks,
            "classes": classes,
            "config": config,
            "split": split,
            "postprocess": postprocess,
            "tta": tta,
            "spacing": spacing,
            "intensity": range_a,
            **computing,
        }
    elif task == "classification":
        from scalefuse.workflows.evaluate_classification import ClassificationEvaluationOptions
        from scalefuse.workflows.evaluate_classification import evaluate as run

        arguments = {
            "models": bundles,
            "predictions": predictions,
            "options": ClassificationEvaluationOptions(
                split=split,
                postprocess=postprocess,
                tta=bool(tta),
                intensity=range_a,
                coverage=coverage,
                sensitivity=sensitivity,
                positive=label,
                batch_size=batch_size,
                classes=classes,
                columns=columns,
                images=images,
                config=config,
                **computing,
            ),
        }
    else:
        from scalefuse.workflows.evaluate_fusion import evaluate as run

        arguments = {
            "model": bundles[0] if bundles else "dilran",
            "strategies": strategy or (),
            "fused": fused,
            "baselines": baselines,
            "metrics": _metrics(metrics),
            "range_a": range_a,
            "range_b": range_b,
            **computing,
        }
    with progress_bar("cases") as bar:
        shown = bar.add_task("Measuring", total=None, visible=False)
        result = run(
            *(Path(one) for one in data),
            output,
            on_start=lambda count: bar.update(shown, total=count, visible=True),
            on_case=lambda name: bar.advance(shown),
            **arguments,
        )
    say_computed_by(result.summary.get("computed_by"))
    {"fusion": print_fusion, "segmentation": print_masks, "classification": print_classes}[task](result)
    out.print("written: " + ", ".join(str(path) for path in result.files), markup=False)
    err.print(NOTICE, style="dim")
    end_batch(result.failures, result.summary["num_cases"] + len(result.failures))


def _sort(
    inputs: list[str],
    ensemble: list[str],
    *,
    fused: Path | None,
    masks: Path | None,
    predictions: Path | None,
) -> tuple[str, list[str], list[str]]:
    """The task, the bundles and the data, after refusing what does not fit together."""
    from scalefuse.bundle import is_bundle
    from scalefuse.errors import InputError
    from scalefuse.inference.exported.model import load_model

    bundles = [name for name in inputs if is_bundle(name)]
    data = [name for name in inputs if name not in bundles]
    ready = [
        (option, task)
        for option, path, task in (
            ("--fused", fused, "fusion"),
            ("--masks", masks, "segmentation"),
            ("--predictions", predictions, "classification"),
        )
        if path is not None
    ]
    if len(ready) > 1:
        raise InputError(f"Got {' and '.join(option for option, _ in ready)}; give one of them.")
    task: str = load_model(bundles[0]).info.task if bundles else "fusion"
    if ready and bundles and ready[0][1] != task:
        raise InputError(
            f"{ready[0][0]}: for {ready[0][1]} only, but {bundles[0]} is a bundle for {task}; leave it out, "
            "or choose another bundle."
        )
    if ready:
        task = ready[0][1]
    if not ready and not bundles and len(data) > 1 and _almost_a_bundle(data[0]):
        load_model(data[0])  # says what was meant
    bundles += ensemble
    if task == "segmentation" and len(data) != 1:
        raise InputError(f"Got {len(data)} folders; expected one with images/ and masks/ inside.")
    if task == "classification" and len(data) != 1:
        raise InputError(
            f"Got {len(data)} data sets; expected one: a folder per class, a CSV file or an .npz file."
        )
    if task == "fusion" and (len(data) != 2 or len(bundles) > 1 + len(ensemble)):
        raise InputError(
            f"Got {' '.join(inputs)}; expected two pictures or folders to fuse (with a fusion bundle before "
            "them, if not the shipped one), or a bundle for segmentation or classification and its data."
        )
    return task, bundles, data


def _almost_a_bundle(name: str) -> bool:
    """Whether the folder of a run, nearly the name of a shipped bundle, or called as bundles are."""
    import difflib

    from scalefuse.bundle import is_bundle, shipped_bundles
    from scalefuse.inference.exported.model import is_export

    if Path(name).exists():
        return is_bundle(Path(name) / "bundle") or is_export(name)
    if Path(name).name == "bundle" or name.endswith(".zip"):
        return True
    return bool(difflib.get_close_matches(name, shipped_bundles(), n=1, cutoff=0.8))


def _refuse(context: typer.Context, task: str, *, ready: bool) -> None:
    """Refuse options of another task, and engines where nothing is computed.

    Ignored in silence, they would promise what is not done.
    """
    from scalefuse.errors import InputError

    given = []
    refused = (*_REFUSED[task], *(("engine", "precision", "tta") if ready else ()))
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name in refused and source is not None and source.name == "COMMANDLINE":
            off = context.params[parameter.name] is False
            given.append((parameter.secondary_opts if off else parameter.opts)[0])
    if given:
        what = f"{task} of ready results" if ready else task
        raise InputError(
            f"{', '.join(given)}: not for {what}, which is what the bundle or the other options ask for; "
            "leave it out, or give a bundle for another task."
        )


def _metrics(text: str | None) -> list[str]:
    from scalefuse.evaluation.fusion import DEFAULT_METRICS
    from scalefuse.metrics import FUSION_METRICS

    if text is None:
        return list(DEFAULT_METRICS)
    return list(FUSION_METRICS) if text == "all" else [name.strip() for name in text.split(",")]
