"""Entry point of ``scalefuse``: collects the commands and turns user errors into one line and exit code 2."""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import typer

from scalefuse.cli import convert, data, demo, evaluate, export, fuse, info, networks, predict, train
from scalefuse.cli.kept_memory import start_again_with_kept_memory
from scalefuse.errors import ScaleFuseError
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


def main() -> None:
    """Run the command line. Typer ends with 130 on Ctrl-C."""
    start_again_with_kept_memory()
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        # What a container or a queue sends ends as Ctrl-C does: nothing unfinished stays behind.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app()
    except ScaleFuseError as error:
        from scalefuse.cli.console import err

        err.print(f"[bold red]error:[/] {_plain(str(error))}")
        sys.exit(2)


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(" ".join(text.split("\n")))


if __name__ == "__main__":
    main()
