"""Parts computed by ONNX Runtime on the CPU."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scalefuse.data.read import silenced
from scalefuse.inference.engines.packages import import_onnxruntime, require_packages
from scalefuse.inference.engines.protocol import Compiled, Part

_OPSET = 18


class ONNXRuntimeBackend:
    """Computes with ONNX Runtime in float32, with torch's number of threads.

    Raises:
        MissingExtraError: ONNX Runtime, or what writes its graphs, is not installed.

    Example:
        >>> import pytest
        >>> _ = pytest.importorskip("onnxruntime"), pytest.importorskip("onnxscript")
        >>> run = ONNXRuntimeBackend().compile(Part(torch.nn.Conv2d(3, 1, 1), (torch.zeros(2, 3, 8, 8),)))
        >>> run(torch.zeros(2, 3, 5, 7)).shape
        torch.Size([2, 1, 5, 7])
    """

    fixes_classifiers = True
    sums_roughly = True

    def __init__(self) -> None:
        require_packages("onnxruntime")

    def compile(self, part: Part) -> Compiled:
        """Export and load a part; one input, one output."""
        onnxruntime = import_onnxruntime()

        assert part.precision == "fp32", "refused by the table of engines"
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = torch.get_num_threads()
        with tempfile.TemporaryDirectory(prefix="scalefuse-") as folder:
            file = Path(folder) / "part.onnx"
            _write(part, file)
            session = onnxruntime.InferenceSession(file, settings, providers=["CPUExecutionProvider"])
        names = [one.name for one in session.get_inputs()]

        def call(*inputs: Tensor) -> Any:
            arrays = [one.detach().cpu().float().contiguous().numpy() for one in inputs]
            results = run_session(session, None, dict(zip(names, arrays, strict=True)))
            tensors = tuple(torch.from_numpy(one) for one in results)
            return tensors[0] if len(tensors) == 1 else tensors

        return call


def run_session(session: Any, outputs: list[str] | None, inputs: dict[str, Any]) -> list[Any]:
    """The outputs of a session, all of them for None.

    Raises:
        MemoryError: there is not enough.
    """
    try:
        results: list[Any] = session.run(outputs, inputs)
    except Exception as error:
        # The runtime's exceptions derive from Exception itself.
        if "alloc" in str(error).lower():
            raise MemoryError("ONNX Runtime: not enough memory") from error
        raise
    return results


def _write(part: Part, file: Path) -> None:
    from torch.export import Dim, export

    shapes: dict[int, Any] | None = None
    if part.multiple is not None:
        shapes = {0: Dim("batch", min=1)}
        least = -(-part.smallest // part.multiple)
        for axis, name in ((2, "height"), (3, "width")):
            if part.multiple == 1:
                shapes[axis] = Dim(name, min=least)
            else:
                shapes[axis] = part.multiple * Dim(f"{name}_steps", min=least)
    module = part.module.eval().requires_grad_(False)
    dynamic = None if shapes is None else tuple(shapes for _ in part.examples)
    # The exporter reports on operators of packages that are not installed, and on its own use of torch.
    quiet = silenced("torch.onnx"), silenced("onnxscript")
    with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings(), quiet[0], quiet[1]:
        warnings.simplefilter("ignore")
        exported = export(module, part.examples, dynamic_shapes=dynamic, strict=False)
        program = torch.onnx.export(exported, part.examples, dynamo=True, opset_version=_OPSET, verbose=False)
        assert program is not None
        program.save(file)
