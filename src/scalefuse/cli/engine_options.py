"""The options that say what computes, shared by the commands that apply a model."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from scalefuse.inference.engines.choice import EngineChoice, EnsembleChoice


class Engine(StrEnum):
    """What computes the network."""

    AUTO = "auto"
    TORCH = "torch"
    COMPILED = "compiled"
    ONNXRUNTIME = "onnxruntime"
    OPENVINO = "openvino"


class Precision(StrEnum):
    """Numbers that the heavy layers compute in."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"


EngineOption = Annotated[
    Engine,
    typer.Option("--engine", help="What computes the network; `scalefuse info` shows what auto takes."),
]
PrecisionOption = Annotated[
    Precision, typer.Option("--precision", help="Numbers it computes in: exact, or short and faster.")
]


def say_computed_by(choice: EngineChoice | EnsembleChoice | str | None) -> None:
    """One dim line on standard error, where a network computed anything."""
    from scalefuse.cli.console import err

    if choice is not None:
        err.print(f"computed by {choice}", style="dim", markup=False)
