"""MedMNIST ``.npz`` files."""

import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalefuse.data.classification import ClassificationCase, ClassificationSet, SetProblem
from scalefuse.errors import InputError

_ORGANS = (
    *("bladder", "femur-left", "femur-right", "heart", "kidney-left", "kidney-right"),
    *("liver", "lung-left", "lung-right", "pancreas", "spleen"),
)

CLASS_NAMES: dict[str, tuple[str, ...]] = {
    "pathmnist": (
        *("adipose", "background", "debris", "lymphocytes", "mucus", "smooth muscle"),
        *("normal colon mucosa", "cancer-associated stroma", "colorectal adenocarcinoma epithelium"),
    ),
    "chestmnist": (
        *("atelectasis", "cardiomegaly", "effusion", "infiltration", "mass", "nodule", "pneumonia"),
        *("pneumothorax", "consolidation", "edema", "emphysema", "fibrosis", "pleural", "hernia"),
    ),
    "dermamnist": (
        "actinic keratoses and intraepithelial carcinoma",
        *("basal cell carcinoma", "benign keratosis-like lesions", "dermatofibroma", "melanoma"),
        *("melanocytic nevi", "vascular lesions"),
    ),
    "octmnist": ("choroidal neovascularization", "diabetic macular edema", "drusen", "normal"),
    "pneumoniamnist": ("normal", "pneumonia"),
    "breastmnist": ("malignant", "normal or benign"),
    "bloodmnist": (
        *("basophil", "eosinophil", "erythroblast", "immature granulocytes"),
        *("lymphocyte", "monocyte", "neutrophil", "platelet"),
    ),
    "organamnist": _ORGANS,
    "organcmnist": _ORGANS,
    "organsmnist": _ORGANS,
}
"""Names of the classes of the flat MedMNIST sets, in the order of their numbers, as its authors give them.

Left out are sets whose classes are grades (RetinaMNIST) or have names of a sentence (TissueMNIST).
"""


def read_medmnist(path: Path, classes: tuple[str, ...] | None, multi_label: bool | None) -> ClassificationSet:
    """Read a MedMNIST file; its images are kept in memory.

    Names of classes are those of :data:`CLASS_NAMES` where the name of the file starts with one of its sets,
    else ``"0"``, ``"1"``, …. Faults are noted under ``problems``.

    Args:
        path: the file.
        classes: names of the classes; ``None`` for the above.
        multi_label: whether labels are ``(N, K)`` of 0 and 1; ``None`` to find it from their shape.

    Raises:
        InputError: no such file, Python objects inside, arrays that are missing or do not fit together, or
            volumes instead of images.

    Reference: J. Yang et al., "MedMNIST v2 – A large-scale lightweight benchmark for 2D and 3D biomedical
    image classification", Scientific Data 10, 2023, table 2 and "Data Records". Names are shortened where
    they list what they consist of.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "breastmnist_tiny.npz"
        >>> images, labels = np.zeros((3, 28, 28), np.uint8), np.array([[0], [1], [1]])
        >>> np.savez(file, train_images=images, train_labels=labels)
        >>> found = read_medmnist(file, None, None)
        >>> found.classes, found.targets().tolist(), found.cases[0].read().size
        (('malignant', 'normal or benign'), [0, 1, 1], (28, 28))
    """
    arrays = _load(path)
    parts = {split: _part(path, arrays, split) for split in ("train", "val", "test")}
    found = {split: part for split, part in parts.items() if part is not None}
    if not found:
        raise InputError(
            f"{path}: holds {', '.join(sorted(arrays)) or 'nothing'}, but train_images and train_labels (or "
            "the same with val or test) were expected; give a MedMNIST file."
        )
    widths = {labels.shape[1] for _, labels in found.values()}
    if len(widths) > 1:
        raise InputError(
            f"{path}: labels of the splits have {sorted(widths)} columns; they must be the same."
        )
    width = widths.pop()
    several = width > 1 if multi_label is None else multi_label
    if width > 1 and not several:
        raise InputError(f"{path}: has {width} labels per image, which needs a multi-label classifier.")
    top = max((int(labels.max()) for _, labels in found.values() if labels.size), default=0)
    if not several and classes is None and top >= _MOST_CLASSES:
        raise InputError(
            f"{path}: labels go up to {top}, but class numbers below {_MOST_CLASSES} were expected; number "
            "the classes from 0."
        )
    known = classes or _class_names(path, width if several else top + 1)
    if several and len(known) != width:
        raise InputError(
            f"{path}: has {width} labels per image, but {len(known)} names of classes are given."
        )
    cases: list[ClassificationCase] = []
    problems: list[SetProblem] = []
    for split, (images, labels) in found.items():
        digits = len(str(max(0, len(images) - 1)))
        for index, (pixels, row) in enumerate(zip(images, labels, strict=True)):
            name = f"{index:0{digits}d}"
            values = (0, 1) if several else range(len(known))
            if any(int(value) not in values for value in row):
                text = (
                    f"{path}: {split}_labels[{index}] is {row.tolist()}, but "
                    + ("only 0 and 1 mean something" if several else f"there are {len(known)} classes")
                    + "; mend it or name the classes."
                )
                problems.append(SetProblem("unknown-label", split, text, name))
                continue
            label = tuple(int(i) for i in np.flatnonzero(row)) if several else int(row[0])
            cases.append(ClassificationCase(name, split, label, pixels=pixels))
    return ClassificationSet(path, known, several, tuple(cases), tuple(problems))


