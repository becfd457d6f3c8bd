"""What every training run configures, whatever its task."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from scalefuse.errors import ConfigError
from scalefuse.schema import Schema

DataPath = Path
"""A path that may hold ``~`` and environment variables; relative ones start at the working directory.

It stays as written in the configuration, so that a bundle names no folder of the machine that trained it;
:func:`expand_path` says which folder is meant.
"""


def expand_path(path: Path) -> Path:
    """Fill in ``~`` and ``$NAME`` or ``${NAME}``.

    Raises:
        ConfigError: The environment variable is not set, or there is no such user.

    Example:
        >>> expand_path(Path("data/CT")).as_posix()
        'data/CT'
    """
    text = os.path.expandvars(str(path))
    unset = re.search(r"\$\{?(\w+)\}?", text)
    if unset:
        raise ConfigError(
            f"The environment variable {unset[1]} in {str(path)!r} is not set; set it to a folder, or name "
            "other folders in the configuration or with --set."
        )
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{str(path)!r} names the folder of a user who is not known here.") from error


RunName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
"""A name that can be a folder's: letters, digits, dots, dashes and underscores."""


class OptimizerConfig(Schema):
    """Optimiser and learning-rate schedule.

    Attributes:
        name: ``adam`` or ``adamw``.
        learning_rate: Peak learning rate.
        weight_decay: Decoupled for ``adamw``; added to the gradient for ``adam``.
        schedule: ``constant``, or ``cosine`` down to ``final_fraction`` of the peak, step by step.
        warmup_fraction: Part of all steps over which the rate rises linearly from 0.
        final_fraction: Last learning rate over the peak, for ``cosine``.
    """

    name: Literal["adam", "adamw"] = "adamw"
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1e-4
    schedule: Literal["constant", "cosine"] = "cosine"
    warmup_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.03
    final_fraction: Annotated[float, Field(ge=0, le=1)] = 0.01


class TrainingConfig(Schema):
    """Length, precision and bookkeeping of a training run.

    Attributes:
        epochs: Passes over the training data, or over ``samples_per_epoch`` drawn from it.
        samples_per_epoch: Samples that count as an epoch; all training cases once where None.
        batch_size: Samples per step.
        precision: ``fp32``, ``bf16`` (mixed), or ``auto``: bf16 where the machine computes faster in it.
        gradient_clip: Largest gradient norm, or None.
        ema_decay: Decay per step of the moving average of the weights that is validated and kept, or None.
            The first steps decay faster, so that short trainings do not keep their random start.
        early_stop_patience: Validations without a new best before training stops, or None.
        validate_every: Epochs between validations; after the last epoch there always is one.
        workers: Processes that prepare data beside the training; 0 prepares in the training process.
        threads: Processor threads for the network, or None for all.
        seed: Fixes initial weights, data order and augmentation.
    """

    epochs: Annotated[int, Field(ge=1)] = 50
    samples_per_epoch: Annotated[int, Field(ge=1)] | None = None
    batch_size: Annotated[int, Field(ge=1)] = 4
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    gradient_clip: Annotated[float, Field(gt=0)] | None = 1.0
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = 0.995
    early_stop_patience: Annotated[int, Field(ge=1)] | None = None
    validate_every: Annotated[int, Field(ge=1)] = 1
    workers: Annotated[int, Field(ge=0)] = 0
    threads: Annotated[int, Field(ge=1)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0


class RunBase(Schema):
    """What the configurations of all tasks share.

    Attributes:
        name: Name of the model; also of its folder under ``runs``.
        output: Folder of the run; ``runs/<name>`` where None.
        init: Weights to start from: a bundle (a shipped name, a folder or a zip) or a run's ``.ckpt`` file;
            None starts from random ones.
        half: Store the bundle's weights in half precision: half the size, and differences below 0.1 %.
        description: One line on the training data, for the model card.
        licence: Terms of the training data, for the model card.
        optimizer: Optimiser and schedule.
        training: Length, precision and bookkeeping.
    """

    name: RunName
    output: Path | None = None
    init: str | None = None
    half: bool = False
    description: str = "not described"
    licence: str = "not stated"
    optimizer: OptimizerConfig = OptimizerConfig()
    training: TrainingConfig = TrainingConfig()

    @property
    def run_folder(self) -> Path:
        """Where checkpoints, logs and the bundle go."""
        return expand_path(self.output) if self.output else Path("runs") / self.name
