"""Images of other numbers of channels than one and three."""

import nibabel
import numpy as np
import pytest
import tifffile

from scalefuse.data import read
from scalefuse.data.atomic import results_folder
from scalefuse.data.check_segmentation import check_segmentation
from scalefuse.data.classification_input import to_unit_tensor
from scalefuse.data.colour import shown
from scalefuse.data.duplicates import find_near_duplicates, fingerprint
from scalefuse.data.intensity import IntensityRange, channel_ranges, to_unit
from scalefuse.data.read import read_image
from scalefuse.data.segmentation import SegmentationCase
from scalefuse.data.segmentation_dataset import SegmentationDataset
from scalefuse.data.write import write_image
from scalefuse.errors import InputError
from scalefuse.inference.network_input import NetworkInput
from scalefuse.report.overlay import overlay
from scalefuse.report.thumbnails import thumbnail_uri
from scalefuse.workflows.workload import job_of


def values(channels, dtype=np.uint16):
    """No two channels alike, and rows and columns apart."""
    generator = np.random.default_rng(channels)
    steps = 10 ** np.arange(channels) if dtype != np.uint8 else np.ones(channels)
    return (generator.integers(1, 60, (12, 17, channels)) * steps).astype(dtype)


def written(path, kind, pixels):
    if kind == "contig":
        tifffile.imwrite(path, pixels, photometric="minisblack", planarconfig="contig")
    elif kind == "separate":
        tifffile.imwrite(path, pixels.transpose(2, 0, 1), photometric="minisblack", planarconfig="separate")
    elif kind == "pages":
        tifffile.imwrite(path, pixels.transpose(2, 0, 1), photometric="minisblack")
    elif kind == "last axis":
        nibabel.save(nibabel.Nifti1Image(pixels, np.diag([0.5, 0.25, 1, 1])), path)
    else:
        nibabel.save(nibabel.Nifti1Image(pixels[:, :, None], np.diag([0.5, 0.25, 1, 1])), path)
    return path


KINDS = [
    ("contig", "a.tif"),
    ("separate", "a.tif"),
    ("pages", "a.tif"),
    ("last axis", "a.nii.gz"),
    ("slice of channels", "a.nii"),
]


@pytest.mark.parametrize("channels", [2, 4, 7])
@pytest.mark.parametrize(("kind", "name"), KINDS)
def test_every_layout_gives_the_same_pixels(tmp_path, kind, name, channels):
    pixels = values(channels, np.int32 if channels == 7 else np.uint16)
    path = written(tmp_path / name, kind, pixels)
    for wanted in (channels, "any"):
        image = read_image(path, channels=wanted)
        np.testing.assert_array_equal(image.pixels, pixels)
        assert (image.num_channels, image.size, image.is_colour) == (channels, (12, 17), False)
    if name.endswith((".nii", ".nii.gz")):
        assert read_image(path, channels=channels).geometry.spacing_mm == (0.5, 0.25)
    for refused in (None, 3, 1, channels + 1):
        with pytest.raises(InputError, match=r"a\.(tif|nii)"):
            read_image(path, channels=refused)


def test_pictures_are_what_they_were(tmp_path):
    colour = values(3, np.uint8)
    tifffile.imwrite(tmp_path / "rgb.tif", colour, photometric="rgb")
    write_image(tmp_path / "grey.png", np.eye(5), bits=8)
    for channels in (None, 1, 3, "any"):
        np.testing.assert_array_equal(read_image(tmp_path / "rgb.tif", channels=channels).pixels, colour)
        assert read_image(tmp_path / "grey.png", channels=channels).num_channels == 1
    with pytest.raises(InputError, match=r"rgb\.tif: has 3 channel\(s\), but 4 are expected; give TIFF"):
        read_image(tmp_path / "rgb.tif", channels=4)
    with pytest.raises(InputError, match=r"grey\.png: has 1 channel\(s\), but 4 are expected; give TIFF"):
        read_image(tmp_path / "grey.png", channels=4)


def test_transparency_is_a_channel_only_where_four_are_asked_for(tmp_path):
    pixels = values(4, np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=["unassalpha"])
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif", channels=4).pixels, pixels)
    for channels in (None, 3, "any"):
        np.testing.assert_array_equal(
            read_image(tmp_path / "a.tif", channels=channels).pixels, pixels[..., :3]
        )


