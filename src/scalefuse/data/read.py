"""Reading one picture from a file of any known format, and listing the pictures of a folder."""

import contextlib
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from scalefuse.data.image import Image
from scalefuse.errors import ChannelsError, InputError

MAX_PIXELS = 2**28
"""More rows times columns than this are refused from the header, before anything is decoded; of more than
three channels, as many fewer."""

IMAGE_SUFFIXES = (
    ".nii.gz",
    ".nii",
    ".png",
    ".tif",
    ".tiff",
    ".svs",
    ".jpg",
    ".jpeg",
    ".bmp",
    ".gif",
    ".webp",
    ".dcm",
    ".dicom",
    ".ima",
)
"""What :func:`list_images` takes by name; files under other names are taken when they hold DICOM."""

_FORMATS = "PNG, TIFF, JPEG, BMP, GIF, WebP, a DICOM slice or 2-D NIfTI"
_DICOM_PREAMBLE = 132


_MOST_LIKELY_CHANNELS = 16

Channels = int | Literal["any"] | None
"""How many channels a file should have; see :func:`read_image`."""


def read_image(path: Path | str, *, channels: Channels = None) -> Image:
    """Read a picture with its number type, meaning and geometry.

    The format is found from the file's content. Handled on purpose:

    - 8- and 16-bit PNG and TIFF, 16-bit colour included, keep their values; float and signed TIFF too.
    - Transparency is dropped without blending; palettes become RGB; 1-, 2- and 4-bit greys become 8-bit;
      CMYK becomes RGB; the EXIF orientation is applied.
    - GIF and WebP: one picture, no film; grey where all three channels are equal.
    - DICOM: one slice; rescale slope and intercept (or the modality table) applied, float32; CT is in HU.
      ``MONOCHROME1`` is inverted, so that more is brighter, except where the values are HU: those have a
      meaning of their own that an inversion would destroy.
    - NIfTI: ``(H, W)``, or more axes if all but two are of length one; scaling applied; pixel ``[i, j]`` is
      voxel ``[i, j]``, with no turning for display.

    - Other numbers of channels, such as stains or MRI sequences, come from TIFF (channels of one page, or
      grey pages) and NIfTI (the last axis), and only where they are asked for.

    Args:
        path: the file.
        channels: ``None``, 1 or 3 for a picture, grey or colour as the file has it; another number for a file
            of exactly so many; ``"any"`` for a picture, or else as many as there are.

    Returns:
        The picture, ``(H, W)`` or ``(H, W, 3)``, or ``(H, W, C)`` as asked for.

    Raises:
        InputError: the file is missing, a folder, empty, truncated, damaged, no image of these formats,
            larger than :data:`MAX_PIXELS`, holds several pictures or slices, another number of channels than
            was asked for, or NaN or infinite values.

    Example:
        >>> import numpy as np, tempfile
        >>> from scalefuse.data.write import write_image
        >>> file = Path(tempfile.mkdtemp()) / "ramp.png"
        >>> write_image(file, np.linspace(0, 1, 4).reshape(2, 2), bits=16)
        >>> read_image(file).pixels
        array([[    0, 21845],
               [43690, 65535]], dtype=uint16)
    """
    path = Path(path)
    head = _read_head(path)
    try:
        image = _read(path, head, channels)
    except MemoryError as error:
        raise InputError(
            f"{path}: not enough memory for its pixels; close other programs or cut it."
        ) from error
    require_finite(image.pixels, path)
    if isinstance(channels, int) and channels not in (1, 3, image.num_channels):
        raise other_channels(path, image.num_channels, channels)
    return image


def other_channels(path: Path, found: int, wanted: int) -> ChannelsError:
    """The error for a file with another number of channels than asked for.

    Example:
        >>> str(other_channels(Path("cells.tif"), 5, 4))[:49]
        'cells.tif: has 5 channel(s), but 4 are expected; '
    """
    return ChannelsError(
        f"{path}: has {found} channel(s), but {wanted} are expected; give TIFF files of {wanted} channels or "
        f"grey pages, or NIfTI files with {wanted} along the last axis."
    )


def channels_hint(channels: Channels, found: int) -> str:
    """What else may be done with a file of many channels where a network of 1 or 3 is to see it.

    Args:
        channels: as asked for; other numbers than 1 and 3 need no hint, and nothing is known of ``None``.
        found: those of the file; many are more likely the slices of a volume.

    Example:
        >>> channels_hint(3, 4)
        ', or train a model of 4 channels (network.in_channels)'
        >>> channels_hint(3, 3), channels_hint(None, 4), channels_hint(3, 155)
        (', or write its channels as a TIFF in RGB', '', '')
    """
    if channels not in (1, 3) or found > _MOST_LIKELY_CHANNELS:
        return ""
    if found == 3:
        return ", or write its channels as a TIFF in RGB"
    return f", or train a model of {found} channels (network.in_channels)"


def require_finite(pixels: NDArray[Any], name: Path | str) -> None:
    """Refuse NaN and infinite pixel values.

    Raises:
        InputError: there are some.

    Example:
        >>> require_finite(np.zeros((2, 2)), "a.tif")
    """
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        bad = pixels.size - int(np.isfinite(pixels).sum())
        raise InputError(
            f"{name}: {bad} of {pixels.size} pixel values are NaN or infinite, but all must be finite; "
            "replace them before."
        )


