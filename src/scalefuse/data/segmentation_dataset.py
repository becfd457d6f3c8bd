"""A segmentation data set as tensors for training."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from scalefuse.data.augmentation import AugmentationConfig, augment_pair
from scalefuse.data.colour import to_luma_chroma
from scalefuse.data.intensity import IntensityRange, resolve_intensity, to_unit
from scalefuse.data.masks import MaskClasses, read_case_mask
from scalefuse.data.read import read_image
from scalefuse.data.sampling import SampleKey
from scalefuse.data.segmentation import SegmentationCase
from scalefuse.errors import InputError

Fit = Literal["resize", "crop"]


class SegmentationDataset(Dataset[dict[str, Any]]):
    """Images and masks as tensors, changed at random for training.

    A sample depends on the seed, the epoch and the index only, so that a resumed training sees what an
    undisturbed one would have seen. Decoded images are kept in memory, as 8-bit values where the file has
    them, else 16-bit.

    Args:
        cases: the cases; each must have a mask.
        size: height and width of the samples; one number for both; ``None`` for each image's own size.
        fit: ``"resize"`` shrinks or stretches the whole image to ``size`` (bilinear with antialiasing; masks
            by the nearest pixel); ``"crop"`` takes a random part of that size at the image's own resolution,
            mirrored at the edges where the image is smaller.
        in_channels: 1 (colour becomes luma), 3 (grey is repeated), or what all images have.
        classes: what the masks hold; ``None`` for binary ones.
        intensity: which values become 0 and 1; needed for DICOM, NIfTI and floating-point images.
        augmentation: random changes, or ``None`` for none.
        foreground: part of the crops that hold a pixel of the foreground, drawn at random, so that small
            objects on a large background are seen often enough; the others lie anywhere.
        seed: of the random changes and crops, 0 or more.
        cache_bytes: up to how much memory decoded images may take.

    Raises:
        InputError: no cases, cases without masks, or arguments outside of these.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from scalefuse.data.write import write_image
        >>> folder = Path(tempfile.mkdtemp())
        >>> write_image(folder / "image.png", np.full((20, 30), 1.0), bits=8)
        >>> write_image(folder / "mask.png", np.eye(20, 30), bits=8)
        >>> case = SegmentationCase("one", folder / "image.png", folder / "mask.png")
        >>> sample = SegmentationDataset([case], size=16)[0]
        >>> sample["image"].shape, sample["mask"].shape, sample["mask"].dtype, sample["index"]
        (torch.Size([3, 16, 16]), torch.Size([16, 16]), torch.int64, 0)
    """

    def __init__(
        self,
        cases: Sequence[SegmentationCase],
        *,
        size: int | tuple[int, int] | None,
        fit: Fit = "resize",
        in_channels: int = 3,
        classes: MaskClasses | None = None,
        intensity: IntensityRange | str | None = None,
        augmentation: AugmentationConfig | None = None,
        foreground: float = 0.0,
        seed: int = 0,
        cache_bytes: int = 4 * 2**30,
    ) -> None:
        if not cases:
            raise InputError("A data set needs at least one case, but got none; check its folder.")
        lacking = [case for case in cases if not case.has_mask]
        if lacking:
            raise InputError(
                f"{lacking[0].image}: has no mask ({len(lacking)} of {len(cases)} images have none); add "
                "masks or take the images away."
            )
        if in_channels < 1 or fit not in ("resize", "crop") or seed < 0:
            raise InputError(
                f"Expected 1 channel or more, fit 'resize' or 'crop' and a seed of 0 or more, but got "
                f"{in_channels}, {fit!r} and {seed}."
            )
        if not 0 <= foreground <= 1:
            raise InputError(f"Expected a foreground share between 0 and 1, but got {foreground}.")
        self.foreground = foreground
        self.cases = list(cases)
        self.size = (size, size) if isinstance(size, int) else size
        if self.size is not None and min(self.size) < 1:
            raise InputError(f"Expected a size of at least 1 pixel, but got {self.size}.")
        self.fit, self.in_channels, self.classes = fit, in_channels, classes
        self.intensity, self.augmentation, self.seed = intensity, augmentation, seed
        self.epoch = 0
        self._cache: dict[int, tuple[Tensor, Tensor]] = {}
        self._native_sizes: dict[int, tuple[int, int]] = {}
        self._free_bytes = cache_bytes

    def __len__(self) -> int:
        return len(self.cases)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose changes are drawn for plain indices; a :class:`SampleKey` brings its own."""
        self.epoch = epoch

    def __getitem__(self, key: int | SampleKey) -> dict[str, Any]:
        """One sample.

        Args:
            key: the index of a case, or what :class:`~scalefuse.data.sampling.EpochSampler` yields.

        Returns:
            ``image`` ``(C, H, W)`` float32 in [0, 1]; ``mask`` ``(H, W)`` int64 class indices, or
            ``(L, H, W)`` float32 of 0 and 1 for multi-label classes; ``index`` of the case.

        Raises:
            InputError: an image or mask that cannot be read, or of different sizes.
        """
        key = key if isinstance(key, SampleKey) else SampleKey(int(key), self.epoch)
        index = range(len(self.cases))[key.case]
        image, mask = self._load(index)
        if self.augmentation is not None or (self.fit == "crop" and self.size is not None):
            generator = np.random.default_rng([self.seed, key.epoch, index, key.repeat])
            if self.fit == "crop" and self.size is not None and self.foreground > 0:
                place = _around_foreground(mask, self.size, self.foreground, generator)
                image, mask = image[place], mask[place]
            image, mask = augment_pair(
                image,
                mask,
                self.augmentation or AugmentationConfig.off(),
                generator,
                size=self.size if self.fit == "crop" else None,
                blend_mask=self.classes is None or self.classes.multi_label or len(self.classes.names) == 2,
            )
        else:
            image = image.contiguous().to(torch.float32) / (255 if image.dtype == torch.uint8 else 65535)
        multi_label = self.classes is not None and self.classes.multi_label
        mask = mask.to(torch.float32) if multi_label else mask[0].to(torch.int64)
        return {"image": image, "mask": mask, "index": index}

    def preload(self) -> None:
        """Read all images now, so that worker processes that are forked later share them.

        Raises:
            InputError: an image or mask that cannot be read, or of different sizes.
        """
        for index in range(len(self.cases)):
            self._load(index)

    def native_sizes(self) -> list[tuple[int, int]]:
        """Height and width of each image in its file, for sampling sizes evenly; reads all images.

        Raises:
            InputError: an image or mask that cannot be read, or of different sizes.
        """
        for index in range(len(self.cases)):
            if index not in self._native_sizes:
                self._load(index)
        return [self._native_sizes[index] for index in range(len(self.cases))]

    def _load(self, index: int) -> tuple[Tensor, Tensor]:
        """Image ``(C, H, W)`` of unsigned integers and mask ``(M, H, W)``, resized where asked for."""
        if index in self._cache:
            return self._cache[index]
        case = self.cases[index]
        pixels, mask = self._pixels(case), read_case_mask(case, self.classes)
        if mask.shape[-2:] != pixels.shape[:2]:
            raise InputError(
                f"{case.image}: has {pixels.shape[0]}×{pixels.shape[1]} pixels (height×width), but its mask "
                f"has {mask.shape[-2]}×{mask.shape[-1]}; they must be the same."
            )
        self._native_sizes[index] = (pixels.shape[0], pixels.shape[1])
        image = torch.from_numpy(pixels).permute(2, 0, 1)
        # torch has no arithmetic for unsigned 16-bit numbers.
        indices = torch.from_numpy(mask if mask.dtype == np.uint8 else mask.astype(np.int32))
        marks = indices.reshape(-1, *mask.shape[-2:])
        if self.fit == "resize" and self.size is not None and self.size != tuple(pixels.shape[:2]):
            image, marks = resize_image(image, self.size), resize_mask(marks, self.size)
        size = image.numel() * image.element_size() + marks.numel() * marks.element_size()
        if size <= self._free_bytes:
            self._free_bytes -= size
            self._cache[index] = (image, marks)
        return image, marks

    def _pixels(self, case: SegmentationCase) -> NDArray[Any]:
        image = read_image(case.image, channels=self.in_channels)
        choice = resolve_intensity(image, self.intensity)
        pixels = image.pixels
        if choice.mode != "full" or pixels.dtype not in (np.uint8, np.uint16):
            unit, _ = to_unit(pixels, choice)
            pixels = np.rint(unit * 65535).astype(np.uint16)
        if pixels.ndim == 2:
            pixels = pixels[..., None]
        if pixels.shape[2] == 3 and self.in_channels == 1:
            top = np.iinfo(pixels.dtype).max
            luma, _ = to_luma_chroma(pixels.astype(np.float32) / top)
            return np.rint(luma * top).astype(pixels.dtype)[..., None]
        if pixels.shape[2] < self.in_channels:
            return np.repeat(pixels, self.in_channels, axis=2)
        return np.ascontiguousarray(pixels)


