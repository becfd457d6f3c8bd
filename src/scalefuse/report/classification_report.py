"""The evaluation of a classifier as one HTML page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from scalefuse.report.html import Figure, Section, write_report
from scalefuse.report.sheet import NOTICE
from scalefuse.report.tables import markdown_table, number_measured

_CAPTIONS = {
    "confusion": "Confusion matrix; shade: share of the true class",
    "roc": "ROC curves",
    "precision-recall": "Precision-recall curves",
    "reliability": "Reliability of the probabilities",
}
_OF_CLASSES = ("recall", "specificity", "precision", "f1", "auroc", "auprc")


def write_classification_report(
    path: Path,
    summary: Mapping[str, Any],
    plots: Mapping[str, NDArray[Any]],
    *,
    title: str,
    cases: Sequence[Figure] = (),
    cases_title: str = "Cases",
) -> None:
    """Write the page.

    Args:
        path: HTML file.
        summary: What ``summary.json`` holds.
        plots: Pictures of :func:`~scalefuse.report.classification_plots.classification_figures`, by name.
        title: Heading of the page.
        cases: Pictures to look at, with captions.
        cases_title: What they show.

    Raises:
        OutputError: It cannot be written.
    """
    definitions = summary["definitions"]
    measures = [
        [name.replace("_", " "), estimate(entry), definitions.get(name, "")]
        for name, entry in summary["overall"].items()
    ]
    sections = [
        Section(
            "Measures",
            f"Means over {number_measured(summary)} cases with 95 % intervals: percentiles of the bootstrap "
            "over cases; DeLong's for the area under the ROC curve of one class. "
            + " ".join(summary.get("notes", ())),
            table=_table(["measure", "value (interval)", "definition"], measures),
        ),
        Section("Classes", "Each class against the rest.", table=_classes(summary)),
        Section("Plots", figures=[Figure(_CAPTIONS[name], plot) for name, plot in plots.items()]),
    ]
    if "prediction_sets" in summary:
        several = summary["kind"] == "multi-label"
        sections.append(_sets(summary["prediction_sets"], several))
    sections += [_point(point) for point in summary.get("operating_points", ())]
    if cases:
        sections.append(Section(cases_title, figures=cases))
    lead = f"{summary['source']}, split {summary['split']}, {number_measured(summary)} cases. "
    write_report(
        path, title=title, lead=lead + f"Decision: {summary['decision']}. {NOTICE}", sections=sections
    )


def estimate(entry: Mapping[str, Any] | None, digits: int = 3) -> str:
    """A value with its interval, or a dash where it is undefined.

    Example:
        >>> estimate({"value": 0.91234, "low": 0.9, "high": 0.92}), estimate({"value": float("nan")})
        ('0.912 (0.900–0.920)', '–')
    """
    if entry is None or entry["value"] is None or math.isnan(entry["value"]):
        return "–"
    low, high = entry["low"], entry["high"]
    if low is None or math.isnan(low):
        return f"{entry['value']:.{digits}f}"
    return f"{entry['value']:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def _classes(summary: Mapping[str, Any]) -> str:
    rows = [
        [label, str(entries["cases"]), *(estimate(entries[name]) for name in _OF_CLASSES)]
        for label, entries in summary["per_class"].items()
    ]
    header = ["class", "cases", "recall (sensitivity)", *_OF_CLASSES[1:]]
    return _table(header, rows)


def _sets(sets: Mapping[str, Any], several: bool) -> Section:
    rows = [["all", estimate(sets["coverage"]), str(sets["coverage"]["n"])]]
    rows += [[label, estimate(entry), str(entry["n"])] for label, entry in sets["coverage_per_class"].items()]
    sizes = ", ".join(f"{size}: {count}" for size, count in enumerate(sets["sizes"]) if count)
    share = f"{100 * sets['promised']:g} %"
    if several:
        wanted = f"Sets that should hold each label in {share} of the cases that have it."
        promised = "The promise is for each label by itself, of cases drawn as the calibration cases were."
        header = ["label", "coverage (interval)", "labels present"]
    else:
        wanted = f"Sets that should hold the true class in {share} of cases."
        promised = (
            "The promise is for all cases together, drawn as the calibration cases were; nothing is promised "
            "for one class."
        )
        header = ["true class", "coverage (interval)", "cases"]
    return Section(
        "Prediction sets",
        f"{wanted} Mean size {sets['mean_size']:.2f}; number of cases by size of their set: {sizes}. "
        + promised,
        table=_table(header, rows),
    )


def _point(point: Mapping[str, Any]) -> Section:
    names = ("sensitivity", "specificity", "positive_predictive_value", "negative_predictive_value")
    rows = [
        [label, f"{entry['threshold']:.4g}", *(estimate(entry[name]) for name in names)]
        for label, entry in point["classes"].items()
    ]
    return Section(
        f"Operating point for a sensitivity of {point['required']:g} ({point['origin']})",
        "The class is called from the threshold on, which was chosen on calibration cases. Predictive values "
        "are those at the share of the class in this data set.",
        table=_table(["class", "threshold", *(name.replace("_", " ") for name in names)], rows),
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    # A bar would end the cell.
    return markdown_table(header, [[cell.replace("|", "∣") for cell in row] for row in rows])
