"""Phase congruency: where the Fourier components of an image are in step, whatever its contrast."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from scalefuse.metrics.fusion.grey import FloatImage

_SCALES = 4
_ORIENTATIONS = 4
_MIN_WAVELENGTH = 6.0
_SCALE_FACTOR = 2.0
_BANDWIDTH = 0.55  # σ of the log-Gabor's radial Gaussian over its centre frequency
_ANGULAR_RATIO = 1.2  # interval between orientations over σ of the angular Gaussian
_LOW_PASS_CUTOFF, _LOW_PASS_ORDER = 0.45, 15
_NOISE_SIGMAS = 2.0
_NOISE_RESCALE = 1.7  # the noise estimate holds for an older measure; this much too large for this one
_EPSILON = 1e-4


def _frequencies(size: int) -> FloatImage:
    # Odd sizes span [-0.5, 0.5] and even ones [-0.5, 0.5), as in Kovesi's and Zhang's programs.
    centred = np.arange(size) - size // 2
    return np.fft.ifftshift(centred / (size - 1 if size % 2 and size > 1 else size))


@lru_cache(maxsize=4)
def _log_gabor_bank(height: int, width: int) -> tuple[FloatImage, FloatImage]:
    """Log-Gabor filters ``(orientations, scales, H, W)`` and their noise factors.

    A noise factor is the expected squared energy of an orientation ``(orientations,)`` for noise whose mean
    squared response at the smallest scale is 1.
    """
    y, x = np.meshgrid(_frequencies(height), _frequencies(width), indexing="ij")
    radius = np.hypot(x, y)
    angle = np.arctan2(-y, x)
    low_pass = 1 / (1 + (radius / _LOW_PASS_CUTOFF) ** (2 * _LOW_PASS_ORDER))
    radius[0, 0] = 1  # any value whose logarithm exists: the filters are zero there

    filters = np.empty((_ORIENTATIONS, _SCALES, height, width))
    angular_sigma = np.pi / _ORIENTATIONS / _ANGULAR_RATIO
    for orientation in range(_ORIENTATIONS):
        distance = np.angle(np.exp(1j * (angle - orientation * np.pi / _ORIENTATIONS)))
        filters[orientation] = np.exp(-(distance**2) / (2 * angular_sigma**2))
    for scale in range(_SCALES):
        centre = 1 / (_MIN_WAVELENGTH * _SCALE_FACTOR**scale)
        radial = low_pass * np.exp(-(np.log(radius / centre) ** 2) / (2 * np.log(_BANDWIDTH) ** 2))
        radial[0, 0] = 0
        filters[:, scale] *= radial

    impulse = np.fft.ifft2(filters).real * np.sqrt(height * width)
    gram = np.einsum("osyx,otyx->ost", impulse, impulse)
    own = np.einsum("oss->o", gram)
    pairs = (gram.sum(axis=(1, 2)) - own) / 2
    smallest_power = np.sum(filters[:, 0] ** 2, axis=(1, 2))
    factor = (2 * own + 4 * pairs) / smallest_power
    filters.flags.writeable = False
    return filters, factor


def phase_congruency(image: FloatImage) -> FloatImage:
    """Phase congruency of a grey image over four scales and four orientations.

    Args:
        image: Grey values ``(H, W)``, float64.

    Returns:
        Congruency of every pixel, 0–1, ``(H, W)``; 0 for a constant image.

    Example:
        >>> import numpy as np
        >>> bar = np.zeros((32, 32))
        >>> bar[:, 8:24] = 200  # edges between columns 7 and 8 and between 23 and 24
        >>> congruency = phase_congruency(bar)[16]
        >>> sorted(int(column) for column in np.argsort(congruency)[-4:])
        [7, 8, 23, 24]

    Reference:
        Kovesi 1999, "Image Features from Phase Congruency", with the parameters of Zhang et al. 2011, section
        II-A: smallest wavelength 6, factor 2, σ/f 0.55, noise threshold two σ above the mean noise energy.
    """
    from scipy.fft import fft2, ifft2

    filters, noise_factors = _log_gabor_bank(*image.shape)
    spectrum = fft2(image)
    energy_total = np.zeros(image.shape)
    amplitude_total = np.zeros(image.shape)
    for bank, noise_factor in zip(filters, noise_factors, strict=True):
        responses: npt.NDArray[np.complex128] = ifft2(spectrum * bank)
        amplitudes = np.abs(responses)
        mean = responses.sum(axis=0)
        mean /= np.abs(mean) + _EPSILON
        # Real part: component in step with the mean phase; imaginary part: component out of step.
        aligned = responses * mean.conj()
        energy = np.sum(aligned.real - np.abs(aligned.imag), axis=0)

        # Squared amplitudes of Gaussian noise at the smallest scale are exponential: mean = median / ln 2.
        noise_power = np.median(amplitudes[0] ** 2) / np.log(2)
        tau = np.sqrt(noise_power * noise_factor / 2)
        threshold = tau * (np.sqrt(np.pi / 2) + _NOISE_SIGMAS * np.sqrt(2 - np.pi / 2)) / _NOISE_RESCALE
        energy_total += np.maximum(energy - threshold, 0)
        amplitude_total += amplitudes.sum(axis=0)
    congruency: FloatImage = energy_total / (amplitude_total + np.finfo(np.float64).eps)
    return congruency
