"""The loss of MSRF-Net, and the edge map that its shape stream learns."""

from __future__ import annotations

from typing import Literal, Protocol, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scalefuse.errors import InputError

SegmentationMode = Literal["binary", "multilabel", "multiclass"]


class DeeplySupervisedLogits(Protocol):
    """What :class:`SegmentationLoss` reads of a network's output."""

    @property
    def mask(self) -> Tensor:
        """Logits of the mask, ``(N, C, H, W)``."""

    @property
    def scale3(self) -> Tensor:
        """Logits of the deep supervision at stride 4, ``(N, C, H, W)``."""

    @property
    def scale2(self) -> Tensor:
        """Logits of the deep supervision at stride 2, ``(N, C, H, W)``."""

    @property
    def edge(self) -> Tensor:
        """Logits of the edge map, ``(N, 1, H, W)``."""


def dice_loss(
    logits: Tensor, target: Tensor, *, mode: SegmentationMode = "binary", smooth: float = 1.0
) -> Tensor:
    """Return one minus the soft Dice coefficient over the whole batch, averaged over the channels.

    Args:
        logits: Shape ``(N, C, H, W)``; C is 1 if ``mode`` is "binary".
        target: Probabilities of the logits' shape, in [0, 1]; if ``mode`` is "multiclass", class indices of
            shape ``(N, H, W)`` or ``(N, 1, H, W)`` are taken too.
        mode: A sigmoid for each channel ("binary", "multilabel") or a softmax over them ("multiclass").
        smooth: Added to numerator and denominator, so that an empty image can be right.

    Returns:
        A scalar in [0, 1], in single precision at least.

    Raises:
        InputError: ``target`` does not fit ``logits``, or ``mode`` is unknown.

    Example:
        >>> target = torch.tensor([[[[1.0, 0.0]]]])
        >>> dice_loss(torch.zeros(1, 1, 1, 2), target)  # 1 - (2 · 0.5 + 1) / (1 + 1 + 1)
        tensor(0.3333)

    Reference:
        MSRF-Net, section III-E. Multi-class and multi-label are this package's extension.
    """
    logits, target = _prepare(logits, target, mode)
    return _dice(logits, target, mode, smooth)


def cross_entropy(logits: Tensor, target: Tensor, *, mode: SegmentationMode = "binary") -> Tensor:
    """Return the mean cross entropy: binary for each channel, or over the classes.

    Args:
        logits: Shape ``(N, C, H, W)``; C is 1 if ``mode`` is "binary".
        target: As for :func:`dice_loss`.
        mode: As for :func:`dice_loss`.

    Returns:
        A scalar, in single precision at least.

    Raises:
        InputError: ``target`` does not fit ``logits``, or ``mode`` is unknown.

    Example:
        >>> cross_entropy(torch.zeros(1, 3, 1, 2), torch.tensor([[[0, 2]]]), mode="multiclass")  # log 3
        tensor(1.0986)

    Reference:
        MSRF-Net, section III-E.
    """
    logits, target = _prepare(logits, target, mode)
    return _cross_entropy(logits, target, mode)


