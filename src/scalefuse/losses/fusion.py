"""Losses for auto-encoding and for fusion: DILRAN's own, and differentiable measures of a fused picture.

Every function takes ``(N, 1, H, W)`` images with values in [0, 1] and computes in float32. The measures
follow the definitions of :mod:`scalefuse.metrics`, with small constants that keep their gradients finite.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

_EPS = 1e-6


def sobel(image: Tensor) -> tuple[Tensor, Tensor]:
    """Sobel gradients along x and along y, zero-padded, each ``(N, 1, H, W)``.

    Example:
        >>> x, y = sobel(torch.arange(3.0).expand(1, 1, 3, 3))
        >>> x[0, 0, 1, 1].item(), y[0, 0, 1, 1].item()
        (8.0, 0.0)
    """
    # Sums of shifted views: several times faster here than a convolution of one channel.
    padded = F.pad(image, (1, 1, 1, 1))
    down = padded[..., :-2, :] + 2 * padded[..., 1:-1, :] + padded[..., 2:, :]
    across = padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:]
    return down[..., 2:] - down[..., :-2], across[..., 2:, :] - across[..., :-2, :]


def gradient_loss(output: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of absolute Sobel gradients, summed over x and y.

    Args:
        output: ``(N, 1, H, W)``.
        target: ``(N, 1, H, W)``.

    Reference:
        Gradient term of DILRAN's training loss (arXiv 2212.04661, section 3.3).

    Example:
        >>> gradient_loss(torch.ones(1, 1, 4, 4), torch.ones(1, 1, 4, 4)).item()
        0.0
    """
    pairs = zip(sobel(output.float()), sobel(target.float()), strict=True)
    return torch.stack([F.mse_loss(ours.abs(), theirs.abs()) for ours, theirs in pairs]).sum()


def structural_similarity(fused: Tensor, source: Tensor) -> Tensor:
    """Mean SSIM per image, ``(N,)``: 7×7 uniform window, valid positions, sample covariance, data range 1.

    Reference:
        Wang et al. 2004; the window and the sums are those of the measure ``SSIM``.

    Example:
        >>> image = torch.rand(1, 1, 16, 16, generator=torch.manual_seed(0))
        >>> round(structural_similarity(image, image).item(), 4)
        1.0
    """
    window, c1, c2 = 7, 0.01**2, 0.03**2
    stack = torch.cat([fused, source, fused * fused, source * source, fused * source], dim=1)
    mean_f, mean_s, square_f, square_s, product = F.avg_pool2d(stack, window, 1).chunk(5, dim=1)
    unbiased = window**2 / (window**2 - 1)
    var_f = unbiased * (square_f - mean_f * mean_f)
    var_s = unbiased * (square_s - mean_s * mean_s)
    cov = unbiased * (product - mean_f * mean_s)
    luminance = (2 * mean_f * mean_s + c1) / (mean_f**2 + mean_s**2 + c1)
    similarity: Tensor = luminance * (2 * cov + c2) / (var_f + var_s + c2)
    return similarity.mean(dim=(1, 2, 3))


def _gaussian_band(length: int, size: int, like: Tensor) -> Tensor:
    """Matrix ``(length - size + 1, length)`` that smooths a vector by a Gaussian window of ``size``."""
    position = torch.arange(size, dtype=like.dtype, device=like.device) - size // 2
    weights = torch.exp(-(position**2) / (2 * (size / 5) ** 2))
    band = like.new_zeros(length - size + 1, length)
    for offset, weight in enumerate(weights / weights.sum()):
        band.diagonal(offset).fill_(weight)
    return band


def _smooth_valid(image: Tensor, size: int) -> Tensor:
    # Two matrix products: for crops of a few hundred pixels far faster than depthwise convolutions.
    height, width = image.shape[-2:]
    return _gaussian_band(height, size, image) @ image @ _gaussian_band(width, size, image).T


def visual_information(fused: Tensor, source: Tensor) -> Tensor:
    """Pixel-domain visual information fidelity of ``fused`` about ``source`` per image, ``(N,)``.

    Args:
        fused: ``(N, 1, H, W)``, at least 41 pixels a side.
        source: ``(N, 1, H, W)``.

    Reference:
        Sheikh and Bovik 2006, the "vifp" variant: four scales, noise variance 2 on the 0–255 scale.

    Example:
        >>> image = torch.rand(1, 1, 64, 64, generator=torch.manual_seed(0))
        >>> round(visual_information(image, image).item(), 3)
        1.0
    """
    noise = 2.0
    both = torch.cat([source, fused], dim=1) * 255.0
    numerator = denominator = torch.zeros(len(fused), dtype=both.dtype, device=both.device)
    for scale in range(4):
        size = 2 ** (4 - scale) + 1
        if scale:
            both = _smooth_valid(both, size)[..., ::2, ::2]
        ref, dist = both[:, :1], both[:, 1:]
        stack = torch.cat([both, ref * ref, dist * dist, ref * dist], dim=1)
        mean_r, mean_d, square_r, square_d, product = _smooth_valid(stack, size).chunk(5, dim=1)
        var_r = (square_r - mean_r**2).clamp_min(0)
        var_d = (square_d - mean_d**2).clamp_min(0)
        cov = product - mean_r * mean_d
        gain = (cov / (var_r + 1e-4)).clamp_min(0)
        residual = (var_d - gain * cov).clamp_min(1e-4)
        numerator = numerator + torch.log1p(gain**2 * var_r / (residual + noise)).sum(dim=(1, 2, 3))
        denominator = denominator + torch.log1p(var_r / noise).sum(dim=(1, 2, 3))
    return numerator / (denominator + _EPS)


