"""Fitting: the trainer, its checkpoints and logs, stopping and resuming."""

from __future__ import annotations

import csv
import io
import logging
import pickle
import signal
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, WeightAveraging
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch.utils.data import DataLoader

from scalefuse.config.base import TrainingConfig
from scalefuse.data.atomic import atomic_write
from scalefuse.errors import BundleError
from scalefuse.inference.engines.hardware import read_machine
from scalefuse.training.callbacks import (
    BatchSeed,
    Checkpoints,
    ClipGradients,
    ComputedIn,
    Divergence,
    LastValidation,
    PatientStopping,
    moving_average,
)

CHECKPOINTS, METRICS = "checkpoints", "metrics.csv"
LAST, BEST = "last.ckpt", "best.ckpt"


class TrainingInterrupted(Exception):
    """Training was stopped by Ctrl-C; the finished epochs are in the run folder's last checkpoint."""


@dataclass(frozen=True)
class Progress:
    """Where a training run stands.

    Attributes:
        epoch: Current epoch, from 1.
        num_epochs: Epochs of the whole run.
        batch: Finished batches of the epoch.
        num_batches: Batches of an epoch.
        values: Latest logged values by name; at the end of an epoch none that an earlier one validated.
        epoch_ended: Whether this reports the end of an epoch, validation included.
    """

    epoch: int
    num_epochs: int
    batch: int
    num_batches: int
    values: dict[str, float]
    epoch_ended: bool


