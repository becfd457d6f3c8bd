"""Small pictures of images with the outlines of their masks, for web pages."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalefuse.data.colour import shown
from scalefuse.data.image import Image
from scalefuse.data.read import read_image
from scalefuse.data.soft_edges import has_soft_edges
from scalefuse.errors import InputError

OUTLINE_COLOURS = ((255, 214, 0), (0, 229, 255), (255, 64, 129), (118, 255, 3))


def thumbnail_uri(image: Path | Image, masks: Sequence[Path | None] = (), *, side: int = 160) -> str | None:
    """A small picture of an image with the outlines of its masks, as a data URI.

    Images that are not 8-bit are shown from their first to their 99th percentile; very small ones enlarged by
    a whole number.

    Args:
        image: the image file, or the picture.
        masks: mask files, one colour for each place; None, those that cannot be read or have another size
            are left out.
        side: longest side of the picture, in pixels.

    Returns:
        ``data:image/jpeg;base64,…``, or ``None`` where the image cannot be read.

    Example:
        >>> import tempfile
        >>> from scalefuse.data.write import write_image
        >>> file = Path(tempfile.mkdtemp()) / "grey.png"
        >>> write_image(file, np.full((20, 30), 0.5), bits=8)
        >>> thumbnail_uri(file)[:23]
        'data:image/jpeg;base64,'
    """
    from PIL import Image as Pillow

    try:
        pixels = (image if isinstance(image, Image) else read_image(image, channels="any")).pixels
    except InputError:
        return None
    pixels = shown(pixels)
    if pixels.dtype != np.uint8:
        low, high = np.percentile(pixels, (1, 99))
        pixels = (np.clip((pixels - low) / max(float(high - low), 1e-12), 0, 1) * 255).astype(np.uint8)
    height, width = pixels.shape[:2]
    factor = min(1.0, side / max(height, width))
    if not masks and 2 * max(height, width) <= side:
        factor = side // max(height, width)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    small = np.array(Pillow.fromarray(pixels).convert("RGB").resize(size, Pillow.Resampling.BOX))
    for file, colour in zip(masks, OUTLINE_COLOURS * len(masks), strict=False):
        regions = None if file is None else _regions(file)
        if regions is not None and regions.shape == (height, width):
            rows = (np.arange(size[1]) * height) // size[1]
            columns = (np.arange(size[0]) * width) // size[0]
            small[outline(regions[np.ix_(rows, columns)])] = colour
    buffer = io.BytesIO()
    # Full resolution of the colours: outlines are one pixel wide.
    Pillow.fromarray(small).save(buffer, "JPEG", quality=85, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def thumbnail(pixels: NDArray[Any], *, side: int = 160) -> NDArray[np.uint8]:
    """A small picture in 8-bit colour; a picture that is small already keeps its size.

    Args:
        pixels: ``(H, W)`` or ``(H, W, 3)``; values that are not 8-bit are shown from their first to their
            99th percentile.
        side: longest side of the result.

    Returns:
        ``(h, w, 3)``.

    Example:
        >>> thumbnail(np.zeros((400, 200), np.uint16), side=100).shape
        (100, 50, 3)
    """
    from PIL import Image as Pillow

    if pixels.dtype != np.uint8:
        low, high = np.percentile(pixels, (1, 99))
        pixels = (np.clip((pixels - low) / max(float(high - low), 1e-12), 0, 1) * 255).astype(np.uint8)
    height, width = pixels.shape[:2]
    factor = min(1.0, side / max(height, width))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return np.array(Pillow.fromarray(pixels).convert("RGB").resize(size, Pillow.Resampling.BOX))


def _regions(file: Path) -> NDArray[Any] | None:
    """``(H, W)``: one number per class, with 0 for the smallest value of the file."""
    try:
        image = read_image(file)
    except InputError:
        return None
    values: NDArray[Any] = image.pixels.astype(np.float64)
    if values.ndim == 3:
        values = values @ np.array([65536.0, 256.0, 1.0])
    elif has_soft_edges(values, lossy=image.is_lossy):
        values = values > 127
    return values


def outline(regions: NDArray[Any]) -> NDArray[np.bool_]:
    """The pixels of regions that touch a pixel of a lower number.

    Args:
        regions: ``(H, W)``, one number per region; the background has the lowest.

    Returns:
        ``(H, W)``, true on the outlines, which lie inside of the regions.

    Example:
        >>> outline(np.array([[0, 0, 0, 0, 0], [0, 1, 1, 1, 1], [0, 1, 1, 1, 1]])).astype(int)
        array([[0, 0, 0, 0, 0],
               [0, 1, 1, 1, 1],
               [0, 1, 0, 0, 0]])
    """
    padded = np.pad(regions, 1, mode="edge")
    edge = np.zeros(regions.shape, np.bool_)
    for rows, columns in ((slice(0, -2), slice(1, -1)), (slice(2, None), slice(1, -1))):
        edge |= padded[rows, columns] < regions
        edge |= regions > padded.T[rows, columns].T
    return edge
