"""The segmentation training step, with MSRF-Net's loss."""

from __future__ import annotations

from functools import partial
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from scalefuse.catalog import NETWORKS
from scalefuse.config.segmentation import SegmentationRun
from scalefuse.inference.segmenter import OVERLAP, TILE, WHOLE_IMAGE_LIMIT
from scalefuse.inference.sliding import sliding_bands
from scalefuse.losses.segmentation import SegmentationLoss
from scalefuse.training.optimisation import make_optimizer


class SegmentationTask(pl.LightningModule):
    """Training with MSRF-Net's loss, or with its mask terms for a network that has no others.

    Validation measures the mean over images of Dice at threshold 0.5 (over classes but background, too).
    Images that were cropped for training are validated whole, and above ``whole_image_limit`` pixels in the
    predictor's windows, so that memory stays bounded; their logits are averaged, where the predictor averages
    probabilities.

    Args:
        network: A network that returns MSRF-Net's named logits, or the mask's logits alone.
        config: The run.
        num_steps: Optimiser steps of the whole run, for the schedule.

    Reference:
        Srivastava et al. 2022, section III-F, for the loss.
    """

    monitor, mode = "val/dice", "max"

    def __init__(self, network: nn.Module, config: SegmentationRun, num_steps: int) -> None:
        super().__init__()
        # Measured faster here than NCHW, unlike for DILRAN.
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.run = config
        self.num_steps = num_steps
        self.whole_image_limit, self.tile = WHOLE_IMAGE_LIMIT, TILE
        self.size_multiple = NETWORKS[config.network.name].size_multiple
        classes = config.data.classes
        if classes is not None and classes.multi_label:
            self.kind = "multilabel"
        else:
            self.kind = "binary" if config.network.num_classes == 1 else "multiclass"
        self.loss = SegmentationLoss(mode=self.kind)  # type: ignore[arg-type]

    def _parts(self, batch: dict[str, Any]) -> tuple[dict[str, Tensor], Tensor]:
        height, width = batch["image"].shape[-2:]
        image = _padded(batch["image"], self.size_multiple)
        if self.run.data.fit == "crop" and not self.training and height * width > self.whole_image_limit:
            # Where windows fit, nothing is padded, so that they lie where the predictor lays them.
            if min(height, width) >= self.tile:
                image = batch["image"]
            output = self._in_windows(image)
        else:
            output = self._output(image)
        if image.shape[-2:] != (height, width):
            output = _cropped(output, height, width)
        mask = batch["mask"][:, None].float() if self.kind == "binary" else batch["mask"]
        parts: dict[str, Tensor] = self.loss(output, mask)
        return parts, output if isinstance(output, Tensor) else output.mask

    def _output(self, image: Tensor) -> Any:
        return self.network(image.contiguous(memory_format=torch.channels_last))

    def _in_windows(self, image: Tensor) -> Any:
        """What the network gives for ``(N, C, H, W)``, window by window."""
        size = image.shape[2], image.shape[3]
        window = min(self.tile, size[0]), min(self.tile, size[1])
        kinds: list[Any] = []

        def predict(one: Tensor, top: int, left: int) -> Tensor:
            output = self._output(one[None, :, top : top + window[0], left : left + window[1]])
            kinds[:] = [None if isinstance(output, Tensor) else output]
            logits = [output] if isinstance(output, Tensor) else list(output)
            return torch.cat(logits, dim=1)[0].float().cpu()

        wholes = []
        for one in image:
            bands = sliding_bands(partial(predict, one), size, window, OVERLAP)
            wholes.append(torch.cat([band for _, band in bands], dim=1))
        whole = torch.stack(wholes).to(image.device)
        if kinds[0] is None:
            return whole
        return type(kinds[0])(*torch.split(whole, [logits.shape[1] for logits in kinds[0]], dim=1))

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """One optimiser step."""
        parts, _ = self._parts(batch)
        self._log("train", parts, len(batch["image"]))
        return parts["loss"]

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Loss and per-image Dice."""
        parts, logits = self._parts(batch)
        scores = dice_per_image(logits.float(), batch["mask"], self.kind)
        self._log("val", {**parts, "dice": scores.mean()}, len(scores))

    def _log(self, split: str, parts: dict[str, Tensor], size: int) -> None:
        values = {f"{split}/{name}": value.detach() for name, value in parts.items()}
        self.log_dict(values, on_step=False, on_epoch=True, batch_size=size)

    def configure_optimizers(self) -> Any:
        """Optimiser and schedule of the config."""
        return make_optimizer(self.network.parameters(), self.run.optimizer, self.num_steps)


def _padded(image: Tensor, multiple: int) -> Tensor:
    """Pad images of any size to the multiple that the network needs."""
    height, width = image.shape[-2:]
    pad = (0, -width % multiple, 0, -height % multiple)
    return nn.functional.pad(image, pad, mode="replicate") if any(pad) else image


def _cropped(output: Any, height: int, width: int) -> Any:
    """Logits of the image itself, without what was padded: no loss or score counts that."""
    if isinstance(output, Tensor):
        return output[..., :height, :width]
    return type(output)(*(logits[..., :height, :width] for logits in output))


def dice_per_image(logits: Tensor, target: Tensor, kind: str) -> Tensor:
    """Dice of each image, ``(N,)``; two empty masks count 1.

    Args:
        logits: ``(N, K, H, W)``.
        target: ``(N, H, W)`` class indices, or ``(N, K, H, W)`` of 0 and 1 where ``kind`` is ``multilabel``.
        kind: ``binary``, ``multilabel`` or ``multiclass`` (mean over the classes but the first).

    Example:
        >>> logits = torch.tensor([[[[9.0, 9.0, -9.0]]]])
        >>> round(dice_per_image(logits, torch.tensor([[[1, 0, 0]]]), "binary").item(), 4)
        0.6667
    """
    if kind == "multiclass":
        count = logits.shape[1]
        predicted = nn.functional.one_hot(logits.argmax(1), count).movedim(-1, 1)[:, 1:].bool()
        truth = nn.functional.one_hot(target.long(), count).movedim(-1, 1)[:, 1:].bool()
    else:
        predicted = logits > 0
        truth = (target if kind == "multilabel" else target[:, None]) > 0.5
    both = (predicted & truth).sum(dim=(2, 3))
    total = predicted.sum(dim=(2, 3)) + truth.sum(dim=(2, 3))
    return torch.where(total > 0, 2 * both / total.clamp_min(1), 1.0).mean(dim=1)
