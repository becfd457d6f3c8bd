"""What of a trained model becomes a graph: small modules around the networks, which stay as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from scalefuse.catalog import NETWORKS
from scalefuse.errors import BundleError, InputError
from scalefuse.networks.dilran import DILRAN
from scalefuse.networks.dilran.composed import ComposedDILRAN

if TYPE_CHECKING:
    from scalefuse.bundle import Bundle

Role = Literal["model", "encoder", "decoder"]

_EXAMPLE_SIDES = (64, 48)
# Two of everything that shall stay free: tracing takes a 1 for a constant.
_EXAMPLE_BATCH = 2


@dataclass(frozen=True)
class Graph:
    """One graph to export.

    Attributes:
        role: what it is for; also the name of its file.
        module: maps one tensor to one tensor or to a tuple of several.
        input_name: name of the input ``(N, C, H, W)``.
        channels: C.
        output_names: names of the outputs.
        output_meanings: one line for each output.
        size: fixed height and width, ``None`` where they are free.
        batch: fixed number of images, ``None`` where it is free.
        size_multiple: what a free height and width must be divisible by.
        min_size: the smallest free height and width.
    """

    role: Role
    module: nn.Module
    input_name: str
    channels: int
    output_names: tuple[str, ...]
    output_meanings: tuple[str, ...]
    size: tuple[int, int] | None
    batch: int | None
    size_multiple: int = 1
    min_size: int = 1

    def example(self) -> Tensor:
        """An input to trace with, ``(N, C, H, W)``, values in [0, 1]."""
        least = max(self.min_size, self.size_multiple)
        height, width = self.size or (
            -(-max(side, least + more) // self.size_multiple) * self.size_multiple
            for side, more in zip(_EXAMPLE_SIDES, (self.size_multiple, 0), strict=True)
        )
        batch = self.batch or _EXAMPLE_BATCH
        return torch.rand(batch, self.channels, height, width, generator=torch.Generator().manual_seed(0))


class SegmentationGraph(nn.Module):
    """Image in [0, 1] to probabilities and logits.

    Args:
        network: maps ``(N, C, H, W)`` to logits ``(N, K, H, W)``, or to a tuple with these as ``mask``.
        exclusive: whether the K classes exclude one another (softmax) or not (sigmoid).

    Example:
        >>> graph = SegmentationGraph(nn.Conv2d(3, 1, 1), exclusive=False)
        >>> [tuple(output.shape) for output in graph(torch.zeros(2, 3, 8, 8))]
        [(2, 1, 8, 8), (2, 1, 8, 8)]
    """

    def __init__(self, network: nn.Module, *, exclusive: bool) -> None:
        super().__init__()
        self.network, self.exclusive = network, exclusive

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return probabilities and logits, ``(N, K, H, W)`` each."""
        output = self.network(image)
        logits = output if isinstance(output, Tensor) else output.mask
        return (logits.softmax(dim=1) if self.exclusive else logits.sigmoid()), logits


class ClassificationGraph(nn.Module):
    """Image in [0, 1] to calibrated probabilities and logits; standardising is part of the graph.

    Args:
        network: maps standardised images ``(N, C, H, W)`` to logits ``(N, K)``.
        mean: subtracted from the image.
        std: what it is then divided by.
        temperature: what the logits are divided by before they become probabilities.
        multi_label: whether an image may carry several labels (sigmoid) or one (softmax).

    Example:
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
        >>> graph = ClassificationGraph(network, mean=0.5, std=0.5, temperature=2.0, multi_label=False)
        >>> probability, logits = graph(torch.rand(1, 1, 2, 2))
        >>> torch.allclose(probability, (logits / 2).softmax(1))
        True
    """

    def __init__(
        self, network: nn.Module, *, mean: float, std: float, temperature: float, multi_label: bool
    ) -> None:
        super().__init__()
        self.network, self.mean, self.std = network, mean, std
        self.temperature, self.multi_label = temperature, multi_label

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return probabilities and uncalibrated logits, ``(N, K)`` each."""
        logits: Tensor = self.network((image - self.mean) / self.std)
        calibrated = logits / self.temperature
        return (calibrated.sigmoid() if self.multi_label else calibrated.softmax(dim=1)), logits


class EncoderGraph(nn.Module):
    """Grey image in [0, 1] to features.

    Example:
        >>> from scalefuse.networks.dilran import DILRAN
        >>> EncoderGraph(DILRAN(features=8))(torch.rand(1, 1, 16, 16)).shape
        torch.Size([1, 8, 16, 16])
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """Return features ``(N, C, H, W)``."""
        features: Tensor = self.network.encode(image)
        return features


class DecoderGraph(nn.Module):
    """Features to a grey image, clamped to [0, 1] as the predictor does.

    Example:
        >>> from scalefuse.networks.dilran import DILRAN
        >>> DecoderGraph(DILRAN(features=8))(torch.full((1, 8, 16, 16), 1e6)).max() <= 1
        tensor(True)
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: Tensor) -> Tensor:
        """Return the picture ``(N, 1, H, W)``."""
        picture: Tensor = self.network.decode(features).clamp(0, 1)
        return picture


def graphs_of(
    bundle: Bundle, *, size: tuple[int, int] | None = None, batch: int | None = None
) -> list[Graph]:
    """The graphs of a bundle: one model, or an encoder and a decoder for fusion.

    Args:
        bundle: a trained model.
        size: height and width to fix; by default they stay free, but for a classifier, whose graph depends
            on the size: it gets that of its preprocessing.
        batch: number of images to fix; by default it stays free.

    Raises:
        InputError: a size that the network does not take, or a batch below 1.
        BundleError: the bundle is damaged.

    Example:
        >>> from scalefuse.bundle import load_bundle
        >>> [(graph.role, graph.output_names) for graph in graphs_of(load_bundle("dilran"))]
        [('encoder', ('features',)), ('decoder', ('fused',))]
    """
    info = bundle.info
    spec = NETWORKS[info.network.name]
    if batch is not None and batch < 1:
        raise InputError(f"Expected a batch of at least 1 image, but got {batch}; leave it out for any.")
    if size is not None:
        _check_size(size, spec.name, spec.size_multiple, spec.min_size)
    # No gradients: tracing then follows the forward pass only.
    network = bundle.build_network().requires_grad_(False)
    free = {"batch": batch, "size_multiple": spec.size_multiple, "min_size": spec.min_size}
    if info.task == "fusion":
        assert isinstance(network, DILRAN)
        composed = ComposedDILRAN(network)
        return [
            _graph("encoder", EncoderGraph(composed), "image", 1, _ENCODER, size, free),
            _graph("decoder", DecoderGraph(composed), "features", network.features, _DECODER, size, free),
        ]
    in_channels: int = info.network.in_channels  # type: ignore[union-attr]
    if info.task == "segmentation":
        multi_label = bool(info.preprocessing.get("multi_label", False))
        exclusive = len(info.labels) > 2 and not multi_label
        return [
            _graph(
                "model",
                SegmentationGraph(network, exclusive=exclusive),
                "image",
                in_channels,
                _SEGMENTATION,
                size,
                free,
            )
        ]
    settings = classification_settings(bundle)
    graph = ClassificationGraph(
        network,
        mean=settings.mean,
        std=settings.std,
        temperature=temperature_of(info.postprocessing),
        multi_label=settings.multi_label,
    )
    height, width = size or settings.size
    _check_size((height, width), spec.name, spec.size_multiple, spec.min_size)
    return [_graph("model", graph, "image", in_channels, _CLASSIFICATION, (height, width), free)]


def classification_settings(bundle: Bundle) -> Any:
    """The ``ClassificationPreprocessing`` of a bundle.

    Raises:
        BundleError: the bundle holds none.
    """
    from pydantic import ValidationError

    from scalefuse.data.classification_input import ClassificationPreprocessing

    try:
        return ClassificationPreprocessing.model_validate(bundle.info.preprocessing)
    except ValidationError as error:
        problem = error.errors()[0]
        raise BundleError(
            f"{bundle.source}: bundle.json: preprocessing.{'.'.join(map(str, problem['loc']))}: "
            f"{problem['msg']}; the bundle is damaged or was edited, make it again."
        ) from error


def temperature_of(postprocessing: Mapping[str, Any] | None) -> float:
    """The temperature that a bundle's logits are divided by; 1 where none was fitted.

    Example:
        >>> temperature_of(None), temperature_of({"temperature": 1.5})
        (1.0, 1.5)
    """
    return float((postprocessing or {}).get("temperature", 1.0))


_ENCODER = {"features": "features of one image, (N, C, H, W)"}
_DECODER = {"fused": "the picture of the features, grey, in [0, 1]"}
_SEGMENTATION = {
    "probability": "probability of each class or label, in [0, 1]; of the object for a binary mask",
    "logits": "what the probabilities were made of",
}
_CLASSIFICATION = {
    "probability": "calibrated probability of each class or label, in [0, 1]",
    "logits": "uncalibrated logits",
}


def _graph(
    role: Role,
    module: nn.Module,
    input_name: str,
    channels: int,
    outputs: Mapping[str, str],
    size: tuple[int, int] | None,
    free: Mapping[str, Any],
) -> Graph:
    return Graph(
        role=role,
        module=module.eval(),
        input_name=input_name,
        channels=channels,
        output_names=tuple(outputs),
        output_meanings=tuple(outputs.values()),
        size=size,
        **free,
    )


def _check_size(size: tuple[int, int], network: str, multiple: int, smallest: int) -> None:
    if min(size) < smallest or any(side % multiple for side in size):
        needed = [max(-(-max(side, smallest) // multiple) * multiple, multiple) for side in size]
        multiples = f" that are multiples of {multiple}" if multiple > 1 else ""
        raise InputError(
            f"{network} takes heights and widths from {smallest} pixels on{multiples}, "
            f"but got {size[0]}×{size[1]}; use {needed[0]}×{needed[1]}."
        )
