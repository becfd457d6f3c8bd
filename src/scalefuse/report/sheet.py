"""Sheets of labelled pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalefuse.data.atomic import atomic_write
from scalefuse.report.labels import plain_label

NOTICE = "Research software, not a medical device."


def picture_sheet(
    path: Path,
    rows: Sequence[tuple[str, Sequence[NDArray[Any]]]],
    columns: Sequence[str],
    *,
    title: str = "",
    cell: float = 2.0,
) -> None:
    """Draw a grid of pictures with a label per row and per column.

    Args:
        path: PNG file to write.
        rows: (label, pictures); a picture is ``(H, W)`` or ``(H, W, 3)``, 0–255.
        columns: Labels of the columns.
        title: Heading.
        cell: Side of a picture in inches at 110 dots per inch.

    Raises:
        OutputError: It cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height, width = len(rows) * cell + 0.9, len(columns) * cell + 0.8
    figure = Figure(figsize=(width, height), dpi=110, facecolor="white")
    FigureCanvasAgg(figure)
    figure.suptitle(plain_label(title), fontsize=11, y=1 - 0.12 / height, va="top")
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    for line, (label, pictures) in zip(axes, rows, strict=True):
        for axis, picture in zip(line, pictures, strict=True):
            axis.imshow(
                np.clip(picture, 0, 255) / 255.0, cmap="gray", vmin=0, vmax=1, interpolation="nearest"
            )
            axis.set_xticks([])
            axis.set_yticks([])
            for spine in axis.spines.values():
                spine.set_visible(False)
        line[0].set_ylabel(plain_label(label), fontsize=8)
    for axis, column in zip(axes[0], columns, strict=True):
        axis.set_title(plain_label(column), fontsize=8)
    figure.text(0.5, 0.08 / height, NOTICE, ha="center", fontsize=7, color="0.35")
    figure.subplots_adjust(
        left=0.5 / width,
        right=1 - 0.1 / width,
        bottom=0.25 / height,
        top=1 - 0.6 / height,
        wspace=0.03,
        hspace=0.06,
    )
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png")
