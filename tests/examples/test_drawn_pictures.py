"""What the words say is what the drawn pictures show."""

import csv
import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

EXAMPLE = Path(__file__).parents[2] / "examples" / "drawn_pictures.py"


@pytest.fixture(scope="module")
def drawn():
    spec = importlib.util.spec_from_file_location("drawn_pictures", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def objects(drawn):
    """Plain objects on a flat ground: their words, and by how much every pixel changed."""
    found = []
    for seed in range(400):
        canvas = np.full((64, 64, 3), 0.5, np.float32)
        words = drawn.draw_object(np.random.default_rng(seed), canvas, colour=False)
        if not words & {"shadow", "object_of_two_colours", "textured_object"}:
            found.append((words, canvas.mean(2) - 0.5))
    assert len(found) > 100
    return found


def test_bright_and_dark(objects):
    for words, change in objects:
        assert ("bright_object" in words) != ("dark_object" in words)
        assert np.sign(change.sum()) == (1 if "bright_object" in words else -1)


def test_places(objects):
    rows, columns = (np.mgrid[:64, :64] + 0.5) / 64
    seen = set()
    for words, change in objects:
        if "small_object" in words:  # not cut off by the picture's edges
            weight = np.abs(change) / np.abs(change).sum()
            across, down = (weight * columns).sum(), (weight * rows).sum()
            assert ("object_left" in words) <= (across < 0.5)
            assert ("object_right" in words) <= (across > 0.5)
            assert ("object_above" in words) <= (down < 0.5)
            assert ("object_below" in words) <= (down > 0.5)
            seen |= words
    assert {"object_left", "object_right", "object_above", "object_below"} <= seen


def test_sizes_and_contrasts(objects):
    def of(word, other, measure):
        values = [[measure(change) for words, change in objects if name in words] for name in (word, other)]
        return np.median(values[0]), np.median(values[1])

    large, small = of("large_object", "small_object", lambda change: (np.abs(change) > 0.04).mean())
    assert large > 4 * small
    faint, any_contrast = of("faint_object", "object", lambda change: np.abs(change).max())
    assert faint < 0.17 < any_contrast


def test_texture_has_the_exponent_asked_for(drawn):
    noise = drawn.texture(np.random.default_rng(0), 256, 1.5)
    frequency = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.rfftfreq(256)[None])
    middle = (frequency > 0.02) & (frequency < 0.4)
    slope = np.polyfit(np.log(frequency[middle]), np.log(np.abs(np.fft.rfft2(noise))[middle]), 1)[0]
    assert slope == pytest.approx(-1.5, abs=0.05)
    assert noise.std() == pytest.approx(1, abs=1e-3)


def test_pictures_and_their_table(tmp_path):
    for folder in ("first", "second"):
        command = [sys.executable, EXAMPLE, tmp_path / folder, "--number", "60", "--side", "48"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    with (tmp_path / "first" / "labels.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [row["split"] for row in rows].count("val") == 2
    for row in rows:
        pixels = np.asarray(Image.open(tmp_path / "first" / row["path"]))
        assert pixels.shape == (48, 48, 3)
        grey = (np.ptp(pixels.astype(int), axis=2) == 0).all()
        assert grey != ("colour" in row["label"].split(";"))
        np.testing.assert_array_equal(pixels, np.asarray(Image.open(tmp_path / "second" / row["path"])))
