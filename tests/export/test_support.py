"""Which runtime takes which number type, and what is said where packages are missing."""

import sys
from pathlib import Path

import pytest

from scalefuse.errors import InputError, MissingExtraError
from scalefuse.export.support import (
    ENGINES,
    PRECISIONS,
    SUPPORT,
    check_support,
    require_packages,
    support_table,
)

DOCS = Path(__file__).parents[2] / "docs"


def test_every_pair_has_its_cell():
    assert set(SUPPORT) == {(engine, precision) for engine in ENGINES for precision in PRECISIONS}


@pytest.mark.parametrize(("engine", "precision"), [pair for pair, one in SUPPORT.items() if one.works])
def test_supported_pairs_pass(engine, precision):
    check_support(engine, precision)


@pytest.mark.parametrize(("engine", "precision"), [("onnx", "bf16"), ("onnx", "fp8"), ("tensorrt", "fp16")])
def test_others_are_refused_with_the_pairs_that_work(engine, precision):
    with pytest.raises(InputError, match="onnx with fp32, fp16, int8; openvino with fp32, fp16, bf16, int8"):
        check_support(engine, precision)


def test_the_documentation_shows_the_table():
    assert support_table() in (DOCS / "how-to" / "export.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("engine", "package", "extra"),
    [
        ("onnx", "onnxruntime", r"scalefuse\[onnx\]"),
        ("openvino", "openvino", r"scalefuse\[openvino\]"),
        ("openvino", "onnxscript", r"scalefuse\[onnx\]"),
    ],
)
def test_a_missing_extra_is_named(monkeypatch, engine, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=f"{package}.*pip install '{extra}'"):
        require_packages(engine)


@pytest.mark.parametrize(
    ("engine", "package"), [("onnx", "onnxruntime"), ("onnx", "onnxscript"), ("openvino", "openvino")]
)
def test_a_package_that_does_not_load_is_named(monkeypatch, tmp_path, engine, package):
    (tmp_path / f"{package}.py").write_text("raise ImportError('libfoo.so: cannot open')")
    monkeypatch.delitem(sys.modules, package, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtraError, match=f"{package}, .* does not load .libfoo.so: cannot open"):
        require_packages(engine)