def test_what_looks_like_a_picture_is_one_where_nothing_is_said(tmp_path):
    pixels = values(4, np.uint8)
    for name, options in {
        "rgbx": {"photometric": "rgb", "extrasamples": ["unspecified"]},
        "cmyk": {"photometric": "separated"},
        "la": {"photometric": "minisblack", "extrasamples": ["unassalpha"]},
    }.items():
        path = tmp_path / f"{name}.tif"
        tifffile.imwrite(path, pixels[..., :2] if name == "la" else pixels, planarconfig="contig", **options)
        picture = read_image(path).pixels
        np.testing.assert_array_equal(read_image(path, channels="any").pixels, picture)
        assert picture.shape[2:] == (() if name == "la" else (3,))


def test_a_negative_is_one_in_every_layout(tmp_path):
    pixels = values(4, np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="miniswhite", planarconfig="contig")
    tifffile.imwrite(tmp_path / "b.tif", pixels.transpose(2, 0, 1), photometric="miniswhite")
    for name in ("a.tif", "b.tif"):
        np.testing.assert_array_equal(read_image(tmp_path / name, channels=4).pixels, 255 - pixels)


def test_the_largest_image_is_that_of_colour(tmp_path, monkeypatch):
    monkeypatch.setattr(read, "MAX_PIXELS", 12 * 17)
    tifffile.imwrite(tmp_path / "rgb.tif", values(3, np.uint8), photometric="rgb")
    for channels in (None, "any"):
        assert read_image(tmp_path / "rgb.tif", channels=channels).size == (12, 17)
    for kind, name in KINDS:
        path = written(tmp_path / name, kind, values(6))
        for channels in (6, "any"):
            with pytest.raises(InputError, match=r"12×17 pixels \(.*\) of 6 channels are more than"):
                read_image(path, channels=channels)


def test_what_to_do_is_said_where_it_helps(tmp_path):
    four, three = (
        written(tmp_path / f"{count}.nii", "last axis", values(count, np.int16)) for count in (4, 3)
    )
    pages = written(tmp_path / "3.tif", "pages", values(3))
    with pytest.raises(InputError, match=r"own, or train a model of 4 channels \(network.in_channels\)"):
        read_image(four, channels=3)
    for path in (three, pages):
        with pytest.raises(InputError, match="or write its channels as a TIFF in RGB"):
            read_image(path, channels=3)
    # Masks, classes and pairs have no network that could see more.
    with pytest.raises(InputError, match=r"save the slice that you need as a file of its own\.$"):
        read_image(four)
    with pytest.raises(InputError, match=r"one slice with 5 channels \(H×W×5\) was expected"):
        read_image(four, channels=5)
    assert read_image(four, channels=4).unit == "arbitrary"
    with pytest.raises(InputError, match=r"4\.nii: has 4 channels, but classifiers see grey or colour"):
        to_unit_tensor(read_image(four, channels=4), "minmax", 3)


def test_a_job_is_measured_by_what_its_files_hold(tmp_path):
    files = [written(tmp_path / f"{kind}.tif", kind, values(6)) for kind in ("contig", "separate", "pages")]
    assert job_of(files).megapixels == pytest.approx(3 * 12 * 17 * 2 / 1e6)
    tifffile.imwrite(tmp_path / "rgb.tif", values(3, np.uint8), photometric="rgb")
    assert job_of([tmp_path / "rgb.tif"]).megapixels == pytest.approx(12 * 17 / 1e6)


def test_a_bright_channel_hides_no_other_from_the_search_for_copies():
    generator = np.random.default_rng(0)
    bright = generator.random((64, 64)) * 40_000
    first, second = (np.stack([bright, 200 * generator.random((64, 64))], axis=-1) for _ in range(2))
    assert find_near_duplicates([fingerprint(first), fingerprint(second)]) == []
    copy = find_near_duplicates([fingerprint(first), fingerprint(first[::-1] * 0.5 + 3)])
    assert copy[0].correlation > 0.99


