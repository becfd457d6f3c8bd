"""Dual-scale dense fusion (DSDF) and the multi-scale residual fusion (MSRF) sub-network made of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scalefuse.networks.msrf_net.initialisation import he_normal_

NEGATIVE_SLOPE = 0.25
RESIDUAL_WEIGHT = 0.4
NUM_CONVOLUTIONS = 5


class DualScaleDenseFusion(nn.Module):
    """Two streams of five densely connected convolutions that exchange features at every step.

    Convolution d of a stream sees the stream's input, all earlier outputs of the same stream and, from
    d = 2 on, output d - 1 of the other stream, brought to its size. Each is followed by a leaky ReLU;
    there is no normalisation.

    Args:
        fine_channels: Channels of the finer scale.
        coarse_channels: Channels of the coarser scale, which has half the height and width.
        growth: Channels that each of the first four convolutions adds.

    Example:
        >>> block = DualScaleDenseFusion(8, 16, growth=4)
        >>> fine, coarse = block(torch.zeros(1, 8, 8, 8), torch.zeros(1, 16, 4, 4))
        >>> fine.shape, coarse.shape
        (torch.Size([1, 8, 8, 8]), torch.Size([1, 16, 4, 4]))

    Reference:
        MSRF-Net, section III-B1, figure 2. Deviation: a leaky ReLU follows the fifth convolution too, as in
        the released program.
    """

    def __init__(self, fine_channels: int, coarse_channels: int, growth: int) -> None:
        super().__init__()
        self.growth = growth
        self.fine = _dense_convolutions(fine_channels, growth)
        self.coarse = _dense_convolutions(coarse_channels, growth)
        self.down = nn.ModuleList(
            nn.Conv2d(growth, growth, 3, stride=2, padding=1) for _ in range(NUM_CONVOLUTIONS - 1)
        )
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(growth, growth, 3, stride=2, padding=1, output_padding=1)
            for _ in range(NUM_CONVOLUTIONS - 1)
        )
        for convolution in (*self.fine, *self.coarse, *self.down, *self.up):
            assert isinstance(convolution, nn.Conv2d | nn.ConvTranspose2d)
            he_normal_(convolution, NEGATIVE_SLOPE)

    def forward(self, fine: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
        """Return both features after the exchange, each its input plus 0.4 times what was found.

        Args:
            fine: Shape ``(N, fine_channels, H, W)``.
            coarse: Shape ``(N, coarse_channels, H/2, W/2)``.

        Returns:
            Two tensors shaped as the inputs.
        """
        if self.training:
            return self._forward_by_source(fine, coarse)
        fine_seen, coarse_seen = [fine], [coarse]
        fine_output = _leaky(self.fine[0](fine))
        coarse_output = _leaky(self.coarse[0](coarse))
        for up, down, fine_conv, coarse_conv in self._later_steps():
            fine_seen.append(fine_output)
            coarse_seen.append(coarse_output)
            from_coarse, from_fine = _leaky(up(coarse_output)), _leaky(down(fine_output))
            fine_output = _leaky(fine_conv(torch.cat([*fine_seen, from_coarse], dim=1)))
            coarse_output = _leaky(coarse_conv(torch.cat([*coarse_seen, from_fine], dim=1)))
        return _residual(fine, fine_output), _residual(coarse, coarse_output)

    def _forward_by_source(self, fine: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the same with each feature convolved once, for all later convolutions together.

        A convolution is linear, so what a feature gives to all later convolutions can be found at once and
        added up. That turns many convolutions to few channels into few to many, and concatenations, whose
        backward pass adds up narrow slices, into sums: on a CPU, a block of narrow streams trains a sixth
        faster. Evaluation and export keep the dense form above, which is the paper's.
        """
        fine_weights = _by_source(self.fine, fine.shape[1], self.growth)
        coarse_weights = _by_source(self.coarse, coarse.shape[1], self.growth)
        fine_sums = F.conv2d(fine, fine_weights.own[0], fine_weights.bias, padding=1)
        coarse_sums = F.conv2d(coarse, coarse_weights.own[0], coarse_weights.bias, padding=1)
        fine_next, fine_sums = _split(fine_sums, self.growth)
        coarse_next, coarse_sums = _split(coarse_sums, self.growth)
        for step, (up, down, _, _) in enumerate(self._later_steps(), start=1):
            fine_output, coarse_output = _leaky(fine_next), _leaky(coarse_next)
            from_coarse, from_fine = _leaky(up(coarse_output)), _leaky(down(fine_output))
            fine_sums = fine_sums + F.conv2d(fine_output, fine_weights.own[step], padding=1)
            coarse_sums = coarse_sums + F.conv2d(coarse_output, coarse_weights.own[step], padding=1)
            if step < NUM_CONVOLUTIONS - 1:
                fine_next, fine_sums = _split(fine_sums, self.growth)
                coarse_next, coarse_sums = _split(coarse_sums, self.growth)
            else:
                fine_next, coarse_next = fine_sums, coarse_sums
            fine_next = fine_next + F.conv2d(from_coarse, fine_weights.other[step - 1], padding=1)
            coarse_next = coarse_next + F.conv2d(from_fine, coarse_weights.other[step - 1], padding=1)
        return _residual(fine, _leaky(fine_next)), _residual(coarse, _leaky(coarse_next))

    def _later_steps(self) -> Iterator[tuple[nn.Module, nn.Module, nn.Module, nn.Module]]:
        """Up, down, fine and coarse convolution of the second to the fifth step."""
        return zip(self.up, self.down, list(self.fine)[1:], list(self.coarse)[1:], strict=True)


