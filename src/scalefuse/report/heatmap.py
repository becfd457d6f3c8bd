"""A picture with a map of evidence over it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_COLOURS = np.array([(0, 0, 255), (0, 229, 255), (118, 255, 3), (255, 214, 0), (255, 0, 0)], np.float32)
_STRIP_ROWS = 1024


def heat_overlay(pixels: NDArray[Any], heat: NDArray[Any], *, strength: float = 0.6) -> NDArray[np.uint8]:
    """Colour a picture from blue (a little) over green to red (most); where the map is 0 it stays as it is.

    Args:
        pixels: ``(H, W)`` or ``(H, W, 3)``; 8-bit values are shown as they are, others from their smallest to
            their largest.
        heat: ``(H, W)``, values in [0, 1].
        strength: share of the colour where the map is 1, in [0, 1]; it grows with the map.

    Returns:
        ``(H, W, 3)``.

    Example:
        >>> heat_overlay(np.full((1, 2), 100, np.uint8), np.array([[0.0, 1.0]])).tolist()
        [[[100, 100, 100], [193, 40, 40]]]
    """
    height, width = pixels.shape[:2]
    drawn = np.empty((height, width, 3), np.uint8)
    low, high = (0.0, 255.0) if pixels.dtype == np.uint8 else (float(pixels.min()), float(pixels.max()))
    # In strips, since the real numbers of a large picture would take many times its memory.
    for top in range(0, height, _STRIP_ROWS):
        rows = slice(top, top + _STRIP_ROWS)
        grey = (pixels[rows].astype(np.float32) - low) * (255 / max(high - low, 1e-12))
        grey = grey if grey.ndim == 3 else grey[..., None]
        value = np.clip(heat[rows].astype(np.float32), 0, 1)
        share = (strength * np.sqrt(value))[..., None]
        drawn[rows] = np.floor((1 - share) * grey + share * _colour(value) + 0.5).clip(0, 255)
    return drawn


def _colour(value: NDArray[np.float32]) -> NDArray[np.float32]:
    place = value * (len(_COLOURS) - 1)
    lower = np.minimum(place.astype(np.intp), len(_COLOURS) - 2)
    part = (place - lower)[..., None]
    colour: NDArray[np.float32] = _COLOURS[lower] * (1 - part) + _COLOURS[lower + 1] * part
    return colour
