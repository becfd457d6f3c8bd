"""NIfTI slices: values, geometry, and what is refused."""

import nibabel
import numpy as np
import pytest

from scalefuse.data import Geometry, Image, read_image, write_image
from scalefuse.data.nifti import lie_alike
from scalefuse.errors import InputError

AFFINE = np.array([[-0.5, 0.1, 0, 12], [0.1, 0.7, 0, -34], [0, 0, 3, 56], [0, 0, 0, 1]], float)
RNG = np.random.default_rng(5)


def save(path, data, *, cls=nibabel.Nifti1Image):
    volume = cls(data, AFFINE)
    volume.header.set_qform(AFFINE, code=1)
    volume.header.set_sform(AFFINE, code=4)
    volume.header["descrip"] = b"kept"
    nibabel.save(volume, path)
    return path


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("shape", [(7, 5), (7, 5, 1), (7, 5, 1, 1), (1, 7, 5)])
@pytest.mark.parametrize("cls", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_values_and_geometry_make_the_round_trip(tmp_path, suffix, shape, cls):
    data = RNG.integers(-1000, 1000, shape, dtype=np.int16)
    image = read_image(save(tmp_path / f"a{suffix}", data, cls=cls))
    np.testing.assert_array_equal(image.pixels, data.reshape(7, 5))
    assert (image.kind, image.unit, image.bits) == ("nifti", "arbitrary", None)

    unit = RNG.random((7, 5))
    write_image(tmp_path / f"out{suffix}", unit, bits=16, like=image)
    written = nibabel.load(tmp_path / f"out{suffix}")
    assert written.shape == shape
    assert type(written) is cls
    np.testing.assert_allclose(written.affine, AFFINE, atol=1e-6)
    assert (int(written.header["qform_code"]), int(written.header["sform_code"])) == (1, 4)
    assert written.header["descrip"].item() == b"kept"
    assert written.get_data_dtype() == np.uint16
    np.testing.assert_array_equal(np.asarray(written.dataobj).reshape(7, 5), np.floor(unit * 65535 + 0.5))


@pytest.mark.parametrize(
    ("unit", "millimetres"), [("mm", 500), ("micron", 0.5), ("meter", 5e5), ("unknown", 500)]
)
def test_spacing_is_in_millimetres_whatever_the_unit_of_the_file(tmp_path, unit, millimetres):
    volume = nibabel.Nifti1Image(np.ones((4, 5), np.float32), np.diag([500, 500, 1, 1]))
    volume.header.set_xyzt_units(unit)
    volume.to_filename(tmp_path / "slice.nii")
    spacing = read_image(tmp_path / "slice.nii").geometry.spacing_mm
    np.testing.assert_allclose(spacing, (millimetres, millimetres), rtol=1e-6)


def test_spacing(tmp_path):
    image = read_image(save(tmp_path / "a.nii", np.zeros((4, 4, 1), np.uint8)))
    np.testing.assert_allclose(image.geometry.spacing_mm, np.linalg.norm(AFFINE[:3, :2], axis=0), rtol=1e-6)
    # Where the slice lies across the first axis, the other two are rows and columns.
    image = read_image(save(tmp_path / "b.nii", np.zeros((1, 4, 4), np.uint8)))
    np.testing.assert_allclose(image.geometry.spacing_mm, np.linalg.norm(AFFINE[:3, 1:3], axis=0), rtol=1e-6)


def test_scaling_is_applied_and_not_handed_on(tmp_path):
    volume = nibabel.Nifti1Image(np.array([[0, 10], [20, 30]], np.int16), AFFINE)
    volume.header.set_slope_inter(2, -1)
    nibabel.save(volume, tmp_path / "a.nii")
    # nibabel resets the scaling on saving unless the raw values are given as they are stored.
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    raw[112:120] = np.array([2, -1], "<f4").tobytes()
    raw[352:360] = np.array([0, 20, 10, 30], "<i2").tobytes()
    (tmp_path / "a.nii").write_bytes(bytes(raw))
    image = read_image(tmp_path / "a.nii")
    assert image.pixels.tolist() == [[-1, 19], [39, 59]]
    write_image(tmp_path / "b.nii", np.ones((2, 2)), bits=8, like=image)
    assert np.asarray(nibabel.load(tmp_path / "b.nii").dataobj).tolist() == [[255, 255], [255, 255]]


def test_big_endian(tmp_path):
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(np.dtype(">i2"))
    data = RNG.integers(-99, 99, (3, 4), dtype=np.int16)
    nibabel.Nifti1Image(data, np.eye(4), header=header).to_filename(tmp_path / "a.nii")
    assert (tmp_path / "a.nii").read_bytes()[:4] == (348).to_bytes(4, "big")
    image = read_image(tmp_path / "a.nii")
    np.testing.assert_array_equal(image.pixels, data)
    assert image.pixels.dtype.isnative


def test_colour_round_trip(tmp_path):
    colour = RNG.random((5, 6, 3))
    like = read_image(save(tmp_path / "like.nii", np.zeros((5, 6, 1), np.int16)))
    write_image(tmp_path / "a.nii.gz", colour, bits=16, like=like)
    image = read_image(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(image.pixels, np.floor(colour * 255 + 0.5))
    np.testing.assert_allclose(image.geometry.affine, AFFINE, atol=1e-6)
    assert image.bits == 8


def test_dicom_geometry_becomes_an_affine(tmp_path):
    geometry = Geometry(
        spacing_mm=(0.5, 0.25), orientation=(0, 1, 0, 0, 0, -1), position_mm=(1, 2, 3), slice_thickness_mm=4
    )
    like = Image(np.zeros((3, 5), np.float32), kind="dicom", geometry=geometry)
    write_image(tmp_path / "a.nii", np.zeros((3, 5)), bits=8, like=like)
    affine = nibabel.load(tmp_path / "a.nii").affine
    # Row 2, column 4 lies, in DICOM coordinates, 4 columns along +y and 2 rows along -z.
    left_posterior_superior = np.array([1, 2 + 4 * 0.25, 3 - 2 * 0.5])
    np.testing.assert_allclose(affine @ [2, 4, 0, 1], [*(left_posterior_superior * [-1, -1, 1]), 1])
    np.testing.assert_allclose(nibabel.affines.voxel_sizes(affine), [0.5, 0.25, 4])


def test_without_geometry_a_voxel_is_a_millimetre(tmp_path):
    write_image(tmp_path / "a.nii", np.zeros((3, 5)), bits=32)
    written = nibabel.load(tmp_path / "a.nii")
    np.testing.assert_array_equal(written.affine, np.eye(4))
    assert written.get_data_dtype() == np.float32


def refused(path, *words):
    with pytest.raises(InputError) as caught:
        read_image(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    for word in words:
        assert word in message


def test_volumes_and_odd_numbers_are_refused(tmp_path):
    refused(save(tmp_path / "a.nii", np.zeros((4, 5, 6), np.int16)), "4×5×6", "one slice")
    refused(save(tmp_path / "b.nii", np.zeros((4, 5), np.complex64)), "complex64")
    refused(save(tmp_path / "c.nii", np.full((4, 5), np.nan, np.float32)), "NaN")
    refused(save(tmp_path / "d.nii", np.zeros((9,), np.float32)), "one slice")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_text_under_a_nifti_name(tmp_path, name):
    (tmp_path / name).write_text("no image" * 100)
    refused(tmp_path / name)


def test_pictures_lie_alike_where_their_corners_do(tmp_path):
    """The same anatomy stored the other way round, with the affine that says so, lies elsewhere by index."""
    data = RNG.integers(0, 255, (7, 5), dtype=np.int16)
    image = read_image(save(tmp_path / "a.nii", data))
    assert lie_alike(image, read_image(save(tmp_path / "b.nii", data[..., None])))
    turned = AFFINE.copy()
    turned[:3, 3] += AFFINE[:3, 0] * 6
    turned[:3, 0] *= -1
    nudged = AFFINE.copy()
    nudged[0, 3] += 0.1
    shifted = AFFINE.copy()
    shifted[2, 3] += 3
    for affine, alike in ((turned, False), (nudged, True), (shifted, False)):
        nibabel.save(nibabel.Nifti1Image(data, affine), tmp_path / "c.nii")
        assert lie_alike(image, read_image(tmp_path / "c.nii")) is alike
    # Voxels that hang on another axis lie elsewhere, though the picture has the same size.
    nibabel.save(nibabel.Nifti1Image(data[None], AFFINE), tmp_path / "c.nii")
    assert not lie_alike(image, read_image(tmp_path / "c.nii"))
    # Without a code the file says nothing of its place, whatever nibabel makes up.
    nibabel.save(nibabel.Nifti1Image(data, None), tmp_path / "c.nii")
    assert lie_alike(image, read_image(tmp_path / "c.nii"))
    write_image(tmp_path / "d.png", np.zeros((7, 5)), bits=8)
    assert lie_alike(image, read_image(tmp_path / "d.png"))
