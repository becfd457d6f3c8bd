"""A picture with the outline of a mask."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalefuse.data.colour import shown

COLOURS = ((255, 214, 0), (0, 229, 255), (255, 64, 129), (118, 255, 3), (255, 145, 0), (179, 136, 255))
_STRIP_ROWS = 1024


def overlay(pixels: NDArray[Any], mask: NDArray[Any]) -> NDArray[np.uint8]:
    """Draw the inner outline of every class over a picture.

    Args:
        pixels: ``(H, W)`` or ``(H, W, 3)``; 8-bit values are shown as they are, others from their
            smallest to their largest. Of other numbers of channels a mean is shown.
        mask: Boolean ``(H, W)``, class indices ``(H, W)`` with 0 for the background, or Boolean
            ``(K, H, W)``.

    Returns:
        ``(H, W, 3)``.

    Example:
        >>> mask = np.zeros((5, 5), bool)
        >>> mask[1:4, 1:4] = True
        >>> drawn = overlay(np.zeros((5, 5), np.uint8), mask)
        >>> int((drawn[..., 0] > 0).sum()), drawn[2, 2].tolist()
        (8, [0, 0, 0])
    """
    pixels = shown(pixels)
    height, width = pixels.shape[:2]
    drawn = np.empty((height, width, 3), np.uint8)
    low, high = (0.0, 255.0) if pixels.dtype == np.uint8 else (float(pixels.min()), float(pixels.max()))
    for top in range(0, height, _STRIP_ROWS):
        strip = pixels[top : top + _STRIP_ROWS]
        if pixels.dtype != np.uint8:
            strip = ((strip.astype(np.float32) - low) * (255 / max(high - low, 1e-12))).astype(np.uint8)
        drawn[top : top + _STRIP_ROWS] = strip if strip.ndim == 3 else strip[..., None]
    if mask.ndim == 3:
        layers = list(mask)
    elif mask.dtype == np.bool_:
        layers = [mask]
    else:
        layers = [mask == value for value in range(1, int(mask.max(initial=0)) + 1)]
    for number, layer in enumerate(layers):
        drawn[_outline(layer)] = COLOURS[number % len(COLOURS)]
    return drawn


def _outline(layer: NDArray[np.bool_]) -> NDArray[np.bool_]:
    inside = layer.copy()
    inside[1:] &= layer[:-1]
    inside[:-1] &= layer[1:]
    inside[:, 1:] &= layer[:, :-1]
    inside[:, :-1] &= layer[:, 1:]
    # At the picture's border an object ends too.
    inside[[0, -1]] = False
    inside[:, [0, -1]] = False
    edge: NDArray[np.bool_] = layer & ~inside
    return edge
