"""HiFuse as the catalogue lists it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field
from torch import nn

from scalefuse.networks.hifuse.network import MIN_SIZE, NUM_STAGES, VARIANTS, HiFuse, Initialisation
from scalefuse.networks.hifuse.upstream import convert_state_dict, read_architecture
from scalefuse.networks.spec import NetworkSpec, Paper
from scalefuse.schema import Schema

PositiveInt = Annotated[int, Field(ge=1)]
PerStage = tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt]


class HiFuseConfig(Schema):
    """Constructor arguments of :class:`~scalefuse.networks.hifuse.network.HiFuse`.

    Attributes:
        name: Says that this is HiFuse.
        in_channels: Channels of the image.
        num_classes: Number of logits.
        embed_dim: Channels of the first stage; each further stage has twice as many.
        depths: Blocks per stage: (2, 2, 2, 2) is the paper's Tiny, (2, 2, 6, 2) Small, (2, 2, 18, 2) Base.
        num_heads: Attention heads per stage; None for ``max(1, embed_dim // 32) · (1, 2, 4, 8)``.
        window_size: Side of an attention window in tokens.
        depthwise_inverted_mlp: As in the paper; False loads checkpoints of the released program.
        shift_single_window: Shift also where one window covers the map; converted checkpoints need it.
        drop_path: Largest drop-path rate, in [0, 1).
        initialisation: How weights begin: ``fixed``, with a deviation of 0.02, or ``fan_in``, with
            1/√(inputs of a weight's output), from which narrow networks learn sooner.

    Example:
        >>> HiFuseConfig(embed_dim=32).depths
        (2, 2, 2, 2)
    """

    name: Literal["hifuse"] = "hifuse"
    in_channels: PositiveInt = 3
    num_classes: PositiveInt = 2
    embed_dim: PositiveInt = 96
    depths: PerStage = VARIANTS["tiny"]
    num_heads: PerStage | None = None
    window_size: PositiveInt = 7
    depthwise_inverted_mlp: bool = True
    shift_single_window: bool = False
    drop_path: float = Field(default=0.0, ge=0, lt=1)
    initialisation: Initialisation = "fixed"


def build(config: Any) -> nn.Module:
    """Return a freshly initialised network.

    Args:
        config: A :class:`HiFuseConfig`.

    Example:
        >>> type(build(HiFuseConfig(embed_dim=16))).__name__
        'HiFuse'
    """
    return HiFuse(**config.model_dump(exclude={"name"}))


SPEC = NetworkSpec(
    name="hifuse",
    task="classification",
    config=HiFuseConfig,
    build=build,
    size_multiple=1,
    min_size=MIN_SIZE,
    paper=Paper(
        title="HiFuse: Hierarchical Multi-Scale Feature Fusion Network for Medical Image Classification",
        authors="Huo, Sun, Tian, Wang, Yu, Long, Zhang, Li",
        venue="Biomedical Signal Processing and Control 87 (2024) 105534",
        url="https://arxiv.org/abs/2209.10218",
        released_program_licence="MIT",
    ),
    summary="Classification: convolutions and windowed attention side by side, fused at every stage.",
    parts={
        "local branch": ("local_branch",),
        "global branch": ("global_branch",),
        "fusion branch": ("fusion_blocks",),
        "head": ("head_norm", "head"),
    },
    # At most a 1×1 convolution lies between these biases and a batch normalisation, which removes constants.
    # The last one adds a constant to a fused stage, which only the next stage's first projection reads.
    biases_before_norm=(
        *(
            f"fusion_blocks.{stage}.{part}.bias"
            for stage in range(NUM_STAGES)
            for part in (
                "local_projection.conv",
                "global_projection.conv",
                "joint_norm",
                "joint_projection.conv",
            )
        ),
        *(f"fusion_blocks.{stage}.previous_projection.conv.bias" for stage in range(1, NUM_STAGES)),
        *(f"fusion_blocks.{stage}.inverted_mlp.project_norm.bias" for stage in range(NUM_STAGES - 1)),
    ),
    convert_state_dict=convert_state_dict,
    read_architecture=read_architecture,
    layers=(
        *(
            tuple(
                f"{part}.{stage}."
                for part in (
                    "local_branch.reductions",
                    "local_branch.stages",
                    "global_branch.reductions",
                    "global_branch.stages",
                    "fusion_blocks",
                )
            )
            for stage in range(NUM_STAGES)
        ),
        ("head_norm.", "head."),
    ),
    head=("head.",),
    tiny={"num_classes": 3, "embed_dim": 32, "depths": (2, 2, 2, 2)},
    example_shape=(3, 224, 224),
)
