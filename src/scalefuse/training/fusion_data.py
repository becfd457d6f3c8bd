"""Crops of registered pairs for training and validating a fusion network."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from scalefuse.config.base import expand_path
from scalefuse.config.fusion import FusionData, PairFolders
from scalefuse.data.colour import to_luma_chroma
from scalefuse.data.intensity import IntensityRange, resolve_intensity, to_unit
from scalefuse.data.pairs import Pair, pair_by_name, paired_by_parts
from scalefuse.data.read import read_image
from scalefuse.data.sampling import SampleKey
from scalefuse.errors import InputError

_MAX_REDRAWS = 20
_FOREGROUND = 0.08

SMALLEST_MEASURED = 41
"""Sides from which on all four scales of the visual information fidelity can be measured."""


@dataclass(frozen=True)
class PairCase:
    """One registered pair in memory: luma as float32 ``(H, W)`` in [0, 1], and where it came from."""

    name: str
    source: str
    a: NDArray[np.float32]
    b: NDArray[np.float32]
    scd_enough: float | None = None


class PairSample(NamedTuple):
    """What the network is trained on: two images ``(1, H, W)`` in [0, 1].

    ``scd_enough`` is the SCD at which the pair has enough of it, infinite where that is left to the loss.
    """

    a: Tensor
    b: Tensor
    scd_enough: Tensor


def read_pairs(
    folders: Sequence[PairFolders],
    exclude: str | None = None,
    *,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[list[PairCase], str]:
    """Read all pairs of some folders, but those in whose name the regular expression ``exclude`` is found.

    Args:
        folders: Where they are.
        exclude: The regular expression.
        say: Told where names were paired by what they share.

    Returns:
        The pairs, and the SHA-256 fingerprint over names and file contents.

    Raises:
        InputError: A folder is missing or holds no pairs, a partner is missing, a file cannot be read, or the
            sizes of a pair differ; or no pair is left.
    """
    cases: list[PairCase] = []
    fingerprint = hashlib.sha256()
    firsts = [str(entry.a) for entry in folders]
    for entry in folders:
        # Entries are told apart, also where they share the first folder.
        source = f"{entry.a}+{entry.b}" if firsts.count(str(entry.a)) > 1 else str(entry.a)
        pairs, missing = pair_by_name(expand_path(entry.a), expand_path(entry.b))
        if missing:
            more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            raise InputError(f"{missing[0]}{more} Training data must be complete: add or remove files.")
        if expand_path(entry.a).is_dir() and (note := paired_by_parts(pairs)):
            say(f"{entry.a} and {entry.b}: {note}")
        for pair in pairs:
            if exclude is not None and re.search(exclude, pair.name):
                continue
            cases.append(_read_pair(pair, entry, source))
            for path in (pair.a, pair.b):
                fingerprint.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    if folders and not cases:
        raise InputError(f"data.exclude {exclude!r} is found in every pair's name; leave fewer out.")
    return cases, fingerprint.hexdigest()


def _read_pair(pair: Pair, entry: PairFolders, source: str) -> PairCase:
    lumas = [_read_luma(path, choice) for path, choice in ((pair.a, entry.range_a), (pair.b, entry.range_b))]
    if lumas[0].shape != lumas[1].shape:
        sizes = " and ".join(f"{luma.shape[0]}×{luma.shape[1]}" for luma in lumas)
        raise InputError(f"{pair.a} and {pair.b} are {sizes} pixels, but must be of one size; resample one.")
    return PairCase(pair.name, source, lumas[0], lumas[1], entry.scd_enough)


def _read_luma(path: object, choice: IntensityRange | None) -> NDArray[np.float32]:
    image = read_image(str(path))
    unit, _ = to_unit(image.pixels, resolve_intensity(image, choice))
    return to_luma_chroma(unit)[0] if unit.ndim == 3 else unit


def check_sizes(cases: Sequence[PairCase]) -> None:
    """Refuse pictures that are too small for the measures that ``loss.fusion`` trains for.

    Raises:
        InputError: One has a side below 41 pixels, which the coarsest of four scales needs.
    """
    for case in cases:
        if min(case.a.shape) < SMALLEST_MEASURED:
            raise InputError(
                f"{case.source}: {case.name} has {case.a.shape[0]}×{case.a.shape[1]} pixels, but training "
                f"for fused pictures needs at least {SMALLEST_MEASURED} a side; leave it out (data.exclude) "
                "or set loss.fusion to null."
            )


def split_pairs(
    cases: list[PairCase], config: FusionData, seed: int
) -> tuple[list[PairCase], list[PairCase]]:
    """Hold out whole subjects for validation.

    Returns:
        Training and validation pairs; none of the second where ``val_fraction`` is 0.

    Raises:
        InputError: A name does not match ``subject_pattern``, or there are too few subjects.
    """
    if config.val_fraction == 0:
        return cases, []
    subjects = [_subject(case.name, config.subject_pattern) for case in cases]
    names = sorted(set(subjects))
    if len(names) < 2:
        raise InputError(
            f"The training data hold {len(names)} subject(s), so that none can be held out for validation; "
            "give data.val folders, set data.val_fraction to 0, or mend data.subject_pattern."
        )
    count = min(len(names) - 1, max(1, round(config.val_fraction * len(names))))
    held = set(np.random.default_rng(seed).permutation(names)[:count])
    pairs = list(zip(cases, subjects, strict=True))
    return [case for case, who in pairs if who not in held], [case for case, who in pairs if who in held]


def _subject(name: str, pattern: str | None) -> str:
    if pattern is None:
        return name
    try:
        match = re.search(pattern, name)
    except re.error as error:
        raise InputError(f"data.subject_pattern {pattern!r} is no regular expression ({error}).") from error
    if match is None or not match.groups() or match[1] is None:
        raise InputError(
            f"data.subject_pattern {pattern!r} finds no group in the file name {name!r}; "
            "write one group in brackets that matches the subject, such as '^(.*)\\d{3}$'."
        )
    return match[1]


class PairDataset(Dataset[PairSample]):
    """Registered pairs, cropped and mirrored.

    Args:
        cases: Pairs in memory.
        config: Crops and flips; whole images where None, for validation.
        seed: Seed of the run. A sample depends on it and on its :class:`SampleKey` alone.
    """

    def __init__(self, cases: list[PairCase], config: FusionData | None = None, seed: int = 0) -> None:
        self.cases = cases
        self.config = config
        self.seed = seed
        sizes = sorted({case.a.shape for case in cases})
        if config is not None and config.crop is None and len(sizes) > 1:
            found = ", ".join(f"{height}×{width}" for height, width in sizes[:3])
            raise InputError(
                f"The training images have {len(sizes)} sizes ({found}, …), but whole images must have one; "
                f"set data.crop to {min(min(size) for size in sizes)} or less."
            )
        if config is not None and config.crop is not None:
            small = next((case for case in cases if min(case.a.shape) < config.crop), None)
            if small is not None:
                raise InputError(
                    f"{small.name} is {small.a.shape[0]}×{small.a.shape[1]} pixels, smaller than the crop of "
                    f"{config.crop}; set data.crop to {min(small.a.shape)} or less."
                )

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, key: int | SampleKey) -> PairSample:
        """One pair; cropped and mirrored where the data set has a config."""
        key = key if isinstance(key, SampleKey) else SampleKey(int(key))
        case = self.cases[key.case]
        if self.config is None:
            return self._sample(case, case.a, case.b)
        generator = np.random.default_rng((self.seed, key.epoch, key.case, key.repeat))
        a, b = case.a, case.b
        if self.config.crop is not None:
            a, b = self._crop(a, b, generator)
        if self.config.flips:
            for axis in (0, 1):
                if generator.random() < 0.5:
                    a, b = np.flip(a, axis), np.flip(b, axis)
        return self._sample(case, a.copy(), b.copy())

    @staticmethod
    def _sample(case: PairCase, a: NDArray[np.float32], b: NDArray[np.float32]) -> PairSample:
        enough = torch.tensor(torch.inf if case.scd_enough is None else case.scd_enough)
        return PairSample(torch.from_numpy(a)[None], torch.from_numpy(b)[None], enough)

    def _crop(
        self, a: NDArray[np.float32], b: NDArray[np.float32], generator: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        assert self.config is not None
        side = self.config.crop or 0
        for _ in range(_MAX_REDRAWS):
            top = int(generator.integers(a.shape[0] - side + 1))
            left = int(generator.integers(a.shape[1] - side + 1))
            place = np.s_[top : top + side, left : left + side]
            # Crops of nothing but background teach nothing, and the norms' statistics are those of a head.
            if (
                min((a[place] > _FOREGROUND).mean(), (b[place] > _FOREGROUND).mean())
                >= self.config.min_foreground
            ):
                break
        return a[place], b[place]
