"""Writing: exact values, whole files only."""

import errno
import os
import resource

import numpy as np
import pytest
from PIL import Image as PillowImage

from scalefuse.data import (
    Image,
    IntensityRange,
    atomic_folder,
    atomic_write,
    check_writable_folder,
    from_unit,
    read_image,
    to_unit,
    write_image,
)
from scalefuse.data.write import check_folder_name, write_pixels
from scalefuse.errors import InputError, OutputError

FULL = IntensityRange(mode="full")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".nii", ".nii.gz", ".PNG"])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("shape", [(256, 256), (11, 7, 3)], ids=["grey", "rgb"])
def test_every_value_makes_the_round_trip(tmp_path, suffix, bits, shape):
    if len(shape) == 3 and "nii" in suffix and bits == 16:
        pytest.skip("NIfTI colour has 8 bits")
    dtype = np.uint8 if bits == 8 else np.uint16
    pixels = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    unit, _ = to_unit(pixels, FULL)
    write_image(tmp_path / f"a{suffix}", unit, bits=bits)
    image = read_image(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(image.pixels, pixels)
    assert image.bits == bits
    assert names(tmp_path) == [f"a{suffix}"]


def test_other_programs_read_the_files(tmp_path):
    pixels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    for suffix in (".png", ".tif"):
        write_image(tmp_path / f"a{suffix}", pixels / 65535, bits=16)
        np.testing.assert_array_equal(np.asarray(PillowImage.open(tmp_path / f"a{suffix}")), pixels)
    colour = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
    for suffix in (".png", ".tif"):
        write_image(tmp_path / f"c{suffix}", colour / 255, bits=8)
        np.testing.assert_array_equal(np.asarray(PillowImage.open(tmp_path / f"c{suffix}")), colour)


def test_float_tiff_is_neither_rounded_nor_clipped(tmp_path):
    values = np.array([[0.1234567, -0.5], [1.5, 1e-8]], np.float32)
    write_image(tmp_path / "a.tif", values, bits=32)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").pixels, values)
    with pytest.raises(OutputError, match="floating-point"):
        write_image(tmp_path / "a.png", values, bits=32)


def test_rounding_to_nearest_and_clipping():
    values = np.array([-1.0, 0.4999 / 255, 0.5001 / 255, 254.5001 / 255, 3.0])
    assert from_unit(values, 8).tolist() == [0, 0, 1, 255, 255]


@pytest.mark.parametrize("name", ["a.jpg", "a.dcm", "a", ".png", "a.txt"])
def test_formats_that_are_not_written(tmp_path, name):
    with pytest.raises(OutputError, match=r"\.png, \.tif"):
        write_image(tmp_path / name, np.zeros((2, 2)), bits=8)
    assert names(tmp_path) == []


def test_bad_pictures(tmp_path):
    path = tmp_path / "a.png"
    for array, word in [
        (np.zeros((2, 2, 4)), "shape"),
        (np.zeros(4), "shape"),
        (np.zeros((0, 4)), "shape"),
        (np.full((2, 2), np.nan), "NaN"),
    ]:
        with pytest.raises(InputError, match=word):
            write_image(path, array, bits=8)
    with pytest.raises(InputError, match="12 bits"):
        write_image(path, np.zeros((2, 2)), bits=12)
    with pytest.raises(InputError, match=r"2×2 pixels.*3×3"):
        write_image(path, np.zeros((2, 2)), bits=8, like=Image(np.zeros((3, 3), np.uint8)))
    assert names(tmp_path) == []


@pytest.mark.parametrize("error", [RuntimeError("midway"), KeyboardInterrupt(), SystemExit(1)])
def test_a_failure_midway_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(type(error)):  # noqa: PT012, SIM117
        with atomic_write(path) as temporary:
            temporary.write_text("half of the n")
            raise error
    assert path.read_text() == "old"
    assert names(tmp_path) == ["table.csv"]


def test_success_replaces_the_old_file_at_once(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with atomic_write(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".")
        assert temporary.suffix == ".csv"
    assert path.read_text() == "new"
    assert names(tmp_path) == ["table.csv"]


def test_a_full_disk_is_named(tmp_path):
    path = tmp_path / "a.csv"
    with (
        pytest.raises(OutputError, match=r"a\.csv: cannot be written: the disk is full; free"),
        atomic_write(path),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert names(tmp_path) == []


@pytest.mark.parametrize("suffix", [".png", ".tif", ".nii", ".nii.gz"])
def test_running_out_of_room_while_writing_a_picture(tmp_path, suffix):
    """A real refusal by the system, through every writer: files may not grow beyond 4 KiB."""
    path = tmp_path / f"a{suffix}"
    write_image(path, np.zeros((2, 2)), bits=8)
    before = path.read_bytes()
    noise = np.random.default_rng(0).random((200, 200))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OutputError, match="cannot be written"):
            write_image(path, noise, bits=16)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert names(tmp_path) == [path.name]


def test_errors_of_other_files_are_not_renamed(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "a.csv") as temporary:
        temporary.write_text((tmp_path / "source.csv").read_text())
    assert names(tmp_path) == []


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder.png").mkdir()
    for path, word in [
        (tmp_path / "missing" / "a.png", "does not exist"),
        (tmp_path / "file" / "a.png", "file is a file, not a folder"),
        (tmp_path / "folder.png", "is a folder"),
    ]:
        with pytest.raises(OutputError, match=word):
            write_image(path, np.zeros((2, 2)), bits=8)
    assert names(tmp_path) == ["file", "folder.png"]


def test_a_name_that_is_too_long(tmp_path):
    with pytest.raises(OutputError, match="name is too long"):
        write_image(tmp_path / ("x" * 300 + ".png"), np.zeros((2, 2)), bits=8)
    assert names(tmp_path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="permission denied"):
            check_writable_folder(tmp_path)
        with pytest.raises(OutputError, match="permission denied"):
            write_image(tmp_path / "a.png", np.zeros((2, 2)), bits=8)
    finally:
        tmp_path.chmod(0o700)


def test_a_refused_permission_is_named(tmp_path, monkeypatch):
    def refuse(self, *_args, **_kwargs):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr("pathlib.Path.touch", refuse)
    with pytest.raises(OutputError, match="permission denied; choose a folder"):
        check_writable_folder(tmp_path)


def test_devices_are_left_alone():
    with pytest.raises(OutputError, match="not an ordinary file"), atomic_write("/dev/null"):
        pass
    assert not os.path.isfile("/dev/null")  # noqa: PTH113


def test_a_symbolic_link_is_followed(tmp_path):
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to(tmp_path / "real.txt")
    with atomic_write(tmp_path / "link.txt") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"


def test_folders_are_written_whole(tmp_path):
    bundle = tmp_path / "bundle"
    with atomic_folder(bundle) as temporary:
        (temporary / "a").write_text("1")
    with pytest.raises(RuntimeError):  # noqa: PT012, SIM117
        with atomic_folder(bundle) as temporary:
            (temporary / "b").write_text("2")
            raise RuntimeError
    assert names(tmp_path) == ["bundle"]
    assert names(bundle) == ["a"]
    with atomic_folder(bundle) as temporary:
        (temporary / "c").write_text("3")
    assert names(tmp_path) == ["bundle"]
    assert names(bundle) == ["c"]
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="is a file"), atomic_folder(tmp_path / "file"):
        pass


def test_checking_a_folder(tmp_path):
    assert check_writable_folder(tmp_path / "a" / "b").is_dir()
    assert names(tmp_path / "a" / "b") == []
    with pytest.raises(OutputError, match="does not exist"):
        check_writable_folder(tmp_path / "c", create=False)
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="is a file"):
        check_writable_folder(tmp_path / "file")
    with pytest.raises(OutputError, match="is a file, not a folder"):
        check_writable_folder(tmp_path / "file" / "below")


