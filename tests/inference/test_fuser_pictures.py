"""What a fuser makes of colours and number types."""

import numpy as np
import pytest

import scalefuse
from scalefuse.data import Image, read_image, write_image
from scalefuse.inference.fuser import _join_chroma


def test_the_stronger_colour_weighs_more():
    first = np.array([[[0.3, 0.4], [0.0, 0.0], [0.3, 0.4]]], np.float32)
    second = np.array([[[0.0, -0.1], [0.0, 0.0], [0.0, 0.0]]], np.float32)
    # Saturations 0.5 and 0.1, none at all, and 0.5 beside none.
    expected = [[[0.25, (0.4 * 0.5 - 0.1 * 0.1) / 0.6], [0, 0], [0.3, 0.4]]]
    np.testing.assert_allclose(_join_chroma(first, second), expected, rtol=1e-6)


@pytest.mark.parametrize(("bits", "expected"), [((8, 8), 8), ((8, 16), 16), ((16, 8), 16), ((16, 16), 16)])
def test_eight_bits_only_where_both_have_them(tmp_path, bits, expected):
    pictures: list[Image] = []
    for place, depth in enumerate(bits):
        file = tmp_path / f"{place}.png"
        write_image(file, np.random.default_rng(place).random((12, 14)), bits=depth)
        pictures.append(read_image(file))
    fused = scalefuse.load("dilran", strategy="baseline:average").fuse_images(*pictures)
    assert fused.bits == expected
