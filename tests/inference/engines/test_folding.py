import pytest
import torch
from torch import nn

from scalefuse.inference.engines.folding import FOLDED, folded


@pytest.mark.parametrize("name", ["msrf_net", "hifuse"])
def test_the_folded_network_computes_the_same(name, tiny):
    _, network = tiny(name)
    image = torch.rand(2, 3, 64, 96)
    with torch.inference_mode():
        expected, found = network(image), folded(network)(image)
    expected, found = (getattr(output, "mask", output) for output in (expected, found))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["msrf_net", "hifuse"])
def test_norms_go_and_the_original_keeps_them(name, tiny):
    def norms(module):
        return sum(isinstance(one, nn.BatchNorm2d) for one in module.modules())

    _, network = tiny(name)
    before = norms(network)
    expected = sum(len(FOLDED.get(type(module), ())) for module in network.modules())
    assert expected > 10
    assert before - norms(folded(network)) == expected
    assert norms(network) == before
