"""HiFuse's window attention written out: products, softmax, and a mask made anew in every forward pass.

What the package does with ``scaled_dot_product_attention`` and cached masks is compared with this, for
equality by the tests and for speed by the benchmarks.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from scalefuse.networks.hifuse.global_branch import GlobalStage, WindowAttention
from scalefuse.networks.hifuse.windows import attention_mask


class ExplicitWindowAttention(nn.Module):
    """A :class:`WindowAttention`'s weights under explicit attention."""

    def __init__(self, attention: WindowAttention) -> None:
        super().__init__()
        self.num_heads = attention.num_heads
        self.qkv = attention.qkv
        self.projection = attention.projection
        self.relative_position_bias = attention.relative_position_bias
        self.relative_position_index = attention.relative_position_index

    def forward(self, x_NWLC: Tensor, mask: Tensor | None) -> Tensor:
        samples, windows, length, channels = x_NWLC.shape
        qkv = self.qkv(x_NWLC).view(samples, windows, length, 3, self.num_heads, -1)
        query, key, value = qkv.permute(3, 0, 1, 4, 2, 5)
        scores = query @ key.transpose(-2, -1) / (channels // self.num_heads) ** 0.5
        scores = scores + self.relative_position_bias[self.relative_position_index].permute(2, 0, 1)
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None], float("-inf"))
        out = scores.softmax(dim=-1) @ value
        return self.projection(out.transpose(2, 3).reshape(samples, windows, length, channels))


class UncachedMasks:
    """Stands in for the package's cache and builds every mask again."""

    def __init__(self, window: int) -> None:
        self.window = window

    def get(self, size: tuple[int, int], shift: tuple[int, int], device: torch.device) -> Tensor | None:
        return attention_mask(size, self.window, shift, device)


def with_explicit_attention(network: nn.Module) -> nn.Module:
    """Return a copy of a HiFuse that computes its attention explicitly."""
    network = copy.deepcopy(network)
    for stage in [module for module in network.modules() if isinstance(module, GlobalStage)]:
        stage._masks = UncachedMasks(stage.window_size)
        for block in stage.blocks:
            block.attention = ExplicitWindowAttention(block.attention)
    return network
