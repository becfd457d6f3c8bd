"""Agreement with outside implementations."""

import math

import numpy as np
import pytest
import torch
from skimage.measure import shannon_entropy
from skimage.metrics import structural_similarity
from sklearn.metrics import mutual_info_score, normalized_mutual_info_score
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    peak_signal_noise_ratio,
    visual_information_fidelity,
)

from scalefuse import metrics

SIZES = [(96, 120), (131, 97)]


def batch(*images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack(images).astype(np.float64))[:, None]


@pytest.fixture(params=SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def triple(request, triple_of):
    return tuple(image.astype(np.float64) for image in triple_of(7, *request.param))


def test_entropy_and_scikit_image(triple):
    assert metrics.entropy(triple[0]) == pytest.approx(shannon_entropy(triple[0].astype(np.uint8)), rel=1e-12)


def test_mutual_information_and_scikit_learn(triple):
    fused, a, b = (image.astype(int).ravel() for image in triple)
    expected = mutual_info_score(fused, a) + mutual_info_score(fused, b)
    assert metrics.mutual_information(*triple) == pytest.approx(expected, rel=1e-9)
    assert metrics.mutual_information(*triple, unit="bits") == pytest.approx(expected / np.log(2), rel=1e-9)


def test_normalised_mutual_information_and_scikit_learn(triple):
    fused, a, b = (image.astype(int).ravel() for image in triple)
    expected = normalized_mutual_info_score(fused, a) + normalized_mutual_info_score(fused, b)
    assert metrics.normalised_mutual_information(*triple) == pytest.approx(expected, rel=1e-9)


def test_correlations_and_numpy(triple):
    fused, a, b = triple

    def r(x, y):
        return np.corrcoef(x.ravel(), y.ravel())[0, 1]

    assert metrics.correlation_coefficient(*triple) == pytest.approx(
        (r(fused, a) + r(fused, b)) / 2, rel=1e-12
    )
    expected = r(fused - b, a) + r(fused - a, b)
    assert metrics.sum_of_correlations_of_differences(*triple) == pytest.approx(expected, rel=1e-12)


def test_ssim_and_scikit_image(triple):
    fused, a, b = triple
    expected = sum(structural_similarity(fused, source, data_range=255) for source in (a, b))
    assert metrics.ssim(*triple) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("size", [(176, 180), (201, 255)])
def test_ms_ssim_and_torchmetrics(triple_of, size):
    fused, a, b = triple_of(8, *size)
    expected = multiscale_structural_similarity_index_measure(
        batch(fused, fused), batch(a, b), data_range=255.0, reduction="sum"
    )
    # torchmetrics keeps its scale weights in float32.
    assert metrics.ms_ssim(fused, a, b) == pytest.approx(expected.item(), rel=1e-6)


def test_ms_ssim_of_an_inverted_picture_is_zero_in_both(triple_of):
    _, a, _ = triple_of(8, 176, 176)
    inverted = 255 - a
    theirs = multiscale_structural_similarity_index_measure(batch(inverted), batch(a), data_range=255.0)
    assert metrics.ms_ssim(inverted, a, a) == theirs.item() == 0.0


def test_psnr_and_torchmetrics(triple):
    fused, a, b = triple
    # The mean of two mean squared errors is the mean squared error of both pairs together.
    expected = peak_signal_noise_ratio(batch(fused, fused), batch(a, b), data_range=255.0)
    assert metrics.psnr(*triple) == pytest.approx(expected.item(), rel=1e-6)


def test_vif_and_torchmetrics(triple):
    fused, a, b = triple
    expected = sum(visual_information_fidelity(batch(fused), batch(source)).item() for source in (a, b))
    assert metrics.visual_information_fidelity(*triple) == pytest.approx(expected, rel=1e-6)


def haghighat_window(x: list[float], y: list[float]) -> float:
    """2·I/(H + H) of one window, pixel by pixel from the paper's equations (Nelsen's joint distribution)."""
    if x == y:
        return 1.0

    def distribution(values):
        low, high = min(values), max(values)
        lifted = [1.0] * len(values) if low == high else [(v - low) / (high - low) for v in values]
        return [v / sum(lifted) for v in lifted]

    def plogp(value):
        return -value * math.log2(abs(value)) if value != 0 else 0.0

    def spread(p):
        first = sum(i * value for i, value in enumerate(p))
        return math.sqrt(max(sum(i * i * value for i, value in enumerate(p)) - first**2, 0))

    p, q = distribution(x), distribution(y)
    size = len(p)
    up = [v - 1 / size for v in p]
    uq = [v - 1 / size for v in q]
    norm = math.sqrt(sum(v * v for v in up) * sum(v * v for v in uq))
    correlation = sum(v * w for v, w in zip(up, uq, strict=True)) / norm if norm > 1e-15 else 0.0

    def bound(i, j):
        cdf_p, cdf_q = sum(p[: i + 1]), sum(q[: j + 1])
        return min(cdf_p, cdf_q) if correlation >= 0 else max(cdf_p + cdf_q - 1, 0.0)

    cells = [(i, j) for i in range(size) for j in range(size)]
    covariance = sum(bound(i, j) - sum(p[: i + 1]) * sum(q[: j + 1]) for i, j in cells)
    spreads = spread(p) * spread(q)
    share = correlation * spreads / covariance if spreads > 0 and correlation != 0 else 0.0
    joint = 0.0
    for i, j in cells:
        mass = bound(i, j) - bound(i - 1, j) - bound(i, j - 1) + bound(i - 1, j - 1)
        joint += plogp(share * mass + (1 - share) * p[i] * q[j])
    marginal = sum(map(plogp, p)) + sum(map(plogp, q))
    return 2 * (marginal - joint) / marginal if marginal > 0 else 0.0


def cosine_transform(image):
    """The sum of the definition, orthonormal."""
    bases = []
    for size in image.shape:
        k, n = np.mgrid[:size, :size]
        basis = np.sqrt(2 / size) * np.cos(np.pi * (2 * n + 1) * k / (2 * size))
        basis[0] /= np.sqrt(2)
        bases.append(basis)
    return bases[0] @ image @ bases[1].T


def sobel_edges(image):
    """scikit-image's Sobel strengths, above twice their root mean square and on a ridge."""
    from skimage.filters import sobel_h, sobel_v

    # The image goes on with its border pixels; scikit-image mirrors without repeating them.
    across, down = (np.abs(part(np.pad(image, 1, mode="edge"))[1:-1, 1:-1]) for part in (sobel_v, sobel_h))
    power = across**2 + down**2
    edges = np.zeros(image.shape)
    for (row, column), one in np.ndenumerate(power):
        neighbours = {
            step: power[row + step[0], column + step[1]]
            if 0 <= row + step[0] < image.shape[0] and 0 <= column + step[1] < image.shape[1]
            else 0.0
            for step in ((0, -1), (0, 1), (-1, 0), (1, 0))
        }
        upright = across[row, column] >= down[row, column]
        level = down[row, column] >= across[row, column]
        ridge = (upright and neighbours[0, -1] <= one > neighbours[0, 1]) or (
            level and neighbours[-1, 0] <= one > neighbours[1, 0]
        )
        edges[row, column] = one > 4 * power.mean() and ridge
    return edges


def test_edges_and_scikit_image(triple_of):
    from scalefuse.metrics.fusion.feature_information import _edge

    for image in triple_of(4):
        found = _edge(image.astype(float))
        assert found.sum() > 100
        np.testing.assert_array_equal(found, sobel_edges(image.astype(float)))


DMEY = (
    (10.372785435253828, 8460.820631837405, 76711.87584262254),
    (-6.7405116242563095, 4048.643685428907, 21106.484681633134),
    (-2.566769233380801, 1397.03812944435, 2477.6223136165536),
    (-2.9132182112061353, 1331.7746249975162, 2477.808839176794),
)


def test_wavelet_and_pywavelets(triple_of):
    from scalefuse.metrics.fusion.meyer_wavelet import meyer_transform

    for image in (triple_of(2)[0].astype(float), np.arange(35.0).reshape(5, 7) ** 2 % 11):
        quarters = meyer_transform(image)
        height, width = (size // 2 for size in quarters.shape)
        parts = quarters.reshape(2, height, 2, width).transpose(0, 2, 1, 3)
        if image.size == 35:
            # Of each band by PyWavelets 1.8, dwt2(image, "dmey"): one coefficient, sum of sizes, energy.
            for part, (one, size, energy) in zip(parts.reshape(4, height, width), DMEY, strict=True):
                assert part[16, 17] == pytest.approx(one, abs=1e-10)
                assert np.abs(part).sum() == pytest.approx(size, rel=1e-10)
                assert (part**2).sum() == pytest.approx(energy, rel=1e-10)
    pywt = pytest.importorskip("pywt", reason="PyWavelets is not installed; its numbers above are checked")
    for image in triple_of(2):
        smooth, (down, across, both) = pywt.dwt2(image.astype(float), "dmey")
        theirs = np.block([[smooth, down], [across, both]])
        np.testing.assert_allclose(meyer_transform(image.astype(float)), theirs, atol=1e-10)


FEATURES = {
    "gradient": lambda image: np.gradient(image)[1],
    "pixel": lambda image: image,
    "dct": cosine_transform,
    "edge": sobel_edges,
}


@pytest.mark.parametrize("feature", FEATURES)
def test_fmi_and_the_papers_equations_window_by_window(triple_of, feature):
    fused, a, b = (image[:9, :12].astype(float) for image in triple_of(9))
    fused[:4, :6] = a[:4, :6]  # some windows are identical
    b[4:, 5:] = 80  # and some are flat in one of the two
    maps = [FEATURES[feature](image) for image in (fused, a, b)]
    values = []
    for row in range(7):
        for column in range(10):
            # Column by column: the cumulative distributions depend on the order of the pixels.
            windows = [image[row : row + 3, column : column + 3].T.ravel().tolist() for image in maps]
            values.append(haghighat_window(windows[0], windows[1]) + haghighat_window(windows[0], windows[2]))
    value = metrics.feature_mutual_information(fused, a, b, feature=feature)
    assert value == pytest.approx(np.mean(values), rel=1e-9)
