"""The baseline computes what MONAI's ResNet computes, and says what it cannot take."""

import pytest
import torch

from scalefuse.errors import InputError
from scalefuse.networks.resnet import ResNet18Config
from scalefuse.networks.resnet.spec import build


@pytest.mark.parametrize("small_stem", [False, True])
def test_logits_are_monais_own(small_stem):
    torch.manual_seed(0)
    network = build(ResNet18Config(width=8, num_classes=5, small_stem=small_stem)).eval()
    image = torch.rand(2, 3, 47, 64)
    with torch.no_grad():
        torch.testing.assert_close(network(image), network.body(image), rtol=0, atol=0)


def test_the_paper_counts_1_8_billion_products():
    from scalefuse.workflows.networks import describe

    sizes = {part.name: part for part in describe("resnet18", num_classes=1000)}
    assert sizes["total"].parameters == 11_689_512
    assert sizes["total"].macs == pytest.approx(1.8e9, rel=0.02)


def test_the_small_stem_keeps_resolution():
    network = build(ResNet18Config(width=8, small_stem=True)).eval()
    shapes = [tuple(stage.shape[1:]) for stage in network.forward_features(torch.rand(1, 3, 32, 40))]
    assert shapes == [(8, 32, 40), (16, 16, 20), (32, 8, 10), (64, 4, 5)]


def test_inputs_that_it_cannot_take():
    network = build(ResNet18Config(width=8, in_channels=1))
    with pytest.raises(InputError, match=r"\(N, 1, H, W\)"):
        network(torch.rand(1, 3, 64, 64))
    with pytest.raises(InputError, match="at least 2"):
        network(torch.rand(1, 1, 32, 32))
