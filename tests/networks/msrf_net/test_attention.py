"""The attention gate against its formula."""

import torch
import torch.nn.functional as F

from scalefuse.networks.msrf_net.attention import AttentionGate


def test_the_gate_is_that_of_the_attention_u_net():
    torch.manual_seed(0)
    gate = AttentionGate(6, 10, 5).eval()
    skip, coarse = torch.randn(2, 6, 8, 12), torch.randn(2, 10, 4, 6)
    compared = F.conv2d(skip, gate.theta.weight, gate.theta.bias, stride=2)
    compared = compared + F.conv2d(coarse, gate.phi.weight, gate.phi.bias)
    weights = 1 / (1 + torch.exp(-F.conv2d(compared.clamp(min=0), gate.psi.weight, gate.psi.bias)))
    enlarged = F.conv_transpose2d(weights, gate.upsample.weight, gate.upsample.bias, stride=2)
    # A fresh normalisation has the mean 0 and the variance 1.
    torch.testing.assert_close(gate(skip, coarse), skip * enlarged, rtol=1e-4, atol=1e-5)
