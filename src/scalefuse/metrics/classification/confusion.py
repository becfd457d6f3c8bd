"""Measures of one or many confusion matrices at once, with NaN where a measure is undefined."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def confusion_matrices(
    targets: NDArray[Any], predicted: NDArray[Any], num_classes: int, weights: NDArray[Any] | None = None
) -> NDArray[np.float64]:
    """Confusion matrices for several weightings of the same cases.

    Args:
        targets: class indices ``(N,)``.
        predicted: class indices ``(N,)``.
        num_classes: K.
        weights: non-negative, ``(B, N)``, such as how often a resample drew each case; ones where None.

    Returns:
        ``(B, K, K)``, row: target, column: prediction.

    Example:
        >>> confusion_matrices(np.array([0, 1, 1]), np.array([0, 1, 0]), 2)
        array([[[1., 0.],
                [1., 1.]]])
    """
    cells = np.asarray(targets, np.intp) * num_classes + np.asarray(predicted, np.intp)
    weights = np.ones((1, len(cells))) if weights is None else weights
    order = np.argsort(cells, kind="stable")
    used, starts = np.unique(cells[order], return_index=True)
    matrices = np.zeros((len(weights), num_classes * num_classes))
    if len(cells):
        matrices[:, used] = np.add.reduceat(weights[:, order].astype(np.float64), starts, axis=1)
    return matrices.reshape(-1, num_classes, num_classes)


def confusion_measures(matrices: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    """Measures of confusion matrices; NaN where one divides nothing by nothing.

    Means over classes (``macro_…`` and ``balanced_accuracy``) leave out classes without a case. A class with
    cases to which none was assigned counts 0 in ``macro_precision``, as in scikit-learn, although its own
    precision is NaN.

    Args:
        matrices: ``(…, K, K)``, row: target, column: prediction.

    Returns:
        ``accuracy``, ``balanced_accuracy``, ``macro_precision``, ``macro_recall``, ``macro_specificity``,
        ``macro_f1``, ``mcc`` and ``kappa`` of shape ``(…)``, and of every class ``precision``, ``recall``,
        ``specificity`` and ``f1`` of shape ``(…, K)``.

    Reference:
        Matthews' coefficient for K classes: Gorodkin, Computational Biology and Chemistry 28 (2004). Kappa:
        Cohen, Educational and Psychological Measurement 20 (1960). Unlike scikit-learn, Matthews' coefficient
        is NaN instead of 0 where all cases are of, or were assigned to, one class.

    Example:
        >>> measures = confusion_measures(np.array([[5, 1, 0], [2, 2, 0], [0, 0, 0]]))
        >>> measures["recall"].round(3), measures["balanced_accuracy"].round(3)
        (array([0.833, 0.5  ,   nan]), np.float64(0.667))
    """
    matrices = np.asarray(matrices, np.float64)
    true = np.diagonal(matrices, axis1=-2, axis2=-1)
    wanted, given = matrices.sum(axis=-1), matrices.sum(axis=-2)
    total = wanted.sum(axis=-1)
    recall, precision = _ratio(true, wanted), _ratio(true, given)
    rest = total[..., None] - wanted
    specificity = _ratio(rest - given + true, rest)
    f1 = _ratio(2 * true, wanted + given)
    correct, chance = true.sum(axis=-1), (wanted * given).sum(axis=-1)
    spread = (total**2 - (wanted**2).sum(axis=-1)) * (total**2 - (given**2).sum(axis=-1))
    # Absent classes take no part in means.
    present = wanted > 0
    macro_recall = _mean(recall, present)
    return {
        "accuracy": _ratio(correct, total),
        "balanced_accuracy": macro_recall,
        "macro_precision": _mean(np.nan_to_num(precision), present),
        "macro_recall": macro_recall,
        "macro_specificity": _mean(specificity, present & (rest > 0)),
        "macro_f1": _mean(f1, present),
        "mcc": _ratio(correct * total - chance, np.sqrt(spread)),
        "kappa": _ratio(correct * total - chance, total**2 - chance),
        "precision": precision,
        "recall": recall,
        "specificity": specificity,
        "f1": f1,
    }


def _ratio(upper: NDArray[np.float64], lower: NDArray[np.float64]) -> NDArray[np.float64]:
    ratio: NDArray[np.float64] = np.divide(
        upper, lower, out=np.full(np.shape(lower), np.nan), where=lower > 0
    )
    return ratio


def _mean(values: NDArray[np.float64], kept: NDArray[np.bool_]) -> NDArray[np.float64]:
    return _ratio(np.where(kept, values, 0.0).sum(axis=-1), kept.sum(axis=-1).astype(np.float64))
