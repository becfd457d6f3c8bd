"""Commands in this process, with the exit code and the two streams that a shell would see."""

import os
import signal
import subprocess
import sys
from typing import NamedTuple

import numpy as np
import pytest
import torch

from scalefuse.bundle import BundleInfo, save_bundle
from scalefuse.cli.main import main
from scalefuse.data import write_image
from scalefuse.data.phantom import head_phantom
from scalefuse.networks.dilran.spec import DILRANConfig, build


class Run(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def text(self):
        return self.out + self.err


@pytest.fixture
def cli(monkeypatch, capsys):
    """``cli("fuse", a, b)`` runs the command; an unforeseen exception fails the test with its traceback."""

    def run(*arguments):
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["scalefuse", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = 0 if end.code is None else int(end.code)
        streams = capsys.readouterr()
        done = Run(code, streams.out, streams.err)
        assert "Traceback" not in done.text
        return done

    return run


@pytest.fixture
def started():
    """``started("train", …)`` begins the command in a process of its own, whose ``stderr`` can be read."""
    begun = []

    def start(*arguments):
        process = subprocess.Popen(
            [sys.executable, "-c", "from scalefuse.cli.main import main; main()", *map(str, arguments)],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            # A shell's background job ignores Ctrl-C and hands that on; a user's terminal does not.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        begun.append(process)
        return process

    yield start
    for process in begun:
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.fixture
def refused(cli):
    """Runs a command that must end with one clear line and exit code 2; returns the line."""

    def run(*arguments):
        done = cli(*arguments)
        assert done.code == 2, done.text
        lines = [line for line in done.err.splitlines() if line.strip()]
        assert lines[-1].startswith("error: ")
        assert sum(line.startswith("error: ") for line in lines) == 1
        assert done.out == ""
        return lines[-1]

    return run


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """A bundle with random weights: small and quick."""
    torch.manual_seed(0)
    config = DILRANConfig(features=8)
    info = BundleInfo(name="tiny", task="fusion", network=config, strategy="local_energy_ratio")
    return save_bundle(
        tmp_path_factory.mktemp("model") / "tiny", info, build(config).state_dict(), "# tiny\n"
    )


@pytest.fixture(scope="session")
def phantoms():
    """Three heads of 64×64 pixels, (CT, MR) in [0, 1]."""
    heads = [head_phantom(64, seed=seed) for seed in range(3)]
    return [(np.clip((head.ct_hu + 100) / 1100, 0, 1), head.mri) for head in heads]


@pytest.fixture
def folders(tmp_path, phantoms):
    """Folders ``ct`` and ``mri`` with three 8-bit pairs."""
    for number, pair in enumerate(phantoms):
        for name, picture in zip(("ct", "mri"), pair, strict=True):
            (tmp_path / name).mkdir(exist_ok=True)
            write_image(tmp_path / name / f"{number}.png", picture, bits=8)
    return tmp_path / "ct", tmp_path / "mri"
