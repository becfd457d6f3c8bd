"""Optimiser groups: what decays, and how fast each layer learns."""

import copy

import pytest
import torch
from torch import nn

from scalefuse.catalog import NETWORKS
from scalefuse.config.base import OptimizerConfig
from scalefuse.config.classification import LayerwiseOptimizer
from scalefuse.errors import ConfigError
from scalefuse.training.optimisation import make_layerwise_optimizer, make_optimizer

CLASSIFIERS = [name for name, spec in NETWORKS.items() if spec.task == "classification"]


def build(name):
    spec = NETWORKS[name]
    return spec.build(spec.config.model_validate({"name": name, **spec.tiny}))


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_layers_cover_every_parameter_once(name):
    for parameter, _ in build(name).named_parameters():
        places = [layer for layer in NETWORKS[name].layers if parameter.startswith(layer)]
        assert len(places) == 1, parameter


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_the_head_learns_fastest(name):
    network = build(name)
    config = LayerwiseOptimizer(learning_rate=1.0, layer_decay=0.5, warmup_fraction=0)
    groups = make_layerwise_optimizer(network, NETWORKS[name].layers, config, 10)["optimizer"].param_groups
    rate = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert len(rate) == sum(1 for _ in network.parameters())
    head = [p for key, p in network.named_parameters() if key.startswith(NETWORKS[name].layers[-1])]
    first = [p for key, p in network.named_parameters() if key.startswith(NETWORKS[name].layers[0])]
    assert {rate[id(p)] for p in head} == {1.0}
    assert {rate[id(p)] for p in first} == {0.5 ** (len(NETWORKS[name].layers) - 1)}


@pytest.mark.parametrize("decay_vectors", [False, True])
def test_decay_of_biases_and_norms_is_a_choice(decay_vectors):
    network = build("resnet18")
    config = LayerwiseOptimizer(weight_decay=0.1, decay_vectors=decay_vectors)
    groups = make_layerwise_optimizer(network, (), config, 10)["optimizer"].param_groups
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    for name, parameter in network.named_parameters():
        assert decay[id(parameter)] == (0.1 if parameter.ndim > 1 or decay_vectors else 0.0), name


def test_a_network_that_names_no_layers_has_one_rate():
    network = nn.Linear(2, 2)
    with pytest.raises(ConfigError, match="layer_decay to 1"):
        make_layerwise_optimizer(network, (), LayerwiseOptimizer(layer_decay=0.9), 10)
    made = make_layerwise_optimizer(network, (), LayerwiseOptimizer(warmup_fraction=0), 10)
    assert isinstance(made["optimizer"], torch.optim.AdamW)
    assert {group["lr"] for group in made["optimizer"].param_groups} == {1e-3}


def test_steps_are_those_of_plain_adamw():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))
    other = copy.deepcopy(network)
    config = OptimizerConfig(learning_rate=0.01, weight_decay=0.1, warmup_fraction=0, schedule="constant")
    made = make_optimizer(network.parameters(), config, 20)["optimizer"]
    assert made.defaults["fused"]
    matrices, vectors = ([p for p in other.parameters() if (p.ndim > 1) is many] for many in (True, False))
    plain = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
        lr=0.01,
        fused=False,
        foreach=False,
    )
    for _ in range(20):
        x = torch.randn(8, 3)
        for one, optimizer in ((network, made), (other, plain)):
            optimizer.zero_grad()
            one(x).square().sum().backward()
            optimizer.step()
    for ours, theirs in zip(network.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
