"""The softmax nuclear-norm strategy in its plain form: every channel of both images is decomposed."""

from __future__ import annotations

import torch
from torch import Tensor


def plain_largest_nuclear_norm(features: Tensor) -> Tensor:
    """Largest nuclear norm of the channels, ``(N, C, H, W)`` to ``(N,)``, from all singular values."""
    return torch.linalg.svdvals(features).sum(dim=-1).amax(dim=1)


def plain_softmax_nuclear_norm(f1: Tensor, f2: Tensor) -> Tensor:
    """Fuse two feature tensors ``(N, C, H, W)`` with the paper's strategy, word for word."""
    n1 = plain_largest_nuclear_norm(torch.softmax(f1, dim=1)).view(-1, 1, 1, 1)
    n2 = plain_largest_nuclear_norm(torch.softmax(f2, dim=1)).view(-1, 1, 1, 1)
    return (n1**2 * f1 + n2**2 * f2) / (n1**2 + n2**2)
