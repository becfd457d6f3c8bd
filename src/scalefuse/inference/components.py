"""Connected components of masks of any size, band by band."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalefuse.errors import InputError

BAND_PIXELS = 4 * 1024 * 1024
"""Pixels looked at together: bounds the working memory beyond the result."""


def row_bands(shape: tuple[int, ...], band_pixels: int = BAND_PIXELS) -> Iterator[slice]:
    """Cut a picture into bands of whole rows.

    Args:
        shape: (height, width).
        band_pixels: pixels in a band; it has at least one row.

    Example:
        >>> list(row_bands((5, 10), 20))
        [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    height, width = shape
    step = max(1, band_pixels // max(1, width))
    for top in range(0, height, step):
        yield slice(top, min(top + step, height))


def label_components(
    mask: NDArray[Any], *, diagonal: bool = True, band_pixels: int = BAND_PIXELS
) -> tuple[NDArray[np.int32], int]:
    """Number the connected components of a mask.

    Each band is labelled by itself; labels that meet at a border between two bands are joined by union-find.
    The numbers run in reading order of each component's first pixel, whatever the bands: the result is the
    same as of labelling the whole picture at once.

    Args:
        mask: ``(H, W)``.
        diagonal: whether pixels that touch by a corner hang together.
        band_pixels: pixels labelled together.

    Returns:
        Labels ``(H, W)``, 0 for the background, and their number.

    Raises:
        InputError: not two dimensions.

    Example:
        >>> label_components(np.array([[1, 0, 1], [1, 0, 0], [0, 1, 0]]))
        (array([[1, 0, 2],
               [1, 0, 0],
               [0, 1, 0]], dtype=int32), 2)
    """
    from scipy.ndimage import label

    if mask.ndim != 2:
        raise InputError(f"Expected a mask (H, W), but got shape {mask.shape}.")
    neighbours = np.ones((3, 3), bool) if diagonal else None
    labels = np.zeros(mask.shape, np.int32)
    parent: dict[int, int] = {}
    total = 0
    for band in row_bands(mask.shape, band_pixels):
        part = labels[band]
        number = label(mask[band] != 0, structure=neighbours, output=part)
        part[part > 0] += total
        total += number
        if band.start:
            for upper, lower in _touching(labels[band.start - 1], part[0], diagonal=diagonal):
                _join(parent, upper, lower)
    if not parent:
        return labels, total
    roots = np.array([_root(parent, one) for one in range(total + 1)])
    kept, table = np.unique(roots, return_inverse=True)
    table = table.reshape(-1).astype(np.int32)
    for band in row_bands(mask.shape, band_pixels):
        labels[band] = table[labels[band]]
    return labels, len(kept) - 1


def component_sizes(labels: NDArray[np.int32], number: int) -> NDArray[np.int64]:
    """Pixels of each label, ``(number + 1,)``, with the background's at 0.

    Args:
        labels: ``(H, W)``, values from 0 to ``number``.
        number: the largest label.

    Example:
        >>> component_sizes(np.array([[0, 1], [1, 2]], np.int32), 2)
        array([1, 2, 1])
    """
    sizes = np.zeros(number + 1, np.int64)
    for band in row_bands(labels.shape):
        sizes += np.bincount(labels[band].ravel(), minlength=number + 1)
    return sizes


def _touching(upper: NDArray[np.int32], lower: NDArray[np.int32], *, diagonal: bool) -> list[tuple[int, int]]:
    pairs = [np.stack([upper, lower])]
    if diagonal:
        pairs += [np.stack([upper[1:], lower[:-1]]), np.stack([upper[:-1], lower[1:]])]
    met = np.concatenate(pairs, axis=1)
    met = np.unique(met[:, (met > 0).all(axis=0)], axis=1)
    return [(int(one), int(other)) for one, other in met.T]


def _root(parent: dict[int, int], label: int) -> int:
    root = label
    while root in parent:
        root = parent[root]
    while label != root:
        parent[label], label = root, parent[label]
    return root


def _join(parent: dict[int, int], one: int, other: int) -> None:
    # The smaller label is the one that comes first in reading order; it stays.
    low, high = sorted((_root(parent, one), _root(parent, other)))
    if low != high:
        parent[high] = low
