"""What ``scalefuse evaluate`` prints."""

from __future__ import annotations

from typing import Any


def print_fusion(result: Any) -> None:
    """Means of every method."""
    from scalefuse.cli.console import err, means_table, out
    from scalefuse.report.tables import number_measured

    metrics = list(result.evaluation.metrics)
    out.print(
        means_table(result.summary, metrics, title=f"Means over {number_measured(result.summary)} pairs")
    )
    unmeasured = result.evaluation.notes
    for note in [*(note for note in result.summary["notes"] if note not in unmeasured), *unmeasured[:5]]:
        err.print(note, style="dim", markup=False)
    if len(unmeasured) > 5:
        err.print(f"… and {len(unmeasured) - 5} more, see summary.json", style="dim", markup=False)


def print_masks(result: Any) -> None:
    """Per-image means, pooled values, best thresholds."""
    from rich.table import Table

    from scalefuse.cli.console import err, out
    from scalefuse.report.tables import number_measured

    summary = result.summary
    title = f"{number_measured(summary)} cases of {summary['split']}; distances in {summary['distance_unit']}"
    table = Table(title=title, title_justify="left")
    for column in ("measure", *summary["per_image"]):
        table.add_column(column, justify="left" if column == "measure" else "right")
    for measure in next(iter(summary["per_image"].values())):
        cells = [values[measure] for values in summary["per_image"].values()]
        table.add_row(measure, *(f"{v['mean']:.4f} ({v['low']:.4f}–{v['high']:.4f})" for v in cells))
    table.add_section()
    for measure in next(iter(summary["pooled"].values())):
        cells = [values.get(measure) for values in summary["pooled"].values()]
        cells += [None] * (len(summary["per_image"]) - len(cells))
        table.add_row(measure, *("" if value is None else f"{value:.4f}" for value in cells))
    out.print(table)
    for label, best in summary.get("best_threshold", {}).items():
        out.print(
            f"best threshold for {label}: {best['threshold']:g} (mean Dice {best['dice']:.4f})", markup=False
        )
    for note in summary.get("notes", []):
        err.print(note, style="dim", markup=False)


def print_classes(result: Any) -> None:
    """Overall measures, those of each class, prediction sets and operating points."""
    from rich.markup import escape
    from rich.table import Table

    from scalefuse.cli.console import err, out
    from scalefuse.report.classification_report import estimate
    from scalefuse.report.tables import number_measured

    summary = result.summary
    title = f"{number_measured(summary)} cases of {summary['split']}; decision: {summary['decision']}"
    table = Table(title=escape(title), title_justify="left")
    table.add_column("measure")
    table.add_column("value (95 % interval)", justify="right", no_wrap=True)
    for name, entry in summary["overall"].items():
        table.add_row(name, estimate(entry))
    out.print(table)
    table = Table()
    for column in ("class", "cases", "recall", "specificity", "precision", "f1", "auroc", "auprc"):
        table.add_column(column, justify="left" if column == "class" else "right")
    for label, entries in summary["per_class"].items():
        values = (
            entries[name]["value"] for name in ("recall", "specificity", "precision", "f1", "auroc", "auprc")
        )
        table.add_row(
            escape(label),
            str(entries["cases"]),
            *("–" if value != value else f"{value:.3f}" for value in values),
        )
    out.print(table)
    sets = summary.get("prediction_sets")
    if sets is not None:
        out.print(
            f"prediction sets for a coverage of {sets['promised']:g}: hold the truth in "
            f"{estimate(sets['coverage'])}, mean size {sets['mean_size']:.2f}",
            markup=False,
        )
    for point in summary["operating_points"]:
        for label, entry in point["classes"].items():
            out.print(
                f"{label} from {entry['threshold']:.4g} on ({point['origin']}, for {point['required']:g}): "
                f"sensitivity {estimate(entry['sensitivity'])}, specificity {estimate(entry['specificity'])}",
                markup=False,
            )
    for note in summary["notes"]:
        err.print(note, style="dim", markup=False)
