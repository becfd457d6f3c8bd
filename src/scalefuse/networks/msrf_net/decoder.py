"""The decoder of MSRF-Net: triple attention at scales 3 and 2, then the full size."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scalefuse.networks.msrf_net.attention import AttentionGate, SpatialAttention, SqueezeExcitation
from scalefuse.networks.msrf_net.initialisation import he_normal_


def _upsampling(in_channels: int, out_channels: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(in_channels, out_channels, 4, stride=2, padding=1)


class TripleAttentionDecoder(nn.Module):
    """One decoder level: channel attention, spatial attention and an attention gate.

    Args:
        in_channels: Channels of the coarser decoder feature.
        channels: Channels of the skip feature and of the result.
        num_classes: Channels of the deep-supervision logits.
        scale: Factor from this level's size to the image's.

    Example:
        >>> decoder = TripleAttentionDecoder(32, 16, num_classes=1, scale=2)
        >>> feature, logits = decoder(torch.zeros(1, 16, 8, 8), torch.zeros(1, 32, 4, 4))
        >>> feature.shape, logits.shape
        (torch.Size([1, 16, 8, 8]), torch.Size([1, 1, 16, 16]))

    Reference:
        MSRF-Net, section III-D, figure 4. Deviation: the deep supervision returns logits, not sigmoids.
    """

    def __init__(self, in_channels: int, channels: int, *, num_classes: int, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.attended_up = _upsampling(in_channels, channels)
        self.attended_up_norm = nn.BatchNorm2d(channels)
        self.fuse = nn.Conv2d(2 * channels, channels, 3, padding=1)
        self.fuse_norm = nn.BatchNorm2d(channels)
        self.channel_attention = SqueezeExcitation(channels)
        self.spatial_attention = SpatialAttention(channels)
        self.gate = AttentionGate(channels, in_channels, channels)
        self.gated_up = _upsampling(in_channels, channels)
        self.mix = nn.Conv2d(3 * channels, channels, 1)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.logits = nn.Conv2d(channels, num_classes, 1)
        for convolution in (self.attended_up, self.fuse, self.conv1):
            he_normal_(convolution)

    def forward(self, skip: Tensor, coarser: Tensor) -> tuple[Tensor, Tensor]:
        """Return this level's feature and its logits at the image's size.

        Args:
            skip: Shape ``(N, channels, H, W)``.
            coarser: Shape ``(N, in_channels, H/2, W/2)``.

        Returns:
            The feature, ``(N, channels, H, W)``, and logits, ``(N, num_classes, scale·H, scale·W)``.
        """
        raised = torch.relu(self.attended_up_norm(self.attended_up(coarser)))
        fused = torch.relu(self.fuse_norm(self.fuse(torch.cat([raised, skip], dim=1))))
        attended = self.channel_attention(fused) * (1 + self.spatial_attention(fused))
        mixed = self.mix(torch.cat([attended, self.gate(skip, coarser), self.gated_up(coarser)], dim=1))
        refined = self.conv1(torch.relu(self.norm1(mixed)))
        feature = mixed + self.conv2(torch.relu(self.norm2(refined)))
        logits = F.interpolate(self.logits(feature), scale_factor=float(self.scale), mode="bilinear")
        return feature, logits


class LastLevel(nn.Module):
    """The finest decoder level, guided by the shape stream.

    Args:
        in_channels: Channels of the coarser decoder feature.
        channels: Channels of the skip feature.
        num_classes: Channels of the logits.

    Example:
        >>> level = LastLevel(16, 8, num_classes=1)
        >>> skip, coarser = torch.zeros(1, 8, 8, 8), torch.zeros(1, 16, 4, 4)
        >>> level(skip, coarser, torch.zeros(1, 1, 8, 8)).shape
        torch.Size([1, 1, 8, 8])

    Reference:
        MSRF-Net, section III-D, figure 1.
    """

    def __init__(self, in_channels: int, channels: int, *, num_classes: int) -> None:
        super().__init__()
        self.up = _upsampling(in_channels, channels)
        self.mix = nn.Conv2d(2 * channels, channels, 1)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)
        self.guided = nn.Conv2d(channels + 1, channels, 3, padding=1)
        self.logits = nn.Conv2d(channels, num_classes, 1)
        for convolution in (self.mix, self.conv, self.guided):
            he_normal_(convolution)

    def forward(self, skip: Tensor, coarser: Tensor, guide: Tensor) -> Tensor:
        """Return the mask's logits.

        Args:
            skip: Shape ``(N, channels, H, W)``.
            coarser: Shape ``(N, in_channels, H/2, W/2)``.
            guide: The shape stream's result, ``(N, 1, H, W)``.

        Returns:
            Shape ``(N, num_classes, H, W)``.
        """
        mixed = torch.relu(self.mix(torch.cat([self.up(coarser), skip], dim=1)))
        refined = mixed + self.norm(torch.relu(self.conv(mixed)))
        logits: Tensor = self.logits(torch.relu(self.guided(torch.cat([refined, guide], dim=1))))
        return logits
