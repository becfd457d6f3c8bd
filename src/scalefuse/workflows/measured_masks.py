"""Where the masks that are measured come from: a model, or files that were written before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from scalefuse.data.image import Image
from scalefuse.data.intensity import IntensityRange
from scalefuse.data.masks import BINARY, MaskClasses, read_mask
from scalefuse.data.read import Channels, image_stem, list_images, read_image
from scalefuse.data.segmentation import MASK_ENDINGS, SegmentationCase
from scalefuse.errors import InputError
from scalefuse.inference.postprocessing import PostProcessing
from scalefuse.inference.segmenter import Segmenter
from scalefuse.workflows.faint import FaintPictures
from scalefuse.workflows.mask_coding import MaskCoding
from scalefuse.workflows.places import Places

Spacing = tuple[float, float] | None


class MeasuredMasks(Protocol):
    """Gives what is to be measured of each case.

    Attributes:
        classes: what the reference masks hold; None for binary ones.
        labels: names of the classes, as :class:`~scalefuse.inference.segmenter.Segmenter` takes them.
        multi_label: whether a pixel may carry several labels.
        postprocessing: how probabilities become a mask; None for the threshold 0.5.
        channels: how the images are read; see :func:`~scalefuse.data.read.read_image`.
    """

    classes: MaskClasses | None
    labels: tuple[str, ...]
    multi_label: bool
    postprocessing: PostProcessing | None
    channels: Channels

    def probability(self, case: SegmentationCase, target: NDArray[Any]) -> tuple[NDArray[Any], Spacing]:
        """Probabilities ``(H, W)`` or ``(K, H, W)`` of the reference's size, and mm between pixels."""

    def mask(self, case: SegmentationCase, image: Image) -> NDArray[Any]:
        """The mask as a picture of the case shows it."""

    def notes(self) -> list[str]:
        """What people must know of the measured cases, once these are measured."""


class ModelMasks:
    """What a segmenter finds; see :class:`MeasuredMasks`.

    Args:
        segmenter: of one model or several.
        classes: what the reference masks hold, with the model's names; indices, or binary masks, where None.
            What the masks of the training held says
            :func:`~scalefuse.inference.trained_masks.trained_classes`.

    Raises:
        InputError: the names are not those of the model.
    """

    def __init__(self, segmenter: Segmenter, classes: MaskClasses | None = None) -> None:
        if classes is not None and (classes.names, classes.multi_label) != (
            segmenter.labels,
            segmenter.multi_label,
        ):
            raise InputError(
                f"The masks are said to hold {', '.join(classes.names)}, but the model tells apart "
                f"{', '.join(segmenter.labels)}; give its names in its order."
            )
        self.segmenter = segmenter
        self.classes = model_classes(segmenter) if classes is None else classes
        self.labels, self.multi_label = segmenter.labels, segmenter.multi_label
        self.channels: Channels = segmenter.in_channels
        self.postprocessing: PostProcessing | None = segmenter.postprocessing
        choice = segmenter.intensity
        self._faint = FaintPictures(IntensityRange.parse(choice) if isinstance(choice, str) else choice)
        self._places = Places()

    def probability(self, case: SegmentationCase, target: NDArray[Any]) -> tuple[NDArray[Any], Spacing]:
        """See :class:`MeasuredMasks`.

        Raises:
            InputError: image and reference differ in size.
        """
        image = _read_image(case, target, self.channels)
        found = self.segmenter.segment(image)
        assert found.probability is not None
        self._faint.look(case.image.name, image)
        _look_at(self._places, case, image)
        return found.probability, _spacing(image)

    def mask(self, case: SegmentationCase, image: Image) -> NDArray[Any]:
        """See :class:`MeasuredMasks`."""
        return self.segmenter.segment(image, keep_probability=False).mask

    def notes(self) -> list[str]:
        """See :class:`MeasuredMasks`."""
        return self._faint.notes() + self._places.notes()


