"""Segmentation from the command line: check, train, cross-validate, predict, evaluate."""

import contextlib
import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import nibabel
import numpy as np
import pytest
import tifffile
import torch

from scalefuse.bundle import BundleInfo, load_bundle, save_bundle
from scalefuse.catalog import NETWORKS
from scalefuse.cli.main import main
from scalefuse.config import load_config
from scalefuse.data.read import read_image
from scalefuse.data.write import write_pixels
from scalefuse.errors import InputError
from scalefuse.networks.msrf_net.spec import MSRFNetConfig
from scalefuse.workflows.predict import PredictOptions, predict
from scalefuse.workflows.train_segmentation import require_foreground

SMALL = ("--set", "network.width=8", "--set", "network.growth=4", "--set", "data.size=32")
SHORT = ("--set", "training.epochs=2", "--set", "training.batch_size=2", "--set", "training.precision=fp32")


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The command in this process, since a new one needs seconds to import what it computes with."""
    words = ["scalefuse", *map(str, arguments)]
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    with (
        mock.patch.object(sys, "argv", words),
        mock.patch.dict(os.environ, COLUMNS="200"),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
    assert isinstance(code, int)
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


def draw(folder: Path, count: int, *, size: tuple[int, int] = (40, 36), first: int = 0) -> None:
    """Bright discs on a dark ground, and where they are."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "masks").mkdir(exist_ok=True)
    rows, columns = np.mgrid[: size[0], : size[1]]
    for number in range(first, first + count):
        generator = np.random.default_rng(number)
        centre = generator.uniform(10, 26, 2)
        disc = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < generator.uniform(4, 8) ** 2
        image = generator.normal(60, 25, (*size, 3)) + 120 * disc[..., None]
        write_pixels(folder / "images" / f"{number}.png", image.clip(0, 255).astype(np.uint8))
        write_pixels(folder / "masks" / f"{number}.png", disc.astype(np.uint8) * 255)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("discs")
    draw(folder / "train", 6)
    draw(folder / "val", 3, first=10)
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = MSRFNetConfig(width=8, growth=4)
    info = BundleInfo(name="tiny", task="segmentation", network=config, labels=("background", "disc"))
    network = NETWORKS["msrf_net"].build(config)
    return save_bundle(tmp_path_factory.mktemp("model") / "tiny", info, network.state_dict(), "# tiny")


