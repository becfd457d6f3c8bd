"""The model card that lies in every bundle."""

from __future__ import annotations

from scalefuse.bundle import BundleInfo
from scalefuse.catalog import NETWORKS

_USES = {
    "fusion": "joins two registered images of one patient, such as CT and MRI, into one picture",
    "segmentation": "marks objects in two-dimensional images",
    "classification": "sorts two-dimensional images into classes",
}


def model_card(info: BundleInfo, *, origin: str) -> str:
    """Markdown text: what for, what data, licence terms, limits.

    Args:
        info: The bundle's contents.
        origin: One sentence on how the weights came about.
    """
    spec = NETWORKS[info.network.name]
    data = info.training_data
    lines = [
        f"# {info.name}",
        "",
        "**Research software, not a medical device. Not for clinical use.**",
        "",
        f"This model {_USES[info.task]}. Network: {info.network.name} ({spec.paper.title}; "
        f"{spec.paper.authors}; {spec.paper.venue}, {spec.paper.url}).",
        "",
        f"- Origin: {origin}",
        f"- Training data: {data.description}" + (f" ({data.num_cases} cases)" if data.num_cases else ""),
        f"- Terms: {data.licence}",
    ]
    if info.strategy:
        lines.append(f"- Fusion strategy: `{info.strategy}`")
    if info.labels:
        lines.append(f"- Classes: {', '.join(info.labels)}")
    if info.preprocessing.get("tta"):
        lines.append(
            "- Predictions: averages over the eight flips and rotations by 90°, on which threshold and "
            "cleaning were fitted; `--no-tta` takes one view"
        )
    numbers = {name: value for name, value in info.metrics.items() if isinstance(value, int | float)}
    if numbers:
        lines += ["", "## Measured", "", "| measure | value |", "|---|---|"]
        lines += [f"| {name} | {value:.4g} |" for name, value in numbers.items()]
    lines += [
        "",
        "## Limits",
        "",
        "- Images that differ from the training data (other scanner, organ, stain or preparation) may give "
        "wrong results without any warning. Measure on your own data first.",
        "- The result shows what the network computed, which is not always what is in the patient.",
        "",
    ]
    return "\n".join(lines)
