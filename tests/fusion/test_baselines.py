from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage

from scalefuse.errors import InputError
from scalefuse.fusion.baselines import BASELINES

SIZES = [(256, 256), (97, 130), (64, 33), (17, 16)]
KERNEL = np.array([1, 4, 6, 4, 1]) / 16


def scipy_blur(image: NDArray[np.float64]) -> NDArray[np.float64]:
    for axis in (0, 1):
        image = ndimage.convolve1d(image, KERNEL, axis=axis, mode="mirror")
    return image


def scipy_expand(image: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
    spread = np.zeros(shape)
    spread[::2, ::2] = image
    return 4 * scipy_blur(spread)


def scipy_pyramid(image: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    bands = []
    for _ in range(4):
        coarse = scipy_blur(image)[::2, ::2]
        bands.append(image - scipy_expand(coarse, image.shape))
        image = coarse
    return [*bands, image]


def scipy_fusion(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    *bands, (base_a, base_b) = zip(scipy_pyramid(a), scipy_pyramid(b), strict=True)
    image = np.maximum(base_a, base_b)
    for band_a, band_b in reversed(bands):
        image = scipy_expand(image, band_a.shape) + np.where(abs(band_a) >= abs(band_b), band_a, band_b)
    return image.clip(0, 1)


@pytest.mark.parametrize("size", [(256, 256), (97, 130), (64, 49)])
def test_laplacian_pyramid_agrees_with_scipy(size: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    a, b = (ndimage.gaussian_filter(random.random(size), sigma) for sigma in (1.0, 3.0))
    a, b = ((image - image.min()) / np.ptp(image) for image in (a, b))
    got = BASELINES["laplacian_pyramid"](*(torch.from_numpy(image)[None, None] for image in (a, b)))
    np.testing.assert_allclose(got[0, 0].numpy(), scipy_fusion(a, b), atol=1e-12)


@pytest.mark.parametrize("name", BASELINES)
class TestEveryBaseline:
    @pytest.mark.parametrize("size", [*SIZES, (3, 5), (1, 1), (1, 40)])
    def test_image_with_itself_is_the_image(self, name: str, size: tuple[int, int]) -> None:
        image = torch.rand(2, 1, *size)
        torch.testing.assert_close(BASELINES[name](image, image), image)

    def test_is_symmetric_and_stays_in_range(self, name: str) -> None:
        a, b = torch.rand(2, 1, 37, 50), torch.rand(2, 1, 37, 50) ** 3
        fused = BASELINES[name](a, b)
        torch.testing.assert_close(fused, BASELINES[name](b, a))
        assert fused.min() >= 0
        assert fused.max() <= 1

    def test_constants_give_constants(self, name: str) -> None:
        a, b = torch.full((1, 1, 40, 45), 0.2), torch.full((1, 1, 40, 45), 0.6)
        expected = 0.4 if name == "average" else 0.6
        torch.testing.assert_close(BASELINES[name](a, b), torch.full_like(a, expected))

    def test_sizes_that_differ_are_refused_with_both_named(self, name: str) -> None:
        with pytest.raises(InputError, match=r"\(1, 1, 16, 16\) and \(1, 1, 16, 18\)"):
            BASELINES[name](torch.zeros(1, 1, 16, 16), torch.zeros(1, 1, 16, 18))


def test_laplacian_pyramid_keeps_the_detail_of_both() -> None:
    stripes = (torch.arange(64) % 4 < 2).float()
    a, b = torch.zeros(1, 1, 64, 64), torch.zeros(1, 1, 64, 64)
    a[..., :28], b[..., 36:] = 0.5 * stripes[:28], 0.5 * stripes[36:]
    fused = BASELINES["laplacian_pyramid"](a, b)
    torch.testing.assert_close(fused[..., :16].std(), a[..., :16].std(), rtol=0.05, atol=0)
    torch.testing.assert_close(fused[..., 48:].std(), b[..., 48:].std(), rtol=0.05, atol=0)
