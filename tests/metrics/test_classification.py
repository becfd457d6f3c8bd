"""Measures of classification against scikit-learn, torchmetrics, definitions and a known distribution."""

from statistics import NormalDist

import numpy as np
import pytest
import sklearn.metrics as sk
import torch
from torchmetrics.functional import classification as tm

from scalefuse.errors import InputError
from scalefuse.metrics.classification import (
    CLASSIFICATION_METRIC_DEFINITIONS,
    CLASSIFICATION_METRIC_HIGHER_IS_BETTER,
    confusion_matrices,
    confusion_measures,
    delong,
    ranking_areas,
)


def scored(seed, number=80, ties=True):
    generator = np.random.default_rng(seed)
    targets = (generator.random(number) < 0.4).astype(int)
    scores = generator.normal(size=number) + targets
    return (np.round(scores, 1) if ties else scores), targets


# DeLong


@pytest.mark.parametrize("seed", range(4))
def test_delong_is_the_definition_pair_by_pair(seed):
    scores, targets = scored(seed)
    x, y = scores[targets == 1], scores[targets == 0]
    wins = (x[:, None] > y) + 0.5 * (x[:, None] == y)
    variance = wins.mean(1).var(ddof=1) / len(x) + wins.mean(0).var(ddof=1) / len(y)
    found = delong(scores, targets)
    assert found.auroc == pytest.approx(sk.roc_auc_score(targets, scores), abs=1e-12)
    assert found.variance == pytest.approx(variance, rel=1e-10)
    half = 1.959963984540054 * np.sqrt(variance)
    assert (found.low, found.high) == pytest.approx((wins.mean() - half, min(1, wins.mean() + half)))


def test_delong_covers_the_true_area():
    """Two normal distributions one standard deviation apart: the area is Φ(1 / √2)."""
    truth = NormalDist().cdf(1 / np.sqrt(2))
    generator = np.random.default_rng(0)
    targets = np.r_[np.zeros(60, int), np.ones(40, int)]
    inside, areas, variances = 0, [], []
    for _ in range(1000):
        found = delong(generator.normal(size=100) + targets, targets)
        inside += found.low <= truth <= found.high
        areas.append(found.auroc)
        variances.append(found.variance)
    # 95 % within three standard errors of 1000 draws.
    assert 0.929 < inside / 1000 < 0.971
    assert np.mean(variances) == pytest.approx(np.var(areas, ddof=1), rel=0.15)


def test_delong_at_its_ends():
    parted = delong(np.arange(6.0), np.array([0, 0, 0, 1, 1, 1]))
    assert parted == (1.0, 0.0, 1.0, 1.0)
    turned = delong(-np.arange(6.0), np.array([0, 0, 0, 1, 1, 1]))
    assert turned == (0.0, 0.0, 0.0, 0.0)
    single = delong(np.arange(4.0), np.array([0, 0, 0, 1]))
    assert single.auroc == 1.0
    assert np.isnan([single.variance, single.low, single.high]).all()
    with pytest.raises(InputError, match="3 positive and 0 negative"):
        delong(np.arange(3.0), np.ones(3))
    with pytest.raises(InputError, match="1 NaN"):
        delong(np.array([0.0, np.nan]), np.array([0, 1]))
    with pytest.raises(InputError, match="0 and 1"):
        delong(np.arange(3.0), np.arange(3))
    with pytest.raises(InputError, match="shapes"):
        delong(np.zeros((3, 2)), np.arange(3))
    with pytest.raises(InputError, match="95"):
        delong(np.arange(2.0), np.arange(2), confidence=95)


# Areas of many weightings


@pytest.mark.parametrize("ties", [True, False])
def test_areas_are_those_of_scikit_learn_for_every_weighting(ties):
    scores, targets = scored(7, ties=ties)
    weights = np.random.default_rng(1).multinomial(80, np.full(80, 1 / 80), size=10)
    found = ranking_areas(scores, targets, weights)
    for index, weight in enumerate(weights):
        assert found.auroc[index] == pytest.approx(sk.roc_auc_score(targets, scores, sample_weight=weight))
        # Cases that were not drawn are left out by hand: scikit-learn gives them a threshold of their own.
        drawn = np.repeat(np.arange(80), weight)
        expected = sk.average_precision_score(targets[drawn], scores[drawn])
        assert found.auprc[index] == pytest.approx(expected)
    plain = ranking_areas(scores, targets)
    as_tensors = torch.tensor(scores).sigmoid(), torch.tensor(targets)
    assert plain.auroc[0] == pytest.approx(float(tm.binary_auroc(*as_tensors)), abs=1e-6)
    assert plain.auprc[0] == pytest.approx(float(tm.binary_average_precision(*as_tensors)), abs=1e-6)


