"""The fusion training step: auto-encoding as in the paper, and optionally the fused picture itself."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalefuse.config.base import expand_path
from scalefuse.config.fusion import FusionRun
from scalefuse.fusion import STRATEGIES
from scalefuse.losses.fusion import correlations_of_differences, fusion_terms, gradient_loss
from scalefuse.losses.perceptual import PerceptualLoss
from scalefuse.training.optimisation import make_optimizer


class FusionTask(pl.LightningModule):
    """DILRAN's training.

    Args:
        network: A network with ``encode`` and ``decode``.
        config: The run.
        num_steps: Optimiser steps of the whole run, for the schedule.

    Reference:
        arXiv 2212.04661, section 3.3, for the auto-encoding loss. The fusion objective is not from the paper:
        there the decoder never sees joined features in training.
    """

    monitor, mode = "val/loss", "min"

    def __init__(self, network: nn.Module, config: FusionRun, num_steps: int) -> None:
        super().__init__()
        self.network: Any = network
        self.run = config
        self.num_steps = num_steps
        loss = config.loss
        # In a tuple, so that its frozen weights are in no checkpoint and no optimiser.
        weights = loss.perceptual_weights
        self._perceptual = (PerceptualLoss(expand_path(weights)),) if weights else ()

    def compute_loss(self, a: Tensor, b: Tensor, scd_enough: Tensor | None = None) -> dict[str, Tensor]:
        """Loss and its parts; the total is under ``loss``.

        Args:
            a: First images, ``(N, 1, H, W)`` in [0, 1].
            b: Second images, same shape.
            scd_enough: SCD above which more counts for nothing, ``(N,)``; the config's where it is infinite.
        """
        weights = self.run.loss
        images = torch.cat([a, b])
        features = self.network.encode(images)
        joined = features
        if self.run.decoded_strategy is not None:
            f1, f2 = features.chunk(2)
            joined = torch.cat([features, STRATEGIES[self.run.decoded_strategy](f1, f2)])
        drawn = self.network.decode(joined).float()
        rebuilt = drawn[: len(images)]
        parts = {"mse": F.mse_loss(rebuilt, images), "gradient": gradient_loss(rebuilt, images)}
        total = weights.mse * parts["mse"] + weights.gradient * parts["gradient"]
        if self._perceptual and weights.perceptual > 0:
            parts["perceptual"] = self._perceptual[0].to(images.device)(rebuilt, images)
            total = total + weights.perceptual * parts["perceptual"]
        if weights.fusion is not None:
            # As it is written: what overshoots white or black is lost, and must not count as kept.
            fused = drawn[len(images) :].clamp(0, 1)
            terms = fusion_terms(fused, a, b)
            parts |= terms._asdict()
            total = total + weights.fusion.intensity * terms.intensity
            for name in ("ssim", "vif", "qabf"):
                total = total - getattr(weights.fusion, name) * parts[name]
            enough = torch.full_like(fused[:, 0, 0, 0], weights.fusion.scd_enough)
            if scd_enough is not None:
                enough = torch.where(scd_enough.isfinite(), scd_enough, enough)
            counted = torch.minimum(correlations_of_differences(fused, a, b), enough)
            total = total - weights.fusion.scd * counted.mean()
        return {"loss": total, **parts}

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> Tensor:
        """One optimiser step."""
        parts = self.compute_loss(*batch)
        self._log("train", parts, len(batch[0]))
        return parts["loss"]

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> None:
        """Loss and parts on whole validation images."""
        self._log("val", self.compute_loss(*batch), len(batch[0]))

    def _log(self, split: str, parts: dict[str, Tensor], size: int) -> None:
        values = {f"{split}/{name}": value.detach() for name, value in parts.items()}
        self.log_dict(values, on_step=False, on_epoch=True, batch_size=size)

    def configure_optimizers(self) -> Any:
        """Optimiser and schedule of the config."""
        return make_optimizer(self.network.parameters(), self.run.optimizer, self.num_steps)
