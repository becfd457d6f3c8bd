"""Reading and writing pictures with their geometry, what their values mean, and how they pair up.

The names below load NumPy and pydantic at most; the libraries behind a file format are loaded when a file of
that format is read or written.
"""

from scalefuse.data.atomic import atomic_folder, atomic_write, check_writable_folder
from scalefuse.data.colour import from_luma_chroma, is_effectively_grey, to_luma_chroma
from scalefuse.data.image import Geometry, Image
from scalefuse.data.intensity import IntensityRange, resolve_intensity, resolve_range, to_unit
from scalefuse.data.pairs import Pair, pair_by_name
from scalefuse.data.read import image_stem, list_images, read_image
from scalefuse.data.write import from_unit, write_image

__all__ = [
    "Geometry",
    "Image",
    "IntensityRange",
    "Pair",
    "atomic_folder",
    "atomic_write",
    "check_writable_folder",
    "from_luma_chroma",
    "from_unit",
    "image_stem",
    "is_effectively_grey",
    "list_images",
    "pair_by_name",
    "read_image",
    "resolve_intensity",
    "resolve_range",
    "to_luma_chroma",
    "to_unit",
    "write_image",
]
