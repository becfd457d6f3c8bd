import pytest
import torch

from scalefuse.networks.msrf_net import DualScaleDenseFusion, MultiScaleResidualFusion

CHANNELS = (8, 16, 32, 64)


def features(batch: int = 1, size: int = 16) -> list[torch.Tensor]:
    return [
        torch.randn(batch, c, size >> i, size >> i, dtype=torch.float64, requires_grad=True)
        for i, c in enumerate(CHANNELS)
    ]


def test_parameters_of_a_block():
    # Fine stream, 32 channels and growth 16: 3×3 kernels from 32 and 32 + d·16 channels (d = 2…5) to 16, the
    # last to 32; coarse stream alike with 64; four pairs of 3×3 kernels from 16 to 16 channels.
    fine = 9 * (32 * 16 + (64 + 80 + 96) * 16 + 112 * 32) + 4 * 16 + 32
    coarse = 9 * (64 * 16 + (96 + 112 + 128) * 16 + 144 * 64) + 4 * 16 + 64
    pairs = 8 * (9 * 16 * 16 + 16)
    block = DualScaleDenseFusion(32, 64, growth=16)
    assert sum(p.numel() for p in block.parameters()) == fine + coarse + pairs


@pytest.mark.parametrize("growth", [4, 6])
def test_training_and_evaluation_compute_the_same(growth):
    torch.manual_seed(0)
    block = DualScaleDenseFusion(8, 16, growth=growth).double()
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    results = []
    for training in (True, False):
        block.train(training).zero_grad()
        fine, coarse = features(batch=2)[:2] if not results else results[0][0]
        fine.grad = coarse.grad = None
        outputs = block(fine, coarse)
        sum((output**2).sum() for output in outputs).backward()
        gradients = [t.grad.clone() for t in (fine, coarse, *block.parameters())]
        results.append(((fine, coarse), [*outputs, *gradients]))
    assert all(gradient.abs().max() > 0 for gradient in results[0][1])
    for a, b in zip(results[0][1], results[1][1], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("training", [True, False])
def test_a_block_without_weights_hands_its_inputs_on(training):
    block = DualScaleDenseFusion(8, 16, growth=4).double().train(training)
    for parameter in block.parameters():
        torch.nn.init.zeros_(parameter)
    inputs = features()[:2]
    for given, found in zip(inputs, block(*inputs), strict=True):
        assert torch.equal(given, found)


@pytest.mark.parametrize("training", [True, False])
def test_a_constant_last_output_is_added_with_weight_0_4(training):
    block = DualScaleDenseFusion(8, 16, growth=4).double().train(training)
    for parameter in block.parameters():
        torch.nn.init.zeros_(parameter)
    torch.nn.init.constant_(block.fine[-1].bias, 2.0)
    torch.nn.init.constant_(block.coarse[-1].bias, -2.0)  # leaky slope 0.25: -0.5
    fine, coarse = features()[:2]
    found_fine, found_coarse = block(fine, coarse)
    torch.testing.assert_close(found_fine, fine + 0.4 * 2.0)
    torch.testing.assert_close(found_coarse, coarse - 0.4 * 0.5)


def test_without_blocks_the_sub_network_adds_0_4_of_its_input():
    fusion = MultiScaleResidualFusion(CHANNELS, growth=4).double()
    for parameter in fusion.parameters():
        torch.nn.init.zeros_(parameter)
    inputs = features()
    for given, found in zip(inputs, fusion(inputs), strict=True):
        torch.testing.assert_close(found, 1.4 * given)


def test_all_ten_blocks_are_live():
    torch.manual_seed(0)
    fusion = MultiScaleResidualFusion(CHANNELS, growth=4).double()
    blocks = [m for m in fusion.modules() if isinstance(m, DualScaleDenseFusion)]
    assert len(blocks) == 10
    sum((x * torch.randn_like(x)).sum() for x in fusion(features())).backward()
    for parameter in fusion.parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().max() > 1e-6


@pytest.mark.parametrize("training", [True, False])
def test_each_scales_output_depends_on_each_scales_input(training):
    torch.manual_seed(0)
    fusion = MultiScaleResidualFusion(CHANNELS, growth=4).double().train(training)
    inputs = features()
    for output in fusion(inputs):
        gradients = torch.autograd.grad(output.square().sum(), inputs, retain_graph=True)
        assert min(gradient.abs().max().item() for gradient in gradients) > 1e-6