def edge_target(mask: Tensor) -> Tensor:
    """Return the objects' boundary, one pixel wide, on the objects' own side.

    A pixel is on the boundary if it belongs to an object and one of its four neighbours inside the image
    does not belong to the same one. Where two classes touch, both sides are marked; an object that leaves the
    image has no boundary along the image's border.

    Args:
        mask: Class indices (0 is background) of shape ``(N, H, W)`` or ``(N, 1, H, W)``, or a mask for each
            label, ``(N, C, H, W)``. Float values are rounded.

    Returns:
        Shape ``(N, 1, H, W)``, 0 or 1, in the default float type: the union over classes or labels.

    Raises:
        InputError: ``mask`` has neither three nor four dimensions.

    Example:
        >>> square = torch.zeros(1, 1, 5, 5)
        >>> square[..., 1:4, 1:4] = 1
        >>> edge_target(square)[0, 0].int().tolist()
        [[0, 0, 0, 0, 0], [0, 1, 1, 1, 0], [0, 1, 0, 1, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0]]

    Reference:
        MSRF-Net, section III-E. Deviation: the released program takes Canny edges of the mask, which are
        empty for a mask of zeros and ones at its thresholds.
    """
    if mask.ndim not in (3, 4):
        raise InputError(f"Expected a mask of shape (N, H, W) or (N, C, H, W), but got {tuple(mask.shape)}.")
    labels = mask[:, None] if mask.ndim == 3 else mask
    if not labels.is_floating_point():
        labels = labels.to(torch.get_default_dtype())
    labels = labels.round()
    # Max pooling continues the image with minus infinity, so nothing outside of it counts as another class.
    pools = [((3, 1), (1, 0)), ((1, 3), (0, 1))]
    largest = [F.max_pool2d(labels, size, 1, padding) for size, padding in pools]
    smallest = [-F.max_pool2d(-labels, size, 1, padding) for size, padding in pools]
    differs = torch.maximum(*largest) != torch.minimum(*smallest)
    on_boundary = (differs & (labels > 0)).any(dim=1, keepdim=True)
    return on_boundary.to(torch.get_default_dtype())


class SegmentationLoss(nn.Module):
    """``2 · (CE + Dice)(mask) + BCE(edge) + (CE + Dice)(scale 3) + (CE + Dice)(scale 2)``.

    Computed in single precision at least, whatever the logits' type.

    Args:
        mode: What the channels of the logits mean: one mask, independent labels or exclusive classes.
        mask_weight: Weight of the mask's two terms.
        edge_weight: Weight of the edge's binary cross entropy.
        deep_weight: Weight of the two terms of each deep supervision.
        smooth: Added to numerator and denominator of Dice.

    Raises:
        InputError: ``mode`` is unknown.

    Example:
        >>> from typing import NamedTuple
        >>> class Output(NamedTuple):
        ...     mask: Tensor
        ...     scale3: Tensor
        ...     scale2: Tensor
        ...     edge: Tensor
        >>> logits = torch.zeros(1, 1, 4, 4)
        >>> parts = SegmentationLoss()(Output(logits, logits, logits, logits), torch.ones(1, 1, 4, 4))
        >>> list(parts)  # doctest: +NORMALIZE_WHITESPACE
        ['loss', 'mask_cross_entropy', 'mask_dice', 'scale3_cross_entropy', 'scale3_dice',
         'scale2_cross_entropy', 'scale2_dice', 'edge_cross_entropy']
        >>> round(parts["edge_cross_entropy"].item(), 4)  # log 2
        0.6931

    Reference:
        MSRF-Net, section III-E; the edge target is :func:`edge_target`'s.
    """

    def __init__(
        self,
        mode: SegmentationMode = "binary",
        *,
        mask_weight: float = 2.0,
        edge_weight: float = 1.0,
        deep_weight: float = 1.0,
        smooth: float = 1.0,
    ) -> None:
        super().__init__()
        _check_mode(mode)
        self.mode: SegmentationMode = mode
        self.mask_weight = mask_weight
        self.edge_weight = edge_weight
        self.deep_weight = deep_weight
        self.smooth = smooth

    def forward(self, output: DeeplySupervisedLogits | Tensor, target: Tensor) -> dict[str, Tensor]:
        """Return the loss and its parts.

        Args:
            output: The network's logits. A plain tensor ``(N, C, H, W)`` stands for a network without deep
                supervision and edge; only the mask's terms are then there.
            target: As for :func:`dice_loss`.

        Returns:
            Scalars: ``loss``, the weighted sum, and the parts before weighting, the latter without gradient.

        Raises:
            InputError: ``target`` does not fit the logits.
        """
        if isinstance(output, Tensor):
            supervised = {"mask": (output, self.mask_weight)}
        else:
            supervised = {
                "mask": (output.mask, self.mask_weight),
                "scale3": (output.scale3, self.deep_weight),
                "scale2": (output.scale2, self.deep_weight),
            }
        parts: dict[str, Tensor] = {}
        weights: dict[str, float] = {}
        for name, (logits, weight) in supervised.items():
            exact, probabilities = _prepare(logits, target, self.mode)
            parts[f"{name}_cross_entropy"] = _cross_entropy(exact, probabilities, self.mode)
            parts[f"{name}_dice"] = _dice(exact, probabilities, self.mode, self.smooth)
            weights[f"{name}_cross_entropy"] = weights[f"{name}_dice"] = weight
        if not isinstance(output, Tensor):
            parts["edge_cross_entropy"] = cross_entropy(output.edge, self._edge_target(output.mask, target))
            weights["edge_cross_entropy"] = self.edge_weight
        loss = torch.stack([weights[name] * part for name, part in parts.items()]).sum()
        return {"loss": loss, **{name: part.detach() for name, part in parts.items()}}

    def _edge_target(self, logits: Tensor, target: Tensor) -> Tensor:
        if self.mode == "multiclass" and target.shape == logits.shape:
            target = target.argmax(dim=1)
        return edge_target(target)


