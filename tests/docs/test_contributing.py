"""CONTRIBUTING.md's worked examples are code that runs: written where it says, imported, doctested, used."""

import doctest
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from tests.docs.pages import ROOT, blocks

FILES = {
    block.code.splitlines()[0].removeprefix("# "): block.code
    for block in blocks(ROOT / "CONTRIBUTING.md", "python")
    if block.code.startswith("# src/scalefuse/")
}


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The example files, found as if they lay in the package."""
    before = set(sys.modules)
    for name, code in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code, encoding="utf-8")
    for parent in ("networks", "fusion", "metrics.fusion"):
        package = importlib.import_module(f"scalefuse.{parent}")
        extra = str(tmp_path / "src/scalefuse" / parent.replace(".", "/"))
        monkeypatch.setattr(package, "__path__", [*package.__path__, extra])
    importlib.invalidate_caches()
    yield
    for name in set(sys.modules) - before:
        if name.startswith("scalefuse."):
            del sys.modules[name]


def _module(file: str) -> ModuleType:
    name = file.removeprefix("src/").removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    return importlib.import_module(name)


@pytest.mark.usefixtures("packages")
def test_doctests_of_the_examples_pass() -> None:
    assert len(FILES) >= 5
    results = {file: doctest.testmod(_module(file)) for file in FILES}
    assert {file: result.failed for file, result in results.items()} == dict.fromkeys(FILES, 0)
    assert sum(result.attempted for result in results.values()) >= 4


@pytest.mark.usefixtures("packages")
def test_the_network_has_what_the_conformance_tests_ask_for() -> None:
    spec = _module("src/scalefuse/networks/plain/spec.py").SPEC
    torch.manual_seed(0)
    network = spec.build(spec.config.model_validate(spec.tiny)).double()
    for size in ((spec.min_size, spec.min_size), (17, 24)):
        image = torch.rand(1, spec.example_shape[0], *size, dtype=torch.float64)
        assert network(image).shape == image.shape
    network(image).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.usefixtures("packages")
def test_the_network_fuses_with_the_strategy_of_the_example() -> None:
    network = _module("src/scalefuse/networks/plain/network.py").PlainAutoEncoder(features=4)
    stronger = _module("src/scalefuse/fusion/stronger.py").stronger
    first, second = torch.rand(2, 1, 1, 9, 9)
    features = stronger(network.encode(first), network.encode(second))
    assert network.decode(features).shape == first.shape


@pytest.mark.usefixtures("packages")
def test_the_measure_of_the_example_is_that_of_numpy() -> None:
    measure = _module("src/scalefuse/metrics/fusion/gradient_correlation.py").gradient_correlation
    rng = np.random.default_rng(0)
    fused, a, b = rng.integers(0, 256, (3, 20, 30)).astype(float)
    size = [np.hypot(*np.gradient(image)).ravel() for image in (fused, a, b)]
    expected = np.mean([np.corrcoef(size[0], other)[0, 1] for other in size[1:]])
    assert measure(fused, a, b) == pytest.approx(expected, rel=1e-9)
