"""Measures of classifications against scikit-learn and torchmetrics, intervals, and what is undefined."""

import json
import math

import numpy as np
import pytest
import sklearn.metrics as sk
import torch
from scipy.special import softmax
from torchmetrics.functional import classification as tm

from scalefuse.errors import InputError
from scalefuse.evaluation.bootstrap import bootstrap_interval
from scalefuse.evaluation.classification import evaluate_classification
from scalefuse.evaluation.classification_statistics import Statistics
from scalefuse.inference.operating_point import OperatingPoint
from scalefuse.metrics.classification import CLASSIFICATION_METRIC_DEFINITIONS, delong
from scalefuse.report.tables import write_json
from scalefuse.training.classification_measures import classification_measures


def drawn(num_classes, number=150, seed=0):
    generator = np.random.default_rng(seed)
    targets = generator.integers(0, num_classes, number)
    logits = generator.normal(size=(number, num_classes)) + 1.5 * np.eye(num_classes)[targets]
    return softmax(logits, axis=1), targets


def values(entries):
    return {name: entry["value"] for name, entry in entries.items() if isinstance(entry, dict)}


def test_two_classes_are_measured_as_scikit_learn_does():
    probabilities, targets = drawn(2)
    summary = evaluate_classification(probabilities, targets, ["benign", "malignant"]).summary(
        num_resamples=20
    )
    positive, called = probabilities[:, 1], probabilities.argmax(1)
    assert values(summary["overall"]) == pytest.approx(
        {
            "accuracy": sk.accuracy_score(targets, called),
            "balanced_accuracy": sk.balanced_accuracy_score(targets, called),
            "macro_precision": sk.precision_score(targets, called, average="macro"),
            "macro_recall": sk.recall_score(targets, called, average="macro"),
            "macro_specificity": sk.recall_score(targets, called, average="macro"),
            "macro_f1": sk.f1_score(targets, called, average="macro"),
            "mcc": sk.matthews_corrcoef(targets, called),
            "kappa": sk.cohen_kappa_score(targets, called),
            "brier": sk.brier_score_loss(targets, positive),
            "ece": float(tm.binary_calibration_error(torch.tensor(positive), torch.tensor(targets), 15)),
            "auroc": sk.roc_auc_score(targets, positive),
            "auprc": sk.average_precision_score(targets, positive),
        },
        abs=1e-6,
    )
    of_class = summary["per_class"]["malignant"]
    assert of_class["cases"] == targets.sum()
    assert of_class["recall"]["value"] == pytest.approx(sk.recall_score(targets, called))
    assert of_class["specificity"]["value"] == pytest.approx(sk.recall_score(1 - targets, 1 - called))
    found = delong(positive, targets)
    assert summary["overall"]["auroc"] == {
        "value": found.auroc, "low": found.low, "high": found.high, "interval": "DeLong",
    }  # fmt: skip
    assert summary["confusion"] == sk.confusion_matrix(targets, called).tolist()
    assert summary["calibration"]["malignant"]["expected_calibration_error"] == pytest.approx(
        summary["overall"]["ece"]["value"]
    )


@pytest.mark.parametrize("rare", [1, 0])
def test_one_case_of_a_class_has_no_variance_and_an_interval_all_the_same(rare):
    """DeLong's needs two of each; resampled images give one."""
    targets = np.full(12, 1 - rare)
    targets[3] = rare
    positive = np.random.default_rng(0).uniform(0.1, 0.9, 12)
    probabilities = np.stack([1 - positive, positive], axis=1)
    summary = evaluate_classification(probabilities, targets, ["no", "yes"]).summary(num_resamples=200)
    for entry in (summary["overall"]["auroc"], summary["per_class"]["no"]["auroc"]):
        assert entry["value"] == pytest.approx(sk.roc_auc_score(targets, positive))
        assert 0 <= entry["low"] < entry["value"] < entry["high"] <= 1
        assert "interval" not in entry
    assert any("DeLong's interval" in note and "needs two images" in note for note in summary["notes"])


