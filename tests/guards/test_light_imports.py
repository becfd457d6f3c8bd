"""What commands load: heavy packages only where they are needed."""

import json
import subprocess
import sys

import pytest

HEAVY = (
    "torch",
    "numpy",
    "scipy",
    "skimage",
    "sklearn",
    "lightning",
    "monai",
    "kornia",
    "matplotlib",
    "pydicom",
    "nibabel",
    "tifffile",
    "pandas",
    "tensorboard",
    "pydantic",
)


def loaded_after(code):
    """Top-level packages in memory after some code ran in a fresh interpreter."""
    script = f"{code}\nimport json, sys\nprint(json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("code", ["import scalefuse", "import scalefuse.cli.main"])
def test_the_command_line_loads_nothing_heavy(code):
    assert loaded_after(code) & set(HEAVY) == set()


def test_help_loads_nothing_heavy():
    code = (
        "import sys\nsys.argv = ['scalefuse', '--help']\nfrom scalefuse.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass"
    )
    assert loaded_after(code) & set(HEAVY) == set()


def test_prediction_loads_no_training():
    code = (
        "import numpy as np, torch\nfrom scalefuse.inference.fuser import Fuser\n"
        "import scalefuse.inference.loading, scalefuse.workflows.fuse, scalefuse.data.read\n"
        "from scalefuse.networks.dilran import DILRAN\n"
        "Fuser(DILRAN(features=8))(np.zeros((20, 20)), np.zeros((20, 20)))"
    )
    loaded = loaded_after(code)
    assert "torch" in loaded
    assert loaded & {"lightning", "monai", "matplotlib", "kornia", "tensorboard", "typer", "sklearn"} == set()
