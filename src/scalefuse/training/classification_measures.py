"""What a classifier is measured by while it is trained."""

from __future__ import annotations

import warnings

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from scalefuse.evaluation.classification_statistics import Statistics

MEASURES = (
    *("loss", "accuracy", "balanced_accuracy", "precision", "sensitivity", "specificity", "f1"),
    *("auroc", "auprc", "mcc", "kappa", "brier", "ece"),
)
LOWER_IS_BETTER = frozenset({"loss", "brier", "ece"})


def classification_measures(
    logits: Tensor, targets: Tensor, *, multi_label: bool, positive: int = 1
) -> dict[str, float]:
    """Measures of the logits of validation images.

    ``loss`` is the mean negative log-likelihood without weights or smoothing, so that runs with other losses
    compare. ``balanced_accuracy`` and ``f1`` are means over classes; so are ``precision``, ``sensitivity``,
    ``specificity``, ``auroc`` and ``auprc`` (one against the rest), but for two classes they are of the
    positive one. Classes that no image shows are left out. ``mcc``, ``kappa``, ``brier`` and ``ece`` are
    those of ``scalefuse evaluate``; where all images are called the same, ``mcc`` is 0, as is ``precision``
    where none is called.

    Args:
        logits: ``(N, K)``.
        targets: Class indices ``(N,)``, or labels 0 and 1 ``(N, K)``.
        multi_label: Whether an image may carry several labels. Then all are means over labels, at threshold
            0.5 where there is one, and ``balanced_accuracy`` is the mean of sensitivity and specificity.
        positive: Of two classes, the index of the one that is meant.

    Returns:
        A number for each of :data:`MEASURES`.

    Example:
        >>> found = classification_measures(
        ...     torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, 3.0]]), torch.tensor([0, 0, 1]), multi_label=False
        ... )
        >>> round(found["accuracy"], 3), found["balanced_accuracy"], found["auroc"]
        (0.667, 0.75, 1.0)
    """
    logits = logits.detach().float().cpu()
    targets = targets.detach().cpu().long()
    with warnings.catch_warnings():
        # Of classes without images, which are left out below.
        warnings.simplefilter("ignore")
        found = _of_labels(logits, targets) if multi_label else _of_classes(logits, targets, positive)
        found |= _of_evaluation(logits, targets, multi_label=multi_label, positive=positive)
    return {name: float(found[name]) for name in MEASURES}


def _of_classes(logits: Tensor, targets: Tensor, positive: int) -> dict[str, Tensor]:
    from torchmetrics.functional.classification import (
        binary_auroc,
        binary_average_precision,
        multiclass_auroc,
        multiclass_average_precision,
        multiclass_f1_score,
        multiclass_recall,
    )

    count = logits.shape[1]
    probabilities, predicted = logits.softmax(dim=1), logits.argmax(dim=1)
    shown = torch.bincount(targets, minlength=count) > 0
    if count == 2:
        pair = probabilities[:, positive], (targets == positive).long()
        areas = [area(*pair) for area in (binary_auroc, binary_average_precision)]
        auroc, auprc = (area if bool(shown.all()) else torch.tensor(float("nan")) for area in areas)
    else:
        # With one class alone there is nothing to rank.
        inside = shown & (shown.sum() > 1)
        auroc = _mean(multiclass_auroc(probabilities, targets, count, average="none"), inside)
        auprc = _mean(multiclass_average_precision(probabilities, targets, count, average="none"), inside)
    return {
        "loss": F.cross_entropy(logits, targets),
        "accuracy": (predicted == targets).float().mean(),
        "balanced_accuracy": _mean(multiclass_recall(predicted, targets, count, average="none"), shown),
        "f1": _mean(multiclass_f1_score(predicted, targets, count, average="none"), shown),
        "auroc": auroc,
        "auprc": auprc,
    }


def _of_evaluation(logits: Tensor, targets: Tensor, *, multi_label: bool, positive: int) -> dict[str, Tensor]:
    """Those that ``scalefuse evaluate`` has and the rest of this module has not."""
    logits = logits.double()
    probabilities = logits.sigmoid() if multi_label else logits.softmax(dim=1)
    predicted = (logits > 0) if multi_label else logits.argmax(dim=1)
    truth = targets.bool() if multi_label else targets
    meant = positive if logits.shape[1] == 2 and not multi_label else None
    statistics = Statistics(probabilities.numpy(), truth.numpy(), predicted.numpy(), meant)
    measured = statistics(np.ones((1, len(logits))))
    found = {name: measured.overall[name] for name in ("mcc", "kappa", "brier", "ece")}
    found["mcc"] = np.nan_to_num(found["mcc"])
    for name, theirs in (
        ("precision", "precision"),
        ("sensitivity", "recall"),
        ("specificity", "specificity"),
    ):
        if meant is None:
            found[name] = measured.overall[f"macro_{theirs}"]
        else:
            found[name] = measured.per_class[theirs][:, meant]
    if (targets == positive).any():
        found["precision"] = np.nan_to_num(found["precision"])
    return {name: torch.as_tensor(values[0]) for name, values in found.items()}


def _of_labels(logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
    from torchmetrics.functional.classification import (
        binary_auroc,
        binary_average_precision,
        binary_f1_score,
        binary_recall,
        binary_specificity,
    )

    probabilities = logits.sigmoid()
    predicted = (logits > 0).long()
    # A label that all images or none carry has neither curve.
    mixed = (targets.sum(dim=0) > 0) & (targets.sum(dim=0) < len(targets))

    def over_labels(measure: object, values: Tensor) -> Tensor:
        scores = [measure(values[:, k], targets[:, k]) for k in range(targets.shape[1])]  # type: ignore[operator]
        return _mean(torch.stack(scores), mixed)

    return {
        "loss": F.binary_cross_entropy_with_logits(logits, targets.float()),
        "accuracy": (predicted == targets).float().mean(),
        "balanced_accuracy": (
            over_labels(binary_recall, predicted) + over_labels(binary_specificity, predicted)
        )
        / 2,
        "f1": over_labels(binary_f1_score, predicted),
        "auroc": over_labels(binary_auroc, probabilities),
        "auprc": over_labels(binary_average_precision, probabilities),
    }


def _mean(values: Tensor, inside: Tensor) -> Tensor:
    """Mean of the values of some classes; NaN where there are none."""
    return values[inside].float().mean()
