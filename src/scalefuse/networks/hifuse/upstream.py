"""Checkpoints of the paper's released program; the only place that knows its key names."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from scalefuse.errors import BundleError, InputError
from scalefuse.networks.hifuse.network import NUM_STAGES, VARIANTS, HiFuse
from scalefuse.networks.hifuse.windows import relative_position_index

# Upstream counts the stages of its global and fusion branches from 1: `{s}` stands for that number, `{i}` for
# the stage counted from 0.
_FUSION_PARTS = {
    "se.0": "channel_attention.squeeze",
    "se.2": "channel_attention.excite",
    "spatial.conv": "spatial_attention.conv",
    "spatial.bn": "spatial_attention.norm",
    "W_l.conv": "local_projection.conv",
    "W_l.bn": "local_projection.norm",
    "W_g.conv": "global_projection.conv",
    "W_g.bn": "global_projection.norm",
    "norm3": "output_norm",
    "residual.conv1.conv": "inverted_mlp.spatial_conv",
    "residual.bn1": "inverted_mlp.spatial_norm",
    "residual.conv2.conv": "inverted_mlp.expand_conv",
    "residual.conv3.conv": "inverted_mlp.project_conv",
    "residual.conv3.bn": "inverted_mlp.project_norm",
}
_FIRST_FUSION_PARTS = {
    "norm2": "joint_norm",
    "W.conv": "joint_projection.conv",
    "W.bn": "joint_projection.norm",
}
_LATER_FUSION_PARTS = {
    "Updim.conv": "previous_projection.conv",
    "Updim.bn": "previous_projection.norm",
    "norm1": "joint_norm",
    "W3.conv": "joint_projection.conv",
    "W3.bn": "joint_projection.norm",
}
_LOCAL_PARTS = {"dwconv": "depthwise_conv", "norm": "norm", "pwconv": "linear"}
_GLOBAL_PARTS = {
    "norm1": "norm",
    "attn.relative_position_bias_table": "attention.relative_position_bias",
    "attn.qkv": "attention.qkv",
    "attn.proj": "attention.projection",
    "fc1": "linear",
}
_UNUSED = re.compile(
    r"layers[1-4]\.blocks\.\d+\.norm2\.(weight|bias)"
    r"|(norm|head)\.(weight|bias)"
    r"|fu1\.(norm1\.|(Updim|W3)\.(conv|bn)\.)\w+"
    r"|fu[2-4]\.(norm2\.|W\.(conv|bn)\.)\w+"
)
_INDEX = re.compile(r"layers[1-4]\.blocks\.\d+\.attn\.relative_position_index")


def read_architecture(sd: Mapping[str, Tensor]) -> dict[str, Any]:
    """Read the constructor's arguments off the shapes of a released program's state dict.

    Args:
        sd: State dict of the released program.

    Returns:
        Arguments of :class:`~scalefuse.networks.hifuse.network.HiFuse` and of its config.

    Raises:
        BundleError: If a tensor that tells the architecture is missing or has an impossible shape.

    Example:
        >>> read_architecture({})
        Traceback (most recent call last):
        scalefuse.errors.BundleError: This is no HiFuse checkpoint: it has no tensor 'patch_embed...
    """
    sd = _without_prefix(sd)
    embed_dim, in_channels = _shape(sd, "patch_embed.proj.weight", 4)[:2]
    tables = [
        _shape(sd, f"layers{stage}.blocks.0.attn.relative_position_bias_table", 2)
        for stage in range(1, NUM_STAGES + 1)
    ]
    return {
        "in_channels": in_channels,
        "num_classes": _shape(sd, "conv_head.weight", 2)[0],
        "embed_dim": embed_dim,
        "depths": tuple(_count_blocks(sd, stage) for stage in range(NUM_STAGES)),
        "num_heads": tuple(heads for _, heads in tables),
        "window_size": (math.isqrt(tables[0][0]) + 1) // 2,
        "depthwise_inverted_mlp": _shape(sd, "fu1.residual.conv1.conv.weight", 4)[1] == 1,
        "shift_single_window": True,
    }


def variant_name(depths: tuple[int, ...]) -> str | None:
    """Name of the paper's variant with these blocks per stage, or None.

    Example:
        >>> variant_name((2, 2, 6, 2))
        'small'
    """
    return next((name for name, blocks in VARIANTS.items() if blocks == depths), None)


def convert_state_dict(sd: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Rename a released program's tensors to ours.

    Load the result into ``HiFuse(**read_architecture(sd))``, which computes at 224×224 what the released
    program computes.

    Args:
        sd: State dict of the released program, of any variant, with dense or depthwise perceptron. Keys that
            all begin with ``module.`` (saved from a data-parallel run) are taken too.

    Returns:
        Our state dict, and the upstream names of the tensors that take no part in the output.

    Raises:
        BundleError: If a tensor is unknown, missing, has the wrong shape, or holds NaN or infinity.

    Example:
        >>> convert_state_dict({"layer1.0.conv1.weight": torch.zeros(1)})
        Traceback (most recent call last):
        scalefuse.errors.BundleError: Not a HiFuse checkpoint of the released program: unknown tensor...
    """
    sd = _without_prefix(sd)
    ours: dict[str, Tensor] = {}
    source: dict[str, str] = {}
    dropped: list[str] = []
    unknown: list[str] = []
    for key, tensor in sd.items():
        if not isinstance(tensor, Tensor):
            raise BundleError(
                f"Expected a state dict, name -> tensor, but {key!r} is of type {type(tensor).__name__}. "
                "Pass the state dict that the checkpoint holds."
            )
        if _UNUSED.fullmatch(key):
            dropped.append(key)
        elif _INDEX.fullmatch(key):
            _check_index(key, tensor)
            dropped.append(key)
        elif (name := _our_name(key)) is not None:
            ours[name], source[name] = tensor, key
        else:
            unknown.append(key)
    if unknown:
        raise BundleError(
            f"Not a HiFuse checkpoint of the released program: unknown tensor(s) {_list(unknown)}. "
            "Remove them, or convert a file that the released program saved."
        )
    _check_tensors(ours, source, sd)
    return ours, dropped


