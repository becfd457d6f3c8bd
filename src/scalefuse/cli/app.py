"""The commands of ``scalefuse``, collected."""

from __future__ import annotations

from typing import Annotated

import typer

from scalefuse.cli import convert, data, demo, evaluate, export, fuse, info, networks, predict, train
from scalefuse.version import __version__

app = typer.Typer(
    name="scalefuse",
    help="Multi-scale feature fusion for medical images. Research software, not a medical device.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    fuse.fuse,
    predict.predict,
    train.train,
    evaluate.evaluate,
    convert.convert,
    export.export,
    networks.networks,
    info.info,
    demo.demo,
):
    app.command()(command)
app.add_typer(data.app, name="data")


def _version(value: bool) -> None:
    if value:
        typer.echo(f"scalefuse {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass
