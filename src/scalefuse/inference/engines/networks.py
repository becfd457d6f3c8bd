"""From a network and a backend to what a predictor calls."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any, cast

import torch
from torch import Tensor, nn

from scalefuse.inference.engines.folding import folded
from scalefuse.inference.engines.parts import fusion_parts, segmentation_parts
from scalefuse.inference.engines.protocol import Backend, Compiled, Part, Precision
from scalefuse.inference.explanation import has_stages
from scalefuse.networks.dilran.network import DILRAN, check_image

MAX_GRAPHS = 4
"""Sizes for which a classifier's graph is kept; the one longest unused goes first."""

_LARGEST_FILLING = 4


class LazyPart:
    """A part that is compiled when it first runs.

    Args:
        backend: compiles it.
        part: the part.

    Example:
        >>> from scalefuse.inference.engines.torch_engine import TorchBackend
        >>> LazyPart(TorchBackend(), Part(nn.ReLU(), (torch.zeros(1, 1, 8, 8),)))(-torch.ones(1, 1, 1, 1))
        tensor([[[[0.]]]])
    """

    def __init__(self, backend: Backend, part: Part) -> None:
        self._backend, self._part = backend, part
        self._run: Compiled | None = None
        self._lock = threading.Lock()

    def __call__(self, *inputs: Tensor) -> Any:
        """Compute the part."""
        if self._run is None:
            with self._lock:
                self._run = self._run or self._backend.compile(self._part)
        return self._run(*inputs)

    def __getstate__(self) -> dict[str, Any]:
        # A copy, perhaps in another process, compiles for itself.
        return {**self.__dict__, "_run": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())


class FusionParts:
    """DILRAN as a :class:`~scalefuse.inference.fuser.FusionEngine`.

    Args:
        network: in evaluation mode.
        backend: computes encoder and decoder.
        precision: of the convolutions.

    Example:
        >>> from scalefuse.inference.engines.torch_engine import TorchBackend
        >>> engine = FusionParts(DILRAN(features=4).eval(), TorchBackend(), "fp32")
        >>> engine.decode(engine.encode(torch.rand(1, 1, 17, 23))).shape
        torch.Size([1, 1, 17, 23])
    """

    def __init__(self, network: DILRAN, backend: Backend, precision: Precision) -> None:
        self.network = network
        parts = fusion_parts(network, precision, sums_roughly=backend.sums_roughly)
        self._encoder, self._decoder = (LazyPart(backend, part) for part in parts)

    def encode(self, x: Tensor) -> Tensor:
        """Map images ``(N, 1, H, W)`` in [0, 1] to features ``(N, C, H, W)``, on the engine's device.

        Raises:
            InputError: the shape or the data type is another one.
        """
        check_image(x)
        return cast(Tensor, self._encoder(x))

    def decode(self, features: Tensor) -> Tensor:
        """Map features ``(N, C, H, W)`` to images ``(N, 1, H, W)``."""
        return cast(Tensor, self._decoder(features)).cpu()


class SegmentationParts:
    """A segmentation network as an engine: images ``(N, C, H, W)`` to logits ``(N, K, H, W)``.

    Args:
        network: in evaluation mode.
        channels: of the image.
        multiple: what heights and widths must be divisible by.
        backend: computes it.
        precision: of the heavy layers.

    Example:
        >>> from scalefuse.inference.engines.torch_engine import TorchBackend
        >>> engine = SegmentationParts(nn.Conv2d(3, 1, 1), 3, 1, TorchBackend(), "fp32")
        >>> engine(torch.zeros(1, 3, 8, 8)).shape
        torch.Size([1, 1, 8, 8])
    """

    def __init__(
        self, network: nn.Module, channels: int, multiple: int, backend: Backend, precision: Precision
    ) -> None:
        parts = segmentation_parts(folded(network), channels, multiple, precision)
        self._parts = [LazyPart(backend, part) for part in parts]

    def __call__(self, images: Tensor, /) -> Tensor:
        """Return the logits."""
        if len(self._parts) == 1:
            return cast(Tensor, self._parts[0](images)).cpu()
        level, trunk, guide, last = self._parts
        *scales, feature = trunk(level(images))
        logits: Tensor = last(scales[0], feature, guide(*scales, images))
        return logits.cpu()


class ClassifierParts:
    """A classifier as an engine: standardised images ``(N, C, H, W)`` to logits ``(N, K)``.

    Embeddings and Grad-CAM, which look into the network, come from the network itself, in float32.

    Args:
        network: in evaluation mode.
        backend: computes the logits.
        precision: of the heavy layers.

    Example:
        >>> from scalefuse.inference.engines.torch_engine import TorchBackend
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
        >>> ClassifierParts(network, TorchBackend(), "fp32")(torch.rand(5, 1, 2, 2)).shape
        torch.Size([5, 3])
    """

    def __init__(self, network: nn.Module, backend: Backend, precision: Precision) -> None:
        self.network = network
        self._folded: nn.Module | None = None
        self._backend, self._precision = backend, precision
        self._graphs: OrderedDict[tuple[int, ...], Compiled] = OrderedDict()
        self._lock = threading.Lock()
        if has_stages(network):
            self.forward_features = cast(Any, network).forward_features
            self.forward_embedding = cast(Any, network).forward_embedding
            self.forward_head = cast(Any, network).forward_head
            self.stage_grid = getattr(network, "stage_grid", None)

    def __call__(self, images: Tensor, /) -> Tensor:
        """Return the logits."""
        if len(images) == 0:
            return cast(Tensor, self.network(images))
        with self._lock:
            size, run = self._graph(images)
        missing = size - len(images)
        if missing > 0:
            images = torch.cat([images, images[-1:].expand(missing, *images.shape[1:])])
        logits: Tensor = run(images)
        return logits[: len(images) - max(0, missing)].cpu()

    def __getstate__(self) -> dict[str, Any]:
        # A copy, perhaps in another process, compiles for itself.
        return {**self.__dict__, "_graphs": OrderedDict(), "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def _graph(self, images: Tensor) -> tuple[int, Compiled]:
        """The number of images that the graph takes (0 for any), and the graph."""
        if not self._backend.fixes_classifiers:
            if not self._graphs:
                part = self._part(torch.zeros(1, *images.shape[1:]))
                self._graphs[()] = self._backend.compile(part)
            return 0, self._graphs[()]
        count, shape = len(images), tuple(images.shape[1:])
        # A few images too many cost less than another graph.
        fitting = [
            key for key in self._graphs if key[1:] == shape and count <= key[0] <= _LARGEST_FILLING * count
        ]
        key = min(fitting, default=(count, *shape))
        if key not in self._graphs:
            while len(self._graphs) >= MAX_GRAPHS:
                self._graphs.popitem(last=False)
            self._graphs[key] = self._backend.compile(self._part(torch.zeros(key)))
        self._graphs.move_to_end(key)
        return key[0], self._graphs[key]

    def _part(self, example: Tensor) -> Part:
        if self._folded is None:
            self._folded = folded(self.network)
        multiple = None if self._backend.fixes_classifiers else 1
        return Part(self._folded, (example,), self._precision, multiple=multiple, channels_last=True)
