"""What callers give for a picture, as an array."""

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from scalefuse.data.pixels import as_pixels
from scalefuse.data.read import read_image
from scalefuse.errors import InputError


def test_arrays_and_tensors_are_not_copied():
    pixels = np.zeros((3, 4), np.uint16)
    assert as_pixels(pixels) is pixels
    tensor = torch.rand(3, 4)
    assert np.shares_memory(as_pixels(tensor), tensor.numpy())
    assert np.array_equal(as_pixels(tensor.clone().requires_grad_()), tensor.numpy())
    assert as_pixels(tensor.bfloat16()).dtype == np.float32


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_pictures_of_pil_are_those_that_reading_their_files_gives(tmp_path, mode):
    generator = np.random.default_rng(0)
    if mode == "I;16":
        picture = Pillow.fromarray(generator.integers(0, 65536, (5, 6), dtype=np.uint16))
    else:
        channels = len(Pillow.new(mode, (1, 1)).getbands())
        shape = (5, 6) if channels == 1 else (5, 6, channels)
        pixels = generator.integers(0, 256, shape, dtype=np.uint8)
        # Palettes and single bits are made by PIL.
        direct = mode not in ("1", "P")
        picture = (
            Pillow.fromarray(pixels, mode)
            if direct
            else Pillow.fromarray(generator.integers(0, 256, (5, 6, 3), dtype=np.uint8)).convert(mode)
        )
    assert picture.mode == mode
    file = tmp_path / ("picture.tif" if mode == "CMYK" else "picture.png")
    picture.save(file)
    np.testing.assert_array_equal(as_pixels(picture), read_image(file).pixels)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("slide.png", "but got str; read files with"),
        (None, "but got NoneType"),
        ([[1, 2], [3]], "but got list"),
        (np.array(["a"]), "but got an array of <U1"),
        (np.zeros((2, 2), complex), "but got an array of complex128"),
    ],
)
def test_what_is_no_picture_is_named(given, message):
    with pytest.raises(InputError, match=message):
        as_pixels(given)
