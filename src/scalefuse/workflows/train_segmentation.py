"""Train a segmentation network from a run configuration."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scalefuse.config import SegmentationRun
from scalefuse.config.base import expand_path
from scalefuse.errors import ConfigError, InputError
from scalefuse.workflows.run_images import CHECK_PAGE, checksum, few_note, keep_images, validation_origin
from scalefuse.workflows.train import BUNDLE, TrainResult

if TYPE_CHECKING:
    from scalefuse.bundle import BundleInfo
    from scalefuse.config.segmentation import SegmentationData
    from scalefuse.data.segmentation import SegmentationCase
    from scalefuse.training.fit import Progress


def read_cases(config: SegmentationRun) -> dict[str, list[SegmentationCase]]:
    """The cases of a run's folder that have masks, by the folder's own splits; ``all`` where it has none.

    Raises:
        ConfigError: No folder is named.
        InputError: As :func:`~scalefuse.data.segmentation.find_segmentation_cases`.
    """
    from scalefuse.data.segmentation import find_segmentation_cases

    data = config.data
    if data.folder is None:
        raise ConfigError(
            "No training data: name a folder with images/ and masks/, for instance --set data.folder=FOLDER."
        )
    splits = find_segmentation_cases(
        expand_path(data.folder),
        groups_csv=data.groups_csv and expand_path(data.groups_csv),
        group_column=data.group_column,
    )
    return {split: [case for case in cases if case.has_mask] for split, cases in splits.items()}


def find_cases(
    config: SegmentationRun, splits: dict[str, list[SegmentationCase]] | None = None
) -> tuple[list[SegmentationCase], list[SegmentationCase]]:
    """Training and validation cases of a run: the folder's own splits, a part held out by group, or a fold.

    Args:
        config: The run.
        splits: What :func:`read_cases` gives for it, where that was read already.

    Raises:
        ConfigError: No folder is named.
        InputError: The folder holds no training cases with masks.
    """
    from scalefuse.data.splits import k_folds, split_by_fraction

    data = config.data
    splits = read_cases(config) if splits is None else splits
    cases, val = splits.get("train", splits.get("all", [])), splits.get("val", [])
    if data.folds is not None:
        return k_folds(cases + val, data.folds, config.training.seed)[data.fold - 1]
    if not cases:
        raise InputError(f"{data.folder}: no images with masks to train on; see the documentation's layout.")
    if not val:
        cases, val = split_by_fraction(cases, data.val_fraction, config.training.seed)
    return cases, val


def require_foreground(
    config: SegmentationRun, parts: dict[str, list[SegmentationCase]] | None = None
) -> None:
    """Refuse a training or validation part that holds no object: it would teach or measure nothing.

    Args:
        config: The run.
        parts: Name to cases; by default those of the run.

    Raises:
        InputError: All masks of a part are background.
    """
    from scalefuse.data.masks import read_case_mask

    parts = parts or dict(zip(("training", "validation"), find_cases(config), strict=True))
    drawn = {
        part: any(read_case_mask(case, config.data.classes).any() for case in cases)
        for part, cases in parts.items()
    }
    if not any(drawn.values()):
        raise InputError(
            f"{config.data.folder}: all {sum(map(len, parts.values()))} masks are background only, so that "
            "nothing can be learnt; are these the masks, and does data.classes name what is drawn in them?"
        )
    # A part drawn from the folder, such as a fold, may lack what the folder has.
    for part in (part for part, found in drawn.items() if not found):
        fold = "" if config.data.folds is None else f" of fold {config.data.fold}"
        raise InputError(
            f"{config.data.folder}: all {len(parts[part])} masks of the {part} part{fold} are background "
            "only; choose other folds, another data.val_fraction or another training.seed."
        )


def fingerprint(cases: Iterable[SegmentationCase]) -> str:
    """SHA-256 over names and contents of images and masks."""
    total = hashlib.sha256()
    for case in cases:
        masks = [case.mask] if case.mask is not None else [path for _, path in case.label_masks]
        for path in (case.image, *masks):
            total.update(path.name.encode() + b"\0" + checksum(path))
    return total.hexdigest()


def train_segmentation(
    config: SegmentationRun,
    folder: Path,
    *,
    resume: bool,
    report: Callable[[Progress], None] | None,
    say: Callable[[str], None],
) -> TrainResult:
    """Train; see :func:`scalefuse.workflows.train.train`.

    Raises:
        ConfigError: No folder is named.
        InputError: The data check found errors, or a part holds no object.
    """
    import torch
    from torch.utils.data import DataLoader

    from scalefuse.bundle import BundleInfo, TrainingData, save_bundle
    from scalefuse.catalog import NETWORKS
    from scalefuse.data.masks import BINARY
    from scalefuse.data.sampling import EpochSampler, EvenBatches
    from scalefuse.data.segmentation_dataset import SegmentationDataset
    from scalefuse.data.segmentation_list import case_rows
    from scalefuse.networks.half_precision import round_to_half
    from scalefuse.report.model_card import model_card
    from scalefuse.training.fit import fit, load_best
    from scalefuse.training.initial_weights import load_initial
    from scalefuse.training.segmentation_task import SegmentationTask

    data, training = config.data, config.training
    splits = read_cases(config)
    cases, val_cases = find_cases(config, splits)
    say(
        f"{len(cases)} training and {len(val_cases)} validation images "
        f"(these are {validation_origin(data, own=bool(splits.get('val')))})"
    )
    if few := few_note(len(val_cases), data.folds):
        say(few)
    if data.check:
        check_data(config, folder, say, cases, val_cases)
    require_foreground(config, {"training": cases, "validation": val_cases})
    contents = fingerprint(cases)
    keep_images(folder, case_rows({"train": cases, "val": val_cases}), contents, resume=resume)
    channels = config.network.in_channels
    dataset = SegmentationDataset(
        cases,
        size=data.size,
        fit=data.fit,
        in_channels=channels,
        classes=data.classes,
        intensity=data.intensity,
        augmentation=config.augmentation,
        foreground=data.foreground,
        seed=training.seed,
    )
    # Validation never crops at random: what is compared between epochs must stay the same. What is trained on
    # crops of full resolution is validated on whole images of full resolution.
    val_set = SegmentationDataset(
        val_cases,
        size=data.size if data.fit == "resize" else None,
        fit="resize",
        in_channels=channels,
        classes=data.classes,
        intensity=data.intensity,
    )
    dataset.preload()
    torch.manual_seed(training.seed)
    spec = NETWORKS[config.network.name]
    network = spec.build(config.network)
    load_initial(network, None if resume else config.init, head=spec.head, new_head=config.new_head)
    groups: list[Any] = list(dataset.native_sizes()) if data.balance > 0 else [None] * len(cases)
    sampler = EpochSampler(
        groups,
        seed=training.seed,
        balance=data.balance,
        num_samples=training.samples_per_epoch,
    )
    loader = DataLoader(
        dataset,
        batch_sampler=EvenBatches(sampler, training.batch_size),
        num_workers=training.workers,
    )
    task = SegmentationTask(network, config, num_steps=training.epochs * len(loader))
    best = fit(
        task,
        loader,
        DataLoader(val_set, batch_size=1),
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
    size = [data.size, data.size] if isinstance(data.size, int) else list(data.size)
    info = BundleInfo(
        name=config.name,
        task="segmentation",
        network=config.network,
        preprocessing={
            "resize": size if data.fit == "resize" else None,
            "intensity": None if data.intensity is None else str(data.intensity),
            "multi_label": bool(data.classes and data.classes.multi_label),
            "tta": config.tta,
        },
        labels=(data.classes or BINARY).names,
        training_data=TrainingData(
            description=config.description,
            licence=config.licence,
            num_cases=len(cases),
            fingerprint=contents,
        ),
        config=config.model_dump(mode="json"),
    )
    if config.half:
        round_to_half(network)
    views = ", averaged over eight views of each" if config.tta else ""
    say(f"fitting the post-processing on the validation images{views}")
    info, metrics = _fit_on_validation(info, network, val_cases, data)
    card = model_card(info, origin="trained by `scalefuse train`; the configuration lies in bundle.json.")
    bundle = save_bundle(folder / BUNDLE, info, network.state_dict(), card, half=config.half)
    return TrainResult(folder, bundle, metrics)


def _fit_on_validation(
    info: BundleInfo, network: Any, cases: Sequence[SegmentationCase], data: SegmentationData
) -> tuple[BundleInfo, dict[str, float]]:
    """Choose threshold and cleaning on whole validation images, as the predictor sees them."""
    from scalefuse.catalog import NETWORKS
    from scalefuse.data.masks import read_case_mask
    from scalefuse.data.read import read_image
    from scalefuse.evaluation.fit_postprocessing import (
        fit_class_postprocessing,
        fit_label_postprocessing,
        fit_postprocessing,
    )
    from scalefuse.evaluation.segmentation import evaluate_segmentation
    from scalefuse.inference.postprocessing import PostProcessing
    from scalefuse.inference.segmenter import Segmenter

    segmenter = Segmenter(
        network,
        labels=info.labels,
        multi_label=info.preprocessing["multi_label"],
        in_channels=info.network.in_channels,  # type: ignore[union-attr]
        size_multiple=NETWORKS[info.network.name].size_multiple,
        resize=None if info.preprocessing["resize"] is None else tuple(info.preprocessing["resize"]),
        intensity=info.preprocessing["intensity"],
        tta=info.preprocessing["tta"],
    )
    # Masks and 16-bit maps, as predictions have them, of a thousand validation images fit into memory.
    found, wanted = [], []
    for case in cases:
        probability = segmenter.segment(read_image(case.image, channels=segmenter.in_channels)).probability
        assert probability is not None
        found.append(probability)
        wanted.append(read_case_mask(case, data.classes))
    if segmenter.multi_label:
        fitted = fit_label_postprocessing(found, wanted)
    elif segmenter.num_outputs == 1:
        fitted = fit_postprocessing((one[0] for one in found), wanted)
    else:
        classes = (PostProcessing().threshold_or_best(one) for one in found)
        fitted = fit_class_postprocessing(classes, wanted, len(info.labels))
    segmenter.postprocessing = fitted.postprocessing
    measured = evaluate_segmentation(
        ((case.name, one, mask) for case, one, mask in zip(cases, found, wanted, strict=True)),
        labels=info.labels,
        multi_label=segmenter.multi_label,
        postprocessing=segmenter.postprocessing,
    )
    means = {f"val/{name}": float(measured.values(name).mean()) for name in ("dice", "iou", "hd95")}
    update = {"postprocessing": fitted.postprocessing.model_dump(mode="json"), "metrics": means}
    return info.model_copy(update=update), means


def check_data(
    config: SegmentationRun,
    folder: Path,
    say: Callable[[str], None],
    cases: Sequence[SegmentationCase],
    val_cases: Sequence[SegmentationCase],
) -> None:
    """Check the data of a run, say what was found, and write it as a page into the folder.

    Args:
        config: The run.
        folder: Where the page goes.
        say: Called with a line for each finding.
        cases: What is trained on, to find copies that the split drawn for this training tore apart.
        val_cases: What is validated on.

    Raises:
        InputError: The data have errors.
    """
    from scalefuse.data.check_findings import with_drawn_leaks
    from scalefuse.data.check_segmentation import check_segmentation
    from scalefuse.report.data_check import write_data_check_html

    data = config.data
    assert data.folder is not None
    check = check_segmentation(
        expand_path(data.folder),
        classes=data.classes,
        intensity=data.intensity,
        channels=config.network.in_channels,
        groups_csv=data.groups_csv and expand_path(data.groups_csv),
        group_column=data.group_column,
        folds=data.folds is not None,
    )
    keys = {one.image: one.key for one in check.cases}
    training, validation = ({keys.get(case.image, "") for case in part} for part in (cases, val_cases))
    if not check.splits.get("val") or data.folds is not None:
        check = with_drawn_leaks(check, training, validation)
    for line in check.lines():
        say(f"data check: {line}")
    write_data_check_html(check, folder / CHECK_PAGE)
    if check.has_errors:
        raise InputError(
            f"{data.folder}: the data check found errors (above and in {folder / CHECK_PAGE}), first: "
            f"{check.findings[0].message} Mend the data, or leave the check out with --set data.check=false."
        )
