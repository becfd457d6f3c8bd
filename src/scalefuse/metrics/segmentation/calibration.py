"""Do pixels that are given a probability of 0.8 belong to the object in 80 % of the cases?"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scalefuse.errors import InputError


class CalibrationCurve(NamedTuple):
    """Reliability curve of pixel probabilities, one entry per bin that holds pixels.

    Attributes:
        predicted: mean probability of the bin's pixels, ``(B,)``, in [0, 1].
        observed: share of them that belong to the object, ``(B,)``, in [0, 1].
        counts: number of pixels, ``(B,)``.
        expected_calibration_error: mean \\|observed − predicted\\| over pixels, in [0, 1]; 0 without any.
    """

    predicted: NDArray[np.float64]
    observed: NDArray[np.float64]
    counts: NDArray[np.int64]
    expected_calibration_error: float


class Calibration:
    """Gathers the reliability curve image by image, in constant memory.

    Reference: Naeini et al. 2015 for the expected calibration error, with bins of equal width; of the
    foreground probability, as in torchmetrics' ``BinaryCalibrationError(norm="l1")``.

    Args:
        num_bins: number of bins between 0 and 1.

    Raises:
        InputError: fewer than one bin.

    Example:
        >>> calibration = Calibration(num_bins=2)
        >>> calibration.add(np.array([[0.2, 0.2, 0.8, 0.8]]), np.array([[0, 0, 1, 0]]))
        >>> curve = calibration.curve()
        >>> curve.observed, round(curve.expected_calibration_error, 3)
        (array([0. , 0.5]), 0.25)
    """

    def __init__(self, num_bins: int = 15) -> None:
        if num_bins < 1:
            raise InputError(f"Expected at least 1 bin, but got {num_bins}.")
        self.num_bins = num_bins
        self._counts = np.zeros(num_bins, np.int64)
        self._probability = np.zeros(num_bins)
        self._positive = np.zeros(num_bins, np.int64)

    def add(self, probability: NDArray[Any], target: NDArray[Any]) -> None:
        """Add one image.

        Args:
            probability: of the foreground, any shape, in [0, 1].
            target: reference mask of the same shape.

        Raises:
            InputError: the shapes differ, or a value lies outside [0, 1].
        """
        if probability.shape != target.shape:
            raise InputError(
                f"Expected probabilities and a reference of one shape, but got {probability.shape} and "
                f"{target.shape}."
            )
        values = probability.ravel()
        # Written so that NaN fails as well.
        if values.size and not (values.min() >= 0 and values.max() <= 1):
            raise InputError(
                f"Expected probabilities in [0, 1], but got values from {values.min()} to {values.max()}; "
                "apply the sigmoid or softmax first."
            )
        bins = np.minimum((values * self.num_bins).astype(np.intp), self.num_bins - 1)
        self._counts += np.bincount(bins, minlength=self.num_bins)
        self._probability += np.bincount(bins, weights=values, minlength=self.num_bins)
        self._positive += np.bincount(bins[target.ravel() != 0], minlength=self.num_bins)

    def curve(self) -> CalibrationCurve:
        """The curve over everything added so far."""
        filled = self._counts > 0
        counts = self._counts[filled]
        predicted = self._probability[filled] / counts
        observed = self._positive[filled] / counts
        error = float((np.abs(observed - predicted) * counts).sum() / counts.sum()) if counts.size else 0.0
        return CalibrationCurve(predicted, observed, counts, error)
