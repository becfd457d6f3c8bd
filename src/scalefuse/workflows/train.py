"""Train a network from a run configuration and write it as a bundle."""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scalefuse.config import ClassificationRun, FusionRun, config_yaml, load_config
from scalefuse.config.base import expand_path
from scalefuse.config.loading import AnyRun
from scalefuse.data.atomic import atomic_write, check_writable_folder
from scalefuse.errors import BundleError, ConfigError, InputError, OutputError
from scalefuse.workflows.out_of_memory import is_out_of_memory
from scalefuse.workflows.run_images import CHECK_PAGE, CONTENTS, IMAGES, keep_images
from scalefuse.workflows.run_lock import LOCK, sole_training

if TYPE_CHECKING:
    from scalefuse.training.fit import Progress

CONFIG, BUNDLE = "config.yaml", "bundle"

_PLACES = {"folder", "source", "images", "groups_csv"}


@dataclass(frozen=True)
class TrainResult:
    """What a training run left.

    Attributes:
        run_folder: Checkpoints, logs, configuration.
        bundle: The trained model.
        metrics: Measured on the validation data with the weights of the bundle.
    """

    run_folder: Path
    bundle: Path
    metrics: dict[str, float]


def resume_config(run_folder: Path) -> AnyRun:
    """The configuration that a run folder was trained with.

    Raises:
        BundleError: The folder holds no run.
    """
    path = run_folder / CONFIG
    if not path.is_file():
        raise BundleError(f"{run_folder}: no {CONFIG} there, so no run to resume; give the run's folder.")
    return load_config(path)


