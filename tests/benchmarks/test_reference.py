"""The plain formulations that speed is measured against compute what the package computes."""

import pytest
import torch

from benchmarks.reference.dilran import PlainDILRAN
from benchmarks.reference.hifuse import with_explicit_attention
from benchmarks.reference.msrf_net import plain_image_gradient, plain_msrf_net
from scalefuse.inference.fuser import Fuser
from scalefuse.networks.dilran import DILRAN
from scalefuse.networks.hifuse import HiFuse
from scalefuse.networks.msrf_net import MSRFNet
from scalefuse.networks.msrf_net.shape_stream import image_gradient


def randomised(network):
    """Biases, scales and running statistics away from 0 and 1, where an error could hide."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and tensor.ndim == 1:
            noise = torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype) * 0.2
            tensor.add_(noise if "var" in name or "weight" in name else noise - 0.1)
    return network


def gradients(network, image, output):
    (output * torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)).sum().backward()
    return torch.cat([parameter.grad.flatten() for parameter in network.parameters()])


def test_plain_dilran_reproduces_and_fuses_alike():
    torch.manual_seed(0)
    network = randomised(DILRAN().double()).eval()
    plain = PlainDILRAN(network)
    a, b = torch.rand(2, 2, 1, 48, 64, dtype=torch.float64)
    with torch.inference_mode():
        torch.testing.assert_close(plain(a), network(a), rtol=1e-9, atol=1e-11)
        ours = Fuser(network, strategy="softmax_nuclear_norm").fuse_tensors(a, b)
        # The fuser clamps in single precision.
        torch.testing.assert_close(plain.fuse(a, b).float(), ours, rtol=0, atol=1e-6)
    torch.testing.assert_close(
        gradients(plain, a, plain(a)), gradients(network, a, network(a)), rtol=1e-8, atol=1e-10
    )


@pytest.mark.parametrize("training", [False, True])
def test_plain_msrf_net_computes_alike(training):
    torch.manual_seed(0)
    network = randomised(MSRFNet(width=8, growth=4, num_classes=2, dropout=0.0).double()).train(training)
    plain = plain_msrf_net(network)
    assert plain.training is training
    image = torch.rand(2, 3, 32, 48, dtype=torch.float64)
    ours, theirs = network(image), plain(image)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)
    names = dict(network.named_parameters())
    assert sum(p.numel() for p in plain.parameters()) == sum(p.numel() for p in names.values())


def test_plain_msrf_net_has_the_same_gradients():
    torch.manual_seed(0)
    network = randomised(MSRFNet(width=8, growth=4, dropout=0.0).double()).train()
    plain = plain_msrf_net(network)
    image = torch.rand(2, 3, 16, 32, dtype=torch.float64)
    sizes = []
    for one in (network, plain):
        output = torch.cat([logits.flatten() for logits in one(image)])
        output.square().mean().backward()
        # The plain form keeps its parameters under other names and in another order.
        sizes.append(sorted(float(parameter.grad.norm()) for parameter in one.parameters()))
    assert sizes[0] == pytest.approx(sizes[1], rel=1e-6, abs=1e-12)
    assert sizes[0][-1] > 1e-3


def test_the_plain_copy_shares_no_weight():
    network = MSRFNet(width=8, growth=4)
    plain = plain_msrf_net(network)
    ours = {parameter.data_ptr() for parameter in network.parameters()}
    assert not ours & {parameter.data_ptr() for parameter in plain.parameters()}


def test_the_gradient_by_convolution_is_the_gradient_by_shifts():
    image = torch.rand(2, 3, 20, 33, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(plain_image_gradient(image), image_gradient(image), rtol=1e-12, atol=1e-14)
    assert plain_image_gradient(torch.full((1, 3, 8, 8), 0.4)).abs().max() < 1e-2


def test_explicit_attention_has_the_same_gradients():
    torch.manual_seed(0)
    network = randomised(HiFuse(num_classes=3, embed_dim=16).double()).train()
    plain = with_explicit_attention(network)
    image = torch.rand(2, 3, 70, 64, dtype=torch.float64)
    found = {}
    for key, one in (("ours", network), ("plain", plain)):
        one(image).square().sum().backward()
        found[key] = {name: parameter.grad for name, parameter in one.named_parameters()}
    assert found["ours"].keys() == found["plain"].keys()
    for name, gradient in found["ours"].items():
        torch.testing.assert_close(found["plain"][name], gradient, rtol=1e-7, atol=1e-11, msg=name)
