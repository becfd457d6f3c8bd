"""Every fast path against the plain network in float32, on pictures, with the weights that are shipped."""

import numpy as np
import pytest
import torch

from scalefuse.inference.classifier import Classifier
from scalefuse.inference.fuser import Fuser
from scalefuse.inference.segmenter import Segmenter


def test_fused_pictures(pair, shipped, shipped_engine, ct_mri):
    plain, fast = Fuser(shipped("dilran").build_network()), Fuser(shipped_engine("dilran", pair))
    differences = np.stack([np.abs(fast(a, b) - plain(a, b)) for a, b in ct_mri])
    if pair[1] == "fp32":
        assert differences.max() <= 1e-5
    else:
        assert (differences <= 1 / 255).mean(axis=(1, 2)).min() >= 0.97
        assert differences.max() <= 4 / 255
        assert differences.max() > 1e-4, "this is not bf16"


def test_fused_pictures_by_the_papers_strategy(pair, shipped, shipped_engine, ct_mri):
    name = "softmax_nuclear_norm"
    plain = Fuser(shipped("dilran").build_network(), strategy=name)
    fast = Fuser(shipped_engine("dilran", pair), strategy=name)
    # A part of odd size, which the trained weights meet only here.
    a, b = (np.ascontiguousarray(image[60:177, 50:201]) for image in ct_mri[0])
    difference = np.abs(fast(a, b) - plain(a, b))
    if pair[1] == "fp32":
        assert difference.max() <= 1e-5
    else:
        assert (difference <= 1 / 255).mean() >= 0.97
        assert difference.max() <= 4 / 255


WINDOWS = {"whole_image_limit": 1, "tile": 64, "tta": True}


def segmenter(bundle, engine, **options):
    made = Segmenter.from_bundle(bundle, **options)
    made.engines = [engine]
    return made


@pytest.fixture(scope="module")
def in_windows(shipped, nuclei):
    """A part of a picture, and what the plain network makes of its windows, turned and flipped."""
    bundle, picture = shipped("msrf-net-nuclei"), nuclei[0][:70, :90]
    return picture, segmenter(bundle, bundle.build_network(), **WINDOWS).probabilities(picture)


def test_masks(pair, shipped, shipped_engine, nuclei, segmented_nuclei):
    fast = segmenter(shipped("msrf-net-nuclei"), shipped_engine("msrf-net-nuclei", pair))
    dice = []
    for picture, expected in zip(nuclei, segmented_nuclei, strict=True):
        found = fast.segment(picture)
        if pair[1] == "fp32":
            # Probabilities are kept in 16 bits. ONNX Runtime rounds more: 0.000037 on 29 pictures.
            bound = (5e-5 if pair[0] == "onnxruntime" else 1e-5) + 1 / 65535
            np.testing.assert_allclose(found.probability / 65535, expected.probability / 65535, atol=bound)
        total = int(found.mask.sum()) + int(expected.mask.sum())
        dice.append(2 * int((found.mask & expected.mask).sum()) / total if total else 1.0)
    assert np.mean(dice) >= 0.999
    assert min(dice) >= 0.99


def test_masks_in_windows_turned_and_flipped(pair, shipped, shipped_engine, in_windows):
    picture, expected = in_windows
    fast = segmenter(shipped("msrf-net-nuclei"), shipped_engine("msrf-net-nuclei", pair), **WINDOWS)
    found = fast.probabilities(picture)
    np.testing.assert_allclose(found, expected, atol=1e-5 if pair[1] == "fp32" else 0.1)


def test_classes(pair, tiny_engine):
    network, engine = tiny_engine("hifuse", pair)
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(8, 3, 45, 77, generator=generator) * 2 - 1
    with torch.inference_mode():
        expected = network(images)
    found = engine(images)
    if pair[1] == "fp32":
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    else:
        assert (found.softmax(1) - expected.softmax(1)).abs().mean() <= 0.01
        # Where the two most probable classes are not as good as equal, the order stays.
        top = expected.topk(2, dim=1).values
        clear = top[:, 0] - top[:, 1] > 0.05
        assert torch.equal(found.argmax(1)[clear], expected.argmax(1)[clear])


def test_classes_of_the_shipped_model(pair, shipped, shipped_engine, chest_x_rays):
    bundle = shipped("hifuse-pneumoniamnist")
    plain, fast = (Classifier.from_bundle(bundle) for _ in range(2))
    plain.engines, fast.engines = [bundle.build_network()], [shipped_engine("hifuse-pneumoniamnist", pair)]
    expected, found = plain.predict(chest_x_rays), fast.predict(chest_x_rays)
    if pair[1] == "fp32":
        np.testing.assert_allclose(found, expected, atol=1e-5)
    else:
        assert np.abs(found - expected).mean() <= 0.01
        assert (found.argmax(1) == expected.argmax(1)).mean() >= 0.995
