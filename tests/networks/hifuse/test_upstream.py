"""Checkpoints of the released program: agreement with its outputs, and what is refused."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from scalefuse.errors import BundleError
from scalefuse.networks.hifuse import network as network_module
from scalefuse.networks.hifuse.network import HiFuse
from scalefuse.networks.hifuse.upstream import convert_state_dict, read_architecture, variant_name

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
KEYS = json.loads((GOLDEN / "hifuse_keys.json").read_text())
DEPTHS = {"tiny": (2, 2, 2, 2), "small": (2, 2, 6, 2), "base": (2, 2, 18, 2)}


def position_index() -> torch.Tensor:
    """Swin's numbering of the offsets inside a 7×7 window, written out."""
    tokens = [(row, column) for row in range(7) for column in range(7)]
    return torch.tensor([[(a - c + 6) * 13 + b - d + 6 for c, d in tokens] for a, b in tokens])


@pytest.fixture(scope="module")
def fill():
    """The rule that fills a tensor from its name; variants share most tensors, so each is drawn once."""
    drawn: dict[tuple, torch.Tensor] = {}

    def draw(name: str, shape: list[int]) -> torch.Tensor:
        if name.endswith("relative_position_index"):
            return position_index()
        if name.endswith("num_batches_tracked"):
            return torch.tensor(0)
        key = (name, *shape)
        if key not in drawn:
            noise = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
            if name.endswith("relative_position_bias_table"):
                values = 0.1 * noise
            elif name.endswith("running_var"):
                values = 1 + 0.1 * np.abs(noise)
            elif name.endswith(("running_mean", "bias")):
                values = 0.1 * noise
            elif len(shape) >= 2:
                values = noise / np.sqrt(np.prod(shape[1:]))
            else:
                values = 1 + 0.1 * noise
            drawn[key] = torch.from_numpy(values.astype(np.float32))
        return drawn[key]

    yield draw
    drawn.clear()


@pytest.fixture(scope="module")
def image():
    noise = np.random.RandomState(0).standard_normal((2, 3, 224, 224))
    return torch.from_numpy(noise.astype(np.float32))


@pytest.mark.parametrize("variant", list(KEYS))
def test_agrees_with_the_released_program(variant, fill, image, monkeypatch):
    sd = {name: fill(name, shape) for name, shape in KEYS[variant]}
    golden = np.load(GOLDEN / "hifuse.npz")
    ours, dropped = convert_state_dict(sd)

    size, kind = variant.split("-")
    arguments = read_architecture(sd)
    assert arguments == {
        "in_channels": 3,
        "num_classes": 7,
        "embed_dim": 96,
        "depths": DEPTHS[size],
        "num_heads": (3, 6, 12, 24),
        "window_size": 7,
        "depthwise_inverted_mlp": kind == "depthwise",
        "shift_single_window": True,
    }
    assert variant_name(arguments["depths"]) == size

    # The weights are overwritten.
    monkeypatch.setattr(network_module, "_initialise", lambda module, fan_in: None)
    network = HiFuse(**arguments).eval()
    network.load_state_dict(ours)
    with torch.inference_mode():
        fused = network.forward_features(image)
        outputs = {"logits": network.forward_head(fused[-1])}
    for stage, features in enumerate(fused, start=1):
        outputs[f"fused_stage{stage}_channel_mean"] = features.mean(dim=(2, 3))
    for name, output in outputs.items():
        expected = golden[f"{variant}/{name}"]
        assert np.abs(output.numpy() - expected).max() <= 1e-5 * np.abs(expected).max(), name

    buffers = ("running_mean", "running_var", "num_batches_tracked", "relative_position_index")
    unused = sum(sd[name].numel() for name in dropped if not name.endswith(buffers))
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert parameters + unused == golden[f"{variant}/num_parameters"]
    if variant == "tiny-depthwise":
        assert parameters == 54_673_217


def test_shift_of_the_single_window_matters(fill, image):
    sd = {name: fill(name, shape) for name, shape in KEYS["tiny-depthwise"]}
    network = HiFuse(**(read_architecture(sd) | {"shift_single_window": False})).eval()
    network.load_state_dict(convert_state_dict(sd)[0])
    expected = np.load(GOLDEN / "hifuse.npz")["tiny-depthwise/logits"]
    with torch.inference_mode():
        change = np.abs(network(image).numpy() - expected).max() / np.abs(expected).max()
    assert change > 0.01