def test_several_classes_are_measured_as_scikit_learn_does():
    probabilities, targets = drawn(4)
    summary = evaluate_classification(probabilities, targets, list("abcd")).summary(num_resamples=20)
    called, one_hot = probabilities.argmax(1), np.eye(4)[targets]
    tensors = torch.tensor(probabilities), torch.tensor(targets)
    expected = {
        "accuracy": sk.accuracy_score(targets, called),
        "mcc": sk.matthews_corrcoef(targets, called),
        "kappa": sk.cohen_kappa_score(targets, called),
        "macro_f1": sk.f1_score(targets, called, average="macro"),
        "auroc": sk.roc_auc_score(targets, probabilities, multi_class="ovr"),
        "auprc": sk.average_precision_score(one_hot, probabilities, average="macro"),
        "brier": ((probabilities - one_hot) ** 2).sum(1).mean(),
        "ece": float(tm.multiclass_calibration_error(*tensors, 4, n_bins=15)),
    }
    found = values(summary["overall"])
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    specificity = tm.multiclass_specificity(*tensors, 4, average=None).tolist()
    for index, label in enumerate("abcd"):
        of_class = summary["per_class"][label]
        assert of_class["specificity"]["value"] == pytest.approx(specificity[index], abs=1e-6)
        area = delong(probabilities[:, index], targets == index)
        assert (of_class["auroc"]["low"], of_class["auroc"]["high"]) == (area.low, area.high)
        expected_area = sk.average_precision_score(one_hot[:, index], probabilities[:, index])
        assert of_class["auprc"]["value"] == pytest.approx(expected_area)
    assert summary["positive"] is None
    assert list(summary["calibration"]) == ["most probable class"]


def test_a_label_never_called_has_an_mcc_of_0_in_the_mean_as_in_scikit_learn():
    generator = np.random.default_rng(1)
    targets = (generator.random((60, 3)) < (0.3, 0.5, 0.6)).astype(int)
    probabilities = np.clip(targets * 0.3 + generator.random((60, 3)) * 0.7, 0, 1) * (0.4, 1, 1)
    measured = evaluate_classification(probabilities, targets, list("xyz"), multi_label=True)
    called = (probabilities >= 0.5).astype(int)
    assert not called[:, 0].any()
    expected = np.mean([sk.matthews_corrcoef(targets[:, k], called[:, k]) for k in range(3)])
    assert measured.summary(num_resamples=20)["overall"]["mcc"]["value"] == pytest.approx(expected)


def test_several_labels_are_measured_as_scikit_learn_and_torchmetrics_do():
    generator = np.random.default_rng(0)
    targets = (generator.random((120, 3)) < (0.2, 0.5, 0.7)).astype(int)
    probabilities = np.clip(targets * 0.3 + generator.random((120, 3)) * 0.7, 0, 1)
    summary = evaluate_classification(probabilities, targets, list("xyz"), multi_label=True).summary(
        num_resamples=20
    )
    called = (probabilities >= 0.5).astype(int)
    tensors = torch.tensor(probabilities), torch.tensor(targets)
    expected = {
        "accuracy": (called == targets).mean(),
        "exact_match": sk.accuracy_score(targets, called),
        "macro_f1": sk.f1_score(targets, called, average="macro"),
        "macro_precision": sk.precision_score(targets, called, average="macro"),
        "macro_recall": sk.recall_score(targets, called, average="macro"),
        "macro_specificity": float(tm.multilabel_specificity(*tensors, 3)),
        "auroc": sk.roc_auc_score(targets, probabilities),
        "auprc": sk.average_precision_score(targets, probabilities),
        "mcc": np.mean([sk.matthews_corrcoef(targets[:, k], called[:, k]) for k in range(3)]),
        "kappa": np.mean([sk.cohen_kappa_score(targets[:, k], called[:, k]) for k in range(3)]),
        "brier": ((probabilities - targets) ** 2).mean(),
        "balanced_accuracy": np.mean(
            [sk.balanced_accuracy_score(targets[:, k], called[:, k]) for k in range(3)]
        ),
        "ece": np.mean(
            [
                float(tm.binary_calibration_error(tensors[0][:, k], tensors[1][:, k], n_bins=15))
                for k in range(3)
            ]
        ),
    }
    assert values(summary["overall"]) == pytest.approx(expected, abs=1e-6)
    assert np.array(summary["confusion"]).shape == (3, 2, 2)
    assert summary["per_class"]["x"]["cases"] == targets[:, 0].sum()
    assert summary["per_class"]["x"]["mcc"]["value"] == pytest.approx(
        sk.matthews_corrcoef(targets[:, 0], called[:, 0])
    )


