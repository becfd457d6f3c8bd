"""DICOM slices, made here by pydicom."""

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from scalefuse.data import read_image
from scalefuse.errors import InputError

RNG = np.random.default_rng(11)


def slice_of(pixels, *, bits_stored=None, syntax=ExplicitVRLittleEndian, encoded=None, **tags):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = syntax
    dataset = FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.Modality = "MR"
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    dataset.PhotometricInterpretation = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
    if pixels.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = pixels.dtype.itemsize * 8
    dataset.BitsStored = bits_stored or dataset.BitsAllocated
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes() if encoded is None else encapsulate([encoded])
    if encoded is not None:
        dataset["PixelData"].VR = "OB"
    for name, value in tags.items():
        setattr(dataset, name, value)
    return dataset


def save(path, dataset):
    dataset.save_as(path, enforce_file_format=True)
    return path


def test_ct_is_in_hu_with_geometry(tmp_path):
    stored = RNG.integers(0, 4096, (20, 30), dtype=np.uint16)
    dataset = slice_of(
        stored,
        bits_stored=12,
        Modality="CT",
        RescaleSlope=1,
        RescaleIntercept=-1024,
        PixelSpacing=[0.5, 0.7],
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        ImagePositionPatient=[-10, -20, 33],
        SliceThickness=5,
        WindowCenter=[40, 600],
        WindowWidth=[80, 2800],
    )
    image = read_image(save(tmp_path / "a.dcm", dataset))
    np.testing.assert_array_equal(image.pixels, stored.astype(np.float32) - 1024)
    assert (image.kind, image.unit, image.bits, image.pixels.dtype) == ("dicom", "HU", None, np.float32)
    assert image.geometry.spacing_mm == (0.5, 0.7)
    assert image.geometry.orientation == (1, 0, 0, 0, 1, 0)
    assert image.geometry.position_mm == (-10, -20, 33)
    assert image.geometry.slice_thickness_mm == 5
    assert image.display_window == (40, 80)


@pytest.mark.parametrize("spacing", [[0, 0], [-0.5, 0.5], [0.5, 0]])
def test_sizes_of_pixels_that_are_none(tmp_path, spacing):
    stored = RNG.integers(0, 255, (8, 8), dtype=np.uint8)
    assert (
        read_image(save(tmp_path / "a.dcm", slice_of(stored, PixelSpacing=spacing))).geometry.spacing_mm
        is None
    )


def test_signed_pixels_and_fractional_slope(tmp_path):
    stored = RNG.integers(-2000, 3000, (8, 8), dtype=np.int16)
    image = read_image(save(tmp_path / "a.dcm", slice_of(stored, RescaleSlope=2.5, RescaleIntercept=10)))
    np.testing.assert_allclose(image.pixels, stored * 2.5 + 10, rtol=1e-6)
    assert image.unit == "arbitrary"


def test_a_name_without_suffix_is_enough(tmp_path):
    stored = RNG.integers(0, 255, (8, 8), dtype=np.uint8)
    np.testing.assert_array_equal(read_image(save(tmp_path / "IM0001", slice_of(stored))).pixels, stored)


def test_monochrome1_is_inverted_over_the_stored_range(tmp_path):
    stored = np.array([[0, 1000, 4095]], np.uint16)
    dataset = slice_of(stored, bits_stored=12, Modality="CR", PhotometricInterpretation="MONOCHROME1")
    assert read_image(save(tmp_path / "a.dcm", dataset)).pixels.tolist() == [[4095, 3095, 0]]
    dataset.RescaleSlope, dataset.RescaleIntercept = 2, 5
    assert read_image(save(tmp_path / "a.dcm", dataset)).pixels.tolist() == [[8195, 6195, 5]]
    # What 12 bits can hold counts, not what this picture holds.
    dataset = slice_of(stored[:, 1:2], bits_stored=12, PhotometricInterpretation="MONOCHROME1")
    assert read_image(save(tmp_path / "a.dcm", dataset)).pixels.tolist() == [[3095]]
    signed = np.array([[-100, 0, 50]], np.int16)
    dataset = slice_of(signed, bits_stored=12, PhotometricInterpretation="MONOCHROME1")
    assert read_image(save(tmp_path / "a.dcm", dataset)).pixels.tolist() == [[99, -1, -51]]