def _strength_and_angle(image: Tensor) -> tuple[Tensor, Tensor]:
    # Shrunk to a gradient of unit order; the ratio and the angle do not see the scale.
    x, y = sobel(image)
    strength = torch.sqrt(x * x + y * y + 1e-8)
    sign = torch.where(x < 0, -1.0, 1.0)
    return strength, torch.atan2(y * sign, x.abs() + 1e-4)


def edge_transfer(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Edges of both sources kept in the fused picture (Qabf) per image, ``(N,)``, in [0, 1].

    Reference:
        Xydeas and Petrović 2000, with the constants of the measure ``Qabf``.

    Example:
        >>> image = torch.rand(1, 1, 16, 16, generator=torch.manual_seed(0))
        >>> edge_transfer(image, image, image).item() > 0.9
        True
    """
    strength_f, angle_f = _strength_and_angle(fused)
    kept = total = torch.zeros_like(strength_f)
    for source in (a, b):
        strength, angle = _strength_and_angle(source)
        ratio = torch.minimum(strength_f, strength) / torch.maximum(strength_f, strength)
        alignment = 1 - (angle - angle_f).abs() * (2 / math.pi)
        # Written as sigmoids: T / (1 + exp(k (x - D))) = T · sigmoid(-k (x - D)).
        quality = 0.9994 * torch.sigmoid(15 * (ratio - 0.5)) * 0.9879 * torch.sigmoid(22 * (alignment - 0.8))
        kept, total = kept + quality * strength, total + strength
    return kept.sum(dim=(1, 2, 3)) / total.sum(dim=(1, 2, 3))


def _correlation(x: Tensor, y: Tensor) -> Tensor:
    x = x - x.mean(dim=(1, 2, 3), keepdim=True)
    y = y - y.mean(dim=(1, 2, 3), keepdim=True)
    scale = torch.sqrt((x * x).sum(dim=(1, 2, 3)) * (y * y).sum(dim=(1, 2, 3)) + _EPS)
    return (x * y).sum(dim=(1, 2, 3)) / scale


def correlations_of_differences(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Sum of the correlations of differences (SCD) per image, ``(N,)``, in [-2, 2].

    Reference:
        Aslantas and Bendes 2015.

    Example:
        >>> a = torch.rand(1, 1, 16, 16, generator=torch.manual_seed(0))
        >>> b = torch.rand(1, 1, 16, 16, generator=torch.manual_seed(1))
        >>> round(correlations_of_differences(a + b, a, b).item(), 4)
        2.0
    """
    return _correlation(fused - b, a) + _correlation(fused - a, b)


class FusionTerms(NamedTuple):
    """Means over the batch of what :func:`fusion_terms` measures; higher is better but for ``intensity``."""

    ssim: Tensor
    vif: Tensor
    qabf: Tensor
    scd: Tensor
    intensity: Tensor


def fusion_terms(fused: Tensor, a: Tensor, b: Tensor) -> FusionTerms:
    """Differentiable measures of a fused picture.

    Args:
        fused: ``(N, 1, H, W)``, values near [0, 1].
        a: first source, ``(N, 1, H, W)`` in [0, 1].
        b: second source, ``(N, 1, H, W)`` in [0, 1].

    Returns:
        SSIM and VIF summed over the sources, Qabf, SCD, and the mean absolute difference from the pixel-wise
        maximum, which holds the brightness of bone and of soft tissue and keeps the background black.

    Example:
        >>> image = torch.rand(2, 1, 48, 48, generator=torch.manual_seed(0))
        >>> terms = fusion_terms(image, image, image)
        >>> round(terms.ssim.item(), 3), terms.intensity.item()
        (2.0, 0.0)
    """
    fused, a, b = fused.float(), a.float(), b.float()
    return FusionTerms(
        ssim=(structural_similarity(fused, a) + structural_similarity(fused, b)).mean(),
        vif=(visual_information(fused, a) + visual_information(fused, b)).mean(),
        qabf=edge_transfer(fused, a, b).mean(),
        scd=correlations_of_differences(fused, a, b).mean(),
        intensity=F.l1_loss(fused, torch.maximum(a, b)),
    )
