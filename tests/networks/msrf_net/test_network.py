from collections.abc import Sequence

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from scalefuse.errors import InputError
from scalefuse.networks.msrf_net import MSRFNet, MSRFNetOutput
from scalefuse.networks.msrf_net.spec import SPEC, MSRFNetConfig

# part: (parameters, MACs at 256×256×3), one class, full width.
PARTS = {
    "encoder": (1_184_606, 3_378_522_752),
    "MSRF sub-network": (17_518_848, 72_855_060_480),
    "shape stream": (28_451, 1_798_373_376),
    "decoder, scale 3": (1_794_832, 3_809_220_608),
    "decoder, scale 2": (449_420, 3_810_017_792),
    "decoder, last level": (53_761, 1_900_019_712),
}
# The same parts as an independent implementation counted them: parameters with batch-norm buffers in
# millions, and MACs in milliards, both to the printed digit.
INDEPENDENT_COUNT = {
    "encoder": ("1.19", "3.4"),
    "MSRF sub-network": ("17.52", "72.9"),
    "shape stream": ("0.03", "1.8"),
    "decoder, scale 3": ("1.80", "3.8"),
    "decoder, scale 2": ("0.45", "3.8"),
    "decoder, last level": ("0.05", "1.9"),
}


def tiny(**arguments) -> MSRFNet:
    torch.manual_seed(0)
    return MSRFNet(**{"width": 8, "growth": 4, **arguments})


def count_macs(network: torch.nn.Module, parts: Sequence[str]) -> int:
    image = torch.zeros(1, 3, 256, 256, device="meta")
    counter = FlopCounterMode(display=False, depth=2)
    with counter, torch.no_grad():
        network(image)
    counts = counter.get_flop_counts()
    return sum(sum(counts[f"{type(network).__name__}.{part}"].values()) for part in parts) // 2


def test_parameters_and_macs_are_pinned_per_part():
    with torch.device("meta"):
        network = MSRFNet().eval()
    found = {
        name: (
            sum(p.numel() for m in modules for p in network.get_submodule(m).parameters()),
            count_macs(network, modules),
        )
        for name, modules in SPEC.parts.items()
    }
    assert found == PARTS
    assert sum(p.numel() for p in network.parameters()) == 21_029_918
    assert sum(parameters for parameters, _ in found.values()) == 21_029_918
    assert f"{sum(macs for _, macs in found.values()) / 1e9:.1f}" == "87.6"


def test_counts_agree_with_an_independent_implementation():
    with torch.device("meta"):
        network = MSRFNet()
    found = {}
    for name, modules in SPEC.parts.items():
        state = [network.get_submodule(m).state_dict() for m in modules]
        values = sum(
            t.numel() for s in state for key, t in s.items() if not key.endswith("num_batches_tracked")
        )
        found[name] = (f"{values / 1e6:.2f}", f"{PARTS[name][1] / 1e9:.1f}")
    assert found == INDEPENDENT_COUNT


def test_width_16_growth_8_has_5_3_million_parameters():
    with torch.device("meta"):
        network = MSRFNet(width=16, growth=8)
    assert f"{sum(p.numel() for p in network.parameters()) / 1e6:.1f}" == "5.3"


def test_parts_cover_the_network():
    parts = [m for modules in SPEC.parts.values() for m in modules]
    assert sorted(parts) == sorted(name for name, _ in tiny().named_children())


@pytest.mark.parametrize(("height", "width"), [(8, 8), (32, 32), (16, 56), (72, 24)])
def test_logits_have_the_images_size(height, width):
    output = tiny().eval()(torch.rand(1, 3, height, width))
    assert isinstance(output, MSRFNetOutput)
    assert {tuple(logits.shape) for logits in output} == {(1, 1, height, width)}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("in_channels", "num_classes"), [(1, 1), (3, 3), (4, 3)])
def test_channels_and_classes(in_channels, num_classes, training):
    network = tiny(in_channels=in_channels, num_classes=num_classes).train(training)
    output = network(torch.rand(1, in_channels, 16, 24))
    assert output.mask.shape == output.scale3.shape == output.scale2.shape == (1, num_classes, 16, 24)
    assert output.edge.shape == (1, 1, 16, 24)


