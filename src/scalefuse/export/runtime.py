"""Running exported graphs as the engines of predictors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from scalefuse.export.support import ExportEngine
from scalefuse.inference.engines.packages import import_onnxruntime, import_openvino

if TYPE_CHECKING:
    from numpy.typing import NDArray

Run = Callable[["NDArray[np.float32]"], dict[str, "NDArray[np.float32]"]]
"""Maps a batch ``(N, C, H, W)`` to the outputs by name."""


def open_graph(
    file: Path, engine: ExportEngine, *, batch: int | None = None, options: Mapping[str, str] | None = None
) -> Run:
    """Load a graph.

    Args:
        file: ``.onnx`` or ``.xml``.
        engine: which runtime.
        batch: the number of images that the graph was fixed to, if it was; smaller batches are filled up.
        options: properties for OpenVINO.

    Example:
        >>> import tempfile, onnx
        >>> x, y = (onnx.helper.make_tensor_value_info(name, 1, ["n", 2]) for name in "xy")
        >>> graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
        >>> file = Path(tempfile.mkdtemp()) / "g.onnx"
        >>> imports = [onnx.helper.make_opsetid("", 18)]
        >>> onnx.save(onnx.helper.make_model(graph, opset_imports=imports, ir_version=10), file)
        >>> open_graph(file, "onnx")(np.array([[-1, 1]], np.float32))["y"].tolist()
        [[0.0, 1.0]]
    """
    run = _onnxruntime(file) if engine == "onnx" else _openvino(file, options or {})
    return run if batch is None else _filled_up(run, batch)


def _onnxruntime(file: Path) -> Run:
    onnxruntime = import_onnxruntime()
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(file, settings, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    names = [output.name for output in session.get_outputs()]
    return lambda batch: dict(zip(names, session.run(names, {name: batch}), strict=True))


def _openvino(file: Path, options: Mapping[str, str]) -> Run:
    openvino = import_openvino()

    from scalefuse.inference.engines.signal_stack import signal_stack_kept

    settings = {**options, "INFERENCE_NUM_THREADS": str(torch.get_num_threads())}
    with signal_stack_kept():
        compiled = openvino.Core().compile_model(file, "CPU", settings)
    names = [output.any_name for output in compiled.outputs]

    def run(batch: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        result = compiled([batch])
        return {name: np.array(result[name]) for name in names}

    return run


def _filled_up(run: Run, size: int) -> Run:
    def run_filled(batch: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        parts = []
        for start in range(0, len(batch), size):
            part = batch[start : start + size]
            filled = np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])
            parts.append({name: values[: len(part)] for name, values in run(filled).items()})
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    return run_filled


class ExportedSegmentation:
    """An engine for :class:`~scalefuse.inference.segmenter.Segmenter`.

    Args:
        run: the graph.

    Example:
        >>> ExportedSegmentation(lambda batch: {"logits": batch[:, :1]})(torch.zeros(1, 3, 2, 2)).shape
        torch.Size([1, 1, 2, 2])
    """

    def __init__(self, run: Run) -> None:
        self._run = run

    def __call__(self, images: Tensor) -> Tensor:
        """Map images ``(N, C, H, W)`` to logits ``(N, K, H, W)``."""
        return torch.from_numpy(self._run(images.numpy())["logits"])


class ExportedFusion:
    """An engine for :class:`~scalefuse.inference.fuser.Fuser`.

    Args:
        encoder: graph from ``image`` to ``features``.
        decoder: graph from ``features`` to ``fused``.

    Example:
        >>> engine = ExportedFusion(lambda x: {"features": x}, lambda x: {"fused": x})
        >>> engine.decode(engine.encode(torch.ones(1, 1, 2, 2))).sum().item()
        4.0
    """

    def __init__(self, encoder: Run, decoder: Run) -> None:
        self._encoder, self._decoder = encoder, decoder

    def encode(self, x: Tensor) -> Tensor:
        """Map images ``(N, 1, H, W)`` to features ``(N, C, H, W)``."""
        return torch.from_numpy(self._encoder(x.contiguous().numpy())["features"])

    def decode(self, features: Tensor) -> Tensor:
        """Map features ``(N, C, H, W)`` to images ``(N, 1, H, W)``."""
        return torch.from_numpy(self._decoder(features.contiguous().numpy())["fused"])


def engine_of(runs: Mapping[str, Run]) -> Any:
    """The engine that the graphs of a segmentation or fusion model make, by their roles.

    Example:
        >>> type(engine_of({"model": lambda batch: {}})).__name__
        'ExportedSegmentation'
    """
    if "encoder" in runs:
        return ExportedFusion(runs["encoder"], runs["decoder"])
    return ExportedSegmentation(runs["model"])
