"""One training step of each network: plain fp32 against the package in bf16, in both memory formats."""

from __future__ import annotations

import copy
import gc
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks import inputs
from benchmarks.breakdown import breakdown
from benchmarks.ceilings import allow_tf32, bf16_is_native, ceilings, rates
from benchmarks.inference import Sizes, gflop, plain_dilran_gflop
from benchmarks.measuring import Clock, interleaved, paired_ratio, peak_memory, spread
from benchmarks.reference.dilran import PlainDILRAN
from benchmarks.reference.hifuse import with_explicit_attention
from benchmarks.reference.msrf_net import plain_msrf_net
from scalefuse.losses.fusion import gradient_loss
from scalefuse.losses.segmentation import SegmentationLoss
from scalefuse.networks.dilran import DILRAN
from scalefuse.networks.hifuse import HiFuse
from scalefuse.networks.msrf_net import MSRFNet

BATCH = 4
LEARNING_RATE = 1e-4
Loss = Callable[[Any, Tensor], Tensor]


@dataclass(frozen=True)
class Training:
    """What is trained.

    Attributes:
        name: Key in the results.
        title: Heading in the tables.
        network: Freshly initialised.
        plain: The network under the paper's plain formulas, with the same weights.
        loss: Of output and target.
        images: ``(N, C, H, W)``.
        target: What the loss takes beside the output.
        gflop: Of one step: forward, and twice as much backward.
        channels_last: Whether the package trains this network in NHWC.
    """

    name: str
    title: str
    network: nn.Module
    plain: nn.Module
    loss: Loss
    images: Tensor
    target: Tensor
    gflop: float
    channels_last: bool
    plain_gflop: float | None = None

    def operations(self, variant: Variant) -> float:
        """Of one step of a variant, in thousands of millions."""
        return self.plain_gflop if variant.plain and self.plain_gflop is not None else self.gflop


@dataclass(frozen=True)
class Variant:
    """How a network is trained."""

    name: str
    plain: bool
    precision: str
    channels_last: bool


PLAIN = Variant("plain fp32", plain=True, precision="fp32", channels_last=False)


def variants_of(training: Training, device: str = "cpu") -> list[Variant]:
    """The plain network, and the package's in the memory format that it trains this network in."""
    precisions = ["fp32", *(["bf16"] if bf16_is_native(device) else [])]
    return [PLAIN, *(Variant(f"ours {one}", False, one, training.channels_last) for one in precisions)]


