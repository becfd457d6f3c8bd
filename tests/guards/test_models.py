"""Trained weights that come with the repository: each loads, says its terms, and shows how it was made."""

import csv
from pathlib import Path

import pytest
import torch
import yaml

import scalefuse
from scalefuse.bundle import load_bundle

ROOT = Path(__file__).resolve().parents[2]
PACKAGED = sorted((ROOT / "src" / "scalefuse" / "weights").glob("*/bundle.json"))
BESIDE = sorted((ROOT / "models").glob("*/bundle.json"))
FOLDERS = [file.parent for file in (*PACKAGED, *BESIDE)]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_weights_say_where_they_come_from(folder):
    info = load_bundle(folder).info
    assert info.name == folder.name
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "not a medical device" in card
    assert info.training_data is not None
    assert info.training_data.licence
    assert info.training_data.licence in card
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    assert config["task"] == info.task
    with (folder / "training-log.csv").open(newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    assert max(int(row["epoch"]) for row in rows) == config["training"]["epochs"] - 1
    assert (folder / "model.safetensors").stat().st_size <= 12.5e6


@pytest.mark.parametrize("folder", [file.parent for file in BESIDE], ids=lambda folder: folder.name)
def test_weights_beside_the_package_compute(folder):
    model = scalefuse.load(str(folder))
    shade = torch.linspace(0, 255, 64).repeat(64, 1)[..., None].repeat(1, 1, 3).to(torch.uint8).numpy()
    if load_bundle(folder).info.task == "segmentation":
        assert model.segment(shade).mask.shape == (64, 64)
    else:
        probabilities = model.predict([shade])
        assert probabilities.shape == (1, len(model.labels))
        assert probabilities.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.skipif(not BESIDE, reason="the weights beside the package come with the repository only")
def test_the_list_of_weights_is_complete():
    listed = (ROOT / "models" / "README.md").read_text(encoding="utf-8")
    for file in BESIDE:
        assert f"`models/{file.parent.name}`" in listed
