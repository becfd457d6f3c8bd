"""The global branch of HiFuse: windowed self-attention at four strides.

Layouts: ``NHWC`` is a map of tokens; ``NWLC`` is windows, with W windows per map and L tokens per window;
``D`` is the width of one attention head.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalefuse.networks.hifuse.layers import DropPath, TokenLayerNorm, pad_to_multiple
from scalefuse.networks.hifuse.windows import (
    MaskCache,
    merge_windows,
    partition_windows,
    relative_position_index,
)


class PatchEmbedding(nn.Module):
    """4×4 convolution of stride 4, then layer normalisation, into tokens.

    Args:
        in_channels: Channels of the image.
        channels: Channels of the tokens.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, 4, stride=4)
        self.norm = TokenLayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in_channels, H, W)`` to ``(N, ⌈H/4⌉, ⌈W/4⌉, C)``."""
        out: Tensor = self.norm(self.conv(pad_to_multiple(x, 4)).permute(0, 2, 3, 1))
        return out


class PatchMerging(nn.Module):
    """Join each 2×2 tokens into one of twice the channels.

    Args:
        channels: Channels of the input.

    Reference:
        Liu et al.: Swin Transformer, ICCV 2021, section 3.1.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = TokenLayerNorm(4 * channels)
        self.linear = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, x_NHWC: Tensor) -> Tensor:
        """Map ``(N, H, W, C)`` to ``(N, ⌈H/2⌉, ⌈W/2⌉, 2C)``; missing tokens count as zeros."""
        x_NHWC = _pad_tokens(x_NHWC, 2)
        top, bottom = x_NHWC[:, 0::2], x_NHWC[:, 1::2]
        corners = (top[:, :, 0::2], bottom[:, :, 0::2], top[:, :, 1::2], bottom[:, :, 1::2])
        out: Tensor = self.linear(self.norm(torch.cat(corners, dim=-1)))
        return out


class WindowAttention(nn.Module):
    """Multi-head self-attention inside windows, with a learned bias per relative position.

    Args:
        channels: Channels of the tokens, a multiple of ``num_heads``.
        num_heads: Number of attention heads.
        window_size: Side of a window in tokens.

    Reference:
        Liu et al.: Swin Transformer, ICCV 2021, section 3.2 and equation 4.

    Example:
        >>> WindowAttention(8, num_heads=2, window_size=2)(torch.rand(3, 5, 4, 8), None).shape
        torch.Size([3, 5, 4, 8])
    """

    relative_position_index: Tensor

    def __init__(self, channels: int, num_heads: int, window_size: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.relative_position_bias = nn.Parameter(torch.zeros((2 * window_size - 1) ** 2, num_heads))
        self.projection = nn.Linear(channels, channels)
        index = relative_position_index(window_size)
        self.register_buffer("relative_position_index", index, persistent=False)

    def forward(self, x_NWLC: Tensor, mask: Tensor | None) -> Tensor:
        """Attend within each window.

        Args:
            x_NWLC: Windows, ``(N, windows, L, C)``.
            mask: Boolean ``(windows, L, L)``, True where a query (row) may see a key (column); None for all.

        Returns:
            ``(N, windows, L, C)``.
        """
        samples, windows, length, channels = x_NWLC.shape
        qkv = self.qkv(x_NWLC).view(samples, windows, length, 3, self.num_heads, -1)
        qkv = qkv.permute(3, 0, 1, 4, 2, 5)  # (3, N, W, heads, L, D)
        bias = self.relative_position_bias[self.relative_position_index].permute(2, 0, 1).to(qkv.dtype)
        # The bias is the same for every window; the mask differs between windows but not between samples.
        # Counting windows as samples in the first case and as heads in the second lets the attention
        # broadcast over what is equal instead of copying it.
        if mask is None:
            query, key, value = qkv.flatten(1, 2).unbind(0)  # (N·W, heads, L, D)
            allowed = bias[None]
        else:
            query, key, value = qkv.flatten(2, 3).unbind(0)  # (N, W·heads, L, D)
            allowed = torch.where(mask[:, None], bias, float("-inf")).flatten(0, 1)[None]
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=allowed)
        out = out.reshape(samples, windows, self.num_heads, length, -1).transpose(2, 3)
        # Fused attention may hand out a layout that needs no copy here. An exporter would record that and
        # then fail where it replaces the attention by plain products of another layout: force the copy.
        out = out.clone(memory_format=torch.contiguous_format)
        projected: Tensor = self.projection(out.view(samples, windows, length, channels))
        return projected


