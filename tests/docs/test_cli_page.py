"""docs/reference/cli.md names every command and every option, and none that does not exist."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from tests.docs.pages import ROOT
from typer.main import get_command

from scalefuse.cli.app import app


def _leaves(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    children = getattr(command, "commands", None)
    if children is None:
        yield name, command
        return
    for child, sub in children.items():
        yield from _leaves(sub, f"{name} {child}")


LEAVES = dict(_leaves(get_command(app), "scalefuse"))
TEXT = (ROOT / "docs/reference/cli.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## `(scalefuse [^`]*)`\n(.*?)(?=^## |\Z)", TEXT, flags=re.M | re.S))


def test_every_command_has_a_section_and_every_section_a_command() -> None:
    assert set(SECTIONS) == set(LEAVES)


@pytest.mark.parametrize("name", LEAVES)
def test_options_are_those_of_the_command(name: str) -> None:
    options = {
        text
        for parameter in LEAVES[name].params
        if parameter.param_type_name == "option"
        for text in (*parameter.opts, *parameter.secondary_opts)
    } - {"--help", "-h"}
    cells = re.findall(r"^\| (`-[^|]*)\|", SECTIONS.get(name, ""), flags=re.M)
    written = {option for cell in cells for option in re.findall(r"(?<![\w-])--?[a-z][\w-]*", cell)}
    assert written == options