class MultiScaleResidualFusion(nn.Module):
    """Ten dual-scale dense fusion blocks in six columns, which carry every scale to every other one.

    Args:
        channels: Channels of the four scales, finest first.
        growth: Growth of the blocks between scales 1 and 2; doubled and doubled again for the coarser pairs.

    Example:
        >>> fusion = MultiScaleResidualFusion((8, 16, 32, 64), growth=4)
        >>> features = [torch.zeros(1, 8 << i, 16 >> i, 16 >> i) for i in range(4)]
        >>> [tuple(feature.shape[1:]) for feature in fusion(features)]
        [(8, 16, 16), (16, 8, 8), (32, 4, 4), (64, 2, 2)]

    Reference:
        MSRF-Net, section III-B2, figure 1. Deviation from the released program: every block reads the
        newest features of its two scales, as the paper draws it; the program's last column reads those of
        the second column, which leaves three of the ten blocks without any effect.
    """

    def __init__(self, channels: Sequence[int], growth: int) -> None:
        super().__init__()
        c1, c2, c3, c4 = channels

        def between_1_2() -> DualScaleDenseFusion:
            return DualScaleDenseFusion(c1, c2, growth)

        def between_2_3() -> DualScaleDenseFusion:
            return DualScaleDenseFusion(c2, c3, 2 * growth)

        def between_3_4() -> DualScaleDenseFusion:
            return DualScaleDenseFusion(c3, c4, 4 * growth)

        self.column1_fine, self.column1_coarse = between_1_2(), between_3_4()
        self.column2_fine, self.column2_coarse = between_1_2(), between_3_4()
        self.column3 = between_2_3()
        self.column4_fine, self.column4_coarse = between_1_2(), between_3_4()
        self.column5 = between_2_3()
        self.column6_fine, self.column6_coarse = between_1_2(), between_3_4()

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Return the fused features, each its input plus 0.4 times the last feature of its scale.

        Args:
            features: Four tensors, finest first, each of half the size of the one before.

        Returns:
            Four tensors shaped as the inputs.
        """
        x1, x2, x3, x4 = features
        x1, x2 = self.column1_fine(x1, x2)
        x3, x4 = self.column1_coarse(x3, x4)
        x1, x2 = self.column2_fine(x1, x2)
        x3, x4 = self.column2_coarse(x3, x4)
        x2, x3 = self.column3(x2, x3)
        x1, x2 = self.column4_fine(x1, x2)
        x3, x4 = self.column4_coarse(x3, x4)
        x2, x3 = self.column5(x2, x3)
        x1, x2 = self.column6_fine(x1, x2)
        x3, x4 = self.column6_coarse(x3, x4)
        return [_residual(old, new) for old, new in zip(features, (x1, x2, x3, x4), strict=True)]


def _dense_convolutions(channels: int, growth: int) -> nn.ModuleList:
    """Five 3×3 convolutions; from the second on they also see ``growth`` channels of the other stream."""
    inputs = [channels, *(channels + step * growth for step in range(2, NUM_CONVOLUTIONS + 1))]
    outputs = [growth] * (NUM_CONVOLUTIONS - 1) + [channels]
    return nn.ModuleList(nn.Conv2d(i, o, 3, padding=1) for i, o in zip(inputs, outputs, strict=True))


class _WeightsBySource(NamedTuple):
    """The weights of a stream's five convolutions, put together by what they read.

    Attributes:
        own: For the stream's input and each of its first four outputs, the weights of all convolutions that
            read it, one below the other.
        other: For the second to the fifth convolution, the weights that read the other stream.
        bias: The five biases, one below the other.
    """

    own: list[Tensor]
    other: list[Tensor]
    bias: Tensor


def _by_source(convolutions: nn.ModuleList, channels: int, growth: int) -> _WeightsBySource:
    layers = [layer for layer in convolutions if isinstance(layer, nn.Conv2d)]
    weights = [layer.weight for layer in layers]
    biases = [layer.bias for layer in layers if layer.bias is not None]
    stops = [0, *(channels + step * growth for step in range(NUM_CONVOLUTIONS))]
    own = [
        torch.cat([weight[:, start:stop] for weight in weights[source:]])
        for source, (start, stop) in enumerate(pairwise(stops))
    ]
    other = [weight[:, stop:] for weight, stop in zip(weights[1:], stops[2:], strict=True)]
    return _WeightsBySource(own, other, torch.cat(biases))


def _split(sums: Tensor, growth: int) -> tuple[Tensor, Tensor]:
    """What the next convolution gives, and what is known of those after it."""
    following, later = torch.split_with_sizes(sums, [growth, sums.shape[1] - growth], dim=1)
    return following, later


def _leaky(feature: Tensor) -> Tensor:
    return F.leaky_relu(feature, NEGATIVE_SLOPE)


def _residual(feature: Tensor, update: Tensor) -> Tensor:
    return torch.add(feature, update, alpha=RESIDUAL_WEIGHT)
