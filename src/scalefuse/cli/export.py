"""``scalefuse export``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Engine(StrEnum):
    """Runtimes."""

    ONNX = "onnx"
    OPENVINO = "openvino"


class Precision(StrEnum):
    """Number types."""

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    INT8 = "int8"


def export(
    model: Annotated[
        str, typer.Argument(help="Bundle: a shipped name, a folder or a zip file.", metavar="BUNDLE")
    ],
    to: Annotated[Engine, typer.Option("--to", help="Runtime that the graphs are for.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")],
    precision: Annotated[
        Precision, typer.Option(help="Number type; which runtime takes which stands above.")
    ] = Precision.FP32,
    size: Annotated[
        tuple[int, int] | None,
        typer.Option(
            metavar="H W", help="Height and width to fix; free by default where the network allows."
        ),
    ] = None,
    batch: Annotated[int | None, typer.Option(help="Number of images to fix; free by default.")] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(help="Pictures that int8 takes its ranges from, with masks or labels if any."),
    ] = None,
    max_loss: Annotated[
        float | None,
        typer.Option(help="Largest loss of mean Dice, accuracy or VIF that int8 may cost; 0.01 by default."),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Pictures to compare with torch on, with masks or labels if any.")
    ] = None,
) -> None:
    """Write a model for ONNX Runtime or OpenVINO, checked against torch on real pictures.

    Every runtime takes fp32, fp16 (smaller files, arithmetic in 32 bits) and
    int8 (with --calibration); OpenVINO takes bf16 too, for which ONNX Runtime
    has no convolution on CPUs.

    Example: scalefuse export msrf-net-nuclei --to onnx -o nuclei-onnx
    """
    from scalefuse.cli.console import err, out
    from scalefuse.workflows.export import ExportOptions
    from scalefuse.workflows.export import export as run

    options = ExportOptions(
        engine=to.value,
        precision=precision.value,
        size=size,
        batch=batch,
        calibration=calibration,
        max_loss=max_loss,
        images=images,
    )
    record = run(model, output, options, say=lambda line: err.print(line, style="dim", markup=False))
    parity = record.parity
    out.print(
        f"{parity.output}: differs from torch by at most {parity.max_abs_difference:.2g}, "
        f"{parity.mean_abs_difference:.2g} on average",
        markup=False,
    )
    for name, value in parity.agreement.items():
        out.print(f"{name.replace('_', ' ')}: {value:.4f}", markup=False)
    if record.quantisation is not None:
        loss = record.quantisation.loss
        out.print(
            f"{loss.measure} against {loss.against}: {loss.float32:.4f} in float32, {loss.exported:.4f} in 8 "
            "bits",
            markup=False,
        )
    megabytes = sum(graph.bytes for graph in record.graphs) / 1e6
    out.print(f"{megabytes:.1f} MB written: {output}", markup=False)
