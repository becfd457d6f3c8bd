"""Engines of all kinds of input: sizes, batches, and what they must refuse."""

import pytest
import torch

from scalefuse.catalog import NETWORKS
from scalefuse.errors import InputError
from scalefuse.inference.engines.networks import MAX_GRAPHS, ClassifierParts
from scalefuse.inference.engines.protocol import Part
from scalefuse.inference.engines.torch_engine import TorchBackend

TOLERANCE = {"fp32": 1e-5, "bf16": 0.15}


def plain(network, images):
    with torch.inference_mode():
        output = network(images)
    return getattr(output, "mask", output)


def test_fusion_takes_any_size(pair, tiny_engine):
    network, engine = tiny_engine("dilran", pair)
    for shape in ((1, 1, 16, 16), (2, 1, 31, 40), (1, 1, 64, 17), (3, 1, 33, 33)):
        image = torch.rand(shape, generator=torch.Generator().manual_seed(sum(shape)))
        with torch.inference_mode():
            features = network.encode(image)
            picture = network.decode(features)
        scale = features.abs().max()
        torch.testing.assert_close(engine.encode(image), features, atol=TOLERANCE[pair[1]] * scale, rtol=0)
        torch.testing.assert_close(
            engine.decode(features), picture, atol=TOLERANCE[pair[1]] * picture.abs().max(), rtol=0
        )


def test_fusion_refuses_what_the_network_refuses(pair, tiny_engine):
    _, engine = tiny_engine("dilran", pair)
    with pytest.raises(InputError, match="at least 16×16"):
        engine.encode(torch.zeros(1, 1, 15, 40))
    with pytest.raises(InputError, match="one grey channel"):
        engine.encode(torch.zeros(1, 3, 40, 40))


@pytest.mark.parametrize("name", ["msrf_net", "unet"])
def test_segmentation_takes_any_multiple(name, pair, tiny_engine):
    network, engine = tiny_engine(name, pair)
    step = NETWORKS[name].size_multiple
    for shape in ((1, 3, 2 * step, 3 * step), (3, 3, 4 * step, 2 * step)):
        images = torch.rand(shape, generator=torch.Generator().manual_seed(sum(shape)))
        expected = plain(network, images)
        found = engine(images)
        assert found.dtype == torch.float32
        scale = float(expected.abs().max().clamp(min=1))
        torch.testing.assert_close(found, expected, atol=TOLERANCE[pair[1]] * scale, rtol=0)


@pytest.mark.parametrize("name", ["hifuse", "resnet18"])
def test_classifiers_take_any_size_and_number(name, pair, tiny_engine):
    network, engine = tiny_engine(name, pair)
    for shape in ((1, 3, 45, 77), (4, 3, 64, 64), (3, 3, 64, 64)):
        images = torch.rand(shape, generator=torch.Generator().manual_seed(sum(shape)))
        expected = plain(network, images)
        torch.testing.assert_close(engine(images), expected, atol=TOLERANCE[pair[1]], rtol=0)
    # What explanations and embeddings read is the network itself.
    assert engine.forward_features(images)[-1].requires_grad is False
    assert torch.equal(engine.forward_head(engine.forward_features(images)[-1]), network(images))


class Counting:
    """A backend whose graphs take one shape; it remembers what was compiled and what was run."""

    fixes_classifiers, sums_roughly = True, False

    def __init__(self):
        self.compiled, self.run = [], []

    def compile(self, part: Part):
        shape = tuple(part.examples[0].shape)
        self.compiled.append(shape)

        def call(images):
            assert tuple(images.shape) == shape
            self.run.append(shape)
            return part.module(images)

        return call


class Brightness(torch.nn.Module):
    def forward(self, images):
        return images.mean(dim=(2, 3))


def test_a_smaller_batch_is_filled_up_instead_of_compiled_for():
    backend = Counting()
    engine = ClassifierParts(Brightness(), backend, "fp32")
    images = torch.rand(16, 2, 8, 8)
    for count in (16, 16, 5, 4):
        found = engine(images[:count])
        torch.testing.assert_close(found, images[:count].mean(dim=(2, 3)))
    assert backend.compiled == [(16, 2, 8, 8)]
    # One picture would be sixteen times its work.
    torch.testing.assert_close(engine(images[:1]), images[:1].mean(dim=(2, 3)))
    assert backend.compiled == [(16, 2, 8, 8), (1, 2, 8, 8)]
    engine(images[:3])
    assert backend.run[-1] == (3, 2, 8, 8)


def test_graphs_kept_are_bounded():
    backend = Counting()
    engine = ClassifierParts(Brightness(), backend, "fp32")
    for side in (8, 9, 10, 11, 8, 12, 8, 9):
        engine(torch.rand(1, 2, side, side))
    assert MAX_GRAPHS == 4
    # 8 was used again before room was made for 12, so 9 had to go.
    assert [shape[2] for shape in backend.compiled] == [8, 9, 10, 11, 12, 9]


def test_no_images_give_no_logits():
    engine = ClassifierParts(Brightness(), Counting(), "fp32")
    assert engine(torch.zeros(0, 2, 8, 8)).shape == (0, 2)


def test_torch_leaves_the_network_as_it_is(tiny, engine_of):
    for name in ("dilran", "msrf_net", "hifuse"):
        config, network = tiny(name)
        before = {key: value.clone() for key, value in network.state_dict().items()}
        engine = engine_of(network, config, "torch", "bf16")
        image = torch.rand(1, NETWORKS[name].example_shape[0], 64, 64)
        engine.encode(image) if name == "dilran" else engine(image)
        for key, value in network.state_dict().items():
            assert value.dtype == before[key].dtype
            assert torch.equal(value, before[key]), key


@pytest.mark.slow
def test_compiled(tiny, engine_of):
    from scalefuse.inference.engines.torch_engine import has_compiler

    if not has_compiler():
        pytest.skip("torch.compile needs a C++ compiler")
    config, network = tiny("dilran")
    engine = engine_of(network, config, "compiled", "fp32")
    for size in ((32, 32), (33, 47)):
        image = torch.rand(1, 1, *size)
        torch.testing.assert_close(engine.decode(engine.encode(image)), network(image), atol=1e-5, rtol=1e-5)


def test_compiling_without_a_compiler_is_refused(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(InputError, match=r"needs a C\+\+ compiler"):
        TorchBackend(compiled=True)