@pytest.mark.parametrize(
    ("name", "kind"), [("fused.PNG", "picture"), ("scan.nii.gz", "picture"), ("out.csv", "table")]
)
def test_names_that_no_folder_of_results_has(tmp_path, name, kind):
    with pytest.raises(OutputError, match=rf"{name}: is a {kind}'s name, .* name a folder"):
        check_folder_name(tmp_path / name)
    (tmp_path / name).mkdir()
    check_folder_name(tmp_path / name)
    check_folder_name(tmp_path / "v1.2")


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize(("shape", "dtype"), [((), np.uint8), ((), np.uint16), ((3,), np.uint8)])
def test_noise_in_narrow_pictures(tmp_path, width, shape, dtype):
    pixels = np.random.default_rng(4).integers(0, np.iinfo(dtype).max, (2000, width, *shape)).astype(dtype)
    write_pixels(tmp_path / "narrow.png", pixels)
    np.testing.assert_array_equal(read_image(tmp_path / "narrow.png").pixels, pixels)


def test_nifti_colour_of_16_bits_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"uint16 pixels of shape \(3, 3, 3\); expected uint8"):
        write_pixels(tmp_path / "a.nii.gz", np.zeros((3, 3, 3), np.uint16))
    assert list(tmp_path.iterdir()) == []