def train(
    config: AnyRun,
    *,
    resume: bool = False,
    report: Callable[[Progress], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> TrainResult:
    """Train.

    Args:
        config: The run.
        resume: Continue from the run folder's last checkpoint; the images must be the same, and so must the
            configuration but for the number of epochs, early stopping, precision, the use of the processor,
            and what concerns the bundle alone (``tta``, ``half``, names and texts), which a finished run
            writes anew. Images and masks, or labels, may have moved elsewhere.
            A run that was killed before it finished an epoch starts again, also without this.
        report: Called after every batch and epoch.
        say: Called with lines about the data, and on how the training ended.

    Raises:
        ConfigError: No training data are named, or ``resume`` with another configuration.
        BundleError: ``init`` is not there or does not fit; ``resume`` without a run.
        OutputError: The run folder holds another run, or another process trains there.
        TrainingInterrupted: Ctrl-C; the run can be resumed.
    """
    if config.init is not None:
        config = config.model_copy(update={"init": str(expand_path(Path(config.init)))})
    if resume:
        _check_places(config)
    if isinstance(config, ClassificationRun):
        from scalefuse.workflows.train_classification import resolve_classes

        config = resolve_classes(config)
    folder = config.run_folder
    quoted = shlex.quote(str(folder))
    text = config_yaml(config)
    kept = folder / CONFIG
    say = say or (lambda line: None)
    # Killed before an epoch was finished: there is nothing to go on with, and nothing to lose.
    best, last = (folder / "checkpoints" / name for name in ("best.ckpt", "last.ckpt"))
    unfinished = kept.is_file() and not any(path.exists() for path in (folder / BUNDLE, last))
    if kept.is_file() and not resume and not (unfinished and kept.read_text(encoding="utf-8") == text):
        what = "a run of another configuration" if unfinished else "a run already"
        advice = "delete the folder" if unfinished else f"go on with it (--resume {quoted})"
        raise OutputError(f"{folder}: holds {what}; {advice}, or choose another (-o).")
    if not kept.is_file() and not resume and any(folder.glob(f"fold*/{CONFIG}")):
        raise OutputError(
            f"{folder}: holds a cross-validation; go on with it (--resume {quoted}), or choose another (-o)."
        )
    if resume:
        if not kept.is_file():
            raise BundleError(f"{folder}: no {CONFIG} there, so no run to resume; give the run's folder.")
        _check_same(config, load_config(kept), may_move=(folder / CONTENTS).is_file())
        if not unfinished:
            _check_epochs(config, last)
    elif config.init is not None:
        # Before the data are checked, which may take long.
        _check_init(config.init, config.task)
    is_new = not folder.exists()
    check_writable_folder(folder)
    try:
        with sole_training(folder):
            if unfinished:
                say("no epoch of this run was finished; it starts again")
                best.unlink(missing_ok=True)
            before = kept.read_text(encoding="utf-8") if resume else None
            _write_text(kept, text)
            try:
                begun = resume or unfinished
                return _train(
                    config, folder, resume=resume and not unfinished, report=report, say=say, begun=begun
                )
            except (ConfigError, InputError):
                if before is not None:
                    # Refused: what the run was begun with is not forgotten.
                    _write_text(kept, before)
                raise
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                raise ConfigError(
                    "The training ran out of memory. Lower training.batch_size, data.size or the network's "
                    "width, in another folder (-o)."
                ) from error
    except BaseException:
        if not kept.is_file():
            (folder / LOCK).unlink(missing_ok=True)
        if is_new:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def _write_text(path: Path, text: str) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _train(
    config: AnyRun,
    folder: Path,
    *,
    resume: bool,
    report: Callable[[Progress], None] | None,
    say: Callable[[str], None],
    begun: bool,
) -> TrainResult:
    """Train, and clear up where nothing came of it, unless an earlier command had ``begun`` the run."""
    try:
        if isinstance(config, FusionRun):
            return _train_fusion(config, folder, resume=resume, report=report, say=say)
        if isinstance(config, ClassificationRun):
            from scalefuse.workflows.train_classification import train_classification

            return train_classification(config, folder, resume=resume, report=report, say=say)
        from scalefuse.workflows.train_segmentation import train_segmentation

        return train_segmentation(config, folder, resume=resume, report=report, say=say)
    except BaseException as error:
        if not has_checkpoint(folder) and not begun:
            # Nothing was trained: leave no folder that looks like a run, nor the page of a check, unless that
            # is what the error is about.
            page = [] if CHECK_PAGE in str(error) else [CHECK_PAGE]
            for name in (CONFIG, IMAGES, CONTENTS, "metrics.csv", *page):
                (folder / name).unlink(missing_ok=True)
            for name in ("checkpoints", "tensorboard"):
                shutil.rmtree(folder / name, ignore_errors=True)
        raise


def _check_init(source: str, task: str) -> None:
    """Refuse weights to start from that are not there, are damaged, or of another task."""
    from scalefuse.bundle import load_bundle

    if not source.endswith(".ckpt"):
        found = load_bundle(source).info.task
        if found != task:
            raise BundleError(f"{source}: is a {found} model, but a {task} one is needed to start from.")
    elif not Path(source).is_file():
        raise BundleError(
            f"{source}: no such checkpoint; give a run's .ckpt file or a bundle, or leave init out."
        )


def has_checkpoint(folder: Path) -> bool:
    """Whether a run can go on."""
    return (folder / "checkpoints" / "last.ckpt").is_file()


def _check_places(config: AnyRun) -> None:
    """Refuse to go on where the data are gone, with the setting that names their new place."""
    if isinstance(config, FusionRun):
        return
    for name in sorted(_PLACES & config.data.model_fields_set):
        path = getattr(config.data, name)
        if path is not None and not (place := expand_path(path)).exists():
            start = "" if place.is_absolute() else f" in the working directory {Path.cwd()}"
            raise ConfigError(
                f"{path}: not there{start}, but the run to resume has it as data.{name}; if the data moved, "
                f"say where to: --set data.{name}=…"
            )


def _check_same(new: AnyRun, old: AnyRun, *, may_move: bool = True) -> None:
    """Refuse what would be neither the old run nor a new one; the length and the labels may change.

    Where the data lie may change too, if ``may_move``: that they are the same is seen from their contents.
    """
    free = {"epochs", "early_stop_patience", "validate_every", "precision", "workers", "threads"}
    sections = ("task", "network", "decoded_strategy", "data", "loss", "augmentation", "mix", "optimizer")
    beginnings = [
        {"init": run.init and str(Path(run.init)), "new_head": getattr(run, "new_head", False)}
        for run in (old, new)
    ]
    for name, begun in beginnings[0].items():
        given = beginnings[1][name]
        if begun != given:
            raise ConfigError(
                f"The run to resume began with {name} {json.dumps(begun)}, but got {json.dumps(given)}; "
                "leave the setting out, or start a new run in another folder."
            )
    for name in (*sections, "training"):
        before, after = getattr(old, name, None), getattr(new, name, None)
        if name == "training":
            before, after = old.training.model_dump(exclude=free), new.training.model_dump(exclude=free)
        if name == "data" and may_move and not isinstance(old, FusionRun) and old.task == new.task:
            before, after = old.data.model_dump(exclude=_PLACES), new.data.model_dump(exclude=_PLACES)
        if before != after:
            raise ConfigError(
                f"The run to resume was trained with another `{name}` section; resume with its own "
                f"configuration, or start a new run in another folder."
            )


def _check_epochs(config: AnyRun, checkpoint: Path) -> None:
    """Refuse fewer epochs than are done: the weights and the log of a run are those of all of them."""
    if not checkpoint.is_file():
        return
    from scalefuse.training.fit import finished_epochs

    done = finished_epochs(checkpoint)
    if config.training.epochs < done:
        raise ConfigError(
            f"{checkpoint.parent.parent}: {done} epochs are done, but training.epochs is "
            f"{config.training.epochs}; leave it out, or give {done} to have the bundle made anew."
        )


def _train_fusion(
    config: FusionRun,
    folder: Path,
    *,
    resume: bool,
    report: Callable[[Progress], None] | None,
    say: Callable[[str], None],
) -> TrainResult:
    if not config.data.train:
        raise ConfigError(
            "No training data: name paired folders under data.train, for instance "
            "--set 'data.train=[{a: CT, b: MRI}]'."
        )
    import torch
    from torch.utils.data import DataLoader

    from scalefuse.bundle import BundleInfo, TrainingData, save_bundle
    from scalefuse.catalog import NETWORKS
    from scalefuse.data.sampling import EpochSampler, EvenBatches
    from scalefuse.networks.half_precision import round_to_half
    from scalefuse.report.model_card import model_card
    from scalefuse.training.fit import fit, load_best
    from scalefuse.training.fusion_data import PairDataset, check_sizes, read_pairs, split_pairs
    from scalefuse.training.fusion_task import FusionTask
    from scalefuse.training.initial_weights import load_initial

    training = config.training
    cases, fingerprint = read_pairs(config.data.train, config.data.exclude, say=say)
    if config.data.val:
        val_cases, _ = read_pairs(config.data.val, say=say)
    else:
        cases, val_cases = split_pairs(cases, config.data, training.seed)
    if config.loss.fusion is not None:
        check_sizes([*cases, *val_cases])
    parts = (("train", cases), ("val", val_cases))
    pairs = [{"name": f"{case.source}/{case.name}", "split": split} for split, part in parts for case in part]
    keep_images(folder, pairs, fingerprint, resume=resume)
    say(f"{len(cases)} training and {len(val_cases)} validation pairs")
    torch.manual_seed(training.seed)
    network = NETWORKS[config.network.name].build(config.network)
    load_initial(network, None if resume else config.init)
    sampler = EpochSampler(
        [case.source for case in cases],
        seed=training.seed,
        balance=config.data.balance,
        num_samples=training.samples_per_epoch,
    )
    loader = DataLoader(
        PairDataset(cases, config.data, training.seed),
        batch_sampler=EvenBatches(sampler, training.batch_size),
        num_workers=training.workers,
    )
    val_loader = DataLoader(PairDataset(val_cases), batch_size=1) if val_cases else None
    task = FusionTask(network, config, num_steps=training.epochs * len(loader))
    best = fit(
        task,
        loader,
        val_loader,
        training,
        folder,
        monitor=task.monitor,
        mode=task.mode,
        resume=resume,
        report=report,
        say=say,
    )
    load_best(task, best)
    network.eval()
    if config.half:
        round_to_half(network)
    metrics = _measure(network, config.strategy, val_cases)
    info = BundleInfo(
        name=config.name,
        task="fusion",
        network=config.network,
        preprocessing={"value_range": [0.0, 1.0], "colour": "luma of BT.601 full range"},
        strategy=config.strategy,
        training_data=TrainingData(
            description=config.description,
            licence=config.licence,
            num_cases=len(cases),
            fingerprint=fingerprint,
        ),
        metrics=dict(metrics),
        config=config.model_dump(mode="json"),
    )
    card = model_card(info, origin="trained by `scalefuse train`; the configuration lies in bundle.json.")
    bundle = save_bundle(folder / BUNDLE, info, network.state_dict(), card, half=config.half)
    return TrainResult(folder, bundle, metrics)


def _measure(network: object, strategy: str, cases: list) -> dict[str, float]:  # type: ignore[type-arg]
    """Means over the validation pairs of the measures that a fusion is judged by."""
    import numpy as np

    from scalefuse.evaluation.fusion import FusionCase, evaluate_fusion, luma_8bit
    from scalefuse.inference.fuser import Fuser

    if not cases:
        return {}
    fuser = Fuser(network, strategy=strategy)  # type: ignore[arg-type]
    measured = evaluate_fusion(
        (
            FusionCase(
                case.name, luma_8bit(case.a), luma_8bit(case.b), {"model": luma_8bit(fuser(case.a, case.b))}
            )
            for case in cases
        ),
        ("VIF", "Qabf", "SSIM", "SCD"),
    )
    return {f"val/{name}": float(np.nanmean(measured.values("model", name))) for name in measured.metrics}
