"""One level of the discrete Meyer wavelet transform, as the wavelet variant of FMI needs it."""

import numpy as np

from scalefuse.metrics.fusion.grey import FloatImage

# The low-pass filter that numerical packages call "dmey", from its middle outwards: a finite approximation of
# Meyer's filter, up to 8e-4 away from it. FMI stretches each window, so every digit of the tails counts.
_HALF = (
    *(0.7445855923188063, 0.44459300275757724, -0.035087555656258346, -0.13284520043622938),
    *(0.030655091960824263, 0.0637390243228016, -0.024348745906078023, -0.03213079399021176),
    *(0.017423434103729693, 0.015270015130934803, -0.011061496392513451, -0.006387718318497156),
    *(0.006045814097323304, 0.002202534100911002, -0.002704672124643725, -0.0006011502343516092),
    *(6.554305930575149e-05, -1.6312699734552807e-05, 3.20544191334478e-06, 7.367572885903746e-07),
    *(-1.489549216497156e-06, 1.1307947017916706e-06, -5.506340565252278e-07, 1.1783004497663934e-07),
    *(8.200680650386481e-08, -1.0866516536735883e-07, 6.066975741351135e-08, -1.0798819539621958e-08),
    *(-1.111944952595278e-08, 8.519459636796214e-09, -1.009999956941423e-12),
)
LOW_PASS = np.array([0.0, *_HALF[:0:-1], *_HALF])
"""Analysis filter of 62 taps, the first one 0."""

HIGH_PASS = LOW_PASS[::-1] * np.where(np.arange(len(LOW_PASS)) % 2, 1.0, -1.0)
"""Its quadrature mirror."""

_DECIMALS = 11


def meyer_transform(image: FloatImage) -> FloatImage:
    """Approximation and details of an image, one level, as one picture of four quarters.

    The image is continued by mirroring, edge pixels repeated.

    Args:
        image: ``(H, W)``, grey values.

    Returns:
        ``(2h, 2w)`` with h = (H + 61) // 2 and w = (W + 61) // 2. Upper left: smooth along both axes; upper
        right: differences down the columns; lower left: along the rows; lower right: both.

    Example:
        >>> quarters = meyer_transform(np.full((3, 4), 10.0))
        >>> quarters.shape, np.unique(np.round(quarters, 3))  # the finite filter's bands leak a little
        ((64, 64), array([0.0e+00, 1.5e-02, 2.0e+01]))

    Reference:
        Meyer 1990 for the wavelet; the finite filter is the customary one of 62 taps. Deviation: coefficients
        are rounded to 1e-11, so that constant parts give constant coefficients and not rounding dust.
    """
    smooth, rough = _filter(image, axis=1)
    (smooth_smooth, rough_smooth), (smooth_rough, rough_rough) = _filter(smooth, 0), _filter(rough, 0)
    quarters: FloatImage = np.block([[smooth_smooth, rough_smooth], [smooth_rough, rough_rough]])
    return np.round(quarters, _DECIMALS) + 0.0


def _filter(image: FloatImage, axis: int) -> tuple[FloatImage, FloatImage]:
    """Low and high band along an axis, every second value."""
    beyond = len(LOW_PASS) - 1
    width = [(beyond, beyond) if one == axis else (0, 0) for one in range(2)]
    padded = np.moveaxis(np.pad(image, width, mode="symmetric"), axis, 1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, len(LOW_PASS), axis=1)[:, 1::2]
    low, high = (np.moveaxis(windows @ taps[::-1], 1, axis) for taps in (LOW_PASS, HIGH_PASS))
    return low, high
