"""The memory benchmark measures the process that predicts, and fails where a model cannot."""

import sys

import pytest

from benchmarks.memory import SHIPPED, main, peak_gib


def test_what_is_measured_is_the_command():
    small, _ = peak_gib([sys.executable, "-c", "pass"])
    large, _ = peak_gib([sys.executable, "-c", "x = b'1' * 300_000_000"])
    assert small < 0.1
    assert large - small == pytest.approx(300_000_000 / 2**30, rel=0.1)


def test_a_failing_command_is_no_measurement():
    with pytest.raises(SystemExit, match="exit code 3"):
        peak_gib([sys.executable, "-c", "import sys; sys.exit(3)"])


def test_a_small_picture_is_within_the_limit(capsys):
    assert main(["--side", "96", "--model", SHIPPED]) == 0
    assert "| 96×96 | msrf-net-nuclei |" in capsys.readouterr().out


@pytest.mark.slow
def test_a_picture_of_8192_pixels_a_side_is_within_the_limit():
    assert main(["--side", "8192"]) == 0
