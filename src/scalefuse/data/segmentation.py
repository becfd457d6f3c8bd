"""Finding the images and masks of a segmentation data set in its folders."""

from dataclasses import dataclass, replace
from pathlib import Path

from scalefuse.data.affixes import match_without_affixes
from scalefuse.data.groups import groups_of, read_groups
from scalefuse.data.read import image_stem, list_images, natural_key
from scalefuse.errors import InputError

SPLIT_FOLDERS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Names of folders for the parts of a data set, and what the parts are called here."""

IMAGE_FOLDERS = ("images", "image")
MASK_FOLDERS = ("masks", "mask", "labels")
MASK_ENDINGS = ("_mask", "_segmentation", "_seg", "_label")
"""A mask may be named as its image, or as its image plus one of these."""

_LAYOUT = (
    "expected 'images' and 'masks' folders in it, or in 'train', 'val' (or 'valid') and 'test' folders in it"
)


@dataclass(frozen=True)
class SegmentationCase:
    """One image and what was drawn on it.

    Attributes:
        name: the image's file name without suffix.
        image: the image file.
        mask: the mask file; ``None`` where there is none, or where there is one file per label.
        group: what must stay together when the data set is split, such as the patient; ``None`` for a case
            on its own.
        label_masks: for multi-label sets, ``(label, file)`` for every label that has a file for this image.
    """

    name: str
    image: Path
    mask: Path | None = None
    group: str | None = None
    label_masks: tuple[tuple[str, Path], ...] = ()

    @property
    def has_mask(self) -> bool:
        """Whether there is any mask file."""
        return self.mask is not None or bool(self.label_masks)

    @property
    def masks_named_otherwise(self) -> tuple[Path, ...]:
        """Mask files that have neither the image's name nor that and a usual ending."""
        masks = (self.mask,) if self.mask is not None else tuple(file for _, file in self.label_masks)
        known = {self.name, *(self.name + end for end in MASK_ENDINGS)}
        return tuple(file for file in masks if image_stem(file) not in known)


@dataclass(frozen=True)
class SegmentationFolder:
    """Everything found in the folder of a data set.

    Attributes:
        folder: the folder.
        splits: the cases of ``"train"``, ``"val"`` and ``"test"``, or of ``"all"`` where nothing is split.
        labels: for multi-label sets, the names of the label folders, else empty.
        masks_without_image: mask files that belong to no image, by split.
    """

    folder: Path
    splits: dict[str, list[SegmentationCase]]
    labels: tuple[str, ...]
    masks_without_image: dict[str, list[Path]]


def find_segmentation_cases(
    folder: Path | str, *, groups_csv: Path | str | None = None, group_column: str | None = None
) -> dict[str, list[SegmentationCase]]:
    """The cases of a data set, by split, in natural order.

    Args:
        folder: see :func:`scan_segmentation_folder`.
        groups_csv: see :func:`scalefuse.data.groups.read_groups`.
        group_column: see :func:`scalefuse.data.groups.read_groups`.

    Returns:
        ``{"train": [...], "val": [...], "test": [...]}`` as far as they exist, or ``{"all": [...]}``. Images
        without a mask are among them; ``has_mask`` is false for those.

    Raises:
        InputError: as :func:`scan_segmentation_folder` and :func:`scalefuse.data.groups.read_groups`.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("train/images/1.jpg", "train/masks/1.png", "valid/images/2.jpg"):
        ...     (folder / name).parent.mkdir(parents=True, exist_ok=True)
        ...     (folder / name).touch()
        >>> {split: [case.name for case in cases] for split, cases in find_segmentation_cases(folder).items()}
        {'train': ['1'], 'val': ['2']}
    """
    return group_cases(scan_segmentation_folder(folder).splits, groups_csv, group_column)


def scan_segmentation_folder(folder: Path | str) -> SegmentationFolder:
    """Look through the folder of a data set.

    Two layouts are known: ``train``, ``val`` (or ``valid``) and ``test`` folders with ``images`` and
    ``masks`` in each, or ``images`` and ``masks`` directly. A mask has the name of its image up to the
    suffix, or that and ``_mask``, ``_segmentation``, ``_seg`` or ``_label``. Where no mask of a folder is
    named so, the endings and the beginnings that all names of a folder share are left out, such as
    ``_training`` and ``_manual1``; see :func:`scalefuse.data.affixes.match_without_affixes`. For multi-label
    sets ``masks`` holds one folder per label instead, each with binary masks; a label without a file for an
    image is not on it.

    Raises:
        InputError: no such layout, no images, or two images (or masks) of one name.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("images/1.jpg", "images/2.jpg", "masks/1_mask.png", "masks/3.png"):
        ...     (folder / name).parent.mkdir(parents=True, exist_ok=True)
        ...     (folder / name).touch()
        >>> found = scan_segmentation_folder(folder)
        >>> [(case.name, case.has_mask) for case in found.splits["all"]]
        [('1', True), ('2', False)]
        >>> [file.name for file in found.masks_without_image["all"]]
        ['3.png']
    """
    folder = Path(folder)
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "no such folder"
        raise InputError(f"{folder}: {what}, but the folder of a data set was expected; check the name.")
    parts: dict[str, Path] = {}
    for child in _subfolders(folder):
        split = SPLIT_FOLDERS.get(child.name.lower())
        if split is not None and split in parts:
            raise InputError(
                f"{folder}: both {parts[split].name!r} and {child.name!r} mean {split}; keep one."
            )
        if split is not None and _subfolder(child, IMAGE_FOLDERS) is not None:
            parts[split] = child
    if _subfolder(folder, IMAGE_FOLDERS) is not None:
        if parts:
            raise InputError(
                f"{folder}: holds both an 'images' folder and {sorted(parts)} folders, so that it is not "
                "clear which are meant; keep one layout."
            )
        parts = {"all": folder}
    if not parts:
        raise InputError(f"{folder}: no images found; {_LAYOUT}.")
    splits: dict[str, list[SegmentationCase]] = {}
    orphans: dict[str, list[Path]] = {}
    labels: set[str] = set()
    for split in (name for name in ("train", "val", "test", "all") if name in parts):
        splits[split], orphans[split], found = _scan_part(parts[split])
        labels.update(found)
    return SegmentationFolder(folder, splits, tuple(sorted(labels, key=natural_key)), orphans)


