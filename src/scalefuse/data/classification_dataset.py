"""A classification data set as tensors for training."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from scalefuse.data.augmentation_classification import ClassificationAugmentation, MixConfig
from scalefuse.data.classification import ClassificationCase
from scalefuse.data.classification_input import ClassificationPreprocessing, prepare, standardise
from scalefuse.data.sampling import SampleKey


class ClassificationDataset(Dataset[dict[str, Any]]):
    """Images and targets as tensors, changed at random for training (skeleton: not changed yet)."""

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
        self.cases = list(cases)
        self.preprocessing, self.in_channels, self.num_classes = preprocessing, in_channels, num_classes
        self.augmentation, self.seed, self.epoch = augmentation, seed, 0

    def __len__(self) -> int:
        return len(self.cases)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose changes are drawn for plain indices; a :class:`SampleKey` brings its own."""
        self.epoch = epoch

    def __getitem__(self, key: int | SampleKey) -> dict[str, Any]:
        """``image``, ``target``, ``weight`` and ``index`` of one sample."""
        key = key if isinstance(key, SampleKey) else SampleKey(int(key), self.epoch)
        case = self.cases[key.case]
        image = standardise(prepare(case.read(), self.preprocessing, self.in_channels), self.preprocessing)
        if self.preprocessing.multi_label:
            assert self.num_classes is not None
            target = torch.zeros(self.num_classes)
            target[list(case.labels)] = 1
        else:
            target = torch.tensor(case.labels[0])
        return {"image": image, "target": target, "weight": torch.tensor(case.weight), "index": key.case}

    def preload(self) -> None:
        """Read all images now, so that worker processes that are forked later share them."""


def mix_batch(
    batch: dict[str, Tensor], config: MixConfig, generator: torch.Generator, *, num_classes: int
) -> dict[str, Tensor]:
    """Mix the images of a batch; targets become soft, ``(N, K)`` (skeleton: only that)."""
    target = batch["target"]
    if not target.is_floating_point():
        target = torch.nn.functional.one_hot(target, num_classes).to(torch.float32)
    return {**batch, "target": target}
