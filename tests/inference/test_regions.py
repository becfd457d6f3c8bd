import numpy as np
import pytest
from skimage.measure import label, regionprops

from scalefuse.errors import InputError
from scalefuse.inference.regions import regions_table


def picture(shape=(90, 130)):
    generator = np.random.default_rng(3)
    labels = label(generator.random(shape) < 0.35, connectivity=2)
    return labels, generator.random(shape)


@pytest.mark.parametrize("spacing", [None, (0.5, 0.5), (0.4, 1.1)])
def test_equals_scikit_image(spacing):
    labels, intensity = picture()
    table = regions_table(labels, intensity=intensity, spacing=spacing)
    theirs = regionprops(labels, intensity, spacing=spacing or (1, 1))
    assert [row["label"] for row in table] == [region.label for region in theirs]
    in_pixels = regionprops(labels)
    for row, region, plain in zip(table, theirs, in_pixels, strict=True):
        assert row["area_px"] == plain.area
        assert (row["centroid_row"], row["centroid_column"]) == pytest.approx(plain.centroid)
        assert (row["top"], row["left"], row["bottom"], row["right"]) == region.bbox
        assert row["equivalent_diameter_px"] == pytest.approx(plain.equivalent_diameter_area)
        assert row["eccentricity"] == pytest.approx(region.eccentricity, abs=1e-6)
        assert row["mean_intensity"] == pytest.approx(region.intensity_mean)
        if spacing:
            assert row["area_mm2"] == pytest.approx(region.area)
            assert row["equivalent_diameter_mm"] == pytest.approx(region.equivalent_diameter_area)
    assert ("area_mm2" in table[0]) is (spacing is not None)


@pytest.mark.parametrize("band_rows", [1, 7, 40])
def test_bands_change_no_digit(band_rows):
    labels, intensity = picture()
    whole = regions_table(labels, intensity=intensity, spacing=(0.3, 0.7))
    parts = regions_table(labels, intensity=intensity, spacing=(0.3, 0.7), band_pixels=130 * band_rows)
    assert parts == whole


def test_far_from_the_origin_no_digit_is_lost():
    shape = np.zeros((9, 14), np.int32)
    shape[2:7, 3:6] = 1
    shape[2, 6:11] = 1
    near = regions_table(shape)[0]
    far = np.zeros((60000, 60), np.int32)
    far[-9:, -14:] = shape
    assert regions_table(far)[0]["eccentricity"] == near["eccentricity"]


def test_by_hand():
    labels = np.zeros((4, 6), np.uint8)
    labels[1:3, 1:5] = 2
    (row,) = regions_table(labels, intensity=labels * 10)
    # Variances of 0, 1 and of 0 … 3: 1/4 and 5/4.
    assert row["eccentricity"] == pytest.approx(np.sqrt(1 - (1 / 4) / (5 / 4)))
    assert row == row | {"label": 2, "area_px": 8, "centroid_row": 1.5, "centroid_column": 2.5}
    assert row["mean_intensity"] == 20
    assert row["equivalent_diameter_px"] == pytest.approx(2 * np.sqrt(8 / np.pi))


def test_luma_of_colour_and_no_objects():
    (row,) = regions_table(np.array([[1]]), intensity=np.array([[[255, 0, 0]]]))
    assert row["mean_intensity"] == pytest.approx(0.299 * 255)
    assert regions_table(np.zeros((5, 5), int)) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": np.zeros((2, 2))}, "whole numbers"),
        ({"labels": np.full((2, 2), -1)}, "whole numbers"),
        ({"labels": np.zeros((2, 2), int), "intensity": np.zeros((3, 2))}, "size"),
        ({"labels": np.zeros((2, 2), int), "spacing": (0, 1)}, "positive mm"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(InputError, match=message):
        regions_table(**arguments)


@pytest.mark.parametrize("band_rows", [7, 90])
def test_channels_that_are_no_colour_are_measured_each(band_rows):
    labels, _ = picture()
    intensity = np.random.default_rng(4).random((*labels.shape, 4))
    table = regions_table(labels, intensity=intensity, band_pixels=130 * band_rows)
    for row, region in zip(table, regionprops(labels, intensity), strict=True):
        ours = [row[f"mean_intensity_{channel}"] for channel in range(1, 5)]
        assert ours == pytest.approx(list(region.intensity_mean))
        assert "mean_intensity" not in row
