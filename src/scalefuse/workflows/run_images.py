"""Which images a run trains on and which it validates on: written down, and the same when it goes on."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from pathlib import Path

from scalefuse.bundle import Bundle
from scalefuse.config.base import expand_path
from scalefuse.config.classification import ClassificationData
from scalefuse.config.segmentation import SegmentationData
from scalefuse.data.atomic import atomic_write
from scalefuse.errors import ConfigError, InputError
from scalefuse.report.tables import write_csv

IMAGES, CONTENTS, CHECK_PAGE = "images.csv", "images.sha256", "data-check.html"

_FEW = 10


def keep_images(folder: Path, rows: Sequence[dict[str, str]], contents: str, *, resume: bool) -> None:
    """Write ``images.csv`` into a run's folder; a run that goes on must have the images it was begun with.

    A checksum of what is trained on lies beside it, as ``images.sha256``.

    Args:
        folder: Of the run.
        rows: Of every image its ``name``, ``split`` (``train`` or ``val``) and what else is known of it. For
            classifiers that is a data set of its own, which ``scalefuse evaluate`` takes.
        contents: Fingerprint of the files that are trained on.
        resume: Compare with the files that stand there. Runs of before these were written have none.

    Raises:
        ConfigError: Images were added, taken away, changed, or given to the other part, another class or
            another weight since.
        InputError: The file was damaged.
    """
    path = folder / IMAGES
    if resume and path.is_file():
        try:
            with path.open(newline="", encoding="utf-8") as handle:
                before = {_identity(row) for row in csv.DictReader(handle)}
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"{path}: cannot be read ({error}); train anew in another folder.") from error
        now = {_identity(row) for row in rows}
        if before != now:
            changed = sorted((now - before) or (before - now))[0]
            raise ConfigError(
                f"The images are not those that the run was begun with ({path}): {len(now - before)} new or "
                f"changed, {len(before - now)} missing or changed, such as {changed[0]!r}. Going on would "
                "validate on images that were trained on; restore them, or start a new run in another folder."
            )
    mark = folder / CONTENTS
    if resume and mark.is_file() and mark.read_text(encoding="utf-8").strip() != contents:
        raise ConfigError(
            f"The contents of images or masks changed since the run was begun ({mark}), though no name did; "
            "restore them, or start a new run in another folder."
        )
    write_csv(path, list(rows))
    with atomic_write(mark) as temporary:
        temporary.write_text(f"{contents}\n", encoding="utf-8")


def checksum(path: Path) -> bytes:
    """SHA-256 of a file.

    Raises:
        InputError: It cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); mend or remove it.") from error


def held_out_note(bundles: Sequence[Bundle], key: str, source: Path, split: str) -> str | None:
    """What to say where a model is measured on data that had a part in its training.

    Args:
        bundles: The models.
        key: Name of the entry in the ``data`` section of their configurations that names the data.
        source: What is measured on: that data, or the list of images in the folder of a model's run.
        split: The part of it.
    """
    place = source.resolve()
    for bundle in bundles:
        data = (bundle.info.config or {}).get("data") or {}
        named = data.get(key)
        try:
            same = named is not None and expand_path(Path(named)).resolve() == place
        except (ConfigError, OSError):
            same = False
        own_list = source.name == IMAGES and bundle.source.resolve().is_relative_to(place.parent)
        # Folds deal out what came as training and validation parts anew.
        dealt_anew = same and split == "val" and bool(data.get("folds"))
        if dealt_anew or (same and split == "all") or ((same or own_list) and split == "train"):
            return (
                f"A model was trained on images of this part ({split}), so that these values are too good; "
                f"{IMAGES} in the folder of its run lists those that it did not see as val."
            )
        if (same or own_list) and split == "val":
            return (
                "A model's best epoch, its calibration and its thresholds were chosen on these very images "
                "(val), so that these values are somewhat too good; measure on images that had no part in it."
            )
    return None


def _identity(row: dict[str, str]) -> tuple[str, str, str, str]:
    return row.get("name") or "", row.get("split") or "", row.get("label") or "", row.get("weight") or ""


def few_note(number: int, folds: int | None) -> str | None:
    """What to say where the validation images are too few to choose by.

    Args:
        number: Of them.
        folds: The run's setting.

    Example:
        >>> few_note(20, None) is None, few_note(3, None)[:29]
        (True, 'only 3 images to validate on:')
    """
    if number >= _FEW:
        return None
    advice = "" if folds else "; `--folds 5` validates on every image once"
    return (
        f"only {number} image{'s' * (number != 1)} to validate on: which epoch is best, and what is fitted "
        f"after it, hang on chance{advice}"
    )


def validation_origin(data: SegmentationData | ClassificationData, *, own: bool) -> str:
    """Where the validation images of a run come from, for people.

    Args:
        data: The run's data section.
        own: Whether the data have a validation part of their own.

    Example:
        >>> from scalefuse.config.segmentation import SegmentationData
        >>> validation_origin(SegmentationData(folds=5, fold=2), own=True)
        'fold 2 of 5, of the parts train and val together'
    """
    if data.folds is not None:
        together = ", of the parts train and val together" if own else ""
        return f"fold {data.fold} of {data.folds}{together}"
    return "the data's own part" if own else f"held out, {data.val_fraction:g} of the images"
