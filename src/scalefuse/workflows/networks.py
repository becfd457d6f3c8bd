"""What the catalogue holds, and how large its networks are."""

from __future__ import annotations

from dataclasses import dataclass

from scalefuse.catalog import NETWORKS
from scalefuse.errors import InputError


@dataclass(frozen=True)
class PartSize:
    """Size of a part of a network.

    Attributes:
        name: The part.
        parameters: Trainable numbers.
        macs: Multiply-accumulates for one image of the network's example shape.
    """

    name: str
    parameters: int
    macs: int


def describe(name: str, **arguments: object) -> list[PartSize]:
    """Parameters and multiply-accumulates of each part of a network, and their total as the last entry.

    Args:
        name: Name in the catalogue.
        **arguments: Constructor arguments that differ from the defaults.

    Raises:
        InputError: Unknown network.

    Example:
        >>> describe("dilran")[-1].parameters
        216001
    """
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    if name not in NETWORKS:
        raise InputError(f"Unknown network {name!r}; expected one of: {', '.join(NETWORKS)}.")
    spec = NETWORKS[name]
    with torch.device("meta"):
        config = spec.config.model_validate({"name": name, **arguments})
        network = spec.build(config).eval()
        channels, *size = spec.example_shape
        image = torch.empty(1, getattr(config, "in_channels", channels), *size)
    counter = FlopCounterMode(display=False)
    # Fused attention hides its products from the counter.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        network(image)
    by_module = {
        module.partition(".")[2]: sum(flops.values()) // 2
        for module, flops in counter.get_flop_counts().items()
    }
    sizes = []
    for part, modules in spec.parts.items():
        parameters = sum(p.numel() for module in modules for p in network.get_submodule(module).parameters())
        sizes.append(PartSize(part, parameters, sum(_macs(by_module, module) for module in modules)))
    total = sum(p.numel() for p in network.parameters())
    sizes.append(PartSize("total", total, counter.get_total_flops() // 2))
    return sizes


def _macs(by_module: dict[str, int], module: str) -> int:
    """Multiply-accumulates of a module, or of those it holds where it is a list that is never called."""
    if module in by_module:
        return by_module[module]
    inside = [name for name in by_module if name.startswith(f"{module}.")]
    outermost = [name for name in inside if not any(name.startswith(f"{other}.") for other in inside)]
    return sum(by_module[name] for name in outermost)
