"""Config and catalogue entry of DILRAN."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from scalefuse.networks.dilran.network import DILRAN, MIN_SIZE
from scalefuse.networks.dilran.upstream import convert_state_dict
from scalefuse.networks.spec import NetworkSpec, Paper
from scalefuse.schema import Schema


class DILRANConfig(Schema):
    """Constructor arguments of :class:`~scalefuse.networks.dilran.DILRAN`.

    Attributes:
        name: Always ``dilran``.
        features: Number of feature channels, even.
        dilations: Dilation of each parallel 3×3 convolution of the encoder.

    Example:
        >>> DILRANConfig().features
        64
    """

    name: Literal["dilran"] = "dilran"
    features: Annotated[int, Field(ge=2, multiple_of=2)] = 64
    dilations: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (1, 3, 5)


def build(config: DILRANConfig) -> DILRAN:
    """Make a freshly initialised network from its config.

    Example:
        >>> sum(p.numel() for p in build(DILRANConfig()).parameters())
        216001
    """
    return DILRAN(features=config.features, dilations=config.dilations)


SPEC = NetworkSpec(
    name="dilran",
    task="fusion",
    config=DILRANConfig,
    build=build,
    size_multiple=1,
    min_size=MIN_SIZE,
    paper=Paper(
        title="An Attention-based Multi-Scale Feature Learning Network for Multimodal Medical Image Fusion",
        authors="Zhou, Xu, Zhang",
        venue="arXiv 2212.04661 (extended: IEEE BIBM 2024)",
        url="https://arxiv.org/abs/2212.04661",
        released_program_licence="Apache-2.0",
    ),
    summary="Auto-encoder with dilated residual attention; fuses two registered images of one patient.",
    parts={"encoder": ("encoder",), "decoder": ("decoder",)},
    # Nothing but the linear 1×1 reduction lies between these biases and the norm, which removes constants.
    biases_before_norm=(
        "encoder.dilated_convs.0.bias",
        "encoder.dilated_convs.1.bias",
        "encoder.dilated_convs.2.bias",
        "encoder.reduce_conv.bias",
    ),
    convert_state_dict=convert_state_dict,
    tiny={"features": 8},
    example_shape=(1, 256, 256),
)
