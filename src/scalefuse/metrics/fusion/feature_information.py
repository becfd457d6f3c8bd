"""FMI: mutual information of image features in small windows (Haghighat's Fast-FMI)."""

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np

from scalefuse.errors import InputError
from scalefuse.metrics.fusion.grey import FloatImage, GreyImage, as_grey_triple
from scalefuse.metrics.fusion.meyer_wavelet import meyer_transform

Feature = Literal["pixel", "gradient", "edge", "dct", "wavelet"]

_CHUNK = 4096  # windows worked on at a time: a few megabytes, which stay in the processor's cache


def _gradient(image: FloatImage) -> FloatImage:
    slope: FloatImage = np.gradient(image, axis=1)
    return slope


def _edge(image: FloatImage) -> FloatImage:
    """Binary Sobel edges: squared strength above four times its mean, thinned to ridges across the edge."""
    padded = np.pad(image, 1, mode="edge")
    across = padded[:, 2:] - padded[:, :-2]
    down = padded[2:] - padded[:-2]
    size_x = np.abs(across[:-2] + 2 * across[1:-1] + across[2:]) / 8
    size_y = np.abs(down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:]) / 8
    power = size_x**2 + size_y**2
    # Beyond the border lies no strength at all.
    around = np.pad(power, 1, mode="constant")
    ridge_x = (size_x >= size_y) & (around[1:-1, :-2] <= power) & (power > around[1:-1, 2:])
    ridge_y = (size_y >= size_x) & (around[:-2, 1:-1] <= power) & (power > around[2:, 1:-1])
    edges: FloatImage = ((power > 4 * power.mean()) & (ridge_x | ridge_y)).astype(np.float64)
    return edges


def _dct(image: FloatImage) -> FloatImage:
    from scipy.fft import dctn

    coefficients: FloatImage = dctn(image, norm="ortho")
    return coefficients


_FEATURES: dict[str, Callable[[FloatImage], FloatImage]] = {
    "pixel": lambda image: image,
    "gradient": _gradient,
    "edge": _edge,
    "dct": _dct,
    "wavelet": meyer_transform,
}


def _windows(feature: FloatImage, window: int) -> FloatImage:
    """All windows, one per row ``(B, window²)``, pixels column by column (their order matters)."""
    view = np.lib.stride_tricks.sliding_window_view(feature, (window, window))
    return view.transpose(0, 1, 3, 2).reshape(-1, window * window)


def _distribution(windows: FloatImage) -> FloatImage:
    """Each window, stretched to start at 0, as a probability distribution over its pixels."""
    lifted = windows - windows.min(axis=1, keepdims=True)
    total = lifted.sum(axis=1, keepdims=True)
    flat = total == 0
    # The feature's unit cancels, but a stretch to [0, 1] first keeps tiny totals from underflowing.
    lifted /= np.where(flat, 1.0, lifted.max(axis=1, keepdims=True))
    uniform = 1.0 / windows.shape[1]
    share = lifted / np.where(flat, 1.0, lifted.sum(axis=1, keepdims=True))
    distribution: FloatImage = np.where(flat, uniform, share)
    return distribution


def _entropy_bits(probability: FloatImage) -> FloatImage:
    """−Σ p·log2|p| over the last axis; the fitted joint distribution may dip below zero."""
    size = np.abs(probability)
    logarithm = np.log2(size, out=np.zeros_like(size), where=size > 0)
    entropy: FloatImage = -np.einsum("bi,bi->b", probability, logarithm)
    return entropy


def _spread(distribution: FloatImage) -> FloatImage:
    """Standard deviation of the pixel index under each distribution ``(B, L)``."""
    index = np.arange(1, distribution.shape[1] + 1, dtype=np.float64)
    variance = distribution @ index**2 - (distribution @ index) ** 2
    spread: FloatImage = np.sqrt(np.maximum(variance, 0))
    return spread


