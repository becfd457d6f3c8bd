"""Made images for the fusion measures."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

Triple = tuple[np.ndarray, np.ndarray, np.ndarray]


def make_triple(seed: int, height: int = 96, width: int = 120) -> Triple:
    """(fused, a, b) by the rule of the golden numbers: smooth noise at two scales, 8-bit levels, float32."""
    random = np.random.RandomState(seed)

    def smooth(sigma: float) -> np.ndarray:
        return gaussian_filter(random.standard_normal((height, width)), sigma)

    def to_levels(image: np.ndarray) -> np.ndarray:
        return np.round(255 * (image - image.min()) / (image.max() - image.min()))

    a = to_levels(smooth(3) + 0.3 * smooth(1))
    b = to_levels(smooth(5) + 0.3 * smooth(0.7))
    noise = 3 * random.standard_normal((height, width))
    fused = to_levels(0.7 * np.maximum(a, b) + 0.3 * (a + b) / 2 + noise)
    return fused.astype(np.float32), a.astype(np.float32), b.astype(np.float32)


@pytest.fixture(scope="session")
def triple_of() -> Callable[..., Triple]:
    return make_triple
