"""Encoder of DILRAN: multi-scale features of one grey channel, its linear layers computed as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalefuse.networks.dilran.autocast import without_autocast
from scalefuse.networks.dilran.pooling import enlarged, pooled_attention, pooled_means


class DilatedResidualAttention(nn.Module):
    """Residual attention over three growing receptive fields of one shared convolution.

    Computes ``d + P(d) · (c(d) + c(c(d)) + c(c(c(d))))`` with :func:`pooled_attention` as ``P`` and one
    3×3 convolution ``c``.

    Args:
        features: Number of channels.

    Reference:
        DILRAN module of arXiv 2212.04661, section 3.1.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, C, H, W)``."""
        once = self.conv(x)
        twice = self.conv(once)
        return torch.addcmul(x, pooled_attention(x), once + twice + self.conv(twice))


class EncoderWeights(NamedTuple):
    """What :meth:`Encoder.encode` computes with.

    Attributes:
        scale: Weights of the input convolution, ``(C, 1, 1)``.
        offset: Its biases, ``(C, 1, 1)``.
        kernel: One convolution from the three maps to the reduced features, ``(C, 3, K, K)`` with odd K.
        bias: Its biases, ``(C)``.
    """

    scale: Tensor
    offset: Tensor
    kernel: Tensor
    bias: Tensor


class Encoder(nn.Module):
    """Multi-scale feature extractor of DILRAN: one grey channel to ``features`` channels.

    Args:
        features: Number of channels of the features.
        dilations: Dilation of each of the parallel 3×3 convolutions.
    """

    def __init__(self, features: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.input_conv = nn.Conv2d(1, features, 1)
        self.dilated_convs = nn.ModuleList(
            nn.Conv2d(features, features, 3, padding=dilation, dilation=dilation) for dilation in dilations
        )
        self.reduce_conv = nn.Conv2d(features * len(dilations), features, 1)
        self.residual_attention = DilatedResidualAttention(features)
        # One layer, used after the reduction and again after the attention, as in the released weights.
        self.norm = nn.InstanceNorm2d(features, affine=True)

    def composed(self) -> EncoderWeights:
        """The same linear maps in fewer and smaller pieces; gradients reach the layers' own weights.

        The layers before the first norm have no nonlinearity but the image's attention map, so that the
        input of the dilated convolutions is, in every channel, a sum of three maps: the image, image times
        attention, and attention. Input convolution, dilated convolutions and reduction together are
        therefore *one* convolution of these three maps, with 1/5 of the multiply-accumulates or fewer.

        Returns:
            The weights that :meth:`forward` computes with.
        """
        with without_autocast(self.input_conv.weight):
            scale, offset = self.input_conv.weight.flatten(), self.input_conv.bias
            assert offset is not None
            assert self.reduce_conv.bias is not None
            shares = torch.stack([torch.ones_like(scale), scale, offset], 1)
            reach = max(conv.dilation[0] for conv in self.convolutions())
            bias = self.reduce_conv.bias
            side = 2 * reach + 1
            kernel = bias.new_zeros(len(bias), 3, side, side)
            parts = self.reduce_conv.weight[:, :, 0, 0].chunk(len(self.dilated_convs), 1)
            for part, conv in zip(parts, self.convolutions(), strict=True):
                assert conv.bias is not None
                bias = bias + part @ conv.bias
                small = part @ torch.einsum("cihw,ij->cjhw", conv.weight, shares).flatten(1)
                step = conv.dilation[0]
                taps = slice(reach - step, reach + step + 1, step)
                kernel[:, :, taps, taps] += small.view(-1, 3, 3, 3)
            return EncoderWeights(scale[:, None, None], offset[:, None, None], kernel, bias)

    def convolutions(self) -> list[nn.Conv2d]:
        """The dilated convolutions."""
        return [conv for conv in self.dilated_convs if isinstance(conv, nn.Conv2d)]

    def forward(self, image: Tensor) -> Tensor:
        """Map an image ``(N, 1, H, W)`` to features ``(N, C, H, W)``."""
        return self.encode(image, self.composed())

    def encode(self, image: Tensor, weights: EncoderWeights) -> Tensor:
        """Map an image ``(N, 1, H, W)`` to features ``(N, C, H, W)`` with the weights of :meth:`composed`."""
        attention = pooled_attention(image)
        maps = torch.cat([image, attention * image, attention], 1)
        reach = weights.kernel.shape[-1] // 2
        reduced = self.norm(F.conv2d(maps, weights.kernel, weights.bias, padding=reach))
        deep = self.norm(self.residual_attention(reduced))
        # Every channel is a sum of the maps, and so are its means.
        means = pooled_means(maps)
        gate = torch.addcmul(means[:, :1], weights.scale, means[:, 1:2]) + weights.offset * means[:, 2:]
        x = torch.addcmul(image, attention, torch.addcmul(weights.offset, weights.scale, image))
        return torch.addcmul(x, enlarged(F.relu(gate), image.shape[-2], image.shape[-1]), deep)
