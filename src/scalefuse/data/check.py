"""What a data check says: findings and statistics. The checks fill these in; a report draws them."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from scalefuse.data.segmentation import SegmentationCase
from scalefuse.errors import InputError

Severity = Literal["error", "warning", "info"]
CheckedTask = Literal["segmentation", "classification"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a data set, or worth knowing.

    Attributes:
        severity: ``error``: training would fail or learn something wrong; ``warning``: look at it before you
            believe a result; ``info``: good to know.
        kind: a short fixed name, such as ``size-mismatch``.
        message: one or two sentences: what was found and what to do.
        cases: the cases concerned, as ``split/name``.
    """

    severity: Severity
    kind: str
    message: str
    cases: tuple[str, ...] = ()


@dataclass(frozen=True)
class DuplicatePair:
    """Two images that look like the same picture.

    Attributes:
        first: one case, as ``split/name``.
        second: the other one.
        correlation: of their fine detail, at most 1.
        across_splits: whether they lie in different splits.
    """

    first: str
    second: str
    correlation: float
    across_splits: bool


@dataclass(frozen=True)
class CaseStatistics:
    """What was measured on one image and its mask, or its labels.

    Attributes:
        name: of the case.
        split: where it lies.
        image: the image file; for an image that lies in memory, where that came from.
        masks: the mask files.
        group: such as the patient, or ``None``.
        size: height and width of the image.
        channels: 1, 3, or another number that all are read with.
        number_type: of the pixels, such as ``uint8``.
        low: smallest pixel value.
        high: largest pixel value.
        mean: mean pixel value.
        num_pixels: of the mask; 0 where there is no usable mask.
        class_pixels: number of pixels of each class or label, in the order of the names; empty where there
            is no usable mask.
        has_foreground: whether any pixel is not background.
        border_share: share of the mask's outermost pixels that are foreground, in [0, 1]; ``None`` for
            several classes or labels and where there is no usable mask.
        labels: for classification, the names of its classes.
        narrow_range: range to choose for an image of 16 bits whose values need fewer; or ``None``.
    """

    name: str
    split: str
    image: Path
    masks: tuple[Path, ...]
    group: str | None
    size: tuple[int, int]
    channels: int
    number_type: str
    low: float
    high: float
    mean: float
    num_pixels: int = 0
    class_pixels: tuple[int, ...] = ()
    has_foreground: bool = False
    border_share: float | None = None
    labels: tuple[str, ...] = ()
    narrow_range: str | None = None

    @property
    def key(self) -> str:
        """``split/name``."""
        return f"{self.split}/{self.name}"


@dataclass(frozen=True)
class SplitStatistics:
    """What was measured on a split.

    Attributes:
        num_images: image files, readable or not.
        num_masks: images with a usable mask; for classification, images that can be used.
        num_groups: groups such as patients; 0 where none were named.
        sizes: number of images by ``height×width``, most frequent first.
        channels: number of images by number of channels.
        number_types: number of images by number type.
        low: smallest pixel value.
        high: largest pixel value.
        mean: mean over images of their mean pixel value.
        class_shares: share of the pixels of each class or label; for classification, of the images.
        images_with_class: number of images with each class or label.
        num_empty: masks without foreground.
    """

    num_images: int
    num_masks: int
    num_groups: int
    sizes: dict[str, int]
    channels: dict[str, int]
    number_types: dict[str, int]
    low: float
    high: float
    mean: float
    class_shares: dict[str, float]
    images_with_class: dict[str, int]
    num_empty: int


@dataclass(frozen=True)
class DataCheck:
    """The outcome of a data check.

    Attributes:
        folder: what was checked.
        class_names: classes, background first; or labels.
        cases: statistics of every image that could be read.
        splits: statistics by split.
        findings: errors first, then warnings, then the rest.
        duplicates: pairs of images that look like the same picture.
        task: what the data set is for.

    Example:
        >>> check = DataCheck(Path("set"), findings=(Finding("warning", "empty-mask", "3 masks are empty."),))
        >>> check.has_errors, check.lines()
        (False, ['WARNING empty-mask: 3 masks are empty.'])
    """

    folder: Path
    class_names: tuple[str, ...] = ()
    cases: tuple[CaseStatistics, ...] = ()
    splits: dict[str, SplitStatistics] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    duplicates: tuple[DuplicatePair, ...] = ()
    task: CheckedTask = "segmentation"

    @property
    def has_errors(self) -> bool:
        """Whether training should not start."""
        return any(finding.severity == "error" for finding in self.findings)

    def lines(self) -> list[str]:
        """The findings as one line of text each."""
        return [f"{finding.severity.upper()} {finding.kind}: {finding.message}" for finding in self.findings]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain lists, dictionaries, numbers and strings, for JSON.

        Example:
            >>> DataCheck(Path("set")).to_dict()["folder"]
            'set'
        """
        plain = _plain(asdict(self))
        assert isinstance(plain, dict)
        return plain


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def require_foreground(check: DataCheck, cases: Iterable[SegmentationCase], what: str) -> None:
    """Refuse a part of a data set, such as a fold, in which nothing is drawn.

    Args:
        check: of the folder that the cases are from.
        cases: the part.
        what: how to call it in the message, such as ``"the validation part of fold 2"``.

    Raises:
        InputError: no mask in it has any foreground.

    Example:
        >>> require_foreground(DataCheck(Path("set")), [], "fold 1")
        Traceback (most recent call last):
        scalefuse.errors.InputError: fold 1: none of its 0 masks has any foreground, so that ...
    """
    cases = list(cases)
    drawn = {case.image for case in check.cases if case.has_foreground}
    if not any(case.image in drawn for case in cases):
        raise InputError(
            f"{what}: none of its {len(cases)} masks has any foreground, so that nothing can be learnt or "
            "measured on it; choose another split, seed or number of folds."
        )
