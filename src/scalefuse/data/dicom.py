"""Single DICOM slices."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalefuse.data.image import Geometry, Image, PixelUnit
from scalefuse.data.read import check_size, silenced
from scalefuse.errors import InputError

# Compressions that pydicom decodes only with further packages, but imagecodecs does as well.
_LOSSLESS_JPEG = ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")
_JPEG_LS = ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81")


def read_dicom(path: Path) -> Image:
    """Read one DICOM slice; see :func:`scalefuse.data.read.read_image`.

    Raises:
        InputError: the file is damaged, truncated, too large, holds no picture or several frames, or is
            compressed in a way that cannot be decoded here.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "notes.dcm"
        >>> _ = file.write_text("no picture")
        >>> read_dicom(file)
        Traceback (most recent call last):
        scalefuse.errors.InputError: ...notes.dcm: not a DICOM file ...
    """
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        # pydicom warns about oddities that do not touch the pixels.
        with warnings.catch_warnings(), silenced("pydicom"):
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(path)
            _check_one_picture(path, dataset)
            return _to_image(path, dataset)
    except InputError:
        raise
    except MemoryError:
        raise
    except InvalidDicomError as error:
        raise InputError(f"{path}: not a DICOM file (its header is missing); give a DICOM slice.") from error
    except Exception as error:  # pydicom and its decoders raise many types for damaged files.
        first_line = str(error).strip().split("\n")[0]
        raise InputError(f"{path}: damaged or truncated DICOM file ({first_line}); copy it again.") from error


def _check_one_picture(path: Path, dataset: Any) -> None:
    if "PixelData" not in dataset or not dataset.get("Rows") or not dataset.get("Columns"):
        if len(dataset) == 0:
            raise InputError(f"{path}: damaged or truncated DICOM file (it holds nothing); copy it again.")
        raise InputError(
            f"{path}: a DICOM file without a complete picture (modality "
            f"{dataset.get('Modality', 'unknown')}); give an image slice, or copy the file again."
        )
    check_size(path, int(dataset.Rows), int(dataset.Columns))
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames != 1:
        raise InputError(
            f"{path}: holds {frames} frames, but one slice was expected; split it into single slices."
        )
    if not getattr(dataset, "file_meta", None) or "TransferSyntaxUID" not in dataset.file_meta:
        raise InputError(
            f"{path}: does not say how its pixels are coded (no transfer syntax); export it again."
        )


def _to_image(path: Path, dataset: Any) -> Image:
    from pydicom.pixels import apply_color_lut, apply_modality_lut

    stored = _decode(path, dataset)
    _lay_open(dataset)
    photometric = str(dataset.get("PhotometricInterpretation", "MONOCHROME2"))
    geometry = _geometry(dataset)
    if photometric == "PALETTE COLOR":
        stored = apply_color_lut(stored, dataset)
    if stored.ndim == 3:
        colour = np.ascontiguousarray(stored[..., :3])
        if colour.dtype not in (np.uint8, np.uint16):
            raise InputError(
                f"{path}: colour as {colour.dtype}, but 8- or 16-bit colour was expected; export it again."
            )
        return Image(colour, kind="dicom", geometry=geometry, source=path)
    values = np.asarray(apply_modality_lut(stored, dataset), dtype=np.float64)
    unit = _unit(dataset)
    if photometric == "MONOCHROME1" and unit != "HU":
        low, high = apply_modality_lut(_stored_extremes(dataset, stored), dataset).astype(np.float64)
        values = low + high - values
    return Image(
        values.astype(np.float32),
        kind="dicom",
        unit=unit,
        geometry=geometry,
        source=path,
        display_window=_display_window(dataset),
    )


# Functional groups of enhanced files, and what of them says how the pixels are to be read and where they lie.
_GROUPS = {
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept", "RescaleType"),
    "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness"),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "PlanePositionSequence": ("ImagePositionPatient",),
    "FrameVOILUTSequence": ("WindowCenter", "WindowWidth"),
}


def _lay_open(dataset: Any) -> None:
    """Give a file the attributes of its only frame that enhanced files keep in functional groups."""
    # Those of the frame come first: they say more than the shared ones.
    for place in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
        for frame in list(dataset.get(place) or [])[:1]:
            for group, names in _GROUPS.items():
                for entry in list(frame.get(group) or [])[:1]:
                    for name in names:
                        if name in entry and name not in dataset:
                            setattr(dataset, name, entry[name].value)
    for name in ("RescaleSlope", "RescaleIntercept"):
        # Empty ones say nothing.
        if name in dataset and dataset[name].is_empty:
            delattr(dataset, name)


def _decode(path: Path, dataset: Any) -> NDArray[Any]:
    from pydicom.pixels import get_decoder, pixel_array

    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_compressed and syntax.is_encapsulated:
        if syntax in _LOSSLESS_JPEG + _JPEG_LS:
            return _decode_by_imagecodecs(dataset, syntax)
        try:
            available = get_decoder(syntax).is_available
        except NotImplementedError:
            available = False
        if not available:
            raise InputError(
                f"{path}: the pixels are compressed as {syntax.name}, which cannot be decoded here; "
                "convert the file to an uncompressed DICOM before."
            )
    pixels: NDArray[Any] = pixel_array(dataset)
    return pixels


def _decode_by_imagecodecs(dataset: Any, syntax: str) -> NDArray[Any]:
    import imagecodecs
    from pydicom.encaps import get_frame

    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    decode = imagecodecs.ljpeg_decode if syntax in _LOSSLESS_JPEG else imagecodecs.jpegls_decode
    pixels: NDArray[Any] = np.asarray(decode(frame))
    if pixels.shape[:2] != (dataset.Rows, dataset.Columns):
        raise ValueError(f"{pixels.shape[:2]} pixels decoded, {dataset.Rows}×{dataset.Columns} announced")
    if int(dataset.get("PixelRepresentation", 0)) == 1:
        # The codec knows no sign: bits above the stored ones repeat the sign bit.
        shift = pixels.dtype.itemsize * 8 - int(dataset.BitsStored)
        pixels = (pixels << shift).view(f"i{pixels.dtype.itemsize}") >> shift
    return pixels


def _stored_extremes(dataset: Any, stored: NDArray[Any]) -> NDArray[Any]:
    bits = int(dataset.BitsStored)
    signed = int(dataset.get("PixelRepresentation", 0)) == 1
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return np.array([low, high]).astype(stored.dtype)


def _unit(dataset: Any) -> PixelUnit:
    # CT without a stated type is in HU by the standard's CT module.
    if (
        "RescaleSlope" in dataset
        and dataset.get("Modality") == "CT"
        and (dataset.get("RescaleType") or "HU") == "HU"
    ):
        return "HU"
    return "arbitrary"


def _geometry(dataset: Any) -> Geometry:
    spacing = _numbers(dataset.get("PixelSpacing"), 2)
    return Geometry(
        # Sizes of 0 or less are no sizes.
        spacing_mm=spacing if spacing and min(spacing) > 0 else None,  # type: ignore[arg-type]
        orientation=_numbers(dataset.get("ImageOrientationPatient"), 6),
        position_mm=_numbers(dataset.get("ImagePositionPatient"), 3),  # type: ignore[arg-type]
        slice_thickness_mm=(_numbers([dataset.get("SliceThickness")], 1) or (None,))[0],
    )


def _numbers(values: Any, count: int) -> tuple[float, ...] | None:
    try:
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == count and all(np.isfinite(numbers)) else None


def _display_window(dataset: Any) -> tuple[float, float] | None:
    def first(value: Any) -> Any:
        return value if value is None or isinstance(value, int | float | str) else next(iter(value), None)

    window = _numbers([first(dataset.get("WindowCenter")), first(dataset.get("WindowWidth"))], 2)
    return (window[0], window[1]) if window and window[1] > 0 else None
