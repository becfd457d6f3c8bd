"""A report as one self-contained HTML page."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from scalefuse.data.atomic import atomic_write
from scalefuse.data.write import encode_png

_NUMBER = re.compile(r"[-+−±]?\s*[\d.∞]|[-–—]?$|(nan|inf)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Figure:
    """A picture with its caption.

    Attributes:
        caption: What it shows.
        pixels: ``(H, W)`` or ``(H, W, 3)``, uint8.
    """

    caption: str
    pixels: NDArray[Any]

    @property
    def uri(self) -> str:
        """The picture as a PNG data URI."""
        return "data:image/png;base64," + base64.b64encode(encode_png(self.pixels)).decode()


@dataclass(frozen=True)
class Section:
    """A part of a report.

    Attributes:
        title: Heading.
        text: A sentence or two; words in backticks are set as code.
        figures: Pictures, drawn three in a row.
        table: A Markdown table, or nothing.
    """

    title: str
    text: str = ""
    figures: Sequence[Figure] = field(default_factory=list)
    table: str = ""

    @property
    def text_parts(self) -> list[tuple[bool, str]]:
        """The text in pieces: (is code, piece)."""
        return [(bool(number % 2), piece) for number, piece in enumerate(self.text.split("`"))]

    @property
    def table_rows(self) -> list[list[str]]:
        """Cells of the table, heading first."""
        lines = [line for line in self.table.splitlines() if line and not line.startswith("|---")]
        return [
            [cell.strip() for cell in line.removeprefix("|").removesuffix("|").split("|")] for line in lines
        ]

    @property
    def numeric_columns(self) -> list[bool]:
        """Whether all cells of a column begin as numbers do or are missing; those stand to the right.

        Example:
            >>> Section("", table="|a|b|c|\\n|---|---|---|\\n|x1|0.5 (0.4–0.6)|–|").numeric_columns
            [False, True, True]
        """
        rows = self.table_rows[1:]
        columns = zip(*rows, strict=True) if rows else [()] * len(self.table_rows[0])
        return [all(_NUMBER.match(cell) for cell in column) for column in columns]


def write_report(path: Path, *, title: str, lead: str, sections: Sequence[Section]) -> None:
    """Write a page that needs no other file and no network.

    Args:
        path: HTML file.
        title: Heading of the page.
        lead: First paragraph.
        sections: Parts, in order.

    Raises:
        OutputError: It cannot be written.
    """
    from jinja2 import Environment, PackageLoader

    environment = Environment(loader=PackageLoader("scalefuse.report"), autoescape=True)
    page = environment.get_template("report.html.j2").render(title=title, lead=lead, sections=sections)
    with atomic_write(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
