"""``scalefuse convert hifuse``: the architecture is read off the file, the classes are named by the user."""

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from scalefuse.bundle import load_bundle
from scalefuse.networks.hifuse.network import HiFuse
from scalefuse.networks.hifuse.upstream import _our_name
from scalefuse.workflows.convert import convert

GOLDEN = Path(__file__).parents[1] / "golden"
KEYS = json.loads((GOLDEN / "hifuse_keys.json").read_text())
NETWORK = {"num_classes": 3, "embed_dim": 16, "depths": (2, 2, 2, 2), "shift_single_window": True}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A file with the released program's names, of a narrow network with random numbers."""
    torch.manual_seed(0)
    state = HiFuse(**NETWORK).state_dict()
    named = {key: state[_our_name(key)] for key, _ in KEYS["tiny-depthwise"] if _our_name(key)}
    path = tmp_path_factory.mktemp("checkpoint") / "best_model.pth"
    torch.save({**named, "layers1.blocks.0.norm2.weight": torch.ones(16)}, path)
    return path


def test_the_bundle_computes_what_the_file_holds(cli, checkpoint, tmp_path):
    done = cli("convert", "hifuse", checkpoint, "--labels", "polyp, ulcer,normal", "-o", tmp_path / "b")
    assert done.code == 0
    assert "layers1.blocks.0.norm2.weight" in done.err
    bundle = load_bundle(tmp_path / "b")
    assert bundle.info.labels == ("polyp", "ulcer", "normal")
    assert bundle.info.network.embed_dim == 16
    assert bundle.info.network.shift_single_window
    assert bundle.info.preprocessing["size"] == [224, 224]
    assert bundle.info.preprocessing["fit"] == "crop"
    assert (bundle.info.preprocessing["mean"], bundle.info.preprocessing["std"]) == (0.5, 0.5)
    torch.manual_seed(0)
    expected, image = HiFuse(**NETWORK).eval(), torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(bundle.build_network()(image), expected(image))


def test_classes_without_names_are_numbers(cli, checkpoint, tmp_path):
    assert cli("convert", "hifuse", checkpoint, "-o", tmp_path / "b").code == 0
    assert load_bundle(tmp_path / "b").info.labels == ("0", "1", "2")


@pytest.mark.parametrize("labels", ["polyp,normal", "a,b,a", "a,b,", "a,b,c,d"])
def test_names_must_fit(refused, checkpoint, tmp_path, labels):
    line = refused("convert", "hifuse", checkpoint, "--labels", labels, "-o", tmp_path / "b")
    assert "3 different names" in line
    assert not (tmp_path / "b").exists()


def test_another_file_is_refused(refused, tmp_path):
    torch.save({"conv1.weight": torch.zeros(3)}, tmp_path / "resnet.pth")
    assert "HiFuse" in refused("convert", "hifuse", tmp_path / "resnet.pth", "-o", tmp_path / "b")


@pytest.mark.slow
def test_a_converted_file_gives_the_released_programs_logits(tmp_path):
    state = {}
    for name, shape in KEYS["tiny-dense"]:
        if name.endswith(("relative_position_index", "num_batches_tracked")):
            if name.endswith("tracked"):
                state[name] = torch.tensor(0)
            continue
        noise = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
        if name.endswith("relative_position_bias_table"):
            values = 0.1 * noise
        elif name.endswith("running_var"):
            values = 1 + 0.1 * np.abs(noise)
        elif name.endswith(("running_mean", "bias")):
            values = 0.1 * noise
        else:
            values = noise / np.sqrt(np.prod(shape[1:])) if len(shape) >= 2 else 1 + 0.1 * noise
        state[name] = torch.from_numpy(values.astype(np.float32))
    torch.save({"state_dict": state}, tmp_path / "tiny.pth")
    convert("hifuse", tmp_path / "tiny.pth", tmp_path / "bundle")
    image = torch.from_numpy(np.random.RandomState(0).standard_normal((2, 3, 224, 224)).astype(np.float32))
    with torch.no_grad():
        logits = load_bundle(tmp_path / "bundle").build_network()(image).numpy()
    with np.load(GOLDEN / "hifuse.npz") as golden:
        expected = golden["tiny-dense/logits"]
    assert np.abs(logits - expected).max() <= 1e-5 * np.abs(expected).max()
