"""The threshold at which a class is called, chosen for a required sensitivity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from scalefuse.errors import InputError
from scalefuse.inference.conformal import check_share, checked_probabilities, lac_threshold
from scalefuse.schema import Schema


class OperatingPoint(Schema):
    """From which probability on a class is called.

    Attributes:
        sensitivity: share of the cases of the class that shall be called, in (0, 1).
        thresholds: smallest probability by label. For classes that exclude one another it holds one label,
            the positive class; where a picture may carry several, a label without a threshold is called from
            0.5 on.
    """

    sensitivity: float = Field(gt=0.0, lt=1.0)
    thresholds: dict[str, float]


def choose_threshold(positives: Sequence[float], sensitivity: float, *, label: str = "the class") -> float:
    """The largest threshold that reaches a sensitivity on new cases, on average.

    With n calibration cases of the class it is their ``⌊(n + 1)(1 - sensitivity)⌋``-th smallest probability:
    that one and all larger ones are called. This is a little more careful than the share among the
    calibration cases themselves, which new cases would miss on average.

    Args:
        positives: probabilities that calibration cases of the class got for it.
        sensitivity: required, in (0, 1).
        label: the class, for the message.

    Raises:
        InputError: a sensitivity outside (0, 1), or more than so few cases can promise.

    Example:
        >>> choose_threshold([0.2, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.99], 0.8)
        0.5
        >>> choose_threshold([0.2, 0.5, 0.6], 0.9, label="malignant")
        Traceback (most recent call last):
        scalefuse.errors.InputError: A sensitivity of 0.9 for malignant needs at least 9 calibration cases ...
    """
    check_share("sensitivity", sensitivity)
    needed = math.ceil(sensitivity / (1 - sensitivity) - 1e-9)
    if len(positives) < needed:
        most = math.floor(1000 * len(positives) / (len(positives) + 1)) / 1000
        advice = f"ask for at most {most:g}" if positives else "leave it out"
        raise InputError(
            f"A sensitivity of {sensitivity:g} for {label} needs at least {needed} calibration cases of it, "
            f"but the model carries {len(positives)}; {advice}."
        )
    return lac_threshold(positives, sensitivity)


def choose_operating_point(
    table: Sequence[Sequence[float]],
    labels: Sequence[str],
    sensitivity: float,
    *,
    multi_label: bool = False,
    positive: str | None = None,
) -> OperatingPoint:
    """The operating point for a required sensitivity.

    Args:
        table: for each class the probabilities of its calibration cases, see
            :func:`scalefuse.inference.conformal.true_probabilities`.
        labels: names of the classes.
        sensitivity: required, in (0, 1).
        multi_label: whether a picture may carry several labels; each then gets its own threshold.
        positive: the class that is meant; None for the second of two classes, or for all of several labels.

    Raises:
        InputError: no calibration scores, an unknown class, none named where there are more than two, or too
            few cases.

    Example:
        >>> table = [[0.7, 0.8, 0.9], [0.3, 0.5, 0.6, 0.9]]
        >>> choose_operating_point(table, ["benign", "malignant"], 0.75).thresholds
        {'malignant': 0.3}
    """
    check_share("sensitivity", sensitivity)
    if not any(table):
        raise InputError(
            "The model carries no calibration scores, so that no threshold can be chosen for a sensitivity; "
            "leave it out, or train the model with validation pictures (an export at another size has none)."
        )
    if positive is not None and positive not in labels:
        raise InputError(f"No class {positive!r}; the model knows {', '.join(labels)}.")
    if positive is not None:
        chosen = [positive]
    elif multi_label:
        chosen = list(labels)
    elif len(labels) == 2:
        chosen = [labels[1]]
    else:
        raise InputError(
            f"A sensitivity is that of one class, but the model has {len(labels)} ({', '.join(labels)}); "
            "name the class."
        )
    return OperatingPoint(
        sensitivity=sensitivity,
        thresholds={
            label: choose_threshold(table[list(labels).index(label)], sensitivity, label=label)
            for label in chosen
        },
    )


def decide(
    probabilities: NDArray[Any],
    labels: Sequence[str],
    *,
    multi_label: bool = False,
    operating_point: OperatingPoint | None = None,
) -> NDArray[Any]:
    """The called class of each picture, or its labels.

    Args:
        probabilities: ``(N, K)``.
        labels: names of the classes.
        multi_label: whether a picture may carry several labels.
        operating_point: where a threshold was chosen. A class that reaches it is called even where another is
            more probable; below it, the most probable of the others is.

    Returns:
        Class indices ``(N,)``, or for labels Boolean ``(N, K)``.

    Raises:
        InputError: the operating point is for other classes, shapes do not fit, or values are NaN.

    Example:
        >>> point = OperatingPoint(sensitivity=0.95, thresholds={"malignant": 0.3})
        >>> decide(np.array([[0.6, 0.4], [0.8, 0.2]]), ["benign", "malignant"], operating_point=point)
        array([1, 0])
    """
    probabilities = checked_probabilities(probabilities, len(labels))
    thresholds = {} if operating_point is None else operating_point.thresholds
    unknown = [label for label in thresholds if label not in labels]
    if unknown or (len(thresholds) > 1 and not multi_label):
        raise InputError(
            f"The operating point names {', '.join(thresholds)}, but the model knows {', '.join(labels)}"
            f"{'' if multi_label else ' and one of them can have a threshold'}."
        )
    if multi_label:
        called: NDArray[Any] = probabilities >= np.array([thresholds.get(label, 0.5) for label in labels])
        return called
    best: NDArray[Any] = probabilities.argmax(axis=1)
    for label, threshold in thresholds.items():
        index = list(labels).index(label)
        others = probabilities.astype(np.float64)
        others[:, index] = -1.0
        best = np.where(probabilities[:, index] >= threshold, index, others.argmax(axis=1))
    return best
