"""The encoder of MSRF-Net: four levels with squeeze-and-excitation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from scalefuse.networks.msrf_net.attention import SqueezeExcitation
from scalefuse.networks.msrf_net.initialisation import he_normal_


class EncoderLevel(nn.Module):
    """Two 3×3 convolutions with ReLU, batch normalisation, squeeze-and-excitation.

    Args:
        in_channels: Channels in.
        channels: Channels out.

    Example:
        >>> EncoderLevel(3, 16)(torch.zeros(1, 3, 8, 8)).shape
        torch.Size([1, 16, 8, 8])

    Reference:
        MSRF-Net, section III-A. Deviation from the released program: squeeze-and-excitation on all four
        levels, as the paper draws it; the program leaves it out on the fourth.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)
        self.attention = SqueezeExcitation(channels)
        he_normal_(self.conv1)
        he_normal_(self.conv2)

    def forward(self, feature: Tensor) -> Tensor:
        """Return the level's feature.

        Args:
            feature: Shape ``(N, in_channels, H, W)``.

        Returns:
            Shape ``(N, channels, H, W)``.
        """
        feature = torch.relu(self.conv1(feature))
        feature = torch.relu(self.conv2(feature))
        attended: Tensor = self.attention(self.norm(feature))
        return attended


class Encoder(nn.Module):
    """Features at strides 1, 2, 4, 8; levels joined by 2×2 max pooling and dropout.

    Args:
        in_channels: Channels of the image.
        channels: Channels of the levels, finest first.
        dropout: Probability with which a value between two levels is dropped in training.

    Example:
        >>> features = Encoder(3, (8, 16, 32, 64), dropout=0.2)(torch.zeros(1, 3, 16, 16))
        >>> [tuple(feature.shape[1:]) for feature in features]
        [(8, 16, 16), (16, 8, 8), (32, 4, 4), (64, 2, 2)]

    Reference:
        MSRF-Net, section III-A.
    """

    def __init__(self, in_channels: int, channels: Sequence[int], dropout: float) -> None:
        super().__init__()
        inputs = (in_channels, *channels[:-1])
        self.levels = nn.ModuleList(EncoderLevel(c_in, c) for c_in, c in zip(inputs, channels, strict=True))
        self.pool = nn.MaxPool2d(2)
        self.dropout = nn.Dropout(dropout)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the features of all levels, finest first.

        Args:
            image: Shape ``(N, in_channels, H, W)``.

        Returns:
            One tensor per level, level i of shape ``(N, channels[i], H/2^i, W/2^i)``.
        """
        features: list[Tensor] = []
        feature = image
        for index, level in enumerate(self.levels):
            if index:
                feature = self.dropout(self.pool(feature))
            feature = level(feature)
            features.append(feature)
        return features
