"""Visual information fidelity in the pixel domain (vifp)."""

import numpy as np

from scalefuse.metrics.fusion.grey import FloatImage, GreyImage, as_grey_triple

_NOISE_VARIANCE = 2.0
_EPSILON = 1e-10
_WINDOWS = (17, 9, 5, 3)
MIN_SIZE = 41
"""Four scales with valid windows need 41 pixels: the fourth scale then holds exactly one 3×3 window."""


def _smooth_valid(image: FloatImage, size: int) -> FloatImage:
    """Gaussian window of ``size`` × ``size`` (σ = size / 5), only where it fits into the image."""
    from scipy.ndimage import correlate1d

    offset = np.arange(size) - size // 2
    weights = np.exp(-(offset**2) / (2 * (size / 5) ** 2))
    weights /= weights.sum()
    margin = size // 2
    rows = correlate1d(image, weights, axis=0)[margin : image.shape[0] - margin]
    smooth: FloatImage = correlate1d(rows, weights, axis=1)[:, margin : image.shape[1] - margin]
    return smooth


def _information(
    source: tuple[FloatImage, FloatImage, FloatImage],
    fused: tuple[FloatImage, FloatImage, FloatImage],
    size: int,
) -> tuple[float, float]:
    """What arrives of the source's information at one scale, and what it holds; (image, mean, variance)."""
    image_s, mean_s, variance_s = source
    image_f, mean_f, variance_f = fused
    covariance = _smooth_valid(image_s * image_f, size) - mean_s * mean_f

    gain = covariance / (variance_s + _EPSILON)
    residual = variance_f - gain * covariance
    flat_source = variance_s < _EPSILON
    gain[flat_source] = 0
    residual[flat_source] = variance_f[flat_source]
    flat_fused = variance_f < _EPSILON
    gain[flat_fused] = 0
    residual[flat_fused] = 0
    inverted = gain < 0
    residual[inverted] = variance_f[inverted]
    gain[inverted] = 0
    np.maximum(residual, _EPSILON, out=residual)

    held = np.where(flat_source, 0.0, variance_s)
    arrived = float(np.sum(np.log1p(gain**2 * held / (residual + _NOISE_VARIANCE))))
    return arrived, float(np.sum(np.log1p(held / _NOISE_VARIANCE)))


def visual_information_fidelity(fused: GreyImage, a: GreyImage, b: GreyImage) -> float:
    """VIF: vifp(A → F) + vifp(B → F), the share of each source's information that arrives.

    Pixel domain, four scales, Gaussian windows of 17, 9, 5, 3 pixels without padding, noise variance 2.

    Args:
        fused: The fused image ``(H, W)`` of at least 41×41 pixels, values 0–255.
        a: The first source, same shape.
        b: The second source, same shape.

    Returns:
        0 upwards; 2 where the fused image equals both sources; contrast enhancement can push it higher. A
        constant source has nothing to lose and counts 1.

    Raises:
        InputError: The images are not grey images of one size with values 0–255, or smaller than 41×41.

    Example:
        >>> import numpy as np
        >>> image = np.random.default_rng(0).uniform(0, 255, (48, 48))
        >>> round(visual_information_fidelity(image, image, image), 4)
        2.0

    Reference:
        Sheikh & Bovik 2006, "Image Information and Visual Quality", in the simplified pixel-domain form that
        its authors released. It is often printed as VIFF, which is another measure (Han et al. 2013).
    """
    images = as_grey_triple(fused, a, b, min_size=MIN_SIZE, measure="VIF")
    arrived, held = [0.0, 0.0], [0.0, 0.0]
    for scale, size in enumerate(_WINDOWS):
        if scale > 0:
            images = tuple(_smooth_valid(image, size)[::2, ::2] for image in images)  # type: ignore[assignment]
        moments = []
        for image in images:
            mean = _smooth_valid(image, size)
            variance = np.maximum(_smooth_valid(image * image, size) - mean * mean, 0)
            moments.append((image, mean, variance))
        for index in (0, 1):
            arrived_here, held_here = _information(moments[1 + index], moments[0], size)
            arrived[index] += arrived_here
            held[index] += held_here
    return sum(arrived[index] / held[index] if held[index] > 0 else 1.0 for index in (0, 1))
