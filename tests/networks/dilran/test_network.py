from __future__ import annotations

import pytest
import torch
from scipy import ndimage
from torch import nn

from scalefuse.errors import InputError
from scalefuse.networks.dilran import DILRAN
from scalefuse.networks.dilran.composed import ComposedDILRAN
from scalefuse.networks.dilran.encoder import DilatedResidualAttention
from scalefuse.networks.dilran.pooling import pooled_attention
from scalefuse.networks.dilran.spec import SPEC, DILRANConfig
from scalefuse.workflows.networks import describe


@pytest.fixture
def network() -> DILRAN:
    torch.manual_seed(0)
    return DILRAN(features=8).eval()


def test_parameter_count_is_that_of_the_paper_without_unused_layers() -> None:
    assert sum(p.numel() for p in DILRAN().parameters()) == 216_001
    assert not list(DILRAN().buffers()), "running statistics must not exist"


@pytest.mark.parametrize("size", [(16, 16), (17, 16), (16, 31), (33, 47), (40, 64)])
def test_any_size_keeps_height_and_width(network: DILRAN, size: tuple[int, int]) -> None:
    x = torch.rand(1, 1, *size)
    assert network.encode(x).shape == (1, 8, *size)
    assert network(x).shape == (1, 1, *size)


@pytest.mark.parametrize("size", [(15, 16), (16, 15), (1, 200)])
def test_too_small_image_is_named_with_the_minimum(network: DILRAN, size: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=rf"at least 16×16 pixels but got {size[0]}×{size[1]}"):
        network.encode(torch.rand(1, 1, *size))


def test_other_inputs_are_refused(network: DILRAN) -> None:
    with pytest.raises(InputError, match=r"one grey channel.*\(1, 3, 32, 32\)"):
        network(torch.rand(1, 3, 32, 32))
    with pytest.raises(InputError, match="one grey channel"):
        network(torch.rand(32, 32))
    with pytest.raises(InputError, match=r"floating-point.*uint8"):
        network(torch.zeros(1, 1, 32, 32, dtype=torch.uint8))
    with pytest.raises(InputError, match=r"\(N, 8, H, W\).*\(1, 4, 32, 32\)"):
        network.decode(torch.rand(1, 4, 32, 32))
    with pytest.raises(InputError, match=r"at least 16×16 pixels but got 20×15"):
        network.decode(torch.rand(1, 8, 20, 15))


@pytest.mark.parametrize(
    "arguments", [{"features": 7}, {"features": 0}, {"dilations": ()}, {"dilations": (0,)}]
)
def test_impossible_arguments_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(InputError):
        DILRAN(**arguments)  # type: ignore[arg-type]


def test_images_of_a_batch_do_not_influence_each_other(network: DILRAN) -> None:
    batch = torch.rand(3, 1, 32, 33, dtype=torch.float64) * torch.tensor([1.0, 0.2, 3.0]).view(3, 1, 1, 1)
    network.double().train()  # per-image statistics in training mode too
    alone = torch.cat([network.encode(x[None]) for x in batch])
    torch.testing.assert_close(network.encode(batch), alone)


def test_constant_image_stays_finite(network: DILRAN) -> None:
    for value in (0.0, 1.0):
        assert network(torch.full((1, 1, 24, 24), value)).isfinite().all()


