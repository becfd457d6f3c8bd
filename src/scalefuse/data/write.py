"""Writing pictures, whole or not at all."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from scalefuse.data.atomic import atomic_write
from scalefuse.data.image import Image
from scalefuse.errors import InputError, OutputError

WRITE_SUFFIXES = (".png", ".tif", ".tiff", ".nii", ".nii.gz")

_STRIP_ROWS = 256


def check_output_suffix(path: Path | str) -> str:
    """The suffix of a file to write, if pictures can be written under it.

    Returns:
        One of :data:`WRITE_SUFFIXES`.

    Raises:
        OutputError: another suffix. JPEG is left out on purpose: it would alter the values.

    Example:
        >>> check_output_suffix("fused.NII.gz")
        '.nii.gz'
    """
    name = Path(path).name.lower()
    for suffix in sorted(WRITE_SUFFIXES, key=len, reverse=True):
        if name.endswith(suffix) and name != suffix:
            return suffix
    raise OutputError(
        f"{path}: pictures cannot be written under this name; end it in one of {', '.join(WRITE_SUFFIXES)}."
    )


def check_folder_name(path: Path | str) -> None:
    """Refuse the name of a picture, table or page for a folder of results.

    A folder that stands there already may have any name.

    Raises:
        OutputError: the name is that of one of these.

    Example:
        >>> check_folder_name("fused.png")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        scalefuse.errors.OutputError: fused.png: is a picture's name, ...
    """
    from scalefuse.data.read import IMAGE_SUFFIXES

    path = Path(path)
    kinds = {
        "picture": (*IMAGE_SUFFIXES, *WRITE_SUFFIXES),
        "table": (".csv", ".tsv", ".json", ".xlsx"),
        "page": (".html", ".htm"),
    }
    for kind, suffixes in kinds.items():
        if path.name.lower().endswith(suffixes) and not path.is_dir():
            raise OutputError(
                f"{path}: is a {kind}'s name, but a folder for the results is needed; name a folder."
            )


def write_image(
    path: Path | str,
    unit_image: NDArray[Any],
    *,
    bits: Literal[8, 16, 32] | int,
    like: Image | None = None,
) -> None:
    """Write a picture with values in [0, 1] to a PNG, TIFF or NIfTI file.

    8 and 16 bits are unsigned integers, rounded to the nearest; values outside [0, 1] are clipped. 32 bits
    are floating point, unrounded and unclipped, for TIFF and NIfTI. NIfTI colour always has 8 bits, since its
    RGB type knows no other.

    Args:
        path: the file; its suffix chooses the format. Written whole or not at all, see
            :func:`scalefuse.data.atomic.atomic_write`.
        unit_image: ``(H, W)`` or ``(H, W, 3)``, values in [0, 1].
        bits: 8, 16 or 32 (floating point).
        like: the picture whose geometry a NIfTI file gets; it must have the same height and width.

    Raises:
        OutputError: the format is not written here, or the file cannot be written.
        InputError: not a picture, NaN or infinite values, whole numbers above 1, or ``like`` has another
            size.

    Example:
        >>> import tempfile
        >>> from scalefuse.data.read import read_image
        >>> file = Path(tempfile.mkdtemp()) / "half.png"
        >>> write_image(file, np.full((1, 2), 0.5), bits=8)
        >>> read_image(file).pixels
        array([[128, 128]], dtype=uint8)
    """
    path = Path(path)
    suffix = check_output_suffix(path)
    given = np.asarray(unit_image)
    if given.dtype.kind in "ui" and given.size and given.max() > 1:
        raise InputError(
            f"{path}: expected values in [0, 1], but got {given.dtype} up to {given.max()}; scale them, or "
            "write whole numbers as they are with write_pixels."
        )
    pixels = _to_pixels(path, given, bits, colour_8_bit=suffix.startswith(".nii"))
    if like is not None and like.size != pixels.shape[:2]:
        raise InputError(
            f"{path}: the picture has {pixels.shape[0]}×{pixels.shape[1]} pixels, but {like.label}, whose "
            f"geometry it shall get, has {like.size[0]}×{like.size[1]}; use two of the same size."
        )
    if suffix == ".png" and pixels.dtype.kind == "f":
        raise OutputError(f"{path}: PNG holds no floating-point values; choose 8 or 16 bits, or a .tif file.")
    _encode(path, suffix, pixels, like)


def write_pixels(path: Path | str, pixels: NDArray[Any], *, like: Image | None = None) -> None:
    """Write whole numbers as they are: masks, class indices, instance labels, ready pictures.

    Args:
        path: the file; its suffix chooses the format. Written whole or not at all.
        pixels: ``(H, W)`` or ``(H, W, 3)``, uint8 or uint16; for TIFF and NIfTI also int32 ``(H, W)``; colour
            in NIfTI is uint8.
        like: the picture whose geometry a NIfTI file gets.

    Raises:
        OutputError: the format is not written here, or the file cannot be written.
        InputError: another number type or shape.

    Example:
        >>> import tempfile
        >>> from scalefuse.data.read import read_image
        >>> file = Path(tempfile.mkdtemp()) / "labels.png"
        >>> write_pixels(file, np.array([[0, 300]], np.uint16))
        >>> read_image(file).pixels
        array([[  0, 300]], dtype=uint16)
    """
    path = Path(path)
    suffix = check_output_suffix(path)
    kinds: tuple[str, ...] = (
        ("uint8", "uint16") if suffix == ".png" or pixels.ndim == 3 else ("uint8", "uint16", "int32")
    )
    if pixels.ndim == 3 and suffix.startswith(".nii"):
        kinds = ("uint8",)
    if pixels.dtype.name not in kinds or pixels.ndim not in (2, 3) or 0 in pixels.shape:
        raise InputError(
            f"{path}: cannot write {pixels.dtype} pixels of shape {pixels.shape}; "
            f"expected {' or '.join(kinds)}."
        )
    _encode(path, suffix, pixels, like)


def _encode(path: Path, suffix: str, pixels: NDArray[Any], like: Image | None) -> None:
    with atomic_write(path) as temporary:
        if suffix == ".png":
            temporary.write_bytes(encode_png(pixels))
        elif suffix in (".tif", ".tiff"):
            import tifffile

            tifffile.imwrite(
                temporary,
                pixels,
                photometric="rgb" if pixels.ndim == 3 else "minisblack",
                compression="zlib",
                predictor=True,
                metadata=None,
                maxworkers=1,
            )
        else:
            from scalefuse.data.nifti import write_nifti

            write_nifti(temporary, pixels, like)


def encode_png(pixels: NDArray[Any]) -> bytes:
    """A picture as a PNG file.

    Args:
        pixels: ``(H, W)`` or ``(H, W, 3)``, uint8 or uint16.

    Example:
        >>> encode_png(np.zeros((2, 3), np.uint8))[:4]
        b'\\x89PNG'
    """
    import imagecodecs

    # Left to itself, the codec makes too little room for noise in pictures of up to four columns.
    room = pixels.nbytes + 16 * len(pixels) + 65536
    return bytes(imagecodecs.png_encode(pixels, level=6, out=room))


def _to_pixels(path: Path, unit_image: NDArray[Any], bits: int, *, colour_8_bit: bool) -> NDArray[Any]:
    shape = unit_image.shape
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] != 3) or 0 in shape:
        raise InputError(f"{path}: cannot write an array of shape {shape}; expected (H, W) or (H, W, 3).")
    if bits not in (8, 16, 32):
        raise InputError(f"{path}: cannot write {bits} bits; choose 8, 16 or 32 (floating point).")
    if not np.isfinite(unit_image).all():
        raise InputError(f"{path}: the picture holds NaN or infinite values, but all must be finite.")
    if len(shape) == 3 and colour_8_bit:
        bits = 8
    return from_unit(unit_image, bits)


def from_unit(unit_image: NDArray[Any], bits: int) -> NDArray[Any]:
    """Values in [0, 1] as whole numbers of 8 or 16 bits, rounded to the nearest (halves upwards).

    Args:
        unit_image: one axis or more; values outside [0, 1] are clipped.
        bits: 8, 16, or 32 for float32 as they are.

    Example:
        >>> from_unit(np.array([0.0, 0.5, 2.0]), 16)
        array([    0, 32768, 65535], dtype=uint16)
    """
    if bits == 32:
        return np.ascontiguousarray(unit_image, dtype=np.float32)
    top = 2**bits - 1
    whole = np.empty(unit_image.shape, np.uint8 if bits == 8 else np.uint16)
    # In strips, since the doubles of a picture of 8192×8192 colour pixels would take 1.6 GB.
    for start in range(0, len(unit_image), _STRIP_ROWS):
        strip = np.clip(unit_image[start : start + _STRIP_ROWS].astype(np.float64), 0.0, 1.0)
        whole[start : start + _STRIP_ROWS] = np.floor(strip * top + 0.5)
    return whole
