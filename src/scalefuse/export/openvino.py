"""From an ONNX file to OpenVINO's own format."""

from __future__ import annotations

from pathlib import Path

from scalefuse.inference.engines.packages import import_openvino
from scalefuse.inference.exported.record import ExportPrecision


def to_openvino(source: Path, target: Path, precision: ExportPrecision) -> None:
    """Convert an ONNX file.

    A graph quantised for ONNX Runtime stays quantised: OpenVINO reads the same marks.

    Args:
        source: the ONNX file.
        target: the ``.xml`` file to write; the weights land beside it in ``.bin``.
        precision: with ``fp16`` the weights are stored in half precision. ``bf16`` is no property of the
            file but of running it, see :func:`runtime_options`.

    Example:
        >>> import tempfile, onnx
        >>> x, y = (onnx.helper.make_tensor_value_info(name, 1, [1, 2]) for name in "xy")
        >>> graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
        >>> folder = Path(tempfile.mkdtemp())
        >>> imports = [onnx.helper.make_opsetid("", 18)]
        >>> onnx.save(onnx.helper.make_model(graph, opset_imports=imports, ir_version=10), folder / "g.onnx")
        >>> to_openvino(folder / "g.onnx", folder / "g.xml", "fp32")
        >>> sorted(file.suffix for file in folder.iterdir())
        ['.bin', '.onnx', '.xml']
    """
    openvino = import_openvino()

    openvino.save_model(openvino.convert_model(source), target, compress_to_fp16=precision == "fp16")


def runtime_options(precision: ExportPrecision) -> dict[str, str]:
    """Properties to compile with, so that the arithmetic is what was checked.

    Left alone, OpenVINO computes a float32 model in bf16 on CPUs that have it.

    Example:
        >>> runtime_options("fp32"), runtime_options("bf16")
        ({'INFERENCE_PRECISION_HINT': 'f32'}, {'INFERENCE_PRECISION_HINT': 'bf16'})
    """
    return {"INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32"}
