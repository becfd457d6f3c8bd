"""Results as CSV, JSON and Markdown."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scalefuse.data.atomic import atomic_write


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]], *, columns: Sequence[str] | None = None) -> None:
    """Write rows with equal keys to a CSV file, whole or not at all.

    Args:
        path: File to write.
        rows: One mapping per line.
        columns: Names of the columns; those of the first row where None.

    Raises:
        OutputError: It cannot be written.
    """
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, fieldnames=columns or (list(rows[0]) if rows else []))
        writer.writeheader()
        writer.writerows(rows)


def write_json(path: Path, content: Any) -> None:
    """Write JSON, whole or not at all; NaN becomes null, since JSON knows none.

    Raises:
        OutputError: It cannot be written.
    """
    text = json.dumps(_plain(content), indent=2, ensure_ascii=False, allow_nan=False)
    with atomic_write(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table.

    Example:
        >>> print(markdown_table(["a", "b"], [["1", "2"]]))
        | a | b |
        |---|---|
        | 1 | 2 |
    """
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        "|" + "|".join(cells) + "|" if cells[0] == "---" else "| " + " | ".join(cells) + " |"
        for cells in lines
    )


def number_measured(summary: Mapping[str, Any]) -> str:
    """How many cases a summary is of, and of how many where some failed.

    Example:
        >>> number_measured({"num_cases": 7, "num_failed": 1}), number_measured({"num_cases": 7})
        ('7 of 8', '7')
    """
    measured, failed = summary["num_cases"], summary.get("num_failed", 0)
    return f"{measured} of {measured + failed}" if failed else str(measured)
