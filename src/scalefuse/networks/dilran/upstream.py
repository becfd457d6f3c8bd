"""Reads the authors' released DILRAN checkpoint; the only place that knows its key names."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from scalefuse.errors import BundleError
from scalefuse.networks.dilran.network import DILRAN

_LAYERS = {
    "fe.conv1": "encoder.input_conv",
    "fe.fe.convd1": "encoder.dilated_convs.0",
    "fe.fe.convd2": "encoder.dilated_convs.1",
    "fe.fe.convd3": "encoder.dilated_convs.2",
    "fe.fe.reduce": "encoder.reduce_conv",
    "fe.fe.bnorm1": "encoder.norm",
    "fe.fe.dilran.conv_d": "encoder.residual_attention.conv",
    "recon.recon_conv.0": "decoder.0",
    "recon.recon_conv.1": "decoder.1",
    "recon.recon_conv.2": "decoder.2",
}
_KEYS = {
    f"{theirs}.{kind}": f"{ours}.{kind}" for theirs, ours in _LAYERS.items() for kind in ("weight", "bias")
}

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
_UNUSED_CONVS = ("fe.conv_id.0", "fe.conv2.0", "fe.conv2.3")
_UNUSED_NORMS = ("fe.conv2.1", "fe.conv2.4", "fe.bnorm", "fe.fe.dilran.bnorm")
DROPPED_KEYS: frozenset[str] = frozenset(
    # Layers that the released program creates and never applies.
    [f"{layer}.{kind}" for layer in _UNUSED_CONVS for kind in ("weight", "bias")]
    + [f"{layer}.{kind}" for layer in _UNUSED_NORMS for kind in ("weight", "bias", *_STATISTICS)]
    # Running statistics: the network uses each image's own.
    + [f"fe.fe.bnorm1.{kind}" for kind in _STATISTICS]
)
"""Tensors of the released file that take no part in the output."""


def convert_state_dict(state_dict: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Rename the tensors of the authors' checkpoint to those of :class:`DILRAN`.

    Args:
        state_dict: The released state dict (64 features, dilations 1, 3, 5), on any device.

    Returns:
        The state dict for ``DILRAN()`` and the names that were dropped, in the file's order: layers that
        the released program never applies, and running statistics of the norm.

    Raises:
        BundleError: If a tensor is unknown, missing or of another shape.

    Example:
        >>> ours, dropped = convert_state_dict({"fe.conv3.weight": torch.zeros(1)})
        Traceback (most recent call last):
        ...
        scalefuse.errors.BundleError: Not the released DILRAN checkpoint: unknown tensors fe.conv3.weight; ...
    """
    unknown = [key for key in state_dict if key not in _KEYS and key not in DROPPED_KEYS]
    missing = [key for key in _KEYS if key not in state_dict]
    problems = [f"unknown tensors {_listed(unknown)}"] if unknown else []
    problems += [f"missing tensors {_listed(missing)}"] if missing else []
    if not problems:
        with torch.device("meta"):
            expected = {key: tuple(tensor.shape) for key, tensor in DILRAN().state_dict().items()}
        for theirs, ours in _KEYS.items():
            got = tuple(getattr(state_dict[theirs], "shape", ()))
            if got != expected[ours]:
                problems.append(f"{theirs} has shape {got}, expected {expected[ours]}")
    if problems:
        raise BundleError(
            f"Not the released DILRAN checkpoint: {'; '.join(problems)}. "
            "Give the state dict that the authors published, unchanged."
        )
    converted = {ours: state_dict[theirs].detach().clone() for theirs, ours in _KEYS.items()}
    return converted, [key for key in state_dict if key in DROPPED_KEYS]


def _listed(names: list[str], shown: int = 5) -> str:
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")
