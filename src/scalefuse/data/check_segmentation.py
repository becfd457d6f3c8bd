"""Checking the folder of a segmentation data set before anything is trained on it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from scalefuse.data.check import SEVERITIES, CaseStatistics, DataCheck, SplitStatistics
from scalefuse.data.check_findings import (
    FULL_SHARE,
    CaseNotes,
    duplicate_pairs,
    foreground_findings,
    leak_findings,
    mixture_findings,
    note_inverted_masks,
    range_findings,
    tally,
)
from scalefuse.data.duplicates import Fingerprint, fingerprint
from scalefuse.data.image import Image
from scalefuse.data.intensity import IntensityRange, range_of_fewer_bits, resolve_intensity
from scalefuse.data.masks import BINARY, MaskClasses, decode_mask
from scalefuse.data.nifti import lie_alike
from scalefuse.data.read import read_image
from scalefuse.data.segmentation import SegmentationCase, group_cases, scan_segmentation_folder
from scalefuse.errors import InputError


def check_segmentation(
    folder: Path | str,
    *,
    classes: MaskClasses | None = None,
    intensity: IntensityRange | str | None = None,
    channels: int = 3,
    groups_csv: Path | str | None = None,
    group_column: str | None = None,
    folds: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> DataCheck:
    """Look at every image and mask of a data set.

    Reported are missing partners, files that cannot be read, sizes that differ, masks that are soft, empty,
    full, inverted or of unexpected values, splits without foreground, classes that never occur, groups and
    near-duplicates that lie in two splits, and mixed kinds of images.

    Args:
        folder: see :func:`scalefuse.data.segmentation.scan_segmentation_folder`.
        classes: what the masks hold; by default binary, or the labels found where each has a folder.
        intensity: the intensity range that training will use, for images that need one.
        channels: those that training will read, 1 and 3 for pictures.
        groups_csv: CSV file with a group, such as the patient, for every image.
        group_column: its column.
        folds: whether training deals out the parts train and val anew, so that groups and copies may lie in
            either.
        progress: called with the number of images done and their total.

    Returns:
        Findings and statistics. What is wrong with single files is among them and raises nothing.

    Raises:
        InputError: the folder has no known layout or no images, or the CSV file does not fit.

    Example:
        >>> import tempfile
        >>> from scalefuse.data.write import write_image
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("images", "masks"):
        ...     (folder / name).mkdir()
        >>> for name in ("images/a.png", "images/b.png", "masks/a.png"):
        ...     write_image(folder / name, np.eye(16), bits=8)
        >>> [finding.kind for finding in check_segmentation(folder).findings]
        ['missing-mask', 'near-duplicate']
    """
    found = scan_segmentation_folder(folder)
    splits = found.splits
    splits = group_cases(splits, groups_csv, group_column)
    if classes is None and found.labels:
        classes = MaskClasses(names=found.labels, multi_label=True)
    notes, statistics, prints = CaseNotes(), list[CaseStatistics](), list[Fingerprint]()
    total, done = sum(len(cases) for cases in splits.values()), 0
    for split, cases in splits.items():
        for case in cases:
            for mask in case.masks_named_otherwise:
                notes.add("paired-names", split, case.name, f"{case.image.name} with {mask.name}")
            measured = _measure(case, split, classes, intensity, channels, notes)
            if measured is not None:
                statistics.append(measured[0])
                prints.append(measured[1])
            done += 1
            if progress is not None:
                progress(done, total)
        for file in found.masks_without_image[split]:
            notes.add("missing-image", split, file.name)
    names = (classes or BINARY).names
    by_split = {
        split: _summarise(len(cases), [s for s in statistics if s.split == split], names)
        for split, cases in splits.items()
    }
    duplicates = duplicate_pairs(statistics, prints, folds=folds)
    note_inverted_masks(statistics, notes)
    findings = [
        *notes.findings(),
        *foreground_findings(by_split, notes, multi_label=classes is not None and classes.multi_label),
        *leak_findings(duplicates, statistics, folds=folds),
        *mixture_findings(by_split),
        *range_findings(statistics, intensity),
    ]
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return DataCheck(Path(folder), names, tuple(statistics), by_split, tuple(findings), tuple(duplicates))


class _Counts(NamedTuple):
    """Pixels of each class or label, and the foreground's share of the outermost ones."""

    pixels: tuple[int, ...] = ()
    border_share: float | None = None