def _without_prefix(sd: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Take off the ``module.`` that data-parallel training puts before every name."""
    if sd and all(key.startswith("module.") for key in sd):
        return {key.removeprefix("module."): tensor for key, tensor in sd.items()}
    return sd


def _our_name(key: str) -> str | None:
    """Our name of an upstream tensor, or None where there is none."""
    module, _, leaf = key.rpartition(".")
    if leaf == "relative_position_bias_table":
        module, leaf = key, ""
    name = _our_module(module)
    if name is None:
        return None
    return f"{name}.{leaf}" if leaf else name


def _our_module(module: str) -> str | None:
    if module in ("conv_norm", "conv_head"):
        return {"conv_norm": "head_norm", "conv_head": "head"}[module]
    if module in ("patch_embed.proj", "patch_embed.norm"):
        return f"global_branch.reductions.0.{'conv' if module.endswith('proj') else 'norm'}"
    if match := re.fullmatch(r"downsample_layers\.([0-3])\.([01])", module):
        # The stem is a convolution and a norm, each later reduction a norm and a convolution.
        is_conv = (match[1] == "0") == (match[2] == "0")
        return f"local_branch.reductions.{match[1]}.{'conv' if is_conv else 'norm'}"
    if match := re.fullmatch(r"stages\.([0-3])\.(\d+)\.(\w+)", module):
        part = _LOCAL_PARTS.get(match[3])
        return part and f"local_branch.stages.{match[1]}.{match[2]}.{part}"
    if match := re.fullmatch(r"layers([1-4])\.blocks\.(\d+)\.([\w.]+)", module):
        part = _GLOBAL_PARTS.get(match[3])
        return part and f"global_branch.stages.{int(match[1]) - 1}.blocks.{match[2]}.{part}"
    if match := re.fullmatch(r"layers([2-4])\.downsample\.(reduction|norm)", module):
        part = "linear" if match[2] == "reduction" else "norm"
        return f"global_branch.reductions.{int(match[1]) - 1}.{part}"
    if match := re.fullmatch(r"fu([1-4])\.([\w.]+)", module):
        special = _FIRST_FUSION_PARTS if match[1] == "1" else _LATER_FUSION_PARTS
        part = (_FUSION_PARTS | special).get(match[2])
        return part and f"fusion_blocks.{int(match[1]) - 1}.{part}"
    return None


def _shape(sd: Mapping[str, Tensor], key: str, ndim: int) -> tuple[int, ...]:
    if key not in sd:
        raise BundleError(
            f"This is no HiFuse checkpoint: it has no tensor {key!r}. "
            "Convert a file that the released program saved."
        )
    shape = tuple(sd[key].shape)
    if len(shape) != ndim:
        raise BundleError(f"Tensor {key!r} should have {ndim} dimensions, but has shape {shape}.")
    return shape


def _count_blocks(sd: Mapping[str, Tensor], stage: int) -> int:
    numbers = {int(m[1]) for key in sd if (m := re.match(rf"layers{stage + 1}\.blocks\.(\d+)\.", key))}
    if numbers != set(range(len(numbers))):
        raise BundleError(
            f"The HiFuse checkpoint is incomplete: 'layers{stage + 1}.blocks' is numbered {sorted(numbers)}. "
            "Get a complete file."
        )
    return len(numbers)


def _check_index(key: str, tensor: Tensor) -> None:
    side = math.isqrt(math.isqrt(tensor.numel()))
    expected = relative_position_index(side)
    if tensor.shape != expected.shape or not torch.equal(tensor.cpu().long(), expected):
        raise BundleError(
            f"Tensor {key!r} numbers the relative positions in another order than the released program. "
            "Convert a file that the released program saved."
        )


def _check_tensors(ours: Mapping[str, Tensor], source: Mapping[str, str], sd: Mapping[str, Tensor]) -> None:
    """Hold names and shapes against the network that the checkpoint describes; refuse NaN and infinity."""
    try:
        with torch.device("meta"):
            expected = HiFuse(**read_architecture(sd)).state_dict()
    except InputError as error:
        raise BundleError(
            f"The shapes in the checkpoint describe no HiFuse that can be built: {error}"
        ) from error
    missing = [name for name in expected if name not in ours]
    if missing:
        raise BundleError(
            f"The HiFuse checkpoint is incomplete; missing: {_list(missing)} (our names). "
            "Get a complete file."
        )
    for name, tensor in ours.items():
        if name not in expected:
            raise BundleError(
                f"Tensor {source[name]!r} has no place in the network that the others describe. "
                "Get a complete file."
            )
        if tensor.shape != expected[name].shape:
            raise BundleError(
                f"Tensor {source[name]!r} has shape {tuple(tensor.shape)}, but the other tensors call for "
                f"{tuple(expected[name].shape)}."
            )
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise BundleError(f"Tensor {source[name]!r} holds NaN or infinity; the checkpoint is of no use.")


def _list(names: list[str], limit: int = 5) -> str:
    shown = ", ".join(repr(name) for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
