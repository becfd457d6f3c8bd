"""Loss over a hundred training steps, bf16 against fp32: same start, same batches, several seeds."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.ceilings import bf16_is_native
from benchmarks.measuring import Clock
from benchmarks.training import BATCH, Training, Variant, dilran, hifuse, make_trainer, msrf_net

STEPS, SEEDS, SIDE, POOL = 100, 3, 64, 32
LAST = 20
FP32 = Variant("plain fp32", plain=True, precision="fp32", channels_last=False)


def loss_curves(
    clock: Clock, *, steps: int = STEPS, seeds: int = SEEDS, side: int = SIDE, small: bool = False
) -> list[dict[str, Any]]:
    """Losses of the plain network in fp32 and of the package's in bf16, as it is trained.

    Args:
        clock: Tells progress.
        steps: Optimiser steps.
        seeds: Runs of each, with other initial weights and another choice of batches.
        side: Height and width of the pictures.
        small: Narrow networks, for tests.

    Returns:
        For each network ``losses``, number type to one list of ``steps`` per seed, and how far the means of
        the last steps are apart, beside the spread between seeds in fp32.
    """
    makers: tuple[Callable[..., Training], ...] = (
        dilran,
        partial(msrf_net, width=8 if small else 16),
        partial(hifuse, embed_dim=16 if small else 48),
    )
    found = []
    for make in makers:
        losses: dict[str, list[list[float]]] = {}
        for seed in range(seeds):
            training = make(side, POOL, seed=seed)
            variants = [FP32]
            if bf16_is_native():
                variants.append(Variant("ours bf16", False, "bf16", training.channels_last))
            for variant in variants:
                clock.say(f"loss curve: {training.name}, {variant.name}, seed {seed}")
                losses.setdefault(variant.name, []).append(_train(training, variant, steps, seed))
        title = training.title.replace(f"batch {POOL}", f"batch {BATCH}")
        found.append({"name": training.name, "title": title, "losses": losses, **_ends(losses)})
        gc.collect()
    return found


def _train(training: Training, variant: Variant, steps: int, seed: int) -> list[float]:
    """Losses of one run; its batches and its dropout depend on the seed alone."""
    generator = torch.Generator().manual_seed(seed)
    step = make_trainer(training, variant)
    losses = []
    for number in range(steps):
        chosen = torch.randperm(len(training.images), generator=generator)[:BATCH]
        torch.manual_seed(seed * 1_000_003 + number)
        losses.append(step(training.images[chosen], training.target[chosen]))
    return losses


def _ends(losses: dict[str, list[list[float]]]) -> dict[str, Any]:
    """Means over the last steps: per seed bf16 minus fp32, and the standard deviation between seeds."""
    last = {name: np.array([run[-LAST:] for run in runs]).mean(axis=1) for name, runs in losses.items()}
    ends: dict[str, Any] = {
        "last_steps": min(LAST, len(losses[FP32.name][0])),
        "fp32_mean": float(last[FP32.name].mean()),
        "fp32_between_seeds": float(last[FP32.name].std(ddof=1)) if len(last[FP32.name]) > 1 else None,
    }
    if "ours bf16" in last:
        difference = last["ours bf16"] - last[FP32.name]
        ends["bf16_minus_fp32"] = float(difference.mean())
        ends["bf16_minus_fp32_largest"] = float(np.abs(difference).max())
    return ends
