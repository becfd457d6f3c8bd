"""Mixing the images of a batch with one another: mixup and cutmix."""

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from scalefuse.data.augmentation import Probability, Strength
from scalefuse.schema import Schema


class MixConfig(Schema):
    """How images of a batch are mixed with one another, and their targets with them.

    Attributes:
        probability: of mixing a batch.
        mixup: alpha of the beta distribution that mixup draws shares from; 0 turns it off.
        cutmix: alpha of the beta distribution that cutmix draws areas from; 0 turns it off. Where both are
            on, one of the two is drawn for each batch.

    Example:
        >>> MixConfig(mixup=0.2).cutmix
        0.0
    """

    probability: Probability = 1.0
    mixup: Strength = 0.0
    cutmix: Strength = 0.0


def mix_batch(
    batch: dict[str, Any], config: MixConfig, generator: torch.Generator, *, num_classes: int
) -> dict[str, Any]:
    """Mix each image of a batch with another one; the target says how much there is of either.

    Args:
        batch: ``image`` ``(N, C, H, W)``; ``target`` ``(N,)`` class indices or ``(N, K)`` shares; perhaps
            ``weight`` ``(N,)``, which is mixed too; each image's share of the target counts by its own.
        config: what to do.
        generator: on the CPU; where the random numbers come from.
        num_classes: K.

    Returns:
        The batch with new ``image``, ``weight`` and ``target`` ``(N, K)`` float32; a soft target even where
        nothing is mixed.

    Reference: H. Zhang et al., "mixup: beyond empirical risk minimization", 2018, section 2; S. Yun et al.,
    "CutMix", 2019, equations 1 and 2. One share is drawn for a batch, as in both.

    Example:
        >>> batch = {"image": torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1), "target": torch.tensor([0, 1])}
        >>> generator = torch.Generator().manual_seed(0)
        >>> mixed = mix_batch(batch, MixConfig(mixup=1.0), generator, num_classes=2)
        >>> torch.equal(mixed["target"][:, 1], mixed["image"].flatten())
        True
    """
    image, target = batch["image"], batch["target"]
    if not target.is_floating_point():
        target = F.one_hot(target, num_classes).to(torch.float32)
    mixed = {**batch, "target": target}
    # torch draws no beta numbers from a generator of its own.
    rng = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
    ways = [name for name in ("mixup", "cutmix") if getattr(config, name) > 0]
    if not ways or rng.random() >= config.probability:
        return mixed
    way = ways[int(rng.integers(len(ways)))]
    alpha = getattr(config, way)
    share = float(rng.beta(alpha, alpha))
    order = torch.from_numpy(rng.permutation(len(image))).to(image.device)
    if way == "mixup":
        mixed["image"] = torch.lerp(image[order], image, share)
    else:
        mixed["image"], share = _paste(image, image[order], share, rng)
    mixed["target"] = torch.lerp(target[order], target, share)
    if "weight" in batch:
        # What a case counts goes with its share of the target: a weight of 0 teaches nothing of its own.
        weights = batch["weight"][:, None]
        counted = torch.lerp((weights * target)[order], weights * target, share)
        weight = torch.lerp(weights[order], weights, share)
        mixed["target"] = torch.where(weight > 0, counted / weight.clamp_min(1e-12), mixed["target"])
        mixed["weight"] = weight[:, 0]
    return mixed


def _paste(image: Tensor, other: Tensor, share: float, rng: np.random.Generator) -> tuple[Tensor, float]:
    """Paste a rectangle of another image; also the share that is left of the image itself."""
    height, width = image.shape[-2:]
    side = math.sqrt(1 - share) / 2
    middle = rng.uniform(0, 1, 2) * (height, width)
    top, bottom = (round(float(np.clip(middle[0] + way * side * height, 0, height))) for way in (-1, 1))
    left, right = (round(float(np.clip(middle[1] + way * side * width, 0, width))) for way in (-1, 1))
    pasted = image.clone()
    pasted[..., top:bottom, left:right] = other[..., top:bottom, left:right]
    return pasted, 1 - (bottom - top) * (right - left) / (height * width)
