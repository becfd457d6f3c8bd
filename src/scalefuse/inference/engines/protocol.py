"""What engines are: the words that the files of this package share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from torch import Tensor, nn

EngineName = Literal["torch", "compiled", "onnxruntime", "openvino"]
"""What computes a network."""

Precision = Literal["fp32", "bf16"]
"""Numbers that the heavy layers compute in; inputs and outputs are float32 always."""

Compiled = Callable[..., Any]
"""A part that is ready to run: tensors to one tensor, or to a tuple of several, on its device."""


class Engine(Protocol):
    """What a predictor calls: images ``(N, C, H, W)`` to a tensor, or to a tuple of tensors."""

    def __call__(self, images: Tensor, /) -> Any:
        """Compute the network."""
        ...


@dataclass(frozen=True)
class Part:
    """A piece of a network that becomes one graph.

    Most networks are one part. Where a few layers must stay in float32, or something happens between layers
    that no graph can hold, a network is several.

    Attributes:
        module: in evaluation mode, without gradients.
        examples: inputs to trace with.
        precision: of the heavy layers.
        multiple: what free heights and widths are divisible by; ``None`` where the graph holds for the
            examples' shapes alone.
        smallest: the smallest free height and width.
        channels_last: whether torch computes it faster with the channels innermost.
    """

    module: nn.Module
    examples: tuple[Tensor, ...]
    precision: Precision = "fp32"
    multiple: int | None = 1
    smallest: int = 1
    channels_last: bool = False


class Backend(Protocol):
    """Something that makes parts runnable.

    Attributes:
        fixes_classifiers: whether a classifier's graph must be made anew for every size and batch.
        sums_roughly: whether its reductions over whole images are less exact than torch's.
    """

    fixes_classifiers: bool
    sums_roughly: bool

    def compile(self, part: Part) -> Compiled:
        """Make a part runnable."""
        ...
