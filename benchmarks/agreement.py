"""How far two ways to compute one network are apart, in the terms of its task."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

MEASURES = ("EN", "SD", "AG", "MI", "SCD", "VIF", "Qabf", "SSIM")
GREY_LEVEL = 1 / 255
# Measuring a picture takes as long as fusing it.
NUM_MEASURED = 3


def pictures_agree(expected: list[Any], found: list[Any]) -> dict[str, float]:
    """Fused pictures ``(1, 1, H, W)`` in [0, 1]: differences, and shares of pixels within grey levels.

    Example:
        >>> a = torch.zeros(1, 1, 2, 2)
        >>> pictures_agree([a], [a + 2 / 255])["within_1_grey_level"]
        0.0
    """
    difference = torch.cat(
        [(a.float() - b.float()).abs().flatten() for a, b in zip(expected, found, strict=True)]
    )
    # Half a millionth: 1/255 is no binary fraction.
    return {
        "max_difference": float(difference.max()),
        "within_1_grey_level": float((difference <= GREY_LEVEL + 5e-7).double().mean()),
        "within_4_grey_levels": float((difference <= 4 * GREY_LEVEL + 5e-7).double().mean()),
    }


def measures_change(sources: list[Any], expected: list[Any], found: list[Any]) -> dict[str, float]:
    """The largest change of any measure of fused pictures, as they are written, relative to its value.

    Args:
        sources: The pairs that were fused, two ``(1, 1, H, W)`` each.
        expected: Pictures of the reference.
        found: Pictures of the other path.
    """
    from scalefuse.evaluation.fusion import luma_8bit
    from scalefuse.metrics import FUSION_METRICS

    worst = 0.0
    for (a, b), one, other in zip(sources, expected, found, strict=True):
        first, second, right, got = (luma_8bit(tensor[0, 0].float().numpy()) for tensor in (a, b, one, other))
        for name in MEASURES:
            values = [float(FUSION_METRICS[name](fused, first, second)) for fused in (right, got)]
            worst = max(worst, abs(values[1] - values[0]) / max(abs(values[0]), 1e-9))
    return {"largest_measure_change": worst}


def masks_agree(expected: list[Any], found: list[Any]) -> dict[str, float]:
    """Logits of masks ``(1, K, H, W)``: difference of the probabilities, and Dice of the masks.

    Two empty masks count 1.

    Example:
        >>> a = torch.tensor([[[[9.0, 9.0, -9.0]]]])
        >>> round(masks_agree([a], [a.roll(1)])["dice_min"], 3)
        0.5
    """
    differences, dice = [], []
    for one, other in zip(expected, found, strict=True):
        probability = [logits.float().sigmoid() for logits in (one, other)]
        differences.append(float((probability[0] - probability[1]).abs().max()))
        masks = [values >= 0.5 for values in probability]
        total = int(masks[0].sum() + masks[1].sum())
        dice.append(2 * int((masks[0] & masks[1]).sum()) / total if total else 1.0)
    return {
        "max_difference": max(differences),
        "dice_mean": float(np.mean(dice)),
        "dice_min": min(dice),
    }


def classes_agree(expected: list[Any], found: list[Any]) -> dict[str, float]:
    """Logits ``(N, K)``: share of pictures with the same best class, and difference of the probabilities.

    Example:
        >>> classes_agree([torch.tensor([[1.0, 0.0]])], [torch.tensor([[0.0, 1.0]])])["top1_same"]
        0.0
    """
    one, other = (torch.cat(logits).float() for logits in (expected, found))
    difference = (one.softmax(dim=1) - other.softmax(dim=1)).abs()
    return {
        "max_difference": float(difference.max()),
        "mean_difference": float(difference.mean()),
        "top1_same": float((one.argmax(dim=1) == other.argmax(dim=1)).double().mean()),
    }


def mask_logits(output: Any) -> Tensor:
    """The mask's logits of what a segmentation network or engine returns."""
    logits: Tensor = output if isinstance(output, Tensor) else output.mask
    return logits
