"""What ``scalefuse fuse`` cannot start with: one line, exit code 2, nothing written, nothing executed."""

import os
import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile

from scalefuse.bundle import BundleInfo, load_bundle, save_bundle
from scalefuse.catalog import NETWORKS
from scalefuse.data import write_image
from scalefuse.networks.dilran.spec import DILRANConfig
from scalefuse.networks.msrf_net.spec import MSRFNetConfig

RNG = np.random.default_rng(6)


def one_pixel(path):
    tifffile.imwrite(path, np.zeros((1, 1), np.uint8))


def truncated(path):
    write_image(path, RNG.random((64, 64)), bits=8)
    path.write_bytes(path.read_bytes()[:-200])


def bomb(path):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(10_000)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b""))


def not_finite(path):
    pixels = RNG.random((64, 64)).astype(np.float32)
    pixels[3, 4] = np.nan
    tifffile.imwrite(path, pixels)


BAD = {
    "truncated.png": (truncated, "truncated"),
    "empty.png": (lambda path: path.write_bytes(b""), "empty"),
    "text.png": (lambda path: path.write_text("no picture"), "not an image"),
    "bomb.png": (bomb, "60000×60000"),
    "nan.tif": (not_finite, "NaN"),
    "pixel.tif": (one_pixel, "16×16"),
    "table.csv": (lambda path: path.write_text("a,b"), "not an image"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("place", ["first", "second"])
def test_a_bad_file_is_one_line(refused, folders, model, tmp_path, name, place):
    make, expected = BAD[name]
    make(tmp_path / name)
    other = folders[0] / "0.png"
    if name == "pixel.tif":
        one_pixel(other := tmp_path / "other.tif")
    pair = (tmp_path / name, other) if place == "first" else (other, tmp_path / name)
    before = sorted(tmp_path.rglob("*"))
    line = refused("fuse", *pair, "-m", model, "-o", tmp_path / "x.png", "--range-a", "minmax")
    assert name in line
    assert expected in line
    refused("fuse", *pair, "-m", model, "-o", tmp_path / "new", "--range-a", "minmax")
    assert sorted(tmp_path.rglob("*")) == before


def test_mismatched_sizes_name_both(refused, folders, model, tmp_path):
    tifffile.imwrite(tmp_path / "b.tif", np.zeros((40, 64), np.uint8))
    line = refused("fuse", folders[0] / "0.png", tmp_path / "b.tif", "-m", model, "-o", tmp_path / "out")
    for word in ("0.png", "64×64", "b.tif", "40×64"):
        assert word in line


@pytest.mark.parametrize("name", ["average", "maximum", "laplacian_pyramid"])
def test_one_pixel_with_the_baselines(cli, model, tmp_path, name):
    one_pixel(tmp_path / "a.tif")
    pair = (tmp_path / "a.tif", tmp_path / "a.tif")
    assert cli("fuse", *pair, "-m", model, "-s", f"baseline:{name}", "-o", tmp_path / "x.png").code in (0, 2)


def test_missing_file_and_file_with_folder(refused, folders, model, tmp_path):
    assert "nothing.png" in refused("fuse", tmp_path / "nothing.png", folders[0] / "0.png", "-m", model)
    assert "two folders" in refused("fuse", folders[0], folders[1] / "0.png", "-m", model)
    (tmp_path / "none").mkdir()
    assert "holds no images" in refused("fuse", tmp_path / "none", folders[1], "-m", model)


def test_unknown_strategy_suggests_the_nearest(refused, folders, model, tmp_path):
    line = refused("fuse", *folders, "-m", model, "-s", "local_enrgy_ratio", "-o", tmp_path / "out")
    assert "did you mean 'local_energy_ratio'?" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["window:40", "bright", "range:5:1"])
def test_wrong_range(refused, folders, model, text):
    assert text in refused("fuse", *folders, "-m", model, "--range-a", text)


def test_unwritable_suffix_is_no_folder_name(refused, folders, model, tmp_path):
    line = refused("fuse", folders[0] / "0.png", folders[1] / "0.png", "-m", model, "-o", tmp_path / "x.jpg")
    assert ".png" in line
    assert not (tmp_path / "x.jpg").exists()


@pytest.mark.parametrize("name", ["x.png", "x.NII.gz", "x.jpg"])
def test_two_folders_do_not_become_one_picture(refused, folders, model, tmp_path, name):
    line = refused("fuse", *folders, "-m", model, "-o", tmp_path / name)
    assert f"{name}: is a picture's name" in line
    assert not (tmp_path / name).exists()


def test_a_folder_with_a_pictures_name_is_a_folder(cli, folders, model, tmp_path):
    (tmp_path / "x.png").mkdir()
    assert cli("fuse", *folders, "-m", model, "-o", tmp_path / "x.png").code == 0
    assert len(list((tmp_path / "x.png").iterdir())) == 3


@pytest.mark.parametrize(
    ("name", "format_", "end"), [("x.tif", "png", ".png"), ("x.png", "nifti", ".nii.gz or .nii")]
)
def test_a_file_name_of_another_format(refused, folders, model, tmp_path, name, format_, end):
    pair = [folder / "0.png" for folder in folders]
    line = refused("fuse", *pair, "-m", model, "-o", tmp_path / name, "--format", format_)
    assert f"{name}: is no name for the format '{format_}'" in line
    assert f"end it in {end}" in line


@pytest.mark.parametrize(("name", "format_"), [("x.tiff", "tiff"), ("x.nii", "nifti"), ("x.PNG", "png")])
def test_a_file_name_of_the_same_format(cli, folders, model, tmp_path, name, format_):
    pair = [folder / "0.png" for folder in folders]
    assert cli("fuse", *pair, "-m", model, "-o", tmp_path / name, "--format", format_).code == 0
    assert (tmp_path / name).is_file()


def test_output_is_no_input(refused, folders, model):
    before = (folders[0] / "0.png").read_bytes()
    line = refused("fuse", folders[0] / "0.png", folders[1] / "0.png", "-m", model, "-o", folders[0])
    assert "one of the inputs" in line
    assert (folders[0] / "0.png").read_bytes() == before


def test_output_folder_that_cannot_be(refused, folders, model, tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert "is a file" in refused("fuse", *folders, "-m", model, "-o", tmp_path / "file")
    assert "not a folder" in refused("fuse", *folders, "-m", model, "-o", tmp_path / "file" / "out")
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_output_folder_without_permission(refused, folders, model, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    assert "permission" in refused("fuse", *folders, "-m", model, "-o", tmp_path / "locked")


class Malicious:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def test_pickle_as_model_is_refused_and_not_run(refused, folders, tmp_path):
    (tmp_path / "evil.pt").write_bytes(pickle.dumps(Malicious(tmp_path / "ran")))
    line = refused("fuse", *folders, "-m", tmp_path / "evil.pt", "-o", tmp_path / "out")
    assert "evil.pt" in line
    assert "bundle" in line
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "out").exists()


def test_bundle_of_another_task(refused, folders, tmp_path):
    config = MSRFNetConfig(width=8, growth=4)
    info = BundleInfo(name="nuclei", task="segmentation", network=config)
    path = save_bundle(tmp_path / "nuclei", info, NETWORKS["msrf_net"].build(config).state_dict(), "")
    line = refused("fuse", *folders, "-m", path, "-o", tmp_path / "out")
    assert "segmentation" in line
    assert "fusion" in line


@pytest.mark.parametrize("name", ["broken", "broken.zip"])
def test_bundle_with_a_missing_tensor(refused, folders, model, tmp_path, name):
    bundle = load_bundle(model)
    state = {name: tensor for name, tensor in bundle.state.items() if name != "decoder.1.bias"}
    path = save_bundle(tmp_path / name, bundle.info, state, "")
    assert "decoder.1.bias" in refused("fuse", *folders, "-m", path, "-o", tmp_path / "out")


def test_bundle_with_a_misshapen_tensor(refused, folders, model, tmp_path):
    bundle = load_bundle(model)
    info = bundle.info.model_copy(update={"network": DILRANConfig(features=6)})
    path = save_bundle(tmp_path / "broken", info, bundle.state, "")
    assert "instead of" in refused("fuse", *folders, "-m", path)


@pytest.mark.parametrize("file", ["model.safetensors", "bundle.json"])
@pytest.mark.parametrize("kept", [0, 1, 10, 400])
def test_truncated_bundle(refused, folders, model, tmp_path, file, kept):
    bundle = load_bundle(model)
    path = save_bundle(tmp_path / "broken", bundle.info, bundle.state, "")
    (path / file).write_bytes((path / file).read_bytes()[:kept])
    assert file in refused("fuse", *folders, "-m", path)


def test_damaged_zip(refused, folders, model, tmp_path):
    bundle = load_bundle(model)
    data = save_bundle(tmp_path / "whole.zip", bundle.info, bundle.state, "").read_bytes()
    for number, start in enumerate(range(40, len(data) - 30, len(data) // 7)):
        (tmp_path / f"{number}.zip").write_bytes(data[:start] + b"\xff" * 30 + data[start + 30 :])
        refused("fuse", *folders, "-m", tmp_path / f"{number}.zip", "-o", tmp_path / "out")
    (tmp_path / "cut.zip").write_bytes(data[: len(data) // 2])
    refused("fuse", *folders, "-m", tmp_path / "cut.zip", "-o", tmp_path / "out")


def test_unknown_model(refused, folders):
    assert "no such bundle" in refused("fuse", *folders, "-m", "no-such-model")


def test_fused_pictures_do_not_lie_among_the_inputs(refused, folders, model):
    for folder in folders:
        before = sorted(folder.iterdir())
        assert "is a folder of the pictures" in refused("fuse", *folders, "--model", model, "-o", folder)
        assert sorted(folder.iterdir()) == before


def test_a_picture_with_itself_is_said(cli, folders, model, tmp_path):
    picture = sorted(folders[0].iterdir())[0]
    done = cli("fuse", picture, picture, "--model", model, "-o", tmp_path / "fused.png")
    assert done.code == 0
    assert "is both the first and the second input" in done.text