@pytest.mark.parametrize(("height", "width", "padded"), [(30, 32, "32×32"), (33, 17, "40×24"), (4, 8, "8×8")])
def test_wrong_size_says_what_to_pad_to(height, width, padded):
    with pytest.raises(InputError, match=f"multiples of 8, but got {height}×{width}.*Pad .* to {padded}"):
        tiny()(torch.zeros(1, 3, height, width))


@pytest.mark.parametrize("shape", [(1, 1, 16, 16), (3, 16, 16), (1, 4, 16, 16)])
def test_wrong_channels(shape):
    with pytest.raises(InputError, match=r"shape \(N, 3, H, W\)"):
        tiny()(torch.zeros(shape))


@pytest.mark.parametrize(
    ("name", "value"),
    [("width", 12), ("width", 0), ("growth", 0), ("in_channels", 0), ("num_classes", 0), ("dropout", 1.0)],
)
def test_wrong_arguments(name, value):
    with pytest.raises(InputError, match=f"`{name}`"):
        MSRFNet(**{name: value})
    with pytest.raises(ValueError):
        MSRFNetConfig(**{name: value})


def test_evaluation_is_deterministic_and_ignores_the_rest_of_the_batch():
    network = tiny().eval()
    images = torch.rand(3, 3, 24, 16)
    with torch.no_grad():
        first, second, single = network(images), network(images), network(images[1:2])
    for a, b, c in zip(first, second, single, strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(a[1:2], c, rtol=1e-4, atol=1e-4)


def test_dropout_acts_in_training_only():
    image = torch.rand(2, 3, 16, 16)
    network = tiny(dropout=0.5).train()
    assert not torch.equal(network(image).mask, network(image).mask)
    network.encoder.dropout.p = 0.0
    assert torch.equal(network(image).mask, network(image).mask)


def test_every_parameter_learns_but_the_biases_that_a_norm_removes():
    # A narrow squeeze-and-excitation can start with all its ReLUs shut, so a parameter counts as live when
    # one of a few initialisations gives it a gradient.
    largest: dict[str, float] = {}
    for seed in range(4):
        torch.manual_seed(seed)
        network = MSRFNet(width=8, growth=4, dropout=0.0).double().train()
        output = network(torch.rand(3, 3, 32, 48, dtype=torch.float64))
        sum((logits * torch.randn_like(logits)).sum() for logits in output).backward()
        for name, parameter in network.named_parameters():
            largest[name] = max(largest.get(name, 0.0), parameter.grad.abs().max().item())
    without = {name for name, value in largest.items() if value < 1e-9}
    assert without == set(SPEC.biases_before_norm)


def test_bfloat16_autocast_stays_close():
    network = tiny().eval()
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        exact = network(image)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = network(image)
    for a, b in zip(exact, rounded, strict=True):
        scale = a.abs().max()
        assert (a - b.float()).abs().max() < 0.1 * scale


def test_channels_last_gives_the_same_logits():
    network = tiny().eval()
    image = torch.rand(2, 3, 32, 24)
    with torch.no_grad():
        expected = network(image)
        found = network.to(memory_format=torch.channels_last)(
            image.contiguous(memory_format=torch.channels_last)
        )
    for a, b in zip(expected, found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_export_takes_any_batch_height_and_width():
    network = tiny().eval()
    dims = {0: torch.export.Dim("batch"), 2: 8 * torch.export.Dim("rows"), 3: 8 * torch.export.Dim("columns")}
    exported = torch.export.export(network, (torch.rand(2, 3, 32, 48),), dynamic_shapes=(dims,))
    for shape in [(2, 3, 32, 48), (3, 3, 24, 64)]:
        image = torch.rand(shape)
        with torch.no_grad():
            expected, found = network(image), exported.module()(image)
        for a, b in zip(expected, found, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_config_builds_the_network_it_describes():
    network = SPEC.build(MSRFNetConfig(in_channels=1, num_classes=2, width=8, growth=4, dropout=0.0))
    assert network(torch.zeros(1, 1, 8, 16)).mask.shape == (1, 2, 8, 16)
    assert network.encoder.dropout.p == 0.0
