"""Entry point of ``scalefuse``: user errors become one line and exit code 2, Ctrl-C one line and 130."""

from __future__ import annotations

import signal
import sys

STOPPED = 130
"""Exit code after Ctrl-C or SIGTERM, as shells have it."""


def main() -> None:
    """Run the command line."""
    # Ctrl-C may come while the commands are being imported, too.
    try:
        _run()
    except KeyboardInterrupt:
        _end("Stopped before anything was done.")


def _run() -> None:
    from scalefuse.cli.kept_memory import start_again_with_kept_memory

    start_again_with_kept_memory()
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        # What a container or a queue sends ends as Ctrl-C does: nothing unfinished stays behind.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    from scalefuse.cli.app import app
    from scalefuse.cli.stopping import Stopped
    from scalefuse.errors import ScaleFuseError

    try:
        app()
    except ScaleFuseError as error:
        from scalefuse.cli.console import err

        err.print(f"[bold red]error:[/] {_plain(str(error))}")
        sys.exit(2)
    except Stopped as stopped:
        _end(str(stopped))
    except SystemExit as end:
        if end.code == STOPPED:
            # Typer's, for a command that has nothing of its own to say about it.
            _end("Stopped before the end; run the command again for all of its results.")
        raise


def _end(line: str) -> None:
    print(line, file=sys.stderr)
    sys.exit(STOPPED)


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(" ".join(text.split("\n")))


if __name__ == "__main__":
    main()
