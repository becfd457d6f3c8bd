"""Locally adaptive strategies: weights from the features around each pixel instead of one per image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from scalefuse.fusion.strategies import check_pair


def _neighbourhood_mean(energy: Tensor) -> Tensor:
    """Mean over about 7×7 pixels: 2×2 pooling, 3×3 mean of the cells, bilinear back to full size."""
    height, width = energy.shape[-2:]
    cells = F.avg_pool2d(energy, 2, ceil_mode=True, count_include_pad=False)
    cells = F.avg_pool2d(cells, 3, 1, 1, count_include_pad=False)
    full = F.interpolate(cells, scale_factor=2.0, mode="bilinear", align_corners=False)
    return full[..., :height, :width]


def local_energy_ratio(f1: Tensor, f2: Tensor) -> Tensor:
    """Weights from each channel's energy around a pixel: ``e1 f1 + e2 f2`` over ``e1 + e2``.

    ``e`` is the mean of ``f²`` over a neighbourhood of about 7×7 pixels, channel by channel. Equal weights where
    both vanish.

    Args:
        f1: Features of the first image, ``(N, C, H, W)``.
        f2: Features of the second image, same shape.

    Returns:
        ``(N, C, H, W)``.

    Raises:
        InputError: If the shapes differ.

    Reference:
        Not from the paper: :func:`~scalefuse.fusion.feature_energy_ratio` with the energy of a neighbourhood,
        as the local activity measures of pyramid fusion (Burt and Kolczynski 1993).

    Example:
        >>> one = torch.ones(1, 1, 8, 8)
        >>> round(local_energy_ratio(one, 3 * one).mean().item(), 4)
        2.8
    """
    check_pair(f1, f2)
    e1, e2 = _neighbourhood_mean(f1.square()), _neighbourhood_mean(f2.square())
    total = e1 + e2
    share = torch.where(total > 0, e1 / torch.where(total > 0, total, 1.0), 0.5)
    return torch.lerp(f2, f1, share)
