"""The fusion branch of HiFuse: one hierarchical feature fusion (HFF) block per stage."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalefuse.networks.hifuse.layers import ChannelLayerNorm, DropPath


class ProjectAndNorm(nn.Module):
    """1×1 convolution, then batch normalisation.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        # The normalisation removes the bias in training, but the published parameter count contains it.
        self.conv = nn.Conv2d(in_channels, out_channels, 1)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in_channels, H, W)`` to ``(N, out_channels, H, W)``."""
        out: Tensor = self.norm(self.conv(x))
        return out


class ChannelAttention(nn.Module):
    """Scale each channel by what one small perceptron makes of its maximum and its mean.

    Args:
        channels: Channels of input and output.
        reduction: The perceptron has ``max(1, channels // reduction)`` hidden channels.

    Reference:
        Channel attention of arXiv 2209.10218, section 3.4, after Woo et al.: CBAM, ECCV 2018.

    Example:
        >>> ChannelAttention(8)(torch.zeros(2, 8, 3, 3)).shape
        torch.Size([2, 8, 3, 3])
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.squeeze = nn.Conv2d(channels, hidden, 1, bias=False)
        self.excite = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, C, H, W)``."""
        peak = self.excite(F.relu(self.squeeze(x.amax(dim=(2, 3), keepdim=True))))
        mean = self.excite(F.relu(self.squeeze(x.mean(dim=(2, 3), keepdim=True))))
        return x * torch.sigmoid(peak + mean)


class SpatialAttention(nn.Module):
    """Scale each pixel by what a 7×7 convolution makes of its maximum and mean over the channels.

    Reference:
        Spatial attention of arXiv 2209.10218, section 3.4, after Woo et al.: CBAM, ECCV 2018.

    Example:
        >>> SpatialAttention().eval()(torch.ones(1, 8, 9, 9)).shape
        torch.Size([1, 8, 9, 9])
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        self.norm = nn.BatchNorm2d(1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, C, H, W)``."""
        pooled = torch.cat((x.amax(dim=1, keepdim=True), x.mean(dim=1, keepdim=True)), dim=1)
        return x * torch.sigmoid(self.norm(self.conv(pooled)))


class InvertedResidualMLP(nn.Module):
    """Residual 3×3 convolution, then a perceptron of four times the channels.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        depthwise: Convolve each channel by itself; otherwise the 3×3 convolution is dense.

    Reference:
        Inverted residual MLP of arXiv 2209.10218, section 3.4.
    """

    def __init__(self, in_channels: int, out_channels: int, depthwise: bool = True) -> None:
        super().__init__()
        groups = in_channels if depthwise else 1
        self.spatial_conv = nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=groups, bias=False)
        self.spatial_norm = nn.BatchNorm2d(in_channels)
        self.expand_conv = nn.Conv2d(in_channels, 4 * in_channels, 1, bias=False)
        self.project_conv = nn.Conv2d(4 * in_channels, out_channels, 1, bias=False)
        self.project_norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in_channels, H, W)`` to ``(N, out_channels, H, W)``."""
        x = self.spatial_norm(x + F.gelu(self.spatial_conv(x)))
        out: Tensor = self.project_norm(self.project_conv(F.gelu(self.expand_conv(x))))
        return out


class HierarchicalFeatureFusion(nn.Module):
    """Join local features, global features and the fusion of the stage before.

    Args:
        channels: Channels of the local, the global and the fused features.
        previous_channels: Channels of the stage before; None for the first stage, which has none.
        depthwise_inverted_mlp: See :class:`InvertedResidualMLP`.
        drop_path: Probability that a training sample skips the block. Unused in the first stage, where
            nothing else would remain of the sample.

    Reference:
        HFF block of arXiv 2209.10218, section 3.4. Deviation: where the stage before has an odd size, the
        last 2×2 averages count the pixels that exist.

    Example:
        >>> block = HierarchicalFeatureFusion(8, previous_channels=4).eval()
        >>> block(torch.rand(1, 8, 3, 3), torch.rand(1, 8, 3, 3), torch.rand(1, 4, 5, 6)).shape
        torch.Size([1, 8, 3, 3])
    """

    def __init__(
        self,
        channels: int,
        previous_channels: int | None = None,
        *,
        depthwise_inverted_mlp: bool = True,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.channel_attention = ChannelAttention(channels)
        self.spatial_attention = SpatialAttention()
        self.local_projection = ProjectAndNorm(channels, channels)
        self.global_projection = ProjectAndNorm(channels, channels)
        self.previous_projection: ProjectAndNorm | None = None
        if previous_channels is not None:
            self.previous_projection = ProjectAndNorm(previous_channels, channels)
        joined = (2 if previous_channels is None else 3) * channels
        self.joint_norm = ChannelLayerNorm(joined)
        self.joint_projection = ProjectAndNorm(joined, channels)
        self.output_norm = ChannelLayerNorm(3 * channels)
        self.inverted_mlp = InvertedResidualMLP(3 * channels, channels, depthwise_inverted_mlp)
        self.drop_path = DropPath(drop_path)

    def forward(self, local_features: Tensor, global_features: Tensor, previous: Tensor | None) -> Tensor:
        """Fuse one stage.

        Args:
            local_features: ``(N, C, H, W)``.
            global_features: ``(N, C, H, W)``.
            previous: Fused features of the stage before, ``(N, C', H', W')`` with ``H = ⌈H'/2⌉`` and
                ``W = ⌈W'/2⌉``; None in the first stage.

        Returns:
            ``(N, C, H, W)``.
        """
        parts = [self.local_projection(local_features), self.global_projection(global_features)]
        shortcut: Tensor | None = None
        if self.previous_projection is not None:
            assert previous is not None, "only the first stage has no stage before it"
            shortcut = F.relu(self.previous_projection(previous))
            shortcut = F.avg_pool2d(shortcut, 2, ceil_mode=True, count_include_pad=False)
            parts.insert(0, shortcut)
        joint = F.gelu(self.joint_projection(self.joint_norm(torch.cat(parts, dim=1))))
        attended = (self.channel_attention(global_features), self.spatial_attention(local_features), joint)
        fused: Tensor = self.inverted_mlp(self.output_norm(torch.cat(attended, dim=1)))
        return fused if shortcut is None else shortcut + self.drop_path(fused)