@pytest.fixture
def small_checkpoint():
    """A released program's state dict of half the width, filled with ones."""
    sd = {}
    for name, shape in KEYS["tiny-depthwise"]:
        if name.endswith("relative_position_index"):
            sd[name] = position_index()
        elif name.endswith("relative_position_bias_table"):
            sd[name] = torch.ones(shape)
        else:  # every number of channels is a multiple of 6; kernels, image channels and classes are not
            sd[name] = torch.ones([side if side % 6 else side // 2 for side in shape])
    return sd


def test_a_narrow_checkpoint_is_converted(small_checkpoint):
    arguments = read_architecture(small_checkpoint)
    assert arguments["embed_dim"] == 48
    ours, _ = convert_state_dict(small_checkpoint)
    HiFuse(**arguments).load_state_dict(ours)


def test_unused_tensors_are_dropped_by_name(small_checkpoint):
    ours, dropped = convert_state_dict(small_checkpoint)
    assert len(ours) + len(dropped) == len(small_checkpoint)
    assert {"norm.weight", "head.bias", "fu1.norm1.weight", "fu1.Updim.conv.weight", "fu1.W3.bn.bias"} <= set(
        dropped
    )
    assert {"fu2.norm2.weight", "fu4.W.conv.bias", "layers3.blocks.1.norm2.weight"} <= set(dropped)
    without = {name: tensor for name, tensor in small_checkpoint.items() if name not in dropped}
    assert convert_state_dict(without)[1] == []


def test_data_parallel_names_are_understood(small_checkpoint):
    prefixed = {f"module.{name}": tensor for name, tensor in small_checkpoint.items()}
    assert list(convert_state_dict(prefixed)[0]) == list(convert_state_dict(small_checkpoint)[0])
    assert read_architecture(prefixed) == read_architecture(small_checkpoint)


def _extra(sd):
    sd["fu5.se.0.weight"] = torch.ones(1)


def _extra_leaf(sd):
    sd["conv_head.weight_g"] = torch.ones(1)


def _missing(sd):
    del sd["fu3.residual.conv3.bn.running_var"]


def _missing_first(sd):
    del sd["patch_embed.proj.weight"]


def _missing_blocks(sd):
    for name in [name for name in sd if name.startswith("layers3.blocks.0.")]:
        if "relative_position_bias_table" not in name:
            sd[name.replace("blocks.0", "blocks.900000000")] = sd.pop(name)


def _wrong_shape(sd):
    sd["stages.2.1.pwconv.weight"] = torch.ones(3, 3)


def _wrong_index(sd):
    sd["layers1.blocks.0.attn.relative_position_index"] = position_index().T.contiguous()


def _impossible_heads(sd):
    sd["layers1.blocks.0.attn.relative_position_bias_table"] = torch.ones(169, 5)


def _nan(sd):
    sd["fu2.W3.conv.weight"][0, 0] = float("nan")


def _nested(sd):
    sd["model"] = {}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_extra, "unknown tensor.*'fu5.se.0.weight'"),
        (_extra_leaf, "'conv_head.weight_g'"),
        (_missing, "missing: 'fusion_blocks.2.inverted_mlp.project_norm.running_var'"),
        (_missing_first, "no tensor 'patch_embed.proj.weight'"),
        (_missing_blocks, "layers3.blocks.*900000000"),
        (_wrong_shape, r"'stages.2.1.pwconv.weight' has shape \(3, 3\).*\(192, 192\)"),
        (_wrong_index, "'layers1.blocks.0.attn.relative_position_index'"),
        (_impossible_heads, "no HiFuse that can be built.*5 attention heads"),
        (_nan, "'fu2.W3.conv.weight' holds NaN"),
        (_nested, "'model' is of type dict"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(damage, message, small_checkpoint):
    damage(small_checkpoint)
    with pytest.raises(BundleError, match=message):
        convert_state_dict(small_checkpoint)
