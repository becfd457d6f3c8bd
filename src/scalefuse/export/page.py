"""The README that lies beside exported graphs."""

from __future__ import annotations

from scalefuse.fusion import GUIDED
from scalefuse.inference.exported.record import RECORD, ExportRecord, GraphRecord

_OPEN = {
    "onnx": """import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before the import: no usage reports
import numpy as np, onnxruntime

session = onnxruntime.InferenceSession("{file}", providers=["CPUExecutionProvider"])
{input} = np.zeros({shape}, np.float32)  # values in [0, 1]
({output},) = session.run(["{output}"], {{"{input}": {input}}})""",
    "openvino": """import numpy as np, openvino

compiled = openvino.Core().compile_model("{file}", "CPU", {options})
{input} = np.zeros({shape}, np.float32)  # values in [0, 1]
{output} = compiled([{input}])["{output}"]""",
}


def export_page(record: ExportRecord) -> str:
    """Markdown: what the files are, how they are run, what was checked.

    Args:
        record: contents of ``export.json``.
    """
    command = "fuse -m" if record.task == "fusion" else "predict"
    lines = [
        f"# {record.name}, for {record.engine} in {record.precision}",
        "",
        "**Research software, not a medical device. Not for clinical use.**",
        "",
        f"Exported by ScaleFuse {record.versions.get('scalefuse', '')} for {record.task}; everything below "
        f"is in `{RECORD}` too. Terms of the weights: {record.licence}",
        "",
        f"ScaleFuse takes this folder as a model (`scalefuse {command} FOLDER …`); `bundle.json` is for "
        "that, and no other program needs it.",
        "",
        "| file | input | outputs |",
        "|---|---|---|",
    ]
    guided = record.strategy in GUIDED
    for graph in record.graphs:
        tensors = (
            "; ".join(f"`{one.name}` ({', '.join(map(str, one.shape))})" for one in side)
            for side in (graph.inputs, graph.outputs)
        )
        lines.append(f"| `{graph.file}` | {' | '.join(tensors)} |")
    for graph in record.graphs:
        for name, axis in graph.dynamic_axes.items():
            if name != "batch" and graph.role != "decoder":
                multiple = f", multiples of {axis.multiple_of}" if axis.multiple_of > 1 else ""
                lines += ["", f"`{name}`: from {axis.smallest} pixels on{multiple}."]
    resize = record.preprocessing.get("resize")
    trained = record.preprocessing.get("trained_size")
    if trained:
        taken = resize or record.preprocessing["size"]
        lines += [
            "",
            f"**The graph takes {taken[0]}×{taken[1]}, but the network was trained on pictures of "
            f"{trained[0]}×{trained[1]}** (height and width): expect worse results, and measure them.",
        ]
    elif resize and record.task == "segmentation":
        lines += [
            "",
            f"**The network was trained on whole pictures of {resize[0]}×{resize[1]}** (height and width): "
            "bring every picture to that size, bilinear with antialiasing, and the probabilities back to the "
            "picture's own. At another size the results are worse without any warning.",
        ]
    if record.preprocessing.get("tta") and record.postprocessing is not None:
        lines += [
            "",
            "Threshold and cleaning (`export.json`) were fitted on probabilities that are averages over the "
            "eight flips and rotations of a picture by 90°: average so too, or fit them on single views.",
        ]
    lines += ["", *(f"- `{one.name}`: {one.meaning}." for graph in record.graphs for one in graph.outputs)]
    if record.strategy:
        lines.append(
            f"- What joins the features of two images is no part of the graphs. This model's own strategy is "
            f"`{record.strategy}`"
            + (", which joins the pictures as the features say and decodes nothing." if guided else ".")
        )
    if record.labels:
        lines.append(f"- Classes in order: {', '.join(record.labels)}.")
    lines += ["", "```python", _snippet(record), "```", "", "## Checked", "", *_checked(record), ""]
    return "\n".join(lines)


def _snippet(record: ExportRecord) -> str:
    graph = record.graphs[0]
    return _OPEN[record.engine].format(
        file=graph.file,
        input=graph.inputs[0].name,
        output=graph.outputs[0].name,
        shape=_example_shape(graph),
        options=dict(record.runtime_options),
    )


def _example_shape(graph: GraphRecord) -> tuple[int, ...]:
    sizes = {"batch": 1, "height": 256, "width": 256}
    return tuple(sizes[one] if isinstance(one, str) else one for one in graph.inputs[0].shape)


def _checked(record: ExportRecord) -> list[str]:
    parity = record.parity
    lines = [
        f"Against the network in torch (float32), on {parity.images}; compared: {parity.output}.",
        "",
        "| | value | bound |",
        "|---|---|---|",
    ]
    values = {
        "max_abs_difference": parity.max_abs_difference,
        "mean_abs_difference": parity.mean_abs_difference,
        **parity.agreement,
    }
    if parity.decoded_max_abs_difference is not None:
        values["decoded_max_abs_difference"] = parity.decoded_max_abs_difference
    for name, value in values.items():
        lines.append(f"| {name} | {value:.4g} | {parity.bounds.get(name, '')} |")
    if record.quantisation is not None:
        loss = record.quantisation.loss
        by = f", fused by {loss.strategy}" if loss.strategy else ""
        lines += [
            "",
            f"Quantised with {record.quantisation.images}. Mean {loss.measure} against {loss.against} on "
            f"{loss.images}{by}: {loss.float32:.4f} in float32, {loss.exported:.4f} in 8 bits; loss "
            f"{loss.loss:.4f}, at most {loss.limit:g} was accepted.",
        ]
    return lines
