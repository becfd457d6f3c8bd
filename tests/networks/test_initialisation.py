import subprocess
import sys

import pytest
import torch

from scalefuse.bundle import Bundle, BundleInfo
from scalefuse.catalog import NETWORKS
from scalefuse.networks.initialisation import without_random_weights


@pytest.mark.parametrize("name", list(NETWORKS))
def test_a_network_with_loaded_weights_is_whole(name, tmp_path):
    """Also what no state holds, such as tables of indices, is what an ordinary construction gives."""
    spec = NETWORKS[name]
    config = spec.config(name=name, **spec.tiny)
    torch.manual_seed(0)
    network = spec.build(config).eval()
    info = BundleInfo(name="tiny", task=spec.task, network=config)
    rebuilt = Bundle(info=info, state=network.state_dict(), card="", source=tmp_path).build_network()
    buffers = dict(rebuilt.named_buffers())
    for key, value in network.named_buffers():
        assert torch.equal(value, buffers[key]), key
    parameters = dict(rebuilt.named_parameters())
    for key, value in network.named_parameters():
        assert torch.equal(value, parameters[key]), key
        assert parameters[key].data_ptr() != value.data_ptr()


def test_only_the_first_weights_are_left_out():
    with without_random_weights():
        assert torch.equal(torch.zeros(3).add_(1), torch.ones(3))
        assert torch.rand(1000).std() > 0.2
    assert torch.zeros(1000).normal_().std() > 0.5


def test_reading_a_model_loads_no_compiler():
    code = (
        "import sys\nfrom scalefuse.bundle import load_bundle\n"
        "load_bundle('msrf-net-nuclei').build_network()\n"
        "print(sorted(set(sys.modules) & {'torch._dynamo', 'torch._inductor', 'sympy'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_truncated_normal_ends_whatever_the_memory_holds():
    weight = torch.nn.Parameter(torch.full((100,), 1e30))
    with without_random_weights():
        torch.nn.init.trunc_normal_(weight, std=0.02)
    assert torch.equal(weight.detach(), torch.zeros(100))