def _around_foreground(
    mask: Tensor, size: tuple[int, int], share: float, generator: np.random.Generator
) -> tuple[Any, slice, slice]:
    """Up to 1.5 times a crop's size around a pixel of the foreground; the whole image where none is drawn.

    Every crop of ``size`` within it holds the pixel.
    """
    found = np.flatnonzero(mask.amax(0).numpy()) if generator.random() < share else np.empty(0, np.intp)
    if not len(found):
        return ..., slice(None), slice(None)
    sides = mask.shape[-2:]
    pixel = np.unravel_index(found[generator.integers(len(found))], sides)
    slices = []
    for centre, want, side in zip(pixel, size, sides, strict=True):
        reach = 3 * want // 4
        start = max(min(int(centre) - reach, side - want), 0)
        slices.append(slice(start, min(max(int(centre) + reach, want), side)))
    return ..., slices[0], slices[1]


def resize_image(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize an image, bilinear with antialiasing.

    Args:
        image: ``(C, H, W)``, unsigned integers or floating point.
        size: new height and width.

    Returns:
        ``(C, H', W')`` in the type of the image.

    Example:
        >>> resize_image(torch.tensor([[[0, 200]]], dtype=torch.uint8), (1, 1))
        tensor([[[100]]], dtype=torch.uint8)
    """
    small = F.interpolate(image[None].to(torch.float32), size=size, mode="bilinear", antialias=True)[0]
    return small if image.is_floating_point() else small.round_().to(image.dtype)


def resize_mask(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize a mask by the nearest pixel, measured between centres.

    Args:
        mask: ``(M, H, W)``, any number type.
        size: new height and width.

    Example:
        >>> resize_mask(torch.tensor([[[1, 2, 3]]]), (1, 1))
        tensor([[[2]]])
    """
    return F.interpolate(mask[None].to(torch.float32), size=size, mode="nearest-exact")[0].to(mask.dtype)
