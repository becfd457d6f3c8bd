from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from scalefuse.errors import BundleError
from scalefuse.networks.dilran import DILRAN
from scalefuse.networks.dilran.upstream import DROPPED_KEYS, convert_state_dict

KEYS = Path(__file__).parents[2] / "golden" / "dilran_keys.json"


@pytest.fixture
def released() -> dict[str, Tensor]:
    """The released file's keys and shapes, every tensor filled with its position."""
    return {
        name: torch.full(shape, float(index))
        for index, (name, shape) in enumerate(json.loads(KEYS.read_text()))
    }


def test_every_released_tensor_is_used_once_or_dropped_by_name(released: dict[str, Tensor]) -> None:
    ours, dropped = convert_state_dict(released)
    DILRAN().load_state_dict(ours, strict=True)
    used = {float(tensor.flatten()[0]) for tensor in ours.values()}
    assert len(used) == len(ours) == 20
    assert len(ours) + len(dropped) == len(released)
    assert dropped == [name for name in released if name in DROPPED_KEYS]
    parts = ("conv_id", "conv2", "fe.bnorm.", "dilran.bnorm", "running_", "num_batches_tracked")
    assert all(any(part in name for part in parts) for name in dropped)


def test_result_shares_no_memory_with_the_file(released: dict[str, Tensor]) -> None:
    ours, _ = convert_state_dict(released)
    ours["decoder.0.bias"].fill_(-1.0)
    assert released["recon.recon_conv.0.bias"].min() >= 0


def test_dropped_tensors_may_be_absent(released: dict[str, Tensor]) -> None:
    needed = {name: tensor for name, tensor in released.items() if name not in DROPPED_KEYS}
    ours, dropped = convert_state_dict(needed)
    assert len(ours) == 20
    assert dropped == []


def test_unknown_tensor_is_refused_by_name(released: dict[str, Tensor]) -> None:
    with pytest.raises(BundleError, match=r"unknown tensors fe\.conv9\.weight"):
        convert_state_dict({**released, "fe.conv9.weight": torch.zeros(1)})


def test_missing_tensor_is_refused_by_name(released: dict[str, Tensor]) -> None:
    del released["fe.fe.reduce.bias"]
    with pytest.raises(BundleError, match=r"missing tensors fe\.fe\.reduce\.bias"):
        convert_state_dict(released)


def test_other_shape_is_refused_by_name(released: dict[str, Tensor]) -> None:
    released["fe.conv1.weight"] = torch.zeros(64, 3, 1, 1)
    with pytest.raises(BundleError, match=r"fe\.conv1\.weight has shape \(64, 3, 1, 1\)"):
        convert_state_dict(released)


def test_value_that_is_no_tensor_is_refused(released: dict[str, Tensor]) -> None:
    with pytest.raises(BundleError, match=r"fe\.conv1\.bias"):
        convert_state_dict({**released, "fe.conv1.bias": 3.0})  # type: ignore[dict-item]
