"""The main jobs on data that come along: drawn heads fused, nuclei segmented, x-rays classified."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalefuse.bundle import load_bundle
from scalefuse.data.atomic import check_writable_folder
from scalefuse.data.phantom import head_phantom, pet_phantom
from scalefuse.data.read import read_image
from scalefuse.data.write import write_image
from scalefuse.inference.classifier import Classifier
from scalefuse.report.heatmap import heat_overlay
from scalefuse.report.html import Figure, Section, write_report
from scalefuse.report.overlay import overlay
from scalefuse.report.tables import markdown_table
from scalefuse.workflows.classify import classify
from scalefuse.workflows.evaluate_classification import evaluate as evaluate_classification
from scalefuse.workflows.evaluate_fusion import evaluate
from scalefuse.workflows.evaluate_segmentation import evaluate as evaluate_segmentation
from scalefuse.workflows.fuse import fuse
from scalefuse.workflows.predict import PredictOptions, predict

SAMPLES = Path(__file__).parent.parent / "samples"
NUCLEI_MODEL = "msrf-net-nuclei"
X_RAY_MODEL = "hifuse-pneumoniamnist"
CT_RANGE = "range:-200:1300"
METRICS = ("VIF", "Qabf", "SSIM", "SCD", "MI")
_NUM_HEADS = 2


@dataclass(frozen=True)
class DemoResult:
    """Where the demo's results lie.

    Attributes:
        folder: All files.
        report: The page to open first.
    """

    folder: Path
    report: Path


def demo(output: Path, *, say: Callable[[str], None] = lambda line: None) -> DemoResult:
    """Fuse drawn heads as CT/MRI and PET/MRI, segment nuclei, classify x-rays, and write a page about it.

    Args:
        output: Folder for everything.
        say: Called with lines on what is being done.

    Raises:
        OutputError: The folder is not writable.
    """
    folder = check_writable_folder(output)
    say("Drawing head phantoms: CT numbers, MR intensities and PET colours per tissue")
    for modality in ("CT", "MRI", "PET"):
        check_writable_folder(folder / "input" / modality)
    for seed in range(_NUM_HEADS):
        phantom = head_phantom(seed=seed)
        name = f"head{seed + 1}.png"
        # A CT number c is stored as c + 1024 in 16 bits, as scanners do; the range is chosen when fusing.
        write_image(folder / "input" / "CT" / name, _ct_to_unit(phantom.ct_hu), bits=16)
        write_image(folder / "input" / "MRI" / name, phantom.mri, bits=8)
        write_image(folder / "input" / "PET" / name, pet_phantom(seed=seed), bits=8)
    mri = folder / "input" / "MRI"
    sections = []
    for modality, choice in (("CT", _stored_range(CT_RANGE)), ("PET", None)):
        say(f"Fusing {modality} with MRI")
        sources = folder / "input" / modality
        fused = folder / f"fused-{modality.lower()}-mri"
        fuse(sources, mri, fused, range_a=choice)
        say(f"Measuring {modality} with MRI against plain baselines")
        result = evaluate(
            sources, mri, folder / f"evaluation-{modality.lower()}-mri", metrics=METRICS, range_a=choice
        )
        sections.append(_section(modality, fused, result.summary, folder, choice))
    say("Segmenting nuclei and measuring the masks")
    sections.append(_segment_nuclei(folder))
    say("Classifying chest x-rays and measuring the classes")
    sections.append(_classify_x_rays(folder))
    report = folder / "report.html"
    write_report(
        report,
        title="ScaleFuse demo",
        lead="Head phantoms drawn by ScaleFuse, CC0 images of nuclei and CC BY 4.0 chest x-rays, processed "
        "by the weights that come with it. Research software, not a medical device: nothing here is fit for "
        "diagnosis.",
        sections=sections,
    )
    return DemoResult(folder, report)


def _ct_to_unit(ct_hu: NDArray[Any]) -> NDArray[np.float64]:
    stored: NDArray[np.float64] = np.clip(np.rint(ct_hu) + 1024, 0, 65535) / 65535
    return stored


def _stored_range(text: str) -> str:
    mode, low, high = text.split(":")
    return f"{mode}:{float(low) + 1024:g}:{float(high) + 1024:g}"


def _section(
    modality: str, fused: Path, summary: dict[str, Any], folder: Path, choice: str | None
) -> Section:
    figures = []
    for path in sorted(fused.glob("*.png")):
        sources = [folder / "input" / modality / path.name, folder / "input" / "MRI" / path.name]
        for label, file, mapping in (
            (modality, sources[0], choice),
            ("MRI", sources[1], None),
            ("fused", path, None),
        ):
            figures.append(Figure(f"{path.stem}: {label}", _for_screen(file, mapping)))
    rows = [
        [method, *(f"{values[metric]['mean']:.3f}" for metric in METRICS)]
        for method, values in summary["methods"].items()
    ]
    table = markdown_table(["method", *METRICS], rows)
    return Section(
        title=f"{modality} with MRI",
        text=f"`scalefuse fuse {modality}/ MRI/`. Means over {summary['num_cases']} heads; more is better.",
        figures=figures,
        table=table,
    )


def _segment_nuclei(folder: Path) -> Section:
    nuclei, masks = SAMPLES / "nuclei", folder / "nuclei"
    predict([NUCLEI_MODEL], nuclei / "images", masks, PredictOptions(instances="watershed", regions=True))
    result = evaluate_segmentation(nuclei, folder / "evaluation-nuclei", models=[NUCLEI_MODEL])
    figures, rows = [], []
    for row in result.evaluation.rows:
        pixels = read_image(nuclei / "images" / f"{row['name']}.png").pixels
        reference = read_image(nuclei / "masks" / f"{row['name']}.png").pixels > 0
        figures += [
            Figure(f"{row['name']}: image", pixels),
            Figure(f"{row['name']}: reference", overlay(pixels, reference)),
            Figure(
                f"{row['name']}: segmented, Dice {row['dice']:.3f}",
                read_image(masks / f"{row['name']}_overlay.png").pixels,
            ),
        ]
        rows.append([row["name"], *(f"{row[name]:.3f}" for name in ("dice", "iou", "recall", "precision"))])
    return Section(
        title="Nuclei",
        text=f"`scalefuse predict {NUCLEI_MODEL} images/`. Three images of the 2018 Data Science Bowl (CC0) "
        "that were not trained on.",
        figures=figures,
        table=markdown_table(["image", "Dice", "IoU", "recall", "precision"], rows),
    )


def _classify_x_rays(folder: Path) -> Section:
    x_rays = SAMPLES / "chest-x-rays"
    classify([X_RAY_MODEL], x_rays, folder / "x-rays")
    result = evaluate_classification(x_rays, folder / "evaluation-x-rays", models=[X_RAY_MODEL])
    classifier = Classifier.from_bundle(load_bundle(X_RAY_MODEL))
    figures = []
    for label in classifier.labels:
        for number, path in enumerate(sorted((x_rays / label).glob("*.png"))[:2]):
            image = read_image(path)
            shown = np.kron(image.pixels, np.ones((8, 8), np.uint8))
            explained = classifier.explain(image, method="occlusion")
            probability = classifier.predict([image])[0].max()
            if number == 0:
                figures.append(Figure(f"{label}: {path.stem}, 28×28 pixels, enlarged", shown))
            figures.append(
                Figure(
                    f"{path.stem} called {explained.label} ({probability:.2f}), and what speaks for it",
                    heat_overlay(shown, np.kron(explained.map, np.ones((8, 8), np.float32))),
                )
            )
    measures = result.summary["overall"]
    rows = [
        [name, f"{measures[name]['value']:.3f}"]
        for name in ("accuracy", "balanced_accuracy", "auroc", "brier")
    ]
    return Section(
        title="Chest x-rays",
        text=f"`scalefuse predict {X_RAY_MODEL} chest-x-rays/ --explain --explain-by occlusion`. "
        f"{result.summary['num_cases']} children's x-rays of PneumoniaMNIST (MedMNIST v2, CC BY 4.0) that "
        "were not trained on.",
        figures=figures,
        table=markdown_table(["measure", "value"], rows),
    )


def _for_screen(path: Path, choice: str | None) -> NDArray[np.uint8]:
    from scalefuse.data.intensity import resolve_intensity, to_unit
    from scalefuse.data.write import from_unit

    image = read_image(path)
    unit, _ = to_unit(image.pixels, resolve_intensity(image, choice))
    screen: NDArray[np.uint8] = from_unit(unit, 8)
    return screen