def list_medmnist_images(path: Path) -> list[ClassificationCase]:
    """The images of a MedMNIST file, without labels, which it may hold or not.

    Raises:
        InputError: no such file, Python objects inside, no images, or volumes instead of images.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "mine.npz"
        >>> np.savez(file, test_images=np.zeros((2, 28, 28), np.uint8))
        >>> [case.key for case in list_medmnist_images(file)]
        ['test/0', 'test/1']
    """
    arrays = _load(path)
    cases = []
    for split in ("train", "val", "test"):
        images = arrays.get(f"{split}_images")
        if images is None:
            continue
        images = _pictures(path, images, split)
        digits = len(str(max(0, len(images) - 1)))
        cases += [
            ClassificationCase(f"{index:0{digits}d}", split, (), pixels=pixels)
            for index, pixels in enumerate(images)
        ]
    if not cases:
        raise InputError(
            f"{path}: holds {', '.join(sorted(arrays)) or 'nothing'}, but train_images, val_images or "
            "test_images were expected; give a MedMNIST file."
        )
    return cases


_MOST_CLASSES = 10_000

ARCHIVED = ".npz#"
"""Between the file and the key of a picture, where a table names one: ``/data/breastmnist.npz#train/11``."""


class ArchivedPictures:
    """The pictures of MedMNIST files that a table names, each file read once.

    Args:
        root: folder that paths start from.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._files: dict[Path, dict[str, NDArray[Any]]] = {}

    def find(self, name: str) -> tuple[Path, NDArray[Any] | None]:
        """A path that no other picture has, and the pixels; ``None`` where the file has no such picture.

        Args:
            name: file and key, with :data:`ARCHIVED` in between.

        Raises:
            InputError: as :func:`list_medmnist_images`.

        Example:
            >>> import tempfile
            >>> file = Path(tempfile.mkdtemp()) / "mine.npz"
            >>> np.savez(file, test_images=np.zeros((2, 28, 28), np.uint8))
            >>> ArchivedPictures(file.parent).find("mine.npz#test/1")[1].shape
            (28, 28)
        """
        before, _, key = name.rpartition(ARCHIVED)
        file = (self._root / f"{before}.npz").resolve()
        if file not in self._files:
            self._files[file] = {
                case.key: case.pixels for case in list_medmnist_images(file) if case.pixels is not None
            }
        return Path(f"{file}#{key}"), self._files[file].get(key)


def _load(path: Path) -> dict[str, NDArray[Any]]:
    wanted = [f"{split}_{what}" for split in ("train", "val", "test") for what in ("images", "labels")]
    try:
        with np.load(path, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise InputError(f"{path}: holds one array, but a MedMNIST .npz file was expected.")
            return {name: archive[name] for name in archive.files if name in wanted}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        reason = "it holds Python objects, which are not loaded" if "pickle" in str(error) else str(error)
        raise InputError(f"{path}: cannot be read as an .npz file ({reason}); copy it again.") from error


def _part(
    path: Path, arrays: dict[str, NDArray[Any]], split: str
) -> tuple[NDArray[Any], NDArray[Any]] | None:
    images, labels = arrays.get(f"{split}_images"), arrays.get(f"{split}_labels")
    if images is None and labels is None:
        return None
    if images is None or labels is None:
        lacking = f"{split}_{'images' if images is None else 'labels'}"
        raise InputError(f"{path}: {lacking} is missing; give a whole MedMNIST file.")
    images = _pictures(path, images, split)
    if labels.ndim == 1:
        labels = labels[:, None]
    if (
        labels.ndim != 2
        or len(labels) != len(images)
        or labels.shape[1] == 0
        or labels.dtype.kind not in "uib"
    ):
        raise InputError(
            f"{path}: {split}_labels has shape {labels.shape} and type {labels.dtype}, but whole numbers "
            f"(N, 1) or (N, K) for the {len(images)} images were expected."
        )
    return images, labels


def _pictures(path: Path, images: NDArray[Any], split: str) -> NDArray[Any]:
    """The images as ``(N, H, W)`` or ``(N, H, W, 3)``; one channel of its own axis is grey."""
    if images.ndim == 4 and images.shape[3] == 1:
        return images[..., 0]
    if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] != 3):
        hint = " Volumes are not classified here; cut them into slices." if images.ndim == 4 else ""
        raise InputError(
            f"{path}: {split}_images has shape {images.shape}, but (N, H, W) or (N, H, W, 3) was "
            f"expected.{hint}"
        )
    return images


def _class_names(path: Path, count: int) -> tuple[str, ...]:
    flag = re.split(r"[^a-z]", path.name.lower())[0]
    names = CLASS_NAMES.get(flag, ())
    return names if len(names) >= count else tuple(str(index) for index in range(count))
