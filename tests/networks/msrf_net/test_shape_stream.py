import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage import data, filters
from torch.nn import functional as F

from scalefuse.networks.msrf_net import GatedConvolution, ShapeStream, image_gradient
from scalefuse.networks.msrf_net.shape_stream import ResidualBlock


def test_image_gradient_agrees_with_scikit_image():
    image = data.astronaut()[100:220, 60:200] / 255.0
    expected = filters.scharr(image.mean(axis=2), mode="reflect")
    # skimage divides by sqrt(2), which the maximum removes.
    expected /= expected.max()
    found = image_gradient(torch.from_numpy(image).permute(2, 0, 1)[None])
    np.testing.assert_allclose(found[0, 0].numpy(), expected, atol=1e-12)


def test_image_gradient_agrees_with_scipy_correlation():
    image = np.random.default_rng(0).random((17, 23))
    kernel = np.array([[-3.0, 0, 3], [-10, 0, 10], [-3, 0, 3]])
    parts = [ndimage.correlate(image, k, mode="nearest") for k in (kernel, kernel.T)]
    expected = np.hypot(*parts)
    found = image_gradient(torch.from_numpy(image)[None, None])[0, 0].numpy()
    np.testing.assert_allclose(found, expected / expected.max(), atol=1e-12)


def test_image_gradient_is_scaled_in_each_image_and_ignores_brightness():
    images = torch.rand(2, 3, 8, 8, dtype=torch.float64)
    found = image_gradient(images)
    assert found.amax(dim=(1, 2, 3)).tolist() == [1.0, 1.0]
    torch.testing.assert_close(found, image_gradient(255 * images + 7))


@pytest.mark.parametrize("value", [0.0, 0.7, -1000.0])
def test_image_gradient_of_a_constant_image_is_zero_and_so_is_its_derivative(value):
    image = torch.full((1, 3, 8, 8), value, requires_grad=True)
    found = image_gradient(image)
    found.sum().backward()
    assert found.abs().max() == 0
    assert image.grad.abs().max() == 0


def test_image_gradient_stays_exact_under_autocast():
    image = torch.rand(1, 3, 16, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = image_gradient(image)
    assert torch.equal(found, image_gradient(image))


def test_shape_stream_holds_no_state_for_the_image_gradient():
    names = set(dict(ShapeStream((8, 16, 32, 64)).named_children()))
    assert names == {"enter", "residuals", "gates", "edge", "guide_mix", "guide_scale", "guide_norm"}


def test_an_open_gate_doubles_the_stream_and_a_shut_one_keeps_it():
    gate = GatedConvolution(8, 16, out_channels=4).eval()
    stream, coarser = torch.randn(1, 8, 8, 8), torch.randn(1, 16, 2, 2)
    plain = F.conv2d(stream, gate.reduce.weight)
    with torch.no_grad():
        gate.reduce.bias.zero_()
        gate.norm_out.bias.fill_(100.0)
        torch.testing.assert_close(gate(stream, coarser), 2 * plain)
        gate.norm_out.bias.fill_(-100.0)
        torch.testing.assert_close(gate(stream, coarser), plain)


def test_gate_depends_on_the_coarser_feature():
    torch.manual_seed(0)
    gate = GatedConvolution(8, 16, out_channels=4).double()
    coarser = torch.randn(2, 16, 4, 4, dtype=torch.float64, requires_grad=True)
    stream = torch.randn(2, 8, 16, 16, dtype=torch.float64)
    gate(stream, coarser).square().sum().backward()
    assert coarser.grad.abs().min() > 0


def test_both_convolutions_of_a_residual_block_are_live():
    torch.manual_seed(0)
    block = ResidualBlock(8).double()
    block(torch.randn(2, 8, 8, 8, dtype=torch.float64)).square().sum().backward()
    assert block.conv1.weight.grad.abs().min() > 0
    assert block.conv2.weight.grad.abs().min() > 0


def test_edge_depends_on_every_scale_and_the_guide_on_the_image():
    torch.manual_seed(0)
    stream = ShapeStream((8, 16, 32, 64)).double()
    features = [
        torch.randn(2, 8 << i, 16 >> i, 16 >> i, dtype=torch.float64, requires_grad=True) for i in range(4)
    ]
    image = torch.rand(2, 3, 16, 16, dtype=torch.float64, requires_grad=True)
    edge, guide = stream(features, image)
    gradients = torch.autograd.grad(edge.square().sum(), features, retain_graph=True)
    assert min(gradient.abs().max().item() for gradient in gradients) > 1e-9
    assert torch.autograd.grad(guide.square().sum(), image)[0].abs().max() > 1e-9
