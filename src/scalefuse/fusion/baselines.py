"""Plain pixel baselines that every fusion table carries: they see images, not features."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from scalefuse.errors import InputError

NUM_LEVELS = 5
"""Levels of the Laplacian pyramid, the base included."""

Baseline = Callable[[Tensor, Tensor], Tensor]


def pixel_average(a: Tensor, b: Tensor) -> Tensor:
    """Mean of two images.

    Args:
        a: First image, ``(N, 1, H, W)`` in [0, 1].
        b: Second image, ``(N, 1, H, W)`` in [0, 1].

    Returns:
        Fused image, ``(N, 1, H, W)`` in [0, 1].

    Raises:
        InputError: If the shapes differ.

    Example:
        >>> pixel_average(torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1)).item()
        0.5
    """
    _check_images(a, b)
    return (a + b) / 2


def pixel_maximum(a: Tensor, b: Tensor) -> Tensor:
    """Brighter pixel of two images.

    Args:
        a: First image, ``(N, 1, H, W)`` in [0, 1].
        b: Second image, ``(N, 1, H, W)`` in [0, 1].

    Returns:
        Fused image, ``(N, 1, H, W)`` in [0, 1].

    Raises:
        InputError: If the shapes differ.

    Example:
        >>> pixel_maximum(torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1)).item()
        1.0
    """
    _check_images(a, b)
    return torch.maximum(a, b)


def laplacian_pyramid(a: Tensor, b: Tensor) -> Tensor:
    """Laplacian-pyramid fusion: five levels, larger magnitude in each band, maximum in the base.

    Args:
        a: First image, ``(N, 1, H, W)`` in [0, 1].
        b: Second image, ``(N, 1, H, W)`` in [0, 1].

    Returns:
        Fused image, ``(N, 1, H, W)``, clamped to [0, 1].

    Raises:
        InputError: If the shapes differ.

    Reference:
        Burt and Adelson: The Laplacian Pyramid as a Compact Image Code, IEEE Trans. Communications 31(4),
        1983 (5-tap kernel 1, 4, 6, 4, 1). Borders are mirrored without repeating the edge pixel (repeated
        where a level is too small to mirror), so any size works, down to one pixel.

    Example:
        >>> image = torch.rand(1, 1, 37, 50)
        >>> torch.allclose(laplacian_pyramid(image, image), image, atol=1e-6)
        True
    """
    _check_images(a, b)
    fused: list[Tensor] = []
    for level in range(NUM_LEVELS - 1):
        if level == 0:
            coarse_a, coarse_b = a, b
        next_a, next_b = _reduce(coarse_a), _reduce(coarse_b)
        size = coarse_a.shape[-2:]
        band_a, band_b = coarse_a - _expand(next_a, size), coarse_b - _expand(next_b, size)
        fused.append(torch.where(band_a.abs() >= band_b.abs(), band_a, band_b))
        coarse_a, coarse_b = next_a, next_b
    image = torch.maximum(coarse_a, coarse_b)
    for band in reversed(fused):
        image = _expand(image, band.shape[-2:]) + band
    return image.clamp(0, 1)


BASELINES: dict[str, Baseline] = {
    "average": pixel_average,
    "maximum": pixel_maximum,
    "laplacian_pyramid": laplacian_pyramid,
}
"""Name → function of two images ``(N, 1, H, W)`` in [0, 1]."""


def _check_images(a: Tensor, b: Tensor) -> None:
    if a.ndim != 4 or a.shape != b.shape:
        raise InputError(
            f"Expected two images of one shape (N, 1, H, W) but got {tuple(a.shape)} and {tuple(b.shape)}; "
            "fuse images of the same size."
        )


def _blur(x: Tensor, gain: float) -> Tensor:
    """Smooth with the 5-tap binomial kernel along both axes, times ``gain``."""
    kernel = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], dtype=x.dtype, device=x.device) / 16
    num_channels = x.shape[1]
    for axis in (0, 1):
        pad = (2, 2, 0, 0) if axis else (0, 0, 2, 2)
        mode = "reflect" if x.shape[2 + axis] > 2 else "replicate"
        shape = (num_channels, 1, 1, 5) if axis else (num_channels, 1, 5, 1)
        x = F.conv2d(
            F.pad(x, pad, mode=mode), kernel.view(1, 1, *shape[2:]).expand(shape), groups=num_channels
        )
    return x * gain


def _reduce(x: Tensor) -> Tensor:
    return _blur(x, 1.0)[..., ::2, ::2]


def _expand(x: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    spread = x.new_zeros(*x.shape[:2], *size)
    spread[..., ::2, ::2] = x
    return _blur(spread, 4.0)
