"""Qabf: how well the fused image preserves the edges of its sources (Xydeas and Petrović)."""

import numpy as np

from scalefuse.metrics.fusion.grey import FloatImage, GreyImage, as_grey_triple

# Sigmoids of strength and orientation preservation: gain, slope, centre.
_STRENGTH = (0.9994, -15.0, 0.5)
_ORIENTATION = (0.9879, -22.0, 0.8)


def _edges(image: FloatImage) -> tuple[FloatImage, FloatImage]:
    """Strength and orientation (−π/2 to π/2) of the Sobel gradient; outside the image lie zeros."""
    padded = np.pad(image, 1)
    across = padded[:, 2:] - padded[:, :-2]
    down = padded[2:] - padded[:-2]
    gradient_x = across[:-2] + 2 * across[1:-1] + across[2:]
    gradient_y = down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:]
    upright = gradient_x == 0
    # Where Sx = 0 the angle is +π/2, never −π/2, so the sign of Sy decides which steep angles lie near it:
    # here Sx grows to the right and Sy upwards.
    angle = np.arctan(-gradient_y / np.where(upright, 1.0, gradient_x))
    angle[upright] = np.pi / 2
    return np.hypot(gradient_x, gradient_y), angle


def _sigmoid(value: FloatImage, gain: float, slope: float, centre: float) -> FloatImage:
    result: FloatImage = gain / (1 + np.exp(slope * (value - centre)))
    return result


def _preservation(source: tuple[FloatImage, FloatImage], fused: tuple[FloatImage, FloatImage]) -> FloatImage:
    """Q of every pixel, 0–1, from the (strength, orientation) of both images."""
    strength_s, angle_s = source
    strength_f, angle_f = fused
    strong = np.maximum(strength_s, strength_f)
    ratio = np.ones_like(strong)
    np.divide(np.minimum(strength_s, strength_f), strong, out=ratio, where=strong > 0)
    alignment = 1 - np.abs(angle_s - angle_f) / (np.pi / 2)
    return _sigmoid(ratio, *_STRENGTH) * _sigmoid(alignment, *_ORIENTATION)


def edge_preservation(fused: GreyImage, a: GreyImage, b: GreyImage) -> float:
    """Qabf: preservation of strength and orientation of Sobel edges, weighted by the sources' edge strength.

    Args:
        fused: The fused image ``(H, W)``, values 0–255.
        a: The first source, same shape.
        b: The second source, same shape.

    Returns:
        0–1 (at most 0.975: the sigmoids do not reach 1); 0 where neither source has an edge. The image border
        counts as an edge against zeros, as in a zero-padded "same" convolution.

    Raises:
        InputError: The images are not grey images of one size with values 0–255.

    Example:
        >>> import numpy as np
        >>> image = np.random.default_rng(0).uniform(0, 255, (16, 16))
        >>> round(edge_preservation(image, image, image), 4)
        0.9748

    Reference:
        Xydeas & Petrović 2000, "Objective image fusion performance measure", Electronics Letters 36(4), with
        the constants of the widespread program (.9994/−15/.5 and .9879/−22/.8); Petrović's own later
        constants (.9999/19/.5, .9995/22/.5, exponent 1.5) give other numbers (.58 against .83 for one pair).
        The ratio of equal strengths is 1.
    """
    fused, a, b = as_grey_triple(fused, a, b)
    edges_f, edges_a, edges_b = _edges(fused), _edges(a), _edges(b)
    weight = float(np.sum(edges_a[0]) + np.sum(edges_b[0]))
    if weight == 0:
        return 0.0
    kept = np.sum(_preservation(edges_a, edges_f) * edges_a[0] + _preservation(edges_b, edges_f) * edges_b[0])
    return float(kept) / weight
