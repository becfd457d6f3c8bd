"""Luma and chroma, against Pillow, and the luma that no colour may bend."""

import numpy as np
import pytest
from PIL import Image as PillowImage

from scalefuse.data import from_luma_chroma, from_unit, is_effectively_grey, to_luma_chroma
from scalefuse.errors import InputError

RNG = np.random.default_rng(2)


def luma_of(rgb):
    return rgb.astype(np.float64) @ [0.299, 0.587, 0.114]


def test_agrees_with_pillow():
    colour = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    luma, chroma = to_luma_chroma(colour / 255)
    ours = np.dstack([luma * 255, chroma * 255 + 128])
    pillow = np.asarray(PillowImage.fromarray(colour).convert("YCbCr")).astype(float)
    # Pillow counts with tables of fixed-point numbers and cuts off what is behind the point.
    difference = np.clip(ours, 0, 255.99) - pillow
    assert difference.min() > -0.05
    assert difference.max() < 1.01
    assert abs(difference.mean() - 0.5) < 0.05


def test_primaries_have_the_weights_of_the_standard():
    luma, chroma = to_luma_chroma(np.eye(3)[None])
    np.testing.assert_allclose(luma, [[0.299, 0.587, 0.114]], atol=1e-6)
    np.testing.assert_allclose(chroma[0, 2], [0.5, -0.081312], atol=1e-5)
    np.testing.assert_allclose(chroma[0, 0], [-0.168736, 0.5], atol=1e-5)


@pytest.mark.parametrize("gamut", ["desaturate", "clip"])
def test_round_trip(gamut):
    colour = RNG.random((32, 32, 3))
    np.testing.assert_allclose(from_luma_chroma(*to_luma_chroma(colour), gamut=gamut), colour, atol=1e-6)


@pytest.mark.parametrize("bits", [8, 16])
def test_every_8_and_16_bit_colour_survives(bits):
    top = 2**bits - 1
    colour = RNG.integers(0, top, (100, 100, 3), endpoint=True)
    colour[0, :8] = [[r * top, g * top, b * top] for r in (0, 1) for g in (0, 1) for b in (0, 1)]
    np.testing.assert_array_equal(from_unit(from_luma_chroma(*to_luma_chroma(colour / top)), bits), colour)


def test_luma_is_kept_for_any_chroma():
    luma = RNG.random((50, 50)).astype(np.float32)
    luma[0, :2] = 0, 1
    chroma = (RNG.random((50, 50, 2)) - 0.5).astype(np.float32)
    rgb = from_luma_chroma(luma, chroma)
    assert rgb.min() >= 0
    assert rgb.max() <= 1
    np.testing.assert_allclose(luma_of(rgb), luma, atol=2e-7)
    # The plain conversion does not keep it: this is why it is not the default.
    assert np.abs(luma_of(from_luma_chroma(luma, chroma, gamut="clip")) - luma).max() > 0.05


def test_desaturation_keeps_the_hue_and_takes_no_more_than_it_must():
    luma, chroma = np.full((1, 1), 0.8), np.array([[[-0.168736, 0.5]]])
    rgb = from_luma_chroma(luma, chroma)
    _, less = to_luma_chroma(rgb)
    assert rgb.max() == 1
    np.testing.assert_allclose(less[0, 0, 0] / less[0, 0, 1], chroma[0, 0, 0] / chroma[0, 0, 1], rtol=1e-5)


def test_black_and_white_stay_so():
    chroma = np.full((1, 2, 2), 0.4)
    np.testing.assert_array_equal(from_luma_chroma(np.array([[0.0, 1.0]]), chroma), [[[0, 0, 0], [1, 1, 1]]])


def test_effectively_grey():
    grey = np.repeat(RNG.integers(0, 250, (9, 9, 1)), 3, axis=-1)
    for image in (grey.astype(np.uint8), (grey * 257).astype(np.uint16), grey / 255):
        assert is_effectively_grey(image)
    near = grey.copy()
    near[4, 4, 0] += 2
    assert is_effectively_grey(near.astype(np.uint8))
    assert is_effectively_grey(near / 255)
    assert not is_effectively_grey(near.astype(np.uint8), tolerance=0)
    near[4, 4, 0] += 1
    assert not is_effectively_grey(near.astype(np.uint8))
    assert not is_effectively_grey(near / 255)


def test_bad_shapes():
    with pytest.raises(InputError, match=r"\(H, W, 3\)"):
        to_luma_chroma(np.zeros((4, 4)))
    with pytest.raises(InputError, match=r"\(H, W, 2\)"):
        from_luma_chroma(np.zeros((4, 4)), np.zeros((4, 4, 3)))
    with pytest.raises(InputError, match="gamut"):
        from_luma_chroma(np.zeros((4, 4)), np.zeros((4, 4, 2)), gamut="bend")
    with pytest.raises(InputError):
        is_effectively_grey(np.zeros((4, 4)))
