"""The attention blocks of MSRF-Net: over channels, over positions, and by a coarser feature."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from scalefuse.networks.msrf_net.initialisation import he_normal_


class SqueezeExcitation(nn.Module):
    """Weigh each channel by what the whole image holds.

    Args:
        channels: Channels in and out; the hidden layer has ``max(1, channels // 16)``.

    Example:
        >>> SqueezeExcitation(32)(torch.zeros(2, 32, 8, 8)).shape
        torch.Size([2, 32, 8, 8])

    Reference:
        Hu et al., Squeeze-and-Excitation Networks, CVPR 2018; MSRF-Net, section III-A.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(1, channels // 16)
        self.reduce = nn.Linear(channels, hidden)
        self.expand = nn.Linear(hidden, channels)
        # Over a batch, the means of a normalised feature sum to zero. Without an offset, some image always
        # starts on the ReLU's living side; with one, a narrow hidden layer can start dead for all of them.
        nn.init.zeros_(self.reduce.bias)

    def forward(self, feature: Tensor) -> Tensor:
        """Return the feature, each channel times its weight in (0, 1).

        Args:
            feature: Shape ``(N, C, H, W)``.

        Returns:
            Shape ``(N, C, H, W)``.
        """
        weight = torch.sigmoid(self.expand(torch.relu(self.reduce(feature.mean(dim=(2, 3))))))
        return feature * weight[:, :, None, None]


class SpatialAttention(nn.Module):
    """One weight in (0, 1) per position, the same for all channels.

    Args:
        channels: Channels of the input; the hidden layer has a quarter of them.

    Example:
        >>> SpatialAttention(32)(torch.zeros(2, 32, 8, 8)).shape
        torch.Size([2, 1, 8, 8])

    Reference:
        MSRF-Net, section III-D (decoder, spatial attention).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(1, channels // 4)
        self.reduce = nn.Conv2d(channels, hidden, 1)
        self.norm = nn.BatchNorm2d(hidden)
        self.score = nn.Conv2d(hidden, 1, 1)
        he_normal_(self.reduce)

    def forward(self, feature: Tensor) -> Tensor:
        """Return the weights.

        Args:
            feature: Shape ``(N, C, H, W)``.

        Returns:
            Shape ``(N, 1, H, W)``, in (0, 1).
        """
        return torch.sigmoid(self.score(torch.relu(self.norm(self.reduce(feature)))))


class AttentionGate(nn.Module):
    """Let a coarser feature choose the positions of a finer one.

    Args:
        skip_channels: Channels of the finer feature.
        gate_channels: Channels of the coarser feature, half the size.
        hidden_channels: Channels in which the two are compared.

    Example:
        >>> gate = AttentionGate(16, 32, 16)
        >>> gate(torch.zeros(2, 16, 8, 8), torch.zeros(2, 32, 4, 4)).shape
        torch.Size([2, 16, 8, 8])

    Reference:
        Oktay et al., Attention U-Net, MIDL 2018; MSRF-Net, section III-D. As in MSRF-Net the weights
        return to the finer size by a learned transposed convolution, without a second sigmoid.
    """

    def __init__(self, skip_channels: int, gate_channels: int, hidden_channels: int) -> None:
        super().__init__()
        self.theta = nn.Conv2d(skip_channels, hidden_channels, 2, stride=2)
        self.phi = nn.Conv2d(gate_channels, hidden_channels, 1)
        self.psi = nn.Conv2d(hidden_channels, 1, 1)
        self.upsample = nn.ConvTranspose2d(1, 1, 2, stride=2)
        self.norm = nn.BatchNorm2d(skip_channels)
        he_normal_(self.theta)
        he_normal_(self.phi)

    def forward(self, skip: Tensor, gate: Tensor) -> Tensor:
        """Return the normalised finer feature, weighted by position.

        Args:
            skip: Shape ``(N, skip_channels, H, W)``.
            gate: Shape ``(N, gate_channels, H/2, W/2)``.

        Returns:
            Shape ``(N, skip_channels, H, W)``.
        """
        psi = torch.sigmoid(self.psi(torch.relu(self.theta(skip) + self.phi(gate))))
        gated: Tensor = self.norm(skip * self.upsample(psi))
        return gated
