"""A picture in memory: its pixels as the file holds them, what they mean, and where they lie in the body."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from scalefuse.errors import InputError

ImageKind = Literal["png", "tiff", "jpeg", "bmp", "gif", "webp", "lossy webp", "dicom", "nifti", "array"]
PixelUnit = Literal["grey level", "HU", "arbitrary"]


@dataclass(frozen=True, eq=False)
class Geometry:
    """Where the pixels lie; every part is ``None`` where the file does not say.

    Attributes:
        spacing_mm: distance between the centres of neighbouring rows and of neighbouring columns, in mm.
        orientation: direction cosines in the DICOM patient system (left, posterior, superior), first along a
            row (growing column index), then down a column, as in ``ImageOrientationPatient``.
        position_mm: DICOM patient coordinates of the centre of pixel (0, 0), as in ``ImagePositionPatient``.
        slice_thickness_mm: thickness of the slice.
        affine: NIfTI affine ``(4, 4)``, voxel index to millimetres (right, anterior, superior). Pixel
            ``[i, j]`` of the image is voxel ``[i, j, 0]`` of the file.
        nifti_header: the whole NIfTI header (a ``nibabel`` header), for writing a result with the same one.
        nifti_shape: shape of the array in the NIfTI file, with its axes of length one; an axis of channels
            counts as one of these.
    """

    spacing_mm: tuple[float, float] | None = None
    orientation: tuple[float, ...] | None = None
    position_mm: tuple[float, float, float] | None = None
    slice_thickness_mm: float | None = None
    affine: NDArray[np.float64] | None = None
    nifti_header: Any = field(default=None, repr=False)
    nifti_shape: tuple[int, ...] | None = None


@dataclass(frozen=True, eq=False)
class Image:
    """One two-dimensional picture.

    Attributes:
        pixels: ``(H, W)``, ``(H, W, 3)`` for colour, or ``(H, W, C)`` for another number of channels that was
            asked for, in the number type of the file. Never scaled: 16-bit stays 16-bit.
        kind: the file format it came from; ``array`` for a picture made in memory.
        unit: ``"HU"`` for CT numbers, ``"grey level"`` for pictures, ``"arbitrary"`` otherwise.
        bits: 8 or 16 where the pixels are unsigned integers of that width, else ``None``.
        geometry: where the pixels lie, if the file says so.
        source: the file it was read from.
        display_window: (centre, width) which a DICOM file proposes for display, in the unit of the pixels.

    Raises:
        InputError: pixels of another shape.

    Example:
        >>> import numpy as np
        >>> image = Image(np.zeros((4, 6), np.uint16))
        >>> image.size, image.bits, image.is_colour
        ((4, 6), 16, False)
    """

    pixels: NDArray[Any]
    kind: ImageKind = "array"
    unit: PixelUnit = "grey level"
    geometry: Geometry | None = None
    source: Path | None = None
    display_window: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        shape = np.shape(self.pixels)
        if len(shape) != 2 and (len(shape) != 3 or shape[2] < 2):
            raise InputError(f"Expected pixels (H, W), or (H, W, C) with C > 1, but got shape {shape}.")

    @property
    def bits(self) -> int | None:
        """8 or 16 for unsigned integer pixels of that width, ``None`` for every other number type."""
        return {np.dtype(np.uint8): 8, np.dtype(np.uint16): 16}.get(self.pixels.dtype)

    @property
    def is_lossy(self) -> bool:
        """Whether the file's format alters values, so that those of a mask are only nearly what was drawn."""
        return self.kind in ("jpeg", "lossy webp")

    @property
    def is_colour(self) -> bool:
        """Whether the picture has three channels, which are red, green and blue."""
        return self.num_channels == 3

    @property
    def num_channels(self) -> int:
        """1 for grey, 3 for colour, or another number that was asked for when the file was read."""
        return 1 if self.pixels.ndim == 2 else int(self.pixels.shape[2])

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return int(self.pixels.shape[0]), int(self.pixels.shape[1])

    @property
    def label(self) -> str:
        """The file, or a plain word where there is none: what an error message names."""
        return str(self.source) if self.source is not None else "the image"
