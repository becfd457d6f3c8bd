"""Attention maps of DILRAN: means over 2×2 pixels, rectified and enlarged."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def pooled_means(x: Tensor) -> Tensor:
    """Means over 2×2 pixels; the last window of an odd size holds only the pixels that exist.

    Args:
        x: Features or images, ``(N, C, H, W)``.

    Returns:
        The means, ``(N, C, H // 2 + H % 2, W // 2 + W % 2)``.

    Example:
        >>> pooled_means(torch.tensor([[[[1.0, 3.0, 5.0]]]]))
        tensor([[[[2., 5.]]]])
    """
    tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    if not (tracing or torch.compiler.is_compiling()):
        return F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)
    # The last row and column once more complete the last windows of an odd size, whose means stay what they
    # are; an even one ignores them. Unlike `ceil_mode`, this holds for every size in one exported graph.
    return F.avg_pool2d(F.pad(x, (0, 1, 0, 1), mode="replicate"), 2)


def enlarged(pooled: Tensor, height: int, width: int) -> Tensor:
    """Repeat each pixel of ``(N, C, h, w)`` 2×2 times and cut to ``(N, C, height, width)``.

    Example:
        >>> enlarged(torch.tensor([[[[2.0, 5.0]]]]), 1, 3)
        tensor([[[[2., 2., 5.]]]])
    """
    upsampled = F.interpolate(pooled, scale_factor=2.0, mode="nearest")
    return F.pad(upsampled, (0, width - upsampled.shape[-1], 0, height - upsampled.shape[-2]))


def pooled_attention(x: Tensor) -> Tensor:
    """Attention map: 2×2 average pooling, ReLU, nearest-neighbour upsampling back to the input's size.

    Args:
        x: Features or images, ``(N, C, H, W)``.

    Returns:
        The non-negative map, ``(N, C, H, W)``.

    Reference:
        Pyramid attention of arXiv 2212.04661, section 3.1. The released program fails on odd sizes; here
        the last window of an odd size averages only the pixels that exist, and the upsampled map is cropped.

    Example:
        >>> pooled_attention(torch.tensor([[[[1.0, 3.0, 5.0]]]]))
        tensor([[[[2., 2., 5.]]]])
    """
    # ReLU before the upsampling: the same values, a quarter of the work.
    return enlarged(F.relu(pooled_means(x)), x.shape[-2], x.shape[-1])
