"""FSIM: similarity of phase congruency and gradient, weighted by phase congruency."""

import numpy as np

from scalefuse.metrics.fusion.grey import FloatImage, GreyImage, as_grey_triple
from scalefuse.metrics.fusion.phase_congruency import phase_congruency

_T1 = 0.85
_T2 = 160.0
MIN_SIZE = 8
"""Below this the coarsest filters (wavelength 48) and the frequency grid mean nothing."""


def _downsample(image: FloatImage) -> FloatImage:
    """Mean over factor × factor pixels at every factor-th pixel, so that the short side becomes about 256."""
    factor = max(1, int(min(image.shape) / 256 + 0.5))
    if factor == 1:
        return image
    from scipy.ndimage import uniform_filter

    # The window reaches (factor - 1) // 2 pixels back, zeros outside, like a "same" convolution.
    origin = -((factor + 1) % 2)
    smooth: FloatImage = uniform_filter(image, factor, mode="constant", origin=origin)[::factor, ::factor]
    return smooth


def _gradient(image: FloatImage) -> FloatImage:
    """Scharr gradient magnitude (weights 3, 10, 3, over 16); outside the image lie zeros."""
    padded = np.pad(image, 1)
    across = padded[:, 2:] - padded[:, :-2]
    down = padded[2:] - padded[:-2]
    gradient_x = 3 * across[:-2] + 10 * across[1:-1] + 3 * across[2:]
    gradient_y = 3 * down[:, :-2] + 10 * down[:, 1:-1] + 3 * down[:, 2:]
    return np.hypot(gradient_x, gradient_y) / 16


def _similarity(x: FloatImage, y: FloatImage, constant: float) -> FloatImage:
    similarity: FloatImage = (2 * x * y + constant) / (x**2 + y**2 + constant)
    return similarity


def fsim(fused: GreyImage, a: GreyImage, b: GreyImage) -> float:
    """FSIM: FSIM(F, A) + FSIM(F, B), grey, with the paper's constants T1 = 0.85 and T2 = 160.

    Images are first averaged and thinned by max(1, round(min(H, W) / 256)).

    Args:
        fused: The fused image ``(H, W)`` of at least 8×8 pixels, values 0–255.
        a: The first source, same shape.
        b: The second source, same shape.

    Returns:
        0–2, a sum and not a mean; 2 where the fused image equals both sources. Two images without any
        structure count as 1.

    Raises:
        InputError: The images are not grey images of one size with values 0–255, or smaller than 8×8.

    Example:
        >>> import numpy as np
        >>> image = np.random.default_rng(0).uniform(0, 255, (32, 32))
        >>> round(fsim(image, image, image), 6)
        2.0

    Reference:
        Zhang, Zhang, Mou & Zhang 2011, "FSIM: A Feature Similarity Index for Image Quality Assessment", IEEE
        TIP 20(8), equations 4–7. Averaging follows the released program ("same" convolution, then every
        factor-th pixel); programs that average whole blocks differ where the factor does not divide the size.
    """
    images = [_downsample(image) for image in as_grey_triple(fused, a, b, min_size=MIN_SIZE, measure="FSIM")]
    congruencies = [phase_congruency(image) for image in images]
    gradients = [_gradient(image) for image in images]
    total = 0.0
    for index in (1, 2):
        weight = np.maximum(congruencies[0], congruencies[index])
        similarity = _similarity(congruencies[0], congruencies[index], _T1)
        similarity *= _similarity(gradients[0], gradients[index], _T2)
        whole = float(weight.sum())
        total += float(np.sum(similarity * weight)) / whole if whole > 0 else 1.0
    return total
