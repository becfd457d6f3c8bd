"""Small layers that the branches and the fusion blocks of HiFuse share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Pad a picture with zeros on its right and bottom so that a grid of squares covers it.

    Args:
        x: Picture or features, ``(N, C, H, W)``.
        multiple: Side of the squares.

    Returns:
        ``(N, C, H', W')``; ``x`` itself where nothing is missing.

    Example:
        >>> pad_to_multiple(torch.ones(1, 1, 3, 5), 4).shape
        torch.Size([1, 1, 4, 8])
    """
    bottom, right = -x.shape[-2] % multiple, -x.shape[-1] % multiple
    return F.pad(x, (0, right, 0, bottom)) if bottom or right else x


class TokenLayerNorm(nn.LayerNorm):
    """Layer normalisation over the last axis, all tokens in one row.

    The values are those of :class:`torch.nn.LayerNorm`. OpenVINO has one operation for tokens in three
    dimensions, and takes a normalisation over the last of four apart into six that pass over memory each.

    Args:
        channels: Number of channels.
        eps: Added to the variance.

    Example:
        >>> x = torch.rand(2, 3, 5, 4)
        >>> torch.equal(TokenLayerNorm(4)(x), nn.LayerNorm(4)(x))
        True
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__(channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(…, C)`` to the same shape."""
        return super().forward(x.reshape(1, -1, x.shape[-1])).view(x.shape)


class ChannelLayerNorm(TokenLayerNorm):
    """Layer normalisation over the channels of each pixel of ``(N, C, H, W)``.

    Args:
        channels: Number of channels.

    Reference:
        ``LayerNorm(channels first)`` of the paper's released program; epsilon 1e-6.

    Example:
        >>> ChannelLayerNorm(2)(torch.tensor([1.0, 3.0]).view(1, 2, 1, 1)).flatten().tolist()
        [-0.9999995231628418, 0.9999995231628418]
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, C, H, W)``."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class DropPath(nn.Module):
    """Drop a residual branch for whole samples during training (stochastic depth).

    Kept samples are scaled by ``1 / (1 - rate)``, so the expectation stays; in evaluation nothing happens.

    Args:
        rate: Probability that a sample loses the branch, in [0, 1).

    Reference:
        Huang et al.: Deep Networks with Stochastic Depth, ECCV 2016.

    Example:
        >>> DropPath(0.5).eval()(torch.ones(2)).tolist()
        [1.0, 1.0]
    """

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, …)`` to the same shape."""
        if not self.training or self.rate == 0.0:
            return x
        keep = 1.0 - self.rate
        mask = torch.rand((x.shape[0],) + (1,) * (x.ndim - 1), device=x.device) < keep
        return x * mask.to(x.dtype) / keep

    def extra_repr(self) -> str:
        """Show the rate in the printed network."""
        return f"rate={self.rate:.3f}"
