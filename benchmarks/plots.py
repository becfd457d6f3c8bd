"""Results as pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tables import KEYS
from scalefuse.report.curves import plain_figure


def speed_plot(path: Path, sections: list[dict[str, Any]]) -> None:
    """One panel per comparison: speed-up of every path, with its range over the turns."""
    height = sum(0.9 + 0.26 * len(section["rows"]) for section in sections)
    figure = plain_figure(9, max(3, height))
    panels = figure.subplots(
        len(sections), 1, squeeze=False, height_ratios=[2 + len(section["rows"]) for section in sections]
    )[:, 0]
    for panel, section in zip(panels, sections, strict=True):
        rows = [row for row in section["rows"] if "median" in row]
        middle = np.array([row["speed_up"]["median"] for row in rows])
        low, high = (np.array([row["speed_up"][key] for row in rows]) for key in ("low", "high"))
        colours = ["0.6" if row["path"] == section["reference"] else "#2f6f9f" for row in rows]
        places = np.arange(len(rows))
        errors = np.stack([middle - low, high - middle]).clip(min=0)
        panel.barh(places, middle, xerr=errors, color=colours, ecolor="0.2", capsize=2, height=0.7)
        panel.set_yticks(places, [row["path"] for row in rows], fontsize=7)
        panel.invert_yaxis()
        panel.axvline(1, color="0.3", linewidth=0.8)
        panel.tick_params(axis="x", labelsize=7)
        panel.set_title(section["title"], fontsize=8, loc="left")
    panels[-1].set_xlabel("times as fast as the plain formulation in fp32", fontsize=8)
    figure.savefig(path, format="png")


def scaling_plot(path: Path, scaling: dict[str, Any], windows: list[dict[str, Any]]) -> None:
    """Time over side, batch and folder, double logarithmic with lines of growth in proportion; memory."""
    figure = plain_figure(11, 8)
    (top_left, top_right), (low_left, low_right) = figure.subplots(2, 2)
    panels = {"sides": top_left, "batches": top_right, "folders": low_left}
    for kind, panel in panels.items():
        key = KEYS[kind]
        for name, series in scaling[kind].items():
            points = [(row[key], row["seconds"]) for row in series if row["seconds"]]
            if not points:
                continue
            x, y = np.array(points, dtype=float).T
            apart = "nuclear" in name
            line = panel.plot(x, y, marker="o", markersize=4, linestyle="--" if apart else "-", label=name)[0]
            # Through the last point: short runs hold more overhead than growth.
            power = 2 if key == "side" else 1
            panel.plot(x, y[-1] * (x / x[-1]) ** power, color=line.get_color(), linewidth=0.8, linestyle=":")
        panel.set(xscale="log", yscale="log", ylabel="seconds")
        panel.set_xlabel(
            {"side": "side of the picture, pixels", "batch": "batch", "pictures": "pictures"}[key]
        )
        if scaling[kind]:
            panel.legend(fontsize=7)
            values = [row[key] for row in next(iter(scaling[kind].values()))]
            panel.set_xticks(values, [str(value) for value in values])
            panel.minorticks_off()
    top_left.set_title("dotted: growth in proportion to the pixels", fontsize=8)
    top_right.set_title("dotted: growth in proportion to the batch", fontsize=8)
    low_left.set_title("whole commands; dotted: growth in proportion", fontsize=8)
    rows = [row for row in windows if row["beyond_gib"] is not None]
    side = [row["side"] for row in rows]
    for key, marker, colour, label in (
        ("beyond_gib", "o", "#2f6f9f", "beyond picture and results"),
        ("beyond_with_cleaning_gib", "^", "#c04a2b", "with the mask cleaned"),
        ("results_gib", "s", "0.6", "mask and probability"),
    ):
        low_right.plot(side, [row[key] * 1024 for row in rows], marker=marker, color=colour, label=label)
    low_right.set(xscale="log", ylabel="MiB", xlabel="side of the picture, pixels", ylim=(0, None))
    low_right.set_xticks(side, [str(value) for value in side])
    low_right.minorticks_off()
    low_right.legend(fontsize=7)
    low_right.set_title("memory of the sliding window", fontsize=8)
    figure.savefig(path, format="png")


def curves_plot(path: Path, curves: list[dict[str, Any]]) -> None:
    """Losses over steps; one thin line per seed, a thick one for their mean."""
    figure = plain_figure(11, 3.6)
    panels = figure.subplots(1, len(curves), squeeze=False)[0]
    for panel, curve in zip(panels, curves, strict=True):
        for colour, (name, runs) in zip(("0.35", "#c04a2b"), curve["losses"].items(), strict=False):
            steps = np.arange(1, len(runs[0]) + 1)
            for run in runs:
                panel.plot(steps, run, color=colour, linewidth=0.5, alpha=0.5)
            panel.plot(steps, np.mean(runs, axis=0), color=colour, linewidth=1.6, label=name)
        panel.set(xlabel="step", ylabel="loss", yscale="log")
        panel.set_title(curve["title"], fontsize=8)
        panel.legend(fontsize=7)
    figure.savefig(path, format="png")
