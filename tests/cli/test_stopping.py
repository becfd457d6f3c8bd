"""Ctrl-C: one line that says what is there and how to go on, and exit code 130."""

import subprocess
import sys

import numpy as np
import pytest

from scalefuse.data import write_image
from scalefuse.inference.fuser import Fuser


@pytest.fixture
def folders(tmp_path):
    for name in ("ct", "mri"):
        (tmp_path / name).mkdir()
        for number in range(4):
            picture = np.random.default_rng(number).random((32, 32))
            write_image(tmp_path / name / f"{number}.png", picture, bits=8)
    return tmp_path / "ct", tmp_path / "mri"


def test_a_stopped_batch_says_how_to_go_on_and_does(cli, folders, tmp_path, monkeypatch):
    fuse, calls = Fuser.fuse_images, []

    def stopped(self, *images, **options):
        calls.append(images)
        if len(calls) > 2:
            raise KeyboardInterrupt
        return fuse(self, *images, **options)

    words = ("fuse", *folders, "-s", "baseline:average", "-o", tmp_path / "out")
    monkeypatch.setattr(Fuser, "fuse_images", stopped)
    done = cli(*words)
    assert done.code == 130
    kept = {file: file.stat().st_mtime_ns for file in (tmp_path / "out").glob("*.png")}
    assert len(kept) <= 2
    assert done.err.splitlines()[-1] == (
        "Stopped. Go on with the same command and --skip-existing, which keeps what is done."
    )
    monkeypatch.setattr(Fuser, "fuse_images", fuse)
    again = cli(*words, "--skip-existing")
    assert again.code == 0
    assert f"{4 - len(kept)} written" in again.out
    assert len(list((tmp_path / "out").iterdir())) == 4
    assert all(file.stat().st_mtime_ns == when for file, when in kept.items())


def test_a_command_that_keeps_nothing_says_so(cli, folders, tmp_path, monkeypatch):
    def stopped(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(Fuser, "fuse_images", stopped)
    one = [folder / "1.png" for folder in folders]
    for words in (("fuse", *one), ("evaluate", *folders)):
        done = cli(*words, "-o", tmp_path / "out")
        assert done.code == 130
        assert done.err.splitlines()[-1].startswith("Stopped before the end; run the command again")


def test_an_evaluation_that_is_stopped_while_it_draws_leaves_the_old_one(cli, folders, tmp_path, monkeypatch):
    def stopped(*arguments, **options):
        raise KeyboardInterrupt

    words = ("evaluate", *folders, "-o", tmp_path / "out", "--metrics", "SSIM", "-s")
    assert cli(*words, "baseline:average").code == 0
    before = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    monkeypatch.setattr("scalefuse.workflows.evaluate_fusion._draw_sheet", stopped)
    assert cli(*words, "baseline:maximum").code == 130
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == before


@pytest.mark.parametrize("at", ["scalefuse.cli.app", "scalefuse.cli.kept_memory"])
def test_ctrl_c_while_the_commands_are_imported(at):
    code = f"""
import sys
class Stop:
    def find_spec(self, name, path=None, target=None):
        if name == {at!r}:
            raise KeyboardInterrupt
sys.meta_path.insert(0, Stop())
sys.argv = ["scalefuse", "info"]
from scalefuse.cli.main import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "Stopped before anything was done.\n")
