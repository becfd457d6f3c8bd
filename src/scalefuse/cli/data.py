"""``scalefuse data check``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from scalefuse.data.check import DataCheck

app = typer.Typer(help="Look at a data set before training on it.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


def _split_table(check: DataCheck) -> Table:
    """What each split holds: number, sizes, intensities, and how its classes are spread."""
    from rich.markup import escape
    from rich.table import Table

    masks = check.task == "segmentation"
    table = Table()
    columns = ("split", "images", "sizes", "values", "classes, share of pixels" if masks else "classes")
    for column in columns:
        table.add_column(column, overflow="fold")
    for name, split in check.splits.items():
        sizes = list(split.sizes)
        more = f" and {len(sizes) - 2} more" if len(sizes) > 2 else ""
        classes = (
            f"{label} {100 * share:.1f} %" + (f" ({split.images_with_class[label]} images)" if masks else "")
            for label, share in split.class_shares.items()
        )
        table.add_row(
            escape(name),
            str(split.num_images),
            ", ".join(sizes[:2]) + more,
            f"{split.low:g} … {split.high:g}",
            escape(", ".join(classes)),
        )
    return table


@app.command()
def check(
    source: Annotated[
        Path,
        typer.Argument(
            help="images/ and masks/, or a folder per class, or train/, val/, test/ with these inside; "
            "or a CSV file of images and labels; or a MedMNIST .npz file.",
            metavar="DATA",
        ),
    ],
    page: Annotated[Path, typer.Option("--page", help="HTML page to write.")] = Path("data-check.html"),
    intensity: Annotated[
        str | None, typer.Option("--range", help="Values that become black and white, such as minmax.")
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(help="Class names, for masks perhaps with values or colours: background=0,nucleus=255."),
    ] = None,
    config: Annotated[
        str | None, typer.Option(help="Run configuration whose data section says what options do not.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option(help="Columns of a CSV file, such as path=image_id,label=diagnosis.")
    ] = None,
    images: Annotated[Path | None, typer.Option(help="Folder that a CSV file's paths start from.")] = None,
    groups_csv: Annotated[Path | None, typer.Option(help="Table of which images belong together.")] = None,
    group_column: Annotated[str | None, typer.Option(help="Its column with the group.")] = None,
) -> None:
    """Find missing or unreadable files, odd masks, uneven classes, leaks between splits and more.

    Exits with 2 where errors were found that would spoil a training.

    Example: scalefuse data check nuclei/ --page check.html
    """
    from rich.markup import escape
    from rich.table import Table

    from scalefuse.cli.console import err, out, progress_bar
    from scalefuse.data.classification import TableColumns
    from scalefuse.workflows.check_data import CheckOptions, check_data

    options = CheckOptions(
        classes=classes,
        intensity=intensity,
        groups_csv=groups_csv,
        group_column=group_column,
        columns=None if columns is None else TableColumns.parse(columns),
        images=images,
    )
    with progress_bar("images") as bar:
        task = bar.add_task("Checking", total=None, visible=False)
        result = check_data(
            source,
            page,
            options,
            config=config,
            progress=lambda done, total: bar.update(task, completed=done, total=total, visible=True),
        )
    if result.splits:
        out.print(_split_table(result))
    table = Table()
    for column in ("", "what", "finding"):
        table.add_column(column, overflow="fold")
    colours = {"error": "red", "warning": "yellow", "info": "dim"}
    for finding in result.findings:
        table.add_row(
            f"[{colours[finding.severity]}]{finding.severity}[/]", finding.kind, escape(finding.message)
        )
    if result.findings:
        out.print(table)
    if all(finding.severity == "info" for finding in result.findings):
        out.print("No faults found.")
    out.print(f"page: {page}", markup=False)
    if result.has_errors:
        err.print("[bold red]error:[/] the data set has errors (above); mend them before training.")
        raise typer.Exit(2)
