"""Words for lesions say what is to be seen in them."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

EXAMPLE = Path(__file__).parents[2] / "examples" / "lesion_attributes.py"
SKIN, DARK, LIGHT = (230, 190, 170), (90, 50, 40), (190, 140, 120)


def disc(radius: int, half: bool = False) -> np.ndarray:
    rows, columns = np.mgrid[:128, :128] - 63.5
    inside = rows**2 + columns**2 < radius**2
    return inside & (rows < 0) if half else inside


@pytest.fixture
def folder(tmp_path):
    """A large dark disc, a small light one, half of one, and one of two colours."""
    lesions = {"large": disc(50), "small": disc(12), "half": disc(30, half=True), "two": disc(31)}
    for kind in ("images", "masks"):
        (tmp_path / "train" / kind).mkdir(parents=True)
    for name, inside in lesions.items():
        pixels = np.broadcast_to(np.array(SKIN, np.uint8), (128, 128, 3)).copy()
        pixels[inside] = LIGHT if name == "small" else DARK
        if name == "two":
            pixels[inside & (np.arange(128) > 63)] = (200, 60, 160)
        Image.fromarray(pixels).save(tmp_path / "train" / "images" / f"{name}.png")
        Image.fromarray(inside.astype(np.uint8) * 255).save(tmp_path / "train" / "masks" / f"{name}.png")
    with (tmp_path / "labels.csv").open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["path", "label", "split", "age", "sex"])
        for name, label, age, sex in (
            ("large", "melanoma", "70", "male"),
            ("small", "other", "50", "female"),
            ("half", "other", "unknown", "unknown"),
            ("two", "melanoma", "35", "female"),
        ):
            writer.writerow([f"train/images/{name}.png", label, "train", age, sex])
    return tmp_path


def words_of(folder) -> dict[str, set[str]]:
    command = [sys.executable, EXAMPLE, folder, "-o", folder / "words.csv"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with (folder / "words.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert all(Path(row["path"]).is_file() and row["split"] == "train" for row in rows)
    return {Path(row["path"]).stem: set(row["label"].split(";")) for row in rows}


def test_words(folder):
    words = words_of(folder)

    def with_word(word):
        return {name for name, own in words.items() if word in own}

    assert with_word("melanoma") == {"large", "two"}
    assert with_word("male") == with_word("above_50") == {"large"}
    assert with_word("large") == {"large", "two"}
    assert with_word("very_large") == {"large"}
    assert "half" in with_word("asymmetric")
    assert with_word("asymmetric") & {"large", "small"} == set()
    assert "two" in with_word("very_many_colours")
    assert "two" in with_word("asymmetric_colour")
    assert "half" not in with_word("round")
    assert "small" not in with_word("dark_parts") | with_word("contrast_to_skin")
    assert "small" in with_word("bright")


def test_a_missing_mask_is_named(folder):
    (folder / "train" / "masks" / "two.png").unlink()
    done = subprocess.run([sys.executable, EXAMPLE, folder], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "two.png: expected a mask of this stem" in done.stderr