def _measure(
    case: SegmentationCase,
    split: str,
    classes: MaskClasses | None,
    intensity: IntensityRange | str | None,
    channels: int,
    notes: CaseNotes,
) -> tuple[CaseStatistics, Fingerprint] | None:
    try:
        image = read_image(case.image, channels=channels)
    except InputError as error:
        notes.add("unreadable-image", split, case.name, str(error))
        return None
    try:
        resolve_intensity(image, intensity)
    except InputError as error:
        notes.add("intensity-range", split, case.name, str(error))
    low, high = float(image.pixels.min()), float(image.pixels.max())
    if low == high:
        notes.add("constant-image", split, case.name)
    files = (case.mask,) if case.mask is not None else tuple(file for _, file in case.label_masks)
    if not files:
        notes.add("missing-mask", split, case.name)
    pixels, border_share = _class_pixels(case, split, image, classes, notes)
    multi_label = classes is not None and classes.multi_label
    num_pixels = image.size[0] * image.size[1] if pixels else 0
    drawn = sum(pixels) if multi_label else sum(pixels[1:])
    if pixels and drawn == 0:
        notes.add("empty-mask", split, case.name)
    if pixels and not multi_label and len(pixels) == 2 and drawn > FULL_SHARE * num_pixels:
        notes.add("full-mask", split, case.name)
    narrow = range_of_fewer_bits(image)
    statistics = CaseStatistics(
        name=case.name,
        split=split,
        image=case.image,
        masks=files,
        group=case.group,
        size=image.size,
        channels=image.num_channels,
        number_type=str(image.pixels.dtype),
        low=low,
        high=high,
        mean=float(image.pixels.mean(dtype=np.float64)),
        narrow_range=None if narrow is None else str(narrow),
        num_pixels=num_pixels,
        class_pixels=pixels,
        has_foreground=drawn > 0,
        border_share=border_share,
    )
    return statistics, fingerprint(image.pixels)


def _class_pixels(
    case: SegmentationCase, split: str, image: Image, classes: MaskClasses | None, notes: CaseNotes
) -> _Counts:
    """What a case's mask or masks hold; nothing, with a note, where they are of no use."""
    if not case.has_mask:
        return _Counts()
    multi_label = classes is not None and classes.multi_label
    if multi_label != bool(case.label_masks):
        text = "masks in one folder per label were expected" if multi_label else "one mask file was expected"
        notes.add("mask-values", split, case.name, f"{case.image}: {text}")
        return _Counts()
    if case.mask is not None:
        return _count(case.mask, split, case, image, classes, notes) or _Counts()
    assert classes is not None
    pixels = dict.fromkeys(classes.names, 0)
    given = {label for label, _ in case.label_masks}
    for label in classes.names:
        if label not in given:
            notes.add("missing-label-mask", split, case.name, f"{label}: {case.name}")
    for label, file in case.label_masks:
        counts = _count(file, split, case, image, None, notes)
        if counts is not None and label not in pixels:
            notes.add("mask-values", split, case.name, f"{file}: the label {label!r} is not named")
        if counts is None or label not in pixels:
            return _Counts()
        pixels[label] = counts.pixels[1]
    return _Counts(tuple(pixels.values()))


def _count(
    file: Path,
    split: str,
    case: SegmentationCase,
    image: Image,
    classes: MaskClasses | None,
    notes: CaseNotes,
) -> _Counts | None:
    try:
        picture = read_image(file)
    except InputError as error:
        notes.add("unreadable-mask", split, case.name, str(error))
        return None
    if picture.size != image.size:
        ours, theirs = "×".join(map(str, image.size)), "×".join(map(str, picture.size))
        notes.add(
            "size-mismatch", split, case.name, f"{file}: {theirs}, but its image has {ours} (height×width)"
        )
        return None
    if not lie_alike(image, picture):
        notes.add("other-place", split, case.name)
    try:
        mask = decode_mask(picture, classes)
    except InputError as error:
        notes.add("mask-values", split, case.name, str(error))
        return None
    if classes is None:
        # decode_mask lets 0/1 and 0/255 pass as they are, so that anything else here was thresholded.
        top = max(1, int(picture.pixels.max()))
        grey = picture.pixels if picture.pixels.ndim == 2 else picture.pixels.max(axis=2)
        if top > 1 and not bool(((grey == 0) | (grey == top)).all()):
            notes.add("soft-mask", split, case.name)
    counts = np.bincount(mask.ravel(), minlength=len((classes or BINARY).names))
    border_share = None
    if len(counts) == 2:
        border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
        border_share = float((border != 0).mean())
    return _Counts(tuple(int(count) for count in counts), border_share)


def _summarise(num_images: int, cases: Sequence[CaseStatistics], names: tuple[str, ...]) -> SplitStatistics:
    masked = [case for case in cases if case.class_pixels]
    total = sum(case.num_pixels for case in masked)
    sums = [sum(case.class_pixels[index] for case in masked) for index in range(len(names))]
    return SplitStatistics(
        num_images=num_images,
        num_masks=len(masked),
        num_groups=len({case.group for case in cases if case.group is not None}),
        sizes=tally(f"{case.size[0]}×{case.size[1]}" for case in cases),
        channels=tally(str(case.channels) for case in cases),
        number_types=tally(case.number_type for case in cases),
        low=min((case.low for case in cases), default=0.0),
        high=max((case.high for case in cases), default=0.0),
        mean=sum(case.mean for case in cases) / max(1, len(cases)),
        class_shares={name: sums[index] / max(1, total) for index, name in enumerate(names)},
        images_with_class={
            name: sum(case.class_pixels[index] > 0 for case in masked) for index, name in enumerate(names)
        },
        num_empty=sum(not case.has_foreground for case in masked),
    )
