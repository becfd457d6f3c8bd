"""``scalefuse fuse`` from end to end: what is read and written, single files and batches."""

import json
import subprocess
import sys

import nibabel
import numpy as np
import pydicom
import pytest
import tifffile
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

import scalefuse
from scalefuse.bundle import load_bundle, save_bundle
from scalefuse.data import read_image, write_image
from scalefuse.data.colour import to_luma_chroma

RNG = np.random.default_rng(5)


def names(folder):
    return sorted(path.name for path in folder.rglob("*"))


def test_two_files_to_a_named_file(cli, folders, model, tmp_path):
    done = cli("fuse", folders[0] / "0.png", folders[1] / "0.png", "-m", model, "-o", tmp_path / "x.png")
    assert done.code == 0
    assert "1 written" in done.out
    assert "x.png" in done.out
    fused = read_image(tmp_path / "x.png")
    assert fused.pixels.dtype == np.uint8
    assert fused.size == (64, 64)


def test_the_file_holds_what_the_python_call_returns(cli, folders, model, tmp_path):
    cli("fuse", folders[0] / "1.png", folders[1] / "1.png", "-m", model, "-o", tmp_path / "x.png")
    a, b = (read_image(folder / "1.png").pixels / np.float32(255) for folder in folders)
    expected = np.floor(scalefuse.load(model)(a, b).astype(float) * 255 + 0.5)
    np.testing.assert_array_equal(read_image(tmp_path / "x.png").pixels, expected)


def test_folders_with_endings_of_their_own(cli, folders, model, tmp_path):
    plain = cli("fuse", *folders, "-m", model, "-o", tmp_path / "plain")
    assert "paired by what they share" not in plain.err
    for folder, ending in zip(folders, ("CT", "MRI"), strict=True):
        for file in list(folder.iterdir()):
            file.rename(folder / f"p{file.stem}_{ending}.png")
    (folders[1] / "p2_MRI.png").rename(folders[1] / "p7_MRI.png")
    done = cli("fuse", *folders, "-m", model, "-o", tmp_path / "out")
    assert done.code == 3
    assert "such as p0_CT and p0_MRI as 'p0'" in done.err
    assert "p2_CT.png: no file named 'p2_CT'" in done.err
    assert "p7_MRI.png: no file named 'p7_MRI'" in done.err
    assert names(tmp_path / "out") == ["p0.png", "p1.png"]
    for name in ("0", "1"):
        found, wanted = (read_image(tmp_path / one) for one in (f"out/p{name}.png", f"plain/{name}.png"))
        np.testing.assert_array_equal(found.pixels, wanted.pixels)
    done = cli("evaluate", model, *folders, "-o", tmp_path / "measured", "--metrics", "EN")
    assert "such as p0_CT and p0_MRI as 'p0'" in done.text


def test_two_folders(cli, folders, model, tmp_path):
    done = cli("fuse", *folders, "-m", model, "-o", tmp_path / "out")
    assert done.code == 0
    assert "3 written" in done.out
    assert names(tmp_path / "out") == ["0.png", "1.png", "2.png"]
    assert "not a medical device" in done.err


@pytest.mark.parametrize(("option", "suffix"), [("png", ".png"), ("tiff", ".tif")])
def test_16_bits_stay_16_bits_exactly(cli, model, tmp_path, option, suffix):
    pixels = RNG.permutation(65536)[: 40 * 50].reshape(40, 50).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    pair = (tmp_path / "a.tif", tmp_path / "a.tif")
    done = cli(
        "fuse", *pair, "-m", model, "-s", "baseline:maximum", "--format", option, "-o", tmp_path / "out"
    )
    assert done.code == 0
    np.testing.assert_array_equal(read_image(tmp_path / "out" / f"a{suffix}").pixels, pixels)


def test_the_network_gives_more_than_8_bits(cli, model, phantoms, tmp_path):
    for name, picture in zip(("a", "b"), phantoms[0], strict=True):
        write_image(tmp_path / f"{name}.png", picture, bits=16)
    assert cli("fuse", tmp_path / "a.png", tmp_path / "b.png", "-m", model, "-o", tmp_path / "o").code == 0
    fused = read_image(tmp_path / "o/a.png").pixels
    assert fused.dtype == np.uint16
    assert (fused % 257 != 0).any()


def test_8_and_16_bits_give_16(cli, folders, model, tmp_path):
    tifffile.imwrite(tmp_path / "b.tif", RNG.integers(0, 65536, (64, 64), dtype=np.uint16))
    assert cli("fuse", folders[0] / "0.png", tmp_path / "b.tif", "-m", model, "-o", tmp_path / "o").code == 0
    assert read_image(tmp_path / "o/0.png").pixels.dtype == np.uint16


