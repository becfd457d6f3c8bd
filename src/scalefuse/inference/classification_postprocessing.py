"""What a classifier learned on validation data and stores in its bundle: temperature, calibration scores."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from scalefuse.inference.conformal import adaptive_scores, true_probabilities
from scalefuse.inference.operating_point import OperatingPoint
from scalefuse.schema import Schema


class ClassificationPostProcessing(Schema):
    """How logits become probabilities, prediction sets and a decision.

    Attributes:
        temperature: logits are divided by it before the softmax or sigmoid.
        multi_label: whether a picture may carry several labels.
        true_probabilities: for each class, the probabilities that validation cases of this class got for it,
            see :func:`scalefuse.inference.conformal.true_probabilities`. Sets of any coverage and thresholds
            for any sensitivity follow from it; empty where nothing was calibrated.
        adaptive_scores: scores for adaptive sets, see :func:`scalefuse.inference.conformal.adaptive_scores`.
        coverage: of the prediction sets where none is asked for, in (0, 1).
        operating_point: threshold used where no sensitivity is asked for; None for the most probable class,
            or 0.5 per label.

    Example:
        >>> ClassificationPostProcessing(temperature=2.0).activate(np.array([[0.0, 2 * np.log(3)]]))
        array([[0.25, 0.75]], dtype=float32)
    """

    temperature: float = Field(default=1.0, gt=0.0)
    multi_label: bool = False
    true_probabilities: tuple[tuple[float, ...], ...] = ()
    adaptive_scores: tuple[float, ...] = ()
    coverage: float = Field(default=0.9, gt=0.0, lt=1.0)
    operating_point: OperatingPoint | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        values = [value for row in self.true_probabilities for value in row]
        if any(not 0.0 <= value <= 1.0 for value in values):
            raise ValueError("true_probabilities hold a value outside [0, 1]")
        return self

    @classmethod
    def calibrated(
        cls,
        probabilities: NDArray[Any],
        targets: NDArray[Any],
        *,
        temperature: float = 1.0,
        coverage: float = 0.9,
        operating_point: OperatingPoint | None = None,
    ) -> ClassificationPostProcessing:
        """Take the calibration scores from validation cases that no weight was trained on.

        Args:
            probabilities: ``(N, K)``, as :meth:`activate` gives them with this temperature.
            targets: class indices ``(N,)``, or 0 and 1 ``(N, K)`` where a picture may carry several labels.
            temperature: to store.
            coverage: to store.
            operating_point: to store.

        Raises:
            InputError: shapes or values that do not fit.

        Example:
            >>> scores = ClassificationPostProcessing.calibrated(np.array([[0.8, 0.2]]), np.array([0]))
            >>> scores.true_probabilities, scores.adaptive_scores
            (((0.8,), ()), (0.8,))
        """
        multi_label = np.asarray(targets).ndim == 2
        return cls(
            temperature=temperature,
            multi_label=multi_label,
            true_probabilities=true_probabilities(probabilities, targets),
            adaptive_scores=() if multi_label else adaptive_scores(probabilities, targets),
            coverage=coverage,
            operating_point=operating_point,
        )

    @property
    def num_cases(self) -> int:
        """Calibration cases; of several labels per picture, labels present."""
        return sum(len(row) for row in self.true_probabilities)

    def activate(self, logits: NDArray[Any]) -> NDArray[np.float32]:
        """Probabilities of logits: softmax over the classes, or a sigmoid per label.

        Args:
            logits: ``(N, K)``.

        Returns:
            ``(N, K)`` in [0, 1].
        """
        values = logits.astype(np.float64) / self.temperature
        if self.multi_label:
            # Without overflow for large negative logits.
            result = np.exp(-np.logaddexp(0.0, -values))
        else:
            result = np.exp(values - values.max(axis=1, keepdims=True))
            result /= result.sum(axis=1, keepdims=True)
        return result.astype(np.float32)