def test_pooled_attention_is_relu_of_window_means_even_at_odd_borders() -> None:
    x = torch.randn(2, 3, 7, 10, dtype=torch.float64)
    expected = torch.empty_like(x)
    for i in range(7):
        for j in range(10):
            window = x[:, :, i // 2 * 2 : i // 2 * 2 + 2, j // 2 * 2 : j // 2 * 2 + 2]
            expected[:, :, i, j] = window.mean((2, 3)).clamp_min(0)
    torch.testing.assert_close(pooled_attention(x), expected)


def test_residual_attention_applies_one_convolution_thrice() -> None:
    block = DilatedResidualAttention(1).double()
    kernel = torch.randn(1, 1, 3, 3, dtype=torch.float64)
    nn.init.constant_(block.conv.bias, 0.25)
    block.conv.weight.data.copy_(kernel)
    x = torch.randn(1, 1, 8, 9, dtype=torch.float64)

    def convolve(image: torch.Tensor) -> torch.Tensor:
        blurred = ndimage.correlate(image[0, 0].numpy(), kernel[0, 0].numpy(), mode="constant")
        return torch.from_numpy(blurred)[None, None] + 0.25

    expected = x + pooled_attention(x) * (
        convolve(x) + convolve(convolve(x)) + convolve(convolve(convolve(x)))
    )
    torch.testing.assert_close(block(x).detach(), expected)


@pytest.mark.parametrize("dilations", [(1, 3, 5), (2,), (7, 1)])
@pytest.mark.parametrize("size", [(16, 16), (17, 30), (21, 33)])
def test_composed_layers_are_the_layers_one_by_one(dilations: tuple[int, ...], size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    network = DILRAN(features=8, dilations=dilations).double()
    encoder, image = network.encoder, torch.rand(2, 1, *size, dtype=torch.float64)
    x = image + pooled_attention(image) * encoder.input_conv(image)
    scales = torch.cat([convolution(x) for convolution in encoder.dilated_convs], 1)
    deep = encoder.norm(encoder.residual_attention(encoder.norm(encoder.reduce_conv(scales))))
    features = x + pooled_attention(x) * deep
    torch.testing.assert_close(network.encode(image), features, rtol=1e-10, atol=1e-12)
    picture = features
    for layer in network.decoder:
        picture = layer(picture)
    torch.testing.assert_close(network.decode(features), picture, rtol=1e-10, atol=1e-12)
    fixed = ComposedDILRAN(network)
    torch.testing.assert_close(fixed(image), picture, rtol=1e-10, atol=1e-12)
    # What is fixed is a copy.
    network.encoder.norm.weight.data.mul_(2)
    torch.testing.assert_close(fixed(image), picture, rtol=1e-10, atol=1e-12)


def test_the_composed_network_multiplies_less_than_half() -> None:
    macs = {part.name: part.macs for part in describe("dilran")}
    pixels = 256 * 256
    # Layer by layer: three 3×3 convolutions, 1×1 of all of them, the shared 3×3 thrice.
    assert macs["encoder"] < 0.6 * pixels * (64 * 64 * 9 * 3 + 192 * 64 + 64 * 64 * 9 * 3)
    assert macs["encoder"] > pixels * 64 * 64 * 9 * 3
    assert macs["decoder"] < 0.2 * pixels * (64 * 64 * 9 + 64 * 32 * 9 + 32 * 9)


def test_every_parameter_learns_but_the_listed_biases() -> None:
    torch.manual_seed(0)
    network = SPEC.build(DILRANConfig(**SPEC.tiny)).double()
    network(torch.rand(2, 1, 21, 24, dtype=torch.float64)).square().mean().backward()
    largest = {name: float(p.grad.abs().max()) for name, p in network.named_parameters()}
    assert {name for name, value in largest.items() if value < 1e-12} == set(SPEC.biases_before_norm)


def test_memory_format_does_not_change_the_result(network: DILRAN) -> None:
    x = torch.rand(1, 1, 32, 40)
    expected = network(x)
    fast = network.to(memory_format=torch.channels_last)(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(fast, expected, rtol=1e-4, atol=1e-5)


def test_bfloat16_autocast_stays_near(network: DILRAN) -> None:
    x = torch.rand(1, 1, 32, 40)
    expected = network(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = network(x)
    assert (got - expected).abs().max() < 0.03 * expected.abs().max()


def test_one_export_serves_every_size(network: DILRAN) -> None:
    height, width = torch.export.Dim("height", min=16), torch.export.Dim("width", min=16)
    program = torch.export.export(
        network, (torch.rand(1, 1, 32, 48),), dynamic_shapes={"x": {2: height, 3: width}}
    ).module()
    for size in ((16, 16), (33, 47), (64, 21)):
        x = torch.rand(1, 1, *size)
        torch.testing.assert_close(program(x), network(x), rtol=1e-4, atol=1e-5)


def test_config_refuses_what_the_network_would_refuse() -> None:
    for arguments in ({"features": 7}, {"dilations": []}, {"dilations": [0]}, {"feature": 8}):
        with pytest.raises(ValueError):
            DILRANConfig(**arguments)  # type: ignore[arg-type]
