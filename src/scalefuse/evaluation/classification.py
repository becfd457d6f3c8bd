"""Class probabilities against the true classes: measures with intervals, and what is undefined said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from scalefuse.errors import InputError
from scalefuse.evaluation.bootstrap import resample_counts
from scalefuse.evaluation.classification_statistics import Statistics, undefined_notes
from scalefuse.inference.operating_point import OperatingPoint, decide
from scalefuse.metrics.classification import CLASSIFICATION_METRIC_DEFINITIONS, confusion_matrices, delong
from scalefuse.metrics.segmentation.calibration import Calibration

ClassificationKind = Literal["binary", "multi-class", "multi-label"]


@dataclass(frozen=True, eq=False)
class ClassificationEvaluation:
    """Probabilities, targets and decisions of all cases, ready to be measured.

    Attributes:
        classes: names of the K classes.
        probabilities: ``(N, K)`` in [0, 1].
        targets: class indices ``(N,)``, or for several labels Boolean ``(N, K)``.
        predicted: the same of the decisions.
        positive: index of the class that binary measures are of; None for more than two classes.
    """

    classes: tuple[str, ...]
    probabilities: NDArray[np.float64]
    targets: NDArray[Any]
    predicted: NDArray[Any]
    positive: int | None = None

    @property
    def kind(self) -> ClassificationKind:
        """What kind of problem it is."""
        if self.targets.ndim == 2:
            return "multi-label"
        return "binary" if len(self.classes) == 2 else "multi-class"

    @property
    def indicators(self) -> NDArray[np.bool_]:
        """Which classes each case is of, ``(N, K)``."""
        indicators: NDArray[np.bool_] = (
            self.targets if self.targets.ndim == 2 else self.targets[:, None] == np.arange(len(self.classes))
        )
        return indicators

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether each case was decided rightly; for several labels, every one of them, ``(N,)``."""
        right: NDArray[np.bool_] = self.predicted == self.targets
        return np.asarray(right.all(axis=1)) if right.ndim == 2 else right

    @property
    def confusion(self) -> NDArray[np.int64]:
        """``(K, K)``, row: true class; for several labels ``(K, 2, 2)``, each label's own."""
        matrices: NDArray[np.int64]
        if self.targets.ndim == 1:
            matrices = confusion_matrices(self.targets, self.predicted, len(self.classes))[0].astype(np.int64)
        else:
            pairs = zip(self.targets.T, self.predicted.T, strict=True)
            matrices = np.concatenate([confusion_matrices(*pair, 2) for pair in pairs]).astype(np.int64)
        return matrices

    def calibration(self) -> dict[str, Calibration]:
        """Reliability: of the positive class, of the most probable of several, or of each label."""
        if self.kind == "multi-label":
            chosen = dict(enumerate(self.classes))
        elif self.positive is not None:
            chosen = {self.positive: self.classes[self.positive]}
        else:
            curve = Calibration()
            best = self.probabilities.argmax(axis=1)
            curve.add(self.probabilities.max(axis=1), best == self.targets)
            return {"most probable class": curve}
        curves = {}
        for index, label in chosen.items():
            curves[label] = Calibration()
            curves[label].add(self.probabilities[:, index], self.indicators[:, index])
        return curves

    def summary(
        self, *, confidence: float = 0.95, num_resamples: int = 2000, seed: int = 0
    ) -> dict[str, Any]:
        """Every measure with its interval, ready for JSON; NaN (null in the file) where one is undefined.

        Intervals are percentiles of the bootstrap over cases; of the area under the ROC curve of one class
        DeLong's. A resample in which a measure is undefined is left out.

        Args:
            confidence: of the intervals.
            num_resamples: of the bootstrap.
            seed: of the bootstrap.
        """
        statistics = Statistics(self.probabilities, self.targets, self.predicted, self.positive)
        point = statistics(np.ones((1, len(self.probabilities))))
        blocks = [
            statistics(counts)
            for counts in resample_counts(len(self.probabilities), num_resamples=num_resamples, seed=seed)
        ]
        tails = [50 * (1 - confidence), 50 * (1 + confidence)]
        overall: dict[str, Any] = {}
        for name, value in point.overall.items():
            drawn = np.concatenate([block.overall[name] for block in blocks])
            overall[name] = _interval(value[0], drawn, tails)
        per_class: dict[str, dict[str, Any]] = {
            label: {"cases": int(count)}
            for label, count in zip(self.classes, self.indicators.sum(axis=0), strict=True)
        }
        for name, value in point.per_class.items():
            drawn = np.concatenate([block.per_class[name] for block in blocks])
            for index, label in enumerate(self.classes):
                per_class[label][name] = _interval(value[0, index], drawn[:, index], tails)
        notes = undefined_notes(self.classes, self.indicators, self.predicted)
        self._delong(overall, per_class, notes, confidence)
        return {
            "kind": self.kind,
            "num_cases": len(self.probabilities),
            "positive": None if self.positive is None else self.classes[self.positive],
            "confidence": confidence,
            "overall": overall,
            "per_class": per_class,
            "confusion": self.confusion.tolist(),
            "calibration": {label: _curve(one) for label, one in self.calibration().items()},
            "definitions": {
                name: line
                for name, line in CLASSIFICATION_METRIC_DEFINITIONS.items()
                if name in overall or name in per_class[self.classes[0]]
            },
            "notes": notes,
        }

    def _delong(
        self, overall: dict[str, Any], per_class: dict[str, Any], notes: list[str], confidence: float
    ) -> None:
        parted, single = [], []
        for index, label in enumerate(self.classes):
            wanted = self.indicators[:, index]
            if wanted.all() or not wanted.any():
                continue
            if min(wanted.sum(), (~wanted).sum()) < 2:
                single.append(label)
                continue
            found = delong(self.probabilities[:, index], wanted, confidence=confidence)
            entry = {"value": found.auroc, "low": found.low, "high": found.high, "interval": "DeLong"}
            per_class[label]["auroc"] = entry
            if index == self.positive:
                overall["auroc"] = entry
            if found.auroc in (0.0, 1.0):
                parted.append(label)
        if single:
            notes.append(
                f"DeLong's interval of the area under the ROC curve of {', '.join(single)} needs two images "
                "that show it and two that do not; the one given is of resampled images, as elsewhere."
            )
        if parted:
            notes.append(
                f"The area under the ROC curve of {', '.join(parted)} is at its end here, where DeLong's "
                "interval has no width; that does not mean that it is certain."
            )


