"""The classification training step."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from scalefuse.catalog import NETWORKS
from scalefuse.config.classification import ClassificationRun
from scalefuse.data.batch_mixing import mix_batch
from scalefuse.training.callbacks import diverged
from scalefuse.training.classification_loss import WeightedLoss
from scalefuse.training.classification_measures import LOWER_IS_BETTER, classification_measures
from scalefuse.training.optimisation import make_layerwise_optimizer


class ClassificationTask(pl.LightningModule):
    """Training of a classifier; every validation computes :func:`classification_measures` of all its images.

    Args:
        network: From images ``(N, C, H, W)`` to logits ``(N, K)``.
        config: The run, with its classes.
        num_steps: Optimiser steps of the whole run, for the schedule.
        loss: What is minimised.
    """

    def __init__(
        self, network: nn.Module, config: ClassificationRun, num_steps: int, loss: WeightedLoss
    ) -> None:
        super().__init__()
        # NCHW: channels last was no faster for HiFuse here, unlike for MSRF-Net.
        self.network: Any = network
        self.run = config
        self.num_steps = num_steps
        self.loss = loss
        self.monitor = f"val/{config.training.monitor}"
        self.mode = "min" if config.training.monitor in LOWER_IS_BETTER else "max"
        self._seen: list[tuple[Tensor, Tensor]] = []

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """One optimiser step."""
        if self.run.mix is not None:
            # From seed, epoch and batch alone, so that a resumed run mixes as an undisturbed one.
            seed = (self.run.training.seed * 1_000_003 + self.current_epoch) * 1_000_003 + batch_idx
            generator = torch.Generator().manual_seed(seed % 2**63)
            batch = mix_batch(batch, self.run.mix, generator, num_classes=self.run.network.num_classes)
        loss: Tensor = self.loss(self.network(batch["image"]), batch["target"], batch["weight"])
        self.log("train/loss", loss.detach(), on_step=False, on_epoch=True, batch_size=len(batch["image"]))
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Keep the logits for the end of the epoch."""
        self._seen.append((self.network(batch["image"]).float(), batch["target"]))

    def on_validation_epoch_end(self) -> None:
        """Measures of all validation images at once."""
        logits, targets = (torch.cat(parts) for parts in zip(*self._seen, strict=True))
        self._seen.clear()
        if not bool(torch.isfinite(logits).all()):
            raise diverged(self.current_epoch)
        measures = classification_measures(
            logits, targets, multi_label=self.loss.multi_label, positive=self.run.positive
        )
        self.log_dict({f"val/{name}": value for name, value in measures.items()})

    def configure_optimizers(self) -> Any:
        """Optimiser and schedule of the config."""
        layers = NETWORKS[self.run.network.name].layers
        return make_layerwise_optimizer(self.network, layers, self.run.optimizer, self.num_steps)
