"""THE table of per-image segmentation measures: name, function, definition, direction."""

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from scalefuse.metrics.segmentation.boundary import boundary_iou
from scalefuse.metrics.segmentation.masks import PIXELS, Spacing
from scalefuse.metrics.segmentation.overlap import count, dice, iou, precision, recall, specificity
from scalefuse.metrics.segmentation.surface import assd, hd95, surface_dice, surface_distances

SegmentationMetric = Callable[[NDArray[Any], NDArray[Any], Spacing], float]

SURFACE_TOLERANCE = 2.0
"""Of ``surface_dice`` in the table: mm, or pixels where no spacing is known."""

SEGMENTATION_METRICS: dict[str, SegmentationMetric] = {
    "dice": lambda pred, target, spacing: dice(pred, target),
    "iou": lambda pred, target, spacing: iou(pred, target),
    "recall": lambda pred, target, spacing: recall(pred, target),
    "precision": lambda pred, target, spacing: precision(pred, target),
    "specificity": lambda pred, target, spacing: specificity(pred, target),
    "hd95": hd95,
    "assd": assd,
    "surface_dice": lambda pred, target, spacing: surface_dice(
        pred, target, spacing, tolerance=SURFACE_TOLERANCE
    ),
    "boundary_iou": lambda pred, target, spacing: boundary_iou(pred, target),
}
"""Name → function(pred, target, spacing): masks ``(H, W)``, spacing in mm or (1, 1) for pixels."""

SEGMENTATION_METRIC_DEFINITIONS: dict[str, str] = {
    "dice": "2·TP / (2·TP + FP + FN) of one image; both masks empty 1",
    "iou": "TP / (TP + FP + FN) of one image; both masks empty 1",
    "recall": "TP / (TP + FN) of one image; both masks empty 1, reference alone empty 0",
    "precision": "TP / (TP + FP) of one image; both masks empty 1, prediction alone empty 0",
    "specificity": "TN / (TN + FP) of one image; no background in both masks 1, in the reference alone 0",
    "hd95": "95 % Hausdorff distance; both masks empty 0, one empty (a miss) the image's diagonal",
    "assd": "average symmetric surface distance; both masks empty 0, one empty (a miss) the image's diagonal",
    "surface_dice": "outline within 2 mm (2 px without spacing); both masks empty 1, one empty 0",
    "boundary_iou": "IoU of the rims, 2 % of the image's diagonal wide; both masks empty 1, one empty 0",
}
"""Name → one line for a table's foot."""

SEGMENTATION_METRIC_HIGHER_IS_BETTER: dict[str, bool] = {
    name: name not in ("hd95", "assd") for name in SEGMENTATION_METRICS
}
"""Name → whether a larger value is a better one."""


def measure_segmentation(
    pred: NDArray[Any], target: NDArray[Any], spacing: Spacing = PIXELS
) -> dict[str, float]:
    """Every measure of :data:`SEGMENTATION_METRICS` at once; the outlines are measured only once.

    Args:
        pred: mask ``(H, W)``.
        target: reference mask ``(H, W)``.
        spacing: mm between rows and between columns; (1, 1) counts in pixels.

    Returns:
        Name → value, in the order of the table.

    Raises:
        InputError: the sizes differ, the values are no mask, or the spacing is not positive.

    Example:
        >>> import numpy as np
        >>> measures = measure_segmentation(np.array([[1, 1, 0]]), np.array([[1, 0, 0]]))
        >>> measures["iou"], measures["hd95"]
        (0.5, 0.95)
    """
    counts = count(pred, target)
    distances = surface_distances(pred, target, spacing)
    return {
        "dice": counts.dice,
        "iou": counts.iou,
        "recall": counts.recall,
        "precision": counts.precision,
        "specificity": counts.specificity,
        "hd95": distances.hd95,
        "assd": distances.assd,
        "surface_dice": distances.surface_dice(SURFACE_TOLERANCE),
        "boundary_iou": boundary_iou(pred, target),
    }
