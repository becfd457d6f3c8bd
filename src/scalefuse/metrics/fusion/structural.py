"""Structural similarity between the fused image and its sources, one scale and many."""

import numpy as np

from scalefuse.metrics.fusion.grey import FloatImage, GreyImage, as_grey_triple

_WINDOW = 7
_C1 = (0.01 * 255) ** 2
_C2 = (0.03 * 255) ** 2
_GAUSSIAN_WINDOW, _GAUSSIAN_SIGMA = 11, 1.5
_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
MS_SSIM_MIN_SIZE = 176
"""The fifth scale is 16 times smaller and has to hold one 11-pixel window: 11 · 2⁴."""


def ssim(fused: GreyImage, a: GreyImage, b: GreyImage) -> float:
    """SSIM: SSIM(F, A) + SSIM(F, B) with a uniform 7×7 window and data range 255.

    Args:
        fused: The fused image ``(H, W)`` of at least 7×7 pixels, values 0–255.
        a: The first source, same shape.
        b: The second source, same shape.

    Returns:
        −2 to 2, a sum and not a mean; 2 where the fused image equals both sources, constant ones too.

    Raises:
        InputError: The images are not grey images of one size with values 0–255, or smaller than 7×7.

    Example:
        >>> import numpy as np
        >>> image = np.random.default_rng(0).uniform(0, 255, (16, 16))
        >>> round(ssim(image, image, image), 6)
        2.0

    Reference:
        Wang et al. 2004, "Image Quality Assessment: From Error Visibility to Structural Similarity", equation
        13. Deviations: uniform window and sample covariance (n − 1), averaged where the window lies inside
        the image; scikit-image's defaults with ``data_range=255``.
    """
    from scipy.ndimage import uniform_filter

    margin = _WINDOW // 2
    unbiased = _WINDOW**2 / (_WINDOW**2 - 1)

    def mean(image: FloatImage) -> FloatImage:
        smooth: FloatImage = uniform_filter(image, _WINDOW)[margin:-margin, margin:-margin]
        return smooth

    fused, a, b = as_grey_triple(fused, a, b, min_size=_WINDOW, measure="SSIM")
    mean_f = mean(fused)
    variance_f = unbiased * (mean(fused * fused) - mean_f**2)
    total = 0.0
    for source in (a, b):
        mean_s = mean(source)
        variance_s = unbiased * (mean(source * source) - mean_s**2)
        covariance = unbiased * (mean(fused * source) - mean_f * mean_s)
        numerator = (2 * mean_f * mean_s + _C1) * (2 * covariance + _C2)
        denominator = (mean_f**2 + mean_s**2 + _C1) * (variance_f + variance_s + _C2)
        total += float(np.mean(numerator / denominator))
    return total


def _gaussian_mean(image: FloatImage, *, margin: int) -> FloatImage:
    """Gaussian window over the mirrored image, less ``margin`` pixels at each border."""
    from scipy.ndimage import correlate1d

    weights = np.exp(-((np.arange(_GAUSSIAN_WINDOW) - _GAUSSIAN_WINDOW // 2) ** 2) / (2 * _GAUSSIAN_SIGMA**2))
    weights /= weights.sum()
    height, width = image.shape
    rows = correlate1d(image, weights, axis=0, mode="mirror")[margin : height - margin]
    smooth: FloatImage = correlate1d(rows, weights, axis=1, mode="mirror")[:, margin : width - margin]
    return smooth


def _halve(image: FloatImage) -> FloatImage:
    """Mean of 2×2 pixels; an odd last row or column is dropped."""
    height, width = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
    halved: FloatImage = image[:height, :width].reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3))
    return halved


def ms_ssim(fused: GreyImage, a: GreyImage, b: GreyImage) -> float:
    """MS-SSIM: MS-SSIM(F, A) + MS-SSIM(F, B), five scales, Gaussian window, data range 255.

    Args:
        fused: The fused image ``(H, W)`` of at least 176×176 pixels, values 0–255.
        a: The first source, same shape.
        b: The second source, same shape.

    Returns:
        0–2, a sum and not a mean; 2 where the fused image equals both sources. A negative term of a scale
        counts as 0, so inverted images get 0.

    Raises:
        InputError: The images are not grey images of one size with values 0–255, or smaller than 176×176.

    Example:
        >>> import numpy as np
        >>> image = np.random.default_rng(0).uniform(0, 255, (176, 176))
        >>> round(ms_ssim(image, image, image), 6)
        2.0

    Reference:
        Wang, Simoncelli & Bovik 2003, "Multi-scale structural similarity for image quality assessment",
        equation 7, with the details of torchmetrics, whose float64 numbers these are in a fraction of the
        time: window of 11 pixels, σ 1.5, inside the image at the first four scales, over mirrored borders at
        the last.
    """
    images = as_grey_triple(fused, a, b, min_size=MS_SSIM_MIN_SIZE, measure="MS-SSIM")
    products = [1.0, 1.0]
    for scale, weight in enumerate(_SCALE_WEIGHTS):
        if scale > 0:
            images = (_halve(images[0]), _halve(images[1]), _halve(images[2]))
        last = scale == len(_SCALE_WEIGHTS) - 1
        margin = 0 if last else _GAUSSIAN_WINDOW // 2
        means = [_gaussian_mean(image, margin=margin) for image in images]
        variances = [
            np.maximum(_gaussian_mean(image * image, margin=margin) - mean**2, 0)
            for image, mean in zip(images, means, strict=True)
        ]
        for index in (1, 2):
            covariance = _gaussian_mean(images[0] * images[index], margin=margin) - means[0] * means[index]
            term = (2 * covariance + _C2) / (variances[0] + variances[index] + _C2)
            if last:
                term *= (2 * means[0] * means[index] + _C1) / (means[0] ** 2 + means[index] ** 2 + _C1)
            products[index - 1] *= max(float(term.mean()), 0.0) ** weight
    return sum(products)
