"""``scalefuse convert`` from end to end."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from scalefuse.bundle import load_bundle
from scalefuse.data import read_image
from scalefuse.networks.dilran import DILRAN
from scalefuse.networks.dilran.upstream import _KEYS


class Malicious:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A file with the released one's names and random numbers."""
    torch.manual_seed(0)
    state = DILRAN().state_dict()
    path = tmp_path_factory.mktemp("checkpoint") / "last.pt"
    torch.save({theirs: state[ours] for theirs, ours in _KEYS.items()}, path)
    return path


def test_converts_and_fuses(cli, checkpoint, folders, tmp_path):
    released = tmp_path / "released"
    done = cli("convert", "dilran", checkpoint, "-o", released, "--name", "mine")
    assert done.code == 0
    assert "216,001 parameters" in done.out
    bundle = load_bundle(released)
    assert bundle.info.name == "mine"
    assert bundle.info.strategy == "softmax_nuclear_norm"
    assert "not a medical device" in bundle.card
    pair = (folders[0] / "0.png", folders[1] / "0.png")
    assert cli("fuse", *pair, "-m", released, "-o", tmp_path / "x.png").code == 0
    assert read_image(tmp_path / "x.png").pixels.dtype == np.uint8


def test_dropped_tensors_are_named(cli, checkpoint, tmp_path):
    state = torch.load(checkpoint, weights_only=True)
    torch.save({"state_dict": {**state, "fe.bnorm.weight": torch.ones(64)}}, tmp_path / "more.pt")
    done = cli("convert", "dilran", tmp_path / "more.pt", "-o", tmp_path / "released.zip")
    assert done.code == 0
    assert "fe.bnorm.weight" in done.err
    assert load_bundle(tmp_path / "released.zip").info.task == "fusion"


@pytest.mark.parametrize("how", ["pickle", "torch", "old torch"])
def test_code_in_a_checkpoint_is_refused_and_not_run(refused, tmp_path, how):
    content = {"fe.conv1.weight": Malicious(tmp_path / "ran")}
    path = tmp_path / "evil.pt"
    if how == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=how == "torch")
    line = refused("convert", "dilran", path, "-o", tmp_path / "out")
    assert "evil.pt" in line
    assert "code" in line
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "out").exists()


def test_a_file_of_another_kind_is_not_called_dangerous(refused, tmp_path):
    (tmp_path / "notes.txt").write_text("weights are on the other disk")
    (tmp_path / "empty.pt").write_bytes(b"")
    line = refused("convert", "dilran", tmp_path / "notes.txt", "-o", tmp_path / "out")
    assert "is no checkpoint" in line
    assert "code" not in line
    assert "is empty" in refused("convert", "dilran", tmp_path / "empty.pt", "-o", tmp_path / "out")


def surely_damaged(data):
    yield b""
    yield b"not a checkpoint"
    yield bytes(range(256))
    yield b"\x80\x02" + bytes(50)
    yield b"\x80\x02\x8a\x0a" + bytes(50)
    yield b"PK\x03\x04" + bytes(500)
    yield from (data[: int(len(data) * part)] for part in (0.01, 0.3, 0.9, 0.999))


def test_damaged_checkpoints(refused, checkpoint, tmp_path):
    for number, data in enumerate(surely_damaged(checkpoint.read_bytes())):
        path = tmp_path / f"{number}.pt"
        path.write_bytes(data)
        refused("convert", "dilran", path, "-o", tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_damage_anywhere_ends_clean(cli, checkpoint, tmp_path):
    data = checkpoint.read_bytes()
    codes = []
    for number, start in enumerate(
        [*range(0, len(data), len(data) // 8), *range(len(data) - 3000, len(data), 500)]
    ):
        path = tmp_path / f"{number}.pt"
        path.write_bytes(data[:start] + bytes(64) + data[start + 64 :])
        codes.append(cli("convert", "dilran", path, "-o", tmp_path / f"out{number}").code)
        assert (tmp_path / f"out{number}").exists() == (codes[-1] == 0)
    # A hit on a tensor's numbers is not seen; a hit on the structure is.
    assert set(codes) == {0, 2}


@pytest.mark.parametrize(
    "content",
    [
        [1, 2],
        {"a": 3},
        torch.zeros(3),
        {"fe.conv1.weight": torch.zeros(2)},
        {},
        {"model": {}},
        {3: torch.ones(2)},
    ],
)
def test_other_contents(refused, tmp_path, content):
    torch.save(content, tmp_path / "other.pt")
    refused("convert", "dilran", tmp_path / "other.pt", "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_arguments(refused, checkpoint, tmp_path):
    assert "dilran" in refused("convert", "dilram", checkpoint, "-o", tmp_path / "out")
    assert "No weights were released" in refused("convert", "msrf_net", checkpoint, "-o", tmp_path / "out")
    assert "no such file" in refused("convert", "dilran", tmp_path / "no.pt", "-o", tmp_path / "out")
    assert "does not exist" in refused("convert", "dilran", checkpoint, "-o", tmp_path / "no" / "out")


def test_a_folder_with_other_files_is_left_alone(refused, checkpoint, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    assert "other files" in refused("convert", "dilran", checkpoint, "-o", tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
