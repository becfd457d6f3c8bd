"""Decoder of DILRAN: three convolutions with nothing between them, computed as one."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalefuse.networks.dilran.autocast import without_autocast


class DecoderWeights(NamedTuple):
    """What :meth:`Decoder.decode` computes with.

    Attributes:
        products: The composed 7×7 kernel as one 1×1 convolution with an output for each of its places,
            ``(49, C, 1, 1)``.
        bias: Its bias, ``(1)``.
    """

    products: Tensor
    bias: Tensor


class Decoder(nn.Sequential):
    """Three 3×3 convolutions from features to a picture, with nothing between them.

    Args:
        features: Number of channels of the features.
    """

    def __init__(self, features: int) -> None:
        super().__init__(
            nn.Conv2d(features, features, 3, padding=1),
            nn.Conv2d(features, features // 2, 3, padding=1),
            nn.Conv2d(features // 2, 1, 3, padding=1),
        )

    def composed(self) -> DecoderWeights:
        """The three convolutions as one of 7×7; gradients reach the layers' own weights.

        Returns:
            The weights that :meth:`forward` computes with.
        """
        first, second, third = (layer for layer in self if isinstance(layer, nn.Conv2d))
        assert first.bias is not None
        assert second.bias is not None
        assert third.bias is not None
        with without_autocast(first.weight):
            two = F.conv_transpose2d(third.weight, second.weight)
            three = F.conv_transpose2d(two, first.weight)
            bias = third.bias + third.weight.sum((2, 3)) @ second.bias + two.sum((2, 3)) @ first.bias
            return DecoderWeights(three.flatten(2).transpose(1, 2).reshape(-1, len(first.weight), 1, 1), bias)

    def forward(self, features: Tensor) -> Tensor:
        """Map features ``(N, C, H, W)`` to a picture ``(N, 1, H, W)``."""
        return self.decode(features, self.composed())

    def one_by_one(self, features: Tensor) -> Tensor:
        """Map features ``(N, C, H, W)`` to a picture ``(N, 1, H, W)``, layer by layer."""
        for layer in self:
            features = layer(features)
        return features

    def decode(self, features: Tensor, weights: DecoderWeights) -> Tensor:
        """Map features to a picture with the weights of :meth:`composed`, never in fewer bits than they have.

        Every feature vector is multiplied by the kernel's 49 columns, and each pixel adds up what its 49
        neighbours have for it: 1/18 of the three convolutions' multiply-accumulates. The outermost three
        pixels, where the convolutions see zeros between them, come from the layers as they are.
        """
        height, width = features.shape[-2:]
        with without_autocast(features):
            features = features.to(weights.products.dtype)
            columns = F.pad(F.conv2d(features, weights.products), (3, 3, 3, 3))
            columns = columns.reshape(-1, 7, 7, height + 6, width + 6)
            rows = sum(columns[:, :, i, :, i : i + width] for i in range(7))
            assert isinstance(rows, Tensor)
            core = sum(rows[:, i : i + 1, i : i + height] for i in range(7)) + weights.bias.view(-1, 1, 1)
            left = self.one_by_one(features[..., :6])[..., :3]
            right = self.one_by_one(features[..., -6:])[..., -3:]
            top = self.one_by_one(features[..., :6, :])[..., :3, :]
            bottom = self.one_by_one(features[..., -6:, :])[..., -3:, :]
            middle = torch.cat([left, core[..., 3:-3], right], -1)
            return torch.cat([top, middle[..., 3:-3, :], bottom], -2)