def test_rows_written_as_pages_are_explained(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", values(4), photometric="minisblack")
    with pytest.raises(InputError, match=r"holds 12 pages.*planarconfig='contig'"):
        read_image(tmp_path / "a.tif", channels=4)


def test_pages_that_differ_are_no_channels(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(np.zeros((5, 6), np.uint8))
        file.write(np.zeros((6, 6), np.uint8))
    with pytest.raises(InputError, match="only where they are grey, of one size"):
        read_image(tmp_path / "a.tif", channels=2)


def test_each_channel_has_its_own_percentiles_but_one_window():
    pixels = values(4).astype(np.float32)
    ranges = channel_ranges(pixels, IntensityRange.parse("percentile:5:90"))
    expected = np.percentile(pixels, (5, 90), axis=(0, 1)).T
    np.testing.assert_allclose(ranges, expected)
    unit, bounds = to_unit(pixels, IntensityRange.parse("percentile:5:90"))
    wanted = np.clip((pixels - expected[:, 0]) / (expected[:, 1] - expected[:, 0]), 0, 1)
    np.testing.assert_allclose(unit, wanted, atol=1e-6)
    assert bounds == (expected[:, 0].min(), expected[:, 1].max())
    assert channel_ranges(pixels, IntensityRange.parse("window:40:80")) == [(0.0, 80.0)] * 4
    # Colour keeps one range, so that no hue changes.
    assert (
        channel_ranges(pixels[..., :3], IntensityRange.parse("minmax"))
        == [(float(pixels[..., :3].min()), float(pixels[..., :3].max()))] * 3
    )


@pytest.mark.parametrize("choice", ["percentile:1:99", "range:0:70"])
def test_the_network_sees_the_same_at_training_and_prediction(tmp_path, choice):
    pixels = values(4)
    path = written(tmp_path / "a.tif", "contig", pixels)
    write_image(tmp_path / "a.png", np.eye(12, 17), bits=8)
    case = SegmentationCase("a", path, tmp_path / "a.png")
    source = NetworkInput(read_image(path, channels=4), 4, choice)
    unit, _ = to_unit(pixels, IntensityRange.parse(choice))
    np.testing.assert_allclose(source.window(0, 0, 12, 17).numpy(), unit.transpose(2, 0, 1), atol=1e-6)
    trained = SegmentationDataset([case], size=None, in_channels=4, intensity=choice)[0]["image"]
    np.testing.assert_allclose(trained.numpy(), unit.transpose(2, 0, 1), atol=1e-5)
    small = SegmentationDataset([case], size=(8, 8), in_channels=4, intensity=choice)[0]["image"]
    np.testing.assert_allclose(source.resized((8, 8)).numpy(), small.numpy(), atol=2e-5)


def test_channels_are_shown_as_a_mean_of_what_each_of_them_shows(tmp_path):
    pixels = np.zeros((4, 4, 2), np.uint16)
    pixels[0, :, 0], pixels[:, 0, 1] = 7, 60_000
    assert shown(pixels)[:2, :2].tolist() == [[255, 128], [128, 0]]
    hot = np.random.default_rng(0).integers(100, 4000, (64, 64, 2)).astype(np.uint16)
    without = shown(hot)
    hot[5, 5] = 65535
    assert np.abs(shown(hot).astype(int) - without)[6:].max() <= 3
    wide = np.zeros((1, 2, 2), np.int32)
    wide[0, 0, 0], wide[0, 1, 0] = 2**24 + 1, 2**24 + 3
    assert shown(wide).tolist() == [[0, 128]]
    drawn = overlay(pixels, np.zeros((4, 4), bool))
    np.testing.assert_array_equal(drawn, np.repeat(shown(pixels)[..., None], 3, axis=2))
    path = written(tmp_path / "a.tif", "contig", pixels)
    assert thumbnail_uri(path).startswith("data:image/jpeg")


def test_data_check_reads_the_channels_that_training_reads(tmp_path):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for number in range(3):
        generator = np.random.default_rng(number)
        pixels = generator.integers(0, 60_000, (64, 64, 5)).astype(np.uint16)
        written(tmp_path / f"images/{number}.tif", "contig", pixels)
        write_image(tmp_path / f"masks/{number}.png", np.pad(np.ones((20, 20)), 22), bits=8)
    found = check_segmentation(tmp_path, channels=5)
    assert (found.findings, found.splits["all"].channels) == ((), {"5": 3})
    (finding,) = check_segmentation(tmp_path).findings[:1]
    assert (finding.kind, len(finding.cases)) == ("unreadable-image", 3)
    assert "network.in_channels" in str(finding)


def test_a_folder_in_which_nothing_was_written_goes_away(tmp_path):
    with results_folder(tmp_path / "a" / "b"):
        pass
    assert not (tmp_path / "a").exists()
    with results_folder(tmp_path / "a") as folder:
        (folder / "kept.txt").touch()
    assert (tmp_path / "a" / "kept.txt").exists()
