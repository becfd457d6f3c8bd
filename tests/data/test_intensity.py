"""What a pixel means is chosen, and the choice does what it says."""

import json

import numpy as np
import pytest
from pydantic import ValidationError

from scalefuse.data import Image, IntensityRange, resolve_intensity, resolve_range, to_unit
from scalefuse.errors import InputError
from scalefuse.inference.network_input import NetworkInput
from scalefuse.schema import Schema

parse = IntensityRange.parse


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("minmax", -1000, 3000),
        ("window:40:80", 0, 80),
        ("range:-100:300", -100, 300),
        ("percentile:0:100", -1000, 3000),
        ("percentile:25:75", 0, 2000),
    ],
)
def test_bounds(text, low, high):
    pixels = np.array([[-1000.0, 0.0, 1000.0, 2000.0, 3000.0]])
    assert resolve_range(pixels, parse(text)) == (low, high)
    unit, bounds = to_unit(pixels, parse(text))
    assert bounds == (low, high)
    assert unit.dtype == np.float32
    np.testing.assert_allclose(unit, np.clip((pixels - low) / (high - low), 0, 1), rtol=1e-6)


def test_percentile_agrees_with_scikit_image():
    from skimage.exposure import rescale_intensity

    pixels = np.random.default_rng(0).gamma(2.0, 300.0, (40, 40))
    expected = rescale_intensity(pixels, in_range=tuple(np.percentile(pixels, (1, 99))), out_range=(0.0, 1.0))
    np.testing.assert_allclose(to_unit(pixels, parse("percentile:1:99"))[0], expected, atol=1e-6)


@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 255), (np.uint16, 65535)])
def test_full_is_the_range_of_the_type(dtype, top):
    unit, bounds = to_unit(np.array([[0, 1, top]], dtype), parse("full"))
    assert bounds == (0, top)
    np.testing.assert_allclose(unit, [[0, 1 / top, 1]], rtol=1e-6)


def test_wide_integers_lose_nothing_before_the_range():
    pixels = np.array([[2**30, 2**30 + 1, 2**30 + 2]], np.int32)
    assert to_unit(pixels, parse("minmax"))[0].tolist() == [[0, 0.5, 1]]
    source = NetworkInput(Image(pixels, kind="tiff", unit="arbitrary"), 1, "minmax")
    assert source.window(0, 0, 1, 3).tolist() == [[[0, 0.5, 1]]]


@pytest.mark.parametrize("text", ["minmax", "percentile:1:99"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_constant_picture_becomes_zeros(text, dtype):
    unit, bounds = to_unit(np.full((3, 3), 7, dtype), parse(text))
    assert bounds == (7, 7)
    assert not unit.any()


def test_the_input_is_left_alone():
    pixels = np.array([[1.0, 2.0]], np.float32)
    to_unit(pixels, parse("minmax"))
    assert pixels.tolist() == [[1, 2]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("median", "expected one of full, minmax"),
        ("", "expected one of full, minmax"),
        ("window:40", "window:CENTRE:WIDTH"),
        ("window:40:80:3", "window:CENTRE:WIDTH"),
        ("window:a:80", "window:CENTRE:WIDTH"),
        ("window:40:0", "above 0"),
        ("range:5:5", "below the second"),
        ("range:nan:5", "NaN"),
        ("range:0:inf", "infinite"),
        ("percentile:99:1", "below the second"),
        ("percentile:-1:99", "between 0 and 100"),
        ("percentile:1:101", "between 0 and 100"),
        ("full:1", "0 numbers|has 1 numbers"),
    ],
)
def test_bad_strings(text, words):
    with pytest.raises(InputError, match=words) as caught:
        parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["full", "minmax", "window:40:80", "range:-0.5:1e-07", "percentile:0.1:99.9"]
)
def test_strings_make_the_round_trip(text):
    assert str(parse(text)) == text
    assert parse(str(parse(text))) == parse(text)


def test_it_is_a_string_in_configurations():
    class Config(Schema):
        intensity: IntensityRange

    config = Config.model_validate({"intensity": "window:40:80"})
    assert config.intensity.values == (40, 80)
    assert json.loads(config.model_dump_json()) == {"intensity": "window:40:80"}
    assert Config.model_validate_json(config.model_dump_json()) == config
    with pytest.raises(ValidationError, match="unknown intensity range"):
        Config.model_validate({"intensity": "widow:40:80"})


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pictures_default_to_full(dtype):
    assert str(resolve_intensity(Image(np.zeros((2, 2), dtype), kind="png"), None)) == "full"


def test_colour_dicom_defaults_to_full():
    image = Image(np.zeros((2, 2, 3), np.uint8), kind="dicom")
    assert str(resolve_intensity(image, None)) == "full"


@pytest.mark.parametrize(
    ("kind", "unit", "dtype"),
    [
        ("dicom", "HU", np.float32),
        ("nifti", "arbitrary", np.uint8),
        ("nifti", "arbitrary", np.uint16),
        ("tiff", "arbitrary", np.float32),
        ("tiff", "arbitrary", np.int16),
    ],
)
def test_measured_values_need_a_choice(kind, unit, dtype):
    image = Image(np.array([[3, 99]], dtype), kind=kind, unit=unit, display_window=(35.0, 70.0))
    with pytest.raises(InputError) as caught:
        resolve_intensity(image, None)
    message = str(caught.value)
    assert "from 3 to 99" in message
    for form in ("minmax", "percentile:1:99", "window:35:70 (proposed by the file)", "range:LOW:HIGH"):
        assert form in message
    assert str(resolve_intensity(image, "range:0:100")) == "range:0:100"
    assert resolve_intensity(image, parse("minmax")) == parse("minmax")


def test_full_is_refused_where_there_is_no_full_range():
    image = Image(np.zeros((2, 2), np.float32), kind="dicom", unit="HU")
    with pytest.raises(InputError, match="'full' needs 8- or 16-bit"):
        resolve_intensity(image, "full")
    with pytest.raises(InputError, match="float32"):
        to_unit(image.pixels, parse("full"))
