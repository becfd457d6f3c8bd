"""The largest nuclear norm among an image's channels, without decomposing every channel."""

from __future__ import annotations

import torch
from torch import Tensor

from scalefuse.errors import InputError


def largest_nuclear_norm(features: Tensor) -> Tensor:
    """Largest sum of singular values among the channels' H×W matrices, one number per image.

    Args:
        features: Features, ``(N, C, H, W)``.

    Returns:
        Nuclear norms in float64, ``(N,)``, exact to 1e-6 relative.

    Raises:
        InputError: If the shape is another one or a value is NaN or infinite.

    Example:
        >>> largest_nuclear_norm(torch.diag(torch.tensor([1.0, 2.0, 3.0])).expand(1, 4, 3, 3))
        tensor([6.], dtype=torch.float64)
    """
    if features.ndim != 4:
        raise InputError(f"Expected features of shape (N, C, H, W) but got {tuple(features.shape)}.")
    if not bool(torch.isfinite(features).all()):
        raise InputError("Expected finite features but got NaN or infinity; check the input images for NaN.")
    norms: Tensor = torch.linalg.svdvals(features.detach().double()).sum(-1).amax(1)
    return norms
