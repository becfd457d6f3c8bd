"""Markdown and plots of results, and from all of them the documentation's page on speed.

``python -m benchmarks.page`` writes the page anew from ``benchmarks/results``.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from benchmarks import nuclear_norm
from benchmarks.measuring import describe_machine
from benchmarks.plots import curves_plot, scaling_plot, speed_plot
from benchmarks.tables import (
    command_lines,
    comparison_lines,
    curve_lines,
    machine_lines,
    ratio_lines,
    scaling_lines,
    window_lines,
)
from scalefuse.report.tables import write_json

ROOT = Path(__file__).resolve().parents[1]
RESULTS, DOCS = ROOT / "benchmarks" / "results", ROOT / "docs" / "results"
PAGE = "speed.md"
KINDS = {
    "bench": "On the processor",
    "bench-full": "Growth, loss curves, compiled networks",
    "bench-gpu": "On a GPU",
}
"""Stem of a result's files to its heading."""

INTRODUCTION = """# Speed

Every number here is written by the command that stands beside it. Paths are run in turn (A B C A B C …) in
one process, with a short pause before each, so that a busy moment slows all of them; **only ratios within one
run mean anything**, and speed-ups are medians of the ratios of single turns. The reference, `plain`, is the
same network with the same weights in eager float32 PyTorch, written as the paper's formulas stand
(`benchmarks/reference`); tests hold it to the package's results and gradients, so that no slow baseline
flatters. In training steps the reference has AdamW as PyTorch makes it by default, the package its fused
form, which is part of the ratio. Beside each speed stands how far the outputs are from the reference's.

- *GFLOP/s* counts two operations for each multiply-accumulate of convolutions and products, nothing else.
- *of ceiling* is that over the better of a 2048² matrix product and a 3×3 convolution from 64 to 64 channels
  on 256², in the same number type and timed in the same turns.
- *memory* is how far resident memory rose while the path was made and first run. *first result* is the time
  until then: engines that convert a network pay it once per process.

bf16 gains most where the processor multiplies it in tiles (AMX); with AVX-512 bf16 its ceiling is about twice
that of float32, and no path can gain more from it.
"""


def section_lines(results: dict[str, Any]) -> list[str]:
    """Everything of one result, without its heading."""
    stem = results["kind"]
    lines = machine_lines(results)
    if results.get("comparisons") or results.get("training"):
        lines += [f"![Speed-up of every path]({stem}.png)", ""]
    for section in results.get("comparisons", []):
        lines += [*comparison_lines(section), *ratio_lines(section)]
    for section in results.get("training", []):
        lines += comparison_lines(section)
    if results.get("commands"):
        lines += command_lines(results["commands"])
    if results.get("nuclear_norms"):
        header = nuclear_norm.HEADER
        lines += ["### Largest nuclear norms", "", header, *results["nuclear_norms"], ""]
    if results.get("scaling"):
        lines += scaling_lines(results["scaling"])
    if results.get("windows"):
        lines += window_lines(results["windows"])
    if results.get("scaling"):
        lines += [f"![Cost as work grows]({stem}-scaling.png)", ""]
    if results.get("curves"):
        lines += [*curve_lines(results["curves"]), f"![Loss curves]({stem}-curves.png)", ""]
    return lines


def standing_result(folder: Path, kind: str) -> dict[str, Any] | None:
    """The result that ``--only`` will add to; none where none stands.

    Raises:
        SystemExit: It is of another machine or other packages, so that a part of it cannot be measured here.
    """
    file = folder / f"{kind}.json"
    if not file.is_file():
        return None
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    if found.get("machine") != describe_machine() or found.get("kind") != kind:
        raise SystemExit(
            f"error: {file} is of another machine or other packages, and would be lost; write into a folder "
            "of your own (-o), or measure everything (without --only)."
        )
    return found


def with_added(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """An older result in which some measurements were made anew, or for the first time.

    Every measurement is whole: its reference and ceilings are of the same turns.

    Args:
        old: What stands there.
        new: What ``--only`` measured, on the same machine.

    """
    found = dict(old)
    added: set[str] = set()
    for part in ("comparisons", "training"):
        sections = {section["name"]: section for section in old.get(part, [])}
        sections |= {section["name"]: section for section in new.get(part, [])}
        added |= {section["name"] for section in new.get(part, [])}
        if sections:
            found[part] = list(sections.values())
    for part in ("commands", "nuclear_norms", "scaling", "windows", "curves"):
        if part in new:
            found[part] = new[part]
            added.add(part)
    found["left_out"] = [name for name in old.get("left_out", []) if name not in added]
    found["added"] = [*old.get("added", []), {key: new[key] for key in ("command", "date", "load_average")}]
    return found


def write_results(folder: Path, results: dict[str, Any]) -> list[Path]:
    """Write JSON, Markdown and plots of one result; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = results["kind"]
    written = [folder / f"{stem}.json", folder / f"{stem}.md"]
    write_json(written[0], results)
    written[1].write_text("\n".join([f"# {KINDS[stem]}", *section_lines(results)]), encoding="utf-8")
    compared = [*results.get("comparisons", []), *results.get("training", [])]
    if compared:
        written.append(folder / f"{stem}.png")
        speed_plot(written[-1], compared)
    if results.get("scaling"):
        written.append(folder / f"{stem}-scaling.png")
        scaling_plot(written[-1], results["scaling"], results.get("windows", []))
    if results.get("curves"):
        written.append(folder / f"{stem}-curves.png")
        curves_plot(written[-1], results["curves"])
    return written


def write_page(results: Path = RESULTS, docs: Path = DOCS) -> Path:
    """Write the documentation's page from all results that are there, and copy their plots beside it."""
    docs.mkdir(parents=True, exist_ok=True)
    lines = [INTRODUCTION]
    for stem, heading in KINDS.items():
        file = results / f"{stem}.json"
        found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        lines += [f"## {heading}", ""]
        if found.get("kind") != stem:
            lines += [_missing(stem), ""]
            continue
        lines += section_lines(found)
        for plot in results.glob(f"{stem}*.png"):
            if plot.resolve().parent != docs.resolve() and _stem_of(plot) == stem:
                shutil.copyfile(plot, docs / plot.name)
    page = docs / PAGE
    page.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    return page


def _stem_of(plot: Path) -> str:
    return max((stem for stem in KINDS if plot.name.startswith(stem)), key=len)


def _missing(stem: str) -> str:
    if stem == "bench-gpu":
        return "Not measured yet: `make bench` does it where it finds a CUDA device."
    return f"Not measured yet: `make {stem}` does it."


if __name__ == "__main__":
    print(write_page())
    sys.exit(0)