def test_colour_and_grey_give_colour_with_the_luma_fused_and_the_chroma_kept(cli, model, phantoms, tmp_path):
    grey = phantoms[0][1] * 0.3 + 0.35
    mri = grey[::-1]
    colour = np.stack([grey + 0.05, grey, grey - 0.04], axis=-1)
    write_image(tmp_path / "pet.tif", colour, bits=16)
    write_image(tmp_path / "mri.tif", mri, bits=16)
    pair = (tmp_path / "mri.tif", tmp_path / "pet.tif")
    assert cli("fuse", *pair, "-m", model, "-s", "baseline:average", "-o", tmp_path / "o").code == 0
    fused = read_image(tmp_path / "o/mri.png")
    assert fused.pixels.shape == (64, 64, 3)
    luma, chroma = to_luma_chroma(fused.pixels / 65535.0)
    source_luma, source_chroma = to_luma_chroma(colour)
    np.testing.assert_allclose(chroma, source_chroma, atol=1e-4)
    np.testing.assert_allclose(luma, (source_luma + mri) / 2, atol=1e-4)


def ct_slice(path, hu):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.Modality = "CT"
    dataset.Rows, dataset.Columns = hu.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelRepresentation = 0
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
    dataset.PixelData = (hu + 1024).astype(np.uint16).tobytes()
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    return path


def test_dicom_needs_a_range_and_takes_one(cli, refused, folders, model, tmp_path):
    hu = RNG.integers(-1000, 1500, (64, 64))
    ct = ct_slice(tmp_path / "ct.dcm", hu)
    command = ("fuse", ct, folders[1] / "0.png", "-m", model, "-o", tmp_path / "out")
    line = refused(*command)
    for word in ("ct.dcm", "HU", "minmax", "percentile:1:99", "window:40:80", "range:LOW:HIGH"):
        assert word in line
    done = cli(*command, "--range-a", "window:40:80", "-s", "baseline:maximum")
    assert done.code == 0
    assert "first 0…80" in done.err
    fused = read_image(tmp_path / "out/ct.png").pixels
    mri = read_image(folders[1] / "0.png").pixels
    expected = np.maximum(np.clip(hu / 80, 0, 1), mri / 255)
    np.testing.assert_allclose(fused / 65535, expected, atol=1e-5)


def test_a_folder_that_needs_a_range_is_refused_as_a_whole(refused, folders, model, tmp_path):
    slices = tmp_path / "slices"
    slices.mkdir()
    for name in "01":
        ct_slice(slices / f"{name}.dcm", RNG.integers(-1000, 1500, (64, 64)))
    line = refused("fuse", slices, folders[1], "-m", model, "-o", tmp_path / "new" / "out")
    assert "0.dcm" in line
    assert "window:40:80" in line
    assert not (tmp_path / "new").exists()


def test_one_that_needs_a_range_does_not_stop_the_others(cli, folders, model, tmp_path):
    (folders[0] / "0.png").unlink()
    ct_slice(folders[0] / "0.dcm", RNG.integers(-1000, 1500, (64, 64)))
    done = cli("fuse", *folders, "-m", model, "-o", tmp_path / "out")
    assert done.code == 3
    assert "1 of 3 failed" in done.err
    assert names(tmp_path / "out") == ["1.png", "2.png"]


def test_nifti_keeps_the_first_ones_geometry(cli, model, phantoms, tmp_path):
    affine = np.array([[-0.9, 0, 0.1, 12], [0, 0.8, 0, -7], [0.2, 0, 3, 5], [0, 0, 0, 1]], float)
    for name, picture in zip(("a", "b"), phantoms[0], strict=True):
        voxels = picture[..., None].astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(voxels, affine), tmp_path / f"{name}.nii")
    ranges = ("--range-a", "range:0:1", "--range-b", "minmax")
    done = cli("fuse", tmp_path / "a.nii", tmp_path / "b.nii", "-m", model, "-o", tmp_path / "out", *ranges)
    assert done.code == 0
    fused = nibabel.load(tmp_path / "out/a.nii.gz")
    np.testing.assert_allclose(fused.affine, affine, atol=1e-6)
    assert fused.shape == (64, 64, 1)


