"""8-bit graphs: ranges of values from calibration pictures, weights rounded channel by channel."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scalefuse.data.read import silenced
from scalefuse.errors import InputError
from scalefuse.inference.engines.packages import import_onnxruntime

if TYPE_CHECKING:
    from scalefuse.bundle import Bundle
    from scalefuse.export.graphs import Graph
    from scalefuse.export.samples import Samples

METHOD = (
    "post-training static quantisation by ONNX Runtime: QDQ, 8-bit convolutions and matrix products, weights "
    "per channel, ranges from the smallest and largest value; the first convolution, the last one before "
    "logits, and a decoder stay in 32 bits"
)

MAX_INPUTS = 32
"""Network inputs that the ranges are taken from."""

_QUANTISED = ["Conv", "MatMul", "Gemm"]
_FEWEST = 3


class CalibrationInputs:
    """The inputs that the graphs get while pictures are predicted, kept in files: features are large.

    Args:
        folder: for the files.

    Example:
        >>> import tempfile
        >>> inputs = CalibrationInputs(Path(tempfile.mkdtemp()))
        >>> inputs.keep("model", torch.ones(1, 3, 2, 2))
        >>> inputs.counts(), [batch.shape for batch in inputs.batches("model")]
        ({'model': 1}, [(1, 3, 2, 2)])
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, list[Path]] = {}

    def keep(self, role: str, batch: torch.Tensor) -> None:
        """Store an input of a graph, unless there are enough."""
        files = self._files.setdefault(role, [])
        if len(files) < MAX_INPUTS:
            files.append(self._folder / f"{role}-{len(files)}.npy")
            np.save(files[-1], batch.numpy())

    def counts(self) -> dict[str, int]:
        """Number of inputs by the graph's role."""
        return {role: len(files) for role, files in self._files.items()}

    def batches(self, role: str) -> Iterator[np.ndarray[Any, Any]]:
        """The inputs of a graph."""
        for file in self._files[role]:
            yield np.load(file)


def record_inputs(
    bundle: Bundle, samples: Samples, inputs: CalibrationInputs, *, size: tuple[int, int] | None = None
) -> None:
    """Bring pictures to what the networks are given, as the predictors do, and keep it.

    Args:
        bundle: the model.
        samples: pictures.
        inputs: keeps them.
        size: height and width that the graphs were fixed to.

    Example:
        >>> import tempfile
        >>> from scalefuse.bundle import load_bundle
        >>> from scalefuse.export.samples import Sample, Samples
        >>> inputs = CalibrationInputs(Path(tempfile.mkdtemp()))
        >>> samples = Samples("grey", [Sample(np.zeros((20, 30), np.float32))])
        >>> record_inputs(load_bundle("msrf-net-nuclei"), samples, inputs)
        >>> next(inputs.batches("model")).shape
        (1, 3, 24, 32)
    """
    from scalefuse.export.samples import grey, resized, spread

    info = bundle.info
    # One at a time: they may be large, and are read when they are asked for.
    most = MAX_INPUTS // 2 if info.task == "fusion" else MAX_INPUTS
    pictures = (samples.samples[index] for index in spread(len(samples.samples), most))
    if info.task == "fusion":
        # The decoder is not quantised.
        for sample in pictures:
            for picture in (sample.image, sample.other):
                inputs.keep("encoder", torch.from_numpy(resized(grey(picture), size))[None, None])
    elif info.task == "segmentation":
        from scalefuse.inference.segmenter import Segmenter

        # One view of each picture: so many inputs are kept, and eight views of a few pictures vary less.
        options: dict[str, Any] = {"intensity": None, "tta": False} | (
            {} if size is None else {"resize": size}
        )
        segmenter = Segmenter.from_bundle(bundle, **options)

        def keep(images: torch.Tensor) -> torch.Tensor:
            inputs.keep("model", images)
            # Only the inputs matter here.
            return torch.zeros(len(images), segmenter.num_outputs, *images.shape[2:])

        segmenter.engines = [keep]
        for sample in pictures:
            segmenter.probabilities(sample.image)
    else:
        from scalefuse.data.classification_input import prepare
        from scalefuse.export.graphs import classification_settings

        settings = classification_settings(bundle)
        if size is not None:
            settings = settings.model_copy(update={"size": size})
        for sample in pictures:
            inputs.keep("model", prepare(sample.image, settings, info.network.in_channels)[None])  # type: ignore[union-attr]


def quantise(source: Path, target: Path, graph: Graph, inputs: CalibrationInputs) -> None:
    """Write the 8-bit form of a graph.

    The image's first convolution has few channels and all the information, and the last one's rounding would
    be seen directly. DILRAN's decoder is linear from end to end, so that every rounding reaches the picture:
    in 8 bits it costs ten times the VIF that the encoder costs.

    Args:
        source: float32 ``.onnx`` file.
        target: file to write.
        graph: which one it is.
        inputs: what its ranges are taken from.

    Raises:
        InputError: there are no inputs.
    """
    import onnx

    import_onnxruntime()
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    nodes = [node.name for node in onnx.load(source).graph.node if node.op_type in _QUANTISED]
    if graph.role == "decoder" or len(nodes) < _FEWEST:
        shutil.copyfile(source, target)
        return
    if not inputs.counts().get(graph.role):
        raise InputError("Calibration gave no network inputs; give a folder with pictures.")

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._batches = inputs.batches(graph.role)

        def get_next(self) -> Mapping[str, Any] | None:
            batch = next(self._batches, None)
            if batch is None:
                return None
            if graph.batch is not None:
                batch = np.repeat(batch, graph.batch, axis=0)[: graph.batch]
            return {graph.input_name: batch}

    # Advice to optimise the graph first is logged to the root; the exporter has done so.
    with silenced("root"):
        quantize_static(
            source,
            target,
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_QUANTISED,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=[nodes[0], nodes[-1]] if graph.role == "model" else nodes[:1],
        )
