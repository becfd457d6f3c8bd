"""A classification data set as tensors for training."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from scalefuse.data.augmentation_classification import ClassificationAugmentation, augment_image
from scalefuse.data.batch_mixing import MixConfig as MixConfig
from scalefuse.data.batch_mixing import mix_batch as mix_batch
from scalefuse.data.classification import ClassificationCase
from scalefuse.data.classification_input import (
    ClassificationPreprocessing,
    Fit,
    fit_image,
    standardise,
    to_unit_tensor,
)
from scalefuse.data.sampling import SampleKey
from scalefuse.errors import InputError

TRAINING_MARGIN = 1.25
"""How much larger than needed for the whole image training images are kept, so that parts stay sharp."""


class ClassificationDataset(Dataset[dict[str, Any]]):
    """Images and targets as tensors, changed at random for training.

    A sample depends on the seed, the epoch and the index only, so that a resumed training sees what an
    undisturbed one would have seen. Without changes it is exactly what prediction sees. Images are kept in
    memory after they were read and made smaller.

    Args:
        cases: the cases.
        preprocessing: size, range and the rest, as for prediction.
        in_channels: 1 (colour becomes luma) or 3 (grey is repeated).
        num_classes: length of multi-label targets; needed for those only.
        augmentation: random changes, or ``None`` for none.
        seed: of the random changes, 0 or more.
        cache_bytes: up to how much memory the images may take.

    Raises:
        InputError: no cases, or arguments outside of these.

    Example:
        >>> case = ClassificationCase("0", "train", 1, pixels=np.full((30, 28), 255, np.uint8))
        >>> data = ClassificationDataset([case], ClassificationPreprocessing(size=(28, 28)), 3)
        >>> sample = data[0]
        >>> sample["image"].shape, round(sample["image"].max().item(), 3), sample["target"], sample["weight"]
        (torch.Size([3, 28, 28]), 1.0, tensor(1), tensor(1.))
    """

    def __init__(
        self,
        cases: Sequence[ClassificationCase],
        preprocessing: ClassificationPreprocessing,
        in_channels: int,
        *,
        num_classes: int | None = None,
        augmentation: ClassificationAugmentation | None = None,
        seed: int = 0,
        cache_bytes: int = 2 * 2**30,
    ) -> None:
        if not cases:
            raise InputError("A data set needs at least one case, but got none; check its folder or table.")
        if in_channels not in (1, 3) or seed < 0:
            raise InputError(
                f"Expected 1 or 3 channels and a seed of 0 or more, but got {in_channels} and {seed}."
            )
        if preprocessing.multi_label and num_classes is None:
            raise InputError("A multi-label data set needs the number of classes; give num_classes.")
        self.cases = list(cases)
        self.preprocessing, self.in_channels, self.num_classes = preprocessing, in_channels, num_classes
        self.augmentation, self.seed, self.epoch = augmentation, seed, 0
        self._cache: dict[int, Tensor] = {}
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
            ``image`` ``(C, H, W)`` float32, standardised; ``target`` class index, int64, or ``(K,)`` float32
            of 0 and 1 for multi-label sets; ``weight`` float32; ``index`` of the case.

        Raises:
            InputError: an image that cannot be read or used.
        """
        key = key if isinstance(key, SampleKey) else SampleKey(int(key), self.epoch)
        index = range(len(self.cases))[key.case]
        image = self._load(index)
        if self.augmentation is not None:
            image = augment_image(
                _to_float(image),
                self.augmentation,
                np.random.default_rng([self.seed, key.epoch, index, key.repeat]),
                size=self.preprocessing.size,
                fit=self.preprocessing.fit,
            )
        case = self.cases[index]
        return {
            "image": standardise(image, self.preprocessing).expand(self.in_channels, -1, -1).contiguous(),
            "target": self._target(case),
            "weight": torch.tensor(case.weight, dtype=torch.float32),
            "index": index,
        }

    def preload(self) -> None:
        """Read all images now, so that worker processes that are forked later share them.

        Raises:
            InputError: an image that cannot be read or used.
        """
        for index in range(len(self.cases)):
            self._load(index)

    def _target(self, case: ClassificationCase) -> Tensor:
        if not self.preprocessing.multi_label:
            return torch.tensor(case.labels[0])
        assert self.num_classes is not None
        target = torch.zeros(self.num_classes)
        target[list(case.labels)] = 1
        return target

    def _load(self, index: int) -> Tensor:
        """``(1 or C, H, W)``: as the network takes it; for random changes larger, perhaps in 8 bits."""
        if index in self._cache:
            return self._cache[index]
        case, size, fit = self.cases[index], self.preprocessing.size, self.preprocessing.fit
        picture = case.read()
        try:
            image = to_unit_tensor(picture, self.preprocessing.intensity, self.in_channels)
        except InputError as error:
            named = str(error).removeprefix("the image: ")
            raise InputError(named if str(case.path) in named else f"{case.key}: {named}") from error
        if self.augmentation is None:
            image = fit_image(image, size, fit)
        else:
            image = _shrink(image, size, fit)
            if picture.bits == 8:
                image = (image * 255).round_().to(torch.uint8)
        num_bytes = image.numel() * image.element_size()
        if num_bytes <= self._free_bytes:
            self._free_bytes -= num_bytes
            # A part of a larger tensor would keep all of it.
            self._cache[index] = image.clone()
        return image


def _shrink(image: Tensor, size: tuple[int, int], fit: Fit) -> Tensor:
    """Make an image smaller where it is far larger than needed, so that sampling it does not alias."""
    sides = image.shape[-2:]
    needed = [length / side for length, side in zip(size, sides, strict=True)]
    if fit != "resize":
        # Proportions stay; padded, the axis that shrinks most counts, and cropped the other one.
        needed = [min(needed) if fit == "pad" else max(needed)] * 2
    factors = [min(1.0, factor * TRAINING_MARGIN) for factor in needed]
    height, width = (max(1, round(side * factor)) for side, factor in zip(sides, factors, strict=True))
    return fit_image(image, (height, width), "resize")


def _to_float(image: Tensor) -> Tensor:
    return image.to(torch.float32).div_(255) if image.dtype == torch.uint8 else image
