"""Segmentations against their references: a table of cases and a summary with intervals."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scalefuse.data.masks import MEAN_OF_CLASSES
from scalefuse.errors import InputError
from scalefuse.evaluation.bootstrap import bootstrap_interval
from scalefuse.inference.postprocessing import PostProcessing
from scalefuse.metrics.segmentation import (
    PIXELS,
    SEGMENTATION_METRIC_DEFINITIONS,
    SEGMENTATION_METRICS,
    Calibration,
    PooledOverlap,
    count,
    measure_segmentation,
)

THRESHOLDS = np.round(np.arange(1, 20) / 20, 2)
"""Thresholds of the scan."""


class EvaluationCase(NamedTuple):
    """One prediction with its reference.

    Attributes:
        name: of the case.
        probability: ``(H, W)`` or ``(K, H, W)`` in [0, 1], or unsigned integers over their full range.
        target: class indices ``(H, W)`` (a mask for a binary task), or for labels ``(K, H, W)``.
        spacing: mm between rows and between columns; ``None`` where unknown.
    """

    name: str
    probability: NDArray[Any]
    target: NDArray[Any]
    spacing: tuple[float, float] | None = None


@dataclass
class SegmentationEvaluation:
    """Result of :func:`evaluate_segmentation`.

    Attributes:
        classes: names of the measured classes, without the background.
        rows: one per case and class: ``name``, ``class``, the measures of
            :data:`~scalefuse.metrics.segmentation.SEGMENTATION_METRICS`, ``predicted_px``, ``target_px``.
        unit: ``"mm"`` or ``"px"``, of the distances.
        pooled: for each class the overlap over all pixels of all cases.
        calibration: for each class the reliability of its probabilities.
        threshold_dice: for each class the mean per-image Dice at each of :data:`THRESHOLDS`, before any
            cleaning; empty for classes that exclude one another.
    """

    classes: tuple[str, ...]
    rows: list[dict[str, Any]] = field(default_factory=list)
    unit: str = "px"
    pooled: dict[str, PooledOverlap] = field(default_factory=dict)
    calibration: dict[str, Calibration] = field(default_factory=dict)
    threshold_dice: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    @property
    def num_cases(self) -> int:
        """Number of cases."""
        return len(self.rows) // len(self.classes)

    def values(self, measure: str, label: str | None = None) -> NDArray[np.float64]:
        """A measure of every case, ``(num_cases,)``; of one class, or the mean of the classes per case."""
        table = np.array([row[measure] for row in self.rows]).reshape(-1, len(self.classes))
        values: NDArray[np.float64] = table.mean(1) if label is None else table[:, self.classes.index(label)]
        return values

    def best_threshold(self, label: str) -> tuple[float, float] | None:
        """Threshold with the largest mean per-image Dice and that Dice; the one nearest to 0.5 of equals."""
        if label not in self.threshold_dice:
            return None
        dice = self.threshold_dice[label]
        equals = np.flatnonzero(dice >= dice.max() - 1e-9)
        best = min(equals.tolist(), key=lambda index: (round(abs(float(THRESHOLDS[index]) - 0.5), 9), index))
        return float(THRESHOLDS[best]), float(dice[best])

    def summary(
        self, *, confidence: float = 0.95, num_resamples: int = 2000, seed: int = 0
    ) -> dict[str, Any]:
        """Means with bootstrap intervals over cases, pooled overlap, best threshold and calibration.

        Ready for JSON. With several classes, ``mean of classes`` holds the mean over classes of each case,
        summarised over cases.

        Args:
            confidence: of the intervals.
            num_resamples: of the bootstrap.
            seed: of the bootstrap.
        """

        def interval(values: NDArray[np.float64]) -> dict[str, float]:
            low, high = bootstrap_interval(
                values, confidence=confidence, num_resamples=num_resamples, seed=seed
            )
            return {"mean": float(values.mean()), "low": low, "high": high}

        groups: dict[str, str | None] = {label: label for label in self.classes}
        if len(self.classes) > 1:
            groups[MEAN_OF_CLASSES] = None
        return {
            "num_cases": self.num_cases,
            "confidence": confidence,
            "distance_unit": self.unit,
            "definitions": SEGMENTATION_METRIC_DEFINITIONS,
            "per_image": {
                name: {measure: interval(self.values(measure, label)) for measure in SEGMENTATION_METRICS}
                for name, label in groups.items()
            },
            "pooled": {label: pooled.measures() for label, pooled in self.pooled.items()},
            "best_threshold": {label: self._best(label) for label in self.threshold_dice},
            "calibration": {label: _curve(one) for label, one in self.calibration.items()},
        }

    def _best(self, label: str) -> dict[str, Any]:
        best = self.best_threshold(label)
        assert best is not None
        scan = zip(THRESHOLDS.tolist(), self.threshold_dice[label].tolist(), strict=True)
        return {"threshold": best[0], "dice": best[1], "scan": [list(pair) for pair in scan]}


def evaluate_segmentation(
    cases: Iterable[EvaluationCase | tuple[Any, ...]],
    *,
    labels: Sequence[str] = ("background", "object"),
    multi_label: bool = False,
    postprocessing: PostProcessing | None = None,
) -> SegmentationEvaluation:
    """Measure every case, holding one probability map at a time.

    Args:
        cases: :class:`EvaluationCase` or plain tuples of the same, possibly generated one by one.
        labels: names of the classes, as :class:`~scalefuse.inference.segmenter.Segmenter` takes them.
        multi_label: whether a pixel may carry several labels.
        postprocessing: how probabilities become a mask; the threshold 0.5 by default.

    Raises:
        InputError: no cases, shapes that do not fit, classes that are not among the labels, or a spacing for
            some cases and none for others, whose distances cannot be averaged.

    Example:
        >>> probability = np.array([[0.9, 0.6, 0.1]])
        >>> evaluation = evaluate_segmentation([("a", probability, np.array([[1, 0, 0]]), None)])
        >>> evaluation.rows[0]["iou"], evaluation.best_threshold("object")
        (0.5, (0.65, 1.0))
    """
    postprocessing = postprocessing or PostProcessing()
    binary = not multi_label and len(labels) <= 2
    classes = tuple(labels) if multi_label else tuple(labels[-1:] if binary else labels[1:])
    evaluation = SegmentationEvaluation(
        classes,
        pooled={label: PooledOverlap() for label in classes},
        calibration={label: Calibration() for label in classes},
    )
    scans = {label: np.zeros(len(THRESHOLDS)) for label in classes} if binary or multi_label else {}
    units: set[str] = set()
    for case in cases:
        name, raw, target, spacing = EvaluationCase(*case)
        probability = _probability(name, raw, 1 if binary else len(labels))
        target = np.asarray(target)
        _check_target(name, target, probability, multi_label=multi_label, binary=binary)
        units.add("px" if spacing is None else "mm")
        if len(units) > 1:
            raise InputError(
                f"{name}: a pixel spacing is {'missing' if spacing is None else 'given'}, unlike for the "
                "cases before, so distances in mm and in pixels would be averaged; evaluate these cases "
                "apart, or leave the spacing out for all (--no-spacing)."
            )
        mask = postprocessing.decide(probability, multi_label=multi_label)
        for index, label in enumerate(classes):
            # Channel of the class: classes that exclude one another begin with the background.
            channel = index if binary or multi_label else index + 1
            predicted, wanted = (_one(array, channel, binary=binary) for array in (mask, target))
            counts = count(predicted, wanted)
            evaluation.rows.append(
                {
                    "name": name,
                    "class": label,
                    **measure_segmentation(predicted, wanted, spacing or PIXELS),
                    "predicted_px": counts.true_positive + counts.false_positive,
                    "target_px": counts.true_positive + counts.false_negative,
                }
            )
            evaluation.pooled[label].add_counts(counts)
            evaluation.calibration[label].add(probability[channel], wanted)
            if label in scans:
                scans[label] += _dice_at_thresholds(probability[channel], wanted)
    if not evaluation.rows:
        raise InputError("Expected cases to evaluate, but got none; check the folder and its masks.")
    evaluation.unit = units.pop()
    evaluation.threshold_dice = {label: scan / evaluation.num_cases for label, scan in scans.items()}
    return evaluation


def _one(array: NDArray[Any], channel: int, *, binary: bool) -> NDArray[np.bool_]:
    one = array[channel] if array.ndim == 3 else array
    # A map of class indices holds the class's number; everything else holds ones.
    mask: NDArray[np.bool_] = one != 0 if binary or array.ndim == 3 else one == channel
    return mask


def _probability(name: str, raw: NDArray[Any], outputs: int) -> NDArray[np.floating[Any]]:
    array = np.asarray(raw)
    array = array[None] if array.ndim == 2 else array
    if array.ndim != 3 or len(array) != outputs:
        raise InputError(
            f"{name}: expected probabilities of shape ({outputs}, H, W), but got {np.shape(raw)}; check the "
            "labels."
        )
    if array.dtype.kind == "u":
        return array.astype(np.float32) / np.float32(np.iinfo(array.dtype).max)
    return array if array.dtype.kind == "f" else array.astype(np.float32)


def _check_target(
    name: str, target: NDArray[Any], probability: NDArray[Any], *, multi_label: bool, binary: bool
) -> None:
    expected = probability.shape if multi_label else probability.shape[1:]
    if target.shape != expected:
        raise InputError(
            f"{name}: the reference has shape {target.shape}, but {expected} was expected; image and mask "
            "must be of one size."
        )
    most = int(target.max(initial=0))
    if not multi_label and not binary and (most >= len(probability) or target.min(initial=0) < 0):
        raise InputError(
            f"{name}: the reference holds the class {most}, but the labels name the classes 0 to "
            f"{len(probability) - 1} only; name all classes."
        )


def _dice_at_thresholds(
    probability: NDArray[np.floating[Any]], target: NDArray[np.bool_]
) -> NDArray[np.float64]:
    # In the type of the probabilities, so that a value on a threshold counts as it does when thresholded.
    thresholds = THRESHOLDS.astype(probability.dtype)
    passed = np.searchsorted(thresholds, probability.ravel(), side="right")
    hits, predicted = (
        np.bincount(values, minlength=len(thresholds) + 1)[::-1].cumsum()[::-1][1:]
        for values in (passed[target.ravel()], passed)
    )
    both = predicted + float(np.count_nonzero(target))
    return np.divide(2.0 * hits, both, out=np.ones_like(both), where=both > 0)


def _curve(calibration: Calibration) -> dict[str, Any]:
    curve = calibration.curve()
    return {
        "expected_calibration_error": curve.expected_calibration_error,
        "predicted": curve.predicted.tolist(),
        "observed": curve.observed.tolist(),
        "counts": curve.counts.tolist(),
    }