class GlobalFeatureBlock(nn.Module):
    """Layer norm, window attention, one linear layer and GELU, added to the input.

    Args:
        channels: Channels of the tokens.
        num_heads: Number of attention heads.
        window_size: Side of a window in tokens.
        drop_path: Probability that a training sample skips the block.

    Reference:
        Global feature block of arXiv 2209.10218, section 3.2: a Swin block with one residual connection and,
        in the place of the two-layer perceptron, one linear layer.
    """

    def __init__(self, channels: int, num_heads: int, window_size: int, drop_path: float = 0.0) -> None:
        super().__init__()
        self.window_size = window_size
        self.norm = TokenLayerNorm(channels)
        self.attention = WindowAttention(channels, num_heads, window_size)
        self.linear = nn.Linear(channels, channels)
        self.drop_path = DropPath(drop_path)

    def forward(self, x_NHWC: Tensor, shift: tuple[int, int], mask: Tensor | None) -> Tensor:
        """Map ``(N, H, W, C)`` to the same shape.

        Args:
            x_NHWC: Tokens; H and W are multiples of the window.
            shift: How far the windows move down and right, in tokens.
            mask: See :class:`WindowAttention`.
        """
        height, width = x_NHWC.shape[1:3]
        y_NHWC = self.norm(x_NHWC)
        if any(shift):
            y_NHWC = torch.roll(y_NHWC, (-shift[0], -shift[1]), dims=(1, 2))
        windows_NWLC = self.attention(partition_windows(y_NHWC, self.window_size), mask)
        y_NHWC = merge_windows(windows_NWLC, self.window_size, height, width)
        if any(shift):
            y_NHWC = torch.roll(y_NHWC, shift, dims=(1, 2))
        out: Tensor = x_NHWC + self.drop_path(F.gelu(self.linear(y_NHWC)))
        return out


class GlobalStage(nn.Module):
    """Blocks of one stride, with windows shifted in every second one.

    Args:
        channels: Channels of the tokens.
        num_heads: Number of attention heads.
        window_size: Side of a window in tokens.
        shift_single_window: Shift also along an axis that one window covers.
        drop_path: Drop-path rate per block.
    """

    def __init__(
        self,
        channels: int,
        num_heads: int,
        window_size: int,
        shift_single_window: bool,
        drop_path: Sequence[float],
    ) -> None:
        super().__init__()
        self.window_size = window_size
        self.shift_single_window = shift_single_window
        self.blocks = nn.ModuleList(
            GlobalFeatureBlock(channels, num_heads, window_size, rate) for rate in drop_path
        )
        self._masks = MaskCache(window_size)

    def _shift(self, side: int) -> int:
        """Shift of every second block along an axis of ``side`` tokens."""
        return self.window_size // 2 if side > self.window_size or self.shift_single_window else 0

    def forward(self, x_NHWC: Tensor) -> Tensor:
        """Map ``(N, H, W, C)`` to the same shape."""
        height, width = x_NHWC.shape[1:3]
        x_NHWC = _pad_tokens(x_NHWC, self.window_size)
        shifts = ((0, 0), (self._shift(height), self._shift(width)))
        for number, block in enumerate(self.blocks):
            shift = shifts[number % 2]
            x_NHWC = block(x_NHWC, shift, self._masks.get((height, width), shift, x_NHWC.device))
        return x_NHWC[:, :height, :width]


class GlobalBranch(nn.Module):
    """Global features at strides 4, 8, 16 and 32.

    Args:
        in_channels: Channels of the image.
        embed_dim: Channels of the first stage; each further stage has twice as many.
        num_heads: Number of attention heads per stage.
        window_size: Side of a window in tokens.
        shift_single_window: Shift also along an axis that one window covers.
        drop_path: Drop-path rate per stage and block.

    Reference:
        arXiv 2209.10218, section 3.2. Deviations: maps of any size are padded to whole windows, padded tokens
        are masked, and the padding is cropped after the stage; along an axis that one window covers there is
        nothing to shift, unless ``shift_single_window`` asks for what the released program does.
    """

    def __init__(
        self,
        in_channels: int,
        embed_dim: int,
        num_heads: Sequence[int],
        window_size: int,
        shift_single_window: bool,
        drop_path: Sequence[Sequence[float]],
    ) -> None:
        super().__init__()
        self.reductions = nn.ModuleList([PatchEmbedding(in_channels, embed_dim)])
        self.reductions.extend(PatchMerging(embed_dim << stage) for stage in range(len(drop_path) - 1))
        self.stages = nn.ModuleList(
            GlobalStage(embed_dim << stage, heads, window_size, shift_single_window, rates)
            for stage, (heads, rates) in enumerate(zip(num_heads, drop_path, strict=True))
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map ``(N, in_channels, H, W)`` to one ``(N, C·2^s, ⌈H/2^(s+2)⌉, ⌈W/2^(s+2)⌉)`` per stage s."""
        features = []
        for reduction, stage in zip(self.reductions, self.stages, strict=True):
            x = stage(reduction(x))
            features.append(x.permute(0, 3, 1, 2))
        return features


def _pad_tokens(x_NHWC: Tensor, multiple: int) -> Tensor:
    """Pad ``(N, H, W, C)`` with zero tokens on the right and bottom to multiples of ``multiple``."""
    bottom, right = -x_NHWC.shape[1] % multiple, -x_NHWC.shape[2] % multiple
    return F.pad(x_NHWC, (0, 0, 0, right, 0, bottom)) if bottom or right else x_NHWC
