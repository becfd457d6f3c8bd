"""Measures of the fused image alone: entropy, standard deviation, spatial frequency, average gradient.

They say how much there is in a picture, not whether it comes from the sources: noise raises all four.
"""

import numpy as np

from scalefuse.metrics.fusion.grey import GreyImage, as_fused


def entropy(fused: GreyImage, a: GreyImage | None = None, b: GreyImage | None = None) -> float:
    """EN: Shannon entropy of the grey levels, in bits (0–8).

    Args:
        fused: The fused image ``(H, W)``, values 0–255; floats are rounded to 8 bit first, because entropy
            over unique float values measures the number format.
        a: Not used; here so that all measures are called alike.
        b: Not used.

    Returns:
        Bits per pixel; 0 for a constant image.

    Raises:
        InputError: The images are not grey images of one size with values 0–255.

    Example:
        >>> entropy([[0, 0], [255, 255]])
        1.0

    Reference:
        Shannon 1948, "A Mathematical Theory of Communication", section 6.
    """
    image = as_fused(fused, a, b)
    counts = np.bincount(np.rint(image).astype(np.int64).ravel(), minlength=256)
    share = counts[counts > 0] / image.size
    # The + 0.0 turns the -0.0 of a constant image into 0.0.
    return float(-np.sum(share * np.log2(share))) + 0.0


def standard_deviation(fused: GreyImage, a: GreyImage | None = None, b: GreyImage | None = None) -> float:
    """SD: standard deviation of the grey values (population form, ddof 0), in grey levels.

    Args:
        fused: The fused image ``(H, W)``, values 0–255.
        a: Not used; here so that all measures are called alike.
        b: Not used.

    Returns:
        Grey levels, 0–127.5; 0 for a constant image.

    Raises:
        InputError: The images are not grey images of one size with values 0–255.

    Example:
        >>> standard_deviation([[0, 0], [255, 255]])
        127.5
    """
    return float(as_fused(fused, a, b).std())


def spatial_frequency(fused: GreyImage, a: GreyImage | None = None, b: GreyImage | None = None) -> float:
    """SF: root of the mean squared differences between neighbours, along rows and along columns.

    Args:
        fused: The fused image ``(H, W)`` of at least 2×2 pixels, values 0–255.
        a: Not used; here so that all measures are called alike.
        b: Not used.

    Returns:
        √(mean horizontal difference² + mean vertical difference²), each mean over the differences that exist.

    Raises:
        InputError: The images are not grey images of one size with values 0–255, or smaller than 2×2.

    Example:
        >>> spatial_frequency([[0, 3], [4, 7]])
        5.0

    Reference:
        Eskicioglu & Fisher 1995, "Image Quality Measures and Their Performance". Deviation: each sum is
        divided by its own number of differences, not by H·W.
    """
    image = as_fused(fused, a, b, min_size=2, measure="SF")
    horizontal = np.mean(np.diff(image, axis=1) ** 2)
    vertical = np.mean(np.diff(image, axis=0) ** 2)
    return float(np.sqrt(horizontal + vertical))


def average_gradient(fused: GreyImage, a: GreyImage | None = None, b: GreyImage | None = None) -> float:
    """AG: mean of √((Gx² + Gy²) / 2), with central differences inside and one-sided ones at the borders.

    Args:
        fused: The fused image ``(H, W)`` of at least 2×2 pixels, values 0–255.
        a: Not used; here so that all measures are called alike.
        b: Not used.

    Returns:
        Grey levels per pixel; 0 for a constant image.

    Raises:
        InputError: The images are not grey images of one size with values 0–255, or smaller than 2×2.

    Example:
        >>> average_gradient([[0, 1], [1, 2]])
        1.0

    Reference:
        Cui et al. 2015, "Detail preserved fusion of visible and infrared images using regional saliency
        extraction and multi-scale image decomposition". Deviation: the mean is over all H·W pixels.
    """
    image = as_fused(fused, a, b, min_size=2, measure="AG")
    vertical, horizontal = np.gradient(image)
    return float(np.mean(np.sqrt((horizontal**2 + vertical**2) / 2)))
