"""Checking a classification data set before anything is trained on it."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from itertools import combinations

import numpy as np

from scalefuse.data.check import (
    SEVERITIES,
    CaseStatistics,
    DataCheck,
    DuplicatePair,
    Finding,
    SplitStatistics,
)
from scalefuse.data.check_findings import (
    CaseNotes,
    duplicate_pairs,
    leak_findings,
    mixture_findings,
    range_findings,
    tally,
)
from scalefuse.data.classification import ClassificationCase, ClassificationSet
from scalefuse.data.classification_input import MIN_SIDE
from scalefuse.data.duplicates import Fingerprint, fingerprint
from scalefuse.data.intensity import IntensityRange, range_of_fewer_bits, resolve_intensity
from scalefuse.errors import InputError

FEW_IMAGES = 10
"""A class with fewer training images than this cannot be learnt reliably."""

UNEVEN = 3.0
"""Classes are called uneven where the largest has this many times the images of the smallest."""

ALIKE = 0.8
"""Names of which this share of the letters agrees may be one name, misspelt."""

MAX_SEARCHED = 20_000
"""In larger sets near-duplicates are not searched: that takes time and memory by the square of the images."""

_SHOWN = 3

_TOGETHER = "train and val"


def check_classification(
    data: ClassificationSet,
    *,
    intensity: IntensityRange | str | None = None,
    folds: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> DataCheck:
    """Look at every image of a data set and at how the classes are spread.

    Reported are the set's problems (empty class folders, unknown labels, missing files, rows that come twice,
    wrong weights), files that cannot be read or are too small, classes that are missing, unseen, rare,
    uneven or spelt alike, groups and near-duplicates that lie in two splits, near-duplicates with different
    labels, and mixed kinds of images.

    Args:
        data: the set, read with ``strict=False``.
        intensity: the intensity range that training will use, for images that need one.
        folds: whether training deals out the parts train and val anew, so that classes, groups and copies
            may lie in either.
        progress: called with the number of images done and their total.

    Returns:
        Findings and statistics. What is wrong with single files is among them and raises nothing.

    Example:
        >>> from pathlib import Path
        >>> rng = np.random.default_rng(0)
        >>> pixels = [rng.integers(0, 256, (28, 28), np.uint8) for _ in range(3)]
        >>> cases = tuple(
        ...     ClassificationCase(str(n), split, n % 2, pixels=pixels[n % 3])
        ...     for n, split in enumerate(["train", "train", "train", "val"])
        ... )
        >>> check = check_classification(ClassificationSet(Path("set"), ("no", "yes"), False, cases))
        >>> [finding.kind for finding in check.findings]
        ['class-missing', 'few-images', 'conflicting-labels', 'leak']
    """
    notes, statistics, prints = CaseNotes(), list[CaseStatistics](), list[Fingerprint]()
    for problem in data.problems:
        # A test part may have labels that only others know; it can be predicted.
        hidden = problem.split == "test" and problem.kind == "missing-label"
        kind = "hidden-label" if hidden else problem.kind
        notes.add(kind, problem.split, problem.case or "", problem.message)
    search = len(data.cases) <= MAX_SEARCHED
    for done, case in enumerate(data.cases, start=1):
        measured = _measure(case, data, intensity, notes, search=search)
        if measured is not None:
            statistics.append(measured[0])
            prints += [] if measured[1] is None else [measured[1]]
        if progress is not None:
            progress(done, len(data.cases))
    by_split = {
        split: _summarise(len(data.part(split)), [s for s in statistics if s.split == split], data.classes)
        for split in data.splits
    }
    duplicates = duplicate_pairs(statistics, prints, folds=folds) if search else []
    findings = [
        *notes.findings(),
        *class_findings(_dealt_together(by_split) if folds else by_split, data),
        *_label_conflicts(duplicates, statistics),
        *leak_findings(duplicates, statistics, folds=folds),
        *mixture_findings(by_split),
        *range_findings(statistics, intensity),
    ]
    if data.columns:
        findings.append(Finding("info", "columns", f"Columns: {data.columns}."))
    findings += [Finding("warning", "left-out", text) for text in data.left_out]
    if not search:
        text = f"More than {MAX_SEARCHED} images: near-duplicates were not searched. Check parts of the set."
        findings.append(Finding("info", "not-searched", text))
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return DataCheck(
        data.source,
        data.classes,
        tuple(statistics),
        by_split,
        tuple(findings),
        tuple(duplicates),
        task="classification",
    )


def _measure(
    case: ClassificationCase,
    data: ClassificationSet,
    intensity: IntensityRange | str | None,
    notes: CaseNotes,
    *,
    search: bool,
) -> tuple[CaseStatistics, Fingerprint | None] | None:
    try:
        image = case.read()
    except InputError as error:
        notes.add("unreadable-image", case.split, case.name, str(error))
        return None
    if min(image.size) < MIN_SIDE:
        text = f"{image.label}: {image.size[0]}×{image.size[1]} pixel(s) (height×width) show nothing"
        notes.add("unreadable-image", case.split, case.name, text)
        return None
    try:
        resolve_intensity(image, intensity)
    except InputError as error:
        notes.add("intensity-range", case.split, case.name, str(error))
    low, high = float(image.pixels.min()), float(image.pixels.max())
    if low == high:
        notes.add("constant-image", case.split, case.name)
    narrow = range_of_fewer_bits(image)
    statistics = CaseStatistics(
        name=case.name,
        split=case.split,
        image=case.path or data.source / case.key,
        masks=(),
        group=case.group,
        size=image.size,
        channels=image.num_channels,
        number_type=str(image.pixels.dtype),
        low=low,
        high=high,
        mean=float(image.pixels.mean(dtype=np.float64)),
        narrow_range=None if narrow is None else str(narrow),
        labels=tuple(data.classes[label] for label in case.labels),
    )
    return statistics, fingerprint(image.pixels) if search else None


def class_findings(splits: dict[str, SplitStatistics], data: ClassificationSet) -> list[Finding]:
    """Classes that are missing, never seen in training, spelt alike, rare or uneven.

    Args:
        splits: statistics by split.
        data: the set, for its classes.

    Example:
        >>> from pathlib import Path
        >>> data = ClassificationSet(Path("set"), ("a",), False, ())
        >>> [finding.kind for finding in class_findings({}, data)]
        ['no-images', 'single-class']
    """
    found = []
    if not any(stats.num_masks for stats in splits.values()):
        found.append(Finding("error", "no-images", "No image can be used; mend what is listed as errors."))
    if len(data.classes) < 2 and not data.multi_label:
        text = f"There is one class only ({', '.join(data.classes)}); at least two are needed."
        found.append(Finding("error", "single-class", text))
    training = next((split for split in (_TOGETHER, "train", "all") if split in splits), None)
    seen = splits[training].images_with_class if training is not None else None
    for split, stats in splits.items():
        lacking = [name for name in data.classes if stats.images_with_class[name] == 0]
        if lacking:
            text = f"{split}: no image shows {', '.join(lacking)}; check the classes and the split."
            found.append(Finding("error" if split == training else "warning", "class-missing", text))
        if split == training or seen is None:
            continue
        unseen = {name: count for name, count in stats.images_with_class.items() if count and not seen[name]}
        if unseen:
            listed = ", ".join(f"{name} ({count} image(s))" for name, count in unseen.items())
            text = f"{split}: holds classes that training never saw: {listed}. Move some, or take them out."
            found.append(Finding("error", "unseen-label", text))
    if seen is None or training is None:
        return found
    found += _similar_names(training, seen)
    few = {name: count for name, count in seen.items() if 0 < count < FEW_IMAGES}
    if few:
        listed = ", ".join(f"{name} ({count})" for name, count in few.items())
        text = f"{training}: very few images show {listed}; results on them will hardly mean anything."
        found.append(Finding("warning", "few-images", text))
    present = {name: count for name, count in seen.items() if count}
    if present and max(present.values()) >= UNEVEN * min(present.values()):
        shown = sorted(present, key=lambda name: present[name])
        shown = shown if len(shown) <= 2 * _SHOWN else [*shown[:_SHOWN], *shown[-_SHOWN:]]
        listed = ", ".join(f"{name} {splits[training].class_shares[name]:.1%}" for name in shown)
        text = (
            f"{training}: the classes are uneven ({listed}); class weights or balanced sampling help, and "
            "accuracy says little: look at balanced accuracy and AUROC."
        )
        found.append(Finding("info", "class-imbalance", text))
    return found


def _dealt_together(splits: dict[str, SplitStatistics]) -> dict[str, SplitStatistics]:
    """What the parts train and val show as one."""
    if not {"train", "val"} <= splits.keys():
        return splits
    parts = splits["train"], splits["val"]
    counts = {
        name: sum(part.images_with_class[name] for part in parts) for name in parts[0].images_with_class
    }
    number = sum(part.num_masks for part in parts)
    together = replace(
        parts[0],
        num_images=sum(part.num_images for part in parts),
        num_masks=number,
        images_with_class=counts,
        class_shares={name: count / max(1, number) for name, count in counts.items()},
    )
    return {
        _TOGETHER: together,
        **{name: one for name, one in splits.items() if name not in ("train", "val")},
    }


def _similar_names(training: str, seen: dict[str, int]) -> list[Finding]:
    """A class that is spelt almost as another is often that other, misspelt."""
    found = []
    for first, second in combinations(seen, 2):
        rare, common = sorted((first, second), key=lambda name: seen[name])
        bare = [re.sub(r"[\s_]|(?<=[^\W\d])-(?=[^\W\d])", "", name.casefold()) for name in (rare, common)]
        few = seen[rare] < FEW_IMAGES and seen[rare] * FEW_IMAGES <= seen[common]
        if bare[0] == bare[1] or (few and _misspelt(*bare)):
            text = (
                f"{training}: {rare!r} ({seen[rare]} image(s)) and {common!r} ({seen[common]}) are spelt "
                "almost alike but are two classes. If they are one, rename the folder or the labels."
            )
            found.append(Finding("warning", "similar-labels", text))
    return found


def _misspelt(one: str, other: str) -> bool:
    """Whether names differ by a few letters; signs, digits and beginnings such as "ab" carry meaning."""
    signs = [re.sub(r"[^\W\d_]", "", name) for name in (one, other)]
    if signs[0] != signs[1] or one.endswith(other) or other.endswith(one):
        return False
    return SequenceMatcher(None, one, other).ratio() >= ALIKE


def _label_conflicts(duplicates: Sequence[DuplicatePair], cases: Sequence[CaseStatistics]) -> list[Finding]:
    labels = {case.key: case.labels for case in cases}
    pairs = [pair for pair in duplicates if labels[pair.first] != labels[pair.second]]
    if not pairs:
        return []
    listed = "; ".join(
        f"{pair.first} ({', '.join(labels[pair.first]) or 'none'}) and {pair.second} "
        f"({', '.join(labels[pair.second]) or 'none'})"
        for pair in pairs[:_SHOWN]
    )
    more = f" … and {len(pairs) - _SHOWN} more" if len(pairs) > _SHOWN else ""
    text = (
        f"{len(pairs)} pair(s) of images look like the same picture but have different labels: "
        f"{listed}{more}. Look at them: one of the labels may be wrong."
    )
    keys = tuple(dict.fromkeys(key for pair in pairs for key in (pair.first, pair.second)))
    return [Finding("warning", "conflicting-labels", text, keys)]


def _summarise(num_images: int, cases: Sequence[CaseStatistics], names: Sequence[str]) -> SplitStatistics:
    counts = {name: sum(name in case.labels for case in cases) for name in names}
    return SplitStatistics(
        num_images=num_images,
        num_masks=len(cases),
        num_groups=len({case.group for case in cases if case.group is not None}),
        sizes=tally(f"{case.size[0]}×{case.size[1]}" for case in cases),
        channels=tally(str(case.channels) for case in cases),
        number_types=tally(case.number_type for case in cases),
        low=min((case.low for case in cases), default=0.0),
        high=max((case.high for case in cases), default=0.0),
        mean=sum(case.mean for case in cases) / max(1, len(cases)),
        class_shares={name: count / max(1, len(cases)) for name, count in counts.items()},
        images_with_class=counts,
        num_empty=sum(not case.labels for case in cases),
    )
