"""What files of masks hold, where pictures are read as palette colours or stretched greys."""

from pathlib import Path
from typing import Any, NamedTuple

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


class StoredGreys(NamedTuple):
    """How the greys of a file became those of the picture that is read from it.

    Attributes:
        step: what 1 in a file of 2 or 4 bits becomes in a picture of 8; 1 for other files.
        negated: whether the picture is the negative of what was written. tifffile, and imageio with it, mark
            Boolean arrays as "white is zero" unless told otherwise.
    """

    step: int = 1
    negated: bool = False


def stored_greys(path: Path | None, kind: ImageKind) -> StoredGreys:
    """How a file holds its greys, by its header.

    Args:
        path: the file, if there is one.
        kind: its format.

    Example:
        >>> import tempfile, tifffile
        >>> file = Path(tempfile.mkdtemp()) / "mask.tif"
        >>> tifffile.imwrite(file, np.array([[0, 1]], np.uint8), bitspersample=4, photometric="minisblack")
        >>> stored_greys(file, "tiff")
        StoredGreys(step=17, negated=False)
        >>> tifffile.imwrite(file, np.array([[False, True]]))
        >>> stored_greys(file, "tiff")
        StoredGreys(step=1, negated=True)
    """
    if path is None or kind not in ("png", "tiff") or not path.is_file():
        return StoredGreys()
    negated = False
    if kind == "png":
        with path.open("rb") as handle:
            head = handle.read(26)
        bits, grey = head[24], head[25] == 0
    else:
        import tifffile

        with silenced("tifffile"), tifffile.TiffFile(path) as file:
            page = file.pages.first
            bits, photometric = int(page.bitspersample), int(page.photometric)
            by_tifffile = str(page.tags.valueof(305)).startswith("tifffile")
        grey = photometric <= 1
        negated = by_tifffile and bits == 1 and photometric == 0
    return StoredGreys(255 // (2**bits - 1) if grey and bits in (2, 4) else 1, negated)
