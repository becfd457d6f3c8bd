"""Losses of a classifier with weights for classes and for cases."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalefuse.config.classification import ClassificationLoss
from scalefuse.errors import InputError


class WeightedLoss(nn.Module):
    """Cross entropy or focal loss of soft or hard targets, for one label per image or for several.

    A case counts as its own weight times that of its class; of a mixed one, each share does. Weights are
    scaled so that their mean over the training cases is 1: they move what the loss is about and not how large
    it is. Where an image may carry several labels, the weight of a class applies where its label is there.

    Args:
        config: Which loss.
        class_weights: ``(K,)``, see :func:`class_weights`.
        multi_label: Whether an image may carry several labels.
        scale: Mean over the training cases of what a case counts.

    Reference:
        Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, equation 4, as MONAI computes it.

    Example:
        >>> loss = WeightedLoss(ClassificationLoss(), torch.tensor([1.0, 3.0]), multi_label=False)
        >>> round(loss(torch.zeros(2, 2), torch.tensor([0, 1])).item(), 4)  # (1 + 3) / 2 · ln 2
        1.3863
    """

    weights: Tensor

    def __init__(
        self, config: ClassificationLoss, class_weights: Tensor, *, multi_label: bool, scale: float = 1.0
    ) -> None:
        super().__init__()
        self.config, self.multi_label, self.scale = config, multi_label, scale
        self.register_buffer("weights", class_weights.to(torch.float32), persistent=False)

    def forward(self, logits: Tensor, target: Tensor, case_weights: Tensor | None = None) -> Tensor:
        """Mean loss of a batch.

        Args:
            logits: ``(N, K)``.
            target: Class indices ``(N,)``, or ``(N, K)`` in [0, 1]: shares of the classes, or labels.
            case_weights: ``(N,)``; all 1 where None.
        """
        logits = logits.float()
        if not target.is_floating_point():
            target = F.one_hot(target, logits.shape[1]).to(logits.dtype)
        losses = self._labels(logits, target) if self.multi_label else self._classes(logits, target)
        if case_weights is not None:
            losses = losses * case_weights
        return losses.mean() / self.scale

    def _classes(self, logits: Tensor, target: Tensor) -> Tensor:
        from monai.losses import FocalLoss

        # Both losses are linear in the target: each share of a mixed one counts as its own class does.
        weighted = target * self.weights
        smoothing = self.config.label_smoothing
        target = weighted * (1 - smoothing) + weighted.sum(dim=1, keepdim=True) * smoothing / logits.shape[1]
        if self.config.name == "focal":
            focal = FocalLoss(gamma=self.config.focal_gamma, use_softmax=True, reduction="none")
            losses: Tensor = focal(logits, target).sum(dim=1)
        else:
            losses = F.cross_entropy(logits, target, reduction="none")
        return losses

    def _labels(self, logits: Tensor, target: Tensor) -> Tensor:
        from monai.losses import FocalLoss

        smoothing = self.config.label_smoothing
        target = target * (1 - smoothing) + smoothing / 2
        if self.config.name == "focal":
            focal = FocalLoss(gamma=self.config.focal_gamma, reduction="none")
            # A share of a label is that share of the loss where it is there and the rest of where it is not.
            there = focal(logits, torch.ones_like(logits))
            absent = focal(logits, torch.zeros_like(logits))
        else:
            there, absent = F.softplus(-logits), F.softplus(logits)
        losses: Tensor = (self.weights * target * there + (1 - target) * absent).mean(dim=1)
        return losses


WEIGHED_TWICE = (
    "data.balance draws rare classes more often, and loss.class_weights=balanced counts them more as well: "
    "together they count more than the others; take one of the two"
)
"""What to say where both are asked for."""


def class_weights(
    choice: str | Sequence[float],
    targets: Tensor,
    num_classes: int,
    labels: Sequence[str] = (),
    case_weights: Tensor | None = None,
) -> Tensor:
    """What each class counts in the loss.

    Args:
        choice: ``none``; ``balanced``; or one number per class.
        targets: Of all training cases: class indices ``(N,)``, or labels 0 and 1 ``(N, K)``.
        num_classes: K.
        labels: Names of the classes, for messages.
        case_weights: ``(N,)``, how often each case is counted; all 1 where None.

    Returns:
        ``(K,)``. Balanced, they are N / (K·Nₖ) for Nₖ cases of class k, so that every class has the same part
        in the loss; where there may be several labels, absent cases over present ones. Classes of which no
        case counts get the weight that a single case would.

    Raises:
        InputError: Not one number per class.

    Example:
        >>> class_weights("balanced", torch.tensor([0, 0, 0, 1]), 2)
        tensor([0.6667, 2.0000])
    """
    if not isinstance(choice, str):
        if len(choice) != num_classes:
            raise InputError(
                f"loss.class_weights has {len(choice)} numbers, but there are {num_classes} classes "
                f"({', '.join(labels)}); give one for each, in this order."
            )
        return torch.tensor([float(weight) for weight in choice])
    if choice == "none":
        return torch.ones(num_classes)
    counted = torch.ones(len(targets)) if case_weights is None else case_weights.to(torch.float32)
    whole = counted.sum()
    if targets.ndim == 2:
        present = counted @ targets.to(torch.float32)
        return _above_nothing(whole - present) / _above_nothing(present)
    counts = torch.bincount(targets, weights=counted, minlength=num_classes).to(torch.float32)
    return whole / (num_classes * _above_nothing(counts))


def _above_nothing(counts: Tensor) -> Tensor:
    return torch.where(counts > 0, counts, torch.ones_like(counts))


def mean_weight(weights: Tensor, targets: Tensor, case_weights: Tensor) -> float:
    """Mean over the training cases of what a case counts.

    Args:
        weights: Of the classes, ``(K,)``.
        targets: Class indices ``(N,)``, or labels ``(N, K)``, where only the cases' own weights are averaged.
        case_weights: ``(N,)``.

    Raises:
        InputError: A weight is negative or not a number, or all are 0.

    Example:
        >>> mean_weight(torch.tensor([1.0, 3.0]), torch.tensor([0, 1]), torch.tensor([1.0, 1.0]))
        2.0
    """
    if not bool(torch.isfinite(case_weights).all()) or bool((case_weights < 0).any()):
        raise InputError("The weights of the training images must be numbers of 0 or more; mend them.")
    counted = case_weights if targets.ndim == 2 else case_weights * weights[targets]
    mean = float(counted.mean())
    if mean <= 0:
        raise InputError("The weights of all training images are 0, so that nothing is learned; mend them.")
    return mean
