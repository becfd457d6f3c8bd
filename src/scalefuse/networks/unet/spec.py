"""The plain U-Net as the catalogue lists it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field
from torch import nn

from scalefuse.networks.spec import NetworkSpec, Paper
from scalefuse.networks.unet.network import SIZE_MULTIPLE, UNet
from scalefuse.schema import Schema


class UNetConfig(Schema):
    """Constructor arguments of :class:`~scalefuse.networks.unet.network.UNet`.

    Attributes:
        name: Says that this is the plain U-Net.
        in_channels: Channels of the image.
        num_classes: Channels of the logits: 1 for a binary mask, n for n classes or n labels.
        width: Channels at full size, even; doubled at each of the four coarser levels.
        norm: Normalisation after each convolution.
        dropout: Dropout probability after each convolution.

    Example:
        >>> UNetConfig(width=42).norm
        'batch'
    """

    name: Literal["unet"] = "unet"
    in_channels: int = Field(default=3, ge=1)
    num_classes: int = Field(default=1, ge=1)
    width: int = Field(default=64, ge=2, multiple_of=2)
    norm: Literal["batch", "instance"] = "batch"
    dropout: float = Field(default=0.0, ge=0, lt=1)


def build(config: Any) -> nn.Module:
    """Return a freshly initialised network.

    Args:
        config: A :class:`UNetConfig`.

    Example:
        >>> type(build(UNetConfig(width=4))).__name__
        'UNet'
    """
    return UNet(**config.model_dump(exclude={"name"}))


_PARTS = {
    "encoder": ("conv_0", "down_1", "down_2", "down_3", "down_4"),
    "decoder": ("upcat_4", "upcat_3", "upcat_2", "upcat_1"),
    "logits": ("final_conv",),
}

SPEC = NetworkSpec(
    name="unet",
    task="segmentation",
    config=UNetConfig,
    build=build,
    size_multiple=SIZE_MULTIPLE,
    min_size=SIZE_MULTIPLE,
    paper=Paper(
        title="U-Net: Convolutional Networks for Biomedical Image Segmentation",
        authors="Ronneberger, Fischer, Brox",
        venue="MICCAI 2015",
        url="https://doi.org/10.1007/978-3-319-24574-4_28",
        released_program_licence="not used; MONAI's BasicUNet is Apache-2.0",
    ),
    summary="Segmentation: a plain U-Net (MONAI's), which the others are compared with.",
    parts={part: tuple(f"layers.{name}" for name in names) for part, names in _PARTS.items()},
    head=("layers.final_conv.",),
    tiny={"width": 4},
)
