"""Plots of a classification: confusion matrix, ROC, precision-recall and reliability curves."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scalefuse.report.curves import calibration_figure, plain_figure
from scalefuse.report.labels import plain_label

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from scalefuse.evaluation.classification import ClassificationEvaluation

_MOST_CURVES = 20
_MOST_NUMBERS = 25


def classification_figures(
    evaluation: ClassificationEvaluation, summary: dict[str, Any]
) -> dict[str, Figure]:
    """Every plot of an evaluation.

    Args:
        evaluation: the cases.
        summary: what :meth:`~scalefuse.evaluation.classification.ClassificationEvaluation.summary` gives.

    Returns:
        ``confusion``, ``roc``, ``precision-recall`` and ``reliability``; without curves for which no class
        has both kinds of cases.

    Example:
        >>> from scalefuse.evaluation.classification import evaluate_classification
        >>> found = evaluate_classification(np.eye(2)[[0, 1, 1]], np.array([0, 1, 0]), ["no", "yes"])
        >>> list(classification_figures(found, found.summary(num_resamples=2)))
        ['confusion', 'roc', 'precision-recall', 'reliability']
    """
    figures = {"confusion": confusion_figure(evaluation.confusion, evaluation.classes)}
    shown = [
        index
        for index, wanted in enumerate(evaluation.indicators.T)
        if wanted.any() and not wanted.all() and evaluation.positive in (None, index)
    ]
    if shown:
        figures["roc"] = _roc(evaluation, summary, shown)
        figures["precision-recall"] = _precision_recall(evaluation, summary, shown)
    figures["reliability"] = calibration_figure(summary["calibration"])
    return figures


def figure_pixels(figure: Figure) -> NDArray[np.uint8]:
    """A plot as a picture ``(H, W, 3)``.

    Example:
        >>> figure_pixels(confusion_figure(np.eye(2, dtype=int), ["no", "yes"])).shape[2]
        3
    """
    from PIL import Image as Pillow

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight")
    return np.array(Pillow.open(buffer).convert("RGB"))


def confusion_figure(matrices: NDArray[Any], classes: Sequence[str]) -> Figure:
    """Counts of true against predicted classes, shaded by the share of each true class.

    Args:
        matrices: ``(K, K)``, row: true class; or ``(K, 2, 2)``, one for each of several labels.
        classes: names of the K classes.

    Example:
        >>> len(confusion_figure(np.ones((3, 2, 2), int), ["a", "b", "c"]).axes)
        3
    """
    if matrices.ndim == 2:
        side = min(9.0, 2.2 + 0.6 * len(classes))
        figure = plain_figure(side, side)
        _draw_matrix(figure.add_subplot(), matrices, [_short(name) for name in classes])
        return figure
    columns = min(4, len(matrices))
    rows = -(-len(matrices) // columns)
    figure = plain_figure(2.4 * columns, 2.5 * rows)
    for number, (matrix, name) in enumerate(zip(matrices, classes, strict=True), start=1):
        axis = figure.add_subplot(rows, columns, number)
        _draw_matrix(axis, matrix, ["without", "with"])
        axis.set_title(_short(name), fontsize=9)
    return figure


def _draw_matrix(axis: Any, matrix: NDArray[Any], names: Sequence[str]) -> None:
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(names) <= _MOST_NUMBERS:
        for row, column in np.ndindex(*matrix.shape):
            colour = "white" if shares[row, column] > 0.55 else "black"
            axis.text(
                column, row, str(int(matrix[row, column])), ha="center", va="center", color=colour, fontsize=8
            )
    places = range(len(names))
    axis.set_xticks(places, names, rotation=45, ha="right", fontsize=8)
    axis.set_yticks(places, names, fontsize=8)
    axis.set_xlabel("predicted", fontsize=9)
    axis.set_ylabel("true", fontsize=9)


def _roc(evaluation: ClassificationEvaluation, summary: dict[str, Any], shown: Sequence[int]) -> Figure:
    from sklearn.metrics import roc_curve

    figure = plain_figure(4.8, 4.6)
    axis = figure.add_subplot()
    axis.plot([0, 1], [0, 1], color="0.7", linewidth=1, linestyle="--")
    for index in shown[:_MOST_CURVES]:
        wanted, scores = evaluation.indicators[:, index], evaluation.probabilities[:, index]
        false, true, _ = roc_curve(wanted, scores)
        label = evaluation.classes[index]
        area = summary["per_class"][label]["auroc"]["value"]
        axis.plot(false, true, linewidth=1.3, label=f"{_short(label)} ({area:.3f})")
    axis.set(xlabel="1 − specificity", ylabel="sensitivity", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    axis.legend(fontsize=7, loc="lower right", title=_of_first("area", shown), title_fontsize=7)
    return figure


def _precision_recall(
    evaluation: ClassificationEvaluation, summary: dict[str, Any], shown: Sequence[int]
) -> Figure:
    from sklearn.metrics import precision_recall_curve

    figure = plain_figure(4.8, 4.6)
    axis = figure.add_subplot()
    for index in shown[:_MOST_CURVES]:
        wanted, scores = evaluation.indicators[:, index], evaluation.probabilities[:, index]
        precision, recall, _ = precision_recall_curve(wanted, scores)
        label = evaluation.classes[index]
        area = summary["per_class"][label]["auprc"]["value"]
        # Between two thresholds precision is no straight line; the step is what the average counts.
        (line,) = axis.step(
            recall, precision, where="post", linewidth=1.3, label=f"{_short(label)} ({area:.3f})"
        )
        axis.axhline(wanted.mean(), color=line.get_color(), linewidth=0.7, linestyle=":")
    axis.set(xlabel="recall", ylabel="precision", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    title = _of_first("average precision; dotted: share of cases", shown)
    axis.legend(fontsize=7, loc="lower left", title=title, title_fontsize=7)
    return figure


def _of_first(title: str, shown: Sequence[int]) -> str:
    """What a legend says, and that it does not say it of all classes."""
    return title if len(shown) <= _MOST_CURVES else f"first {_MOST_CURVES} of {len(shown)} classes: {title}"


def _short(name: str) -> str:
    return plain_label(name if len(name) <= 28 else f"{name[:27]}…")
