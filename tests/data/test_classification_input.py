"""From a picture to what a classifier takes."""

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from scalefuse.data.classification_input import ClassificationPreprocessing, prepare, standardise
from scalefuse.data.image import Image
from scalefuse.data.read import read_image
from scalefuse.errors import InputError, IntensityChoiceError


def plain(height, width, **options):
    return ClassificationPreprocessing(size=(height, width), **options)


def test_grey_is_repeated_and_colour_becomes_luma():
    grey = np.array([[0, 51], [102, 255]], np.uint8)
    three = prepare(grey, plain(2, 2), 3)
    torch.testing.assert_close(three, torch.tensor(grey / 255, dtype=torch.float32).expand(3, 2, 2))
    red = np.zeros((2, 2, 3), np.uint8)
    red[..., 0] = 255
    torch.testing.assert_close(prepare(red, plain(2, 2), 1), torch.full((1, 2, 2), 0.299))
    torch.testing.assert_close(
        prepare(np.stack([grey] * 3, axis=-1), plain(2, 2), 1), prepare(grey, plain(2, 2), 1)
    )


def test_sixteen_bits_keep_their_steps():
    pixels = np.array([[0, 1], [2, 65535]], np.uint16)
    values = prepare(pixels, plain(2, 2), 1) * 65535
    torch.testing.assert_close(values[0], torch.tensor([[0.0, 1.0], [2.0, 65535.0]]))


def test_transparency_is_dropped_without_blending(tmp_path):
    rgba = np.random.default_rng(0).integers(0, 256, (5, 6, 4), dtype=np.uint8)
    Pillow.fromarray(rgba).save(tmp_path / "rgba.png")
    expected = prepare(rgba[..., :3].copy(), plain(5, 6), 3)
    assert torch.equal(prepare(rgba, plain(5, 6), 3), expected)
    assert torch.equal(prepare(read_image(tmp_path / "rgba.png"), plain(5, 6), 3), expected)
    grey = np.ascontiguousarray(rgba[..., :2])
    assert torch.equal(prepare(grey, plain(5, 6), 1), prepare(rgba[..., 0].copy(), plain(5, 6), 1))


def test_shrinking_agrees_with_pillow():
    pixels = np.random.default_rng(0).integers(0, 256, (90, 60), dtype=np.uint8)
    theirs = np.asarray(
        Pillow.fromarray(pixels.astype(np.float32)).resize((20, 30), Pillow.Resampling.BILINEAR)
    )
    ours = prepare(pixels, plain(30, 20), 1)[0].numpy() * 255
    np.testing.assert_allclose(ours, theirs, atol=0.01)


def test_padding_keeps_proportions():
    wide = prepare(np.full((20, 40), 255, np.uint8), plain(16, 16, fit="pad"), 1)[0]
    torch.testing.assert_close(wide[4:12], torch.ones(8, 16))
    assert wide[:4].max() == 0
    assert wide[12:].max() == 0


def test_cropping_takes_seven_eighths_of_the_short_side_from_the_middle():
    # A 256×512 picture whose value is its column: 224 columns around the middle are left.
    pixels = np.tile(np.arange(512, dtype=np.uint16), (256, 1))
    crop = prepare(pixels, plain(224, 224, fit="crop", intensity="range:0:512"), 1)[0] * 512
    torch.testing.assert_close(crop[0], torch.arange(144, 368, dtype=torch.float32))
    rows = prepare(np.ascontiguousarray(pixels.T), plain(224, 224, fit="crop", intensity="range:0:512"), 1)
    torch.testing.assert_close(rows[0, :, 0] * 512, torch.arange(144, 368, dtype=torch.float32))


def test_standardise():
    values = standardise(torch.tensor([0.25, 0.5]), plain(1, 1, mean=0.25, std=0.125))
    assert values.tolist() == [0.0, 2.0]


@pytest.mark.parametrize(
    ("pixels", "channels", "error", "message"),
    [
        (np.zeros((1, 1), np.uint8), 1, InputError, "1×1 pixel"),
        (np.zeros((1, 300), np.uint8), 3, InputError, "1×300 pixel"),
        (Image(np.zeros((8, 8))), 1, IntensityChoiceError, "black and white must be chosen"),
        (np.full((8, 8), -0.5), 1, InputError, r"real numbers in \[0, 1\], but got values from -0\.5"),
        (np.full((8, 8), np.nan), 1, InputError, "NaN"),
        (np.zeros((8, 8, 5), np.uint8), 1, InputError, r"got \(8, 8, 5\)"),
        (np.zeros((8,), np.uint8), 1, InputError, r"got \(8,\)"),
        (np.zeros((8, 8), np.uint8), 4, InputError, "1 or 3 input channels, but got 4"),
    ],
)
def test_bad_pictures(pixels, channels, error, message):
    with pytest.raises(error, match=message):
        prepare(pixels, plain(8, 8), channels)


@pytest.mark.parametrize(
    "options", [{"size": (0, 8)}, {"std": 0.0}, {"mean": float("nan")}, {"fit": "squeeze"}]
)
def test_bad_preprocessing(options):
    with pytest.raises(ValueError):
        ClassificationPreprocessing(**{"size": (8, 8), **options})


def test_it_survives_json():
    given = plain(28, 32, fit="pad", intensity="window:40:80", multi_label=True)
    assert ClassificationPreprocessing.model_validate_json(given.model_dump_json()) == given
