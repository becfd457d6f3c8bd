"""Findings from what was measured on a data set; the same for every task."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from statistics import median

from scalefuse.data.check import (
    SEVERITIES,
    CaseStatistics,
    DataCheck,
    DuplicatePair,
    Finding,
    Severity,
    SplitStatistics,
)
from scalefuse.data.duplicates import Fingerprint, find_near_duplicates
from scalefuse.data.intensity import IntensityRange

SMALL_SHARE = 0.01
"""A class with less of the area than this is called rare."""

FULL_SHARE = 0.995
"""A mask with more foreground than this share may be inverted."""

INVERTED_BORDER = 0.9
"""A mask with more foreground than this share of its outermost pixels may be inverted too."""

USUAL_BORDER = 0.25
"""Inverted masks are looked for where half of all have at most this share of foreground at the border."""

_SHOWN = 3


class CaseNotes:
    """Collects what concerns single cases, to be told as one finding per kind and split.

    Example:
        >>> notes = CaseNotes()
        >>> notes.add("empty-mask", "train", "a")
        >>> notes.findings()[0].message
        'train: 1 mask(s) are empty: train/a. Fine if there is nothing to find in those images.'
    """

    def __init__(self) -> None:
        self._notes: dict[tuple[str, str], list[tuple[str, str]]] = {}

    def add(self, kind: str, split: str, name: str, text: str = "") -> None:
        """Note that a case is concerned; a text says more than its name would."""
        self._notes.setdefault((kind, split), []).append((f"{split}/{name}", text))

    def count(self, kind: str, split: str) -> int:
        """How many notes of a kind a split has."""
        return len(self._notes.get((kind, split), ()))

    def findings(self) -> list[Finding]:
        """One finding per kind and split."""
        found = []
        for (kind, split), notes in self._notes.items():
            severity, head, advice = _KINDS[kind]
            # One text says it all where there is one to say; names do where there is none.
            texts = [text for _, text in notes if text][:_SHOWN] or [key for key, _ in notes[:_SHOWN]]
            more = f" … and {len(notes) - len(texts)} more" if len(notes) > len(texts) else ""
            listed = "; ".join(text.rstrip(".") for text in texts)
            message = f"{split}: {len(notes)} {head}: {listed}{more}. {advice}".rstrip()
            found.append(Finding(severity, kind, message, tuple(key for key, _ in notes)))
        return found


_KINDS: dict[str, tuple[Severity, str, str]] = {
    "unreadable-image": ("error", "image(s) cannot be used", "Replace or take them away."),
    "unreadable-mask": ("error", "mask(s) cannot be read", "Replace or take them away."),
    "mask-values": (
        "error",
        "mask(s) hold values that are not expected",
        "Name the classes (here --classes, for training data.classes), or mend the masks.",
    ),
    "size-mismatch": ("error", "mask(s) differ in size from their image", "Export them again."),
    "intensity-range": ("error", "image(s) need an intensity range", "Choose one in the configuration."),
    "empty-class": ("error", "folder(s) of classes are empty", ""),
    "unknown-label": ("error", "label(s) are not among the classes", ""),
    "missing-label": ("error", "image(s) have not exactly one label", ""),
    "hidden-label": (
        "warning",
        "image(s) have not exactly one label",
        "They can be predicted, not measured on.",
    ),
    "missing-file": ("error", "image(s) are listed but not there", ""),
    "duplicate-row": ("error", "image(s) are listed more than once", ""),
    "bad-weight": ("error", "weight(s) are not numbers of 0 or more", ""),
    "missing-mask": (
        "warning",
        "image(s) have no mask",
        "Add masks; such images cannot be used for training.",
    ),
    "missing-image": ("warning", "mask(s) have no image", "Check their names."),
    "soft-mask": (
        "warning",
        "mask(s) are 0/255 only up to JPEG rings or soft edges",
        "They are thresholded at half; lossless masks would be exact.",
    ),
    "other-place": (
        "warning",
        "mask(s) lie elsewhere than their image, by their NIfTI affines",
        "Pixels are laid on one another as they are stored; if the affines are right, resample the masks "
        "onto the images.",
    ),
    "missing-label-mask": (
        "warning",
        "file(s) of a label are missing",
        "They count as: the label is nowhere on the image. Add (empty) masks to be sure.",
    ),
    "full-mask": ("warning", "mask(s) cover (nearly) the whole image", "Are they inverted?"),
    "inverted-mask": (
        "warning",
        "mask(s) are foreground along their whole border, unlike most others",
        "Are black and white exchanged there?",
    ),
    "inverted-masks": (
        "warning",
        "mask(s) are foreground along their whole border, as most of this set are",
        "Are black and white exchanged in all of them?",
    ),
    "constant-image": ("warning", "image(s) have one value everywhere", "Look at them."),
    "paired-names": (
        "warning",
        "mask(s) belong to an image by what their names share",
        "Check that these do belong together.",
    ),
    "empty-mask": ("info", "mask(s) are empty", "Fine if there is nothing to find in those images."),
}


def foreground_findings(
    splits: dict[str, SplitStatistics], notes: CaseNotes, *, multi_label: bool = False
) -> list[Finding]:
    """Splits without masks or without foreground, classes that are missing or rare.

    Args:
        splits: statistics by split.
        notes: what concerns single cases.
        multi_label: whether the first class is a label like the others and not background.

    Example:
        >>> foreground_findings({}, CaseNotes())
        []
    """
    found = []
    for split, stats in splits.items():
        severity: Severity = "warning" if split == "test" else "error"
        if stats.num_masks == 0:
            if notes.count("missing-mask", split) == stats.num_images:
                text = f"{split}: no image has a mask; nothing can be learnt or measured. Add masks."
            else:
                text = f"{split}: no usable mask is left; mend what is listed as errors."
            found.append(Finding(severity, "no-masks", text))
            continue
        if stats.num_empty == stats.num_masks:
            text = f"{split}: all {stats.num_masks} masks are background only; nothing can be learnt."
            found.append(Finding(severity, "all-background", text))
            continue
        foreground = list(stats.class_shares)[0 if multi_label else 1 :]
        lacking = [name for name in foreground if stats.images_with_class[name] == 0]
        if lacking:
            text = f"{split}: no mask has {', '.join(lacking)}; check the classes and the split."
            found.append(Finding("warning", "class-missing", text))
        rare = {
            name: stats.class_shares[name]
            for name in foreground
            if 0 < stats.class_shares[name] < SMALL_SHARE
        }
        if rare:
            listed = ", ".join(f"{name} {share:.2%}" for name, share in rare.items())
            text = f"{split}: little of the area is {listed}; a Dice loss helps, plain accuracy says nothing."
            found.append(Finding("info", "class-imbalance", text))
    return found


def note_inverted_masks(cases: Sequence[CaseStatistics], notes: CaseNotes) -> None:
    """Note masks in which objects and ground seem to be exchanged, unlike in most others.

    Such a mask is foreground along (nearly) its whole border and has background inside, while half of all
    masks have (nearly) nothing at the border; or more than half of all masks are such, which is told apart.
    Masks that are foreground everywhere are told elsewhere.

    Args:
        cases: statistics of all images.
        notes: collects them.

    Example:
        >>> notes = CaseNotes()
        >>> note_inverted_masks([], notes)
        >>> notes.findings()
        []
    """
    shares = [case.border_share for case in cases if case.border_share is not None]
    if not shares or USUAL_BORDER < median(shares) <= INVERTED_BORDER:
        return
    kind = "inverted-mask" if median(shares) <= USUAL_BORDER else "inverted-masks"
    for case in cases:
        full = bool(case.class_pixels) and case.class_pixels[1] > FULL_SHARE * case.num_pixels
        if case.border_share is not None and case.border_share > INVERTED_BORDER and not full:
            notes.add(kind, case.split, case.name)


def leak_findings(
    duplicates: Sequence[DuplicatePair], cases: Sequence[CaseStatistics], *, folds: bool = False
) -> list[Finding]:
    """Pictures and groups that lie in two splits, and copies within one.

    Args:
        duplicates: images that look like the same picture.
        cases: statistics of all images, for their groups.
        folds: whether the parts train and val count as one, since training deals them out anew by group.

    Example:
        >>> pair = DuplicatePair("train/a", "val/b", 0.99, across_splits=True)
        >>> [finding.kind for finding in leak_findings([pair], [])]
        ['leak']
    """
    found = []
    across = [pair for pair in duplicates if pair.across_splits]
    within = [pair for pair in duplicates if not pair.across_splits]
    if across:
        text = (
            f"{len(across)} pair(s) of images in different splits look like the same picture: "
            f"{_pairs(across)}. Results on such images are too good; keep each picture in one split."
        )
        found.append(Finding("warning", "leak", text, _keys(across)))
    if within:
        text = (
            f"{len(within)} pair(s) of images within a split look like the same picture: {_pairs(within)}. "
            "Keep them together when you split further."
        )
        found.append(Finding("info", "near-duplicate", text, _keys(within)))
    splits_of: dict[str, set[str]] = {}
    for case in cases:
        if case.group is not None:
            splits_of.setdefault(case.group, set()).add(_part(case.split, folds))
    straddling = sorted(group for group, splits in splits_of.items() if len(splits) > 1)
    if straddling:
        keys = tuple(case.key for case in cases if case.group in set(straddling))
        listed = ", ".join(straddling[:_SHOWN]) + (" …" if len(straddling) > _SHOWN else "")
        text = f"{len(straddling)} group(s) lie in more than one split: {listed}. Move them together."
        found.append(Finding("warning", "group-leak", text, keys))
    return found


def with_drawn_leaks(check: DataCheck, training: Collection[str], validation: Collection[str]) -> DataCheck:
    """Add the copies that a split drawn by the training itself tears apart.

    Args:
        check: of the whole data set.
        training: keys of the cases that are trained on, as :attr:`CaseStatistics.key`.
        validation: the same of those that are validated on.

    Example:
        >>> from pathlib import Path
        >>> check = DataCheck(Path("set"), duplicates=(DuplicatePair("all/a", "all/b", 0.99, False),))
        >>> [finding.kind for finding in with_drawn_leaks(check, {"all/a"}, {"all/b"}).findings]
        ['leak']
    """
    torn = [
        pair
        for pair in check.duplicates
        if (pair.first in training and pair.second in validation)
        or (pair.first in validation and pair.second in training)
    ]
    if not torn:
        return check
    text = (
        f"{len(torn)} pair(s) of images that look like the same picture lie on both sides of the split that "
        f"was drawn for this training: {_pairs(torn)}. Results on them are too good; name groups that stay "
        "together, or take copies out."
    )
    findings = [*check.findings, Finding("warning", "leak", text, _keys(torn))]
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    marked = tuple(replace(pair, across_splits=True) if pair in torn else pair for pair in check.duplicates)
    return replace(check, findings=tuple(findings), duplicates=marked)


def duplicate_pairs(
    cases: Sequence[CaseStatistics], fingerprints: Sequence[Fingerprint], *, folds: bool = False
) -> list[DuplicatePair]:
    """The pairs of cases that look like the same picture.

    Args:
        cases: statistics of the images.
        fingerprints: of the same images.
        folds: as for :func:`leak_findings`.

    Example:
        >>> duplicate_pairs([], [])
        []
    """
    return [
        DuplicatePair(
            cases[pair.first].key,
            cases[pair.second].key,
            pair.correlation,
            _part(cases[pair.first].split, folds) != _part(cases[pair.second].split, folds),
        )
        for pair in find_near_duplicates(fingerprints)
    ]


def _part(split: str, folds: bool) -> str:
    return "train" if folds and split == "val" else split


def tally(values: Iterable[str]) -> dict[str, int]:
    """How often each value occurs, most frequent first.

    Example:
        >>> tally(["a", "b", "b"])
        {'b': 2, 'a': 1}
    """
    return dict(Counter(values).most_common())


def _pairs(pairs: Sequence[DuplicatePair]) -> str:
    listed = "; ".join(f"{pair.first} and {pair.second} ({pair.correlation:.2f})" for pair in pairs[:_SHOWN])
    return listed + (f" … and {len(pairs) - _SHOWN} more" if len(pairs) > _SHOWN else "")


def _keys(pairs: Sequence[DuplicatePair]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(key for pair in pairs for key in (pair.first, pair.second)))


def mixture_findings(splits: dict[str, SplitStatistics]) -> list[Finding]:
    """Number types, channels and sizes that are not the same for all images.

    Args:
        splits: statistics by split.

    Example:
        >>> mixture_findings({})
        []
    """
    found: list[Finding] = []
    types: Counter[str] = Counter()
    channels: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for stats in splits.values():
        types.update(stats.number_types)
        channels.update(stats.channels)
        sizes.update(stats.sizes)
    if len(types) > 1:
        text = f"The images have several number types ({_counts(types)}); are their values comparable?"
        found.append(Finding("warning", "mixed-number-types", text))
    if len(channels) > 1:
        text = f"Grey and colour images are mixed (channels {_counts(channels)}); all are treated alike."
        found.append(Finding("info", "mixed-channels", text))
    if len(sizes) > 1:
        text = f"The images have {len(sizes)} sizes, height×width ({_counts(sizes)})."
        found.append(Finding("info", "mixed-sizes", text))
    return found


def range_findings(cases: Sequence[CaseStatistics], intensity: IntensityRange | str | None) -> list[Finding]:
    """Pictures of 16 bits that fill a small part of their range: seen whole, they are nearly black.

    Args:
        cases: statistics of the images.
        intensity: the range that was chosen; then there is nothing to find.

    Example:
        >>> range_findings([], None)
        []
    """
    if intensity is not None:
        return []
    faint = [case for case in cases if case.narrow_range is not None]
    if not faint:
        return []
    brightest = max(faint, key=lambda case: case.high)
    text = (
        f"{len(faint)} 16-bit image(s) hold values up to {brightest.high:g} of 65535 only, and are nearly "
        f"black to the network. If they have fewer bits, choose {brightest.narrow_range} (data.intensity, "
        "--range)."
    )
    return [Finding("warning", "narrow-range", text, tuple(case.key for case in faint))]


def _counts(counter: Counter[str]) -> str:
    listed = ", ".join(f"{name}: {count}" for name, count in counter.most_common(4))
    return listed + (", …" if len(counter) > 4 else "")
