"""A segmentation data set as a CSV file that lists images and masks, as trainings leave it behind."""

import contextlib
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from scalefuse.data.csv_rows import read_rows
from scalefuse.data.read import image_stem
from scalefuse.data.segmentation import SPLIT_FOLDERS, SegmentationCase
from scalefuse.errors import InputError

COLUMNS = ("name", "path", "masks", "patient", "split")

_BETWEEN = "|"
_LONGEST_SHOWN = 300  # characters of a path in a message: a quotation mark may not be closed


def case_rows(parts: Mapping[str, Sequence[SegmentationCase]]) -> list[dict[str, str]]:
    """Rows of the list, with the columns :data:`COLUMNS`; of several labels, ``masks`` is ``LABEL=FILE|…``
    (JSON where names hold these signs).

    Args:
        parts: cases by split.

    Example:
        >>> rows = case_rows({"val": [SegmentationCase("1", Path("1.jpg"), Path("1.png"))]})
        >>> rows[0]["name"], rows[0]["split"], Path(rows[0]["masks"]).name
        ('1', 'val', '1.png')
    """
    rows = []
    for split, cases in parts.items():
        for case in cases:
            values = (case.name, str(case.image.absolute()), _cell(case), case.group or "", split)
            rows.append(dict(zip(COLUMNS, values, strict=True)))
    return rows


def _cell(case: SegmentationCase) -> str:
    """The masks of a case: a file, ``LABEL=FILE|…``, or JSON where names hold these signs."""
    labels = {label: str(file.absolute()) for label, file in case.label_masks}
    masks = [f"{label}={file}" for label, file in labels.items()]
    masks += [] if case.mask is None else [str(case.mask.absolute())]
    if any(_BETWEEN in mask for mask in masks) or any("=" in label for label in labels):
        return json.dumps(labels or masks, ensure_ascii=False)
    return _BETWEEN.join(masks)


def _parse_cell(text: str) -> tuple[str | None, dict[str, str]]:
    """One mask, or the mask of each label."""
    if text.startswith(("{", "[")):
        with contextlib.suppress(ValueError):
            found = json.loads(text)
            if isinstance(found, dict):
                return None, {label: str(file) for label, file in found.items()}
            return next(map(str, found), None), {}
    parts = [part for part in text.split(_BETWEEN) if part]
    pairs = (part.partition("=") for part in parts)
    # A label is the name of a folder; what stands before the sign in a plain path may be more.
    labels = {label: file for label, sign, file in pairs if sign and not {"/", "\\"} & set(label)}
    return parts[0] if parts and not labels else None, labels


def read_case_list(path: Path) -> dict[str, list[SegmentationCase]]:
    """The cases of a list, by split; relative paths start from the folder of the list.

    Raises:
        InputError: no such text, a column is missing, an unknown split, or a file that is not there.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("1.jpg", "1.png"):
        ...     (folder / name).touch()
        >>> _ = (folder / "images.csv").write_text("path,masks,split\\n1.jpg,1.png,val\\n")
        >>> read_case_list(folder / "images.csv")["val"][0].name
        '1'
    """
    header, rows = read_rows(path)
    missing = [name for name in ("path", "masks", "split") if name not in header]
    if missing or not rows:
        what = f"no column {missing[0]!r}" if missing else "no rows"
        raise InputError(
            f"{path}: has {what}, but a list with path, masks and split was expected, such as images.csv of "
            "a run; give one, or a folder with images/ and masks/ inside."
        )
    splits: dict[str, list[SegmentationCase]] = {}
    for line, row in rows:
        split = SPLIT_FOLDERS.get((row["split"] or "").strip().lower())
        if split is None:
            raise InputError(
                f"{path}: line {line}: the split is {row['split']!r}, but train, val or test was expected."
            )
        image = path.parent / (row["path"] or "")
        plain, of_labels = _parse_cell(row["masks"] or "")
        labels = tuple((label, path.parent / file) for label, file in of_labels.items())
        mask = None if plain is None else path.parent / plain
        for file in (image, *(file for _, file in labels), *([] if mask is None else [mask])):
            # Unlike Path.is_file, no error for what can be no file's name.
            if not os.path.isfile(file):  # noqa: PTH113
                name = str(file) if len(str(file)) <= _LONGEST_SHOWN else f"{str(file)[:_LONGEST_SHOWN]}…"
                raise InputError(f"{path}: line {line}: {name} is not there; restore it or remove the line.")
        name, group = row.get("name") or image_stem(image), row.get("patient") or None
        splits.setdefault(split, []).append(SegmentationCase(name, image, mask, group, labels))
    return {split: _told_apart(path, cases) for split, cases in splits.items()}


def _told_apart(path: Path, cases: list[SegmentationCase]) -> list[SegmentationCase]:
    """The cases of one split, those of one name under the folders that tell them apart.

    A fold of what came as ``train`` and ``val`` may hold two images of one file name. Links are not followed:
    what they lead to may have another name.
    """
    images = [Path(os.path.abspath(case.image)) for case in cases]  # noqa: PTH100
    twice = [image for image, number in Counter(images).items() if number > 1]
    if twice:
        raise InputError(f"{path}: {twice[0]} is listed twice in one split; keep one line.")
    number = Counter(case.name for case in cases)
    if len(number) == len(cases):
        return cases
    common = Path(os.path.commonpath([image.parent for image in images]))
    return [
        replace(case, name=image.relative_to(common).with_name(image_stem(image)).as_posix())
        if number[case.name] > 1
        else case
        for case, image in zip(cases, images, strict=True)
    ]
