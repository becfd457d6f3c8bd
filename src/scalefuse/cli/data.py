"""``scalefuse data check``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Look at a data set before training on it.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


@app.command()
def check(
    folder: Annotated[
        Path, typer.Argument(help="images/ and masks/, or train/, val/, test/ with these inside.")
    ],
    page: Annotated[Path, typer.Option("--page", help="HTML page to write.")] = Path("data-check.html"),
    intensity: Annotated[
        str | None, typer.Option("--range", help="Values that become black and white, such as minmax.")
    ] = None,
    groups_csv: Annotated[Path | None, typer.Option(help="Table of which images belong together.")] = None,
    group_column: Annotated[str | None, typer.Option(help="Its column with the group.")] = None,
) -> None:
    """Find missing partners, sizes that differ, odd masks, leaks between splits and more.

    Exits with 2 where errors were found that would spoil a training.

    Example: scalefuse data check nuclei/ --page check.html
    """
    from rich.markup import escape
    from rich.table import Table

    from scalefuse.cli.console import err, out, progress_bar
    from scalefuse.workflows.check_data import check_data

    with progress_bar("images") as bar:
        task = bar.add_task("Checking", total=None)
        result = check_data(
            folder,
            page,
            intensity=intensity,
            groups_csv=groups_csv,
            group_column=group_column,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
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
    else:
        out.print("No faults found.")
    out.print(f"page: {page}", markup=False)
    if result.has_errors:
        err.print("[bold red]error:[/] the data set has errors (above); mend them before training.")
        raise typer.Exit(2)
