"""Temperature, calibration scores and operating point chosen on validation data."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax, softmax

from scalefuse.errors import InputError
from scalefuse.evaluation.fit_classification import (
    TEMPERATURES,
    fit_postprocessing,
    fit_temperature,
    negative_log_likelihood,
)
from scalefuse.inference.classification_postprocessing import ClassificationPostProcessing
from scalefuse.inference.conformal import prediction_sets


def planted(temperature, *, number=4000, num_classes=4, seed=0, multi_label=False):
    """Logits of a model that is too sure by a factor, and targets drawn from the true probabilities."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(number, num_classes)) * 2
    if multi_label:
        return logits * temperature, (generator.random(logits.shape) < expit(logits)).astype(int)
    drawn = [generator.choice(num_classes, p=row) for row in softmax(logits, axis=1)]
    return logits * temperature, np.array(drawn)


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_a_planted_temperature_is_found(temperature, multi_label):
    logits, targets = planted(temperature, multi_label=multi_label)
    assert fit_temperature(logits, targets) == pytest.approx(temperature, rel=0.05)


def test_the_optimum_is_that_of_scipy_over_the_inverse_temperature():
    logits, targets = planted(2.5, number=300, seed=3)

    def loss(beta):
        return -log_softmax(logits * beta, axis=1)[np.arange(300), targets].mean()

    expected = minimize_scalar(loss, bracket=(0.1, 1.0)).x
    assert fit_temperature(logits, targets) == pytest.approx(1 / expected, rel=1e-4)


@pytest.mark.parametrize("multi_label", [False, True])
def test_the_likelihood_is_that_of_torch(multi_label):
    logits, targets = planted(2.0, number=50, multi_label=multi_label)
    tensors = torch.tensor(logits) / 1.7, torch.tensor(targets)
    if multi_label:
        expected = torch.nn.functional.binary_cross_entropy_with_logits(tensors[0], tensors[1].double())
    else:
        expected = torch.nn.functional.cross_entropy(*tensors)
    found = negative_log_likelihood(logits, targets, temperature=1.7)
    assert found == pytest.approx(float(expected), rel=1e-9)
    assert np.isfinite(negative_log_likelihood(logits * 1e6, targets))


def test_without_an_error_the_temperature_stays_one():
    logits, targets = planted(1.0, number=40)
    logits[np.arange(40), targets] += 50
    assert fit_temperature(logits, targets) == 1.0


def test_logits_that_say_the_opposite_are_flattened_at_most_by_twenty():
    logits, targets = planted(1.0, number=400)
    assert fit_temperature(-logits, targets) == pytest.approx(TEMPERATURES[1], rel=1e-3)


def test_everything_together_holds_its_promises_on_other_cases():
    logits, targets = planted(3.0, number=6000, num_classes=3, seed=5)
    half = slice(0, 3000), slice(3000, None)
    labels = ("a", "b", "c")
    fit = fit_postprocessing(logits[half[0]], targets[half[0]], labels, sensitivity=0.85, positive="b")
    probabilities = fit.activate(logits[half[1]])
    sets = prediction_sets(probabilities, fit, 0.8)
    other = targets[half[1]]
    # Three standard errors of 3000 cases on either side.
    assert sets[np.arange(3000), other].mean() == pytest.approx(0.8, abs=3 * np.sqrt(2 * 0.8 * 0.2 / 3000))
    positives = probabilities[other == 1, 1]
    called = (positives >= fit.operating_point.thresholds["b"]).mean()
    assert called == pytest.approx(0.85, abs=3 * np.sqrt(2 * 0.85 * 0.15 / len(positives)))
    assert fit.operating_point.sensitivity == 0.85
    assert fit.num_cases == 3000
    assert len(fit.adaptive_scores) == 3000


def test_several_labels():
    logits, targets = planted(0.5, number=500, multi_label=True)
    fit = fit_postprocessing(logits, targets, tuple("abcd"), multi_label=True, sensitivity=0.9)
    assert fit.multi_label
    assert set(fit.operating_point.thresholds) == set("abcd")
    assert [len(row) for row in fit.true_probabilities] == targets.sum(0).tolist()
    assert fit.adaptive_scores == ()


def test_large_logits_overflow_nothing():
    logits = np.array([[1000.0, 0.0], [0.0, 900.0]])
    assert ClassificationPostProcessing().activate(logits).tolist() == [[1, 0], [0, 1]]


def test_bad_input():
    good = np.zeros((4, 2))
    with pytest.raises(InputError, match="at least one case"):
        fit_temperature(np.zeros((0, 2)), np.zeros(0, int))
    with pytest.raises(InputError, match="finite"):
        fit_temperature(good + np.nan, np.zeros(4, int))
    with pytest.raises(InputError, match="from 0 to 1, but got 0 to 2"):
        fit_temperature(good, np.array([0, 1, 2, 0]))
    with pytest.raises(InputError, match=r"\(3,\)"):
        fit_temperature(good, np.zeros(3, int))
    with pytest.raises(InputError, match="3 classes"):
        fit_postprocessing(good, np.zeros(4, int), tuple("abc"))
    with pytest.raises(InputError, match="0 or 1 for each label"):
        fit_postprocessing(good, np.zeros(4, int), tuple("ab"), multi_label=True)
    with pytest.raises(InputError, match="calibration cases"):
        fit_postprocessing(good, np.array([0, 1, 1, 0]), tuple("ab"), sensitivity=0.99)