def evaluate_classification(
    probabilities: NDArray[Any],
    targets: NDArray[Any],
    classes: Sequence[str],
    *,
    multi_label: bool = False,
    positive: str | None = None,
    operating_point: OperatingPoint | None = None,
) -> ClassificationEvaluation:
    """Take in and check probabilities and targets.

    Args:
        probabilities: ``(N, K)`` in [0, 1]; rows sum to 1 unless multi-label.
        targets: class indices ``(N,)``, or for several labels 0 and 1 ``(N, K)``.
        classes: names of the K classes.
        multi_label: whether a case may carry several labels.
        positive: of two classes the one that binary measures are of; the second where None.
        operating_point: threshold of the decision; the most probable class, or labels from 0.5 on, where
            None.

    Raises:
        InputError: no cases, shapes that do not fit, NaN, values outside [0, 1], rows that do not sum to 1,
            or classes that do not exist.

    Example:
        >>> probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.65, 0.35], [0.2, 0.8]])
        >>> found = evaluate_classification(probabilities, np.array([0, 0, 1, 1]), ["benign", "malignant"])
        >>> summary = found.summary()
        >>> summary["overall"]["accuracy"]["value"], summary["per_class"]["malignant"]["recall"]["value"]
        (0.75, 0.5)
    """
    classes = tuple(classes)
    values, targets = _checked(probabilities, targets, classes, multi_label=multi_label)
    binary = not multi_label and len(classes) == 2
    if positive is not None and (not binary or positive not in classes):
        raise InputError(
            f"Got {positive!r} as the positive class; it must be one of two, but the classes are "
            f"{', '.join(classes)}{', of which a case may carry several' if multi_label else ''}."
        )
    if binary and positive is None and operating_point is not None:
        positive = next(iter(operating_point.thresholds), None)
    predicted = decide(values, classes, multi_label=multi_label, operating_point=operating_point)
    index = (classes.index(positive) if positive is not None else 1) if binary else None
    return ClassificationEvaluation(classes, values, targets, predicted, index)


