"""HiFuse: an image classifier whose local and global features are fused stage by stage.

A local branch (convolutions) and a global branch (windowed attention) run side by side over four stages, at
strides 4, 8, 16 and 32. A fusion branch joins them at every stage, and only its last stage reaches the head.

Reference:
    Huo, Sun, Tian, Wang, Yu, Long, Zhang, Li: HiFuse: Hierarchical Multi-Scale Feature Fusion Network for
    Medical Image Classification, Biomedical Signal Processing and Control 87 (2024) 105534, arXiv 2209.10218.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, get_args

from torch import Tensor, nn

from scalefuse.errors import InputError
from scalefuse.networks.hifuse.fusion_block import HierarchicalFeatureFusion
from scalefuse.networks.hifuse.global_branch import GlobalBranch, WindowAttention
from scalefuse.networks.hifuse.local_branch import LocalBranch

MIN_SIZE = 32
"""Smallest height and width, in pixels, that :class:`HiFuse` takes."""

NUM_STAGES = 4
"""Stages of every branch, at strides 4, 8, 16 and 32."""

VARIANTS: dict[str, tuple[int, int, int, int]] = {
    "tiny": (2, 2, 2, 2),
    "small": (2, 2, 6, 2),
    "base": (2, 2, 18, 2),
}
"""Blocks per stage of the paper's three variants, in the local and in the global branch alike."""

Initialisation = Literal["fixed", "fan_in"]
"""How weights begin; see :class:`HiFuse`."""

DEVIATION = 0.02
"""Of the weights that begin ``fixed``, as those of Swin and ConvNeXt do."""


