"""TIFF files."""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalefuse.data.image import Geometry, Image
from scalefuse.data.raster import apply_orientation, drop_alpha
from scalefuse.data.read import Channels, channels_hint, check_size, other_channels, silenced
from scalefuse.errors import ChannelsError, InputError

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _SEPARATED, _YCBCR = 0, 1, 2, 3, 5, 6
_DECODED_TO_RGB = {6, 7, 34892, 33007}
"""Compressions, all of the JPEG family, whose decoder makes RGB of luma and chroma."""
_REFERENCE = (0, 1, 255, 1, 128, 1, 255, 1, 128, 1, 255, 1)  # fractions: black and white of each channel
_LUMA_WEIGHTS = (299, 1000, 587, 1000, 114, 1000)
_REDUCED_COPY = 1
_TRANSPARENCY = {1, 2}  # kinds of extra samples
_MM = {
    **dict.fromkeys(("nm", "nanometer", "nanometre"), 1e-6),
    **dict.fromkeys(("µm", "μm", "um", "\\u00B5m", "micron", "microns", "micrometer", "micrometre"), 1e-3),
    **dict.fromkeys(("mm", "millimeter", "millimetre"), 1.0),
    **dict.fromkeys(("cm", "centimeter", "centimetre"), 10.0),
    **dict.fromkeys(("m", "meter", "metre"), 1e3),
    **dict.fromkeys(("in", "inch", "inches"), 25.4),
}
"""What OME-XML and ImageJ call a unit of length, in mm; the micro sign has two code points and an escape."""


def read_tiff(path: Path, channels: Channels = None) -> Image:
    """Read a TIFF file; see :func:`scalefuse.data.read.read_image`.

    Reduced copies of a page (pyramids, thumbnails) are passed over. The size of a pixel is what OME-XML,
    ImageJ or Aperio say; a bare resolution tag is that of a print or screen, and passed over too.

    Args:
        path: the file.
        channels: ``None`` for a picture, which is one page; otherwise its channels may be so many channels of
            a page, whatever they are marked as, or so many grey pages; ``"any"`` for what there is.

    Raises:
        InputError: the file is damaged, truncated, too large, holds several pages, or colours that are not
            grey, RGB, palette or CMYK, unless channels were asked for.

    Example:
        >>> import numpy as np, tempfile
        >>> from scalefuse.data.write import write_image
        >>> file = Path(tempfile.mkdtemp()) / "white.tif"
        >>> write_image(file, np.ones((2, 3, 3)), bits=16)
        >>> read_tiff(file).pixels.max()
        np.uint16(65535)
    """
    import tifffile

    try:
        with silenced("tifffile"), tifffile.TiffFile(path) as file:
            pages = [page.aspage() for page in file.pages]
            full = [page for page in pages if not page.subfiletype & _REDUCED_COPY] or pages[:1]
            full = pages[:1] if file.is_svs else full  # of a slide, whose other pages are thumbnail and label
            if len(full) == 1:
                pixels = _decode(path, full[0], channels)
            elif channels == "any" or (channels not in (1, 3) and len(full) == channels):
                pixels = _stack(path, full)
            else:
                misfit = channels not in (None, 1, 3)
                raise (ChannelsError if misfit else InputError)(_other_pages(path, full, channels))
            orientation = int(full[0].tags.valueof(274, 1))
            spacing = _ome_spacing(file) or _imagej_spacing(file, full[0]) or _aperio_spacing(file)
    except InputError:
        raise
    except MemoryError:
        raise
    except Exception as error:  # tifffile and its decoders raise many types for damaged files.
        raise InputError(f"{path}: damaged or truncated TIFF file ({error}); copy it again.") from error
    unit = "grey level" if pixels.dtype in (np.uint8, np.uint16) else "arbitrary"
    if spacing is not None and orientation >= 5:  # rows and columns change places
        spacing = spacing[::-1]
    return Image(
        apply_orientation(pixels, orientation),
        kind="tiff",
        unit=unit,  # type: ignore[arg-type]
        geometry=None if spacing is None else Geometry(spacing_mm=spacing),
        source=path,
    )


