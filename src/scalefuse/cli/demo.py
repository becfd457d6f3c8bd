"""``scalefuse demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for pictures and the report.")
    ] = Path("demo-output"),
) -> None:
    """Show what ScaleFuse does on data that come with it; ends by saying where the report lies."""
    from scalefuse.cli.console import NOTICE, err, out
    from scalefuse.workflows.demo import demo as run

    result = run(output, say=lambda line: err.print(line, markup=False))
    out.print(f"pictures: {result.folder}", markup=False)
    out.print(f"report:   {result.report}", markup=False)
    err.print(NOTICE, style="dim")