def test_labels_that_no_case_or_all_cases_carry_are_left_out_of_means_that_need_both():
    generator = np.random.default_rng(2)
    targets = (generator.random((60, 4)) < (0.3, 0.5, 0.0, 1.0)).astype(int)
    probabilities = np.clip(targets * 0.3 + generator.random((60, 4)) * 0.7, 0, 1)
    summary = evaluate_classification(probabilities, targets, list("wxyz"), multi_label=True).summary(
        num_resamples=20
    )
    called = (probabilities >= 0.5).astype(int)
    assert called[:, 2].any()  # or its kappa would be undefined and not 0
    assert not called[:, 3].all()
    for name, measure in (
        ("balanced_accuracy", sk.balanced_accuracy_score),
        ("kappa", sk.cohen_kappa_score),
        ("mcc", sk.matthews_corrcoef),
    ):
        expected = np.mean([measure(targets[:, k], called[:, k]) for k in range(2)])
        assert summary["overall"][name]["value"] == pytest.approx(expected)
    logits = torch.logit(torch.tensor(probabilities).clamp(0.001, 0.999))
    while_training = classification_measures(logits, torch.tensor(targets), multi_label=True)
    for name in ("balanced_accuracy", "kappa"):
        assert math.isnan(summary["per_class"]["y"][name]["value"])
        assert while_training[name] == pytest.approx(summary["overall"][name]["value"], abs=1e-6)


def test_every_measure_is_defined_in_words():
    for probabilities, targets, multi_label in ((*drawn(3), False), (np.eye(3), np.eye(3, dtype=int), True)):
        summary = evaluate_classification(
            probabilities, targets, list("abc"), multi_label=multi_label
        ).summary(num_resamples=2)
        named = set(summary["overall"]) | set(summary["per_class"]["a"]) - {"cases"}
        assert named == set(summary["definitions"]) <= set(CLASSIFICATION_METRIC_DEFINITIONS)


def test_a_resample_is_the_cases_drawn():
    probabilities, targets = drawn(3, number=60)
    predicted = probabilities.argmax(1)
    chosen = np.random.default_rng(0).integers(0, 60, 60)
    weights = np.bincount(chosen, minlength=60)[None]
    by_weight = Statistics(probabilities, targets, predicted, None)(weights)
    by_hand = Statistics(probabilities[chosen], targets[chosen], predicted[chosen], None)(np.ones((1, 60)))
    for ours, theirs in ((by_weight.overall, by_hand.overall), (by_weight.per_class, by_hand.per_class)):
        for name, value in ours.items():
            np.testing.assert_allclose(value, theirs[name], err_msg=name)


def test_intervals_of_means_are_those_of_the_plain_bootstrap():
    probabilities, targets = drawn(2, number=200)
    evaluation = evaluate_classification(probabilities, targets, ["no", "yes"])
    entry = evaluation.summary(num_resamples=4000)["overall"]["accuracy"]
    expected = bootstrap_interval(evaluation.correct, num_resamples=4000, seed=1)
    assert (entry["low"], entry["high"]) == pytest.approx(expected, abs=0.011)
    once, again = (evaluation.summary(num_resamples=50, seed=3) for _ in range(2))
    assert once == again


