"""Plots of curves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scalefuse.data.atomic import atomic_write
from scalefuse.report.sheet import NOTICE


def calibration_plot(path: Path, curves: dict[str, Any]) -> None:
    """Draw observed against predicted frequency, one line per class.

    Args:
        path: PNG file.
        curves: Class to ``predicted``, ``observed`` and ``expected_calibration_error``.

    Raises:
        OutputError: It cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 4.6), dpi=110)
    FigureCanvasAgg(figure)
    axis = figure.add_subplot()
    axis.plot([0, 1], [0, 1], color="0.7", linewidth=1, linestyle="--", label="perfect")
    for label, curve in curves.items():
        points = [
            (x, y) for x, y in zip(curve["predicted"], curve["observed"], strict=True) if x == x and y == y
        ]
        error = curve["expected_calibration_error"]
        axis.plot(*zip(*points, strict=True), marker="o", markersize=3, label=f"{label} (ECE {error:.3f})")
    axis.set(xlabel="predicted probability", ylabel="observed frequency", xlim=(0, 1), ylim=(0, 1))
    axis.legend(fontsize=8)
    figure.text(0.5, 0.01, NOTICE, ha="center", fontsize=6, color="0.35")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", bbox_inches="tight")
