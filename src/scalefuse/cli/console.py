"""What the commands share on the terminal: the console, progress bars, tables."""

from __future__ import annotations

from typing import Any

import typer
from rich.console import Console, Group
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

NOTICE = "Research software, not a medical device."


def progress_bar(unit: str) -> Progress:
    """A progress bar on standard error: counts, bar, time left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
        console=err,
        transient=False,
    )


def end_batch(failures: list[str], total: int) -> None:
    """List what went wrong in a batch, if anything did, and end the command with code 3.

    Raises:
        typer.Exit: something went wrong.
    """
    if not failures:
        return
    err.print(f"[bold red]{len(failures)} of {total} failed:[/]")
    for line in failures:
        err.print(f"  - {line}", markup=False)
    raise typer.Exit(3)


def means_table(summary: dict[str, Any], metrics: list[str], *, title: str) -> Group:
    """Means per method, the best of each measure in bold; in several tables where the terminal is narrow."""
    methods = summary["methods"]
    room = out.width - max(len(method) for method in methods) - 4
    columns = max(1, room // (max(len(metric) for metric in metrics) + 6))
    tables = []
    for start in range(0, len(metrics), columns):
        shown = metrics[start : start + columns]
        table = Table(title=None if start else title, title_justify="left")
        table.add_column("method", no_wrap=True)
        for metric in shown:
            table.add_column(metric, justify="right", no_wrap=True)
        best = {metric: _best(methods, metric) for metric in shown}
        for method, values in methods.items():
            cells = []
            for metric in shown:
                mean = values[metric]["mean"]
                text = "–" if mean is None else f"{mean:.3f}"
                cells.append(f"[bold]{text}[/]" if mean is not None and mean == best[metric] else text)
            table.add_row(method, *cells)
        tables.append(table)
    return Group(*tables)


def _best(methods: dict[str, Any], metric: str) -> float | None:
    means = [values[metric]["mean"] for values in methods.values() if values[metric]["mean"] is not None]
    return max(means, default=None)
