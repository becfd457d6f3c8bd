"""MSRF-Net as the catalogue lists it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field
from torch import nn

from scalefuse.networks.msrf_net.network import SIZE_MULTIPLE, MSRFNet
from scalefuse.networks.spec import NetworkSpec, Paper
from scalefuse.schema import Schema


class MSRFNetConfig(Schema):
    """Constructor arguments of :class:`~scalefuse.networks.msrf_net.network.MSRFNet`.

    Attributes:
        name: Says that this is MSRF-Net.
        in_channels: Channels of the image.
        num_classes: Channels of the logits: 1 for a binary mask, n for n classes or n labels.
        width: Channels at full size; doubled at each of the three coarser scales.
        growth: Channels that a dense convolution between scales 1 and 2 adds.
        dropout: Dropout probability between the encoder's levels.

    Example:
        >>> MSRFNetConfig(width=16, growth=8).num_classes
        1
    """

    name: Literal["msrf_net"] = "msrf_net"
    in_channels: int = Field(default=3, ge=1)
    num_classes: int = Field(default=1, ge=1)
    width: int = Field(default=32, ge=8, multiple_of=8)
    growth: int = Field(default=16, ge=1)
    dropout: float = Field(default=0.2, ge=0, lt=1)


def build(config: Any) -> nn.Module:
    """Return a freshly initialised network.

    Args:
        config: An :class:`MSRFNetConfig`.

    Example:
        >>> type(build(MSRFNetConfig(width=8, growth=4))).__name__
        'MSRFNet'
    """
    return MSRFNet(**config.model_dump(exclude={"name"}))


SPEC = NetworkSpec(
    name="msrf_net",
    task="segmentation",
    config=MSRFNetConfig,
    build=build,
    size_multiple=SIZE_MULTIPLE,
    min_size=SIZE_MULTIPLE,
    paper=Paper(
        title="MSRF-Net: A Multi-Scale Residual Fusion Network for Biomedical Image Segmentation",
        authors="Srivastava, Jha, Chanda, Pal, Johansen, Johansen, Riegler, Ali, Halvorsen",
        venue="IEEE Journal of Biomedical and Health Informatics 26(5), 2022",
        url="https://doi.org/10.1109/JBHI.2021.3138024",
        released_program_licence="none",
    ),
    summary="Segmentation: all resolutions stay alive and exchange features in ten dual-scale dense blocks.",
    parts={
        "encoder": ("encoder",),
        "MSRF sub-network": ("fusion",),
        "shape stream": ("shape_stream",),
        "decoder, scale 3": ("decoder3",),
        "decoder, scale 2": ("decoder2",),
        "decoder, last level": ("last_level",),
    },
    head=("decoder3.logits.", "decoder2.logits.", "last_level.logits."),
    biases_before_norm=(
        *(f"shape_stream.residuals.{i}.conv{j}.bias" for i in range(3) for j in (1, 2)),
        *(f"shape_stream.gates.{i}.{part}.bias" for i in range(3) for part in ("squeeze", "score")),
        "shape_stream.guide_scale.bias",
        *(
            f"decoder{scale}.{part}.bias"
            for scale in (3, 2)
            for part in ("attended_up", "fuse", "spatial_attention.reduce", "conv1")
        ),
    ),
    tiny={"width": 8, "growth": 4},
)
