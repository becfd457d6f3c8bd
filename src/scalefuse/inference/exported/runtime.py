"""Running exported graphs as the engines of predictors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from scalefuse.errors import InputError
from scalefuse.inference.engines.packages import import_onnxruntime, import_openvino
from scalefuse.inference.exported.record import ExportEngine
from scalefuse.inference.sliding import mirrored_indices
from scalefuse.networks.dilran.network import check_image

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
    from scalefuse.inference.engines.onnxruntime_engine import run_session

    onnxruntime = import_onnxruntime()
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(file, settings, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    names = [output.name for output in session.get_outputs()]
    return lambda batch: dict(zip(names, run_session(session, names, {name: batch}), strict=True))


def _openvino(file: Path, options: Mapping[str, str]) -> Run:
    from scalefuse.inference.engines.openvino_graphs import GraphsBySize

    model = import_openvino().Core().read_model(file)
    names = [output.any_name for output in model.outputs]
    graphs = GraphsBySize(model, {**options, "INFERENCE_NUM_THREADS": str(torch.get_num_threads())})
    return lambda batch: dict(zip(names, graphs([batch], batch.size // batch.shape[1]), strict=True))


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
        size: height and width that it was fixed to, if it was; smaller images are mirrored up to them.

    Example:
        >>> engine = ExportedSegmentation(lambda batch: {"logits": batch[:, :1]}, size=(8, 8))
        >>> engine(torch.zeros(1, 3, 2, 5)).shape
        torch.Size([1, 1, 2, 5])
    """

    def __init__(self, run: Run, size: tuple[int, int] | None = None) -> None:
        self._run, self._size = run, size

    def __call__(self, images: Tensor) -> Tensor:
        """Map images ``(N, C, H, W)`` to logits ``(N, K, H, W)``.

        Raises:
            InputError: larger images than the graph takes.
        """
        height, width = images.shape[2:]
        if self._size not in (None, (height, width)):
            assert self._size is not None
            if height > self._size[0] or width > self._size[1]:
                raise _misfit(self._size, images)
            rows = mirrored_indices(0, self._size[0], height)
            images = images[:, :, rows][:, :, :, mirrored_indices(0, self._size[1], width)]
        logits = torch.from_numpy(self._run(images.contiguous().numpy())["logits"])
        return logits[:, :, :height, :width]


class ExportedClassification:
    """An engine for :class:`~scalefuse.inference.classifier.Classifier`.

    Args:
        run: the graph, which standardises images itself.
        mean: that the classifier has subtracted, and that is added again.
        std: that it has divided by.

    Example:
        >>> engine = ExportedClassification(lambda batch: {"logits": batch[:, :, 0, 0]}, mean=0.5, std=0.25)
        >>> engine(torch.ones(1, 2, 3, 3)).tolist()
        [[0.75, 0.75]]
    """

    def __init__(self, run: Run, *, mean: float, std: float) -> None:
        self._run, self._mean, self._std = run, mean, std

    def __call__(self, images: Tensor) -> Tensor:
        """Map standardised images ``(N, C, H, W)`` to logits ``(N, K)``."""
        unit = images * self._std + self._mean
        return torch.from_numpy(self._run(unit.contiguous().numpy())["logits"])


class ExportedFusion:
    """An engine for :class:`~scalefuse.inference.fuser.Fuser`.

    Args:
        encoder: graph from ``image`` to ``features``.
        decoder: graph from ``features`` to ``fused``.
        size: height and width that they were fixed to, if they were.

    Example:
        >>> engine = ExportedFusion(lambda x: {"features": x}, lambda x: {"fused": x})
        >>> engine.decode(engine.encode(torch.ones(1, 1, 16, 17))).sum().item()
        272.0
    """

    def __init__(self, encoder: Run, decoder: Run, size: tuple[int, int] | None = None) -> None:
        self._encoder, self._decoder, self._size = encoder, decoder, size

    def encode(self, x: Tensor) -> Tensor:
        """Map images ``(N, 1, H, W)`` to features ``(N, C, H, W)``.

        Raises:
            InputError: images of another size than the graph takes.
        """
        check_image(x)
        if self._size not in (None, tuple(x.shape[2:])):
            assert self._size is not None
            raise _misfit(self._size, x)
        return torch.from_numpy(self._encoder(x.contiguous().numpy())["features"])

    def decode(self, features: Tensor) -> Tensor:
        """Map features ``(N, C, H, W)`` to images ``(N, 1, H, W)``."""
        return torch.from_numpy(self._decoder(features.contiguous().numpy())["fused"])


def engine_of(runs: Mapping[str, Run], size: tuple[int, int] | None = None) -> Any:
    """The engine that the graphs of a segmentation or fusion model make, by their roles.

    Args:
        runs: the graphs.
        size: height and width that they were fixed to, if they were.

    Example:
        >>> type(engine_of({"model": lambda batch: {}})).__name__
        'ExportedSegmentation'
    """
    if "encoder" in runs:
        return ExportedFusion(runs["encoder"], runs["decoder"], size)
    return ExportedSegmentation(runs["model"], size)


def _misfit(size: tuple[int, int], images: Tensor) -> InputError:
    height, width = images.shape[2:]
    return InputError(
        f"The export takes {size[0]}×{size[1]} pixels (height×width) at once, but got {height}×{width}; "
        "bring the pictures to that size, or export the model with free sizes."
    )
