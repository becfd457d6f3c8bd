"""The pages that a stranger reads, and the code blocks in them."""

import re
import textwrap
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w+)[^\n]*\n(?P<code>.*?)^(?P=indent)```\s*$", re.M | re.S
)


class Block(NamedTuple):
    code: str
    line: int


def blocks(page: Path, language: str) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(textwrap.dedent(match["code"]), text[: match.start("code")].count("\n"))
        for match in _FENCE.finditer(text)
        if match["language"] == language
    ]


def label(page: Path) -> str:
    return str(page.relative_to(ROOT))
