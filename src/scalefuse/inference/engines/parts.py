"""The networks cut into parts, each of which becomes one graph; the networks stay as they are."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from scalefuse.inference.engines.protocol import Part, Precision
from scalefuse.networks.dilran import DILRAN
from scalefuse.networks.dilran.composed import ComposedDecoder, ComposedEncoder
from scalefuse.networks.msrf_net.network import MSRFNet

_SIDES = (64, 48)
# Two of everything that stays free: tracing takes a 1 for a constant.
_BATCH = 2


class MaskOnly(nn.Module):
    """A segmentation network without the outputs that only training reads.

    Args:
        network: maps ``(N, C, H, W)`` to logits ``(N, K, H, W)``, or to a tuple with these as ``mask``.

    Example:
        >>> MaskOnly(nn.Conv2d(3, 2, 1))(torch.zeros(1, 3, 8, 8)).shape
        torch.Size([1, 2, 8, 8])
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits ``(N, K, H, W)``."""
        output: Any = self.network(image)
        logits: Tensor = output if isinstance(output, Tensor) else output.mask
        return logits


class Trunk(nn.Module):
    """MSRF-Net from the encoder's first level to all that its shape stream and its last level read."""

    def __init__(self, network: MSRFNet) -> None:
        super().__init__()
        self.levels, self.pool = network.encoder.levels[1:], network.encoder.pool
        self.fusion, self.decoder3, self.decoder2 = network.fusion, network.decoder3, network.decoder2

    def forward(self, first: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Map ``(N, width, H, W)`` to the features of the four scales, finest first, and the decoder's."""
        features = [first]
        for level in self.levels:
            features.append(level(self.pool(features[-1])))
        x1, x2, x3, x4 = self.fusion(features)
        feature, _ = self.decoder3(x3, x4)
        feature, _ = self.decoder2(x2, feature)
        return x1, x2, x3, x4, feature


class Guide(nn.Module):
    """MSRF-Net's shape stream, from the features and the image to the decoder's guide ``(N, 1, H, W)``."""

    def __init__(self, network: MSRFNet) -> None:
        super().__init__()
        self.shape_stream = network.shape_stream

    def forward(self, x1: Tensor, x2: Tensor, x3: Tensor, x4: Tensor, image: Tensor) -> Tensor:
        """Return the guide."""
        guide: Tensor = self.shape_stream([x1, x2, x3, x4], image)[1]
        return guide


class StagedInstanceNorm(nn.Module):
    """Instance normalisation that adds up rows first: exact also where a runtime sums in one float32 number.

    Args:
        norm: the layer whose weights are used.

    Example:
        >>> norm, x = nn.InstanceNorm2d(3, affine=True), torch.rand(2, 3, 9, 7)
        >>> torch.allclose(StagedInstanceNorm(norm)(x), norm(x), atol=1e-5)
        True
    """

    def __init__(self, norm: nn.InstanceNorm2d) -> None:
        super().__init__()
        assert norm.weight is not None
        assert norm.bias is not None
        self.eps = norm.eps
        self.weight = nn.Parameter(norm.weight.detach()[:, None, None].clone(), requires_grad=False)
        self.bias = nn.Parameter(norm.bias.detach()[:, None, None].clone(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to the same shape."""
        centred = x - x.mean(3, keepdim=True).mean(2, keepdim=True)
        variance = centred.square().mean(3, keepdim=True).mean(2, keepdim=True)
        return centred * (self.weight * (variance + self.eps).rsqrt()) + self.bias


def fusion_parts(network: DILRAN, precision: Precision, *, sums_roughly: bool) -> tuple[Part, Part]:
    """Encoder and decoder of DILRAN; the strategy between them is no graph.

    Args:
        network: in evaluation mode.
        precision: of the convolutions.
        sums_roughly: whether the norm must be written so that rough sums do no harm. In bf16 it must not:
            its partial sums would be rounded.

    The decoder stays in float32: composed, it is 3 % of the work, and in bf16 it would round the picture
    itself to 1/256.

    Example:
        >>> encoder, decoder = fusion_parts(DILRAN(features=4), "fp32", sums_roughly=True)
        >>> decoder.module(encoder.module(*encoder.examples)).shape
        torch.Size([2, 1, 64, 48])
    """
    encoder, decoder = ComposedEncoder(network.encoder), ComposedDecoder(network.decoder)
    if sums_roughly and precision == "fp32":
        encoder.encoder.norm = StagedInstanceNorm(encoder.encoder.norm)  # type: ignore[assignment]
    return (
        Part(encoder, (_example(1),), precision, smallest=16),
        Part(decoder, (_example(network.features),), "fp32", smallest=16),
    )


def segmentation_parts(network: nn.Module, channels: int, multiple: int, precision: Precision) -> list[Part]:
    """One part, or for MSRF-Net in bf16 four: the encoder's first level, trunk, guide and last level.

    The shape stream divides by the image's largest gradient and ends in sigmoids behind normalisations of few
    channels; what it reads of the image comes through the first level. In bf16 these two cost more Dice than
    all others together; in float32 they are 3 % of the network's work.

    Args:
        network: in evaluation mode.
        channels: of the image.
        multiple: what heights and widths must be divisible by.
        precision: of the heavy layers.

    Example:
        >>> [part.precision for part in segmentation_parts(MSRFNet(width=8).eval(), 3, 8, "bf16")]
        ['fp32', 'bf16', 'fp32', 'bf16']
    """
    sides: dict[str, Any] = {"multiple": multiple, "smallest": multiple, "channels_last": True}
    image = _example(channels)
    if not isinstance(network, MSRFNet) or precision == "fp32":
        return [Part(MaskOnly(network), (image,), precision, **sides)]
    level, trunk, guide = network.encoder.levels[0], Trunk(network).eval(), Guide(network).eval()
    with torch.no_grad():
        first = level(image)
        *scales, feature = trunk(first)
        edge = guide(*scales, image)
    return [
        Part(level, (image,), "fp32", **sides),
        Part(trunk, (first,), precision, **sides),
        Part(guide, (*scales, image), "fp32", **sides),
        Part(network.last_level, (scales[0], feature, edge), precision, **sides),
    ]


def _example(channels: int) -> Tensor:
    # Sides of different length, divisible by 16: what every network takes.
    return torch.rand(_BATCH, channels, *_SIDES, generator=torch.Generator().manual_seed(0))
