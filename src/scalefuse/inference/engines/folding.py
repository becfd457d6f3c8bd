"""Batch normalisation taken into the convolution before it: the same values with one pass less."""

from __future__ import annotations

import copy

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from scalefuse.networks.hifuse.fusion_block import InvertedResidualMLP, ProjectAndNorm
from scalefuse.networks.hifuse.fusion_block import SpatialAttention as PixelAttention
from scalefuse.networks.msrf_net.attention import SpatialAttention
from scalefuse.networks.msrf_net.decoder import TripleAttentionDecoder
from scalefuse.networks.msrf_net.shape_stream import GatedConvolution, ResidualBlock, ShapeStream

FOLDED: dict[type[nn.Module], tuple[tuple[str, str], ...]] = {
    ResidualBlock: (("conv1", "norm1"), ("conv2", "norm2")),
    GatedConvolution: (("score", "norm_out"),),
    ShapeStream: (("guide_scale", "guide_norm"),),
    SpatialAttention: (("reduce", "norm"),),
    TripleAttentionDecoder: (("attended_up", "attended_up_norm"), ("fuse", "fuse_norm"), ("conv1", "norm2")),
    ProjectAndNorm: (("conv", "norm"),),
    PixelAttention: (("conv", "norm"),),
    InvertedResidualMLP: (("project_conv", "project_norm"),),
}
"""For each block, the convolutions whose result only a batch normalisation reads, and that normalisation."""


def folded(network: nn.Module) -> nn.Module:
    """A copy of a network in evaluation mode, without the batch normalisations that follow a convolution.

    Args:
        network: any; blocks that are not in :data:`FOLDED` stay as they are.

    Returns:
        The copy, in evaluation mode and without gradients. It computes the same up to rounding.

    Example:
        >>> block = ProjectAndNorm(2, 3)
        >>> folded(block)
        ProjectAndNorm(
          (conv): Conv2d(2, 3, kernel_size=(1, 1), stride=(1, 1))
          (norm): Identity()
        )
    """
    network = copy.deepcopy(network).eval().requires_grad_(False)
    for block in network.modules():
        for conv_name, norm_name in FOLDED.get(type(block), ()):
            conv, norm = getattr(block, conv_name), getattr(block, norm_name)
            assert isinstance(conv, nn.Conv2d | nn.ConvTranspose2d)
            assert norm.running_mean is not None
            conv.weight, conv.bias = fuse_conv_bn_weights(
                conv.weight,
                conv.bias,
                norm.running_mean,
                norm.running_var,
                norm.eps,
                norm.weight,
                norm.bias,
                transpose=isinstance(conv, nn.ConvTranspose2d),
            )
            setattr(block, norm_name, nn.Identity())
    return network.requires_grad_(False)
