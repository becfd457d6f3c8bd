"""Train a classifier from a run configuration."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scalefuse.config import ClassificationRun
from scalefuse.config.base import expand_path
from scalefuse.errors import BundleError, ConfigError, InputError
from scalefuse.workflows.run_images import CHECK_PAGE, checksum, few_note, keep_images, validation_origin
from scalefuse.workflows.train import BUNDLE, TrainResult

if TYPE_CHECKING:
    from scalefuse.data.classification import ClassificationCase, ClassificationSet
    from scalefuse.training.fit import Progress


def read_data(config: ClassificationRun, *, strict: bool = True) -> ClassificationSet:
    """The data set that a run names.

    Args:
        config: The run.
        strict: Raise on the first fault in the layout that is not in a test part; otherwise it is noted.

    Raises:
        ConfigError: No source is named.
        InputError: It is no data set.
    """
    from scalefuse.data.classification import read_classification, refuse_problems

    data = config.data
    if data.source is None:
        raise ConfigError(
            "No training data: name a folder with a folder per class, a CSV file or a MedMNIST .npz file, "
            "for instance --set data.source=FOLDER."
        )
    found = read_classification(
        expand_path(data.source),
        classes=data.classes,
        multi_label=data.multi_label,
        columns=data.columns,
        images=data.images and expand_path(data.images),
        groups_csv=data.groups_csv and expand_path(data.groups_csv),
        group_column=data.group_column,
        strict=False,
    )
    if strict:
        refuse_problems([one for one in found.problems if one.split != "test"])
    return found


def resolve_classes(config: ClassificationRun) -> ClassificationRun:
    """The run with the classes of its data written down, so that they are never found anew.

    Raises:
        ConfigError: No source is named, or network, weights and classes do not fit together.
        InputError: The source is no data set.
    """
    # Faults of single files are for the data check to list.
    found = read_data(config, strict=not config.data.check)
    return config.with_classes(found.classes, multi_label=found.multi_label)


def find_cases(
    config: ClassificationRun, found: ClassificationSet
) -> tuple[list[ClassificationCase], list[ClassificationCase]]:
    """Training and validation cases: the source's own splits, a part held out, or a fold.

    Raises:
        InputError: Nothing to train on or to validate on, or a class that only one side has.
    """
    from scalefuse.data.classification import check_trainable
    from scalefuse.data.splits_stratified import stratified_k_folds, stratified_split_by_fraction

    data, seed = config.data, config.training.seed
    # A name may stand in both splits.
    cases = [replace(case, name=case.key) for case in found.cases if case.split in ("train", "all")]
    val = [replace(case, name=case.key) for case in found.cases if case.split == "val"]
    if data.folds is not None:
        cases, val = stratified_k_folds(cases + val, data.folds, seed)[data.fold - 1]
    elif cases and not val:
        cases, val = stratified_split_by_fraction(cases, data.val_fraction, seed)
    check_trainable(found, cases, val)
    targets = found.targets(val)
    if (targets == targets[:1]).all():
        shown = "the same labels" if found.multi_label else f"{found.classes[targets[0]]!r} only"
        raise InputError(
            f"{data.source}: the {len(val)} validation image(s) show {shown}, so that nothing can be "
            "measured on them; add others, or choose another data.val_fraction, data.folds or training.seed."
        )
    return cases, val


def fingerprint(cases: Iterable[ClassificationCase]) -> str:
    """SHA-256 over names, labels and contents of the images."""
    total = hashlib.sha256()
    for case in cases:
        name, stored = (case.name, None) if case.path is None else (case.path.name, checksum(case.path))
        content = stored or hashlib.sha256(case.read().pixels.tobytes()).digest()
        total.update(f"{name}\0{case.labels}".encode() + content)
    return total.hexdigest()


def train_classification(
    config: ClassificationRun,
    folder: Path,
    *,
    resume: bool,
    report: Callable[[Progress], None] | None,
    say: Callable[[str], None],
) -> TrainResult:
    """Train; see :func:`scalefuse.workflows.train.train`.

    Args:
        config: The run, with its classes; see :func:`resolve_classes`.
        folder: Of the run.
        resume: Go on from the last checkpoint.
        report: Called after every batch and epoch.
        say: Called with lines about the data, and on how the training ended.

    Raises:
        ConfigError: No source is named.
        InputError: The data check found errors, or the data cannot be trained on.
        BundleError: ``init`` is for other classes or another network.
    """
    import torch
    from torch.utils.data import DataLoader

    from scalefuse.catalog import NETWORKS
    from scalefuse.data.classification_dataset import ClassificationDataset
    from scalefuse.data.sampling import EpochSampler, EvenBatches
    from scalefuse.networks.half_precision import round_to_half
    from scalefuse.training.classification_loss import WEIGHED_TWICE, WeightedLoss, class_weights, mean_weight
    from scalefuse.training.classification_task import ClassificationTask
    from scalefuse.training.fit import fit, load_best
    from scalefuse.training.initial_weights import load_initial

    data, training = config.data, config.training
    if data.check:
        check_data(config, folder, say)
    found = read_data(config)
    cases, val_cases = find_cases(config, found)
    _check_decision(config, found, val_cases)
    keep_images(folder, _image_rows(found, cases, val_cases), fingerprint(cases), resume=resume)
    origin = validation_origin(data, own="val" in found.splits)
    say(
        f"{len(cases)} training and {len(val_cases)} validation images (these are {origin}), "
        f"classes: {', '.join(found.classes)}"
    )
    if few := few_note(len(val_cases), data.folds):
        say(few)
    targets = torch.from_numpy(found.targets(cases))
    preprocessing = data.preprocessing(multi_label=found.multi_label)
    channels, num_classes = config.network.in_channels, len(found.classes)
    options: dict[str, Any] = {"num_classes": num_classes}
    dataset = ClassificationDataset(
        cases, preprocessing, channels, **options, augmentation=config.augmentation, seed=training.seed
    )
    val_set = ClassificationDataset(val_cases, preprocessing, channels, **options)
    sampler = EpochSampler(
        rarest_labels(cases) if found.multi_label else [case.label for case in cases],
        seed=training.seed,
        balance=data.balance,
        num_samples=training.samples_per_epoch,
    )
    if len(sampler) < 2:
        which = "training image(s)" if len(cases) < 2 else "sample(s) an epoch (samples_per_epoch)"
        raise InputError(f"{data.source}: {len(sampler)} {which}; at least 2 a step are needed.")
    torch.manual_seed(training.seed)
    spec = NETWORKS[config.network.name]
    network = spec.build(config.network)
    if config.init is not None and not resume:
        check_initial(config.init, found.classes, new_head=config.new_head)
        load_initial(network, config.init, head=spec.head, new_head=config.new_head)
    dataset.preload()
    loader = DataLoader(
        dataset,
        # A batch of one image has no variance for batch normalisation.
        batch_sampler=EvenBatches(sampler, training.batch_size, least=2),
        num_workers=training.workers,
    )
    counted = torch.tensor([case.weight for case in cases])
    if config.loss.class_weights == "balanced" and data.balance > 0:
        say(WEIGHED_TWICE)
    weights = class_weights(config.loss.class_weights, targets, num_classes, found.classes, counted)
    scale = mean_weight(weights, targets, counted)
    loss = WeightedLoss(config.loss, weights, multi_label=found.multi_label, scale=scale)
    task = ClassificationTask(network, config, training.epochs * len(loader), loss)
    best = fit(
        task,
        loader,
        DataLoader(val_set, batch_size=training.batch_size),
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
    say("fitting temperature and prediction sets on the validation images")
    return _write_bundle(config, folder, network, found, cases, val_cases)


def check_folds(config: ClassificationRun, folds: int) -> None:
    """Look at every fold of a cross-validation before hours go into the first one.

    Raises:
        InputError: A fold cannot be trained or measured on; the message names it.
    """
    found = read_data(config, strict=False)
    for number in range(1, folds + 1):
        part = config.data.model_copy(update={"folds": folds, "fold": number})
        try:
            _, val_cases = find_cases(config.model_copy(update={"data": part}), found)
            _check_decision(config, found, val_cases)
        except InputError as error:
            raise InputError(f"Fold {number} of {folds}: {error}") from error


def _image_rows(
    found: ClassificationSet, cases: Sequence[ClassificationCase], val_cases: Sequence[ClassificationCase]
) -> list[dict[str, str]]:
    """A data set of its own, with the columns that a CSV file of images and of archived pictures may have."""
    return [
        {
            "name": case.name,
            "path": str(case.path.absolute() if case.path else f"{found.source.absolute()}#{case.name}"),
            "label": "|".join(found.classes[label] for label in case.labels),
            "patient": case.group or "",
            "weight": f"{case.weight:g}",
            "split": split,
        }
        for split, part in (("train", cases), ("val", val_cases))
        for case in part
    ]


def rarest_labels(cases: Sequence[ClassificationCase]) -> list[int]:
    """The rarest label of each case, by which sets of several labels are balanced; -1 without any.

    Example:
        >>> from scalefuse.data.classification import ClassificationCase
        >>> rarest_labels([ClassificationCase(str(n), "train", one) for n, one in enumerate([0, (0, 1), ()])])
        [0, 1, -1]
    """
    counts = Counter(label for case in cases for label in case.labels)
    return [min(case.labels, key=lambda label: counts[label], default=-1) for case in cases]


def _write_bundle(
    config: ClassificationRun,
    folder: Path,
    network: Any,
    found: ClassificationSet,
    cases: Sequence[ClassificationCase],
    val_cases: Sequence[ClassificationCase],
) -> TrainResult:
    """Measure and calibrate on the validation images, as the predictor sees them, and write the bundle."""
    import torch

    from scalefuse.bundle import BundleInfo, TrainingData, save_bundle
    from scalefuse.evaluation.fit_classification import fit_postprocessing
    from scalefuse.inference.classifier import Classifier
    from scalefuse.report.model_card import model_card
    from scalefuse.training.classification_measures import classification_measures

    preprocessing = config.data.preprocessing(multi_label=found.multi_label)
    classifier = Classifier(
        network,
        labels=found.classes,
        preprocessing=preprocessing,
        multi_label=found.multi_label,
        in_channels=config.network.in_channels,
    )
    logits = classifier.logits(case.read() for case in val_cases)
    targets = found.targets(val_cases)
    measures = classification_measures(
        torch.from_numpy(logits),
        torch.from_numpy(targets),
        multi_label=found.multi_label,
        positive=config.positive,
    )
    metrics = {f"val/{name}": value for name, value in measures.items()}
    postprocessing = fit_postprocessing(
        logits,
        targets,
        found.classes,
        multi_label=found.multi_label,
        sensitivity=config.decision.sensitivity,
        positive=config.decision.positive,
        coverage=config.decision.coverage,
    )
    info = BundleInfo(
        name=config.name,
        task="classification",
        network=config.network,
        preprocessing=preprocessing.model_dump(mode="json"),
        labels=found.classes,
        postprocessing=postprocessing.model_dump(mode="json"),
        training_data=TrainingData(
            description=config.description,
            licence=config.licence,
            num_cases=len(cases),
            fingerprint=fingerprint(cases),
        ),
        metrics=dict(metrics),
        config=config.model_dump(mode="json"),
    )
    card = model_card(info, origin="trained by `scalefuse train`; the configuration lies in bundle.json.")
    bundle = save_bundle(folder / BUNDLE, info, network.state_dict(), card, half=config.half)
    return TrainResult(folder, bundle, metrics)


def _check_decision(
    config: ClassificationRun, found: ClassificationSet, val_cases: Sequence[ClassificationCase]
) -> None:
    # Before the training, not after it: are there cases enough for the sensitivity asked for?
    import numpy as np

    from scalefuse.evaluation.fit_classification import fit_postprocessing

    decision = config.decision
    fit_postprocessing(
        np.zeros((len(val_cases), len(found.classes))),
        found.targets(val_cases),
        found.classes,
        multi_label=found.multi_label,
        sensitivity=decision.sensitivity,
        positive=decision.positive,
        coverage=decision.coverage,
    )


def check_initial(source: str, classes: Sequence[str], *, new_head: bool = False) -> None:
    """Refuse weights to start from that were trained to tell other classes apart.

    Args:
        source: A bundle; of a run's ``.ckpt`` file, which names no classes, only shapes are compared later.
        classes: Of the data.
        new_head: What the model tells apart does not matter, since its last layer is not taken.

    Raises:
        BundleError: It has another number of classes, or the same ones in another order.
    """
    from scalefuse.bundle import load_bundle

    if source.endswith(".ckpt"):
        return
    info = load_bundle(source).info
    if new_head:
        return
    if len(info.labels) != len(classes):
        raise BundleError(
            f"{source}: tells {len(info.labels)} classes apart ({', '.join(info.labels)}), but the data have "
            f"{len(classes)} ({', '.join(classes)}); set new_head=true to take all but its last layer, start "
            "from a model of as many, or leave init out."
        )
    if info.labels != tuple(classes) and set(info.labels) == set(classes):
        raise BundleError(
            f"{source}: has the classes in another order ({', '.join(info.labels)}); set data.classes to it."
        )


def check_data(config: ClassificationRun, folder: Path, say: Callable[[str], None]) -> None:
    """Say what a check of the data finds, with a page in the folder; raise ``InputError`` on errors."""
    from scalefuse.data.check_classification import check_classification
    from scalefuse.data.check_findings import with_drawn_leaks
    from scalefuse.report.data_check import write_data_check_html

    found = read_data(config, strict=False)
    check = check_classification(found, intensity=config.data.intensity, folds=config.data.folds is not None)
    if not check.has_errors and (config.data.folds is not None or "val" not in found.splits):
        # What cannot be split is refused after the check has been shown.
        with suppress(InputError):
            training, validation = find_cases(config, read_data(config))
            # Cases of a training go by their keys.
            check = with_drawn_leaks(check, {one.name for one in training}, {one.name for one in validation})
    for line in check.lines():
        say(f"data check: {line}")
    pictures = {case.key: case.read for case in found.cases}
    write_data_check_html(check, folder / CHECK_PAGE, pictures=pictures)
    if check.has_errors:
        raise InputError(
            f"{config.data.source}: the data check found errors (above and in {folder / CHECK_PAGE}), first: "
            f"{check.findings[0].message} Mend the data, or leave the check out with --set data.check=false."
        )
