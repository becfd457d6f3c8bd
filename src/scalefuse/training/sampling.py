"""Data order and augmentation as pure functions of (seed, epoch, position), so that a resumed run repeats them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler


class Draw(NamedTuple):
    """One sample to make: which case, and where in the run, which fixes its augmentation.

    Attributes:
        index: Case in the data set.
        epoch: Epoch, from 0.
        position: Place in the epoch, from 0.
    """

    index: int
    epoch: int
    position: int


class EpochSampler(Sampler[Draw]):
    """Draws a fixed number of cases per epoch, every case equally often up to one.

    Args:
        num_cases: Cases in the data set.
        samples_per_epoch: Draws per epoch; all cases once where None.
        seed: Seed of the run.
        groups: Group of each case, such as its data source; groups are then drawn evenly, so that a small one
            counts as much as a large one.

    Example:
        >>> sampler = EpochSampler(3, samples_per_epoch=4, seed=0)
        >>> sorted(draw.index for draw in sampler)[:3], len(sampler)
        ([0, 0, 1], 4)
    """

    def __init__(
        self,
        num_cases: int,
        *,
        samples_per_epoch: int | None = None,
        seed: int = 0,
        groups: list[str] | None = None,
    ) -> None:
        self.num_cases = num_cases
        self.num_samples = samples_per_epoch or num_cases
        self.seed = seed
        self.groups = groups
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch to draw; Lightning calls this."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.num_samples

    def __iter__(self) -> Iterator[Draw]:
        generator = np.random.default_rng((self.seed, self.epoch))
        if self.groups is None:
            order = _endless(np.arange(self.num_cases), self.num_samples, generator)
        else:
            names = sorted(set(self.groups))
            share = -(-self.num_samples // len(names))
            members = [np.flatnonzero(np.array(self.groups) == name) for name in names]
            columns = [_endless(member, share, generator) for member in members]
            order = np.stack(columns, axis=1).ravel()
            generator.shuffle(order)
            order = order[: self.num_samples]
        for position, index in enumerate(order):
            yield Draw(int(index), self.epoch, position)


def _endless(items: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    rounds = -(-count // len(items))
    return np.concatenate([generator.permutation(items) for _ in range(rounds)])[:count]
