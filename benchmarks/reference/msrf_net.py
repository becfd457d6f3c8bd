"""MSRF-Net with its dense blocks written out: every convolution on the concatenation of all that it sees.

The package computes the same by source in training, adds with a factor in one step, and finds the image's
gradient by shifts. Here stand the formulas alone; NCHW, nothing shared or kept between steps. Compared with
the package for equality by the tests and for speed by the benchmarks.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scalefuse.networks.msrf_net.dual_scale import (
    NEGATIVE_SLOPE,
    NUM_CONVOLUTIONS,
    RESIDUAL_WEIGHT,
    DualScaleDenseFusion,
    MultiScaleResidualFusion,
)
from scalefuse.networks.msrf_net.network import MSRFNet
from scalefuse.networks.msrf_net.shape_stream import SMALLEST_MAXIMUM, ShapeStream


class PlainDualScaleDenseFusion(nn.Module):
    """A :class:`DualScaleDenseFusion`'s weights, in training as in evaluation on explicit concatenations."""

    def __init__(self, block: DualScaleDenseFusion) -> None:
        super().__init__()
        self.fine, self.coarse, self.up, self.down = block.fine, block.coarse, block.up, block.down

    def forward(self, fine: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
        fine_outputs = [F.leaky_relu(self.fine[0](fine), NEGATIVE_SLOPE)]
        coarse_outputs = [F.leaky_relu(self.coarse[0](coarse), NEGATIVE_SLOPE)]
        for step in range(1, NUM_CONVOLUTIONS):
            raised = F.leaky_relu(self.up[step - 1](coarse_outputs[-1]), NEGATIVE_SLOPE)
            lowered = F.leaky_relu(self.down[step - 1](fine_outputs[-1]), NEGATIVE_SLOPE)
            seen_by_fine = torch.cat([fine, *fine_outputs, raised], dim=1)
            seen_by_coarse = torch.cat([coarse, *coarse_outputs, lowered], dim=1)
            fine_outputs.append(F.leaky_relu(self.fine[step](seen_by_fine), NEGATIVE_SLOPE))
            coarse_outputs.append(F.leaky_relu(self.coarse[step](seen_by_coarse), NEGATIVE_SLOPE))
        return fine + RESIDUAL_WEIGHT * fine_outputs[-1], coarse + RESIDUAL_WEIGHT * coarse_outputs[-1]


class PlainFusion(nn.Module):
    """A :class:`MultiScaleResidualFusion`'s ten blocks, plain, and its outer residual connections."""

    def __init__(self, fusion: MultiScaleResidualFusion) -> None:
        super().__init__()
        self.blocks = nn.ModuleDict(
            {name: PlainDualScaleDenseFusion(block) for name, block in fusion.named_children()}
        )

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        x1, x2, x3, x4 = features
        for column in range(1, 7):
            if f"column{column}" in self.blocks:
                x2, x3 = self.blocks[f"column{column}"](x2, x3)
            else:
                x1, x2 = self.blocks[f"column{column}_fine"](x1, x2)
                x3, x4 = self.blocks[f"column{column}_coarse"](x3, x4)
        return [old + RESIDUAL_WEIGHT * new for old, new in zip(features, (x1, x2, x3, x4), strict=True)]


def plain_image_gradient(image: Tensor) -> Tensor:
    """Scharr gradient magnitude of the channels' mean as two convolutions, over its maximum per image."""
    kernel = image.new_tensor([[-3.0, 0.0, 3.0], [-10.0, 0.0, 10.0], [-3.0, 0.0, 3.0]]) / 32
    grey = F.pad(image.mean(dim=1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    gradient = F.conv2d(grey, torch.stack([kernel, kernel.T])[:, None])
    magnitude = gradient.square().sum(dim=1, keepdim=True).sqrt()
    return magnitude / magnitude.amax(dim=(2, 3), keepdim=True).clamp_min(SMALLEST_MAXIMUM)


class PlainShapeStream(nn.Module):
    """A :class:`ShapeStream`'s weights, with the gradient found by convolutions."""

    def __init__(self, stream: ShapeStream) -> None:
        super().__init__()
        self.stream = stream

    def forward(self, features: Sequence[Tensor], image: Tensor) -> tuple[Tensor, Tensor]:
        own = self.stream
        stream = own.enter(features[0])
        for residual, gate, coarser in zip(own.residuals, own.gates, features[1:], strict=True):
            stream = gate(residual(stream), coarser)
        edge = own.edge(stream)
        seen = torch.cat([torch.sigmoid(edge), plain_image_gradient(image)], dim=1)
        guide = own.guide_scale(torch.sigmoid(own.guide_mix(seen)))
        return edge, torch.relu(own.guide_norm(guide))


def plain_msrf_net(network: MSRFNet) -> MSRFNet:
    """Return a copy of an MSRF-Net, NCHW, that computes by the plain formulas."""
    plain = copy.deepcopy(network).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    plain.fusion = PlainFusion(plain.fusion)
    plain.shape_stream = PlainShapeStream(plain.shape_stream)
    return plain