def test_areas_without_a_class_are_undefined():
    scores = np.array([0.1, 0.2])
    assert np.isnan(ranking_areas(scores, np.array([0, 0]))).all()
    only_positive = ranking_areas(scores, np.array([1, 1]))
    assert np.isnan(only_positive.auroc[0])
    assert only_positive.auprc[0] == 1.0


# Confusion matrices


@pytest.mark.parametrize("num_classes", [2, 4])
def test_measures_are_those_of_scikit_learn_and_torchmetrics(num_classes):
    generator = np.random.default_rng(num_classes)
    targets = generator.integers(0, num_classes, 200)
    predicted = np.where(generator.random(200) < 0.6, targets, generator.integers(0, num_classes, 200))
    matrix = confusion_matrices(targets, predicted, num_classes)[0]
    np.testing.assert_array_equal(matrix, sk.confusion_matrix(targets, predicted))
    found = confusion_measures(matrix)
    precision, recall, f1, _ = sk.precision_recall_fscore_support(targets, predicted)
    for name, expected in (("precision", precision), ("recall", recall), ("f1", f1)):
        np.testing.assert_allclose(found[name], expected)
        assert found[f"macro_{name}"] == pytest.approx(expected.mean())
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(targets, predicted))
    assert found["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(targets, predicted))
    assert found["mcc"] == pytest.approx(sk.matthews_corrcoef(targets, predicted))
    assert found["kappa"] == pytest.approx(sk.cohen_kappa_score(targets, predicted))
    tensors = torch.tensor(predicted), torch.tensor(targets), num_classes
    outside = {
        "specificity": tm.multiclass_specificity(*tensors, average=None).numpy(),
        "macro_specificity": tm.multiclass_specificity(*tensors),
        "macro_f1": tm.multiclass_f1_score(*tensors),
        "mcc": tm.multiclass_matthews_corrcoef(*tensors),
        "kappa": tm.multiclass_cohen_kappa(*tensors),
    }
    for name, value in outside.items():
        np.testing.assert_allclose(found[name], value, atol=1e-6)


def test_weights_are_repetitions():
    targets, predicted, weight = np.array([0, 1, 2, 2]), np.array([0, 2, 2, 1]), np.array([3, 0, 2, 1])
    many = confusion_matrices(targets, predicted, 3, np.stack([weight, np.ones(4)]))
    repeated = sk.confusion_matrix(np.repeat(targets, weight), np.repeat(predicted, weight), labels=range(3))
    np.testing.assert_array_equal(many[0], repeated)
    stacked = confusion_measures(many)
    for index in range(2):
        for name, value in confusion_measures(many[index]).items():
            np.testing.assert_array_equal(stacked[name][index], value)


def test_a_class_without_cases_is_undefined_and_left_out_of_means():
    matrix = np.array([[3, 1, 0], [1, 2, 1], [0, 0, 0]])
    found = confusion_measures(matrix)
    assert np.isnan(found["recall"][2])
    assert found["precision"][2] == 0.0
    assert found["macro_recall"] == pytest.approx((3 / 4 + 2 / 4) / 2)
    assert found["macro_f1"] == pytest.approx((6 / 8 + 4 / 7) / 2)
    # What scikit-learn says of the classes that exist.
    targets, predicted = (np.repeat(axis.ravel(), matrix.ravel()) for axis in np.indices((3, 3)))
    values = sk.precision_recall_fscore_support(targets, predicted, labels=[0, 1], average="macro")
    assert (found["macro_precision"], found["macro_recall"], found["macro_f1"]) == pytest.approx(values[:3])


def test_one_class_everywhere():
    never = confusion_measures(np.array([[6, 0], [4, 0]]))
    assert np.isnan(never["precision"][1])
    assert never["macro_precision"] == pytest.approx(0.3)
    assert never["f1"][1] == 0.0
    assert np.isnan(never["mcc"])
    assert never["kappa"] == 0.0
    only = confusion_measures(np.array([[6, 0], [0, 0]]))
    assert only["accuracy"] == only["balanced_accuracy"] == 1.0
    assert np.isnan([only["mcc"], only["kappa"], only["macro_specificity"]]).all()


def test_every_measure_has_a_direction():
    assert set(CLASSIFICATION_METRIC_HIGHER_IS_BETTER) == set(CLASSIFICATION_METRIC_DEFINITIONS)
    named = set(confusion_measures(np.eye(2))) | {"auroc", "auprc", "brier", "ece", "exact_match"}
    assert named == set(CLASSIFICATION_METRIC_DEFINITIONS)