def _ome_spacing(file: Any) -> tuple[float, float] | None:
    """Rows and columns in mm, where OME-XML tells; without a unit it means micrometres."""
    from xml.etree import ElementTree

    if file.ome_metadata is None:
        return None
    try:
        root = ElementTree.fromstring(file.ome_metadata)
    except ElementTree.ParseError:
        return None
    pixels = next((one for one in root.iter() if one.tag.rpartition("}")[2] == "Pixels"), None)
    if pixels is None:
        return None
    sides = [
        _in_mm(pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        for axis in "YX"
    ]
    return None if sides[0] is None or sides[1] is None else (sides[0], sides[1])


def _imagej_spacing(file: Any, page: Any) -> tuple[float, float] | None:
    """Rows and columns in mm, where ImageJ names a unit, of which the resolution tags count the pixels.

    Inches and centimetres are passed over: ImageJ makes them of the resolution of a print.
    """
    said = file.imagej_metadata or {}
    unit = str(said.get("unit")).strip()
    if unit not in _MM or _MM[unit] > 1 or str(said.get("yunit", unit)).strip() != unit:
        return None
    sides = []
    for tag in (283, 282):  # pixels per unit, down and across
        value = page.tags.valueof(tag)
        count, units = value if isinstance(value, tuple) and len(value) == 2 else (0, 1)
        sides.append(_in_mm(units / count if count else None, unit))
    return None if sides[0] is None or sides[1] is None else (sides[0], sides[1])


def _aperio_spacing(file: Any) -> tuple[float, float] | None:
    """Rows and columns in mm, where Aperio's description of a slide tells the micrometres of a pixel."""
    said = re.search(r"\|\s*MPP\s*=\s*([^|\s]+)", file.pages.first.description) if file.is_svs else None
    side = None if said is None else _in_mm(said[1], "µm")
    return None if side is None else (side, side)


def _in_mm(length: Any, unit: Any) -> float | None:
    """A length in mm; None where it is not a positive number, or its unit is unknown."""
    factor = _MM.get(str(unit).strip())
    try:
        value = 0.0 if factor is None else float(length) * factor
    except (TypeError, ValueError):
        return None
    return value if 0 < value < math.inf else None


def _other_pages(path: Path, pages: list[Any], channels: Channels) -> str:
    """What to say of another number of pages than expected."""
    text = f"{path}: holds {len(pages)} pages, but one picture"
    if channels in (None, 1, 3):
        return f"{text} was expected; split it{channels_hint(channels, len(pages))}."
    text += f" of {channels} channels, or {channels} grey pages, was expected"
    if pages[0].imagewidth == channels:
        # What tifffile makes of (H, W, C) where nothing says that the last axis is channels.
        return f"{text}; its rows were written as pages, write it with planarconfig='contig'."
    return f"{text}; split it."


def _stack(path: Path, pages: list[Any]) -> NDArray[Any]:
    """Grey pages as channels."""
    check_size(path, pages[0].imagelength, pages[0].imagewidth, len(pages))
    alike = {(page.imagelength, page.imagewidth, str(page.dtype)) for page in pages}
    planes = [_decode(path, page, None) for page in pages] if len(alike) == 1 else []
    if not planes or any(plane.ndim != 2 for plane in planes):
        raise InputError(
            f"{path}: holds {len(pages)} pages, which are channels only where they are grey, of one size and "
            "of one number type; write them so."
        )
    return np.stack(planes, axis=-1)


def _decode(path: Path, page: Any, channels: Channels) -> NDArray[Any]:
    height, width, samples = page.imagelength, page.imagewidth, page.samplesperpixel
    wanted = None if channels in (1, 3) else channels
    if isinstance(wanted, int) and samples != wanted:
        check_size(path, height, width)
        raise other_channels(path, samples, wanted)
    many = samples == wanted or (wanted == "any" and samples > 1 and not _is_picture(page))
    check_size(path, height, width, samples if many else 1)
    hint = channels_hint(channels, samples)
    if page.imagedepth != 1 or not (1 <= samples <= 5 or many):
        raise InputError(
            f"{path}: {page.imagedepth} planes of {samples} channels, but one picture of at most 3 channels "
            f"and transparency was expected; split it{hint}."
        )
    end = max((o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=False)), default=0)
    too_few = len(page.dataoffsets) < math.prod(page.chunked)
    if too_few or end > path.stat().st_size or 0 in page.databytecounts:
        raise InputError(f"{path}: damaged or truncated TIFF file (pixels are missing); copy it again.")
    _check_colour_coding(path, page)
    pixels: NDArray[Any] = np.asarray(page.asarray(maxworkers=1))
    # Channels may be stored one after another; axes of length one may be left out.
    pixels = pixels.reshape(samples, height, width) if page.planarconfig == 2 else pixels
    pixels = np.moveaxis(pixels, 0, -1) if page.planarconfig == 2 else pixels.reshape(height, width, samples)
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    if pixels.dtype.kind not in "uif":
        raise InputError(f"{path}: holds {pixels.dtype} numbers, but integers or real numbers were expected.")
    photometric = int(page.photometric)
    bits = page.bitspersample
    if photometric != _PALETTE and not many and pixels.dtype == np.uint8 and 1 < bits < 8:
        # As of PNG: the largest number that the file can hold is white.
        pixels = np.rint(pixels * (255 / (2**bits - 1))).astype(np.uint8)
    if many:
        return np.ascontiguousarray(_negative(pixels) if photometric == _WHITE_IS_ZERO else pixels)
    if photometric == _PALETTE and page.colormap is not None:
        # The colour map holds 16-bit entries; an 8-bit index stands for an 8-bit picture in every viewer.
        # Some programs write 8-bit entries: where none is larger than 255, that is what they are.
        table = np.asarray(page.colormap)
        table = (table >> 8 if table.max() > 255 else table).astype(np.uint8)
        return np.ascontiguousarray(np.moveaxis(table[:, pixels[..., 0]], 0, -1))
    if photometric == _SEPARATED and samples >= 4 and pixels.dtype in (np.uint8, np.uint16):
        return _cmyk_to_rgb(pixels)
    if samples == 2 and not set(page.extrasamples) & _TRANSPARENCY:
        raise InputError(
            f"{path}: 2 channels, neither of them marked as transparency, but grey or RGB was expected; "
            f"split it into pictures of one channel{hint}."
        )
    if photometric == _WHITE_IS_ZERO and samples <= 2:
        return np.ascontiguousarray(_negative(pixels[..., 0]))
    if photometric == _BLACK_IS_ZERO and samples <= 2:
        return drop_alpha(pixels[..., :1])
    if photometric == _YCBCR and samples in (3, 4) and int(page.compression) not in _DECODED_TO_RGB:
        return _ycbcr_to_rgb(drop_alpha(pixels))
    if photometric in (_RGB, _YCBCR) and samples in (3, 4):
        return drop_alpha(pixels)
    raise (ChannelsError if channels in (1, 3) and samples > 3 else InputError)(
        f"{path}: {samples} channels with the colour scheme "
        f"{getattr(page.photometric, 'name', photometric)}, but grey, RGB, palette or CMYK "
        f"was expected; convert it to RGB before{hint}."
    )