def test_train_writes_a_bundle_that_predicts_and_is_measured(dataset: Path, tmp_path: Path) -> None:
    done = run("train", "msrf_net", "--set", f"data.folder={dataset}", *SMALL, *SHORT, "-o", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "6 training and 3 validation images (these are the data's own part)" in done.stderr
    assert "data check" in done.stderr or (tmp_path / "run" / "data-check.html").is_file()
    trained = load_bundle(tmp_path / "run" / "bundle")
    assert trained.info.postprocessing is not None
    assert trained.info.training_data.num_cases == 6
    assert (tmp_path / "run" / "metrics.csv").is_file()

    measured = run(
        "evaluate", tmp_path / "run" / "bundle", dataset, "--split", "val", "-o", tmp_path / "eval"
    )
    assert measured.returncode == 0, measured.stderr
    summary = json.loads((tmp_path / "eval" / "summary.json").read_text())
    per_case = list(csv.DictReader((tmp_path / "eval" / "cases.csv").open()))
    assert summary["num_cases"] == len(per_case) == 3
    mean = summary["per_image"]["foreground"]["dice"]["mean"]
    assert mean == pytest.approx(np.mean([float(row["dice"]) for row in per_case]))
    # What training said of the validation images is what evaluation measures, up to 8-bit probabilities.
    assert trained.info.metrics["val/dice"] == pytest.approx(mean, abs=0.02)

    # The same masks, measured as files, give the same overlap.
    assert (
        run(
            "predict", tmp_path / "run" / "bundle", dataset / "val" / "images", "-o", tmp_path / "p"
        ).returncode
        == 0
    )
    again = run("evaluate", dataset, "--masks", tmp_path / "p", "--split", "val", "-o", tmp_path / "eval2")
    assert again.returncode == 0, again.stderr
    second = json.loads((tmp_path / "eval2" / "summary.json").read_text())
    assert second["per_image"]["foreground"]["dice"]["mean"] == pytest.approx(mean, abs=1e-9)


def test_folds_cover_every_case_once(dataset: Path, tmp_path: Path) -> None:
    done = run(
        "train",
        "msrf_net",
        "--folds",
        3,
        "--set",
        f"data.folder={dataset}",
        *SMALL,
        *SHORT,
        "-o",
        tmp_path / "cv",
    )
    assert done.returncode == 0, done.stderr
    assert "(these are fold 2 of 3, of the parts train and val together)" in done.stderr
    rows = list(csv.DictReader((tmp_path / "cv" / "folds.csv").open()))
    assert [row["fold"] for row in rows] == ["1", "2", "3"]
    sizes = [
        load_bundle(tmp_path / "cv" / f"fold{k}" / "bundle").info.training_data.num_cases for k in (1, 2, 3)
    ]
    assert sizes == [6, 6, 6]  # 9 cases, 3 held out each time


def test_predict_writes_what_is_asked_for_in_the_source_size(
    bundle: Path, dataset: Path, tmp_path: Path
) -> None:
    done = run(
        "predict", bundle, dataset / "val" / "images", "-o", tmp_path,
        "--probability", "--instances", "watershed", "--regions",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    mask = read_image(tmp_path / "10_mask.png")
    assert mask.size == (40, 36)
    assert set(np.unique(mask.pixels)) <= {0, 255}
    probability = read_image(tmp_path / "10_probability.png")
    assert probability.bits == 16
    np.testing.assert_array_equal(probability.pixels >= 32768, mask.pixels == 255)
    instances = read_image(tmp_path / "10_instances.png").pixels
    np.testing.assert_array_equal(instances > 0, mask.pixels > 0)
    regions = list(csv.DictReader((tmp_path / "10_regions.csv").open()))
    assert len(regions) == instances.max()
    assert sum(int(row["area_px"]) for row in regions) == np.count_nonzero(instances)
    assert read_image(tmp_path / "10_overlay.png").is_colour


def test_a_bad_picture_does_not_stop_the_batch(bundle: Path, dataset: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    (source / "good.png").write_bytes((dataset / "val" / "images" / "10.png").read_bytes())
    (source / "bad.png").write_bytes((dataset / "val" / "images" / "10.png").read_bytes()[:200])
    done = run("predict", bundle, source, "-o", tmp_path / "out")
    assert done.returncode == 3
    assert "bad.png" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["good_mask.png", "good_overlay.png"]


def test_a_batch_of_bad_pictures_alone_writes_nothing(bundle: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for name in ("a.png", "b.png"):
        (source / name).write_bytes(b"not a picture")
    done = run("predict", bundle, source, "-o", tmp_path / "out")
    assert done.returncode == 3
    assert "2 of 2 failed" in done.stderr
    assert all(name in done.stderr for name in ("a.png", "b.png"))
    assert "written" not in done.stdout
    assert not (tmp_path / "out").exists()


def test_a_model_of_other_channels_than_all_pictures(dataset: Path, tmp_path: Path) -> None:
    config = MSRFNetConfig(in_channels=4, width=8, growth=4)
    info = BundleInfo(name="four", task="segmentation", network=config, labels=("background", "disc"))
    save_bundle(tmp_path / "four", info, NETWORKS["msrf_net"].build(config).state_dict(), "# four")
    images = dataset / "val" / "images"
    done = run("predict", tmp_path / "four", images, "-o", tmp_path / "out")
    assert done.returncode == 2
    assert "but 4 are expected" in " ".join(done.stderr.split())
    assert not (tmp_path / "out").exists()
    # One that fits makes it a batch with bad cases.
    (tmp_path / "in").mkdir()
    first = next(images.iterdir())
    (tmp_path / "in" / first.name).write_bytes(first.read_bytes())
    tifffile.imwrite(tmp_path / "in" / "fits.tif", np.zeros((40, 40, 4), np.uint8), photometric="minisblack",
                     planarconfig="contig")  # fmt: skip
    done = run("predict", tmp_path / "four", tmp_path / "in", "-o", tmp_path / "out")
    assert done.returncode == 3
    assert (tmp_path / "out" / "fits_mask.png").is_file()


def test_pictures_of_more_channels_than_the_model(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.tif", "b.tif"):
        tifffile.imwrite(tmp_path / "in" / name, np.zeros((40, 40, 4), np.uint8), photometric="minisblack",
                         planarconfig="contig")  # fmt: skip
    done = run("predict", bundle, tmp_path / "in", "-o", tmp_path / "out")
    assert done.returncode == 2
    assert "train a model of 4 channels (network.in_channels)" in " ".join(done.stderr.split())
    assert not (tmp_path / "out").exists()


def test_a_picture_without_its_objects_leaves_nothing(
    bundle: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory that ends after the mask was written: no mask stays that would pass for a whole result."""
    from scalefuse.inference import instances

    names = sorted((dataset / "val" / "images").iterdir())[:2]
    whole, calls = instances.label_instances, []

    def once(mask: np.ndarray, **options: str) -> tuple[np.ndarray, int]:
        calls.append(mask.shape)
        if len(calls) == 1:
            raise MemoryError
        return whole(mask, **options)

    monkeypatch.setattr(instances, "label_instances", once)
    (tmp_path / "out").mkdir()
    # Objects of an earlier run, which would pass for those of this one.
    for name in names:
        (tmp_path / "out" / f"{name.stem}_instances.png").write_bytes(b"old")
    done = predict([str(bundle)], names, tmp_path / "out", PredictOptions(instances="components"))
    assert len(done.failures) == 1
    assert "not enough memory" in done.failures[0]
    (good,) = [name for name in names if str(name) not in done.failures[0]]
    written = sorted(file.name for file in (tmp_path / "out").iterdir())
    assert written == [f"{good.stem}_{what}.png" for what in ("instances", "mask", "overlay")]
    assert sorted(path.name for path in done.written) == written


def test_earlier_results_stay_where_nothing_was_written(
    bundle: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = sorted((dataset / "val" / "images").iterdir())[:2]
    predict([str(bundle)], names, tmp_path / "out")
    before = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    assert len(before) == 4

    def full(path: Path, pixels: np.ndarray) -> None:
        raise MemoryError

    monkeypatch.setattr("scalefuse.workflows.predict.write_pixels", full)
    assert len(predict([str(bundle)], names, tmp_path / "out").failures) == 2
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == before


def test_several_pictures_by_name(bundle: Path, dataset: Path, tmp_path: Path) -> None:
    images = dataset / "val" / "images"
    names = sorted(images.iterdir())[:2]
    whole = run("predict", bundle, images, "-o", tmp_path / "whole")
    assert whole.returncode == 0
    assert run("predict", bundle, *names, names[0], "-o", tmp_path / "out").returncode == 0
    written = sorted(file.name for file in (tmp_path / "out").iterdir())
    assert written == sorted(f"{name.stem}_{what}.png" for name in names for what in ("mask", "overlay"))
    for name in written:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    (tmp_path / "link.png").symlink_to(names[0])
    done = run("predict", bundle, names[0], tmp_path / "link.png", "-o", tmp_path / "linked", "--no-overlay")
    assert done.returncode == 0
    assert (tmp_path / "linked" / "link_mask.png").is_file()
    assert (tmp_path / "linked" / f"{names[0].stem}_mask.png").is_file()
    done = run("predict", bundle, *names, "-o", images)
    assert done.returncode == 2
    assert "is the folder of the pictures" in " ".join(done.stderr.split())
    for wrong, expected in ((images, "is a folder; give one folder alone"), ("none.png", "no such file")):
        done = run("predict", bundle, names[0], wrong, "-o", tmp_path / "other")
        assert done.returncode == 2
        assert expected in " ".join(done.stderr.split())
        assert not (tmp_path / "other").exists()


def test_links_in_circles_and_pipes_fail_alone(bundle: Path, dataset: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    write_pixels(source / "good.png", read_image(dataset / "val" / "images" / "10.png").pixels)
    (source / "round.png").symlink_to(source / "round.png")
    os.mkfifo(source / "pipe.png")
    done = run("predict", bundle, source, "-o", tmp_path / "out")
    assert done.returncode == 3
    said = " ".join(done.stderr.split())
    assert "1 of 2 failed" in said
    assert "round.png: no such file; check the name" in said
    assert (tmp_path / "out" / "good_mask.png").is_file()
    done = run("predict", bundle, source / "good.png", source / "pipe.png", "-o", tmp_path / "named")
    assert done.returncode in (2, 3)
    assert "pipe.png" in done.stderr


def test_pictures_of_one_name_fail_and_folders_inside_are_said(
    bundle: Path, dataset: Path, tmp_path: Path
) -> None:
    source = tmp_path / "in"
    (source / "more").mkdir(parents=True)
    picture = read_image(dataset / "val" / "images" / "10.png").pixels
    for name in ("good.png", "two.png", "two.tif", "more/other.png"):
        write_pixels(source / name, picture)
    done = run("predict", bundle, source, "-o", tmp_path / "out")
    assert done.returncode == 3
    said = " ".join(done.stderr.split())
    assert "2 of 3 failed" in said
    for one, other in (("two.png", "two.tif"), ("two.tif", "two.png")):
        assert f"{one} would be written under the same name as {other}; rename it, or keep one." in said
    assert "pictures in the folders inside ('more') are left out." in said
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["good_mask.png", "good_overlay.png"]
    for name in ("good.png", "two.tif", "two.png"):
        (source / name).unlink()
    done = run("predict", bundle, source, "-o", tmp_path / "other")
    assert done.returncode == 2
    assert "holds no images itself, but its folders do ('more')" in " ".join(done.stderr.split())
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("predict", "dilran", "{empty}"), "use `scalefuse fuse`"),
        (("evaluate", "{bundle}", "{held}", "--split", "val"), "images.csv of a run lists"),
        (("predict", "no-such-model", "{image}"), "no such bundle"),
        (("predict", "no-such-model", "missing.png"), "no such bundle"),
        (("evaluate", "CTT", "MRI"), "CTT: no such file or folder"),
        (("evaluate", "runs/none/bundle", "{image}", "--split", "val"), "runs/none/bundle: no such bundle"),
        (("predict", "{bundle}", "missing.png"), "no such file"),
        (("evaluate", "{bundle}", "{empty}"), "images"),
        (("train", "msrf_net", "--set", "data.size=50"), "multiples of 8"),
        (("train", "msrf_net"), "data.folder"),
        (("train", "unet_nuclei", "--set", "data.size=40"), "multiples of 16"),
        (("train", "unet_nuclei", "--set", "network.growth=8"), "unknown key 'growth' in network"),
        (("train", "msrf_net", "--folds", "2", "--set", "data.folder={empty}"), "images"),
        (("fuse", "{image}", "{image}", "--model", "{bundle}"), "segmentation"),
        (("train", "dilran", "--folds", "3", "--set", "data.train=[]", "--set", "data.val=[]"), "--folds"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    arguments: tuple[str, ...], expected: str, bundle: Path, dataset: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    draw(tmp_path / "held", 2)
    held = tmp_path / "held"
    places = {
        "bundle": bundle,
        "held": held,
        "empty": tmp_path / "empty",
        "image": dataset / "val" / "images" / "10.png",
    }
    done = run(*(text.format(**places) for text in arguments), "-o", tmp_path / "out")
    assert done.returncode == 2, done.stderr
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("error:")]) == 1
    assert not (tmp_path / "out").exists()


def test_all_background_masks_are_refused_before_training(dataset: Path, tmp_path: Path) -> None:
    draw(tmp_path / "data", 4)
    for mask in (tmp_path / "data" / "masks").iterdir():
        write_pixels(mask, np.zeros((40, 36), np.uint8))
    done = run(
        "train", "msrf_net", "--set", f"data.folder={tmp_path / 'data'}", *SMALL, *SHORT, "-o", tmp_path / "r"
    )
    assert done.returncode == 2
    assert "background" in done.stderr
    assert "Traceback" not in done.stderr
    # Without the check too; another way to split them would not help.
    config = load_config(
        "msrf_net", [f"data.folder={tmp_path / 'data'}", "data.val_fraction=0.5", "data.check=false"]
    )
    with pytest.raises(InputError, match="all 4 masks are background only, so that nothing can be learnt"):
        require_foreground(config)


def test_a_fold_without_foreground_is_refused_before_training(tmp_path: Path) -> None:
    draw(tmp_path / "data", 3)
    for name in "12":
        write_pixels(tmp_path / "data" / "masks" / f"{name}.png", np.zeros((40, 36), np.uint8))
    folder = f"data.folder={tmp_path / 'data'}"
    done = run("train", "msrf_net", "--set", folder, *SMALL, *SHORT, "--folds", "3", "-o", tmp_path / "r")
    assert done.returncode == 2, done.stderr
    assert "background only; choose other folds" in done.stderr
    # Before any fold was trained, and also where nobody looks at the data first.
    assert not (tmp_path / "r").exists()
    check = ("--set", "data.check=false")
    done = run(
        "train",
        "msrf_net",
        "--set",
        folder,
        *check,
        *SMALL,
        *SHORT,
        "--val-fraction",
        0.34,
        "-o",
        tmp_path / "r",
    )
    assert done.returncode == 2, done.stderr
    assert "background only" in done.stderr
    assert not list(tmp_path.rglob("bundle.json"))


def test_a_picture_is_no_folder_for_masks(bundle: Path, dataset: Path, tmp_path: Path) -> None:
    done = run("predict", bundle, dataset / "val" / "images" / "10.png", "-o", tmp_path / "mask.png")
    assert done.returncode == 2
    assert "mask.png: is a picture's name" in done.stderr
    assert not list(tmp_path.iterdir())


def test_predict_leaves_its_input_alone(bundle: Path, dataset: Path, tmp_path: Path) -> None:
    picture = (dataset / "val" / "images" / "10.png").read_bytes()
    (tmp_path / "in").mkdir()
    for name in ("a.png", "a_mask.png"):
        (tmp_path / "in" / name).write_bytes(picture)
    (tmp_path / "linked").symlink_to(tmp_path / "in")
    for output in ("in", "linked"):
        done = run("predict", bundle, tmp_path / "in", "-o", tmp_path / output)
        assert done.returncode == 2
        assert "is the folder of the pictures" in done.stderr
    # Elsewhere, but back to a picture by a link.
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a_mask.png").symlink_to(tmp_path / "in" / "a_mask.png")
    done = run("predict", bundle, tmp_path / "in", "-o", tmp_path / "out")
    assert done.returncode == 2
    assert "is one of the input pictures" in done.stderr
    assert sorted(file.name for file in tmp_path.rglob("*.png")) == ["a.png", "a_mask.png", "a_mask.png"]
    assert (tmp_path / "in" / "a_mask.png").read_bytes() == picture
    # One picture may get its mask beside it.
    assert run("predict", bundle, tmp_path / "in" / "a_mask.png", "-o", tmp_path / "in").returncode == 0


def test_what_stands_there_is_kept_and_what_is_missing_is_made(
    bundle: Path, dataset: Path, tmp_path: Path
) -> None:
    command = ("predict", bundle, dataset / "val" / "images", "-o", tmp_path, "--no-overlay")
    assert run(*command).returncode == 0
    (tmp_path / "11_mask.png").unlink()
    before = (tmp_path / "10_mask.png").stat().st_mtime_ns
    done = run(*command, "--skip-existing")
    assert "1 files written, 2 pictures kept" in done.stdout
    assert (tmp_path / "10_mask.png").stat().st_mtime_ns == before
    more = (*command, "--skip-existing", "--probability", "--regions", "--instances", "components")
    assert "12 files written:" in run(*more).stdout
    assert "0 files written, 3 pictures kept" in run(*more).stdout


@pytest.mark.parametrize("multi_label", [False, True])
def test_objects_of_several_classes(dataset: Path, tmp_path: Path, multi_label: bool) -> None:
    torch.manual_seed(0)
    labels = ("disc", "rim", "cell") if multi_label else ("ground", "disc", "rim")
    config = MSRFNetConfig(width=8, growth=4, num_classes=3)
    preprocessing = {"multi_label": multi_label}
    info = BundleInfo(
        name="many", task="segmentation", network=config, labels=labels, preprocessing=preprocessing
    )
    model = save_bundle(tmp_path / "many", info, NETWORKS["msrf_net"].build(config).state_dict(), "# many")
    picture = dataset / "val" / "images" / "10.png"
    done = run("predict", model, picture, "-o", tmp_path / "out", "--regions", "--instances", "components")
    assert done.returncode == 0, done.stderr
    with (tmp_path / "out" / "10_regions.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert rows
    for index, label in enumerate(labels):
        numbered = tmp_path / "out" / f"10_instances_{label}.png"
        if label == "ground":
            assert not numbered.exists()
            continue
        if multi_label:
            expected = read_image(tmp_path / "out" / f"10_mask_{label}.png").pixels > 0
        else:
            expected = read_image(tmp_path / "out" / "10_mask.png").pixels == index
        found = read_image(numbered).pixels
        np.testing.assert_array_equal(found > 0, expected)
        areas = [int(float(row["area_px"])) for row in rows if row["class"] == label]
        assert areas == [int((found == number).sum()) for number in range(1, found.max() + 1)]


@pytest.mark.parametrize("folds", [None, 2])
def test_copies_that_training_tears_apart_are_told(tmp_path: Path, folds: int | None) -> None:
    draw(tmp_path / "set", 6, size=(64, 64))
    for number in range(6):
        for kind in ("images", "masks"):
            copied = (tmp_path / "set" / kind / f"{number}.png").read_bytes()
            (tmp_path / "set" / kind / f"{number + 20}.png").write_bytes(copied)
    folder = f"data.folder={tmp_path / 'set'}"
    parts = ("--val-fraction", 0.4) if folds is None else ("--folds", folds)
    short = ("--set", "training.epochs=1", "--set", "training.batch_size=2")
    done = run("train", "msrf_net", "--set", folder, *SMALL, *short, *parts, "-o", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    told = "lie on both sides of the split that was drawn for this training"
    assert done.stderr.count(told) == (folds or 1)
    page = next((tmp_path / "run").rglob("data-check.html")).read_text()
    assert told in page


def test_results_of_an_earlier_command_beside_new_ones_are_told(bundle: Path, tmp_path: Path) -> None:
    draw(tmp_path / "set", 2, size=(40, 40))
    pictures, output = tmp_path / "set" / "images", tmp_path / "out"
    every = ("--instances", "components", "--regions")
    first = run("predict", bundle, pictures, *every, "-o", output)
    assert first.returncode == 0, first.stderr
    assert "earlier command" not in first.stderr
    # The same again, and what goes on where it was stopped, leaves nothing behind.
    for words in (every, (*every, "--skip-existing")):
        (output / "0_mask.png").unlink()
        again = run("predict", bundle, pictures, *words, "-o", output)
        assert again.returncode == 0, again.stderr
        assert "earlier command" not in again.stderr
    second = run("predict", bundle, pictures / "0.png", "-o", output)
    assert "still holds 2 files of an earlier command" in " ".join(second.stderr.split())
    assert "such as 0_instances.png" in " ".join(second.stderr.split())
    assert (output / "0_regions.csv").is_file()


def test_pixels_of_a_microscope_count_in_tables_and_not_in_distances(bundle: Path, tmp_path: Path) -> None:
    """Half a micrometre across and a whole one down; a tolerance of 1 mm would pass anything."""
    draw(tmp_path / "set", 1, size=(40, 40))
    (file,) = (tmp_path / "set" / "images").iterdir()
    scan = file.with_suffix(".tif")
    tifffile.imwrite(
        scan, read_image(file).pixels, imagej=True, resolution=(2, 1), metadata={"unit": "um", "axes": "YXS"}
    )
    file.unlink()
    assert run("predict", bundle, scan, "--regions", "-o", tmp_path / "out").returncode == 0
    rows = list(csv.DictReader((tmp_path / "out" / f"{file.stem}_regions.csv").open()))
    assert rows
    for row in rows:
        assert float(row["area_mm2"]) == pytest.approx(float(row["area_px"]) * 0.0005 * 0.001)
    done = run("evaluate", bundle, tmp_path / "set", "-o", tmp_path / "measured")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "measured" / "summary.json").read_text())["distance_unit"] == "px"


def test_distances_where_only_some_files_know_their_pixels(bundle: Path, tmp_path: Path) -> None:
    draw(tmp_path / "set", 3, size=(40, 40))
    image = read_image(tmp_path / "set" / "images" / "1.png").pixels[..., 0]
    (tmp_path / "set" / "images" / "1.png").unlink()
    volume = nibabel.Nifti1Image(image.T.astype(np.int16), np.diag([0.5, 0.5, 1, 1]))
    nibabel.save(volume, tmp_path / "set" / "images" / "1.nii")
    (tmp_path / "set" / "masks" / "2.png").unlink()
    draw(tmp_path / "set", 1, size=(40, 40), first=5)
    command = ("evaluate", bundle, tmp_path / "set", "--range", "range:0:255", "-o", tmp_path / "out")
    done = run(*command)
    assert done.returncode == 2
    assert "spacing is" in done.stderr
    assert "--no-spacing" in done.stderr
    done = run(*command, "--no-spacing")
    assert done.returncode == 3, done.stderr
    assert "2.png: has no mask" in done.stderr
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["distance_unit"] == "px"


def test_pictures_of_12_bits_are_pointed_out(bundle: Path, tmp_path: Path) -> None:
    draw(tmp_path / "set", 3)
    for file in (tmp_path / "set" / "images").iterdir():
        write_pixels(file, read_image(file).pixels.astype(np.uint16) * 16)
    command = ("predict", bundle, tmp_path / "set" / "images", "-o", tmp_path / "out")
    done = run(*command)
    assert done.returncode == 0
    assert "0.png and 2 more: 16 bits, but values up to 4080 of 65535 only" in done.stderr
    assert "give --range range:0:4095" in done.stderr
    assert "16 bits" not in run(*command, "--range", "range:0:4095").stderr
    check = ("data", "check", tmp_path / "set", "--page", tmp_path / "check.html")
    checked = run(*check)
    assert "narrow-range" in checked.stdout
    assert "choose range:0:4095" in " ".join(checked.stdout.split())
    assert "narrow-range" not in run(*check, "--range", "minmax").stdout


def test_data_check_finds_a_planted_copy(dataset: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        for kind in ("images", "masks"):
            (tmp_path / split / kind).mkdir(parents=True)
            for file in (dataset / split / kind).iterdir():
                (tmp_path / split / kind / file.name).write_bytes(file.read_bytes())
    for kind in ("images", "masks"):
        (tmp_path / "val" / kind / "99.png").write_bytes((tmp_path / "train" / kind / "1.png").read_bytes())
    done = run("data", "check", tmp_path, "--page", tmp_path / "check.html")
    assert done.returncode == 0, done.stderr
    assert "leak" in done.stdout.lower()
    assert "99" in done.stdout
    assert "<html" in (tmp_path / "check.html").read_text()


def test_the_only_one_of_several_labels_keeps_its_name(dataset: Path, tmp_path: Path) -> None:
    config = MSRFNetConfig(width=8, growth=4, num_classes=1)
    preprocessing = {"multi_label": True}
    info = BundleInfo(
        name="one", task="segmentation", network=config, labels=("disc",), preprocessing=preprocessing
    )
    model = save_bundle(tmp_path / "one", info, NETWORKS["msrf_net"].build(config).state_dict(), "# one")
    picture = dataset / "val" / "images" / "10.png"
    command = ("predict", model, picture, "-o", tmp_path / "out", "--probability", "--skip-existing")
    assert "3 files written" in run(*command).stdout
    assert {file.name for file in (tmp_path / "out").iterdir()} >= {
        "10_mask_disc.png",
        "10_probability_disc.png",
    }
    assert "0 files written, 1 pictures kept" in run(*command).stdout