def dilran(side: int, batch: int = BATCH, seed: int = 0) -> Training:
    """Auto-encoding with the paper's loss, without the perceptual term, whose weights few people have."""
    torch.manual_seed(seed)
    network = DILRAN()
    pairs = inputs.pairs(max(2, batch // 2), side).tensors
    images = torch.cat([image for pair in pairs for image in pair])[:batch]

    def loss(drawn: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(drawn.float(), target) + 0.2 * gradient_loss(drawn.float(), target)

    operations = 3 * batch * gflop("dilran", (side, side))
    layer_by_layer = 3 * plain_dilran_gflop((side, side), encodings=batch, decodings=batch)
    return Training(
        "dilran",
        f"DILRAN, {side}×{side}, batch {batch}",
        network,
        PlainDILRAN(network),
        loss,
        images,
        images,
        operations,
        channels_last=False,
        plain_gflop=layer_by_layer,
    )


def msrf_net(side: int, batch: int = BATCH, width: int = 32, seed: int = 0) -> Training:
    """The paper's loss on pictures of cells and masks of their bright parts.

    Without dropout: what it drops depends on the memory format, and losses could not be compared.
    """
    torch.manual_seed(seed)
    network = MSRFNet(width=width, growth=width // 2, dropout=0.0)
    images = torch.cat(inputs.cells(batch, side).tensors)
    target = (images.mean(dim=1, keepdim=True) > images.mean()).float()
    losses = SegmentationLoss(mode="binary")
    operations = 3 * batch * gflop("msrf_net", (side, side), width=width, growth=width // 2)
    return Training(
        "msrf_net",
        f"MSRF-Net (width {width}), {side}×{side}, batch {batch}",
        network,
        plain_msrf_net(network),
        lambda output, masks: losses(output, masks)["loss"],
        images,
        target,
        operations,
        True,
    )


def hifuse(side: int, batch: int = BATCH, embed_dim: int = 96, seed: int = 0) -> Training:
    """Cross entropy of two classes."""
    torch.manual_seed(seed)
    network = HiFuse(num_classes=2, embed_dim=embed_dim)
    images = torch.cat(inputs.slices(batch, side).tensors)
    return Training(
        "hifuse",
        f"HiFuse-Tiny (width {embed_dim}), {side}×{side}, batch {batch}",
        network,
        with_explicit_attention(network),
        lambda logits, classes: F.cross_entropy(logits.float(), classes),
        images,
        torch.arange(batch) % 2,
        3 * batch * gflop("hifuse", (side, side), embed_dim=embed_dim),
        False,
    )


def trainings(sizes: Sizes, *, quick: bool = False) -> dict[str, Callable[[], Training]]:
    """Name to what makes the training, so that only one network is held at a time."""
    width = 8 if quick else 32
    return {
        "train_dilran": lambda: dilran(sizes.fusion),
        "train_msrf_net": lambda: msrf_net(sizes.segmentation, width=width),
        # Eight pictures: at four, updating 55 million weights would be a good part of the step.
        "train_hifuse": lambda: hifuse(sizes.classification, batch=2 * BATCH, embed_dim=sizes.embed_dim),
    }


def make_trainer(
    training: Training, variant: Variant, device: str = "cpu"
) -> Callable[[Tensor, Tensor], float]:
    """A training step on images and target, with its own copy of the weights; returns the loss."""
    layout = torch.channels_last if variant.channels_last else torch.contiguous_format
    network: Any = copy.deepcopy(training.plain if variant.plain else training.network)
    network = network.train().to(device=device, memory_format=layout)
    # The package updates a weight in one pass; plain PyTorch takes one for each operation.
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=LEARNING_RATE, fused=None if variant.plain else True
    )
    half = variant.precision == "bf16"

    def step(images: Tensor, target: Tensor) -> float:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16) if half else nullcontext():
            output = network(images.contiguous(memory_format=layout))
            loss = training.loss(output, target)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


def make_step(training: Training, variant: Variant, device: str = "cpu") -> Callable[[], float]:
    """A step that always takes the same batch."""
    step = make_trainer(training, variant, device)
    images, target = training.images.to(device), training.target.to(device)
    return lambda: step(images, target)


def compare_steps(
    training: Training, clock: Clock, seconds: float, *, quick: bool = False, device: str = "cpu"
) -> dict[str, Any]:
    """Time all variants in turn beside the ceilings; the first losses must agree.

    Returns:
        As :func:`benchmarks.compare.compare`.
    """
    variants = variants_of(training, device)
    allow_tf32(False)
    rows: list[dict[str, Any]] = []
    steps: dict[str, Callable[[], float]] = {}
    first_losses: dict[str, float] = {}
    slow = False
    for variant in variants:
        clock.say(f"{training.title}: {variant.name}")
        started = time.perf_counter()
        with peak_memory() as peak:
            steps[variant.name] = make_step(training, variant, device)
            torch.manual_seed(0)
            first_losses[variant.name] = steps[variant.name]()
        slow = slow or time.perf_counter() - started > 10
        rows.append(
            {
                "path": variant.name,
                "precision": variant.precision,
                "gflop": training.operations(variant),
                "memory_gib": peak.gib,
            }
        )
    measured = [one for one in ceilings(quick=quick, device=device) if one.precision != "tf32"]
    times = interleaved(
        {**steps, **{one.name: one.run for one in measured}},
        seconds=seconds,
        # One turn of a large network takes most of a minute.
        at_least=1 if quick else 2 if slow else 3,
        at_most=1 if quick else 10,
    )
    best = rates(measured, times)
    for row in rows:
        of_row = times[row["path"]]
        row |= {"seconds": of_row, **spread(of_row), "speed_up": paired_ratio(times[PLAIN.name], of_row)}
        row["images_per_second"] = len(training.images) / row["median"]
        row["gflops"] = row["gflop"] / row["median"]
        row["share"] = row["gflops"] / max(best[row["precision"]].values())
        difference = abs(first_losses[row["path"]] - first_losses[PLAIN.name])
        row["agreement"] = {"first_loss_difference": difference / abs(first_losses[PLAIN.name])}
        if device == "cpu":
            row["breakdown"] = breakdown(steps[row["path"]])
    steps.clear()
    gc.collect()
    return {
        "name": f"train_{training.name}",
        "title": f"Training step: {training.title}, {'NHWC' if training.channels_last else 'NCHW'}",
        "images": len(training.images),
        "checked_on": "the loss of the first step",
        "reference": PLAIN.name,
        "turns": len(times[PLAIN.name]),
        "ceilings": best,
        "rows": rows,
    }
