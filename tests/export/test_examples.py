"""The example programs give what our predictors give, where ScaleFuse and PyTorch cannot be imported."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from scalefuse.data.read import read_image
from scalefuse.inference.classifier import Classifier
from scalefuse.inference.fuser import DEFAULT_STRATEGY, Fuser
from scalefuse.inference.postprocessing import PostProcessing
from scalefuse.inference.segmenter import Segmenter

EXAMPLES = Path(__file__).parents[2] / "examples"
BLOCKED = """import sys
for name in ("scalefuse", "torch"):
    sys.modules[name] = None
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Runs an example in a fresh interpreter in which neither can be imported; returns what it prints."""
    site = tmp_path_factory.mktemp("site")
    (site / "sitecustomize.py").write_text(BLOCKED)
    environment = {**os.environ, "PYTHONPATH": str(site)}

    def example(name, *arguments):
        command = [sys.executable, EXAMPLES / name, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return example


def test_both_are_blocked(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(BLOCKED)
    for name in ("scalefuse", "torch"):
        done = subprocess.run(
            [sys.executable, "-c", f"import {name}"],
            capture_output=True,
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
            check=False,
        )
        assert done.returncode == 1


def test_fusion(run, fusion, fusion_bundle, heads, tmp_path):
    pair = [heads / f"pairs/{name}/1.png" for name in ("CT", "MRI")]
    assert "local_energy_ratio" in run("run_onnx_fusion.py", fusion[0], *pair, tmp_path / "fused.png")
    found = read_image(tmp_path / "fused.png").pixels.astype(int)
    expected = Fuser.from_bundle(fusion_bundle).fuse_images(*map(read_image, pair)).pixels.astype(int)
    # A value on the edge between two whole numbers may fall to either side.
    assert np.abs(found - expected).max() <= 1
    assert (found == expected).mean() > 0.999


def test_fusion_by_the_default_strategy(run, fusion, fusion_bundle, heads, tmp_path):
    exported = shutil.copytree(fusion[0], tmp_path / "exported")
    record = json.loads((exported / "export.json").read_text(encoding="utf-8"))
    (exported / "export.json").write_text(json.dumps(record | {"strategy": DEFAULT_STRATEGY}))
    pair = [heads / f"pairs/{name}/1.png" for name in ("CT", "MRI")]
    assert DEFAULT_STRATEGY in run("run_onnx_fusion.py", exported, *pair, tmp_path / "fused.png")
    found = read_image(tmp_path / "fused.png").pixels.astype(int)
    fuser = Fuser.from_bundle(fusion_bundle, strategy=DEFAULT_STRATEGY)
    expected = fuser.fuse_images(*map(read_image, pair)).pixels.astype(int)
    assert np.abs(found - expected).max() <= 1
    assert (found == expected).mean() > 0.999


def test_segmentation(run, segmentation, segmentation_bundle, heads, tmp_path):
    picture, mask, values = heads / "set/images/1.png", tmp_path / "mask.png", tmp_path / "probability.npy"
    run("run_onnx_segmentation.py", segmentation[0], picture, mask, "--probability", values)
    segmenter = Segmenter.from_bundle(segmentation_bundle, postprocessing=PostProcessing(threshold=0.6))
    image = read_image(picture)
    expected = segmenter.probabilities(image)
    np.testing.assert_allclose(np.load(values), expected, atol=1e-4)
    found = read_image(mask).pixels
    assert set(np.unique(found)) <= {0, 255}
    assert ((found > 0) == segmenter.segment(image).mask).mean() > 0.999


@pytest.mark.parametrize("size", [(40, 44), (72, 80)])
def test_segmentation_by_a_model_of_whole_pictures(
    run, segmentation, segmentation_bundle, heads, tmp_path, size
):
    exported = shutil.copytree(segmentation[0], tmp_path / "exported")
    record = json.loads((exported / "export.json").read_text(encoding="utf-8"))
    record["preprocessing"]["resize"] = size
    (exported / "export.json").write_text(json.dumps(record))
    picture, values = heads / "set/images/1.png", tmp_path / "probability.npy"
    run("run_onnx_segmentation.py", exported, picture, tmp_path / "mask.png", "--probability", values)
    expected = Segmenter.from_bundle(segmentation_bundle, resize=size).probabilities(read_image(picture))
    as_it_stands = Segmenter.from_bundle(segmentation_bundle).probabilities(read_image(picture))
    np.testing.assert_allclose(np.load(values), expected, atol=1e-3)
    assert np.abs(as_it_stands - expected).max() > 0.01


def test_pictures_of_one_bit(run, segmentation, heads, tmp_path):
    masks = []
    with PIL.Image.open(heads / "set/masks/1.png") as picture:
        for mode in ("1", "L"):
            picture.convert(mode).save(tmp_path / f"{mode}.png")
            run("run_onnx_segmentation.py", segmentation[0], tmp_path / f"{mode}.png", tmp_path / "mask.png")
            masks.append((tmp_path / "mask.png").read_bytes())
    assert masks[0] == masks[1]


@pytest.mark.parametrize("kind", ["turned", "ink"])
def test_pictures_by_cameras_and_for_print(run, segmentation, segmentation_bundle, heads, tmp_path, kind):
    """What a camera notes of how it was held counts, and inks are no light."""
    grey = read_image(heads / "set/images/1.png").pixels
    grey = (grey if grey.ndim == 2 else grey[..., 0])[:56]
    picture = PIL.Image.fromarray(np.stack([grey, grey // 2, 255 - grey], axis=-1))
    path, values = tmp_path / "picture.jpg", tmp_path / "probability.npy"
    exif = PIL.Image.Exif()
    if kind == "turned":
        exif[0x0112] = 6
    picture.convert("RGB" if kind == "turned" else "CMYK").save(path, exif=exif, quality=95)
    run("run_onnx_segmentation.py", segmentation[0], path, tmp_path / "mask.png", "--probability", values)
    segmenter = Segmenter.from_bundle(segmentation_bundle)
    expected = segmenter.probabilities(read_image(path))
    np.testing.assert_allclose(np.load(values), expected, atol=1e-4)
    assert np.ptp(expected) > 0.01
    sides = grey.shape[::-1] if kind == "turned" else grey.shape
    assert read_image(tmp_path / "mask.png").size == sides


def test_classification(run, classification, classification_bundle, heads):
    picture = heads / "pairs/MRI/1.png"
    lines = run("run_onnx_classification.py", classification[0], picture).splitlines()
    found = {label: float(value) for label, value in (line.split("\t") for line in lines)}
    expected = Classifier.from_bundle(classification_bundle).predict([read_image(picture)])[0]
    assert list(found) == ["a", "b", "c"]
    # Pillow's and PyTorch's antialiasing agree up to rounding.
    np.testing.assert_allclose(list(found.values()), expected, atol=1e-3)
