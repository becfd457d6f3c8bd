"""Mutual information between the fused image and its sources, from joint histograms of 8-bit grey levels."""

from typing import Literal

import numpy as np
import numpy.typing as npt

from scalefuse.errors import InputError
from scalefuse.metrics.fusion.grey import FloatImage, GreyImage, as_grey_triple

_LEVELS = 256


def _levels(image: FloatImage) -> npt.NDArray[np.int64]:
    return np.rint(image).astype(np.int64).ravel()


def _entropy_nats(counts: npt.NDArray[np.int64]) -> float:
    share = counts[counts > 0] / counts.sum()
    return float(-np.sum(share * np.log(share))) + 0.0


def _entropies(x: npt.NDArray[np.int64], y: npt.NDArray[np.int64]) -> tuple[float, float, float]:
    """H(x), H(y) and H(x, y) in nats."""
    joint = np.bincount(x * _LEVELS + y, minlength=_LEVELS * _LEVELS).reshape(_LEVELS, _LEVELS)
    return _entropy_nats(joint.sum(axis=1)), _entropy_nats(joint.sum(axis=0)), _entropy_nats(joint)


def mutual_information(
    fused: GreyImage, a: GreyImage, b: GreyImage, *, unit: Literal["nats", "bits"] = "nats"
) -> float:
    """MI: I(F; A) + I(F; B) from 256-bin joint histograms.

    Args:
        fused: The fused image ``(H, W)``, values 0–255; floats are rounded to 8 bit, nothing is stretched.
        a: The first source, same shape.
        b: The second source, same shape.
        unit: ``"nats"`` (natural logarithm) or ``"bits"``; bits = nats / ln 2.

    Returns:
        The sum of both mutual informations; 0 where the fused image or both sources are constant.

    Raises:
        InputError: The images are not grey images of one size with values 0–255, or the unit is unknown.

    Example:
        >>> image = [[0, 0], [255, 255]]
        >>> round(mutual_information(image, image, image, unit="bits"), 6)
        2.0

    Reference:
        Qu, Zhang & Yan 2002, "Information measure for performance of image fusion", Electronics Letters
        38(7).
    """
    if unit not in ("nats", "bits"):
        raise InputError(f"Expected unit 'nats' or 'bits' but got {unit!r}.")
    fused, a, b = as_grey_triple(fused, a, b)
    levels = _levels(fused)
    total = 0.0
    for source in (a, b):
        entropy_f, entropy_s, entropy_joint = _entropies(levels, _levels(source))
        total += max(entropy_f + entropy_s - entropy_joint, 0.0)
    return total / float(np.log(2)) if unit == "bits" else total


def normalised_mutual_information(fused: GreyImage, a: GreyImage, b: GreyImage) -> float:
    """NMI: 2·[I(F; A) / (H(F) + H(A)) + I(F; B) / (H(F) + H(B))], 256 bins.

    Args:
        fused: The fused image ``(H, W)``, values 0–255; floats are rounded to 8 bit, nothing is stretched.
        a: The first source, same shape.
        b: The second source, same shape.

    Returns:
        0–2; a source contributes 0 where it and the fused image are both constant.

    Raises:
        InputError: The images are not grey images of one size with values 0–255.

    Example:
        >>> image = [[0, 0], [255, 255]]
        >>> round(normalised_mutual_information(image, image, image), 6)
        2.0

    Reference:
        Hossny, Nahavandi & Creighton 2008, "Comments on 'Information measure for performance of image
        fusion'", Electronics Letters 44(18).
    """
    fused, a, b = as_grey_triple(fused, a, b)
    levels = _levels(fused)
    total = 0.0
    for source in (a, b):
        entropy_f, entropy_s, entropy_joint = _entropies(levels, _levels(source))
        if entropy_f + entropy_s > 0:
            total += 2 * max(entropy_f + entropy_s - entropy_joint, 0.0) / (entropy_f + entropy_s)
    return total
