"""Finding images that are the same picture, re-encoded, brightened or resized."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

HASH_SIDE = 32
THUMBNAIL_SIDE = 64
MAX_DISTANCE = 12
"""Bits of 63 by which the hashes of two copies may differ."""
MIN_CORRELATION = 0.75
"""Least correlation of the fine detail of two copies."""


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """What is kept of an image to compare it with others.

    Attributes:
        hash: 63 bits: the signs of its coarsest cosine waves, against their median.
        turned: The hashes of the image mirrored, turned, or both: the seven other ways to lay it down.
        detail: ``(4096,)`` float32, the fine detail of a thumbnail, of mean 0 and length 1; all 0 for an
            image of one value, which is like no other.
    """

    hash: int
    turned: tuple[int, ...]
    detail: NDArray[np.float32]


class NearDuplicate(NamedTuple):
    """Two images that look like the same picture.

    Attributes:
        first: index of one.
        second: index of the other, which comes later.
        correlation: of their fine detail, at most 1.
    """

    first: int
    second: int
    correlation: float


def fingerprint(pixels: NDArray[Any]) -> Fingerprint:
    """Reduce an image to its fingerprint.

    The hash is a perceptual hash by the cosine transform (C. Zauner, "Implementation and Benchmarking of
    Perceptual Image Hash Functions", 2010, section 3.2.1). It is blind to detail, and many medical images are
    alike but for detail (a dark spot on skin); therefore the detail of a thumbnail, what is left after taking
    its blurred self away, is kept beside it.

    Args:
        pixels: ``(H, W)`` or ``(H, W, C)``, any range of values.

    Returns:
        The fingerprint; the same for any positive linear change of all values.

    Example:
        >>> image = np.random.default_rng(0).random((100, 80))
        >>> fingerprint(image).hash == fingerprint(image / 2 + 7).hash
        True
    """
    values = pixels.astype(np.float32)
    grey = values
    if values.ndim == 3:
        weights = np.ones(values.shape[2], np.float32)
        if len(weights) != 3:
            # Channels that are no colours may be of very different brightness; each counts as much.
            spreads = values.std(axis=(0, 1), dtype=np.float64)
            weights = np.where(spreads > 0, 1 / np.maximum(spreads, 1e-30), 0).astype(np.float32)
        # A product with weights is several times faster than a mean over the short last axis.
        grey = values @ (weights / np.float32(len(weights)))
    thumbnail = shrink(grey, THUMBNAIL_SIDE)
    thumbnail -= thumbnail.mean()
    spread = float(np.abs(thumbnail).max())
    if spread <= 1e-6 * max(1.0, float(np.abs(grey).max())):
        return Fingerprint(0, (0,) * 7, np.zeros(THUMBNAIL_SIDE**2, np.float32))
    thumbnail /= spread
    step = THUMBNAIL_SIDE // HASH_SIDE
    small = thumbnail.reshape(HASH_SIDE, step, HASH_SIDE, step).mean(axis=(1, 3))
    waves = _cosines(HASH_SIDE)[:8] @ small @ _cosines(HASH_SIDE)[:8].T
    # Mirroring an image turns the sign of its odd waves; exchanging its axes exchanges theirs.
    signs = np.where(np.arange(8) % 2, -1, 1)
    laid = [
        np.reshape(down, (-1, 1)) * both * across
        for both in (waves, waves.T)
        for down in (np.ones(8), signs)
        for across in (np.ones(8), signs)
    ]
    value, *turned = (_sign_bits(one) for one in laid)
    detail = (thumbnail - _blur(thumbnail)).ravel()
    # Burnt-in text and borders, which all images of a device share, must not outweigh the picture.
    limit = 2 * float(np.sqrt(np.mean(detail**2)))
    detail = np.clip(detail, -limit, limit)
    detail -= detail.mean()
    length = float(np.linalg.norm(detail))
    return Fingerprint(
        value, tuple(turned), (detail / length if length > 1e-6 else 0 * detail).astype(np.float32)
    )


def _sign_bits(waves: NDArray[Any]) -> int:
    values = waves.ravel()[1:]
    bits = np.concatenate([[False], values > np.median(values)])
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def find_near_duplicates(
    fingerprints: Sequence[Fingerprint],
    *,
    max_distance: int = MAX_DISTANCE,
    min_correlation: float = MIN_CORRELATION,
) -> list[NearDuplicate]:
    """Find the pairs of images that look like the same picture.

    Two images are compared by hash first, and then by the correlation of their detail. Found are copies that
    were re-encoded, brightened, resized, stretched, mirrored or turned by quarters; not those that were
    cropped, and few of those that were shrunk below 40 pixels.

    Args:
        fingerprints: of the images.
        max_distance: number of bits by which the hashes may differ.
        min_correlation: least correlation of the detail.

    Returns:
        The pairs, in the order of the images.

    Example:
        >>> image = np.random.default_rng(0).random((100, 80))
        >>> other = np.random.default_rng(1).random((100, 80))
        >>> find_near_duplicates([fingerprint(image), fingerprint(other), fingerprint(image**0.9)])[0][:2]
        (0, 2)
    """
    if not fingerprints:
        return []
    hashes = np.array([(item.hash, *item.turned) for item in fingerprints], np.uint64)
    details = np.stack([item.detail for item in fingerprints])
    pairs: list[NearDuplicate] = []
    for index in range(len(fingerprints) - 1):
        best: dict[int, float] = {}
        for laid, own in enumerate(hashes[index]):
            near = np.flatnonzero(_count_bits(hashes[index + 1 :, 0] ^ own) <= max_distance) + index + 1
            if not len(near):
                continue
            for other, correlation in zip(near, details[near] @ _laid(details[index], laid), strict=True):
                best[int(other)] = max(best.get(int(other), -1.0), float(correlation))
        pairs += [
            NearDuplicate(index, other, min(1.0, correlation))
            for other, correlation in sorted(best.items())
            if correlation >= min_correlation
        ]
    return pairs


def _laid(detail: NDArray[np.float32], way: int) -> NDArray[np.float32]:
    """The detail laid down another way, in the order of :attr:`Fingerprint.turned`; 0 is as it is."""
    exchanged, down, across = way >= 4, way % 4 >= 2, way % 2
    image = detail.reshape(THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    image = image.T if exchanged else image
    return image[:: -1 if down else 1, :: -1 if across else 1].ravel()


def group_duplicates(pairs: Sequence[NearDuplicate]) -> list[list[int]]:
    """Join pairs that share an image to groups.

    Returns:
        Indices of the images of each group, ascending.

    Example:
        >>> group_duplicates([NearDuplicate(0, 3, 1.0), NearDuplicate(3, 5, 1.0), NearDuplicate(1, 2, 1.0)])
        [[0, 3, 5], [1, 2]]
    """
    group_of: dict[int, list[int]] = {}
    for first, second, _ in pairs:
        joined = group_of.get(first, [first]), group_of.get(second, [second])
        members = joined[0] if joined[0] is joined[1] else sorted({*joined[0], *joined[1]})
        group_of.update(dict.fromkeys(members, members))
    unique = {id(members): members for members in group_of.values()}
    return sorted(unique.values())


def shrink(grey: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Average an image into a square of cells, each of which covers its exact share of pixels.

    Args:
        grey: ``(H, W)``, of any size, also smaller than the square.
        side: number of cells along each axis.

    Returns:
        ``(side, side)`` float32.

    Example:
        >>> shrink(np.array([[0, 3, 6], [0, 3, 6]], np.float32), 2).round(3).tolist()
        [[1.0, 5.0], [1.0, 5.0]]
    """
    return np.asarray(_cells(grey.shape[0], side) @ grey @ _cells(grey.shape[1], side).T, np.float32)


@cache
def _cells(length: int, side: int) -> NDArray[np.float32]:
    """``(side, length)``: the share of each pixel in each cell."""
    edges = np.arange(side + 1) * (length / side)
    pixels = np.arange(length)
    low, high = np.maximum(edges[:-1, None], pixels), np.minimum(edges[1:, None], pixels + 1)
    shares: NDArray[np.float64] = np.clip(high - low, 0, None) * (side / length)
    return shares.astype(np.float32)


@cache
def _cosines(length: int) -> NDArray[np.float32]:
    """The orthonormal cosine transform (DCT-II) as a matrix."""
    places = (np.arange(length) + 0.5) * np.pi / length
    waves: NDArray[np.float64] = np.cos(np.arange(length)[:, None] * places) * np.sqrt(2 / length)
    waves[0] /= np.sqrt(2)
    return waves.astype(np.float32)


@cache
def _means_of_five(length: int) -> NDArray[np.float32]:
    """``(length, length)``: averages each place with two neighbours on either side, the last one repeated."""
    places = np.clip(np.arange(length)[:, None] + np.arange(-2, 3), 0, length - 1)
    matrix = np.zeros((length, length), np.float32)
    np.add.at(matrix, (np.arange(length)[:, None], places), np.float32(0.2))
    return matrix


def _blur(image: NDArray[np.float32]) -> NDArray[np.float32]:
    matrix = _means_of_five(len(image))
    return np.asarray(matrix @ image @ matrix.T, np.float32)


def _count_bits(values: NDArray[np.uint64]) -> NDArray[np.int64]:
    if hasattr(np, "bitwise_count"):
        return np.asarray(np.bitwise_count(values), np.int64)
    # NumPy before 2.0.
    octets = np.unpackbits(values[:, None].view(np.uint8), axis=1)
    return np.asarray(octets.sum(axis=1), np.int64)
