"""Plots of curves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from scalefuse.data.atomic import atomic_write
from scalefuse.report.labels import plain_label
from scalefuse.report.sheet import NOTICE

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def calibration_figure(curves: dict[str, Any]) -> Figure:
    """Observed against predicted frequency, one line per class.

    Args:
        curves: Class to ``predicted``, ``observed`` and ``expected_calibration_error``.

    Example:
        >>> curve = {"predicted": [0.2, 0.8], "observed": [0.1, 0.9], "expected_calibration_error": 0.1}
        >>> [line.get_label() for line in calibration_figure({"polyp": curve}).axes[0].lines]
        ['perfect', 'polyp (ECE 0.100)']
    """
    figure = plain_figure(4.6, 4.6)
    axis = figure.add_subplot()
    axis.plot([0, 1], [0, 1], color="0.7", linewidth=1, linestyle="--", label="perfect")
    for label, curve in curves.items():
        points = [
            (x, y) for x, y in zip(curve["predicted"], curve["observed"], strict=True) if x == x and y == y
        ]
        error = curve["expected_calibration_error"]
        named = f"{plain_label(label)} (ECE {error:.3f})"
        axis.plot(*zip(*points, strict=True), marker="o", markersize=3, label=named)
    axis.set(xlabel="predicted probability", ylabel="observed frequency", xlim=(0, 1), ylim=(0, 1))
    axis.legend(fontsize=8)
    return figure


def plain_figure(width: float, height: float) -> Figure:
    """An empty figure that needs no display, with the notice at its foot.

    Args:
        width: In inches, at 110 dots per inch.
        height: The same.

    Example:
        >>> plain_figure(4, 3).get_size_inches().tolist()
        [4.0, 3.0]
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    figure.supxlabel(NOTICE, fontsize=6, color="0.35")
    return figure


def calibration_plot(path: Path, curves: dict[str, Any]) -> None:
    """Draw :func:`calibration_figure` into a file.

    Args:
        path: PNG file.
        curves: Class to ``predicted``, ``observed`` and ``expected_calibration_error``.

    Raises:
        OutputError: It cannot be written.
    """
    with atomic_write(path) as temporary:
        calibration_figure(curves).savefig(temporary, format="png", bbox_inches="tight")
