"""Optimiser and learning-rate schedule from their configuration."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn

from scalefuse.config.base import OptimizerConfig
from scalefuse.config.classification import LayerwiseOptimizer
from scalefuse.errors import ConfigError


def learning_rate_factor(config: OptimizerConfig, num_steps: int) -> Callable[[int], float]:
    """Learning rate over its peak as a function of the step.

    Args:
        config: Schedule.
        num_steps: Steps of the whole run.

    Example:
        >>> factor = learning_rate_factor(OptimizerConfig(warmup_fraction=0.1, final_fraction=0.0), 100)
        >>> [round(factor(step), 3) for step in (0, 9, 55, 99)]
        [0.1, 1.0, 0.491, 0.0]
    """
    warmup = round(config.warmup_fraction * num_steps)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        if config.schedule == "constant":
            return 1.0
        progress = min(1.0, (step - warmup) / max(1, num_steps - 1 - warmup))
        final = config.final_fraction
        return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))

    return factor


def make_optimizer(
    parameters: Iterable[nn.Parameter], config: OptimizerConfig, num_steps: int
) -> dict[str, Any]:
    """Optimiser and step-wise schedule in the form that Lightning takes.

    Weight decay spares vectors (biases, norms), as is usual with ``adamw``.
    """
    parameters = [parameter for parameter in parameters if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return _with_schedule(groups, config, num_steps)


def make_layerwise_optimizer(
    network: nn.Module, layers: Sequence[Sequence[str]], config: LayerwiseOptimizer, num_steps: int
) -> dict[str, Any]:
    """As :func:`make_optimizer`, with a learning rate that grows from the input to the output.

    Args:
        network: Whose parameters are trained.
        layers: Beginnings of its parameters' names, a group for each layer from the input to the output.
        config: Optimiser, schedule, and what differs between layers.
        num_steps: Steps of the whole run.

    Raises:
        ConfigError: The learning rate shall differ by depth, and the layers do not cover the network.

    Example:
        >>> config = LayerwiseOptimizer(learning_rate=0.1, layer_decay=0.5, warmup_fraction=0)
        >>> network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        >>> made = make_layerwise_optimizer(network, [["0."], ["1."]], config, 10)
        >>> [(group["lr"], group["weight_decay"]) for group in made["optimizer"].param_groups]
        [(0.05, 0.0001), (0.05, 0.0), (0.1, 0.0001), (0.1, 0.0)]
    """
    if config.layer_decay == 1.0:
        layers = [[""]]
    groups = []
    grouped = 0
    for height, beginnings in enumerate(reversed(layers)):
        parameters = [
            parameter
            for name, parameter in network.named_parameters()
            if parameter.requires_grad and name.startswith(tuple(beginnings))
        ]
        rate = config.learning_rate * config.layer_decay**height
        vectors_decay = config.weight_decay if config.decay_vectors else 0.0
        members = ([p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim <= 1])
        for vectors, decay in zip(reversed(members), (vectors_decay, config.weight_decay), strict=True):
            groups.append({"params": vectors, "weight_decay": decay, "lr": rate})
        grouped += len(parameters)
    if grouped != sum(parameter.requires_grad for parameter in network.parameters()):
        raise ConfigError(
            "optimizer.layer_decay needs to know which layer each parameter belongs to, and this network "
            "does not say it of every one; set optimizer.layer_decay to 1."
        )
    return _with_schedule(groups[::-1], config, num_steps)


def _with_schedule(groups: list[dict[str, Any]], config: OptimizerConfig, num_steps: int) -> dict[str, Any]:
    kind = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    # All of a weight's update in one pass over memory; one for each operation took 12 % of HiFuse's step.
    optimizer = kind(groups, lr=config.learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, learning_rate_factor(config, num_steps))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