def test_an_absent_class_is_said(tmp_path):
    probabilities, targets = drawn(3)
    kept = targets != 2
    summary = evaluate_classification(probabilities[kept], targets[kept], ["a", "b", "cyst"]).summary(
        num_resamples=50
    )
    assert any("No case is of cyst" in note for note in summary["notes"])
    of_class = summary["per_class"]["cyst"]
    assert of_class["cases"] == 0
    for name in ("recall", "auroc", "auprc"):
        assert math.isnan(of_class[name]["value"])
        assert not math.isnan(summary["overall"][f"macro_{name}" if name == "recall" else name]["value"])
    two = [summary["per_class"][label]["auroc"]["value"] for label in "ab"]
    assert summary["overall"]["auroc"]["value"] == pytest.approx(np.mean(two))
    write_json(tmp_path / "summary.json", summary)
    written = json.loads((tmp_path / "summary.json").read_text(), parse_constant=pytest.fail)
    assert written["per_class"]["cyst"]["recall"]["value"] is None


def test_one_class_only_and_never_predicted():
    probabilities = np.tile([0.8, 0.2], (5, 1))
    only = evaluate_classification(probabilities, np.zeros(5, int), ["no", "yes"]).summary(num_resamples=20)
    text = " ".join(only["notes"])
    for said in ("No case is of yes", "Every case is of no", "mcc is undefined"):
        assert said in text
    assert only["overall"]["accuracy"]["value"] == 1.0
    assert math.isnan(only["overall"]["auroc"]["value"])
    assert math.isnan(only["overall"]["mcc"]["value"])
    never = evaluate_classification(probabilities, np.array([0, 0, 0, 1, 1]), ["no", "yes"]).summary(
        num_resamples=20
    )
    assert any("No case was predicted as yes" in note for note in never["notes"])
    assert math.isnan(never["per_class"]["yes"]["precision"]["value"])
    assert never["overall"]["macro_precision"]["value"] == pytest.approx(0.3)


def test_perfect_parting_is_no_certainty():
    summary = evaluate_classification(np.eye(2)[[0, 0, 1, 1]], np.array([0, 0, 1, 1]), ["a", "b"]).summary(
        num_resamples=20
    )
    assert summary["overall"]["auroc"]["value"] == 1.0
    assert any("no width" in note for note in summary["notes"])


def test_the_operating_point_decides():
    probabilities = np.array([[0.65, 0.35], [0.8, 0.2], [0.3, 0.7]])
    point = OperatingPoint(sensitivity=0.9, thresholds={"sick": 0.3})
    found = evaluate_classification(
        probabilities, np.array([1, 0, 1]), ["well", "sick"], operating_point=point
    )
    assert found.predicted.tolist() == [1, 0, 1]
    assert found.correct.all()
    other = evaluate_classification(
        probabilities[:, ::-1], np.array([0, 1, 0]), ["sick", "well"], operating_point=point
    )
    assert other.positive == 0
    named = evaluate_classification(probabilities, np.array([1, 0, 1]), ["well", "sick"], positive="well")
    assert named.summary(num_resamples=2)["positive"] == "well"


@pytest.mark.parametrize(
    ("probabilities", "targets", "classes", "options", "said"),
    [
        (np.array([[0.5, 0.5], [np.nan, 1]]), [0, 1], "ab", {}, "Case 1: has NaN"),
        (np.array([[1.5, -0.5]]), [0], "ab", {}, "outside"),
        (np.array([[0.5, 0.4]]), [0], "ab", {}, "sum to 1"),
        (np.ones((1, 1)), [0], "a", {}, "at least two classes"),
        (np.zeros((0, 2)), [], "ab", {}, "got none"),
        (np.eye(2), [0, 2], "ab", {}, "from 0 to 1, but got 0 to 2"),
        (np.eye(2), [0], "ab", {}, r"\(2,\)"),
        (np.eye(2), [0, 1], "abc", {}, "a, b, c"),
        (np.eye(2), [0, 1], "ab", {"positive": "c"}, "'c' as the positive class"),
        (np.eye(3), [0, 1, 2], "abc", {"positive": "c"}, "one of two"),
    ],
)
def test_bad_input(probabilities, targets, classes, options, said):
    with pytest.raises(InputError, match=said):
        evaluate_classification(probabilities, np.array(targets, int), list(classes), **options)
