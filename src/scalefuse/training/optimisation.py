"""Optimiser and learning-rate schedule from their configuration."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from scalefuse.config.base import OptimizerConfig


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
    kind = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    optimizer = kind(groups, lr=config.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, learning_rate_factor(config, num_steps))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
