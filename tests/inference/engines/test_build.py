import pytest
import torch

import scalefuse
from scalefuse.errors import InputError, MissingExtraError
from scalefuse.inference.engines import build
from scalefuse.inference.engines.build import FallbackBackend, build_engine
from scalefuse.inference.engines.choice import EngineChoice, Job
from scalefuse.inference.engines.protocol import Part


class Broken:
    """A backend that cannot compile, or whose graphs cannot run."""

    fixes_classifiers, sums_roughly = True, True

    def __init__(self, error, when):
        self.error, self.when, self.tried = error, when, 0

    def compile(self, part):
        self.tried += 1
        if self.when == "compile":
            raise self.error
        runs = 0

        def call(*inputs):
            nonlocal runs
            runs += 1
            if self.when == "second run" and runs == 1:
                return inputs[0] + 100
            raise self.error

        return call


@pytest.mark.parametrize("when", ["compile", "run"])
def test_torch_takes_over(when):
    broken = Broken(RuntimeError("no such operation"), when)
    choice = EngineChoice("openvino", "fp32", may_fall_back=True)
    run = FallbackBackend(broken, choice.failures).compile(Part(torch.nn.ReLU(), (torch.zeros(1, 1, 2, 2),)))
    assert str(choice) == "openvino in fp32 on the CPU"
    for _ in range(2):
        assert torch.equal(run(torch.tensor([[[[-1.0, 2.0]]]])), torch.tensor([[[[0.0, 2.0]]]]))
    assert broken.tried == 1
    assert str(choice) == "torch in fp32 on the CPU, where openvino failed (no such operation)"


def test_torch_takes_over_later_too():
    failures = []
    backend = FallbackBackend(Broken(RuntimeError("not at this size"), "second run"), failures)
    run = backend.compile(Part(torch.nn.ReLU(), (torch.zeros(1, 1, 2, 2),)))
    found = [run(-torch.ones(1, 1, 1, 1)).item() for _ in range(3)]
    assert found == [99, 0, 0]
    assert failures == ["not at this size"]


def test_torch_takes_over_from_a_package_that_does_not_load():
    failures = []
    backend = FallbackBackend(Broken(MissingExtraError("does not load"), "compile"), failures)
    run = backend.compile(Part(torch.nn.ReLU(), (torch.zeros(1, 1, 2, 2),)))
    assert run(-torch.ones(1, 1, 1, 1)).item() == 0
    assert failures == ["does not load"]


@pytest.mark.parametrize("error", [InputError("the user's"), MemoryError()])
def test_what_torch_cannot_mend_is_raised(error):
    run = FallbackBackend(Broken(error, "run"), []).compile(Part(torch.nn.ReLU(), (torch.zeros(1, 1, 2, 2),)))
    with pytest.raises(type(error)):
        run(torch.zeros(1, 1, 1, 1))


def test_whole_networks_survive_a_broken_engine(tiny, monkeypatch):
    backend = FallbackBackend(Broken(RuntimeError("broken"), "compile"), [])
    monkeypatch.setattr(build, "_backend", lambda choice: backend)
    for name in ("dilran", "msrf_net", "hifuse"):
        config, network = tiny(name)
        engine = build_engine(network, config, EngineChoice("openvino", "fp32", may_fall_back=True))
        with torch.inference_mode():
            if name == "dilran":
                image = torch.rand(1, 1, 33, 40)
                torch.testing.assert_close(
                    engine.decode(engine.encode(image)), network(image), atol=1e-5, rtol=1e-5
                )
                continue
            images = torch.rand(2, 3, 64, 64)
            expected = network(images)
            torch.testing.assert_close(
                engine(images), getattr(expected, "mask", expected), atol=1e-5, rtol=1e-5
            )


def test_from_python_nothing_depends_on_the_machine():
    for name in ("dilran", "msrf-net-nuclei"):
        predictor = scalefuse.load(name)
        assert (predictor.computed_by.engine, predictor.computed_by.precision) == ("torch", "fp32")


def test_from_python_engine_and_precision_can_be_given():
    fuser = scalefuse.load("dilran", engine="torch", precision="bf16")
    assert fuser.computed_by.precision == "bf16"
    segmenter = scalefuse.load("msrf-net-nuclei", engine="auto", job=Job(1, 0.1))
    assert segmenter.computed_by.precision == "fp32"
    with pytest.raises(InputError, match="Unknown engine"):
        scalefuse.load("dilran", engine="fastest")


def test_an_ensemble_says_what_computes_each_network(monkeypatch):
    from scalefuse.bundle import load_bundle
    from scalefuse.inference.segmenter import Segmenter

    bundle = load_bundle("msrf-net-nuclei")
    choices = iter([EngineChoice("torch", "fp32"), EngineChoice("openvino", "fp32", failures=["no memory"])])
    monkeypatch.setattr(build, "bundle_engine", lambda *args, **options: (torch.nn.Identity(), next(choices)))
    found = Segmenter.from_bundle([bundle, bundle]).computed_by
    assert (
        str(found) == "torch in fp32 on the CPU; torch in fp32 on the CPU, where openvino failed (no memory)"
    )
