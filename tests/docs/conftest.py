"""A folder like a reader's: pictures and folders of pictures, drawn so that they are nobody's."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from scalefuse.data.phantom import head_phantom, pet_phantom
from scalefuse.data.write import write_image


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for modality in ("CT", "MRI"):
        (tmp_path / modality).mkdir()
    for seed in range(2):
        ct, mri = head_phantom(96, seed=seed)
        write_image(tmp_path / f"CT/head{seed}.png", np.clip((ct + 200) / 1500, 0, 1), bits=8)
        write_image(tmp_path / f"MRI/head{seed}.png", mri, bits=8)
    write_image(tmp_path / "pet.png", pet_phantom(96), bits=8)
    shutil.copy(tmp_path / "CT/head0.png", tmp_path / "ct.png")
    shutil.copy(tmp_path / "MRI/head0.png", tmp_path / "mri.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path
