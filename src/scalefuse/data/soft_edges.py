"""Masks whose values are not quite 0 and 255: rings of JPEG, soft edges of a resizing."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

RING_TOLERANCE = 32
RING_SHARE = 0.95
"""A mask counts as 0/255 with soft edges where this share of pixels lies within the tolerance of 0 or 255."""

EDGE_WIDTH = 2
"""So many pixels from an edge its soft values may lie."""

FEW_LEVELS = 8
"""In a file that alters nothing, so few values between 0 and 255 may be classes; where they lie decides."""


def has_soft_edges(values: NDArray[Any], *, lossy: bool) -> bool:
    """Whether a mask is 0/255 up to the rings of JPEG or the soft edges of a smooth resizing.

    Args:
        values: ``(H, W)`` grey values, 0 to 255. In a lossless file a few values between 0 and 255 are
            classes where they fill areas.
        lossy: whether the file format alters values, so that a mask may also lie near 0 everywhere.

    Example:
        >>> has_soft_edges(np.array([[0, 2, 251, 255]]), lossy=False)
        True
        >>> areas = np.repeat(np.repeat(np.array([[0, 128], [0, 255]]), 9, axis=0), 9, axis=1)
        >>> has_soft_edges(areas, lossy=False)
        False
        >>> has_soft_edges(np.where(areas == 128, 1, areas), lossy=False)  # 255 belongs to no class
        False
    """
    top = int(values.max())
    if top > 255 or (top < 255 - RING_TOLERANCE and not lossy):
        return False
    from scipy import ndimage

    if not lossy:
        found = np.unique(values)
        others = found[(found > 0) & (found < top)]
        # Classes and a rim of 255 that belongs to none: rings of JPEG lie below 255 as well as above 0.
        small = len(others) == 1 or (0 < len(others) <= FEW_LEVELS and others.max() <= RING_TOLERANCE)
        if small and all(ndimage.minimum_filter(values == level, 3).any() for level in others):
            return False
    between = (values > RING_TOLERANCE) & (values < 255 - RING_TOLERANCE)
    if not between.any():
        return True
    levels = len(np.unique(values[between]))
    if not lossy and levels == 1 and ndimage.minimum_filter(between, 3).any():
        # A resizing leaves several levels, on edges; one alone that fills an area is a class.
        return False
    if (lossy or levels > FEW_LEVELS) and float(np.mean(between)) <= 1 - RING_SHARE:
        return True
    # What lies between must lie on edges, however many there are.
    around = 2 * EDGE_WIDTH + 1
    reach = ndimage.maximum_filter(values, around).astype(np.int32) - ndimage.minimum_filter(values, around)
    return float(np.mean(reach[between] > 255 // 2)) >= RING_SHARE
