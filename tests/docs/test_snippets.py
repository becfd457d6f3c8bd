"""Every Python block of the documentation runs; every command line in it parses."""

import shlex
from pathlib import Path
from typing import Any

import pytest
from tests.docs.pages import PAGES, ROOT, blocks, label
from typer.main import get_command

from scalefuse.cli.app import app
from scalefuse.config import load_config, shipped_configs

SNIPPET_PAGES = [page for page in PAGES if page.name != "CONTRIBUTING.md" and blocks(page, "python")]
COMMANDS = [
    (label(page), line)
    for page in PAGES
    for block in blocks(page, "console")
    for line in block.code.replace("\\\n", " ").splitlines()
    if line.split()[:1] in (["scalefuse"], ["make"])
]


@pytest.mark.parametrize("page", SNIPPET_PAGES, ids=label)
def test_python_blocks_run_in_order(page: Path, folder: Path) -> None:
    namespace: dict[str, Any] = {"__name__": "snippet"}
    for block in blocks(page, "python"):
        # Leading blank lines make a traceback name the page's own line.
        exec(compile("\n" * block.line + block.code, str(page), "exec"), namespace)


def test_there_is_something_to_check() -> None:
    assert ROOT / "README.md" in SNIPPET_PAGES
    assert len(COMMANDS) > 20


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_command_lines_parse(page: str, line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program, *words = shlex.split(line, comments=True)
    if program == "make":
        targets = {text.split(":")[0] for text in (ROOT / "Makefile").read_text().splitlines()}
        assert set(words) <= targets, line
        return
    command: Any = get_command(app)
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    if words in (["--help"], ["--version"]):
        return
    assert not hasattr(command, "commands"), f"{page}: no such command: {line}"
    # Raises where an option does not exist, an argument is missing or a choice is none.
    context = command.make_context(command.name, words)
    if command.name == "train" and context.params["config"] in shipped_configs():
        monkeypatch.setenv("SCALEFUSE_DATA", str(tmp_path))
        load_config(context.params["config"], context.params["settings"] or [])
