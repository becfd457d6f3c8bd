"""NIfTI files that hold one slice."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalefuse.data.image import Geometry, Image
from scalefuse.data.read import Channels, channels_hint, check_size, silenced
from scalefuse.errors import InputError

_RGB_FIELDS = ("R", "G", "B")

# Where a header says nothing of units, millimetres are meant by nearly all programs.
_UNITS_MM = {"meter": 1000.0, "mm": 1.0, "micron": 0.001}


def read_nifti(path: Path, channels: Channels = None) -> Image:
    """Read a NIfTI file (``.nii`` or ``.nii.gz``) of one slice; see :func:`scalefuse.data.read.read_image`.

    Args:
        path: the file.
        channels: ``None`` for a slice ``(H, W)``; a number for one with so many channels along a third axis,
            the last one that is longer than one; ``"any"`` for either.

    Raises:
        InputError: the file is damaged, truncated, too large, or holds more than one slice.

    Example:
        >>> read_nifti(Path("missing.nii"))
        Traceback (most recent call last):
        scalefuse.errors.InputError: missing.nii: damaged or truncated NIfTI file ...
    """
    from nibabel import Nifti1Image, Nifti2Image
    from nibabel.filebasedimages import ImageFileError

    try:
        with silenced("nibabel.global"):
            volume = (Nifti2Image if _is_nifti2(path) else Nifti1Image).from_filename(path, mmap=False)
        shape = tuple(int(length) for length in volume.shape)
        axes, num_channels = _plane_axes(shape), 1
        wanted = None if channels in (1, 3) else channels
        if len(axes) == 3 and (wanted == "any" or shape[axes[2]] == wanted):
            num_channels = shape[axes[2]]
            shape = tuple(1 if axis == axes[2] else length for axis, length in enumerate(shape))
            axes = axes[:2]
        if len(axes) != 2:
            slices = f"one slice with {wanted} channels (H×W×{wanted})" if wanted else "one slice (H×W)"
            hint = channels_hint(channels, shape[axes[2]]) if len(axes) == 3 else ""
            raise InputError(
                f"{path}: holds an array of {'×'.join(map(str, shape))} voxels, but {slices} was expected; "
                f"save the slice that you need as a file of its own{hint}."
            )
        height, width = shape[axes[0]], shape[axes[1]]
        check_size(path, height, width, num_channels)
        pixels = np.asanyarray(volume.dataobj)
        in_colour = pixels.dtype.names is not None and num_channels == 1
        if in_colour:
            if pixels.dtype.names[:3] != _RGB_FIELDS:
                raise InputError(
                    f"{path}: holds {pixels.dtype} values, but numbers or RGB were expected; convert it."
                )
            pixels = np.stack([pixels[name] for name in _RGB_FIELDS], axis=-1)
            pixels = pixels.reshape(height, width, 3)
        elif pixels.dtype.kind in "uif":
            pixels = pixels.reshape((height, width) if num_channels == 1 else (height, width, num_channels))
        else:
            raise InputError(
                f"{path}: holds {pixels.dtype} numbers, but real numbers were expected; convert it."
            )
        # nibabel leaves the byte order of the file.
        pixels = np.ascontiguousarray(pixels.astype(pixels.dtype.newbyteorder("="), copy=False))
        if pixels.dtype.kind == "f" and pixels.dtype.itemsize not in (4, 8):
            pixels = pixels.astype(np.float64)
        unit_mm = _UNITS_MM.get(volume.header.get_xyzt_units()[0], 1.0)
        zooms = [float(zoom) * unit_mm for zoom in volume.header.get_zooms()]
    except InputError:
        raise
    except MemoryError:
        raise
    except ImageFileError as error:
        raise InputError(f"{path}: not a NIfTI file, in spite of its name; give a NIfTI slice.") from error
    except Exception as error:  # nibabel, gzip and zlib raise many types for damaged files.
        first_line = str(error).strip().split("\n")[0]
        raise InputError(f"{path}: damaged or truncated NIfTI file ({first_line}); copy it again.") from error
    spacing = (zooms[axes[0]], zooms[axes[1]])
    geometry = Geometry(
        spacing_mm=spacing if min(spacing) > 0 and max(spacing) < np.inf else None,
        affine=np.array(volume.affine, dtype=np.float64),
        nifti_header=volume.header.copy(),
        nifti_shape=shape,
    )
    unit = "grey level" if in_colour else "arbitrary"
    return Image(pixels, kind="nifti", unit=unit, geometry=geometry, source=path)  # type: ignore[arg-type]


def _is_nifti2(path: Path) -> bool:
    # The first number of a NIfTI header is its own length: 348 bytes in version 1, 540 in version 2.
    import gzip

    opener: Any = gzip.open if path.name.lower().endswith(".gz") else open
    with opener(path, "rb") as handle:
        return handle.read(4) in ((540).to_bytes(4, "little"), (540).to_bytes(4, "big"))


def _plane_axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Which axes are rows and columns: axes of length one go, the last ones first, until two are left."""
    axes = list(range(len(shape)))
    for axis in reversed(range(len(shape))):
        if len(axes) > 2 and shape[axis] == 1:
            axes.remove(axis)
    return tuple(axes)


