"""What the rest of ScaleFuse needs to know about a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from scalefuse.schema import Schema

if TYPE_CHECKING:
    from torch import Tensor, nn

Task = Literal["fusion", "segmentation", "classification"]


@dataclass(frozen=True)
class Paper:
    """Where a network was published."""

    title: str
    authors: str
    venue: str
    url: str
    released_program_licence: str


@dataclass(frozen=True)
class NetworkSpec:
    """One catalogued network.

    Attributes:
        name: Name in configs and on the command line; equals ``config.name``.
        task: Which of the three tasks it serves.
        config: Schema with the constructor's arguments and ``name: Literal[...]``.
        build: Makes the network from a config (freshly initialised).
        size_multiple: Height and width must be multiples of this; predictors pad and crop.
        min_size: Smallest height and width the network takes.
        paper: The publication.
        summary: One line for ``scalefuse networks``.
        parts: Named sub-modules for the parameter and MAC table, e.g. ``{"encoder": ("encoder",)}``.
        biases_before_norm: Names of parameters whose gradient is zero by construction, because a
            normalisation that follows removes them.
        convert_state_dict: ``(state dict) -> (our state dict, dropped keys)`` for the authors' checkpoints,
            or None where none were published.
        read_architecture: ``(authors' state dict) -> constructor arguments``, where their checkpoints come in
            several sizes.
        tiny: Constructor arguments of a small instance, for tests.
        layers: Beginnings of parameter names, a tuple for each layer from the input to the output, for
            learning rates that differ by depth; together they cover every parameter once.
        head: Beginnings of the names of the parameters that give the classes; their shapes depend on the
            number of classes.
        example_shape: ``(C, H, W)`` that the parameter and MAC table is counted at.
    """

    name: str
    task: Task
    config: type[Schema]
    build: Callable[[Any], nn.Module]
    size_multiple: int
    min_size: int
    paper: Paper
    summary: str
    parts: Mapping[str, tuple[str, ...]]
    biases_before_norm: tuple[str, ...] = ()
    convert_state_dict: Callable[[Mapping[str, Tensor]], tuple[dict[str, Tensor], list[str]]] | None = None
    read_architecture: Callable[[Mapping[str, Tensor]], dict[str, Any]] | None = None
    tiny: Mapping[str, Any] = field(default_factory=dict)
    layers: tuple[tuple[str, ...], ...] = ()
    head: tuple[str, ...] = ()
    example_shape: tuple[int, int, int] = (3, 256, 256)
