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
    return torch.lerp(f2, f1, _share(e1, e2, exponent=2).to(f1.dtype))


def two_scale_energy_ratio(f1: Tensor, f2: Tensor) -> Tensor:
    """Coarse and fine parts of the features joined with a weight per pixel each.

    The coarse part (means over 4×4 pixels, drawn smoothly) is weighted by the features' energy around the
    pixel, as in :func:`local_energy_ratio`; what is left, the detail, by the energy of the features'
    gradients over 9×9 pixels. So a region can take its brightness from one image and its edges from the
    other. Both weights are ``e1⁴ / (e1⁴ + e2⁴)``, one for all channels; equal where both energies vanish.

    Args:
        f1: Features of the first image, ``(N, C, H, W)``.
        f2: Features of the second image, same shape.

    Returns:
        ``(N, C, H, W)``.

    Raises:
        InputError: If the shapes differ.

    Reference:
        Not from the paper. Weights from local energy at two scales are those of pyramid fusion (Burt and
        Kolczynski 1993), here on learned features.

    Example:
        >>> one = torch.ones(1, 1, 8, 8)
        >>> round(two_scale_energy_ratio(one, 2 * one).mean().item(), 4)
        1.9961
    """
    check_pair(f1, f2)
    coarse = _share(
        *(_neighbourhood_mean(f.square().mean(dim=1, keepdim=True, dtype=torch.float32)) for f in (f1, f2)),
        exponent=4,
    )
    fine = _share(_gradients_around(f1), _gradients_around(f2), exponent=4)
    height, width = f1.shape[-2:]
    difference = F.avg_pool2d(f1 - f2, 4, ceil_mode=True, count_include_pad=False)
    difference = F.interpolate(difference, scale_factor=4.0, mode="bilinear", align_corners=False)
    # fine · f1 + (1 − fine) · f2, with the coarse part of f1 − f2 weighted by `coarse` instead.
    joined = torch.lerp(f2, f1, fine.to(f1.dtype))
    return torch.addcmul(joined, (coarse - fine).to(f1.dtype), difference[..., :height, :width])


def gradient_energy(features: Tensor) -> Tensor:
    """Squared differences of neighbouring pixels, meaned over channels, ``(N, 1, H, W)``.

    Example:
        >>> gradient_energy(torch.tensor([[[[1.0, 1.0, 3.0]]]])).flatten().tolist()
        [0.0, 4.0, 4.0]
    """
    down = (features[..., 1:, :] - features[..., :-1, :]).square().mean(1, keepdim=True, dtype=torch.float32)
    right = (features[..., 1:] - features[..., :-1]).square().mean(1, keepdim=True, dtype=torch.float32)
    # Each pixel has half of the difference to either side, so that mirrored images give mirrored weights.
    return F.pad(down, (0, 0, 0, 1)) + F.pad(down, (0, 0, 1, 0)) + F.pad(right, (0, 1)) + F.pad(right, (1, 0))


def _gradients_around(features: Tensor) -> Tensor:
    return F.avg_pool2d(gradient_energy(features), 9, 1, 4, count_include_pad=False)


def _share(e1: Tensor, e2: Tensor, *, exponent: int) -> Tensor:
    """``e1ⁿ / (e1ⁿ + e2ⁿ)``, 0.5 where both are 0."""
    # The ratio first: powers of small energies would underflow.
    top = torch.maximum(e1, e2)
    scale = torch.where(top > 0, top, 1.0)
    first, second = (e1 / scale).pow(exponent), (e2 / scale).pow(exponent)
    return torch.where(top > 0, first / (first + second).clamp_min(1e-12), 0.5)
