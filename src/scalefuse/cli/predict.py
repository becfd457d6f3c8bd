"""``scalefuse predict``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from scalefuse.cli.engine_options import Engine, EngineOption, Precision, PrecisionOption, say_computed_by

if TYPE_CHECKING:
    from scalefuse.bundle import Bundle
    from scalefuse.workflows.classify import ClassifyOptions
    from scalefuse.workflows.predict import PredictOptions


class Instances(StrEnum):
    """How objects are told apart."""

    NONE = "none"
    COMPONENTS = "components"
    WATERSHED = "watershed"


class ExplainBy(StrEnum):
    """How explanations find the evidence."""

    GRAD_CAM = "grad-cam"
    OCCLUSION = "occlusion"


class Table(StrEnum):
    """Formats of the table of predictions."""

    BOTH = "both"
    CSV = "csv"
    JSON = "json"


_FORMATS: dict[Table, tuple[Literal["csv", "json"], ...]] = {
    Table.BOTH: ("csv", "json"),
    Table.CSV: ("csv",),
    Table.JSON: ("json",),
}

SEGMENTATION_ONLY = ("probability", "overlay", "instances", "regions", "skip_existing")
CLASSIFICATION_ONLY = (
    *("explain", "explain_by", "stage", "label", "embeddings", "coverage", "sensitivity"),
    *("table", "batch_size", "columns", "images"),
)
"""Parameters of :func:`predict` that mean nothing to the other task, and are refused there."""

_MASKS, _CLASSES = "Segmentation", "Classification"


def predict(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Argument(
            help="Bundle: a shipped name, a folder or a zip file; or an export's folder.", metavar="BUNDLE"
        ),
    ],
    sources: Annotated[
        list[Path],
        typer.Argument(
            help="Pictures or a folder of pictures; to classify, also a CSV or MedMNIST file.",
            metavar="INPUT",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")] = Path(
        "predicted"
    ),
    ensemble: Annotated[
        list[str] | None, typer.Option(help="Another bundle to average with; repeatable.")
    ] = None,
    postprocess: Annotated[bool, typer.Option(help="Use what was fitted on validation data.")] = True,
    tta: Annotated[
        bool | None,
        typer.Option(
            help="Average over flips and rotations, to classify over those of the training: 2 to 8 times the "
            "work. By default as the bundle of a segmentation says.",
            show_default=False,
        ),
    ] = None,
    intensity: Annotated[
        str | None,
        typer.Option("--range", help="Values that become black and white, such as window:40:80 or minmax."),
    ] = None,
    engine: EngineOption = Engine.AUTO,
    precision: PrecisionOption = Precision.AUTO,
    probability: Annotated[
        bool, typer.Option(help="Write the probability map too, 16 bits.", rich_help_panel=_MASKS)
    ] = False,
    overlay: Annotated[
        bool, typer.Option(help="Write the picture with the mask's outline.", rich_help_panel=_MASKS)
    ] = True,
    instances: Annotated[
        Instances,
        typer.Option(help="Number the objects; watershed parts touching ones.", rich_help_panel=_MASKS),
    ] = Instances.NONE,
    regions: Annotated[
        bool, typer.Option(help="Write a CSV table of the objects.", rich_help_panel=_MASKS)
    ] = False,
    skip_existing: Annotated[
        bool, typer.Option(help="Keep results that stand there already.", rich_help_panel=_MASKS)
    ] = False,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain", help="Write where the evidence lies, over each picture.", rich_help_panel=_CLASSES
        ),
    ] = False,
    explain_by: Annotated[
        ExplainBy | None,
        typer.Option(
            help="Gradients (grad-cam, the default) or what covered parts cost (occlusion: slower, surer).",
            rich_help_panel=_CLASSES,
        ),
    ] = None,
    stage: Annotated[
        int | None,
        typer.Option(
            help="Stage of the network to explain, from 1 (fine) to 4 (coarse).", rich_help_panel=_CLASSES
        ),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(
            "--class", help="Class to explain, and class of --sensitivity.", rich_help_panel=_CLASSES
        ),
    ] = None,
    embeddings: Annotated[
        bool, typer.Option("--embeddings", help="Write the feature vectors.", rich_help_panel=_CLASSES)
    ] = False,
    coverage: Annotated[
        float | None,
        typer.Option(
            help="Share of pictures whose prediction set shall hold the truth, such as 0.95.",
            rich_help_panel=_CLASSES,
        ),
    ] = None,
    sensitivity: Annotated[
        float | None,
        typer.Option(help="Share of the class that shall be called, such as 0.95.", rich_help_panel=_CLASSES),
    ] = None,
    table: Annotated[
        Table, typer.Option("--format", help="Format of the predictions.", rich_help_panel=_CLASSES)
    ] = Table.BOTH,
    batch_size: Annotated[int, typer.Option(help="Pictures at once.", min=1, rich_help_panel=_CLASSES)] = 16,
    columns: Annotated[
        str | None,
        typer.Option(help="Columns of a CSV file, such as path=image_id.", rich_help_panel=_CLASSES),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(help="Folder that a CSV file's paths start from.", rich_help_panel=_CLASSES),
    ] = None,
) -> None:
    """Segment or classify a picture or a folder, as the bundle does.

    A segmentation bundle writes a mask in each picture's size, a classification
    bundle a table of predictions, and either of them more on request.

    Example: scalefuse predict msrf-net-nuclei slides/ -o masks/ --instances watershed --regions
    """
    from scalefuse.inference.exported.model import load_model

    bundle = load_model(model)
    source = sources if len(sources) > 1 else sources[0]
    models: list[str | Bundle] = [bundle, *(ensemble or [])]
    if bundle.info.task == "classification":
        from scalefuse.data.classification import TableColumns
        from scalefuse.workflows.classify import ClassifyOptions

        _refuse(context, SEGMENTATION_ONLY, "segmentation", bundle)
        _classify(
            models,
            source,
            output,
            ClassifyOptions(
                formats=_FORMATS[table],
                explain=explain,
                explain_by=None if explain_by is None else explain_by.value,
                stage=stage,
                label=label,
                embeddings=embeddings,
                coverage=coverage,
                sensitivity=sensitivity,
                postprocess=postprocess,
                tta=bool(tta),
                intensity=intensity,
                batch_size=batch_size,
                columns=None if columns is None else TableColumns.parse(columns),
                images=images,
                engine=engine.value,
                precision=precision.value,
            ),
        )
        return
    from scalefuse.workflows.predict import PredictOptions

    _refuse(context, CLASSIFICATION_ONLY, "classification", bundle)
    _segment(
        models,
        source,
        output,
        PredictOptions(
            probability=probability,
            overlay=overlay,
            instances=instances.value,
            regions=regions,
            postprocess=postprocess,
            tta=tta,
            intensity=intensity,
            skip_existing=skip_existing,
            engine=engine.value,
            precision=precision.value,
        ),
    )


def _refuse(context: typer.Context, names: tuple[str, ...], task: str, bundle: Bundle) -> None:
    """Refuse options of another task: ignored in silence, they would promise what is not done."""
    from scalefuse.errors import InputError

    given = []
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name in names and source is not None and source.name == "COMMANDLINE":
            off = context.params[parameter.name] is False
            given.append((parameter.secondary_opts if off else parameter.opts)[0])
    if given:
        raise InputError(
            f"{', '.join(given)}: for {task} only, but {bundle.source} is a bundle for {bundle.info.task}; "
            "leave it out, or choose another bundle."
        )


def _segment(
    models: list[str | Bundle], source: Path | list[Path], output: Path, options: PredictOptions
) -> None:
    from scalefuse.cli.console import NOTICE, end_batch, err, out, progress_bar
    from scalefuse.cli.stopping import told_of_batch
    from scalefuse.workflows.predict import predict as run

    total = 0
    with told_of_batch(lambda: total), progress_bar("pictures") as bar:
        task = bar.add_task("Segmenting", total=None, visible=False)

        def start(count: int) -> None:
            nonlocal total
            total = count
            bar.update(task, total=count, visible=True)

        result = run(
            models,
            source,
            output,
            options,
            on_start=start,
            on_image=lambda file, problem: bar.advance(task),
        )
    say_computed_by(result.computed_by)
    for note in result.notes:
        err.print(f"note: {note}", markup=False)
    kept = f", {len(result.skipped)} pictures kept" if result.skipped else ""
    if result.written or result.skipped:
        out.print(f"{len(result.written)} files written{kept}: {output}", markup=False)
        err.print(NOTICE, style="dim")
    end_batch(result.failures, total)


def _classify(
    models: list[str | Bundle], source: Path | list[Path], output: Path, options: ClassifyOptions
) -> None:
    from scalefuse.cli.console import NOTICE, end_batch, err, out, progress_bar
    from scalefuse.workflows.classify import classify

    total = 0
    with progress_bar("pictures") as bar:
        task = bar.add_task("Classifying", total=None, visible=False)

        def start(count: int) -> None:
            nonlocal total
            total = count
            bar.update(task, total=count, visible=True)

        result = classify(
            models,
            source,
            output,
            options,
            on_start=start,
            on_image=lambda file, problem: bar.advance(task),
        )
    say_computed_by(result.computed_by)
    for note in result.notes:
        err.print(f"note: {note}", markup=False)
    if result.num_pictures:
        out.print(
            f"{result.num_pictures} pictures classified, {len(result.written)} files written: {output}",
            markup=False,
        )
        err.print(NOTICE, style="dim")
    end_batch(result.failures, total)
