"""What the comparison finds in exports that are right or wrong; the exports are functions here."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from scalefuse.errors import InputError
from scalefuse.export.parity import compare
from scalefuse.export.quantise import CalibrationInputs, record_inputs
from scalefuse.export.samples import Sample, Samples, find_samples, thinned
from scalefuse.inference.segmenter import Segmenter


def segmentation_runs(bundle, change=lambda logits: logits):
    network = bundle.build_network()

    def model(image):
        with torch.inference_mode():
            return {"logits": change(network(torch.from_numpy(image)).mask).numpy()}

    return {"model": model}


def classification_runs(bundle, shift=0):
    network = bundle.build_network()

    def model(image):
        with torch.inference_mode():
            logits = network((torch.from_numpy(image) - 0.4) / 0.25)
            probability = (logits / bundle.info.postprocessing["temperature"]).softmax(dim=1)
            return {"probability": probability.roll(shift, dims=1).numpy()}

    return {"model": model}


def test_the_network_itself_agrees(segmentation_bundle, classification_bundle, heads):
    samples = find_samples(segmentation_bundle, heads / "set")
    found = compare(segmentation_bundle, segmentation_runs(segmentation_bundle), samples, "onnx", "fp32")
    assert found.parity.broken() == []
    assert found.parity.agreement == {"mean_dice": 1.0, "min_dice": 1.0}
    assert found.loss is None
    samples = find_samples(classification_bundle, heads / "classes")
    found = compare(
        classification_bundle, classification_runs(classification_bundle), samples, "onnx", "bf16"
    )
    assert found.parity.broken() == []
    assert found.parity.max_abs_difference < 1e-5


def test_one_view_is_compared_and_calibrated_with(segmentation_bundle, heads, tmp_path):
    preprocessing = {**segmentation_bundle.info.preprocessing, "tta": True}
    info = segmentation_bundle.info.model_copy(update={"preprocessing": preprocessing})
    bundle = replace(segmentation_bundle, info=info)
    assert Segmenter.from_bundle(bundle).tta
    samples = find_samples(bundle, heads / "set")
    inputs = CalibrationInputs(tmp_path)
    record_inputs(bundle, samples, inputs)
    assert inputs.counts() == {"model": len(samples.samples)}
    seen = []
    runs = segmentation_runs(bundle, lambda logits: seen.append(len(logits)) or logits)
    compare(bundle, runs, samples, "onnx", "fp32")
    assert sum(seen) == len(samples.samples)


def test_dice_against_masks_or_against_float32(segmentation_bundle, heads):
    inverted = segmentation_runs(segmentation_bundle, torch.neg)
    samples = find_samples(segmentation_bundle, heads / "set")
    assert samples.labelled
    found = compare(segmentation_bundle, inverted, samples, "onnx", "int8", max_loss=0.2)
    assert (found.loss.measure, found.loss.against, found.loss.limit) == ("dice", "masks", 0.2)
    assert found.loss.loss == pytest.approx(found.loss.float32 - found.loss.exported)
    assert 0 < found.loss.float32 < 1
    unlabelled = find_samples(segmentation_bundle, heads / "set" / "images")
    found = compare(segmentation_bundle, inverted, unlabelled, "onnx", "int8")
    assert (found.loss.against, found.loss.float32) == ("float32 results", 1.0)
    assert found.loss.exported == found.parity.agreement["mean_dice"] < 0.9
    broken = compare(segmentation_bundle, inverted, unlabelled, "onnx", "fp16").parity.broken()
    assert [line.split()[0] for line in broken] == ["mean_dice", "min_dice"]


def test_the_worst_picture_and_the_sign_of_a_loss(segmentation_bundle, heads):
    samples = find_samples(segmentation_bundle, heads / "set")
    assert len(samples.samples) > 1
    calls = []

    def first_only(logits):
        calls.append(1)
        return -logits if len(calls) == 1 else logits

    found = compare(
        segmentation_bundle, segmentation_runs(segmentation_bundle, first_only), samples, "onnx", "bf16"
    )
    agreement = found.parity.agreement
    number = len(samples.samples)
    assert agreement["min_dice"] < 0.9
    assert agreement["mean_dice"] == pytest.approx((number - 1 + agreement["min_dice"]) / number)
    # What is worse than float32 is a loss above 0, what is better one below.
    inverted = compare(
        segmentation_bundle, segmentation_runs(segmentation_bundle, torch.neg), samples, "onnx", "int8"
    ).loss
    assert inverted.loss == inverted.float32 - inverted.exported != 0


def test_accuracy_against_labels(classification_bundle, heads):
    samples = find_samples(classification_bundle, heads / "classes")
    assert [sample.target for sample in samples.samples] == [0, 1, 2]
    expected = compare(
        classification_bundle, classification_runs(classification_bundle), samples, "onnx", "int8"
    )
    shifted = compare(
        classification_bundle, classification_runs(classification_bundle, 1), samples, "onnx", "int8"
    )
    assert expected.loss.against == "labels"
    assert expected.loss.loss == 0
    assert shifted.parity.agreement == {"top1": 0.0}
    assert shifted.loss.float32 == expected.loss.float32
    # Every answer moved on to the next class, so every right one became wrong.
    assert shifted.loss.exported <= 1 - shifted.loss.float32


def test_nan_is_no_agreement(fusion_bundle):
    network = fusion_bundle.build_network()

    def encoder(image):
        with torch.inference_mode():
            return {"features": network.encode(torch.from_numpy(image)).numpy()}

    def decoder(features):
        return {"fused": np.full_like(features[:, :1], np.nan)}

    pair = np.random.default_rng(0).random((2, 20, 24), dtype=np.float32)
    samples = Samples("noise", [Sample(*pair)])
    for precision in ("fp32", "fp16"):
        found = compare(fusion_bundle, {"encoder": encoder, "decoder": decoder}, samples, "onnx", precision)
        assert found.parity.broken() != []


def test_pictures_that_come_along(segmentation_bundle, classification_bundle, fusion_bundle):
    assert find_samples(segmentation_bundle, None).labelled
    pictures = find_samples(classification_bundle, None)
    assert not pictures.labelled
    assert len(pictures.samples) == 19
    pairs = find_samples(fusion_bundle, None).samples
    assert all(pair.image.shape == pair.other.shape for pair in pairs)


def test_folders_that_do_not_fit(segmentation_bundle, fusion_bundle, heads, tmp_path):
    with pytest.raises(InputError, match="two, such as CT and MRI"):
        find_samples(fusion_bundle, heads / "classes")
    with pytest.raises(InputError, match="holds no images"):
        find_samples(segmentation_bundle, tmp_path)


def test_many_pictures_are_thinned_out():
    kept = thinned(list(range(1000)))
    assert len(kept) == 50
    assert (kept[0], kept[-1]) == (0, 999)
    assert set(np.diff(kept)) <= {20, 21}


def test_a_model_of_other_channels_is_not_checked_on_shipped_pictures(segmentation_bundle):
    network = segmentation_bundle.info.network.model_copy(update={"in_channels": 4})
    info = segmentation_bundle.info.model_copy(update={"network": network})
    with pytest.raises(InputError, match=r"sees 4 channels, and no such pictures .* \(--images\)"):
        find_samples(replace(segmentation_bundle, info=info), None)
