import json

import numpy as np
import pytest

from scalefuse.data.masks import MEAN_OF_CLASSES
from scalefuse.errors import InputError
from scalefuse.evaluation.bootstrap import bootstrap_interval
from scalefuse.evaluation.segmentation import THRESHOLDS, evaluate_segmentation
from scalefuse.inference.postprocessing import PostProcessing
from scalefuse.metrics.segmentation import Calibration, dice, measure_segmentation


def binary_cases(number=6, spacing=None):
    generator = np.random.default_rng(0)
    for index in range(number):
        target = np.zeros((20, 30), bool)
        target[index : index + 8, 5 : 12 + index] = index > 0
        probability = np.clip(target * 0.6 + generator.random(target.shape) * 0.5, 0, 1).astype(np.float32)
        yield f"case {index}", probability, target, spacing


def test_rows_and_means():
    evaluation = evaluate_segmentation(binary_cases(spacing=(0.5, 0.5)), labels=("background", "polyp"))
    cases = list(binary_cases())
    expected = [
        measure_segmentation(probability >= 0.5, target, (0.5, 0.5)) for _, probability, target, _ in cases
    ]
    for row, case, measures in zip(evaluation.rows, cases, expected, strict=True):
        assert row == row | measures
        assert (row["name"], row["class"], row["target_px"]) == (case[0], "polyp", case[2].sum())
    summary = evaluation.summary()
    values = [measures["hd95"] for measures in expected]
    low, high = bootstrap_interval(values)
    assert summary["per_image"]["polyp"]["hd95"] == {
        "mean": pytest.approx(np.mean(values)),
        "low": low,
        "high": high,
    }
    assert (summary["num_cases"], summary["distance_unit"]) == (6, "mm")
    assert MEAN_OF_CLASSES not in summary["per_image"]
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_pooled_threshold_and_calibration():
    evaluation = evaluate_segmentation(binary_cases())
    cases = list(binary_cases())
    maps, masks = (np.stack([case[part] for case in cases]) for part in (1, 2))
    joined = dice((maps >= 0.5).reshape(-1, 30), masks.reshape(-1, 30))
    assert evaluation.summary()["pooled"]["object"]["pooled_dice"] == pytest.approx(joined)
    scan = [
        np.mean([dice(one >= threshold, mask) for one, mask in zip(maps, masks, strict=True)])
        for threshold in THRESHOLDS.tolist()
    ]
    np.testing.assert_allclose(evaluation.threshold_dice["object"], scan, atol=1e-12)
    threshold, best = evaluation.best_threshold("object")
    assert (threshold, best) == (THRESHOLDS[np.argmax(scan)], pytest.approx(max(scan)))
    calibration = Calibration()
    calibration.add(maps, masks)
    assert evaluation.summary()["calibration"]["object"]["expected_calibration_error"] == pytest.approx(
        calibration.curve().expected_calibration_error
    )


def test_probabilities_on_a_threshold_count_as_when_thresholded():
    for step, threshold in enumerate(THRESHOLDS.tolist()):
        probability = np.full((1, 2), threshold, np.float32)
        evaluation = evaluate_segmentation([("a", probability, np.ones((1, 2)), None)])
        assert evaluation.threshold_dice["object"].tolist() == [1.0] * (step + 1) + [0.0] * (18 - step)


def test_a_miss_worsens_the_mean_distance():
    target = np.zeros((30, 40), bool)
    target[5:9, 5:9] = True
    near = np.roll(target, 1, axis=0) * 0.9
    hit, miss = ("hit", near, target, None), ("miss", near * 0, target, None)
    alone, both = evaluate_segmentation([hit]), evaluate_segmentation([hit, miss])
    assert alone.values("hd95").mean() == 1.0
    assert both.values("hd95").mean() == (1.0 + 50.0) / 2


def test_several_classes():
    generator = np.random.default_rng(1)
    cases = []
    for index in range(4):
        target = generator.integers(0, 3, (12, 12))
        logits = np.eye(3)[target].transpose(2, 0, 1) + generator.normal(scale=0.7, size=(3, 12, 12))
        cases.append((str(index), np.exp(logits) / np.exp(logits).sum(0), target, None))
    evaluation = evaluate_segmentation(cases, labels=("background", "one", "two"))
    assert evaluation.classes == ("one", "two")
    assert [row["class"] for row in evaluation.rows] == ["one", "two"] * 4
    by_hand = np.array([[dice(p.argmax(0) == k, t == k) for k in (1, 2)] for _, p, t, _ in cases])
    summary = evaluation.summary()
    assert summary["per_image"]["two"]["dice"]["mean"] == pytest.approx(by_hand[:, 1].mean())
    low, high = bootstrap_interval(by_hand.mean(axis=1))
    assert summary["per_image"][MEAN_OF_CLASSES]["dice"] == {
        "mean": pytest.approx(by_hand.mean()),
        "low": pytest.approx(low),
        "high": pytest.approx(high),
    }
    assert summary["best_threshold"] == {}
    assert evaluation.best_threshold("one") is None
    assert evaluation.num_cases == 4


def test_the_mean_over_three_classes():
    target = np.repeat([0, 1, 2, 3], 4)[None]
    decided = target.copy()
    decided[0, 4:6] = 0  # Half of class one is missed; two and three are right.
    evaluation = evaluate_segmentation(
        [("a", np.eye(4)[decided].transpose(2, 0, 1), target, None)],
        labels=("background", "one", "two", "three"),
    )
    found = evaluation.summary()["per_image"][MEAN_OF_CLASSES]["dice"]["mean"]
    assert found == pytest.approx((2 / 3 + 1 + 1) / 3)


def test_several_labels_and_whole_number_probabilities():
    target = np.zeros((2, 6, 6), bool)
    target[0, :3] = target[1, 2:5] = True
    probability = (target * 40000 + 10000).astype(np.uint16)
    probability[1, 0, 0] = 65535
    cleaned = evaluate_segmentation(
        [("a", probability, target, None)],
        labels=("x", "y"),
        multi_label=True,
        postprocessing=PostProcessing(smallest_object=2),
    )
    assert [row["dice"] for row in cleaned.rows] == [1.0, 1.0]
    plain = evaluate_segmentation([("a", probability, target, None)], labels=("x", "y"), multi_label=True)
    assert [row["predicted_px"] for row in plain.rows] == [18, 19]
    assert set(plain.threshold_dice) == {"x", "y"}


def test_bad_input():
    one = np.zeros((4, 4))
    with pytest.raises(InputError, match="got none"):
        evaluate_segmentation([])
    with pytest.raises(InputError, match="one size"):
        evaluate_segmentation([("a", one, one[:3], None)])
    with pytest.raises(InputError, match="b: a pixel spacing is given"):
        evaluate_segmentation([("a", one, one, None), ("b", one, one, (1.0, 1.0))])
    with pytest.raises(InputError, match=r"\(3, H, W\)"):
        evaluate_segmentation([("a", one, one, None)], labels="abc")
    with pytest.raises(InputError, match="holds the class 3"):
        evaluate_segmentation([("a", np.zeros((3, 4, 4)), one + 3, None)], labels="abc")