class _AtomicCheckpoints(TorchCheckpointIO):
    """Checkpoints that are complete or not there; a full disk is named."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()
        torch.save(checkpoint, content)
        with atomic_write(path) as temporary:
            temporary.write_bytes(content.getbuffer())


class _Reporter(Callback):
    """Reports progress; of an ended epoch when it lies in the checkpoint and in the logs."""

    def __init__(self, report: Callable[[Progress], None]) -> None:
        self.report = report
        self.validated = -1
        self.ended: Progress | None = None

    def _progress(self, trainer: pl.Trainer, batch: int, *, ended: bool) -> Progress:
        stale = ended and self.validated != trainer.current_epoch
        values = {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if not (stale and name.startswith("val/"))
        }
        return Progress(
            epoch=trainer.current_epoch + 1,
            num_epochs=trainer.max_epochs or 0,
            batch=batch,
            num_batches=int(trainer.num_training_batches),
            values=values,
            epoch_ended=ended,
        )

    def _send_ended(self) -> None:
        ended, self.ended = self.ended, None
        if ended is not None:
            self.report(ended)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.validated = trainer.current_epoch

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        done = trainer.fit_loop.epoch_loop.batch_progress.current.completed
        self.report(self._progress(trainer, done, ended=False))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Checkpoints and logs are written after this.
        self.ended = self._progress(trainer, int(trainer.num_training_batches), ended=True)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._send_ended()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._send_ended()


def resolve_precision(choice: str) -> str:
    """``fp32`` or ``bf16``; ``auto`` is bf16 where the GPU computes in it, or the processor does so faster.

    Example:
        >>> resolve_precision("fp32")
        'fp32'
    """
    if choice != "auto":
        return choice
    machine = read_machine()
    return "bf16" if (machine.cuda_bf16 if machine.cuda_devices else machine.fast_bf16) else "fp32"


def fit(
    module: pl.LightningModule,
    train: DataLoader[Any],
    val: DataLoader[Any] | None,
    config: TrainingConfig,
    run_folder: Path,
    *,
    monitor: str,
    mode: str,
    resume: bool = False,
    report: Callable[[Progress], None] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Path:
    """Train a module.

    A checkpoint is written at the end of every epoch. A run resumed from it gives the numbers of an
    undisturbed run: weights, their moving average, optimiser and schedule are in the checkpoint; data order,
    augmentation and dropout are functions of the seed and the epoch.

    Args:
        module: The task.
        train: Training batches.
        val: Validation batches; without them the epoch with the smallest training loss counts as the best.
        config: Length, precision and bookkeeping.
        run_folder: Gets ``checkpoints/``, ``metrics.csv`` and TensorBoard logs.
        monitor: Name of the validated value that says which weights are best.
        mode: ``min`` or ``max``.
        resume: Continue from the run folder's last checkpoint.
        report: Called after every batch and epoch.
        say: Called with a line where the training ended before its last epoch, or had ended already.

    Returns:
        The best checkpoint.

    Raises:
        BundleError: ``resume`` without a checkpoint, or with a damaged one.
        ConfigError: The training diverged.
        TrainingInterrupted: Ctrl-C.
    """
    folder = run_folder / CHECKPOINTS
    last = folder / LAST
    if resume and not last.is_file():
        raise BundleError(
            f"{run_folder}: no checkpoint to resume from ({CHECKPOINTS}/{LAST}); train without --resume."
        )
    finished_epoch = None
    computed_in: str = config.precision
    if resume:
        finished_epoch, waited, begun_in = _progress_of(last)
        if config.early_stop_patience is not None and waited >= config.early_stop_patience:
            say(f"had stopped early after epoch {finished_epoch + 1}; the bundle is made anew")
            return _best_of(folder, say)
        if finished_epoch + 1 >= config.epochs:
            say(f"all {config.epochs} epochs were done already; the bundle is made anew")
        if computed_in == "auto" and begun_in is not None:
            computed_in = begun_in
        # The trainer says it only after workers of the loader have begun to draw.
        for sampler in (train.sampler, getattr(train.batch_sampler, "sampler", None)):
            set_epoch = getattr(sampler, "set_epoch", None)
            if set_epoch is not None:
                set_epoch(finished_epoch + 1)
    if val is None:
        monitor, mode = "train/loss", "min"
    # The best is kept under its own name beside the last; the average's weights are what both hold.
    callbacks: list[Callback] = [
        BatchSeed(config.seed),
        Divergence(),
        LastValidation(),
        Checkpoints(
            folder, filename="best", monitor=monitor, mode=mode, save_top_k=1, enable_version_counter=False
        ),
        Checkpoints(
            folder, filename="last", save_top_k=1, save_on_train_epoch_end=True, enable_version_counter=False
        ),
    ]
    if config.gradient_clip is not None:
        callbacks.append(ClipGradients(config.gradient_clip))
    if config.ema_decay is not None:
        callbacks.append(WeightAveraging(multi_avg_fn=moving_average(config.ema_decay)))
    if config.early_stop_patience is not None:
        # An undefined value is no new best, and no reason to stop before patience is used up.
        patience = config.early_stop_patience
        callbacks.append(PatientStopping(monitor, mode=mode, patience=patience, check_finite=False))
    if report is not None:
        callbacks.append(_Reporter(report))
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    computed_in = resolve_precision(computed_in)
    callbacks.append(ComputedIn(computed_in))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = pl.Trainer(
            accelerator="auto",
            devices=1,
            max_epochs=config.epochs,
            precision="bf16-mixed" if computed_in == "bf16" else "32-true",
            # Without validation the best and the patience are looked at where validations would end.
            check_val_every_n_epoch=1 if val is None else config.validate_every,
            callbacks=callbacks,
            logger=[
                _csv_logger(run_folder, finished_epoch),
                TensorBoardLogger(run_folder, name="tensorboard", version=""),
            ],
            plugins=[_AtomicCheckpoints()],
            num_sanity_val_steps=0,
            enable_progress_bar=False,
            enable_model_summary=False,
            log_every_n_steps=1,
            use_distributed_sampler=False,
        )
        handler = signal.getsignal(signal.SIGINT)
        try:
            trainer.fit(module, train, val, ckpt_path=last if resume else None, weights_only=True)
        except SystemExit as error:
            # Lightning turns Ctrl-C into an exit of its own.
            raise TrainingInterrupted from error
        finally:
            # Lightning takes no signals outside the main thread, where they cannot be set either.
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGINT, handler)
    stopped = any(isinstance(one, PatientStopping) and one.wait_count >= one.patience for one in callbacks)
    if stopped and trainer.current_epoch < config.epochs:
        say(
            f"stopped early after epoch {trainer.current_epoch}: {monitor} was not better for "
            f"{config.early_stop_patience} validation(s)"
        )
    return _best_of(folder, say)


# What torch and missing keys raise where a checkpoint is not what it should be.
_DAMAGED = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
)


def _best_of(folder: Path, say: Callable[[str], None]) -> Path:
    best = folder / BEST
    if best.is_file():
        return best
    say(f"{best} is not there any more; the bundle is made of the last epoch")
    return folder / LAST


def finished_epochs(checkpoint: Path) -> int:
    """How many epochs a run has finished.

    Raises:
        BundleError: The checkpoint is damaged.
    """
    return _progress_of(checkpoint)[0] + 1


def _progress_of(checkpoint: Path) -> tuple[int, int, str | None]:
    """Of a checkpoint: its last epoch, from 0; validations without a new best; the numbers it computed in."""
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
        callbacks = content["callbacks"]
        name = PatientStopping.__name__
        states = (state for key, state in callbacks.items() if key.startswith(name))
        waited = max((int(state["wait_count"]) for state in states), default=0)
        # Checkpoints of before it was kept do not tell.
        return int(content["epoch"]), waited, callbacks.get(ComputedIn.__name__, {}).get("precision")
    except _DAMAGED as error:
        raise BundleError(
            f"{checkpoint}: the checkpoint is damaged and cannot be resumed from; "
            "train anew in another folder."
        ) from error


def _csv_logger(run_folder: Path, finished_epoch: int | None) -> CSVLogger:
    """Logs to ``metrics.csv``; a resumed run keeps the lines of its finished epochs."""
    path = run_folder / METRICS
    lines: list[dict[str, str]] = []
    if finished_epoch is not None and path.is_file():
        with path.open(newline="", encoding="utf-8") as handle:
            lines = [line for line in csv.DictReader(handle) if _is_finished(line, finished_epoch)]
    # Written line by line: a killed run keeps its log.
    logger = CSVLogger(run_folder, name="", version="", flush_logs_every_n_steps=1)
    writer = logger.experiment  # deletes the file that stands there
    if lines:
        with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as handle:
            rows = csv.DictWriter(handle, fieldnames=list(lines[0]))
            rows.writeheader()
            rows.writerows(lines)
        writer.metrics_keys = list(lines[0])
    return logger


def _is_finished(line: dict[str, str], finished_epoch: int) -> bool:
    # A killed run may have left half a line.
    epoch = line.get("epoch") or ""
    return epoch.isdecimal() and int(epoch) <= finished_epoch and None not in line.values()


def load_best(module: pl.LightningModule, checkpoint: Path) -> None:
    """Put the weights of a checkpoint (their moving average, where one was kept) into a module.

    Raises:
        BundleError: The checkpoint is damaged.
    """
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    except _DAMAGED as error:
        raise BundleError(
            f"{checkpoint}: the checkpoint is damaged, so that no bundle can be made of it; delete it to "
            f"take the last epoch instead ({LAST}), or train anew in another folder."
        ) from error
    module.load_state_dict(state)
