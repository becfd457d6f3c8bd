"""--engine, --precision and ``scalefuse info``."""

import json

import numpy as np
import pytest
from PIL import Image

from scalefuse.data.phantom import head_phantom
from scalefuse.data.write import write_image
from scalefuse.inference.engines import packages
from scalefuse.inference.engines.hardware import read_machine


@pytest.fixture
def heads(tmp_path):
    for name, seed in (("one", 0), ("two", 1)):
        ct, mri = head_phantom(48, seed)
        for kind, picture in (("ct", ((ct + 200) / 1500).clip(0, 1)), ("mri", mri)):
            (tmp_path / kind).mkdir(exist_ok=True)
            write_image(tmp_path / kind / f"{name}.png", picture, bits=8)
    return tmp_path / "ct", tmp_path / "mri"


@pytest.fixture
def nothing_installed(monkeypatch):
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: None)
    read_machine.cache_clear()
    yield
    monkeypatch.undo()
    read_machine.cache_clear()


def test_a_small_job_is_computed_exactly(cli, heads, tmp_path):
    done = cli("fuse", *heads, "-o", tmp_path / "auto")
    assert done.code == 0
    assert "computed by torch in fp32" in done.err
    done = cli("fuse", *heads, "-o", tmp_path / "exact", "--engine", "torch", "--precision", "fp32")
    for name in ("one", "two"):
        files = [tmp_path / kind / f"{name}.png" for kind in ("auto", "exact")]
        assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("engine", ["torch", "openvino", "onnxruntime"])
def test_engines_agree(engine, cli, heads, tmp_path):
    for package in packages.NEEDED.get(engine, ()):
        pytest.importorskip(package, reason=f"the extra of {engine} is not installed")
    done = cli("fuse", *heads, "-o", tmp_path / "fast", "--engine", engine, "--precision", "fp32")
    assert f"computed by {engine} in fp32" in done.err
    cli("fuse", *heads, "-o", tmp_path / "plain", "--engine", "torch", "--precision", "fp32")
    for name in ("one", "two"):
        fast, plain = (
            np.asarray(Image.open(tmp_path / kind / f"{name}.png"), int) for kind in ("fast", "plain")
        )
        assert np.abs(fast - plain).max() <= 1
        assert (fast == plain).mean() > 0.99


def test_unsupported_pairs_are_refused_before_anything_is_written(refused, heads, tmp_path):
    for package in packages.NEEDED["onnxruntime"]:
        pytest.importorskip(package, reason="the extra of onnxruntime is not installed")
    line = refused("fuse", *heads, "-o", tmp_path / "out", "--engine", "onnxruntime", "--precision", "bf16")
    assert "Pairs that work" in line
    assert not (tmp_path / "out").exists()


def test_a_missing_extra_is_named(refused, heads, tmp_path, nothing_installed):
    line = refused("fuse", *heads, "-o", tmp_path / "out", "--engine", "openvino")
    assert "pip install 'scalefuse[openvino]'" in line
    line = refused("predict", "msrf-net-nuclei", heads[0], "-o", tmp_path / "out", "--engine", "onnxruntime")
    assert "pip install 'scalefuse[onnx]'" in line
    assert not (tmp_path / "out").exists()


def test_auto_works_without_any_extra(cli, heads, tmp_path, nothing_installed):
    assert cli("fuse", *heads, "-o", tmp_path / "out", "--precision", "bf16").code == 0
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_evaluate_says_what_computed(cli, heads, tmp_path):
    done = cli("evaluate", *heads, "-o", tmp_path / "out", "--metrics", "EN", "--no-baselines")
    assert done.code == 0, done.text
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["computed_by"] == "torch in fp32 on the CPU"


def test_nothing_is_computed_of_ready_results(refused, heads, tmp_path):
    line = refused("evaluate", *heads, "-o", tmp_path / "out", "--fused", heads[0], "--engine", "torch")
    assert "--engine" in line


def test_info(cli):
    done = cli("info")
    assert done.code == 0
    for word in (
        "ScaleFuse",
        "Python",
        "PyTorch",
        "Processor",
        "Memory",
        "CUDA",
        "Engine openvino",
        "dilran",
    ):
        assert word in done.out


def test_info_as_json(cli):
    found = json.loads(cli("info", "--json").out)
    assert set(found["engines"]) == {"openvino", "onnxruntime"}
    assert found["machine"]["cores"] >= 1
    for row in found["auto"].values():
        assert row["jobs"][0]["computed_by"].startswith("torch in fp32")
        sizes = [job["from_megapixels"] for job in row["jobs"]]
        assert sizes == sorted(sizes)


def test_info_without_extras(cli, nothing_installed):
    done = cli("info")
    assert "pip install 'scalefuse[openvino]'" in done.out
    assert "pip install 'scalefuse[onnx]'" in done.out
