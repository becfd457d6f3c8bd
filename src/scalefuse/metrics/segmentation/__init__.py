"""Measures of segmentation that count a missed object as a miss, pixel-pooled ones under their own names."""

from scalefuse.metrics.segmentation.boundary import boundary_iou
from scalefuse.metrics.segmentation.calibration import Calibration, CalibrationCurve
from scalefuse.metrics.segmentation.masks import PIXELS, Spacing
from scalefuse.metrics.segmentation.overlap import Counts, count, dice, iou, precision, recall, specificity
from scalefuse.metrics.segmentation.pooled import PooledOverlap
from scalefuse.metrics.segmentation.surface import (
    SurfaceDistances,
    assd,
    hd95,
    surface_dice,
    surface_distances,
)
from scalefuse.metrics.segmentation.table import (
    SEGMENTATION_METRIC_DEFINITIONS,
    SEGMENTATION_METRIC_HIGHER_IS_BETTER,
    SEGMENTATION_METRICS,
    SURFACE_TOLERANCE,
    SegmentationMetric,
    measure_segmentation,
)

__all__ = [
    "PIXELS",
    "SEGMENTATION_METRICS",
    "SEGMENTATION_METRIC_DEFINITIONS",
    "SEGMENTATION_METRIC_HIGHER_IS_BETTER",
    "SURFACE_TOLERANCE",
    "Calibration",
    "CalibrationCurve",
    "Counts",
    "PooledOverlap",
    "SegmentationMetric",
    "Spacing",
    "SurfaceDistances",
    "assd",
    "boundary_iou",
    "count",
    "dice",
    "hd95",
    "iou",
    "measure_segmentation",
    "precision",
    "recall",
    "specificity",
    "surface_dice",
    "surface_distances",
]