def _negative(pixels: NDArray[Any]) -> NDArray[Any]:
    return np.iinfo(pixels.dtype).max - pixels if pixels.dtype.kind == "u" else -pixels


def _is_picture(page: Any) -> bool:
    """Whether a page of several channels is one to look at, by what the file says of them."""
    photometric, samples = int(page.photometric), page.samplesperpixel
    transparent = bool(set(page.extrasamples) & _TRANSPARENCY)
    return (
        (photometric in (_RGB, _YCBCR) and samples in (3, 4))
        or (photometric == _SEPARATED and samples in (4, 5))
        or (samples == 2 and transparent)
    )


def _check_colour_coding(path: Path, page: Any) -> None:
    """Refuse luma and chroma that are neither decoded to RGB nor coded as TIFF 6.0 does by default."""
    if int(page.photometric) != _YCBCR or int(page.compression) in _DECODED_TO_RGB:
        return
    usual = all(
        np.allclose(np.divide(found[::2], found[1::2]), np.divide(default[::2], default[1::2]))
        for found, default in (
            (page.tags.valueof(532, _REFERENCE), _REFERENCE),
            (page.tags.valueof(529, _LUMA_WEIGHTS), _LUMA_WEIGHTS),
        )
    )
    if not usual or page.bitspersample != 8 or page.subsampling not in (None, (1, 1)):
        raise InputError(
            f"{path}: luma and chroma (YCbCr), but not those of JPEG at full resolution; convert it to RGB "
            "before."
        )


def _ycbcr_to_rgb(pixels: NDArray[Any]) -> NDArray[Any]:
    """Luma and chroma of TIFF 6.0, section 21, in its default coding, to RGB."""
    from scalefuse.data.colour import from_luma_chroma

    luma, chroma = pixels[..., 0] / 255, (pixels[..., 1:].astype(np.float64) - 128) / 255
    return np.rint(from_luma_chroma(luma, chroma, gamut="clip") * 255).astype(np.uint8)


def _cmyk_to_rgb(pixels: NDArray[Any]) -> NDArray[Any]:
    top = float(np.iinfo(pixels.dtype).max)
    ink = pixels[..., :4].astype(np.float32) / top
    rgb = (1.0 - ink[..., :3]) * (1.0 - ink[..., 3:4])
    return np.floor(rgb * top + 0.5).astype(pixels.dtype)
