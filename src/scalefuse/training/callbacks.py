"""What the trainer does at every step beside the task: seeding, clipping, averaging, stopping."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from torch.optim.swa_utils import get_ema_multi_avg_fn

from scalefuse.errors import ConfigError


class BatchSeed(Callback):
    """Seeds what is random inside the network (dropout, drop path), so that resumed epochs repeat.

    Before every batch: data loaders draw from the same stream at the start of an epoch, and in a resumed run
    at another moment than in an undisturbed one.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seed."""
        torch.manual_seed(((self.seed * 1_000_003 + trainer.current_epoch) * 1_000_003 + batch_idx) % 2**63)


class Divergence(Callback):
    """Ends a training whose loss is no number: every weight is lost from there on."""

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *args: Any
    ) -> None:
        """Look at the loss."""
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        if loss is not None and not bool(torch.isfinite(loss)):
            raise diverged(trainer.current_epoch)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at what was validated, before a checkpoint of it is kept."""
        for name in ("val/loss", "val/VIF"):
            value = trainer.callback_metrics.get(name)
            if value is not None and not bool(torch.isfinite(value)):
                raise diverged(trainer.current_epoch)


class LastValidation(Callback):
    """Validates after the last epoch too, whatever the interval: its weights may be the best."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Have the last epoch validated."""
        if trainer.max_epochs is not None and trainer.current_epoch + 1 >= trainer.max_epochs:
            trainer.check_val_every_n_epoch = 1


def diverged(epoch: int) -> ConfigError:
    """What to say of a training that gave numbers no longer.

    Args:
        epoch: Counted from 0.
    """
    return ConfigError(
        f"The training diverged in epoch {epoch + 1}: the network gives NaN or infinite values. Lower "
        "optimizer.learning_rate, or set training.gradient_clip or training.precision=fp32"
        + (", in another folder (-o); the checkpoints here hold the epochs before." if epoch else ".")
    )


class Checkpoints(ModelCheckpoint):
    """Checkpoints that know their best one also where the run's folder was moved, renamed or copied since."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take what was kept, under where the folder is now."""

        def here(path: str) -> str:
            return str(Path(self.dirpath or "") / Path(path).name) if path else path

        paths = ("best_model_path", "kth_best_model_path", "last_model_path")
        super().load_state_dict(
            {
                **state_dict,
                "dirpath": self.dirpath,
                **{name: here(state_dict.get(name, "")) for name in paths},
                "best_k_models": {here(path): score for path, score in state_dict["best_k_models"].items()},
            }
        )


class ComputedIn(Callback):
    """Keeps the numbers that a training computes in, so that ``auto`` means the same when it is resumed.

    Args:
        precision: ``fp32`` or ``bf16``.
    """

    def __init__(self, precision: str) -> None:
        self.precision = precision

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds of it."""
        return {"precision": self.precision}


class PatientStopping(EarlyStopping):
    """Stops without a new best; a resumed run has the patience that is configured now."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what was counted, not the patience."""
        super().load_state_dict({**state_dict, "patience": self.patience})


class ClipGradients(Callback):
    """Scales the gradients down to a norm.

    Not by the trainer, which refuses to with a fused optimiser in mixed precision: for the sake of loss
    scaling, which float16 needs and bfloat16 does not.
    """

    def __init__(self, norm: float) -> None:
        self.norm = norm

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Clip."""
        torch.nn.utils.clip_grad_norm_(pl_module.parameters(), self.norm)


def moving_average(decay: float) -> Callable[[Any, Any, Any], None]:
    """A moving average of the weights that forgets its random start.

    After n updates the decay is (1 + n) / (10 + n) until that exceeds ``decay``. With ``decay`` from the
    first step on, a short training would end on an average that still holds much of its first weights.

    Args:
        decay: Share of the average that an update keeps, in [0, 1].

    Returns:
        What :class:`torch.optim.swa_utils.AveragedModel` takes as ``multi_avg_fn``.

    Example:
        >>> average = torch.zeros(1)
        >>> moving_average(0.999)([average], [torch.ones(1)], 8)
        >>> average.item()
        0.5
    """

    def update(average: Any, current: Any, num_averaged: Any) -> None:
        count = int(num_averaged)
        reached: Callable[..., None] = get_ema_multi_avg_fn(  # type: ignore[no-untyped-call]
            min(decay, (1 + count) / (10 + count))
        )
        reached(average, current, num_averaged)

    return update