class ReadyMasks:
    """Masks from files; see :class:`MeasuredMasks`.

    A file is named as the image, alone or with ``_mask``, ``_segmentation``, ``_seg`` or ``_label``. Without
    classes masks are binary. Masks of classes hold indices, as ``scalefuse predict`` writes them, or the
    values or colours of the reference masks, all of them alike; see
    :class:`~scalefuse.workflows.mask_coding.MaskCoding`. Of several labels each has its own binary file,
    ``NAME_mask_LABEL`` or ``LABEL/NAME``; a label without a file is nowhere on the image.

    Args:
        folder: that holds the files.
        classes: what they hold; None for binary masks.
        cases: what will be measured.

    Raises:
        InputError: no such folder, or masks of which some can only be indices, some cannot be, and some could
            be either.
    """

    def __init__(
        self, folder: Path, classes: MaskClasses | None, cases: Sequence[SegmentationCase] = ()
    ) -> None:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; give the folder of the masks to measure.")
        self.folder, self.classes = folder, classes
        self.multi_label = classes is not None and classes.multi_label
        self.labels = BINARY.names if classes is None else classes.names
        self.channels: Channels = "any"
        self.postprocessing: PostProcessing | None = None
        self._places = Places()
        self._files = _by_stem(folder)
        self._of_labels = (
            {label: _by_stem(folder / label) for label in self.labels if (folder / label).is_dir()}
            if self.multi_label
            else {}
        )
        self._coding = None if classes is None or self.multi_label else MaskCoding(classes)
        if self._coding is not None:
            self._coding.decide(self._single_files(cases))

    def probability(self, case: SegmentationCase, target: NDArray[Any]) -> tuple[NDArray[Any], Spacing]:
        """See :class:`MeasuredMasks`.

        Distances in mm are those of the case's image, as they are where a model is measured.

        Raises:
            InputError: no file, unreadable, values that no class has, or another size than the reference; the
                case's image is unreadable or of another size.
        """
        mask = self._read(case)
        if mask.shape[-2:] != target.shape[-2:]:
            raise InputError(
                f"{self.folder}: the mask of {case.name} has {mask.shape[-2]}×{mask.shape[-1]} pixels, but "
                f"the reference mask has {target.shape[-2]}×{target.shape[-1]}; they must be the same."
            )
        if mask.ndim == 2 and len(self.labels) > 2:
            # Sure of one class, as uint8 over its whole range.
            mask = np.stack([mask == index for index in range(len(self.labels))])
        image = _read_image(case, target, self.channels)
        _look_at(self._places, case, image, *self._files_of(case).values())
        return mask.astype(np.uint8) * np.uint8(255), _spacing(image)

    def mask(self, case: SegmentationCase, image: Image) -> NDArray[Any]:
        """See :class:`MeasuredMasks`."""
        mask = self._read(case)
        return mask if len(self.labels) > 2 and not self.multi_label else mask.astype(bool)

    def notes(self) -> list[str]:
        """See :class:`MeasuredMasks`."""
        return [*([] if self._coding is None else self._coding.notes()), *self._places.notes()]

    def _single_files(self, cases: Sequence[SegmentationCase]) -> Iterator[Path]:
        for case in cases:
            # Two files of one name are that case's failure, when it is measured.
            with suppress(InputError):
                yield from self._files_of(case).values()

    def _files_of(self, case: SegmentationCase) -> dict[str, Path]:
        """The file of a case, or of several labels that of each that has one."""
        if not self.multi_label:
            file = _one_of([one for name in _names(case.name) for one in self._files.get(name, [])])
            return {} if file is None else {"": file}
        found = {}
        for label in self.labels:
            folder = self._of_labels.get(label, {})
            inside = [one for name in _names(case.name) for one in folder.get(name, [])]
            file = _one_of([*self._files.get(f"{case.name}_mask_{label}", []), *inside])
            if file is not None:
                found[label] = file
        return found

    def _read(self, case: SegmentationCase) -> NDArray[Any]:
        if self.multi_label:
            return self._read_labels(case)
        file = self._files_of(case).get("")
        if file is None:
            raise InputError(
                f"{self.folder}: no mask named {case.name!r}, alone or with {', '.join(MASK_ENDINGS)}."
            )
        return read_mask(file) if self._coding is None else self._coding.read(file)

    def _read_labels(self, case: SegmentationCase) -> NDArray[Any]:
        found = {label: read_mask(file) for label, file in self._files_of(case).items()}
        if not found:
            raise InputError(
                f"{self.folder}: no mask of any label for {case.name!r}; expected files such as "
                f"{case.name}_mask_{self.labels[0]}.png or {self.labels[0]}/{case.name}.png."
            )
        shapes = {mask.shape for mask in found.values()}
        if len(shapes) > 1:
            raise InputError(f"{self.folder}: the masks of {case.name} differ in size; mend them.")
        empty = np.zeros(shapes.pop(), np.uint8)
        return np.stack([found.get(label, empty) for label in self.labels])


def model_classes(segmenter: Segmenter) -> MaskClasses | None:
    """What the reference masks of a model hold by its names alone; None for binary ones."""
    if segmenter.num_outputs == 1 and not segmenter.multi_label:
        return None
    return MaskClasses(names=segmenter.labels, multi_label=segmenter.multi_label)


def _names(name: str) -> tuple[str, ...]:
    return (name, *(f"{name}{ending}" for ending in MASK_ENDINGS))


def _by_stem(folder: Path) -> dict[str, list[Path]]:
    files: dict[str, list[Path]] = {}
    for file in list_images(folder):
        files.setdefault(image_stem(file), []).append(file)
    return files


def _one_of(files: Sequence[Path]) -> Path | None:
    if len(files) > 1:
        raise InputError(
            f"{files[0].parent}: {files[0].name} and {files[1].name} are both the mask of one image by name; "
            "keep one of them."
        )
    return files[0] if files else None


def _read_image(case: SegmentationCase, target: NDArray[Any], channels: Channels) -> Image:
    image = read_image(case.image, channels=channels)
    if image.size != target.shape[-2:]:
        raise InputError(
            f"{case.image}: has {image.size[0]}×{image.size[1]} pixels, but its mask has "
            f"{target.shape[-2]}×{target.shape[-1]}; they must be the same."
        )
    return image


def _spacing(image: Image) -> Spacing:
    """In mm; none of TIFF files: a tolerance of a millimetre would pass anything under a microscope."""
    if image.kind == "tiff":
        return None
    return image.geometry.spacing_mm if image.geometry is not None else None


def _look_at(places: Places, case: SegmentationCase, image: Image, *made: Path) -> None:
    """Compare the places of an image and all masks that are laid on it."""
    if image.kind != "nifti":
        return
    reference = [case.mask] if case.mask is not None else [file for _, file in case.label_masks]
    for file in (*reference, *made):
        if file.name.lower().endswith((".nii", ".nii.gz")):
            places.look(str(file), image, read_image(file))