def _checked(
    probabilities: Any, targets: Any, classes: tuple[str, ...], *, multi_label: bool
) -> tuple[NDArray[np.float64], NDArray[Any]]:
    values, targets = np.asarray(probabilities, np.float64), np.asarray(targets)
    if len(classes) < 2 and not multi_label:
        raise InputError(f"Expected at least two classes, but got {len(classes)}: {', '.join(classes)}.")
    if values.ndim != 2 or values.shape[1] != len(classes):
        raise InputError(
            f"Expected probabilities (N, {len(classes)}) of the classes {', '.join(classes)}, but got shape "
            f"{values.shape}."
        )
    if not len(values):
        raise InputError("Expected cases to evaluate, but got none; check the data set and its split.")
    if targets.shape != (values.shape if multi_label else values.shape[:1]):
        raise InputError(
            f"Expected targets of shape {values.shape if multi_label else values.shape[:1]}, but got "
            f"{targets.shape}."
        )
    problem = probability_problem(values, multi_label=multi_label)
    if problem is not None:
        raise InputError(f"Case {problem[0]}: {problem[1]}")
    most = 1 if multi_label else len(classes) - 1
    if not 0 <= targets.min() <= targets.max() <= most:
        raise InputError(f"Expected targets from 0 to {most}, but got {targets.min()} to {targets.max()}.")
    return values, targets.astype(np.bool_ if multi_label else np.intp)


def probability_problem(values: NDArray[np.float64], *, multi_label: bool) -> tuple[int, str] | None:
    """The first case whose probabilities are none, and what is wrong with them.

    Args:
        values: ``(N, K)``.
        multi_label: whether rows need not sum to 1.

    Example:
        >>> probability_problem(np.array([[0.5, 0.5], [0.5, np.nan]]), multi_label=False)
        (1, 'has NaN as a probability; the model is damaged, or a cell is empty.')
    """
    sums = values.sum(axis=1)
    checks = [
        (np.isnan(values).any(axis=1), "has NaN as a probability; the model is damaged, or a cell is empty."),
        (
            ((values < 0) | (values > 1)).any(axis=1),
            "has a value outside [0, 1]; apply the softmax or sigmoid first.",
        ),
    ]
    if not multi_label:
        checks.append((np.abs(sums - 1) > 0.01, "has probabilities that do not sum to 1; apply the softmax."))
    for wrong, text in checks:
        if wrong.any():
            return int(wrong.argmax()), text
    return None


def _interval(value: float, values: NDArray[np.float64], tails: list[float]) -> dict[str, float]:
    finite = values[np.isfinite(values)]
    if not np.isfinite(value) or not len(finite):
        return {"value": float(value), "low": float("nan"), "high": float("nan")}
    low, high = np.percentile(finite, tails)
    return {"value": float(value), "low": float(low), "high": float(high)}


def _curve(calibration: Calibration) -> dict[str, Any]:
    curve = calibration.curve()
    return {
        "expected_calibration_error": curve.expected_calibration_error,
        "predicted": curve.predicted.tolist(),
        "observed": curve.observed.tolist(),
        "counts": curve.counts.tolist(),
    }