def write_nifti(path: Path, pixels: NDArray[Any], like: Image | None) -> None:
    """Write a NIfTI file of one slice, with the geometry of another picture.

    From a NIfTI source the whole header is kept, from a DICOM source the affine is worked out; without either
    the voxels are 1 mm wide. Scaling and display range in the header are reset, since they belong to the
    source's values. Colour is written as NIfTI's RGB type, which has 8 bits.

    Args:
        path: file to write, ``.nii`` or ``.nii.gz``.
        pixels: ``(H, W)``, or ``(H, W, 3)`` in 8 bits.
        like: the picture whose geometry the file gets.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "slice.nii.gz"
        >>> write_nifti(file, np.ones((3, 2), np.uint16), None)
        >>> read_nifti(file).size
        (3, 2)
    """
    from nibabel import Nifti1Header, Nifti1Image, Nifti2Header, Nifti2Image

    geometry = like.geometry if like is not None else None
    header = (
        geometry.nifti_header.copy() if geometry is not None and geometry.nifti_header is not None else None
    )
    shape: tuple[int, ...] = (*pixels.shape[:2], 1)
    if geometry is not None and geometry.nifti_shape is not None:
        shape = geometry.nifti_shape
    large = max(shape) > np.iinfo(np.int16).max  # Version 1 counts voxels with 16 bits.
    if pixels.ndim == 3:
        pixels = np.ascontiguousarray(pixels).view([(name, np.uint8) for name in _RGB_FIELDS])
    data = np.ascontiguousarray(pixels).reshape(shape)
    if header is None:
        header = (Nifti2Header if large else Nifti1Header)()
        header.set_xyzt_units("mm")
    header.set_data_dtype(data.dtype)
    header.set_slope_inter(1, 0)
    header["cal_min"] = header["cal_max"] = 0
    affine = np.eye(4)
    if geometry is not None:
        affine = geometry.affine if geometry.affine is not None else dicom_affine(geometry)
    image = (Nifti2Image if isinstance(header, Nifti2Header) else Nifti1Image)(data, affine, header=header)
    image.to_filename(path)


def lie_alike(first: Image, second: Image) -> bool:
    """Whether pixels ``[i, j]`` of two NIfTI pictures show the same place, as far as their files say.

    They do where the corners lie within half a pixel of one another. Of pictures without an affine in their
    file, and of different sizes, nothing can be said, and the answer is yes.

    Example:
        >>> shifted = np.eye(4)
        >>> shifted[0, 3] = 5
        >>> one, other = (
        ...     Image(np.zeros((4, 4)), geometry=Geometry(affine=affine, nifti_shape=(4, 4)))
        ...     for affine in (np.eye(4), shifted)
        ... )
        >>> lie_alike(one, one), lie_alike(one, other)
        (True, False)
    """
    ours, theirs = _corners(first), _corners(second)
    if ours is None or theirs is None or first.size != second.size:
        return True
    assert first.geometry is not None
    pixel = min(first.geometry.spacing_mm or (1.0,))
    return bool(np.abs(ours - theirs).max() <= max(pixel, 1e-6) / 2)


def _corners(image: Image) -> NDArray[np.float64] | None:
    """Where the centres of the four corner pixels lie, in mm; None where the file does not say."""
    geometry = image.geometry
    if geometry is None or geometry.affine is None or geometry.nifti_shape is None:
        return None
    header = geometry.nifti_header
    if header is not None and header["sform_code"] == header["qform_code"] == 0:
        return None
    rows, columns = _plane_axes(geometry.nifti_shape)
    voxels = np.zeros((4, max(3, len(geometry.nifti_shape))))
    voxels[:, rows] = np.array([0, 0, 1, 1]) * (image.size[0] - 1)
    voxels[:, columns] = np.array([0, 1, 0, 1]) * (image.size[1] - 1)
    corners: NDArray[np.float64] = voxels[:, :3] @ geometry.affine[:3, :3].T + geometry.affine[:3, 3]
    return corners


def dicom_affine(geometry: Geometry) -> NDArray[np.float64]:
    """The NIfTI affine of a DICOM slice: pixel ``[i, j]`` (row, column) to right-anterior-superior mm.

    Reference: DICOM PS3.3 C.7.6.2.1.1, with the first two axes flipped, since DICOM counts towards left and
    posterior.

    Args:
        geometry: spacing counts as 1 mm, the orientation as axial and the position as 0 where not known.

    Example:
        >>> dicom_affine(Geometry(spacing_mm=(0.5, 0.25), position_mm=(10.0, 20.0, 30.0)))[:3]
        array([[ -0.  ,  -0.25,  -0.  , -10.  ],
               [ -0.5 ,  -0.  ,  -0.  , -20.  ],
               [  0.  ,   0.  ,   1.  ,  30.  ]])
    """
    row_spacing, column_spacing = geometry.spacing_mm or (1.0, 1.0)
    orientation = np.array(geometry.orientation or (1, 0, 0, 0, 1, 0), dtype=np.float64)
    along_row, down_column = orientation[:3], orientation[3:]
    affine = np.eye(4)
    affine[:3, 0] = down_column * row_spacing
    affine[:3, 1] = along_row * column_spacing
    affine[:3, 2] = np.cross(along_row, down_column) * (geometry.slice_thickness_mm or 1.0)
    affine[:3, 3] = geometry.position_mm or (0.0, 0.0, 0.0)
    affine[:2] *= -1
    return affine
