"""All measures of a classification at once, for any weighting of its cases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scalefuse.metrics.classification import confusion_matrices, confusion_measures, ranking_areas

NUM_BINS = 15
"""Of the expected calibration error."""

_OF_CLASSES = ("precision", "recall", "specificity", "f1")


class Measured(NamedTuple):
    """Values for every weighting; NaN where undefined.

    Attributes:
        overall: name → ``(B,)``.
        per_class: name → ``(B, K)``.
    """

    overall: dict[str, NDArray[np.float64]]
    per_class: dict[str, NDArray[np.float64]]


class Statistics:
    """Measures as a function of how often each case counts: once for the values, as drawn for a resample.

    Args:
        probabilities: ``(N, K)`` in [0, 1].
        targets: class indices ``(N,)``, or for several labels Boolean ``(N, K)``.
        predicted: the same of the decisions.
        positive: index of the class that binary measures are of; None for more than two classes or labels.

    Example:
        >>> probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.2, 0.8]])
        >>> targets = np.array([0, 0, 1, 1])
        >>> statistics = Statistics(probabilities, targets, probabilities.argmax(1), 1)
        >>> statistics(np.array([[1, 1, 1, 1], [1, 1, 0, 1]])).overall["accuracy"]
        array([0.75, 1.  ])
    """

    def __init__(
        self,
        probabilities: NDArray[np.float64],
        targets: NDArray[Any],
        predicted: NDArray[Any],
        positive: int | None,
    ) -> None:
        self.probabilities, self.targets, self.predicted = probabilities, targets, predicted
        self.positive, self.num_classes = positive, probabilities.shape[1]
        self.multi_label = targets.ndim == 2
        self.indicators = targets if self.multi_label else targets[:, None] == np.arange(self.num_classes)

    def __call__(self, weights: NDArray[Any]) -> Measured:
        """Measure.

        Args:
            weights: ``(B, N)``, not negative.
        """
        measured = self._of_labels(weights) if self.multi_label else self._of_classes(weights)
        areas = [
            ranking_areas(self.probabilities[:, k], self.indicators[:, k], weights)
            for k in range(self.num_classes)
        ]
        has_cases = weights @ self.indicators > 0
        for name in ("auroc", "auprc"):
            table = np.stack([getattr(area, name) for area in areas], axis=1)
            measured.per_class[name] = table
            measured.overall[name] = (
                table[:, self.positive]
                if self.positive is not None
                else _mean(table, has_cases & ~np.isnan(table))
            )
        return measured

    def _of_classes(self, weights: NDArray[Any]) -> Measured:
        matrices = confusion_matrices(self.targets, self.predicted, self.num_classes, weights)
        found = confusion_measures(matrices)
        per_class = {name: found.pop(name) for name in _OF_CLASSES}
        squares = (self.probabilities - self.indicators) ** 2
        if self.positive is not None:
            chosen = self.probabilities[:, self.positive], self.indicators[:, self.positive]
            found["brier"] = _average(squares[:, self.positive], weights)
        else:
            best = self.probabilities.argmax(axis=1)
            chosen = self.probabilities.max(axis=1), best == self.targets
            found["brier"] = _average(squares.sum(axis=1), weights)
        found["ece"] = calibration_errors(*chosen, weights)
        return Measured(found, per_class)

    def _of_labels(self, weights: NDArray[Any]) -> Measured:
        labels = range(self.num_classes)
        matrices = np.stack(
            [confusion_matrices(self.targets[:, k], self.predicted[:, k], 2, weights) for k in labels], axis=1
        )
        found = confusion_measures(matrices)
        table = {name: found[name][..., 1] for name in _OF_CLASSES}
        table |= {name: found[name] for name in ("accuracy", "balanced_accuracy", "mcc", "kappa")}
        pairs = [(self.probabilities[:, k], self.indicators[:, k]) for k in labels]
        table["brier"] = np.stack([_average((p - y) ** 2, weights) for p, y in pairs], axis=1)
        table["ece"] = np.stack([calibration_errors(p, y, weights) for p, y in pairs], axis=1)
        present = matrices[..., 1, :].sum(axis=-1) > 0
        mixed = present & (matrices[..., 0, :].sum(axis=-1) > 0)
        # Of a label that all cases carry, or none, half of the one is undefined; the other would be 0.
        for name in ("balanced_accuracy", "kappa"):
            table[name] = np.where(mixed, table[name], np.nan)
        overall = {"accuracy": table["accuracy"].mean(axis=1)}
        overall["balanced_accuracy"] = _mean(table["balanced_accuracy"], mixed)
        overall["exact_match"] = _average((self.predicted == self.targets).all(axis=1), weights)
        for name in _OF_CLASSES:
            # A label never given has the precision 0 in the mean, as in scikit-learn.
            values = np.nan_to_num(table[name]) if name == "precision" else table[name]
            overall[f"macro_{name}"] = _mean(values, present & ~np.isnan(values))
        # One given always or never has an MCC of 0 in the mean, as there; one of all cases or none is out.
        overall["mcc"] = _mean(np.nan_to_num(table["mcc"]), mixed)
        overall["kappa"] = _mean(table["kappa"], mixed)
        overall |= {name: table[name].mean(axis=1) for name in ("brier", "ece")}
        return Measured(overall, table)


def calibration_errors(
    probability: NDArray[np.float64], happened: NDArray[Any], weights: NDArray[Any], num_bins: int = NUM_BINS
) -> NDArray[np.float64]:
    """Expected calibration error for each of several weightings of the cases.

    The same number as :class:`scalefuse.metrics.segmentation.Calibration` gives, which holds no cases and so
    cannot resample them.

    Args:
        probability: ``(N,)`` in [0, 1].
        happened: 0 or 1, ``(N,)``.
        weights: ``(B, N)``.
        num_bins: number of bins of equal width.

    Example:
        >>> values = np.array([0.25, 0.25, 0.75, 0.75])
        >>> calibration_errors(values, np.array([0, 0, 1, 0]), np.ones((1, 4)), 2)
        array([0.25])
    """
    bins = np.minimum((probability * num_bins).astype(np.intp), num_bins - 1)
    gaps = np.zeros((len(probability), num_bins))
    gaps[np.arange(len(probability)), bins] = happened.astype(np.float64) - probability
    errors: NDArray[np.float64] = np.abs(weights @ gaps).sum(axis=1) / weights.sum(axis=1)
    return errors


def undefined_notes(
    classes: Sequence[str], indicators: NDArray[np.bool_], predicted: NDArray[Any]
) -> list[str]:
    """One line for everything that the cases leave undefined.

    Args:
        classes: names of the K classes.
        indicators: which classes each case is of, ``(N, K)``.
        predicted: class indices ``(N,)``, or Boolean ``(N, K)``.

    Example:
        >>> truth = np.array([[True, False], [True, False]])
        >>> undefined_notes(["no", "yes"], truth, np.array([0, 0]))[0][:38]
        'No case is of yes, so that its recall,'
    """
    called = predicted if predicted.ndim == 2 else predicted[:, None] == np.arange(len(classes))
    cases, calls = indicators.sum(axis=0).tolist(), called.sum(axis=0).tolist()
    absent = [label for label, count in zip(classes, cases, strict=True) if not count]
    always = [label for label, count in zip(classes, cases, strict=True) if count == len(indicators)]
    never = [label for label, count in zip(classes, calls, strict=True) if not count and label not in absent]
    notes = []
    if absent:
        notes.append(
            f"No case is of {', '.join(absent)}, so that its recall, ROC and precision-recall curves are "
            "undefined; means over classes leave it out."
        )
    if always:
        notes.append(
            f"Every case is of {', '.join(always)}, so that its specificity and ROC curve are undefined."
        )
    if never:
        notes.append(
            f"No case was predicted as {', '.join(never)}, so that its precision is undefined; it "
            f"counts 0 in macro_precision{' and mcc' if predicted.ndim > 1 else ''}."
        )
    if predicted.ndim == 1 and (always or len(called) in calls):
        notes.append("All cases are of, or were predicted as, one class, so that mcc is undefined.")
    return notes


def _average(values: NDArray[Any], weights: NDArray[Any]) -> NDArray[np.float64]:
    average: NDArray[np.float64] = weights @ values.astype(np.float64) / weights.sum(axis=1)
    return average


def _mean(values: NDArray[np.float64], kept: NDArray[np.bool_]) -> NDArray[np.float64]:
    total, count = np.where(kept, values, 0.0).sum(axis=1), kept.sum(axis=1)
    mean: NDArray[np.float64] = np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
    return mean