@pytest.mark.parametrize(("kind", "unit"), [(None, "HU"), ("HU", "HU"), ("US", "arbitrary")])
def test_only_hounsfield_units_are_called_so(tmp_path, kind, unit):
    dataset = slice_of(np.ones((2, 3), np.uint16), Modality="CT", RescaleSlope=1, RescaleIntercept=-1024)
    if kind is not None:
        dataset.RescaleType = kind
    assert read_image(save(tmp_path / "a.dcm", dataset)).unit == unit


def test_the_sign_of_compressed_pixels_of_fewer_bits(tmp_path):
    import imagecodecs

    stored = RNG.integers(-2048, 2048, (16, 18), dtype=np.int16)
    encoded = imagecodecs.jpegls_encode(stored.view(np.uint16) & 0xFFF)
    dataset = slice_of(stored, bits_stored=12, syntax="1.2.840.10008.1.2.4.80", encoded=encoded)
    np.testing.assert_array_equal(read_image(save(tmp_path / "a.dcm", dataset)).pixels, stored)


def test_monochrome1_leaves_hu_alone(tmp_path):
    stored = np.array([[0, 1024, 2048]], np.uint16)
    dataset = slice_of(
        stored, Modality="CT", PhotometricInterpretation="MONOCHROME1", RescaleSlope=1, RescaleIntercept=-1024
    )
    assert read_image(save(tmp_path / "a.dcm", dataset)).pixels.tolist() == [[-1024, 0, 1024]]


def test_colour(tmp_path):
    colour = RNG.integers(0, 255, (6, 7, 3), dtype=np.uint8)
    image = read_image(save(tmp_path / "a.dcm", slice_of(colour)))
    np.testing.assert_array_equal(image.pixels, colour)
    assert (image.bits, image.unit) == (8, "grey level")


@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
@pytest.mark.parametrize("syntax", ["57", "70", "80", "90", "rle"])
def test_lossless_compressions(tmp_path, syntax, dtype):
    import imagecodecs

    low = 0 if dtype == np.uint16 else -2000
    stored = RNG.integers(low, 2000, (16, 18), dtype=dtype)
    plain = slice_of(stored)
    if syntax == "rle":
        plain.compress(pydicom.uid.RLELossless)
        dataset = plain
    else:
        encode = {
            "57": lambda p: imagecodecs.ljpeg_encode(p, bitspersample=16),
            "70": lambda p: imagecodecs.ljpeg_encode(p, bitspersample=16),
            "80": imagecodecs.jpegls_encode,
            "90": lambda p: imagecodecs.jpeg2k_encode(p, level=0, codecformat="j2k", reversible=True),
        }[syntax]
        raw = stored if syntax == "90" else stored.view(np.uint16)
        dataset = slice_of(stored, syntax=f"1.2.840.10008.1.2.4.{syntax}", encoded=encode(raw))
    np.testing.assert_array_equal(read_image(save(tmp_path / "a.dcm", dataset)).pixels, stored)


