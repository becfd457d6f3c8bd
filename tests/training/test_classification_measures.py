"""Measures during validation against scikit-learn."""

import math
from typing import get_args

import pytest
import torch
from sklearn import metrics
from torchmetrics.functional.classification import (
    binary_calibration_error,
    multiclass_calibration_error,
)

from scalefuse.config.classification import Monitor
from scalefuse.evaluation.classification import evaluate_classification
from scalefuse.training.classification_measures import MEASURES, classification_measures


def test_every_measure_may_choose_the_weights():
    assert get_args(Monitor) == MEASURES


def draw(num_classes, count=60):
    generator = torch.manual_seed(num_classes)
    targets = torch.randint(0, num_classes, (count,), generator=generator)
    logits = torch.randn(count, num_classes, generator=generator)
    logits[torch.arange(count), targets] += 0.8
    return logits, targets


def of_classes(targets, predicted, num_classes):
    """Precision, sensitivity and specificity by scikit-learn: of the second of two, else means."""
    classes = [1] if num_classes == 2 else range(num_classes)
    pairs = [(targets == k, predicted == k) for k in classes]
    measures = {
        "precision": metrics.precision_score,
        "sensitivity": metrics.recall_score,
        "specificity": lambda truth, found: metrics.recall_score(~truth, ~found),
    }
    return {name: sum(measure(*pair) for pair in pairs) / len(pairs) for name, measure in measures.items()}


def calibration_error(probabilities, targets):
    if probabilities.shape[1] == 2:
        return binary_calibration_error(probabilities[:, 1], targets, n_bins=15).item()
    return multiclass_calibration_error(probabilities, targets, probabilities.shape[1], n_bins=15).item()


@pytest.mark.parametrize("num_classes", [2, 3, 5])
def test_one_label_as_scikit_learn(num_classes):
    logits, targets = draw(num_classes)
    found = classification_measures(logits, targets, multi_label=False)
    assert tuple(found) == MEASURES
    predicted, probabilities = logits.argmax(1), logits.double().softmax(1)
    if num_classes == 2:
        areas = (
            metrics.roc_auc_score(targets, probabilities[:, 1]),
            metrics.average_precision_score(targets, probabilities[:, 1]),
        )
    else:
        one_hot = torch.nn.functional.one_hot(targets, num_classes)
        areas = (
            metrics.roc_auc_score(targets, probabilities, multi_class="ovr"),
            metrics.average_precision_score(one_hot, probabilities),
        )
    expected = {
        "loss": metrics.log_loss(targets, probabilities),
        "accuracy": metrics.accuracy_score(targets, predicted),
        "balanced_accuracy": metrics.balanced_accuracy_score(targets, predicted),
        "f1": metrics.f1_score(targets, predicted, average="macro"),
        "auroc": areas[0],
        "auprc": areas[1],
        "mcc": metrics.matthews_corrcoef(targets, predicted),
        "kappa": metrics.cohen_kappa_score(targets, predicted),
        "ece": calibration_error(probabilities, targets),
        **of_classes(targets, predicted, num_classes),
    }
    if num_classes == 2:
        expected["brier"] = metrics.brier_score_loss(targets, probabilities[:, 1])
    else:
        expected["brier"] = (probabilities - one_hot).square().sum(1).mean().item()
    assert found == pytest.approx(expected, abs=1e-5)


def test_several_labels_as_scikit_learn():
    generator = torch.manual_seed(4)
    targets = (torch.rand(60, 3, generator=generator) < torch.tensor([0.5, 0.3, 0.1])).long()
    logits = torch.randn(60, 3, generator=generator) + targets
    found = classification_measures(logits, targets, multi_label=True)
    predicted, probabilities = (logits > 0).long(), logits.sigmoid()
    each = [(targets[:, k], predicted[:, k]) for k in range(3)]
    expected = {
        "loss": sum(metrics.log_loss(targets[:, k], probabilities[:, k]) for k in range(3)) / 3,
        "accuracy": (predicted == targets).float().mean().item(),
        "balanced_accuracy": sum(metrics.balanced_accuracy_score(*pair) for pair in each) / 3,
        "f1": metrics.f1_score(targets, predicted, average="macro"),
        "auroc": metrics.roc_auc_score(targets, probabilities, average="macro"),
        "auprc": metrics.average_precision_score(targets, probabilities, average="macro"),
        "mcc": sum(metrics.matthews_corrcoef(*pair) for pair in each) / 3,
        "kappa": sum(metrics.cohen_kappa_score(*pair) for pair in each) / 3,
        "brier": sum(metrics.brier_score_loss(targets[:, k], probabilities[:, k]) for k in range(3)) / 3,
        "ece": sum(
            binary_calibration_error(probabilities[:, k], targets[:, k], n_bins=15).item() for k in range(3)
        )
        / 3,
        "precision": metrics.precision_score(targets, predicted, average="macro"),
        "sensitivity": metrics.recall_score(targets, predicted, average="macro"),
        "specificity": sum(metrics.recall_score(*pair, pos_label=0) for pair in each) / 3,
    }
    assert found == pytest.approx(expected, abs=1e-5)


def test_a_class_without_images_is_left_out():
    logits, targets = draw(3)
    shown = targets < 2
    found = classification_measures(logits[shown], targets[shown], multi_label=False)
    recalls = [(logits[targets == k].argmax(1) == k).float().mean().item() for k in (0, 1)]
    assert found["balanced_accuracy"] == pytest.approx(sum(recalls) / 2)
    # Pictures that are called what none is are wrong, and no class of their own; as in an evaluation.
    called = logits[shown].argmax(1)
    assert (called == 2).any()
    each = metrics.f1_score(targets[shown], called, labels=[0, 1], average=None)
    assert found["f1"] == pytest.approx(each.mean(), abs=1e-6)
    evaluation = evaluate_classification(
        logits[shown].double().softmax(1).numpy(), targets[shown].numpy(), list("abc")
    )
    assert found["f1"] == pytest.approx(evaluation.summary(num_resamples=2)["overall"]["macro_f1"]["value"])
    pairs = [metrics.roc_auc_score(targets[shown] == k, logits[shown].softmax(1)[:, k]) for k in (0, 1)]
    assert found["auroc"] == pytest.approx(sum(pairs) / 2, abs=1e-5)


def test_one_class_alone_cannot_be_ranked():
    for count in (2, 3):
        found = classification_measures(torch.randn(4, count), torch.zeros(4).long(), multi_label=False)
        assert math.isnan(found["auroc"])
        assert math.isnan(found["auprc"])


def test_all_called_the_same_is_no_better_than_chance():
    """Where scikit-learn says 0, an epoch must not look like the best."""
    targets = torch.tensor([0] * 36 + [1] * 4)
    negative = torch.tensor([[2.0, 0.0]]).repeat(40, 1)
    found = classification_measures(negative, targets, multi_label=False)
    assert found["mcc"] == metrics.matthews_corrcoef(targets, negative.argmax(1)) == 0
    assert found["precision"] == found["sensitivity"] == 0
    several = torch.stack([targets, targets.roll(3)], dim=1)
    found = classification_measures(-torch.ones(40, 2), several, multi_label=True)
    assert found["mcc"] == found["precision"] == 0


def test_the_positive_class_may_be_the_first():
    logits, targets = draw(2)
    found = classification_measures(logits, targets, multi_label=False, positive=0)
    turned = classification_measures(logits.flip(1), 1 - targets, multi_label=False)
    assert found == pytest.approx(turned, abs=1e-6)
    assert found["sensitivity"] != classification_measures(logits, targets, multi_label=False)["sensitivity"]
