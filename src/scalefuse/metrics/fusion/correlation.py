"""Linear correlation between the fused image and its sources."""

import numpy as np

from scalefuse.metrics.fusion.grey import FloatImage, GreyImage, as_grey_triple


def _pearson(x: FloatImage, y: FloatImage) -> float:
    x = x - x.mean()
    y = y - y.mean()
    power = float(np.sum(x * x)) * float(np.sum(y * y))
    # Subtracting the mean of a constant image can leave rounding dust, whose correlation would be noise:
    # 1e-18 is far below the power of a single pixel that differs by a millionth of a grey level.
    if power <= 1e-18 * x.size * y.size:
        return 0.0
    return float(np.sum(x * y)) / float(np.sqrt(power))


def correlation_coefficient(fused: GreyImage, a: GreyImage, b: GreyImage) -> float:
    """CC: mean of the Pearson correlations r(F, A) and r(F, B).

    Args:
        fused: The fused image ``(H, W)``, values 0–255.
        a: The first source, same shape.
        b: The second source, same shape.

    Returns:
        −1 to 1; a correlation with a constant image counts as 0.

    Raises:
        InputError: The images are not grey images of one size with values 0–255.

    Example:
        >>> image = [[0, 10], [20, 30]]
        >>> round(correlation_coefficient(image, image, image), 6)
        1.0
    """
    fused, a, b = as_grey_triple(fused, a, b)
    return (_pearson(fused, a) + _pearson(fused, b)) / 2


def sum_of_correlations_of_differences(fused: GreyImage, a: GreyImage, b: GreyImage) -> float:
    """SCD: r(F − B, A) + r(F − A, B), the correlation of what each source gave with that source.

    Args:
        fused: The fused image ``(H, W)``, values 0–255.
        a: The first source, same shape.
        b: The second source, same shape.

    Returns:
        −2 to 2; a correlation with a constant image or a constant difference counts as 0, so a fused image
        that copies ``b`` gets nothing for ``b``'s share.

    Raises:
        InputError: The images are not grey images of one size with values 0–255.

    Example:
        >>> a, b = [[0, 10], [0, 30]], [[50, 0], [20, 0]]
        >>> both = [[50, 10], [20, 30]]  # a + b: each difference is exactly the other source
        >>> round(sum_of_correlations_of_differences(both, a, b), 6)
        2.0

    Reference:
        Aslantas & Bendes 2015, "A new image quality metric for image fusion: The sum of the correlations of
        differences", equations 2–5.
    """
    fused, a, b = as_grey_triple(fused, a, b)
    return _pearson(fused - b, a) + _pearson(fused - a, b)
