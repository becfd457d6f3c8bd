"""ResNet-18 as the catalogue lists it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field
from torch import nn

from scalefuse.networks.resnet.network import MIN_SIZE, ResNet18
from scalefuse.networks.spec import NetworkSpec, Paper
from scalefuse.schema import Schema

PositiveInt = Annotated[int, Field(ge=1)]


class ResNet18Config(Schema):
    """Arguments of the baseline.

    Attributes:
        name: Says that this is ResNet-18.
        in_channels: Channels of the image.
        num_classes: Number of logits.
        width: Channels of the first stage; each further stage has twice as many. 64 is the paper's.
        small_stem: Begin with a 3×3 convolution at full resolution instead of the 7×7 one of stride 2 and the
            max pooling, as is usual for pictures of 32 pixels or so.

    Example:
        >>> ResNet18Config().width
        64
    """

    name: Literal["resnet18"] = "resnet18"
    in_channels: PositiveInt = 3
    num_classes: PositiveInt = 2
    width: PositiveInt = 64
    small_stem: bool = False


def build(config: Any) -> nn.Module:
    """Return a freshly initialised network.

    Args:
        config: A :class:`ResNet18Config`.

    Example:
        >>> sum(p.numel() for p in build(ResNet18Config(num_classes=1000)).parameters())
        11689512
    """
    # MONAI takes seconds to import, and only this baseline needs it.
    from monai.networks.nets.resnet import ResNet

    body = ResNet(
        "basic",
        [2, 2, 2, 2],
        [config.width << stage for stage in range(4)],
        spatial_dims=2,
        n_input_channels=config.in_channels,
        conv1_t_size=3 if config.small_stem else 7,
        conv1_t_stride=1 if config.small_stem else 2,
        no_max_pool=config.small_stem,
        num_classes=config.num_classes,
        # A bias before a batch normalisation does nothing.
        bias_downsample=False,
    )
    return ResNet18(body, config.in_channels)


SPEC = NetworkSpec(
    name="resnet18",
    task="classification",
    config=ResNet18Config,
    build=build,
    size_multiple=1,
    min_size=MIN_SIZE,
    paper=Paper(
        title="Deep Residual Learning for Image Recognition",
        authors="He, Zhang, Ren, Sun",
        venue="CVPR 2016",
        url="https://arxiv.org/abs/1512.03385",
        released_program_licence="MIT; the layers here are MONAI's, Apache-2.0",
    ),
    summary="Classification: the plain baseline to beat, from MONAI.",
    parts={
        "stem": ("body.conv1", "body.bn1"),
        "stages": ("body.layer1", "body.layer2", "body.layer3", "body.layer4"),
        "head": ("body.fc",),
    },
    layers=(
        ("body.conv1.", "body.bn1."),
        *((f"body.layer{stage}.",) for stage in range(1, 5)),
        ("body.fc.",),
    ),
    head=("body.fc.",),
    tiny={"num_classes": 3, "width": 8},
    example_shape=(3, 224, 224),
)