def test_nifti_pictures_of_different_places_are_said(cli, model, phantoms, tmp_path):
    for name, picture in zip(("a", "b"), phantoms[0], strict=True):
        for pair, flipped in (("same", 1), ("other", -1)):
            affine = np.diag([flipped if name == "b" else 1, 1, 1, 1]).astype(float)
            (tmp_path / name).mkdir(exist_ok=True)
            nibabel.save(
                nibabel.Nifti1Image(picture.astype(np.float32), affine), tmp_path / name / f"{pair}.nii"
            )
    ranges = ("--range-a", "minmax", "--range-b", "minmax")
    command = ("fuse", tmp_path / "a", tmp_path / "b", "-m", model, "-o", tmp_path / "out", *ranges)
    done = cli(*command)
    assert done.code == 0, done.text
    assert done.err.count("lie in different places") == 1
    assert "note: other.nii" in done.err
    assert "different places" not in cli(*command, "--skip-existing").err
    measured = cli(
        "evaluate", model, tmp_path / "a", tmp_path / "b", "-o", tmp_path / "measured", *ranges,
        "--no-baselines", "--metrics", "EN",
    )  # fmt: skip
    assert measured.code == 0, measured.text
    assert measured.err.count("lie in different places") == 1
    (note,) = json.loads((tmp_path / "measured/summary.json").read_text())["notes"]
    assert note.startswith("other: by the NIfTI affines")


@pytest.mark.parametrize("values", [(0, 0), (255, 255), (0, 77)])
def test_constant_pictures_work(cli, model, tmp_path, values):
    for name, value in zip("ab", values, strict=True):
        tifffile.imwrite(tmp_path / f"{name}.tif", np.full((20, 31), value, np.uint8))
    assert cli("fuse", tmp_path / "a.tif", tmp_path / "b.tif", "-m", model, "-o", tmp_path / "o").code == 0
    assert read_image(tmp_path / "o/a.png").size == (20, 31)


@pytest.mark.parametrize("size", [(16, 16), (17, 33), (97, 16)])
def test_odd_sizes(cli, model, tmp_path, size):
    tifffile.imwrite(tmp_path / "a.tif", RNG.integers(0, 256, size, dtype=np.uint8))
    assert cli("fuse", tmp_path / "a.tif", tmp_path / "a.tif", "-m", model, "-o", tmp_path / "o").code == 0
    assert read_image(tmp_path / "o/a.png").size == size


def test_skip_existing(cli, folders, model, tmp_path):
    out = tmp_path / "out"
    cli("fuse", *folders, "-m", model, "-o", out)
    (out / "1.png").unlink()
    kept = (out / "0.png").stat().st_mtime_ns
    done = cli("fuse", *folders, "-m", model, "-o", out, "--skip-existing")
    assert "1 written, 2 kept" in done.out
    assert (out / "0.png").stat().st_mtime_ns == kept


def test_zip_and_folder_give_the_same(cli, folders, model, tmp_path):
    bundle = load_bundle(model)
    archive = save_bundle(tmp_path / "tiny.zip", bundle.info, bundle.state, bundle.card)
    pair = (folders[0] / "0.png", folders[1] / "0.png")
    for path, out in ((model, "1.png"), (archive, "2.png")):
        assert cli("fuse", *pair, "-m", path, "-o", tmp_path / out).code == 0
    assert (tmp_path / "1.png").read_bytes() == (tmp_path / "2.png").read_bytes()


# Batches with bad pairs: the others are written, the failures listed, exit code 3


def test_missing_partner(cli, folders, model, tmp_path):
    (folders[1] / "1.png").unlink()
    done = cli("fuse", *folders, "-m", model, "-o", tmp_path / "out")
    assert done.code == 3
    assert "1.png" in done.err
    assert "failed" in done.err
    assert names(tmp_path / "out") == ["0.png", "2.png"]


@pytest.mark.parametrize("bad", ["truncated", "empty", "another size"])
def test_bad_pair_in_a_batch(cli, folders, model, tmp_path, bad):
    path = folders[1] / "1.png"
    if bad == "another size":
        write_image(path, np.zeros((40, 64)), bits=8)
    else:
        path.write_bytes(path.read_bytes()[:-200] if bad == "truncated" else b"")
    done = cli("fuse", *folders, "-m", model, "-o", tmp_path / "out")
    assert done.code == 3
    assert "1 of 3 failed" in done.err
    assert names(tmp_path / "out") == ["0.png", "2.png"]


def test_all_pairs_bad(cli, folders, model, tmp_path):
    for file in folders[0].iterdir():
        file.write_bytes(b"")
    done = cli("fuse", *folders, "-m", model, "-o", tmp_path / "out")
    assert done.code == 3
    assert "3 of 3 failed" in done.err
    assert names(tmp_path / "out") == []


def test_disk_full_midway(folders, model, tmp_path):
    # The second result is larger than the limit on file sizes, which stands in for a full disk.
    for number in (0, 2):
        for folder in folders:
            tifffile.imwrite(folder / f"{number}.tif", np.zeros((64, 64), np.uint8))
            (folder / f"{number}.png").unlink()
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000));"
        "from scalefuse.cli.main import main; main()"
    )
    arguments = ["fuse", *folders, "-m", model, "-s", "baseline:maximum", "-o", tmp_path / "out"]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    assert "1 of 3 failed" in done.stderr
    assert "1.png: cannot be written" in done.stderr
    assert names(tmp_path / "out") == ["0.png", "2.png"]
