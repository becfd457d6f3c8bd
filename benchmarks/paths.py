"""The engines and number types that this installation has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import scalefuse
from scalefuse.bundle import Bundle
from scalefuse.inference.engines.choice import SUPPORTED
from scalefuse.inference.engines.hardware import read_machine
from scalefuse.inference.engines.torch_engine import has_compiler


@dataclass(frozen=True)
class Pair:
    """An engine and a number type, as ``--engine`` and ``--precision`` take them."""

    engine: str
    precision: str

    @property
    def name(self) -> str:
        return f"{self.engine} {self.precision}"


def installed_pairs(*, quick: bool = False, compiled: bool = False) -> list[Pair]:
    """What works here, in the order of the tables.

    Args:
        quick: Only torch, which converts nothing.
        compiled: Also ``torch.compile``, which takes a minute for each network.
    """
    machine = read_machine()
    found = []
    for engine, precisions in SUPPORTED.items():
        left_out = (quick and engine != "torch") or not machine.has(engine)
        if left_out or (engine == "compiled" and not (compiled and has_compiler())):
            continue
        for precision, problem in precisions.items():
            if problem is None and (precision == "fp32" or machine.computes_bf16):
                found.append(Pair(engine, precision))
    return found


AUTO = Pair("auto", "auto")
"""What a command chooses by itself where there is much to compute."""


def predictor(bundle: Bundle, pair: Pair = AUTO, **options: Any) -> Any:
    """The predictor of a bundle with an engine."""
    return scalefuse.load(bundle, engine=pair.engine, precision=pair.precision, **options)
