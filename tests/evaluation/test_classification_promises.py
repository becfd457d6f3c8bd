"""Coverage of prediction sets and operating points, counted by hand and held against their promises."""

import math

import numpy as np
import pytest
from sklearn.metrics import precision_score, recall_score

from scalefuse.errors import InputError
from scalefuse.evaluation.classification_promises import (
    measure_operating_point,
    measure_sets,
    share_interval,
)
from scalefuse.evaluation.fit_classification import fit_postprocessing
from scalefuse.inference.conformal import prediction_sets
from scalefuse.inference.operating_point import OperatingPoint


def cases(number=80, num_classes=3, seed=0):
    generator = np.random.default_rng(seed)
    targets = generator.integers(0, num_classes, number)
    logits = generator.normal(size=(number, num_classes)) + np.eye(num_classes)[targets]
    return logits, targets


@pytest.mark.parametrize(("hits", "number"), [(0, 7), (7, 7), (60, 80)])
def test_wilson_by_its_formula(hits, number):
    z, share = 1.959963984540054, hits / number
    centre = (share + z**2 / (2 * number)) / (1 + z**2 / number)
    half = z / (1 + z**2 / number) * math.sqrt(share * (1 - share) / number + z**2 / (4 * number**2))
    found = share_interval(hits, number)
    assert (found["low"], found["high"]) == pytest.approx((centre - half, centre + half), abs=1e-12)
    assert math.isnan(share_interval(0, 0)["value"])


def test_sets_are_counted():
    generator = np.random.default_rng(0)
    sets, targets = generator.random((50, 3)) < 0.6, generator.integers(0, 3, 50)
    found = measure_sets(sets, targets[:, None] == np.arange(3), list("abc"), 0.8)
    held = sets[np.arange(50), targets]
    assert found["coverage"]["value"] == pytest.approx(held.mean())
    assert found["coverage_per_class"]["b"]["value"] == pytest.approx(held[targets == 1].mean())
    assert found["coverage_per_class"]["b"]["n"] == (targets == 1).sum()
    assert found["mean_size"] == pytest.approx(sets.sum(1).mean())
    assert sum(found["sizes"]) == 50
    assert found["sizes"][0] == (~sets.any(1)).sum()
    with pytest.raises(InputError, match="sets and targets"):
        measure_sets(sets, sets[:10], list("abc"), 0.8)


def test_an_operating_point_is_counted_as_by_scikit_learn():
    logits, targets = cases(num_classes=2)
    probabilities = 1 / (1 + np.exp(-logits))
    point = OperatingPoint(sensitivity=0.9, thresholds={"sick": 0.4})
    found = measure_operating_point(probabilities, targets[:, None] == np.arange(2), ["well", "sick"], point)
    called = (probabilities[:, 1] >= 0.4).astype(int)
    assert found["required"] == 0.9
    of_class = found["classes"]["sick"]
    assert of_class["sensitivity"]["value"] == pytest.approx(recall_score(targets, called))
    assert of_class["specificity"]["value"] == pytest.approx(recall_score(1 - targets, 1 - called))
    assert of_class["positive_predictive_value"]["value"] == pytest.approx(precision_score(targets, called))
    assert of_class["negative_predictive_value"]["value"] == pytest.approx(
        precision_score(1 - targets, 1 - called)
    )
    with pytest.raises(InputError, match="'sick'"):
        measure_operating_point(probabilities, np.eye(2, dtype=bool)[targets], ["a", "b"], point)


def test_promises_hold_on_average_over_calibrations():
    """Small calibration sets, many times: the finite-sample correction holds, where the plain one fails."""
    covered, found = [], []
    for seed in range(300):
        logits, targets = cases(80, 2, seed)
        fit = fit_postprocessing(logits[:40], targets[:40], ["a", "b"], sensitivity=0.8)
        probabilities, truth = fit.activate(logits[40:]), targets[40:, None] == np.arange(2)
        sets = prediction_sets(probabilities, fit, 0.8)
        covered.append(measure_sets(sets, truth, ["a", "b"], 0.8)["coverage"]["value"])
        assert fit.operating_point is not None
        measured = measure_operating_point(probabilities, truth, ["a", "b"], fit.operating_point)
        found.append(measured["classes"]["b"]["sensitivity"]["value"])
    for values, slack in ((covered, 1 / 41), (found, 1 / 15)):
        error = 3 * np.std(values) / math.sqrt(300)
        # At least as promised, and at most one calibration case more.
        assert 0.8 - error < np.mean(values) < 0.8 + slack + error
