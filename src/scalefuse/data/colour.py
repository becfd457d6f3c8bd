"""Colour pictures as luma and chroma: fusion works on the luma, the chroma is kept."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from scalefuse.errors import InputError

# ITU-R BT.601 luma weights of red, green and blue; full range, as in JPEG.
_RED, _GREEN, _BLUE = 0.299, 0.587, 0.114
_SAMPLED_PIXELS = 2**20


def to_luma_chroma(rgb: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Split a colour picture into luma and chroma.

    Reference: ITU-R BT.601 with full range, as in JPEG (ITU-T T.871); chroma is centred at 0 instead of 128.

    Args:
        rgb: ``(H, W, 3)``, values in [0, 1].

    Returns:
        Luma ``(H, W)`` in [0, 1], and chroma ``(H, W, 2)`` (Cb, Cr) in [-0.5, 0.5].

    Raises:
        InputError: not three channels.

    Example:
        >>> luma, chroma = to_luma_chroma(np.array([[[1.0, 0.0, 0.0]]]))
        >>> [round(float(value), 3) for value in (luma[0, 0], *chroma[0, 0])]
        [0.299, -0.169, 0.5]
    """
    _check_rgb(rgb)
    red, green, blue = (rgb[..., channel].astype(np.float64) for channel in range(3))
    luma = _RED * red + _GREEN * green + _BLUE * blue
    chroma = np.stack([(blue - luma) / (2 * (1 - _BLUE)), (red - luma) / (2 * (1 - _RED))], axis=-1)
    return luma.astype(np.float32), chroma.astype(np.float32)


def from_luma_chroma(
    luma: NDArray[Any], chroma: NDArray[Any], *, gamut: Literal["desaturate", "clip"] = "desaturate"
) -> NDArray[np.float32]:
    """Join luma and chroma to a colour picture.

    A new luma with an old chroma may be a colour that RGB cannot show. Clipping each channel, the plain
    conversion, would then change the luma, that is, what was fused and what is measured. By default the
    chroma is drawn towards grey instead, by the smallest factor that brings the colour into the gamut, so
    that the luma of the result is the luma given. This is a deliberate deviation from BT.601 decoders.

    Args:
        luma: ``(H, W)``, values in [0, 1]; others are clipped.
        chroma: ``(H, W, 2)`` (Cb, Cr) in [-0.5, 0.5].
        gamut: ``"desaturate"``, or ``"clip"`` for the plain conversion.

    Returns:
        ``(H, W, 3)`` in [0, 1].

    Raises:
        InputError: the shapes do not fit, or another ``gamut``.

    Example:
        >>> chroma = to_luma_chroma(np.array([[[1.0, 0.0, 0.0]]]))[1]
        >>> kept = from_luma_chroma(np.array([[0.8]]), chroma)
        >>> kept.round(3), to_luma_chroma(kept)[0]
        (array([[[1.   , 0.715, 0.715]]], dtype=float32), array([[0.8]], dtype=float32))
        >>> from_luma_chroma(np.array([[0.8]]), chroma, gamut="clip").round(3)
        array([[[1.   , 0.501, 0.501]]], dtype=float32)
    """
    if luma.ndim != 2 or chroma.shape != (*luma.shape, 2):
        raise InputError(
            f"Expected luma (H, W) and chroma (H, W, 2), but got {luma.shape} and {chroma.shape}."
        )
    if gamut not in ("desaturate", "clip"):
        raise InputError(f"Expected gamut 'desaturate' or 'clip', but got {gamut!r}.")
    luma64 = np.clip(luma.astype(np.float64), 0.0, 1.0)[..., None]
    blue = chroma[..., 0].astype(np.float64) * (2 * (1 - _BLUE))
    red = chroma[..., 1].astype(np.float64) * (2 * (1 - _RED))
    green = -(_RED * red + _BLUE * blue) / _GREEN
    # The colour's offset from grey; its luma is 0, so that scaling it leaves the luma alone.
    offset = np.stack([red, green, blue], axis=-1)
    if gamut == "desaturate":
        room = np.where(offset > 0, 1.0 - luma64, luma64)
        size = np.abs(offset)
        ratio = np.divide(room, size, out=np.ones_like(room), where=size > room)
        offset *= ratio.min(axis=-1, keepdims=True)
    # The clip cuts rounding errors only, unless it is the chosen gamut.
    rgb: NDArray[np.float32] = np.clip(luma64 + offset, 0.0, 1.0).astype(np.float32)
    return rgb


def is_effectively_grey(rgb: NDArray[Any], *, tolerance: float = 2 / 255) -> bool:
    """Whether a picture with three channels shows no colour, as grey pictures saved as RGB do.

    Args:
        rgb: ``(H, W, 3)``, values in [0, 1], or whole numbers over the range of their type.
        tolerance: largest difference between channels, as a part of the range; two 8-bit steps by default,
            which is what JPEG leaves between the channels of a grey picture.

    Raises:
        InputError: not three channels.

    Example:
        >>> is_effectively_grey(np.full((2, 2, 3), 7, np.uint8))
        True
        >>> is_effectively_grey(np.array([[[0.5, 0.5, 0.6]]]))
        False
    """
    _check_rgb(rgb)
    top = float(np.iinfo(rgb.dtype).max) if rgb.dtype.kind in "ui" else 1.0
    difference = rgb.max(axis=-1).astype(np.float64) - rgb.min(axis=-1)
    return bool((difference <= tolerance * top + 1e-9).all())


def shown(pixels: NDArray[Any]) -> NDArray[Any]:
    """What to show of an image: grey and colour as they are, of other numbers of channels a mean.

    Channels may be of very different brightness; for the mean each is stretched from its first to its 99th
    percentile.

    Args:
        pixels: ``(H, W)`` or ``(H, W, C)``.

    Returns:
        ``(H, W)``, ``(H, W, 3)``, or for other numbers of channels ``(H, W)`` in 8 bits.

    Example:
        >>> shown(np.array([[[0, 0], [1, 0], [1, 5000]]])).tolist()
        [[0, 128, 255]]
    """
    if pixels.ndim == 2 or pixels.shape[2] == 3:
        return pixels
    step = max(1, int(np.sqrt(pixels.shape[0] * pixels.shape[1] / _SAMPLED_PIXELS)))
    total = np.zeros(pixels.shape[:2], np.float32)
    for channel in range(pixels.shape[2]):
        values = pixels[..., channel]
        low, high = (float(bound) for bound in np.percentile(values[::step, ::step], (1, 99)))
        share = (values.astype(np.float64) - low) / max(high - low, 1e-12)
        total += np.clip(share, 0, 1, out=share)
    mean: NDArray[np.uint8] = np.rint(total * (255 / pixels.shape[2])).astype(np.uint8)
    return mean


def _check_rgb(rgb: NDArray[Any]) -> None:
    if rgb.ndim != 3 or rgb.shape[2] != 3:
        raise InputError(f"Expected a colour picture of shape (H, W, 3), but got {rgb.shape}.")
