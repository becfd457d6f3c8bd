"""What this installation can compute with, and what it will use."""

from __future__ import annotations

import platform
from dataclasses import asdict
from typing import Any

from scalefuse.catalog import NETWORKS
from scalefuse.inference.engines.choice import WORTH_SHORTENING, choose_engine, worth_compiling
from scalefuse.inference.engines.hardware import read_machine
from scalefuse.inference.engines.packages import EXTRA, NEEDED, missing_packages
from scalefuse.version import __version__


def installation() -> dict[str, Any]:
    """Versions, the machine, optional engines, and what ``--engine auto --precision auto`` takes.

    Example:
        >>> installation()["auto"]["dilran"]["jobs"][0]["from_megapixels"]
        0.0
    """
    import torch

    here = read_machine()
    machine = {**asdict(here), "bf16_gain": here.measured_bf16_gain}
    packages = machine.pop("engines")
    engines: dict[str, Any] = {
        engine: {
            "installed": not missing_packages(engine),
            "packages": {name: packages[name] for name in packages if name in NEEDED[engine]},
            "extra": extra,
        }
        for engine, extra in EXTRA.items()
    }
    automatic: dict[str, Any] = {}
    for name, network in NETWORKS.items():
        steps: list[dict[str, Any]] = []
        for size in (0.0, WORTH_SHORTENING, worth_compiling(name)):
            choice = str(choose_engine(network=name, megapixels=size))
            if not steps or steps[-1]["computed_by"] != choice:
                steps.append({"from_megapixels": size, "computed_by": choice})
        automatic[name] = {"task": network.task, "jobs": steps}
    return {
        "scalefuse": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": platform.platform(),
        "machine": machine,
        "engines": engines,
        "auto": automatic,
    }