def _check_mode(mode: str) -> None:
    if mode not in get_args(SegmentationMode):
        raise InputError(
            f"Expected argument `mode` to be one of {get_args(SegmentationMode)}, but got {mode!r}."
        )


def _prepare(logits: Tensor, target: Tensor, mode: SegmentationMode) -> tuple[Tensor, Tensor]:
    """Logits in single precision at least, and probabilities of their shape and type."""
    _check_mode(mode)
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    if mode == "binary" and logits.shape[1] != 1:
        raise InputError(
            f"Expected one channel of logits for a binary mask, but got {logits.shape[1]}. "
            'Use mode "multiclass" or "multilabel".'
        )
    if mode == "multiclass" and target.shape != logits.shape:
        target = _one_hot(target, logits)
    if target.shape != logits.shape:
        raise InputError(
            f"Expected a {mode} target of the logits' shape {tuple(logits.shape)}, "
            f"but got {tuple(target.shape)}."
        )
    return logits, target.to(logits.dtype)


def _one_hot(target: Tensor, logits: Tensor) -> Tensor:
    indices = target[:, 0] if target.ndim == 4 and target.shape[1] == 1 else target
    num_images, num_classes, *size = logits.shape
    if tuple(indices.shape) != (num_images, *size):
        raise InputError(
            f"Expected class indices of shape {(num_images, *size)} or probabilities of shape "
            f"{tuple(logits.shape)}, but got {tuple(target.shape)}."
        )
    lowest, highest = int(indices.min()), int(indices.max())
    if lowest < 0 or highest >= num_classes:
        raise InputError(
            f"Expected class indices from 0 to {num_classes - 1}, but got values from {lowest} to {highest}. "
            "Give the network as many classes as the masks hold."
        )
    return F.one_hot(indices.long(), num_classes).movedim(-1, 1)


def _cross_entropy(logits: Tensor, target: Tensor, mode: SegmentationMode) -> Tensor:
    if mode == "multiclass":
        return F.cross_entropy(logits, target)
    return F.binary_cross_entropy_with_logits(logits, target)


def _dice(logits: Tensor, target: Tensor, mode: SegmentationMode, smooth: float) -> Tensor:
    probability = logits.softmax(dim=1) if mode == "multiclass" else logits.sigmoid()
    over_batch = (0, 2, 3)
    intersection = (probability * target).sum(over_batch)
    total = probability.sum(over_batch) + target.sum(over_batch)
    return (1.0 - (2.0 * intersection + smooth) / (total + smooth)).mean()
