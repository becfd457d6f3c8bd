"""Weights that a training starts from: another model's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import yaml
from torch import Tensor, nn

from scalefuse.bundle import Bundle, load_bundle
from scalefuse.data.checkpoint import read_checkpoint
from scalefuse.errors import BundleError
from scalefuse.inference.finite_weights import require_finite_weights


def load_initial(
    network: nn.Module, source: str | None, *, head: Sequence[str] = (), new_head: bool = False
) -> None:
    """Start from the weights of a bundle or of a run's checkpoint, if one is named.

    Channels of a batch normalisation with an infinite variance, as early bundles in half precision hold
    them (which ends at 65504), start with new statistics: training measures them within its first steps.

    Args:
        network: Freshly initialised; changed in place.
        source: A bundle (a shipped name, a folder or a zip) or a ``.ckpt`` file; None changes nothing.
        head: Beginnings of the names of the parameters that give the classes.
        new_head: These keep the values drawn for them, and may be of any shape in ``source``.

    Raises:
        BundleError: It cannot be read, is of another network or of another size, or holds no numbers.
    """
    if source is None:
        return
    section = "give the network section that it was trained with"
    if source.endswith(".ckpt"):
        state = {
            name.removeprefix("network."): tensor
            for name, tensor in read_checkpoint(source).items()
            if name.startswith("network.")
        }
    else:
        bundle = load_bundle(source)
        state = bundle.state
        section = f"give its network section (--set '{_section(bundle, classes=not new_head)}')"
    own = network.state_dict()
    if new_head:
        assert head, "a network without a head has no classes that could differ"
        state = {name: tensor for name, tensor in state.items() if not name.startswith(tuple(head))}
        state |= {name: tensor for name, tensor in own.items() if name.startswith(tuple(head))}
    expected = {name: tensor.shape for name, tensor in own.items()}
    found = {name: tensor.shape for name, tensor in state.items()}
    if found != expected:
        names = sorted(expected.keys() | found.keys())
        differing = [name for name in names if found.get(name) != expected.get(name)]
        first, of_head = differing[0], all(name.startswith(tuple(head)) for name in differing)
        there, here = (str(tuple(one[first])) if first in one else "missing" for one in (found, expected))
        raise BundleError(
            f"{source}: holds the weights of another network than the one configured ({first} is {there} "
            f"there and {here} here); "
            + ("set new_head=true to take all but the layer that gives the classes" if of_head else section)
            + ", or leave init out."
        )
    state = _with_new_statistics(state)
    require_finite_weights(state, source)
    network.load_state_dict(state)


def _section(bundle: Bundle, *, classes: bool) -> str:
    """The network section of a bundle as a setting, without what is the default."""
    network = bundle.info.network
    values = {"name": network.name, **network.model_dump(mode="json", exclude_defaults=True)}
    if not classes:
        values.pop("num_classes", None)
    return "network=" + yaml.safe_dump(values, default_flow_style=True, sort_keys=False, width=1000).strip()


def _with_new_statistics(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    renewed = dict(state)
    for name, variance in state.items():
        mean = name.removesuffix("running_var") + "running_mean"
        if name.endswith(".running_var") and mean in state:
            infinite = torch.isposinf(variance)
            renewed[name] = variance.masked_fill(infinite, 1.0)
            renewed[mean] = state[mean].masked_fill(infinite, 0.0)
    return renewed
