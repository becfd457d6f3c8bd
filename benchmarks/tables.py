"""Results as Markdown: what ``bench.md`` and the documentation's page on speed show."""

from __future__ import annotations

from typing import Any

from benchmarks.scaling import growth_exponent
from scalefuse.report.tables import markdown_table

KEYS = {"sides": "side", "batches": "batch", "folders": "pictures"}
_AGREEMENT = {
    "max_difference": "largest difference {:.2g}",
    "within_1_grey_level": "{:.2%} of pixels within 1/255",
    "within_4_grey_levels": "{:.2%} within 4/255",
    "largest_measure_change": "measures change by at most {:.2g} of their value",
    "dice_mean": "Dice mean {:.5f}",
    "dice_min": "least {:.5f}",
    "mean_difference": "mean difference {:.2g}",
    "top1_same": "same class {:.2%}",
    "first_loss_difference": "first loss differs by {:.2g} of it",
    "pictures": "on {}",
}
LOW_SHARE = 0.5


def machine_lines(results: dict[str, Any]) -> list[str]:
    """Who measured, when, and how busy the machine was."""
    machine = results["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    load = results["load_average"]
    where = f" on {machine['gpu']}, with" if machine.get("gpu") else " on"
    minutes = f"{results['seconds'] / 60:.0f} minutes"
    lines = [
        f"Measured {results['date']} by `{results['command']}` in {minutes}{where} "
        f"{machine['processor']} (family, model, stepping {machine['family']}), {machine['cores']} cores, "
        f"{machine['threads']} threads, {machine['memory_gib']} GiB; "
        f"{', '.join(machine['instructions']) or 'no vector instructions known'}; "
        f"{machine['system']}; {packages}."
    ]
    if load["before"] is not None:
        busy = load["before"] > machine["threads"] / 2
        note = ": **the machine was busy with other work; only the ratios mean anything**" if busy else ""
        lines.append(f"Load average {load['before']} before and {load['after']} after{note}.")
    if results.get("left_out"):
        lines.append(f"Left out, because the time was up: {', '.join(results['left_out'])}.")
    for added in results.get("added", []):
        load = added["load_average"]["before"]
        lines.append(f"Added {added['date']} by `{added['command']}`; load average {load} before.")
    return ["", *(line + "\n" for line in lines)]


def comparison_lines(section: dict[str, Any]) -> list[str]:
    """One comparison: ceilings, rows, and where the time goes."""
    peaks = "; ".join(
        f"{precision} " + ", ".join(f"{kind} {rate:.0f}" for kind, rate in kinds.items())
        for precision, kinds in section["ceilings"].items()
    )
    lines = [
        f"### {section['title']}",
        "",
        f"{section['turns']} interleaved turns; reference: {section['reference']}. Ceilings measured in the "
        f"same turns, GFLOP/s: {peaks}. Outputs compared on: {section['checked_on']}.",
        "",
        markdown_table(
            [
                *("path", "median, ms", "range, ms", "speed-up", "range", "images/s"),
                *("GFLOP/s", "of ceiling", "memory, GiB", "first result, s", "outputs against the reference"),
            ],
            [_row(row) for row in section["rows"]],
        ),
        "",
    ]
    return [*lines, *_explanation(section)]


def _row(row: dict[str, Any]) -> list[str]:
    if "median" not in row:
        return [row["path"], *["–"] * 9, row["error"].replace("|", "/")]
    speed_up = row["speed_up"]
    agreement = "; ".join(
        text.format(row["agreement"][key])
        for key, text in _AGREEMENT.items()
        if row["agreement"].get(key) is not None
    )
    return [
        row["path"],
        _ms(row["median"]),
        f"{_ms(row['low'])}–{_ms(row['high'])}",
        f"{speed_up['median']:.2f}×",
        f"{speed_up['low']:.2f}–{speed_up['high']:.2f}",
        f"{row['images_per_second']:.1f}",
        _or_dash(row.get("gflops"), ".0f"),
        _or_dash(row.get("share"), ".0%"),
        _or_dash(row.get("memory_gib"), ".2f"),
        _or_dash(row.get("first_result_seconds"), ".1f"),
        agreement or "is the reference",
    ]


def _explanation(section: dict[str, Any]) -> list[str]:
    """Of the profiled rows, how their time splits up; and by that why rows are far from the ceiling."""
    rows = [row for row in section["rows"] if "breakdown" in row]
    if not rows:
        return []
    kinds = list(rows[0]["breakdown"])
    lines = []
    for row in rows:
        shares = row["breakdown"]
        rate = row["gflops"] / shares["products"] if row.get("gflops") and shares["products"] else None
        ceiling = max(section["ceilings"][row["precision"]].values())
        lines.append(
            [
                row["path"],
                *(f"{shares[kind]:.0%}" for kind in kinds),
                _or_dash(rate, ".0f"),
                _or_dash(rate and rate / ceiling, ".0%"),
            ]
        )
    header = ["path", *kinds, "GFLOP/s of the products alone", "of ceiling"]
    low = [
        row["path"] for row in section["rows"] if row.get("share") is not None and row["share"] < LOW_SHARE
    ]
    text = ["Where the time of the paths that torch computes goes (profiled once):", ""]
    text += [markdown_table(header, lines), ""]
    if low:
        text += [f"Below {LOW_SHARE:.0%} of the ceiling: {', '.join(low)}. {why_low(section['name'])}", ""]
    return text


def why_low(name: str) -> str:
    """What keeps a network's paths below the ceiling, apart from the table of where its time goes."""
    for key, text in _WHY.items():
        if key in name:
            return text
    return ""


_WHY = {
    "train": (
        "A step also normalises, activates and keeps what the backward pass needs, sums gradients, and "
        "updates every weight: all of that moves memory and multiplies little. The ceiling is a forward "
        "convolution's."
    ),
    "dilran": (
        "The package's paths compute less than half of the plain path's operations (composed layers, see the "
        "page on DILRAN), so that what does not multiply weighs more: instance normalisation, attention and "
        "strategy each pass over 64 maps of the picture's size, and the first convolution has three input "
        "channels only. The paper's strategy also decomposes matrices in double precision, which the count "
        "of operations here leaves out."
    ),
    "msrf_net": (
        "Most of its dense convolutions give 16 to 64 channels from up to 128, at full width, and half of "
        "that in the shipped model: too few to fill wide registers or tiles. Concatenations, leaky ReLUs and "
        "the attention gates pass over memory and multiply nothing."
    ),
    "hifuse": (
        "Depthwise convolutions, layer normalisations, window attention over 49 tokens with its partitions, "
        "and GELUs take time but few operations; and the last stages' weights, most of all, are read "
        "once for only 7×7 positions or fewer, so that a small batch waits for memory. At a third of the "
        "width and 64×64 pixels most layers are over before all threads have begun."
    ),
}


def command_lines(section: dict[str, Any]) -> list[str]:
    """Whole commands."""
    rows = [
        [
            f"`{row['words']}`",
            f"{row['pictures']}",
            f"{row['median']:.2f}",
            f"{row['low']:.2f}–{row['high']:.2f}",
            f"{row['peak_memory_gib']:.2f}",
        ]
        for row in section["rows"]
    ]
    lines = [
        "### Whole commands, cold start included",
        "",
        f"Pictures of {section['side']}×{section['side']}; every run is a new process that writes anew.",
        "",
        markdown_table(["command", "pictures", "median, s", "range, s", "peak memory, GiB"], rows),
        "",
    ]
    pictures = [
        [
            f"{row['what']} ({row['engine']})",
            _ms(row["further_picture"]["median"]),
            _ms(row["network_alone"]["median"]),
            f"{row['further_picture']['median'] / row['network_alone']['median']:.2f}",
        ]
        for row in section["pictures"]
    ]
    if pictures:
        header = ["command", "a further picture, ms", "its network alone, ms", "ratio"]
        text = "What a further picture costs, from reading to writing, beside its network alone:"
        lines += [text, "", markdown_table(header, pictures), ""]
    return lines


def ratio_lines(section: dict[str, Any]) -> list[str]:
    """How much dearer the default strategy is than the cheapest, engine by engine."""
    if not section.get("default_over_cheap"):
        return []
    rows = [
        [engine, f"{ratio['median']:.2f}×", f"{ratio['low']:.2f}–{ratio['high']:.2f}"]
        for engine, ratio in section["default_over_cheap"].items()
    ]
    text = "A pair by the default strategy over the same pair by `feature_energy_ratio`:"
    return [text, "", markdown_table(["engine", "time", "range"], rows), ""]


def scaling_lines(scaling: dict[str, Any]) -> list[str]:
    """Series and their growth."""
    rows = []
    for kind, key in KEYS.items():
        for name, series in scaling[kind].items():
            slope = growth_exponent(series, key)
            if slope is not None and key == "side":
                slope /= 2
            points = ", ".join(
                f"{row[key]}: {row['seconds']:.3g} s" if row["seconds"] else f"{row[key]}: {row['left_out']}"
                for row in series
            )
            rows.append([name, "pixels" if key == "side" else key, points, _or_dash(slope, ".2f")])
    return [
        "### Cost as work grows",
        "",
        "Growth is the slope in a double logarithmic plot, without points below 0.05 s: 1 is in proportion.",
        "",
        markdown_table(["what", "over", "seconds", "growth"], rows),
        "",
    ]


def window_lines(windows: list[dict[str, Any]]) -> list[str]:
    """Memory of the sliding window."""
    rows = [
        [
            f"{row['side']}",
            f"{row['results_gib'] * 1024:.1f}",
            *(
                _or_dash(row[key] and row[key] * 1024, ".0f")
                for key in ("beyond_gib", "beyond_with_cleaning_gib")
            ),
        ]
        for row in windows
    ]
    header = [
        "side",
        "mask and probability, MiB",
        "beyond these and the picture, MiB",
        "the same with the mask cleaned, MiB",
    ]
    text = (
        "Memory of the sliding window (windows of 512). The windows hold one row of themselves, which grows "
        "with the width. Cleaning a mask numbers its objects, 4 bytes a pixel."
    )
    return [text, "", markdown_table(header, rows), ""]


def curve_lines(curves: list[dict[str, Any]]) -> list[str]:
    """Loss curves in numbers."""
    rows = []
    for curve in curves:
        seeds = len(next(iter(curve["losses"].values())))
        rows.append(
            [
                f"{curve['title']}, {seeds} seeds",
                f"{curve['fp32_mean']:.4g}",
                _or_dash(curve["fp32_between_seeds"], ".2g"),
                _or_dash(curve.get("bf16_minus_fp32"), "+.2g"),
                _or_dash(curve.get("bf16_minus_fp32_largest"), ".2g"),
            ]
        )
    header = [
        "training",
        "fp32, mean loss",
        "fp32, deviation between seeds",
        "bf16 minus fp32",
        "largest of a seed",
    ]
    steps, last = len(next(iter(curves[0]["losses"].values()))[0]), curves[0]["last_steps"]
    return [
        "### Loss, bf16 against fp32",
        "",
        f"{steps} steps from the same start on the same batches; means over the last {last}.",
        "",
        markdown_table(header, rows),
        "",
    ]


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3g}" if seconds < 1 else f"{seconds * 1e3:.0f}"


def _or_dash(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
