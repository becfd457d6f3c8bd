"""Weights in half precision, as small bundles store them."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def as_half(tensor: Tensor) -> Tensor:
    """The tensor in half precision, or as it is where that would lose more than rounding.

    Half precision ends at 65504, which the variances of a batch normalisation may exceed, and has few digits
    left below 1e-6.

    Example:
        >>> as_half(torch.tensor([1.0, 2.0])).dtype, as_half(torch.tensor([1.0, 1e6])).dtype
        (torch.float16, torch.float32)
    """
    if not tensor.is_floating_point():
        return tensor
    half = tensor.half()
    lost = torch.linalg.vector_norm(half.double() - tensor)
    return half if lost <= 1e-3 * torch.linalg.vector_norm(tensor.double()) else tensor


def round_to_half(network: nn.Module) -> None:
    """Round weights to what a half-precision bundle stores, so that these are what is fitted and measured.

    Example:
        >>> layer = nn.Linear(1, 1)
        >>> _ = nn.init.constant_(layer.weight, 0.1)
        >>> round_to_half(layer)
        >>> round(layer.weight.item(), 9), layer.weight.dtype
        (0.099975586, torch.float32)
    """
    network.load_state_dict(
        {name: as_half(tensor).to(tensor.dtype) for name, tensor in network.state_dict().items()}
    )
