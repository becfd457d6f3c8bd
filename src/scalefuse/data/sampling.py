"""In which order the cases of a data set are seen."""

from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler

from scalefuse.errors import InputError


class SampleKey(NamedTuple):
    """What a random sample depends on, besides the seed.

    Attributes:
        case: its index in the data set.
        epoch: of the training.
        repeat: how many times the case came before in this epoch.
    """

    case: int
    epoch: int = 0
    repeat: int = 0


class EpochSampler(Sampler[SampleKey]):
    """Draw the cases of each epoch in an order that depends on the seed and the epoch only.

    It yields :class:`SampleKey`, so that a data set's random changes are the same whether an epoch is reached
    in one run or in a resumed one, and in whichever worker process. Lightning calls :meth:`set_epoch`.

    With ``balance`` above 0, cases of rare groups come more often: a group of n cases gets a share of the
    epoch in proportion to n to the power of (1 - balance). At 1 all groups come equally often. Where a share
    is not a whole number of cases, chance decides anew in each epoch between the two next to it, so that over
    the epochs every group has its share, however small.

    Args:
        groups: the group of each case, such as its image size.
        seed: of the order, 0 or more.
        balance: from 0, every case once, to 1, every group equally often.
        num_samples: length of an epoch; by default the number of cases.

    Raises:
        InputError: no cases, a negative seed, or a balance outside [0, 1].

    Example:
        >>> sampler = EpochSampler(["small", "small", "small", "large"], seed=0, balance=1)
        >>> [key.case for key in sampler].count(3), len(sampler)
        (2, 4)
    """

    def __init__(
        self,
        groups: Sequence[Hashable],
        *,
        seed: int,
        balance: float = 0.0,
        num_samples: int | None = None,
    ) -> None:
        if not groups or seed < 0 or not 0 <= balance <= 1:
            raise InputError(
                "Expected at least one case, a seed of 0 or more and a balance between 0 and 1, but got "
                f"{len(groups)} cases, seed {seed} and balance {balance}."
            )
        members: dict[Hashable, list[int]] = {}
        for index, group in enumerate(groups):
            members.setdefault(group, []).append(index)
        self._members = list(members.values())
        self._num_samples = len(groups) if num_samples is None else num_samples
        self._seed, self._balance = seed, float(balance)
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order is drawn next."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self._num_samples

    def __iter__(self) -> Iterator[SampleKey]:
        rng = np.random.default_rng([self._seed, self.epoch])
        keys: list[SampleKey] = []
        counts = self._counts(np.random.default_rng([self._seed, self.epoch, 1]))
        for members, count in zip(self._members, counts, strict=True):
            # Whole passes through the group, then a part of one: no case comes twice more often than another.
            for start in range(0, count, len(members)):
                order = rng.permutation(len(members))[: count - start]
                keys += [SampleKey(members[i], self.epoch, start // len(members)) for i in order]
        return iter([keys[i] for i in rng.permutation(len(keys))])

    def _counts(self, rng: np.random.Generator) -> list[int]:
        weights = np.array([len(members) for members in self._members], float) ** (1 - self._balance)
        shares = weights / weights.sum() * self._num_samples
        counts = np.floor(shares + 1e-9).astype(int)
        missing = self._num_samples - int(counts.sum())
        if missing:
            # Systematic sampling: each group gets one more with the probability of what its share has left,
            # and the sum is kept. In a random order, so that no groups always go together.
            order = rng.permutation(len(counts))
            left = np.clip((shares - counts)[order], 0, None)
            ends = np.cumsum(left * (missing / left.sum()))
            ends[-1] = missing
            passed = np.floor(np.concatenate([[0.0], ends]) + rng.random())
            counts[order] += np.diff(passed).astype(int)
        return [int(count) for count in counts]


class EvenBatches(Sampler[list[SampleKey]]):
    """Batches of about the same size, in which every case of an epoch is seen.

    As few batches as ``batch_size`` allows, whose sizes differ by one at most: a small rest would weigh as
    much in a step as a full batch, and leaving it out would leave out up to half of a small data set.

    Args:
        sampler: of the cases.
        batch_size: cases of a batch at most.
        least: cases of a batch at least, such as 2 for batch normalisation of one number each; goes before
            ``batch_size``.

    Example:
        >>> batches = EvenBatches(EpochSampler(range(7), seed=0), 3)
        >>> len(batches), [len(batch) for batch in batches]
        (3, [2, 2, 3])
    """

    def __init__(self, sampler: EpochSampler, batch_size: int, *, least: int = 1) -> None:
        self.sampler = sampler
        count = len(sampler)
        self._count = max(1, min(-(-count // batch_size), count // least))

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[list[SampleKey]]:
        keys = list(self.sampler)
        for number in range(self._count):
            yield keys[number * len(keys) // self._count : (number + 1) * len(keys) // self._count]
