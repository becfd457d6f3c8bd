"""Peak signal-to-noise ratio of the fused image against both sources."""

import numpy as np

from scalefuse.metrics.fusion.grey import GreyImage, as_grey_triple


def psnr(fused: GreyImage, a: GreyImage, b: GreyImage) -> float:
    """PSNR: 10·log10(255² / mean of MSE(F, A) and MSE(F, B)), in dB.

    Args:
        fused: The fused image ``(H, W)``, values 0–255.
        a: The first source, same shape.
        b: The second source, same shape.

    Returns:
        Decibels; ``inf`` where the fused image equals both sources.

    Raises:
        InputError: The images are not grey images of one size with values 0–255.

    Example:
        >>> round(psnr([[0, 0]], [[255, 255]], [[255, 255]]), 6)
        0.0

    Reference:
        The peak is 255 whatever the images hold, and errors are in grey levels; other programs take max(F) as
        the peak, or errors on [0, 1] with peak 255, which adds 48.13 dB.
    """
    fused, a, b = as_grey_triple(fused, a, b)
    error = float(np.mean((fused - a) ** 2) + np.mean((fused - b) ** 2)) / 2
    return float("inf") if error == 0 else 10 * float(np.log10(255**2 / error))
