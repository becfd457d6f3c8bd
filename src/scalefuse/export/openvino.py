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
            file but of running it, see
            :func:`~scalefuse.inference.exported.record.runtime_options`.

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
