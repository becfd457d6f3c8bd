"""What files of masks hold, where pictures are read as palette colours or stretched greys."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalefuse.data.image import ImageKind
from scalefuse.data.raster import EXIF_ORIENTATION, apply_orientation
from scalefuse.data.read import silenced


def palette_indices(path: Path) -> NDArray[Any] | None:
    """The indices ``(H, W)`` of a PNG file with a palette, turned as its picture is; None for another PNG.

    Example:
        >>> import PIL.Image, tempfile
        >>> file = Path(tempfile.mkdtemp()) / "mask.png"
        >>> picture = PIL.Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
        >>> picture.putpalette([0, 0, 0, 255, 0, 0])
        >>> picture.save(file)
        >>> palette_indices(file).tolist()
        [[0, 1]]
    """
    from PIL.PngImagePlugin import PngImageFile

    if not path.is_file():
        return None
    with path.open("rb") as handle, PngImageFile(handle) as picture:
        if picture.mode != "P":
            return None
        pixels = np.array(picture)
        # Read after the pixels, since PNG may carry its EXIF block behind them.
        return apply_orientation(pixels, picture.getexif().get(EXIF_ORIENTATION, 1))


def grey_step(path: Path | None, kind: ImageKind) -> int:
    """What 1 in a grey file of 2 or 4 bits becomes when it is read as a picture of 8; 1 for other files.

    Args:
        path: the file, if there is one.
        kind: its format.

    Example:
        >>> import tempfile, tifffile
        >>> file = Path(tempfile.mkdtemp()) / "mask.tif"
        >>> tifffile.imwrite(file, np.array([[0, 1]], np.uint8), bitspersample=4, photometric="minisblack")
        >>> grey_step(file, "tiff")
        17
    """
    if path is None or kind not in ("png", "tiff") or not path.is_file():
        return 1
    if kind == "png":
        with path.open("rb") as handle:
            head = handle.read(26)
        bits, grey = head[24], head[25] == 0
    else:
        import tifffile

        with silenced("tifffile"), tifffile.TiffFile(path) as file:
            page = file.pages.first
            bits, grey = int(page.bitspersample), int(page.photometric) <= 1
    return 255 // (2**bits - 1) if grey and bits in (2, 4) else 1


def is_boolean_array(path: Path | None, kind: ImageKind) -> bool:
    """Whether a TIFF file is a Boolean array that tifffile wrote (imageio writes with it too).

    It marks such arrays as "white is zero" unless told otherwise, so that a picture of them is the negative
    of what they hold.

    Args:
        path: the file, if there is one.
        kind: its format.

    Example:
        >>> import tempfile, tifffile
        >>> file = Path(tempfile.mkdtemp()) / "mask.tif"
        >>> tifffile.imwrite(file, np.array([[False, True]]))
        >>> is_boolean_array(file, "tiff")
        True
    """
    if path is None or kind != "tiff" or not path.is_file():
        return False
    import tifffile

    with silenced("tifffile"), tifffile.TiffFile(path) as file:
        page = file.pages.first
        by_tifffile = str(page.tags.valueof(305)).startswith("tifffile")
        return by_tifffile and int(page.bitspersample) == 1 and int(page.photometric) == 0
