"""Measures that torchmetrics and MONAI lack, or define differently: how good is a fused image?"""

from scalefuse.metrics.fusion.correlation import correlation_coefficient, sum_of_correlations_of_differences
from scalefuse.metrics.fusion.feature_information import feature_mutual_information
from scalefuse.metrics.fusion.feature_similarity import fsim
from scalefuse.metrics.fusion.grey import GreyImage
from scalefuse.metrics.fusion.information import mutual_information, normalised_mutual_information
from scalefuse.metrics.fusion.peak_signal import psnr
from scalefuse.metrics.fusion.qabf import edge_preservation
from scalefuse.metrics.fusion.statistics import (
    average_gradient,
    entropy,
    spatial_frequency,
    standard_deviation,
)
from scalefuse.metrics.fusion.structural import ms_ssim, ssim
from scalefuse.metrics.fusion.table import (
    FUSION_METRIC_DEFINITIONS,
    FUSION_METRIC_HIGHER_IS_BETTER,
    FUSION_METRICS,
    FusionMetric,
)
from scalefuse.metrics.fusion.vif import visual_information_fidelity

__all__ = [
    "FUSION_METRICS",
    "FUSION_METRIC_DEFINITIONS",
    "FUSION_METRIC_HIGHER_IS_BETTER",
    "FusionMetric",
    "GreyImage",
    "average_gradient",
    "correlation_coefficient",
    "edge_preservation",
    "entropy",
    "feature_mutual_information",
    "fsim",
    "ms_ssim",
    "mutual_information",
    "normalised_mutual_information",
    "psnr",
    "spatial_frequency",
    "ssim",
    "standard_deviation",
    "sum_of_correlations_of_differences",
    "visual_information_fidelity",
]
