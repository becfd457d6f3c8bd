"""Locally adaptive strategies: weights from the features around each pixel instead of one per image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from scalefuse.fusion.strategies import check_pair


def _neighbourhood_mean(energy: Tensor) -> Tensor:
    """Mean over about 12×12 pixels: 4×4 pooling, 3×3 mean of the cells, bilinear back to full size."""
    height, width = energy.shape[-2:]
    cells = F.avg_pool2d(energy, 4, ceil_mode=True, count_include_pad=False)
    cells = F.avg_pool2d(cells, 3, 1, 1, count_include_pad=False)
    full = F.interpolate(cells, scale_factor=4.0, mode="bilinear", align_corners=False)
    return full[..., :height, :width]


def local_energy_ratio(f1: Tensor, f2: Tensor) -> Tensor:
    """One weight per pixel, from the features' energy around it: ``(e1² f1 + e2² f2) / (e1² + e2²)``.

    ``e`` is the mean of ``f²`` over all channels and a neighbourhood of about 12×12 pixels. Where one image
    shows bone or an edge and the other does not, the result is close to the first; where both are alike, to
    their mean. Equal weights where both vanish.

    Args:
        f1: Features of the first image, ``(N, C, H, W)``.
        f2: Features of the second image, same shape.

    Returns:
        ``(N, C, H, W)``.

    Raises:
        InputError: If the shapes differ.

    Reference:
        Not from the paper. The weights of pyramid fusion (Burt and Kolczynski 1993), taken from learned
        features: one map for all channels keeps the channels of one image together, and the square makes the
        choice firm where the energies differ.

    Example:
        >>> one = torch.ones(1, 1, 8, 8)
        >>> round(local_energy_ratio(one, 2 * one).mean().item(), 4)
        1.9412
    """
    check_pair(f1, f2)
    e1 = _neighbourhood_mean(f1.square().mean(dim=1, keepdim=True, dtype=torch.float32))
    e2 = _neighbourhood_mean(f2.square().mean(dim=1, keepdim=True, dtype=torch.float32))
    # The ratio first: squares of small energies would underflow.
    top = torch.maximum(e1, e2)
    scale = torch.where(top > 0, top, 1.0)
    first, second = (e1 / scale).square(), (e2 / scale).square()
    share = torch.where(top > 0, first / (first + second).clamp_min(1e-12), 0.5)
    return torch.lerp(f2, f1, share.to(f1.dtype))
