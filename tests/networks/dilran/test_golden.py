"""Agreement with the authors' program: max|Δ| ≤ 1e-5 · max|golden| in every strategy."""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from scalefuse.fusion import STRATEGIES
from scalefuse.fusion.nuclear_norm import largest_nuclear_norm
from scalefuse.networks.dilran import DILRAN
from scalefuse.networks.dilran.upstream import convert_state_dict

ROOT = Path(__file__).resolve().parents[3]
RULE = ROOT / "tests" / "golden"
RELEASED = ROOT.parent / "shared" / "golden"
DATA = Path(os.environ.get("SCALEFUSE_DATA", ROOT.parent / "shared" / "data")) / "aanlib-ct-mri" / "train"

STRATEGY_OF = {
    "addition": "addition",
    "average": "average",
    "FER": "feature_energy_ratio",
    "FL1N": "l1_norm",
    "L1NW": "l1_norm_raw",
    "AL1NW": "l1_norm_half",
    "SFNN": "softmax_nuclear_norm",
    "max": "maximum",
}
SIZES = ("64x64", "48x66")
PAIRS = ("16010", "2010")


def assert_agrees(got: Tensor, golden: NDArray[np.float32]) -> None:
    got_array = got.detach().numpy()
    assert got_array.shape == golden.shape
    assert np.abs(got_array - golden).max() <= 1e-5 * np.abs(golden).max()


def fill(name: str, shape: list[int]) -> Tensor:
    """One tensor of the golden numbers' rule."""
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    normal = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    if name.endswith("running_var"):
        values = 1 + 0.1 * np.abs(normal)
    elif name.endswith(("running_mean", "bias")):
        values = 0.1 * normal
    elif len(shape) >= 2:
        values = normal / np.sqrt(np.prod(shape[1:]))
    else:
        values = 1 + 0.1 * normal
    return torch.from_numpy(values.astype(np.float32))


@pytest.fixture(scope="module")
def rule_network() -> DILRAN:
    keys = json.loads((RULE / "dilran_keys.json").read_text())
    state_dict, _ = convert_state_dict({name: fill(name, shape) for name, shape in keys})
    network = DILRAN().eval().requires_grad_(False)
    network.load_state_dict(state_dict)
    return network


@pytest.fixture(scope="module")
def rule_golden() -> dict[str, NDArray[np.float32]]:
    return dict(np.load(RULE / "dilran_rule.npz"))


def rule_features(network: DILRAN, size: str) -> tuple[Tensor, Tensor]:
    height, width = map(int, size.split("x"))
    random = np.random.RandomState(height + width)
    a = random.rand(1, 1, height, width).astype(np.float32)
    b = random.rand(1, 1, height, width).astype(np.float32) ** 2
    return network.encode(torch.from_numpy(a)), network.encode(torch.from_numpy(b))


@pytest.mark.parametrize("size", SIZES)
def test_rule_filled_encoder_and_reconstruction(
    rule_network: DILRAN, rule_golden: dict[str, NDArray[np.float32]], size: str
) -> None:
    f1, f2 = rule_features(rule_network, size)
    assert_agrees(f1.mean((2, 3))[0], rule_golden[f"{size}/features_mean_a"])
    assert_agrees(f2.mean((2, 3))[0], rule_golden[f"{size}/features_mean_b"])
    assert_agrees(rule_network.decode(f1)[0, 0], rule_golden[f"{size}/reconstruction_a"])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("theirs", STRATEGY_OF)
def test_rule_filled_strategy(
    rule_network: DILRAN, rule_golden: dict[str, NDArray[np.float32]], size: str, theirs: str
) -> None:
    fused = STRATEGIES[STRATEGY_OF[theirs]](*rule_features(rule_network, size))
    assert_agrees(fused.mean((2, 3))[0], rule_golden[f"{size}/fused_features_mean/{theirs}"])
    assert_agrees(rule_network.decode(fused)[0, 0], rule_golden[f"{size}/fused/{theirs}"])


@pytest.fixture(scope="module")
def released_network() -> DILRAN:
    file = RELEASED / "dilran_last.pt"
    if not file.is_file():
        pytest.skip("the authors' released weights are not beside the repository")
    state_dict, _ = convert_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    network = DILRAN().eval().requires_grad_(False)
    network.load_state_dict(state_dict)
    return network


@pytest.fixture(scope="module")
def released_golden() -> dict[str, NDArray[np.float32]]:
    file = RELEASED / "dilran.npz"
    if not file.is_file():
        pytest.skip("the golden numbers of the released weights are not beside the repository")
    return {
        key.removeprefix("per_image/"): value
        for key, value in np.load(file).items()
        if key.startswith("per_image/")
    }


@pytest.fixture(scope="module", params=PAIRS)
def pair(request: pytest.FixtureRequest, released_network: DILRAN) -> tuple[str, Tensor, Tensor]:
    """Name of a pair, features of its CT and of its MRI."""
    from PIL import Image

    features = []
    for modality in ("CT", "MRI"):
        file = DATA / modality / f"{request.param}.png"
        if not file.is_file():
            pytest.skip("the patients' pictures are not there; set SCALEFUSE_DATA")
        grey = np.asarray(Image.open(file).convert("L"), dtype=np.float32) / 255
        features.append(released_network.encode(torch.from_numpy(grey)[None, None]))
    return request.param, features[0], features[1]


def test_released_encoder_and_reconstruction(
    released_network: DILRAN,
    released_golden: dict[str, NDArray[np.float32]],
    pair: tuple[str, Tensor, Tensor],
) -> None:
    name, ct, mri = pair
    assert_agrees(ct.mean((2, 3))[0], released_golden[f"{name}/ct_features_mean"])
    assert_agrees(mri.mean((2, 3))[0], released_golden[f"{name}/mri_features_mean"])
    assert_agrees(released_network.decode(ct)[0, 0], released_golden[f"{name}/reconstruction_ct"])


def test_released_largest_nuclear_norm(
    released_golden: dict[str, NDArray[np.float32]], pair: tuple[str, Tensor, Tensor]
) -> None:
    name, *both = pair
    for modality, features in zip(("ct", "mri"), both, strict=True):
        golden = released_golden[f"{name}/nuclear_{modality}"].max(keepdims=True)
        assert_agrees(largest_nuclear_norm(torch.softmax(features, 1)), golden)


@pytest.mark.parametrize("theirs", STRATEGY_OF)
def test_released_strategy(
    released_network: DILRAN,
    released_golden: dict[str, NDArray[np.float32]],
    pair: tuple[str, Tensor, Tensor],
    theirs: str,
) -> None:
    name, ct, mri = pair
    fused = STRATEGIES[STRATEGY_OF[theirs]](ct, mri)
    if theirs in ("L1NW", "AL1NW"):
        assert_agrees(fused.abs().mean()[None], released_golden[f"{name}/l1/{theirs}"])
    else:
        assert_agrees(released_network.decode(fused)[0, 0], released_golden[f"{name}/fused/{theirs}"])