def refused(path, *words):
    with pytest.raises(InputError) as caught:
        read_image(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    for word in words:
        assert word in message


def test_several_frames_are_refused(tmp_path):
    frames = slice_of(np.zeros((8, 4), np.uint16))
    frames.Rows, frames.NumberOfFrames = 4, 2
    refused(save(tmp_path / "a.dcm", frames), "2 frames")


def test_files_without_a_picture(tmp_path):
    report = slice_of(np.zeros((4, 4), np.uint16))
    del report.PixelData
    report.Modality = "SR"
    refused(save(tmp_path / "a.dcm", report), "without a complete picture (modality SR)")
    (tmp_path / "text.dcm").write_text("no DICOM at all")
    refused(tmp_path / "text.dcm", "not a DICOM file")


@pytest.mark.parametrize("size", [150, 400, 1500])
def test_truncated(tmp_path, size):
    path = save(tmp_path / "a.dcm", slice_of(np.zeros((64, 64), np.uint16)))
    path.write_bytes(path.read_bytes()[:size])
    refused(path)


def test_huge(tmp_path):
    dataset = slice_of(np.zeros((4, 4), np.uint16))
    dataset.Rows = dataset.Columns = 60000
    refused(save(tmp_path / "a.dcm", dataset), "60000×60000")


def test_a_compression_that_cannot_be_decoded(tmp_path):
    video = slice_of(np.zeros((4, 4), np.uint8), syntax="1.2.840.10008.1.2.4.102", encoded=b"\0\0\0\0")
    refused(save(tmp_path / "a.dcm", video), "MPEG-4", "cannot be decoded here")


def enhanced(stored, **frame):
    """One frame, whose attributes lie in functional groups: those of the frame and shared ones."""

    def group(**values):
        item = pydicom.Dataset()
        for name, value in values.items():
            setattr(item, name, value)
        return pydicom.Sequence([item])

    shared = group(
        PixelValueTransformationSequence=group(RescaleSlope=1, RescaleIntercept=-1024, RescaleType="HU"),
        PixelMeasuresSequence=group(PixelSpacing=[0.5, 0.7], SliceThickness=5),
        PlaneOrientationSequence=group(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
        FrameVOILUTSequence=group(WindowCenter=[40], WindowWidth=[80]),
    )
    own = group(PlanePositionSequence=group(ImagePositionPatient=[-10, -20, 33]), **frame)
    return slice_of(
        stored,
        bits_stored=12,
        Modality="CT",
        NumberOfFrames=1,
        SharedFunctionalGroupsSequence=shared,
        PerFrameFunctionalGroupsSequence=own,
    ), group


def test_one_frame_of_an_enhanced_file(tmp_path):
    stored = RNG.integers(0, 4096, (20, 30), dtype=np.uint16)
    dataset, group = enhanced(stored)
    image = read_image(save(tmp_path / "a.dcm", dataset))
    np.testing.assert_array_equal(image.pixels, stored.astype(np.float32) - 1024)
    assert (image.unit, image.display_window) == ("HU", (40, 80))
    assert image.geometry.spacing_mm == (0.5, 0.7)
    assert image.geometry.orientation == (1, 0, 0, 0, 1, 0)
    assert image.geometry.position_mm == (-10, -20, 33)
    assert image.geometry.slice_thickness_mm == 5
    # What the frame itself says counts before what is shared.
    dataset, _ = enhanced(stored, PixelMeasuresSequence=group(PixelSpacing=[2, 3]))
    assert read_image(save(tmp_path / "b.dcm", dataset)).geometry.spacing_mm == (2, 3)


def test_empty_rescale_attributes_say_nothing(tmp_path):
    stored = RNG.integers(0, 4096, (20, 30), dtype=np.uint16)
    tags = {"bits_stored": 12, "Modality": "CT", "PhotometricInterpretation": "MONOCHROME1"}
    dataset = slice_of(stored, RescaleSlope=1, RescaleIntercept=-1024, RescaleType="", **tags)
    image = read_image(save(tmp_path / "a.dcm", dataset))
    assert image.unit == "HU"
    np.testing.assert_array_equal(image.pixels, stored.astype(np.float32) - 1024)
    dataset = slice_of(stored, bits_stored=12, RescaleSlope=None, RescaleIntercept=None)
    np.testing.assert_array_equal(read_image(save(tmp_path / "b.dcm", dataset)).pixels, stored)
