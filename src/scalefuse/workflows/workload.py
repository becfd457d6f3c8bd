"""How much a command has to compute, from the headers of its pictures."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path

from scalefuse.data.read import silenced
from scalefuse.inference.engines.choice import Job

_SAMPLED = 32


def job_of(files: Sequence[Path]) -> Job:
    """The size of a job, by the pixels of at most 32 of its pictures.

    Args:
        files: pictures; for fusion the first of each pair.

    Example:
        >>> job_of([])
        Job(pictures=0, megapixels=0.0, passes=1)
    """
    step = max(1, -(-len(files) // _SAMPLED))
    sampled = [_pixels(file) for file in files[::step]]
    mean = sum(sampled) / len(sampled) if sampled else 0.0
    return Job(len(files), mean * len(files) / 1e6)


def _pixels(file: Path) -> float:
    """Rows times columns, and more for more than three channels, as far as the header says."""
    from PIL import Image

    if not file.is_file():
        return 0.0  # such as a pipe, which would be waited for
    try:
        # A header that Pillow wonders about is the reader's to complain of.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if file.suffix.lower() in (".tif", ".tiff", ".svs"):
                return _tiff_pixels(file)
            with Image.open(file) as image:
                return image.width * image.height
    except Image.DecompressionBombError:
        # Pillow's limit, not the reader's: it says no size, but that it is above twice this one.
        return 2.0 * (Image.MAX_IMAGE_PIXELS or 0)
    except Exception:
        # Formats that Pillow does not know, and damaged files.
        return _scan_pixels(file)


def _scan_pixels(file: Path) -> float:
    """Of NIfTI and DICOM files; 0 for what cannot be read, which is nothing to compute."""
    try:
        if file.name.lower().endswith((".nii", ".nii.gz")):
            import nibabel

            with silenced("nibabel.global"):
                rows, columns, *more = sorted((1, 1, *nibabel.load(file).shape), reverse=True)
            return float(rows * columns * max(1.0, math.prod(more) / 3))
        import pydicom

        with silenced("pydicom"):
            header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["Rows", "Columns"])
        return float(header.Rows * header.Columns)
    except Exception:
        # Readers raise many types for damaged files; the picture's own reader will say what is wrong.
        return 0.0


def _tiff_pixels(file: Path) -> float:
    import tifffile

    with silenced("tifffile"), tifffile.TiffFile(file) as opened:
        page = opened.pages[0].aspage()
        many = max(1.0, page.samplesperpixel / 3, len(opened.pages) / 3)
        return float(page.imagewidth * page.imagelength * many)
