import numpy as np
import pytest
import torch
from sklearn.calibration import calibration_curve
from torchmetrics.functional.classification import binary_calibration_error

from scalefuse.errors import InputError
from scalefuse.metrics.segmentation import Calibration


def cases():
    generator = np.random.default_rng(0)
    probability = generator.beta(0.5, 0.7, (3, 20, 30))
    return probability, generator.random(probability.shape) < probability**1.5


def test_equals_scikit_learn_and_torchmetrics():
    probability, target = cases()
    calibration = Calibration(num_bins=10)
    for one, mask in zip(probability, target, strict=True):
        calibration.add(one, mask)
    curve = calibration.curve()
    observed, predicted = calibration_curve(target.ravel(), probability.ravel(), n_bins=10)
    np.testing.assert_allclose(curve.observed, observed)
    np.testing.assert_allclose(curve.predicted, predicted)
    theirs = binary_calibration_error(
        torch.from_numpy(probability).flatten(), torch.from_numpy(target).flatten(), n_bins=10
    )
    assert curve.expected_calibration_error == pytest.approx(theirs.item(), abs=1e-6)
    assert curve.counts.sum() == probability.size


def test_certain_and_right_is_calibrated():
    calibration = Calibration()
    calibration.add(np.array([[0.0, 1.0]]), np.array([[False, True]]))
    assert calibration.curve().expected_calibration_error == 0
    calibration.add(np.array([[1.0, 1.0]]), np.array([[False, False]]))
    assert calibration.curve().expected_calibration_error == pytest.approx(0.5)
    assert Calibration().curve().counts.size == 0


def test_bad_input():
    with pytest.raises(InputError, match=r"\[0, 1\]"):
        Calibration().add(np.array([1.5]), np.array([1]))
    with pytest.raises(InputError, match=r"\[0, 1\]"):
        Calibration().add(np.array([np.nan]), np.array([1]))
    with pytest.raises(InputError, match="one shape"):
        Calibration().add(np.zeros(3), np.zeros(2))
    with pytest.raises(InputError, match="1 bin"):
        Calibration(num_bins=0)
