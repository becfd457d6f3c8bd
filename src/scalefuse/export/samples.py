"""Pictures to check an export on and to calibrate it with: the user's, or those that come with ScaleFuse."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

import numpy as np
import torch
import torch.nn.functional as F

from scalefuse.data.colour import to_luma_chroma
from scalefuse.data.image import Image
from scalefuse.data.intensity import IntensityRange, resolve_intensity, to_unit
from scalefuse.data.masks import MaskClasses, read_case_mask
from scalefuse.data.pairs import Pair, pair_by_name
from scalefuse.data.phantom import head_phantom
from scalefuse.data.read import list_images, read_image
from scalefuse.data.segmentation import SegmentationCase, scan_segmentation_folder
from scalefuse.errors import InputError, IntensityChoiceError
from scalefuse.inference.trained_masks import trained_classes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scalefuse.bundle import Bundle
    from scalefuse.data.classification import ClassificationCase

MAX_SAMPLES = 50
"""More pictures than this are thinned out evenly."""

SHIPPED_SAMPLES = Path(__file__).parent.parent / "samples"

_NUM_PHANTOMS = 3
_PHANTOM_SIDE = 128
_CT_RANGE = "range:-200:1300"

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Sample:
    """One picture, or for fusion a pair.

    Attributes:
        image: the picture, or its values in [0, 1] ``(H, W)`` or ``(H, W, C)``.
        other: the second one of a pair, values in [0, 1].
        target: reference mask, class index or 0/1 per label, where there is one.
    """

    image: Any
    other: Any = None
    target: Any = None


class OnDemand(Sequence[Sample]):
    """Samples that are read when they are asked for, and not kept: fifty large pictures fill a memory.

    Args:
        makers: one for each sample.
        labelled: whether every sample has its reference.
    """

    def __init__(self, makers: Sequence[Callable[[], Sample]], *, labelled: bool) -> None:
        self.makers, self.labelled = tuple(makers), labelled

    def __len__(self) -> int:
        return len(self.makers)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> OnDemand: ...
    def __getitem__(self, index: int | slice) -> Sample | OnDemand:
        if isinstance(index, slice):
            return OnDemand(self.makers[index], labelled=self.labelled)
        return self.makers[index]()


@dataclass(frozen=True)
class Samples:
    """Pictures and where they come from.

    Attributes:
        description: for the record.
        samples: the pictures.
    """

    description: str
    samples: Sequence[Sample] = field(repr=False)

    @property
    def labelled(self) -> bool:
        """Whether every picture has its reference."""
        if isinstance(self.samples, OnDemand):
            return self.samples.labelled
        return all(sample.target is not None for sample in self.samples)


def find_samples(bundle: Bundle, folder: Path | None, *, smallest_pair: int = 1) -> Samples:
    """Pictures for a bundle's task.

    Args:
        bundle: for its task, its labels and its intensities.
        folder: for segmentation pictures, or ``images/`` and ``masks/`` as for training; for classification
            pictures, or a data set with labels as for training; for fusion two folders with pictures of the
            same names. Without one, images that come with ScaleFuse, or for fusion drawn heads.
        smallest_pair: pixels that the sides of pictures for fusion must have.

    Raises:
        InputError: no such folder, nothing fitting in it, or a pair that is too small.

    Example:
        >>> from scalefuse.bundle import load_bundle
        >>> find_samples(load_bundle("msrf-net-nuclei"), None).labelled
        True
    """
    task = bundle.info.task
    if folder is not None and not folder.is_dir() and not (task == "classification" and folder.is_file()):
        what = "is a file" if folder.exists() else "no such folder"
        raise InputError(f"{folder}: {what}, but a folder of pictures was expected; check the name.")
    channels = getattr(bundle.info.network, "in_channels", 3)
    if task == "segmentation" and folder is None and channels not in (1, 3):
        raise InputError(
            f"{bundle.info.name} sees {channels} channels, and no such pictures come with ScaleFuse; give a "
            "folder of yours (--images)."
        )
    found: Sequence[Sample]
    if task == "fusion":
        found = _phantoms() if folder is None else _pairs(folder, smallest_pair)
    elif task == "segmentation":
        found = _segmentation(bundle, SHIPPED_SAMPLES / "nuclei" if folder is None else folder)
    else:
        found = _shipped_pictures() if folder is None else _classification(bundle, folder)
    if not found:
        raise InputError(f"{folder}: holds no images; give a folder of pictures.")
    labelled = Samples("", found).labelled
    where = folder.name if folder is not None else ""
    what = {
        "fusion": "pairs of pictures",
        "segmentation": "pictures with masks" if labelled else "pictures",
        "classification": "pictures with labels" if labelled else "pictures",
    }[task]
    if folder is not None:
        return Samples(f"{len(found)} {what} of the folder {where!r}", found)
    shipped = {
        "fusion": "pairs of heads drawn by ScaleFuse",
        "segmentation": "nuclei images, BBBC038v1 (CC0)",
        "classification": "chest x-rays, PneumoniaMNIST (CC BY 4.0), and nuclei images, BBBC038v1 (CC0)",
    }[task]
    return Samples(f"{len(found)} {shipped}", found)


def thinned(items: Sequence[_Item], most: int = MAX_SAMPLES) -> list[_Item]:
    """At most so many of the items, evenly spread.

    Example:
        >>> thinned(list(range(10)), 4)
        [0, 3, 6, 9]
    """
    return [items[index] for index in spread(len(items), most)]


def spread(number: int, most: int) -> list[int]:
    """At most so many indices of so many items, evenly spread.

    Example:
        >>> spread(10, 4)
        [0, 3, 6, 9]
    """
    if number <= most:
        return list(range(number))
    return [round(index) for index in np.linspace(0, number - 1, most)]


def grey(picture: NDArray[Any]) -> NDArray[np.float32]:
    """The luma of a picture with values in [0, 1].

    Args:
        picture: ``(H, W)`` or ``(H, W, 3)``.

    Returns:
        ``(H, W)``.

    Example:
        >>> grey(np.ones((2, 3, 3))).shape
        (2, 3)
    """
    return to_luma_chroma(picture)[0] if picture.ndim == 3 else np.asarray(picture, np.float32)


def resized(picture: NDArray[np.float32], size: tuple[int, int] | None) -> NDArray[np.float32]:
    """A grey picture at the size that a graph was fixed to; bilinear, with antialiasing.

    Args:
        picture: ``(H, W)``, values in [0, 1].
        size: height and width; ``None`` leaves the picture as it is.

    Example:
        >>> resized(np.ones((4, 4), np.float32), (2, 3)).shape
        (2, 3)
    """
    if size is None or picture.shape == size:
        return picture
    tensor = torch.from_numpy(picture)[None, None]
    values = F.interpolate(tensor, size=size, mode="bilinear", antialias=True)
    result: NDArray[np.float32] = values[0, 0].clamp(0, 1).numpy()
    return result


def _phantoms() -> list[Sample]:
    samples = []
    for seed in range(_NUM_PHANTOMS):
        ct, mri = head_phantom(_PHANTOM_SIDE, seed=seed)
        samples.append(Sample(to_unit(ct, IntensityRange.parse(_CT_RANGE))[0], other=mri))
    return samples


def _pairs(folder: Path, smallest: int) -> OnDemand:
    parts = sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))
    if len(parts) != 2:
        raise InputError(
            f"{folder}: holds {len(parts)} folders, but pairs for fusion are expected in two, such as CT and "
            "MRI, under the same names; give such a folder."
        )
    pairs, _ = pair_by_name(*parts)
    found = OnDemand([partial(_pair, pair, smallest) for pair in thinned(pairs)], labelled=False)
    for _ in found:
        pass  # what does not do is named before the work
    return found


def _pair(pair: Pair, smallest: int) -> Sample:
    first, second = (_unit(read_image(file), None) for file in (pair.a, pair.b))
    if first.shape[:2] != second.shape[:2]:
        raise InputError(
            f"{pair.a} and {pair.b} differ in size: {first.shape[:2]} and {second.shape[:2]}; resample "
            "one onto the other."
        )
    if min(first.shape[:2]) < smallest:
        height, width = first.shape[:2]
        raise InputError(
            f"{pair.a}: {height}×{width} pixels, but at least {smallest}×{smallest} are needed; take it "
            "out, or give a size for all of them (--size)."
        )
    return Sample(first, other=second)


def _segmentation(bundle: Bundle, folder: Path) -> OnDemand:
    info = bundle.info
    choice = info.preprocessing.get("intensity")
    intensity = None if choice is None else IntensityRange.model_validate(choice)
    channels: int = info.network.in_channels  # type: ignore[union-attr]
    if any((folder / name).is_dir() for name in ("images", "image", "train", "val", "valid", "test")):
        splits = scan_segmentation_folder(folder).splits
        # What was held back from training says more; training images are the last resort.
        name = next(name for name in ("val", "all", "train", "test") if splits.get(name))
        classes = trained_classes([bundle])
        multi_label = bool(info.preprocessing.get("multi_label", False))
        if classes is None and (multi_label or len(info.labels) > 2):
            classes = MaskClasses(names=info.labels, multi_label=multi_label)
        cases = thinned([case for case in splits[name] if case.has_mask] or splits[name])

        def masked(case: SegmentationCase) -> Sample:
            values = _unit(read_image(case.image, channels=channels), intensity)
            if not case.has_mask:
                return Sample(values)
            target = read_case_mask(case, classes)
            if target.shape[-2:] != values.shape[:2]:
                raise InputError(
                    f"{case.image} has {values.shape[0]}×{values.shape[1]} pixels, but its mask "
                    f"{target.shape[-2]}×{target.shape[-1]}; give masks of the images' size."
                )
            return Sample(values, target=target)

        labelled = all(case.has_mask for case in cases)
        return OnDemand([partial(masked, case) for case in cases], labelled=labelled)

    def plain(file: Path) -> Sample:
        return Sample(_unit(read_image(file, channels=channels), intensity))

    return OnDemand([partial(plain, file) for file in thinned(list_images(folder))], labelled=False)


def _shipped_pictures() -> list[Sample]:
    """Real pictures of two kinds; their labels are nothing to a classifier of something else."""
    folders = [*sorted((SHIPPED_SAMPLES / "chest-x-rays").iterdir()), SHIPPED_SAMPLES / "nuclei" / "images"]
    return [Sample(read_image(file)) for folder in folders for file in list_images(folder)]


def _classification(bundle: Bundle, folder: Path) -> OnDemand:
    from scalefuse.data.classification import read_classification

    files = list_images(folder) if folder.is_dir() else []
    if files:
        return OnDemand([partial(_plain, file) for file in thinned(files)], labelled=False)
    multi_label = bool(bundle.info.preprocessing.get("multi_label", False))
    found = read_classification(folder, classes=bundle.info.labels or None, multi_label=multi_label)
    name = next(name for name in ("val", "all", "train", "test") if name in found.splits)
    cases = thinned(found.part(name))
    targets = found.targets(cases)
    makers = [partial(_labelled, case, target) for case, target in zip(cases, targets, strict=True)]
    return OnDemand(makers, labelled=True)


def _plain(file: Path) -> Sample:
    return Sample(read_image(file))


def _labelled(case: ClassificationCase, target: Any) -> Sample:
    return Sample(case.read(), target=target)


def _unit(image: Image, choice: IntensityRange | None) -> NDArray[np.float32]:
    """Values in [0, 1]. Where nobody said what is black and white, the picture's own extremes are."""
    try:
        resolved = resolve_intensity(image, choice)
    except IntensityChoiceError:
        resolved = IntensityRange(mode="minmax")
    return to_unit(image.pixels, resolved)[0]
