"""Leaving one subject out: nothing of it is trained on, and all of it is measured."""

import json

import numpy as np
import pytest
import yaml

from benchmarks.leave_one_out import main, names_of
from scalefuse.bundle import load_bundle
from scalefuse.data import write_image
from scalefuse.data.phantom import head_phantom


def test_the_expression_of_one_subject():
    assert names_of("25", r"^(.*)\d{3}$") == r"^25\d{3}$"
    assert names_of("a.b", r"^(.+)_") == r"^a\.b_"


def test_each_subject_is_measured_with_weights_that_have_not_seen_it(tmp_path, capsys):
    for name in ("7001", "7002", "81001"):
        head = head_phantom(64, seed=int(name))
        for folder, picture in (("CT", (head.ct_hu + 100) / 1100), ("MRI", head.mri)):
            (tmp_path / folder).mkdir(exist_ok=True)
            write_image(tmp_path / folder / f"{name}.png", np.clip(picture, 0, 1), bits=8)
    config = {
        "name": "tiny",
        "task": "fusion",
        "network": {"name": "dilran", "features": 8},
        "data": {
            "train": [{"a": str(tmp_path / "CT"), "b": str(tmp_path / "MRI")}],
            "val_fraction": 0,
            "crop": 48,
        },
        "training": {"precision": "fp32", "batch_size": 1},
    }
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config))
    out = tmp_path / "out"
    words = ["--a", tmp_path / "CT", "--b", tmp_path / "MRI", "--config", tmp_path / "tiny.yaml", "-o", out]
    words = [*map(str, words), "--epochs", "1", "--samples", "1"]
    assert main(words) == 0
    assert load_bundle(out / "without-7" / "bundle").info.training_data.num_cases == 1
    assert load_bundle(out / "without-81" / "bundle").info.training_data.num_cases == 2
    summary = json.loads((out / "leave-one-out.json").read_text())
    assert summary["num_cases"] == 3
    assert "baseline:laplacian_pyramid" in summary["methods"]
    rows = (out / "cases.csv").read_text().splitlines()
    assert sum(",local_energy_ratio," in row for row in rows) == 3
    assert all(np.isfinite(summary["methods"]["local_energy_ratio"]["VIF"][key]) for key in ("mean", "low"))
    assert "leave one subject out" in capsys.readouterr().out
    # What is finished is not trained again.
    before = (out / "without-7" / "bundle" / "model.safetensors").stat().st_mtime_ns
    assert main([*words, "--subjects", "7"]) == 0
    assert (out / "without-7" / "bundle" / "model.safetensors").stat().st_mtime_ns == before


def test_names_without_a_subject(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write_image(tmp_path / folder / "x.png", np.zeros((20, 20)), bits=8)
    with pytest.raises(SystemExit, match="no group"):
        main(["--a", str(tmp_path / "a"), "--b", str(tmp_path / "b")])
