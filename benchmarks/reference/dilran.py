"""DILRAN written out as the paper's formulas stand, and its softmax nuclear-norm strategy word for word.

Every product and sum is a step of its own, attention maps are enlarged before the ReLU, and all singular
values of all channels of both images are found. Compared with the package for equality by the tests and for
speed by the benchmarks.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scalefuse.networks.dilran import DILRAN


def plain_largest_nuclear_norm(features: Tensor) -> Tensor:
    """Largest nuclear norm of the channels, ``(N, C, H, W)`` to ``(N,)``, from all singular values."""
    return torch.linalg.svdvals(features).sum(dim=-1).amax(dim=1)


def plain_softmax_nuclear_norm(f1: Tensor, f2: Tensor) -> Tensor:
    """Fuse two feature tensors ``(N, C, H, W)`` with the paper's strategy, word for word."""
    n1 = plain_largest_nuclear_norm(torch.softmax(f1, dim=1)).view(-1, 1, 1, 1)
    n2 = plain_largest_nuclear_norm(torch.softmax(f2, dim=1)).view(-1, 1, 1, 1)
    return (n1**2 * f1 + n2**2 * f2) / (n1**2 + n2**2)


def plain_pooled_attention(x: Tensor) -> Tensor:
    """Average of 2×2 pixels, enlarged, then ReLU; for even heights and widths."""
    assert not any(side % 2 for side in x.shape[-2:]), "the plain form knows even sizes only"
    return F.relu(F.interpolate(F.avg_pool2d(x, 2), scale_factor=2.0, mode="nearest"))


class PlainDILRAN(nn.Module):
    """A DILRAN's weights under the plain formulas; ``encode`` and ``decode`` as there."""

    def __init__(self, network: DILRAN) -> None:
        super().__init__()
        network = copy.deepcopy(network)
        self.features = network.features
        # The package's decoder computes its layers as one.
        self.encoder, self.decoder = network.encoder, nn.Sequential(*network.decoder)

    def encode(self, image: Tensor) -> Tensor:
        encoder = self.encoder
        x = image + plain_pooled_attention(image) * encoder.input_conv(image)
        scales = torch.cat([convolution(x) for convolution in encoder.dilated_convs], dim=1)
        reduced = encoder.norm(encoder.reduce_conv(scales))
        convolution = encoder.residual_attention.conv
        once = convolution(reduced)
        twice = convolution(once)
        thrice = convolution(twice)
        deep = reduced + plain_pooled_attention(reduced) * (once + twice + thrice)
        return x + plain_pooled_attention(x) * encoder.norm(deep)

    def decode(self, features: Tensor) -> Tensor:
        image: Tensor = self.decoder(features)
        return image

    def forward(self, image: Tensor) -> Tensor:
        return self.decode(self.encode(image))

    def fuse(self, a: Tensor, b: Tensor) -> Tensor:
        """The paper's whole way from two pictures to one, clamped to [0, 1]."""
        return self.decode(plain_softmax_nuclear_norm(self.encode(a), self.encode(b))).clamp(0, 1)
