"""The local branch of HiFuse: depthwise convolutions at four strides."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from scalefuse.networks.hifuse.layers import ChannelLayerNorm, DropPath, TokenLayerNorm, pad_to_multiple


class LocalStem(nn.Module):
    """4×4 convolution of stride 4, then layer normalisation.

    Args:
        in_channels: Channels of the image.
        channels: Channels of the features.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, 4, stride=4)
        self.norm = ChannelLayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in_channels, H, W)`` to ``(N, C, ⌈H/4⌉, ⌈W/4⌉)``."""
        out: Tensor = self.norm(self.conv(pad_to_multiple(x, 4)))
        return out


class LocalDownsample(nn.Module):
    """Layer normalisation, then a 2×2 convolution of stride 2 that doubles the channels.

    Args:
        channels: Channels of the input.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = ChannelLayerNorm(channels)
        self.conv = nn.Conv2d(channels, 2 * channels, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, 2C, ⌈H/2⌉, ⌈W/2⌉)``."""
        out: Tensor = self.conv(pad_to_multiple(self.norm(x), 2))
        return out


class LocalFeatureBlock(nn.Module):
    """Depthwise 3×3 convolution, layer norm, one linear layer and GELU, added to the input.

    Args:
        channels: Channels of input and output.
        drop_path: Probability that a training sample skips the block.

    Reference:
        Local feature block of arXiv 2209.10218, section 3.3. One linear layer without the fourfold expansion
        of ConvNeXt, from which the block descends.
    """

    def __init__(self, channels: int, drop_path: float = 0.0) -> None:
        super().__init__()
        self.depthwise_conv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.norm = TokenLayerNorm(channels, eps=1e-6)
        self.linear = nn.Linear(channels, channels)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, C, H, W)``."""
        y_NHWC = self.depthwise_conv(x).permute(0, 2, 3, 1)
        y_NHWC = F.gelu(self.linear(self.norm(y_NHWC)))
        out: Tensor = x + self.drop_path(y_NHWC.permute(0, 3, 1, 2))
        return out


class LocalBranch(nn.Module):
    """Local features at strides 4, 8, 16 and 32.

    Args:
        in_channels: Channels of the image.
        embed_dim: Channels of the first stage; each further stage has twice as many.
        drop_path: Drop-path rate per stage and block.

    Reference:
        arXiv 2209.10218, section 3.3.
    """

    def __init__(self, in_channels: int, embed_dim: int, drop_path: Sequence[Sequence[float]]) -> None:
        super().__init__()
        self.reductions = nn.ModuleList([LocalStem(in_channels, embed_dim)])
        self.reductions.extend(LocalDownsample(embed_dim << stage) for stage in range(len(drop_path) - 1))
        self.stages = nn.ModuleList(
            nn.Sequential(*(LocalFeatureBlock(embed_dim << stage, rate) for rate in rates))
            for stage, rates in enumerate(drop_path)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map ``(N, in_channels, H, W)`` to one ``(N, C·2^s, ⌈H/2^(s+2)⌉, ⌈W/2^(s+2)⌉)`` per stage s."""
        features = []
        for reduction, stage in zip(self.reductions, self.stages, strict=True):
            x = stage(reduction(x))
            features.append(x)
        return features