def _read(path: Path, head: bytes, channels: Channels) -> Image:
    # The formats' modules load their libraries; only the one that is needed is loaded.
    webp = head.startswith(b"RIFF") and head[8:12] == b"WEBP"
    if webp or head.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"GIF8")):
        from scalefuse.data.raster import read_picture

        return read_picture(path, head)
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        from scalefuse.data.tiff import read_tiff

        return read_tiff(path, channels)
    if head[128:_DICOM_PREAMBLE] == b"DICM" or path.suffix.lower() in (".dcm", ".dicom", ".ima"):
        from scalefuse.data.dicom import read_dicom

        return read_dicom(path)
    if path.name.lower().endswith((".nii", ".nii.gz")):
        from scalefuse.data.nifti import read_nifti

        return read_nifti(path, channels)
    raise InputError(f"{path}: not an image of a known format; give {_FORMATS}.")


def _read_head(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise InputError(f"{path}: is a folder, but one image file was expected; give a file inside it.")
        if not path.is_file():
            raise InputError(f"{path}: no such file; check the name.")
        with path.open("rb") as handle:
            head = handle.read(_DICOM_PREAMBLE)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); check the name and permissions."
        ) from error
    if not head:
        raise InputError(f"{path}: the file is empty (0 bytes), but {_FORMATS} was expected; copy it again.")
    return head


def check_size(path: Path, height: int, width: int, channels: int = 1) -> None:
    """Refuse a picture by the size in its header, before any memory is taken.

    Args:
        path: the file, for the message.
        height: rows.
        width: columns.
        channels: those of the file; more than three count for more pixels.

    Raises:
        InputError: no pixels at all, or more than :data:`MAX_PIXELS`.

    Example:
        >>> check_size(Path("scan.png"), 100_000, 100_000)
        Traceback (most recent call last):
        scalefuse.errors.InputError: scan.png: 100000×100000 pixels (height×width) are more than ...
    """
    if height < 1 or width < 1:
        raise InputError(
            f"{path}: the header gives {height}×{width} pixels; the file is damaged, copy it again."
        )
    most = int(MAX_PIXELS / max(1, channels / 3))
    if height * width > most:
        of = f" of {channels} channels" if channels > 3 else ""
        raise InputError(
            f"{path}: {height}×{width} pixels (height×width){of} are more than the {most} allowed; "
            "cut the image into smaller ones."
        )


@contextlib.contextmanager
def silenced(logger_name: str) -> Iterator[None]:
    """Keep a library from logging the oddities of a damaged file: the user gets one error line instead.

    Args:
        logger_name: the library's logger.

    Example:
        >>> with silenced("tifffile"):
        ...     logging.getLogger("tifffile").error("never seen")
    """
    logger = logging.getLogger(logger_name)
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


def image_stem(path: Path | str) -> str:
    """The name of an image file without its suffix, ``.nii.gz`` counting as one.

    Only suffixes of known formats are taken off, since DICOM files are often named by numbers with dots.

    Example:
        >>> image_stem("case_1.nii.gz"), image_stem("a/scan.v2.PNG"), image_stem("1.2.840.10008")
        ('case_1', 'scan.v2', '1.2.840.10008')
    """
    name = Path(path).name
    for suffix in IMAGE_SUFFIXES:
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return name


def list_images(folder: Path | str) -> list[Path]:
    """The image files of a folder (not of folders in it), in natural order: ``2`` before ``10``.

    Hidden files are left out, and so are files of other formats. A file with an image's name but without an
    image's content is listed, so that reading it can say what is wrong.

    Raises:
        InputError: the folder does not exist, is a file or cannot be read.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("10.png", "2.png", ".hidden.png", "notes.txt"):
        ...     (folder / name).touch()
        >>> [file.name for file in list_images(folder)]
        ['2.png', '10.png']
    """
    folder = Path(folder)
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "no such folder"
        raise InputError(f"{folder}: {what}, but a folder of images was expected; check the name.")
    try:
        # A link to nowhere is listed too, so that somebody says so.
        files = [
            file
            for file in folder.iterdir()
            if not file.name.startswith(".") and (file.is_file() or not file.exists())
        ]
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror}); check the permissions.") from error
    return sorted((file for file in files if _is_image_name(file) or _holds_dicom(file)), key=natural_key)


def natural_key(path: Path | str) -> tuple[list[tuple[int, int, str]], str]:
    """A sorting key for file names under which numbers count as numbers.

    Example:
        >>> sorted(["b1", "a10", "a9"], key=natural_key)
        ['a9', 'a10', 'b1']
    """
    name = Path(path).name
    parts = [part for part in re.split(r"([0-9]+)", name.lower()) if part]
    return [(0, int(part), "") if part.isascii() and part.isdigit() else (1, 0, part) for part in parts], name


def _is_image_name(path: Path) -> bool:
    return path.name.lower().endswith(IMAGE_SUFFIXES)


def _holds_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as handle:
            return handle.read(_DICOM_PREAMBLE)[128:] == b"DICM"
    except OSError:
        return False
