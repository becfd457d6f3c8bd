"""``scalefuse export`` from end to end: the CLI's own part; the graphs are tested in tests/export."""

import json
import signal
import sys

import pytest

for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package, reason="exporting needs the extra `onnx`")


def test_a_model_is_exported(cli, model, tmp_path):
    done = cli(
        "export", model, "--to", "onnx", "-o", tmp_path / "new" / "out", "--size", 32, 48, "--batch", 1
    )
    assert done.code == 0, done.err
    assert "picture fused" in done.out
    assert "pixels within 1: 1.0000" in done.out
    record = json.loads((tmp_path / "new" / "out" / "export.json").read_text())
    assert record["graphs"][0]["inputs"][0]["shape"] == [1, 1, 32, 48]
    # Nothing but the command's own lines: no warnings of the packages that it uses.
    assert done.err.splitlines() == [
        "Tracing the encoder",
        "Tracing the decoder",
        "Comparing with torch on 3 pairs of heads drawn by ScaleFuse",
    ]


def test_what_is_refused(refused, model, folders, tmp_path, monkeypatch):
    out = tmp_path / "out"
    line = refused("export", model, "--to", "onnx", "--precision", "bf16", "-o", out)
    assert "openvino with fp32, fp16, bf16, int8" in line
    assert "--calibration" in refused("export", model, "--to", "onnx", "--precision", "int8", "-o", out)
    assert "two, such as CT and MRI" in refused(
        "export", model, "--to", "onnx", "--images", folders[0], "-o", out
    )
    monkeypatch.setitem(sys.modules, "openvino", None)
    line = refused("export", model, "--to", "openvino", "-o", out)
    assert "pip install 'scalefuse[openvino]'" in line
    assert not out.exists()
    assert not list(tmp_path.glob(".unfinished-*"))


def test_sigterm_leaves_nothing_unfinished(started, model, tmp_path):
    process = started("export", model, "--to", "onnx", "-o", tmp_path / "new" / "out", "--size", 32, 48)
    begun = []
    for line in process.stderr:
        if line.startswith("Tracing the decoder"):
            begun = list((tmp_path / "new").glob(".unfinished-*"))
            process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 130
    assert begun
    assert not (tmp_path / "new").exists()