def _joint_entropy(p: FloatImage, q: FloatImage) -> FloatImage:
    """Entropy of Nelsen's joint distribution with marginals p, q ``(B, L)`` and their Pearson correlation.

    The joint distribution is a mixture of independence and of a Fréchet bound, the upper one where the
    correlation is positive, the lower one where it is negative; the weight is the correlation's share of the
    bound's own correlation (Hoeffding's covariance over the spreads).
    """
    size = p.shape[1]
    centred_p, centred_q = p - 1 / size, q - 1 / size
    product = np.einsum("bi,bi->b", centred_p, centred_q)
    norm = np.sqrt(np.einsum("bi,bi->b", centred_p, centred_p) * np.einsum("bi,bi->b", centred_q, centred_q))
    # A uniform window leaves rounding dust of about 1e-17 per entry instead of zero.
    correlation = np.divide(product, norm, out=np.zeros_like(product), where=norm > 1e-15)

    cumulative_p = np.cumsum(p, axis=1)[:, :, None]
    cumulative_q = np.cumsum(q, axis=1)[:, None, :]
    independent = cumulative_p * cumulative_q
    upper = (correlation >= 0)[:, None, None]
    bound = np.where(
        upper, np.minimum(cumulative_p, cumulative_q), np.maximum(cumulative_p + cumulative_q - 1, 0.0)
    )
    covariance = (bound - independent).sum(axis=(1, 2))
    usable = (correlation != 0) & (covariance != 0)
    weight = np.divide(
        correlation * _spread(p) * _spread(q), covariance, out=np.zeros_like(product), where=usable
    )[:, None, None]

    bound[:, 1:] -= bound[:, :-1].copy()
    bound[:, :, 1:] -= bound[:, :, :-1].copy()
    joint = weight * bound + (1 - weight) * (p[:, :, None] * q[:, None, :])
    return _entropy_bits(joint.reshape(len(p), size * size))


def _mean_information(fused: FloatImage, source: FloatImage) -> float:
    """Mean over windows ``(B, L)`` of 2·I / (H + H); identical windows count 1."""
    total = 0.0
    for start in range(0, len(fused), _CHUNK):
        windows_f, windows_s = fused[start : start + _CHUNK], source[start : start + _CHUNK]
        differ = np.any(windows_f != windows_s, axis=1)
        total += float(np.count_nonzero(~differ))
        if not differ.any():
            continue
        p, q = _distribution(windows_f[differ]), _distribution(windows_s[differ])
        marginal = _entropy_bits(p) + _entropy_bits(q)
        information = marginal - _joint_entropy(p, q)
        total += float(np.sum(2 * information[marginal > 0] / marginal[marginal > 0]))
    return total / len(fused)


def feature_mutual_information(
    fused: GreyImage, a: GreyImage, b: GreyImage, *, feature: Feature = "gradient", window: int = 3
) -> float:
    """FMI: normalised mutual information of features in sliding windows, summed over the two sources.

    Args:
        fused: The fused image ``(H, W)``, at least one window large, values 0–255.
        a: The first source, same shape.
        b: The second source, same shape.
        feature: ``"gradient"`` (horizontal, central differences), ``"pixel"`` (the grey values), ``"edge"``
            (binary thinned Sobel edges; printed as "FMI_pixel" by most programs), ``"dct"`` (orthonormal
            cosine transform of the whole image) or ``"wavelet"`` (one level of the discrete Meyer wavelet,
            the four bands side by side).
        window: Side of the window in pixels, odd, 3 or more.

    Returns:
        About 0–2; 2 where the features of the fused image equal those of both sources. Haghighat's number is
        the mean of the two sources: half of this one.

    Raises:
        InputError: The images are not grey images of one size with values 0–255 or are smaller than the
            window, or the feature or the window is not one of the above.

    Example:
        >>> image = [[0, 1, 4, 9], [1, 2, 5, 10], [4, 5, 8, 13]]
        >>> feature_mutual_information(image, image, image)
        2.0

    Reference:
        Haghighat & Razian 2014, "Fast-FMI: non-reference image fusion metric", and Haghighat, Aghagolzadeh &
        Seyedarabi 2011. The gradient is the horizontal one, as in the released program. Deviations: a sum
        over the sources and not their mean; windows that are flat in both images but not identical count 0,
        where rounding decides in the program. What is checked: the windows against the papers' equations one
        by one; the cosine transform against its sum; the edges against scikit-image's Sobel filter, thinned
        pixel by pixel; the wavelet against PyWavelets' ``dmey``. The program itself was not run.
    """
    if feature not in _FEATURES:
        names = ", ".join(repr(name) for name in get_args(Feature))
        raise InputError(f"Expected feature to be one of {names} but got {feature!r}.")
    if not isinstance(window, int) or window < 3 or window % 2 == 0:
        raise InputError(f"Expected window as an odd number of pixels, 3 or more, but got {window!r}.")
    images = as_grey_triple(fused, a, b, min_size=window, measure="FMI")
    windows_f, windows_a, windows_b = (_windows(_FEATURES[feature](image), window) for image in images)
    return _mean_information(windows_f, windows_a) + _mean_information(windows_f, windows_b)
