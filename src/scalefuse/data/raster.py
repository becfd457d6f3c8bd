"""PNG, JPEG, BMP, GIF and WebP files."""

import io
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scalefuse.data.image import Image, ImageKind
from scalefuse.data.read import check_size
from scalefuse.errors import InputError

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

EXIF_ORIENTATION = 0x0112
_MAX_WEBP = 2 * 89_478_485
"""Pillow's own limit, which its WebP plugin applies before a size can be asked for."""


def read_picture(path: Path, head: bytes) -> Image:
    """Read a PNG, JPEG, BMP, GIF or WebP file; see :func:`scalefuse.data.read.read_image`.

    Args:
        path: the file.
        head: its first bytes.

    Raises:
        InputError: the file is damaged, truncated or too large, or holds several pictures.

    Example:
        >>> import numpy as np, tempfile
        >>> from scalefuse.data.write import write_image
        >>> file = Path(tempfile.mkdtemp()) / "black.png"
        >>> write_image(file, np.zeros((2, 3)), bits=8)
        >>> read_picture(file, file.read_bytes()[:8]).pixels.shape
        (2, 3)
    """
    # The plugins are called directly: Image.open would apply Pillow's own, process-wide size limit and try
    # formats that are not meant here.
    from PIL.BmpImagePlugin import BmpImageFile
    from PIL.GifImagePlugin import GifImageFile
    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.PngImagePlugin import PngImageFile
    from PIL.WebPImagePlugin import WebPImageFile

    kind: ImageKind
    opener: Any
    if head.startswith(b"\x89PNG"):
        kind, opener = "png", PngImageFile
    elif head.startswith(b"\xff\xd8"):
        kind, opener = "jpeg", JpegImageFile
    elif head.startswith(b"GIF8"):
        kind, opener = "gif", GifImageFile
    elif head.startswith(b"RIFF"):
        kind, opener = "webp", WebPImageFile
    else:
        kind, opener = "bmp", BmpImageFile
    try:
        data = path.read_bytes()
        if kind == "png":
            _check_png_chunks(path, data)
        elif kind == "webp":
            kind = _check_webp_chunks(path, data)
        with opener(io.BytesIO(data)) as picture:
            check_size(path, picture.height, picture.width)
            if getattr(picture, "n_frames", 1) > 1 and kind != "png":
                raise InputError(
                    f"{path}: holds {picture.n_frames} pictures one after another, but one was expected; "
                    "split it."
                )
            pixels = _decode_png16(data) if kind == "png" and data[24] == 16 else _decode_8_bit(picture)
            # Read after the pixels, since PNG may carry its EXIF block behind them.
            turn = picture.getexif().get(EXIF_ORIENTATION, 1)
    except InputError:
        raise
    except MemoryError:
        raise
    except Exception as error:  # Pillow and libpng raise many types for damaged files; all mean the same.
        raise InputError(
            f"{path}: damaged or truncated {kind.upper()} file ({error}); copy it again."
        ) from error
    if (
        kind not in ("png", "jpeg", "bmp")
        and pixels.ndim == 3
        and bool((pixels[..., :1] == pixels[..., 1:]).all())
    ):
        # The formats have no grey of their own.
        pixels = pixels[..., 0]
    return Image(apply_orientation(pixels, turn), kind=kind, source=path)


def _check_png_chunks(path: Path, data: bytes) -> None:
    # Decoders stop at the last pixel, so that a file cut off behind it would pass.
    position = 8
    while position + 12 <= len(data):
        length, name = struct.unpack(">I4s", data[position : position + 8])
        position += 12 + length
        if name == b"IEND":
            return
        if name == b"IHDR" and length == 13 and position <= len(data):
            width, height = struct.unpack(">II", data[16:24])
            check_size(path, height, width)
        if name == b"acTL":
            raise InputError(
                f"{path}: an animated PNG holds several pictures, but one was expected; split it."
            )
    raise InputError(f"{path}: damaged or truncated PNG file (its end is missing); copy it again.")


def _check_webp_chunks(path: Path, data: bytes) -> ImageKind:
    """Refuse by the header what is too large, and say whether the format alters values."""
    names, position = [], 12
    while position + 8 <= len(data):
        name, length = struct.unpack("<4sI", data[position : position + 8])
        names.append(name)
        body = data[position + 8 : position + 18]
        if name == b"VP8X" and len(body) == 10:
            width, height = (int.from_bytes(body[at : at + 3], "little") + 1 for at in (4, 7))
        elif name == b"VP8L" and len(body) >= 5:
            packed = int.from_bytes(body[1:5], "little")
            width, height = (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
        elif name == b"VP8 " and len(body) == 10:
            width, height = (side & 0x3FFF for side in struct.unpack("<HH", body[6:10]))
        else:
            width = height = 1
        check_size(path, height, width)
        if width * height > _MAX_WEBP:
            raise InputError(
                f"{path}: {height}×{width} pixels (height×width) are more than the {_MAX_WEBP} that are "
                "read from WebP; convert it to TIFF or PNG."
            )
        position += 8 + length + length % 2
    return "lossy webp" if b"VP8 " in names else "webp"


def _decode_png16(data: bytes) -> NDArray[Any]:
    # Pillow reads 16-bit colour as 8-bit.
    import imagecodecs

    pixels: NDArray[Any] = imagecodecs.png_decode(data)
    return drop_alpha(pixels)


def _decode_8_bit(picture: "ImageFile") -> NDArray[Any]:
    mode = {"1": "L", "L": "L", "LA": "LA"}.get(picture.mode, "RGB")
    if mode == "LA":
        return drop_alpha(np.asarray(picture))
    if picture.mode == "RGBA":
        return drop_alpha(np.asarray(picture))
    if picture.mode == "P":
        # Through RGBA and not straight to RGB: the two agree, and transparency is then dropped in one place.
        return drop_alpha(np.asarray(picture.convert("RGBA")))
    return np.array(picture if picture.mode == mode else picture.convert(mode))


def drop_alpha(pixels: NDArray[Any]) -> NDArray[Any]:
    """Take off the last of two or four channels, the transparency, without blending.

    A transparent pixel keeps the value that is stored under it: blending with a background would invent
    values that no scanner measured.

    Args:
        pixels: ``(H, W)``, ``(H, W, 1)``, ``(H, W, 2)``, ``(H, W, 3)`` or ``(H, W, 4)``.

    Returns:
        ``(H, W)`` or ``(H, W, 3)``.

    Example:
        >>> drop_alpha(np.zeros((5, 4, 2))).shape, drop_alpha(np.zeros((5, 4, 4))).shape
        ((5, 4), (5, 4, 3))
    """
    if pixels.ndim == 3 and pixels.shape[2] in (1, 2):
        pixels = pixels[:, :, 0]
    elif pixels.ndim == 3:
        pixels = pixels[:, :, :3]
    return np.ascontiguousarray(pixels)


def apply_orientation(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn and mirror a picture as its EXIF or TIFF orientation tag says.

    Args:
        pixels: ``(H, W)`` or ``(H, W, C)``.
        orientation: 1 to 8; other values count as 1 (upright).

    Example:
        >>> apply_orientation(np.array([[1, 2, 3]]), 6)
        array([[1],
               [2],
               [3]])
    """
    turned = {
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: p.swapaxes(0, 1),
        6: lambda p: p[::-1].swapaxes(0, 1),
        7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
        8: lambda p: p[:, ::-1].swapaxes(0, 1),
    }.get(orientation)
    return np.ascontiguousarray(pixels if turned is None else turned(pixels))
