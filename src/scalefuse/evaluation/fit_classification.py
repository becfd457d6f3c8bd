"""Choosing temperature, calibration scores and operating point of a classifier on validation data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalefuse.errors import InputError
from scalefuse.inference.classification_postprocessing import ClassificationPostProcessing
from scalefuse.inference.operating_point import OperatingPoint, choose_operating_point

TEMPERATURES = (0.05, 20.0)
"""Smallest and largest temperature that is chosen."""


def negative_log_likelihood(
    logits: NDArray[Any], targets: NDArray[Any], *, temperature: float = 1.0
) -> float:
    """Mean negative log-likelihood of the targets, in nats; for labels the mean over labels too.

    Args:
        logits: ``(N, K)``.
        targets: class indices ``(N,)``, or 0 and 1 ``(N, K)`` where a picture may carry several labels.
        temperature: divides the logits.

    Example:
        >>> round(negative_log_likelihood(np.array([[0.0, 0.0]]), np.array([1])), 4)
        0.6931
    """
    values, targets = np.asarray(logits, np.float64) / temperature, np.asarray(targets)
    if targets.ndim == 2:
        losses = np.logaddexp(0.0, np.where(targets > 0, -values, values)).mean(axis=1)
    else:
        top = values.max(axis=1)
        norm = top + np.log(np.exp(values - top[:, None]).sum(axis=1))
        losses = norm - values[np.arange(len(values)), targets]
    return float(losses.mean())


def fit_temperature(logits: NDArray[Any], targets: NDArray[Any]) -> float:
    """The temperature that gives the targets the largest likelihood.

    Dividing all logits by one number changes how sure the model is, never which class it prefers. The
    likelihood has one optimum, which is bracketed in log temperature. Where every case is right and surer is
    always better, the data cannot say how sure the model may be: the temperature stays 1. Otherwise it lies
    between 0.05 and 20, which it reaches where the logits say nothing or the wrong thing.

    Args:
        logits: ``(N, K)`` of cases that no weight was trained on.
        targets: class indices ``(N,)``, or 0 and 1 ``(N, K)`` where a picture may carry several labels.

    Raises:
        InputError: no cases, NaN or infinite logits, or targets that do not fit.

    Reference:
        Guo, Pleiss, Sun and Weinberger, On Calibration of Modern Neural Networks, ICML 2017, section 4.2.

    Example:
        >>> logits = np.array([[0.0, 4.0], [4.0, 0.0], [0.0, 4.0], [4.0, 0.0]])
        >>> round(fit_temperature(logits, np.array([1, 0, 1, 1])), 3)  # right in 3 of 4: 4 / ln 3
        3.641
    """
    from scipy.optimize import minimize_scalar

    logits, targets = _checked(logits, targets)
    if _all_right(logits, targets):
        return 1.0
    low, high = (math.log(end) for end in TEMPERATURES)
    found = minimize_scalar(
        lambda log: negative_log_likelihood(logits, targets, temperature=math.exp(log)),
        bounds=(low, high),
        method="bounded",
        options={"xatol": 1e-7},
    )
    return min(max(math.exp(float(found.x)), TEMPERATURES[0]), TEMPERATURES[1])


def fit_postprocessing(
    logits: NDArray[Any],
    targets: NDArray[Any],
    labels: Sequence[str],
    *,
    multi_label: bool = False,
    sensitivity: float | None = None,
    positive: str | None = None,
    coverage: float = 0.9,
) -> ClassificationPostProcessing:
    """Fit everything that a classifier stores besides its weights.

    Temperature and calibration scores come from the same cases. One number is fitted, so that the promise of
    the prediction sets is weakened far less than by the sampling error of the cases.

    Args:
        logits: ``(N, K)`` of validation cases, uncalibrated.
        targets: class indices ``(N,)``, or 0 and 1 ``(N, K)``.
        labels: names of the K classes.
        multi_label: whether a picture may carry several labels.
        sensitivity: required of the stored operating point, in (0, 1); None for no operating point.
        positive: the class that the sensitivity is of; the second of two where None, or every label.
        coverage: of prediction sets where none is asked for, in (0, 1).

    Raises:
        InputError: no cases, shapes or values that do not fit, or too few cases for the sensitivity.

    Example:
        >>> logits = np.array([[0.0, 4.0], [4.0, 0.0], [0.0, 4.0], [4.0, 0.0]])
        >>> fit = fit_postprocessing(logits, np.array([1, 0, 1, 1]), ["benign", "malignant"])
        >>> fit.true_probabilities
        ((0.75,), (0.25, 0.75, 0.75))
    """
    logits, targets = _checked(logits, targets)
    if multi_label != (targets.ndim == 2) or logits.shape[1] != len(labels):
        raise InputError(
            f"Expected logits for the {len(labels)} classes {', '.join(labels)} and "
            f"{'0 or 1 for each label' if multi_label else 'one class index'} per case, but got shapes "
            f"{logits.shape} and {targets.shape}."
        )
    temperature = fit_temperature(logits, targets)
    plain = ClassificationPostProcessing(temperature=temperature, multi_label=multi_label)
    fitted = ClassificationPostProcessing.calibrated(
        plain.activate(logits), targets, temperature=temperature, coverage=coverage
    )
    if sensitivity is None:
        return fitted
    point: OperatingPoint = choose_operating_point(
        fitted.true_probabilities, labels, sensitivity, multi_label=multi_label, positive=positive
    )
    return fitted.model_copy(update={"operating_point": point})


def _all_right(logits: NDArray[np.float64], targets: NDArray[Any]) -> bool:
    if targets.ndim == 2:
        return bool((np.where(targets > 0, logits, -logits) > 0).all())
    others = logits.copy()
    cases = np.arange(len(logits))
    others[cases, targets] = -np.inf
    return bool((logits[cases, targets] > others.max(axis=1)).all())


def _checked(logits: Any, targets: Any) -> tuple[NDArray[np.float64], NDArray[Any]]:
    logits, targets = np.asarray(logits, np.float64), np.asarray(targets)
    if logits.ndim != 2 or not logits.size:
        raise InputError(f"Expected logits (N, K) of at least one case, but got shape {logits.shape}.")
    if not np.isfinite(logits).all():
        raise InputError("Expected finite logits, but got NaN or infinite ones; the model is damaged.")
    if targets.shape not in ((len(logits),), logits.shape):
        raise InputError(
            f"Expected targets of shape ({len(logits)},) or {logits.shape}, but got {targets.shape}."
        )
    most = 1 if targets.ndim == 2 else logits.shape[1] - 1
    if not 0 <= targets.min() <= targets.max() <= most:
        raise InputError(f"Expected targets from 0 to {most}, but got {targets.min()} to {targets.max()}.")
    return logits, targets if targets.ndim == 2 else targets.astype(np.intp)
