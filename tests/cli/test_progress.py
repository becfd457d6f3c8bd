"""What long work shows on a terminal: how much there is, how much is done, and nothing before it is known."""

import io
import re

import numpy as np
import pytest
from rich.console import Console

from scalefuse.data.write import write_pixels


@pytest.fixture
def shown(cli, monkeypatch):
    """Runs a command as if standard error were a terminal; gives the exit code and what stood there."""

    def run(*arguments):
        stream = io.StringIO()
        console = Console(file=stream, force_terminal=True, color_system=None, width=100, soft_wrap=True)
        monkeypatch.setattr("scalefuse.cli.console.err", console)
        code = cli(*arguments).code
        return code, re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())

    return run


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(3):
        write_pixels(folder / f"{number}.png", rng.integers(0, 256, (32, 32), np.uint8))
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


def last_bar(text, work):
    """The last state of a bar: how much was done, of how much, and of what."""
    states = re.findall(rf"{work} .*?(\d+)/(\d+) (\w+)", text)
    assert states, text
    return states[-1]


@pytest.mark.parametrize(
    ("model", "work"), [("msrf-net-nuclei", "Segmenting"), ("hifuse-pneumoniamnist", "Classifying")]
)
def test_predict_counts_bad_pictures_too(shown, pictures, tmp_path, model, work):
    code, text = shown("predict", model, pictures, "-o", tmp_path / "out", "--engine", "torch")
    assert code == 3
    assert last_bar(text, work) == ("4", "4", "pictures")


def test_fuse(shown, model, folders, tmp_path):
    code, text = shown("fuse", *folders, "-m", model, "-o", tmp_path / "out")
    assert code == 0
    assert last_bar(text, "Fusing") == ("3", "3", "pictures")


def test_evaluate(shown, model, folders, tmp_path):
    code, text = shown("evaluate", model, *folders, "-o", tmp_path / "out", "--metrics", "EN")
    assert code == 0, text
    done, total, unit = last_bar(text, r"\w+")
    assert (done, unit) == (total, "cases")


def test_data_check(shown, pictures, tmp_path):
    (pictures / "broken.png").unlink()
    data = tmp_path / "data"
    (data / "masks").mkdir(parents=True)
    pictures.rename(data / "images")
    for number in range(3):
        write_pixels(data / "masks" / f"{number}.png", np.eye(32, dtype=np.uint8) * 255)
    code, text = shown("data", "check", data, "--page", tmp_path / "check.html")
    assert code == 0, text
    assert last_bar(text, "Checking") == ("3", "3", "images")


def test_nothing_is_counted_where_nothing_begins(shown, pictures, tmp_path):
    out = tmp_path / "out"
    for arguments, work in (
        (("predict", "msrf-net-nuclei", tmp_path / "missing", "-o", out), "Segmenting"),
        (("predict", "hifuse-pneumoniamnist", pictures, "-o", out, "--label", "cat"), "Classifying"),
        (("fuse", tmp_path / "missing", pictures, "-o", out), "Fusing"),
        (("evaluate", pictures, pictures, "-o", out, "--metrics", "entropy"), "Measuring"),
    ):
        code, text = shown(*arguments)
        assert code == 2, text
        assert work not in text