class HiFuse(nn.Module):
    """Classifier with local, global and fusion branch.

    Args:
        in_channels: Channels of the image.
        num_classes: Number of logits.
        embed_dim: Channels of the first stage; each further stage has twice as many.
        depths: Blocks per stage, in the local and in the global branch alike.
        num_heads: Attention heads per stage; by default ``max(1, embed_dim // 32) · (1, 2, 4, 8)``.
        window_size: Side of an attention window in tokens.
        depthwise_inverted_mlp: Let the 3×3 convolution of the fusion blocks' perceptron work on each channel
            by itself, as the paper says; False makes it dense, as it is in the released program.
        shift_single_window: Shift every second block's window also along an axis that one window covers, as
            the released program does; converted checkpoints need it.
        drop_path: Largest drop-path rate; in each branch it grows linearly from 0 with depth.
        initialisation: Standard deviation of the weights at the start: ``fixed`` is 0.02 everywhere,
            ``fan_in`` is 1/√(inputs of a weight's output). The first suits the paper's widths and long
            trainings; in narrow networks it leaves the blocks next to silent for the first epochs.

    Raises:
        InputError: If the arguments do not fit together.

    Note:
        Train on batches of two or more: the last stage ends in a batch normalisation that the head averages
        over height and width, so that a single image leaves the last perceptron without a gradient.

    Reference:
        arXiv 2209.10218, section 3. Deviations: any size from 32×32 on, padded as each stage needs, instead
        of 224×224 alone; nothing is created that takes no part in the output; the released program
        initialises before its fusion blocks exist, here they are initialised like the rest; ``fan_in`` is
        ours.

    Example:
        >>> import torch
        >>> network = HiFuse(num_classes=3, embed_dim=16, depths=(1, 1, 1, 1)).eval()
        >>> network(torch.rand(2, 3, 33, 70)).shape
        torch.Size([2, 3])
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        num_classes: int,
        embed_dim: int = 96,
        depths: Sequence[int] = VARIANTS["tiny"],
        num_heads: Sequence[int] | None = None,
        window_size: int = 7,
        depthwise_inverted_mlp: bool = True,
        shift_single_window: bool = False,
        drop_path: float = 0.0,
        initialisation: Initialisation = "fixed",
    ) -> None:
        super().__init__()
        if initialisation not in get_args(Initialisation):
            raise InputError(
                f"Expected argument `initialisation` to be one of {', '.join(get_args(Initialisation))}, "
                f"but got {initialisation!r}."
            )
        if num_heads is None:
            num_heads = [max(1, embed_dim // 32) << stage for stage in range(NUM_STAGES)]
        _check_arguments(in_channels, num_classes, embed_dim, depths, num_heads, window_size, drop_path)
        self.in_channels = in_channels
        self.num_classes = num_classes
        rates = _drop_path_rates(depths, drop_path)
        self.local_branch = LocalBranch(in_channels, embed_dim, rates)
        self.global_branch = GlobalBranch(
            in_channels, embed_dim, num_heads, window_size, shift_single_window, rates
        )
        self.fusion_blocks = nn.ModuleList(
            HierarchicalFeatureFusion(
                embed_dim << stage,
                embed_dim << (stage - 1) if stage else None,
                depthwise_inverted_mlp=depthwise_inverted_mlp,
                drop_path=rates[stage][-1] if stage else 0.0,
            )
            for stage in range(NUM_STAGES)
        )
        self.head_norm = nn.LayerNorm(embed_dim << (NUM_STAGES - 1), eps=1e-6)
        self.head = nn.Linear(embed_dim << (NUM_STAGES - 1), num_classes)
        self.apply(partial(_initialise, fan_in=initialisation == "fan_in"))

    def forward(self, x: Tensor) -> Tensor:
        """Classify images.

        Args:
            x: Images, ``(N, in_channels, H, W)``, H and W at least 32; the paper normalises to [-1, 1].

        Returns:
            Logits, ``(N, num_classes)``.

        Raises:
            InputError: If the shape is not one that the network takes.
        """
        return self.forward_head(self.forward_features(x)[-1])

    def forward_features(self, x: Tensor) -> list[Tensor]:
        """Fuse the branches stage by stage.

        Args:
            x: Images, ``(N, in_channels, H, W)``, H and W at least 32.

        Returns:
            The fused features of the four stages s = 0…3:
            ``(N, embed_dim·2^s, ⌈H/2^(s+2)⌉, ⌈W/2^(s+2)⌉)``.

        Raises:
            InputError: If the shape is not one that the network takes.

        Example:
            >>> import torch
            >>> network = HiFuse(num_classes=2, embed_dim=16, depths=(1, 1, 1, 1)).eval()
            >>> [tuple(stage.shape[1:]) for stage in network.forward_features(torch.rand(1, 3, 64, 33))]
            [(16, 16, 9), (32, 8, 5), (64, 4, 3), (128, 2, 2)]
        """
        self._check_input(x)
        fused: list[Tensor] = []
        for block, local_features, global_features in zip(
            self.fusion_blocks, self.local_branch(x), self.global_branch(x), strict=True
        ):
            fused.append(block(local_features, global_features, fused[-1] if fused else None))
        return fused

    def stage_grid(self, stage: int) -> tuple[int, int]:
        """Where in the image the cells of a stage lie.

        Args:
            stage: Counted from 1.

        Returns:
            Height and width of a cell in pixels, and the first pixel of the first cell. Images are padded at
            the right and at the bottom, so that the last cells may reach beyond them.

        Example:
            >>> HiFuse(num_classes=2, embed_dim=16, depths=(1, 1, 1, 1)).stage_grid(3)
            (16, 0)
        """
        return 2 ** (stage + 1), 0

    def forward_embedding(self, fused: Tensor) -> Tensor:
        """Pool the last fused features into one vector per image, as the head sees it.

        Args:
            fused: Last stage of :meth:`forward_features`, ``(N, 8·embed_dim, h, w)``.

        Returns:
            ``(N, 8·embed_dim)``.

        Example:
            >>> import torch
            >>> network = HiFuse(num_classes=2, embed_dim=16, depths=(1, 1, 1, 1))
            >>> network.forward_embedding(torch.rand(5, 128, 2, 2)).shape
            torch.Size([5, 128])
        """
        embedding: Tensor = self.head_norm(fused.mean(dim=(2, 3)))
        return embedding

    def forward_head(self, fused: Tensor) -> Tensor:
        """Classify from the last fused features.

        Args:
            fused: Last stage of :meth:`forward_features`, ``(N, 8·embed_dim, h, w)``.

        Returns:
            Logits, ``(N, num_classes)``.

        Example:
            >>> import torch
            >>> network = HiFuse(num_classes=2, embed_dim=16, depths=(1, 1, 1, 1))
            >>> network.forward_head(torch.rand(5, 128, 2, 2)).shape
            torch.Size([5, 2])
        """
        logits: Tensor = self.head(self.forward_embedding(fused))
        return logits

    def _check_input(self, x: Tensor) -> None:
        if x.ndim != 4 or x.shape[1] != self.in_channels:
            raise InputError(
                f"HiFuse expected images of shape (N, {self.in_channels}, H, W), but got {tuple(x.shape)}. "
                f"Give a batch of images with {self.in_channels} channel(s), or set in_channels."
            )
        height, width = x.shape[-2:]
        if min(height, width) < MIN_SIZE:
            raise InputError(
                f"HiFuse expected images of at least {MIN_SIZE}×{MIN_SIZE} pixels, but got {height}×{width}. "
                "Resize or pad them."
            )
        if self.training and x.shape[0] == 1 and max(height, width) <= MIN_SIZE:
            raise InputError(
                f"HiFuse cannot train on one image of {height}×{width} pixels: the batch normalisation of "
                "its last stage would see a single value per channel. Use a batch of at least 2 or a larger "
                "image."
            )


def tiny(*, num_classes: int, **options: Any) -> HiFuse:
    """HiFuse-Tiny: two blocks in every stage, 54.7 M parameters at the default width.

    Args:
        num_classes: Number of logits.
        **options: Further arguments of :class:`HiFuse`, except ``depths``.

    Example:
        >>> sum(p.numel() for p in tiny(num_classes=7).parameters())
        54673217
    """
    return HiFuse(num_classes=num_classes, depths=VARIANTS["tiny"], **options)


def small(*, num_classes: int, **options: Any) -> HiFuse:
    """HiFuse-Small: six blocks in the third stage, two in the others.

    Args:
        num_classes: Number of logits.
        **options: Further arguments of :class:`HiFuse`, except ``depths``.

    Example:
        >>> [len(stage) for stage in small(num_classes=7, embed_dim=16).local_branch.stages]
        [2, 2, 6, 2]
    """
    return HiFuse(num_classes=num_classes, depths=VARIANTS["small"], **options)


def base(*, num_classes: int, **options: Any) -> HiFuse:
    """HiFuse-Base: eighteen blocks in the third stage, two in the others.

    Args:
        num_classes: Number of logits.
        **options: Further arguments of :class:`HiFuse`, except ``depths``.

    Example:
        >>> [len(stage) for stage in base(num_classes=7, embed_dim=16).local_branch.stages]
        [2, 2, 18, 2]
    """
    return HiFuse(num_classes=num_classes, depths=VARIANTS["base"], **options)


def _check_arguments(
    in_channels: int,
    num_classes: int,
    embed_dim: int,
    depths: Sequence[int],
    num_heads: Sequence[int],
    window_size: int,
    drop_path: float,
) -> None:
    for name, value in (
        ("in_channels", in_channels),
        ("num_classes", num_classes),
        ("embed_dim", embed_dim),
        ("window_size", window_size),
    ):
        if value < 1:
            raise InputError(f"Expected argument `{name}` of at least 1, but got {value}.")
    for name, values in (("depths", depths), ("num_heads", num_heads)):
        if len(values) != NUM_STAGES or min(values) < 1:
            raise InputError(
                f"Expected argument `{name}` with {NUM_STAGES} numbers of at least 1, one per stage, "
                f"but got {tuple(values)}."
            )
    for stage, heads in enumerate(num_heads):
        if (embed_dim << stage) % heads:
            raise InputError(
                f"The {embed_dim << stage} channels of stage {stage + 1} cannot be split over {heads} "
                "attention heads. Choose `num_heads` so that each divides embed_dim · (1, 2, 4, 8)."
            )
    if not 0.0 <= drop_path < 1.0:
        raise InputError(f"Expected argument `drop_path` in [0, 1), but got {drop_path}.")


def _drop_path_rates(depths: Sequence[int], largest: float) -> list[list[float]]:
    """Rate per stage and block, growing linearly from 0 to ``largest``."""
    steps = max(1, sum(depths) - 1)
    blocks = iter(range(sum(depths)))
    return [[largest * next(blocks) / steps for _ in range(depth)] for depth in depths]


def _initialise(module: nn.Module, fan_in: bool) -> None:
    """Normal weights, truncated at two deviations or at ±2, and zero biases."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        if fan_in:
            deviation = 1 / math.sqrt(module.weight[0].numel())
            nn.init.trunc_normal_(module.weight, std=deviation, a=-2 * deviation, b=2 * deviation)
        else:
            nn.init.trunc_normal_(module.weight, std=DEVIATION)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, WindowAttention):
        nn.init.trunc_normal_(module.relative_position_bias, std=DEVIATION)
