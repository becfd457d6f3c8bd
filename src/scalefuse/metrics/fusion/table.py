"""THE table of fusion measures: name, function, definition, direction."""

from collections.abc import Callable

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
from scalefuse.metrics.fusion.vif import visual_information_fidelity

FusionMetric = Callable[[GreyImage, GreyImage, GreyImage], float]

FUSION_METRICS: dict[str, FusionMetric] = {
    "EN": entropy,
    "SD": standard_deviation,
    "SF": spatial_frequency,
    "AG": average_gradient,
    "MI": mutual_information,
    "NMI": normalised_mutual_information,
    "CC": correlation_coefficient,
    "SCD": sum_of_correlations_of_differences,
    "VIF": visual_information_fidelity,
    "Qabf": edge_preservation,
    "SSIM": ssim,
    "MS-SSIM": ms_ssim,
    "PSNR": psnr,
    "FMI": feature_mutual_information,
    "FSIM": fsim,
}
"""Name → function(fused, a, b): grey images ``(H, W)`` of one size, values 0–255."""

FUSION_METRIC_DEFINITIONS: dict[str, str] = {
    "EN": "entropy of F rounded to 8 bit, bits",
    "SD": "standard deviation of F (ddof 0), grey levels",
    "SF": "√(mean row difference² + mean column difference²) of F",
    "AG": "mean of √((Gx² + Gy²)/2) of F, central differences, one-sided at borders",
    "MI": "I(F;A) + I(F;B), 256 bins, nats",
    "NMI": "2·[I(F;A)/(H(F)+H(A)) + I(F;B)/(H(F)+H(B))], 256 bins",
    "CC": "mean of r(F,A) and r(F,B)",
    "SCD": "r(F−B,A) + r(F−A,B)",
    "VIF": "vifp(A→F) + vifp(B→F), pixel domain, 4 scales, noise variance 2",
    "Qabf": "Xydeas–Petrović, Sobel, .9994/−15/.5 and .9879/−22/.8, weighted by edge strength",
    "SSIM": "SSIM(F,A) + SSIM(F,B), uniform 7×7 window, data range 255",
    "MS-SSIM": "MS-SSIM(F,A) + MS-SSIM(F,B), 5 scales, Gaussian 11×11, data range 255",
    "PSNR": "10·log10(255² / mean of MSE(F,A) and MSE(F,B)), dB",
    "FMI": "FMI(F,A) + FMI(F,B), feature: horizontal gradient, window 3 (Haghighat & Razian 2014)",
    "FSIM": "FSIM(F,A) + FSIM(F,B), grey (Zhang et al. 2011)",
}
"""Name → one line for a table's foot; A, B are the sources and F is the fused image."""

FUSION_METRIC_HIGHER_IS_BETTER: dict[str, bool] = dict.fromkeys(FUSION_METRICS, True)
"""Name → direction. EN, SD, SF and AG look at the fused image alone, so noise raises them too."""
