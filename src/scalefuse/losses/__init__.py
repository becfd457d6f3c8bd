"""Losses that a paper defines and no library has, and differentiable measures of fused pictures."""

from scalefuse.losses.segmentation import (
    SegmentationLoss,
    SegmentationMode,
    cross_entropy,
    dice_loss,
    edge_target,
)

__all__ = ["SegmentationLoss", "SegmentationMode", "cross_entropy", "dice_loss", "edge_target"]
