"""``scalefuse data check`` on every layout, with its page."""

import re

import numpy as np
import pytest
from PIL import Image as Pillow

RNG = np.random.default_rng(0)


def save(file, pixels):
    file.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(pixels).save(file)


def noise(*shape):
    return RNG.integers(0, 256, shape or (32, 32), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path):
    for index in range(10):
        for name in ("covid", "other"):
            save(tmp_path / "set" / name / f"{index}.png", noise())
    return tmp_path / "set"


def pictures(page):
    return len(re.findall(r'src="data:image/jpeg', page.read_text(encoding="utf-8")))


def test_folder_per_class(cli, folder, tmp_path):
    done = cli("data", "check", folder, "--page", tmp_path / "page.html")
    assert done.code == 0, done.text
    assert "No faults found" in done.out
    row = next(line for line in done.out.splitlines() if "32×32" in line)
    assert re.search(r"all\W+20\W+32×32\W+0 … 255\W+covid 50\.0 %, other 50\.0 %", row)
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert pictures(tmp_path / "page.html") == 12
    assert "all: share of images" in text
    assert "masks" not in text
    assert re.search(r"<br>covid</figcaption>", text)
    assert re.search(r"<br>other</figcaption>", text)


def test_medmnist_file(cli, tmp_path):
    np.savez(
        tmp_path / "breastmnist.npz",
        train_images=noise(24, 28, 28),
        train_labels=np.arange(24)[:, None] % 2,
    )
    done = cli("data", "check", tmp_path / "breastmnist.npz", "--page", tmp_path / "page.html")
    assert done.code == 0, done.text
    assert pictures(tmp_path / "page.html") == 12
    assert "normal or benign" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_csv_with_chosen_columns(cli, folder, tmp_path):
    rows = [f"{n},{name},p{n}" for name in ("covid",) for n in range(10)]
    rows += ["a0,other,p11", "a1,other,p11"]
    for index in range(2):
        save(folder / "covid" / f"a{index}.png", noise())
    (tmp_path / "t.csv").write_text("\n".join(["id,dx,who", *rows]), encoding="utf-8")
    arguments = ("--columns", "path=id,label=dx", "--images", folder / "covid", "--group-column", "who")
    done = cli("data", "check", tmp_path / "t.csv", *arguments, "--page", tmp_path / "page.html")
    assert done.code == 0, done.text
    assert "few-images" in done.out
    assert "class-imbalance" in done.out


def test_errors_exit_with_2_and_the_page_is_there(cli, folder, tmp_path):
    (folder / "third").mkdir()
    done = cli("data", "check", folder, "--page", tmp_path / "page.html")
    assert done.code == 2
    assert "empty-class" in done.out
    assert (tmp_path / "page.html").is_file()


@pytest.fixture
def cells(tmp_path):
    for index in range(4):
        mask = np.zeros((32, 32), np.uint8)
        mask[4:12, 4 : 14 + index], mask[16:24, 4:28] = 128, 255
        save(tmp_path / f"cells/images/{index}.png", noise())
        save(tmp_path / f"cells/masks/{index}.png", mask)
    return tmp_path / "cells"


def test_masks_of_several_classes_by_option_and_by_configuration(cli, cells, tmp_path):
    page = tmp_path / "page.html"
    done = cli("data", "check", cells, "--page", page)
    assert done.code == 2
    assert "mask-values" in done.out
    done = cli("data", "check", cells, "--page", page, "--classes", "background=0,nucleus=128,border=255")
    assert done.code == 0, done.text
    assert "border" in page.read_text(encoding="utf-8")
    config = tmp_path / "run.yaml"
    config.write_text(
        "task: segmentation\n"
        "network: {name: msrf_net, num_classes: 3}\n"
        "data: {classes: {names: [background, nucleus, border], values: [0, 128, 255]}}\n",
        encoding="utf-8",
    )
    done = cli("data", "check", cells, "--page", page, "--config", config)
    assert done.code == 0, done.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none"], "no such folder or file"),
        (["empty"], "holds no folders"),
        (["set", "--config", "msrf_net"], "configures segmentation, but the data are laid out for class"),
        (["set", "--columns", "diagnosis"], "expected path, label, split, group, weight"),
        (["cells", "--classes", "background=0,nucleus"], "a name or a value is missing"),
        (["cells", "--classes", "background=0,nucleus=red"], "no number and no colour"),
        (["cells", "--classes", "background=0,nucleus=0"], "values must differ"),
    ],
)
def test_one_clear_line(refused, folder, cells, tmp_path, monkeypatch, arguments, message):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    assert message in refused("data", "check", *arguments)
    assert not (tmp_path / "data-check.html").exists()


def test_a_page_takes_no_other_files_name(refused, cells):
    """What would be lost could be one of the images."""
    before = (cells / "images/0.png").read_bytes()
    assert "end its name in .html" in refused("data", "check", cells, "--page", cells / "images/0.png")
    assert (cells / "images/0.png").read_bytes() == before


def test_a_misspelt_range_is_said_once(refused, cells, tmp_path):
    line = refused("data", "check", cells, "--range", "foo", "--page", tmp_path / "page.html")
    assert line.count("unknown intensity range 'foo'") == 1
    assert not (tmp_path / "page.html").exists()
