"""The fusion comparison: table, intervals and picture grids, for every modality whose data are at hand.

Run ``make figures`` with ``SCALEFUSE_DATA`` naming the data folder. Written to ``docs/results``: the table
with its intervals (``fusion.md``, ``fusion.json``) and grids of drawn phantoms. Grids of patients' pictures
go to ``build/figures`` and are not committed, since the data's terms do not allow it.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.progress import track

from scalefuse.data.phantom import head_phantom, pet_phantom
from scalefuse.data.write import write_image
from scalefuse.fusion import GUIDED, STRATEGIES
from scalefuse.inference.fuser import DEFAULT_STRATEGY
from scalefuse.metrics import FUSION_METRIC_DEFINITIONS
from scalefuse.report.tables import markdown_table
from scalefuse.workflows.evaluate_fusion import evaluate

ROOT = Path(__file__).resolve().parents[1]
RESULTS, PRIVATE = ROOT / "docs" / "results", ROOT / "build" / "figures"
METRICS = ("VIF", "Qabf", "SSIM", "SCD", "MI", "EN", "SD", "SF", "AG", "PSNR")
METHODS = (DEFAULT_STRATEGY, *(name for name in (*GUIDED, *STRATEGIES) if name != DEFAULT_STRATEGY))
SETS = {
    "CT-MRI": ("aanlib-ct-mri", "val", "CT", "validation subjects, none of them trained on"),
    "SPECT-MRI": ("aanlib-spect-mri", "val", "SPECT", "validation subjects, none of them trained on"),
    "PET-MRI": ("aanlib-pet-mri", "train", "PET", "subjects that were trained on: there are no others"),
}


def data_folder() -> Path | None:
    """The data folder named by ``SCALEFUSE_DATA``, or the one beside the repository, or None."""
    candidates = [os.environ.get("SCALEFUSE_DATA"), ROOT.parent / "shared" / "data"]
    return next((Path(path) for path in candidates if path and Path(path).is_dir()), None)


def compare(name: str, data: Path) -> dict[str, Any]:
    """Measure all strategies and baselines on one modality; the sheet of patients goes to ``build``."""
    folder, split, modality, who = SETS[name]
    source = data / folder / split
    total = len(list((source / modality).iterdir()))
    cases = iter(track(range(total), description=name))
    result = evaluate(
        source / modality,
        source / "MRI",
        PRIVATE / name,
        strategies=METHODS,
        metrics=METRICS,
        on_case=lambda case: next(cases, None),
    )
    return {"who": who, **result.summary}


def section(name: str, summary: dict[str, Any]) -> str:
    """Markdown of one modality: means, then the default's paired differences from the others."""
    rows = []
    for method, values in summary["methods"].items():
        label = f"**{method}**" if method == DEFAULT_STRATEGY else method
        rows.append([label, *(f"{values[metric]['mean']:.3f}" for metric in METRICS)])
    lines = [
        f"## {name}",
        "",
        f"{summary['num_cases']} pairs, {summary['who']}. Means:",
        "",
        markdown_table(["method", *METRICS], rows),
        "",
        f"Paired differences, `{DEFAULT_STRATEGY}` minus the other, with bootstrap 95 % intervals:",
        "",
    ]
    judged = ("VIF", "Qabf", "SSIM", "SCD")
    rows = []
    for method, values in summary[f"{DEFAULT_STRATEGY} minus"].items():
        cells = [
            f"{values[m]['mean']:+.3f} ({values[m]['low']:+.3f}, {values[m]['high']:+.3f})" for m in judged
        ]
        rows.append([method, *cells])
    return "\n".join([*lines, markdown_table(["other method", *judged], rows), ""])


def phantom_grid() -> None:
    """Fuse drawn heads and keep the sheet: the only pictures that may be shown to everybody."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for modality in ("CT", "MRI", "PET"):
            (folder / modality).mkdir()
        for seed in range(3):
            phantom = head_phantom(seed=seed)
            name = f"head{seed + 1}.png"
            write_image(folder / "CT" / name, ((phantom.ct_hu + 200) / 1500).clip(0, 1), bits=8)
            write_image(folder / "MRI" / name, phantom.mri, bits=8)
            write_image(folder / "PET" / name, pet_phantom(seed=seed), bits=8)
        for modality in ("CT", "PET"):
            out = folder / f"out-{modality}"
            chosen = (DEFAULT_STRATEGY, "softmax_nuclear_norm", "feature_energy_ratio")
            evaluate(folder / modality, folder / "MRI", out, strategies=chosen, metrics=("VIF",))
            (RESULTS / f"phantom-{modality.lower()}-mri.png").write_bytes((out / "sheet.png").read_bytes())


def main() -> int:
    """Make everything that the data at hand allow."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    phantom_grid()
    data = data_folder()
    if data is None:
        print("No data folder (set SCALEFUSE_DATA): only the phantom grids were made.", file=sys.stderr)
        return 0
    summaries = {name: compare(name, data) for name in SETS if (data / SETS[name][0]).is_dir()}
    (RESULTS / "fusion.json").write_text(json.dumps(summaries, indent=1) + "\n")
    definitions = "\n".join(f"- **{name}**: {FUSION_METRIC_DEFINITIONS[name]}" for name in METRICS)
    text = [
        "# Fusion strategies compared",
        "",
        "Made by `make figures` with the weights that come with ScaleFuse. "
        f"`{DEFAULT_STRATEGY}` is the default; `softmax_nuclear_norm` is the paper's; names with "
        "`baseline:` do not use the network. Measured on what is written: 8-bit luma. "
        "Data: Whole Brain Atlas (AANLIB), for research and education only.",
        "",
        *(section(name, summary) for name, summary in summaries.items()),
        "## Drawn heads",
        "",
        "![CT and MRI](phantom-ct-mri.png)",
        "",
        "![PET and MRI](phantom-pet-mri.png)",
        "",
        "## Definitions",
        "",
        definitions,
        "",
    ]
    (RESULTS / "fusion.md").write_text("\n".join(text))
    print(f"written: {RESULTS}; sheets of patients: {PRIVATE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