def _scan_part(folder: Path) -> tuple[list[SegmentationCase], list[Path], list[str]]:
    images_folder, masks_folder = _subfolder(folder, IMAGE_FOLDERS), _subfolder(folder, MASK_FOLDERS)
    assert images_folder is not None
    images = _by_stem(images_folder)
    if not images:
        raise InputError(
            f"{images_folder}: holds no images; give PNG, TIFF, JPEG, BMP, GIF, WebP, DICOM or NIfTI files."
        )
    if masks_folder is None:
        return [SegmentationCase(name, file) for name, file in images.items()], [], []
    label_folders = _subfolders(masks_folder)
    masks, orphans = _assign(images, _by_stem(masks_folder))
    by_label: dict[str, dict[str, Path]] = {}
    lost: list[Path] = []
    for label in label_folders if not masks else []:
        by_label[label.name], others = _assign(images, _by_stem(label))
        lost += others
    # A stray file beside folders of labels hides none of them; a stray folder beside masks is none.
    if not by_label or (orphans and not any(by_label.values())):
        return [SegmentationCase(name, file, masks.get(name)) for name, file in images.items()], orphans, []
    cases = []
    for name, file in images.items():
        files = tuple((label, found[name]) for label, found in by_label.items() if name in found)
        cases.append(SegmentationCase(name, file, label_masks=files))
    return cases, orphans + lost, list(by_label)


def _assign(images: dict[str, Path], masks: dict[str, Path]) -> tuple[dict[str, Path], list[Path]]:
    assigned: dict[str, Path] = {}
    orphans = []
    for stem, file in masks.items():
        names = [stem, *(stem.removesuffix(end) for end in MASK_ENDINGS if stem.endswith(end))]
        name = next((name for name in names if name in images), None)
        if name is None:
            orphans.append(file)
        elif name in assigned:
            raise InputError(
                f"{images[name]}: both {assigned[name].name} and {file.name} are named as its mask; keep one."
            )
        else:
            assigned[name] = file
    if not assigned and (found := match_without_affixes(images, masks)):
        assigned = {name: masks[stem] for _, name, stem in found}
        used = {stem for _, _, stem in found}
        orphans = [file for stem, file in masks.items() if stem not in used]
    return assigned, orphans


def _by_stem(folder: Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for file in list_images(folder):
        stem = image_stem(file)
        if stem in files:
            raise InputError(
                f"{folder}: {files[stem].name} and {file.name} have the same name up to the suffix, so that "
                "it is not clear which one is meant; keep one of them."
            )
        files[stem] = file
    return files


def _subfolders(folder: Path) -> list[Path]:
    try:
        children = [child for child in folder.iterdir() if child.is_dir() and not child.name.startswith(".")]
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror}); check the permissions.") from error
    return sorted(children, key=natural_key)


def _subfolder(folder: Path, names: tuple[str, ...]) -> Path | None:
    found = [child for child in _subfolders(folder) if child.name.lower() in names]
    if len(found) > 1:
        raise InputError(f"{folder}: both {found[0].name!r} and {found[1].name!r} could be meant; keep one.")
    return found[0] if found else None


def group_cases(
    splits: dict[str, list[SegmentationCase]], groups_csv: Path | str | None, group_column: str | None
) -> dict[str, list[SegmentationCase]]:
    """Give the cases of all splits their groups, where a CSV file with them is given.

    Args:
        splits: the cases by split.
        groups_csv: see :func:`scalefuse.data.groups.read_groups`; ``None`` to leave the cases as they are.
        group_column: see :func:`scalefuse.data.groups.read_groups`.

    Raises:
        InputError: only one of the two is given, or as :func:`scalefuse.data.groups.read_groups` and
            :func:`scalefuse.data.groups.groups_of`.

    Example:
        >>> group_cases({"all": []}, None, None)
        {'all': []}
    """
    if groups_csv is None and group_column is None:
        return splits
    if groups_csv is None or group_column is None:
        raise InputError(
            "A CSV file and the name of one of its columns are needed together to keep groups such as "
            f"patients apart, but got file {groups_csv} and column {group_column!r}; give both."
        )
    images = [case.image for cases in splits.values() for case in cases]
    groups = iter(groups_of(images, read_groups(groups_csv, group_column), source=groups_csv))
    return {split: [replace(case, group=next(groups)) for case in cases] for split, cases in splits.items()}
