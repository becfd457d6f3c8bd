"""``scalefuse convert``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def convert(
    network: Annotated[
        str, typer.Argument(help="Network that the checkpoint is for, such as dilran.", metavar="NETWORK")
    ],
    checkpoint: Annotated[
        Path, typer.Argument(help="The file that the authors released.", metavar="CHECKPOINT")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Bundle folder, or a file ending in .zip.")],
    name: Annotated[str | None, typer.Option(help="Name of the model.")] = None,
    labels: Annotated[
        str | None, typer.Option(help="Classifiers: names of the classes, comma-separated; else numbers.")
    ] = None,
) -> None:
    """Turn the weights that a paper's authors released into a bundle, without running code in the file.

    Example: scalefuse convert dilran last.pt -o dilran-released
    """
    from scalefuse.cli.console import err, out
    from scalefuse.data.class_names import split_names
    from scalefuse.workflows.convert import convert as run

    names = None if labels is None else split_names(labels)
    result = run(network, checkpoint, output, name=name, labels=names)
    if result.dropped:
        err.print(
            f"left out, because they take no part in the output: {', '.join(result.dropped)}", markup=False
        )
    out.print(f"{result.num_parameters:,} parameters written: {result.bundle}", markup=False)
