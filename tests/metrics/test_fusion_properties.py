"""What must hold for every fusion measure: symmetry, identity, number formats, flat pictures, the table."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch

from scalefuse import metrics
from scalefuse.metrics import FUSION_METRIC_DEFINITIONS, FUSION_METRIC_HIGHER_IS_BETTER, FUSION_METRICS

NAMES = list(FUSION_METRICS)
OF_THE_FUSED_ALONE = {"EN", "SD", "SF", "AG"}


@pytest.fixture(scope="module")
def triple(triple_of):
    return triple_of(4, 180, 176)


def test_the_table_names_every_measure():
    expected = [
        "EN",
        "SD",
        "SF",
        "AG",
        "MI",
        "NMI",
        "CC",
        "SCD",
        "VIF",
        "Qabf",
        "SSIM",
        "MS-SSIM",
        "PSNR",
        "FMI",
        "FSIM",
    ]
    assert expected == NAMES == list(FUSION_METRIC_DEFINITIONS) == list(FUSION_METRIC_HIGHER_IS_BETTER)
    public = {getattr(metrics, name) for name in metrics.__all__ if callable(getattr(metrics, name))}
    assert set(FUSION_METRICS.values()) <= public


@pytest.mark.parametrize("name", NAMES)
def test_sources_can_be_swapped(triple, name):
    fused, a, b = triple
    assert FUSION_METRICS[name](fused, a, b) == pytest.approx(FUSION_METRICS[name](fused, b, a), rel=1e-12)


@pytest.mark.parametrize("name", sorted(set(NAMES) - OF_THE_FUSED_ALONE))
def test_a_perfect_copy_gets_the_top_value_and_noise_lowers_it(triple, name):
    _, a, _ = triple
    top = {"CC": 1.0, "SCD": 0.0, "PSNR": np.inf}.get(name, 2.0)
    if name == "MI":
        top = 2 * np.log(2) * metrics.entropy(a)
    if name == "Qabf":
        top = 0.9994 / (1 + np.exp(-7.5)) * 0.9879 / (1 + np.exp(-4.4))
    assert FUSION_METRICS[name](a, a, a) == pytest.approx(top, rel=1e-9)
    if name != "SCD":
        noisy = np.clip(a + np.random.default_rng(0).normal(0, 20, a.shape), 0, 255)
        assert FUSION_METRICS[name](noisy, a, a) < top


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "convert",
    [
        lambda image: image.astype(np.uint8),
        lambda image: image.astype(np.int64),
        lambda image: image.astype(np.float64),
        lambda image: np.asfortranarray(image.astype(np.float16)),
        lambda image: torch.from_numpy(image).to(torch.uint8),
        lambda image: torch.from_numpy(image).double().requires_grad_(),
        lambda image: torch.from_numpy(image).bfloat16(),  # exact: levels 0–255 need eight bits
    ],
    ids=["uint8", "int64", "float64", "float16", "tensor-uint8", "tensor-grad", "tensor-bfloat16"],
)
def test_number_formats_do_not_matter(triple_of, name, convert):
    size = (176, 176) if name == "MS-SSIM" else (48, 45)
    images = triple_of(5, *size)
    value = FUSION_METRICS[name](*map(convert, images))
    assert type(value) is float
    assert value == pytest.approx(FUSION_METRICS[name](*images), rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_inputs_stay_as_they_were(triple, name):
    images = [image.astype(np.float64) for image in triple]
    FUSION_METRICS[name](*images)
    for image, before in zip(images, triple, strict=True):
        np.testing.assert_array_equal(image, before)


FLAT = {
    "EN": 0, "SD": 0, "SF": 0, "AG": 0, "MI": 0, "NMI": 0, "CC": 0, "SCD": 0, "VIF": 2, "SSIM": 2,
    "MS-SSIM": 2, "PSNR": np.inf, "FMI": 2, "FSIM": 2,
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(FLAT))
@pytest.mark.parametrize("level", [0, 77.7, 255])
def test_flat_pictures_have_defined_values(name, level):
    flat = np.full((176, 176), level)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert FUSION_METRICS[name](flat, flat, flat) == pytest.approx(FLAT[name], abs=1e-12)


def test_edge_preservation_of_black_pictures_is_zero():
    black = np.zeros((8, 8))
    assert metrics.edge_preservation(black, black, black) == 0.0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("which", range(3))
def test_one_flat_picture_among_three_gives_a_finite_value(triple, name, which):
    images = list(triple)
    images[which] = np.full_like(images[which], 12)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite(FUSION_METRICS[name](*images))


def test_floats_are_rounded_for_histograms_only(triple):
    fused, a, b = triple
    shifted = np.clip(fused + 0.3, 0, 255)
    for name in ("EN", "MI", "NMI"):
        assert FUSION_METRICS[name](shifted, a, b) == FUSION_METRICS[name](fused, a, b)
    assert metrics.psnr(shifted, a, b) != metrics.psnr(fused, a, b)


def test_an_edge_is_one_pixel_wide_for_fmi(triple_of):
    from scalefuse.metrics.fusion.feature_information import _edge

    step = np.zeros((12, 12))
    step[:, 6:] = 100
    expected = np.zeros((12, 12))
    expected[:, 6] = 1  # columns 5 and 6 are equally strong; a ridge must exceed its right neighbour
    np.testing.assert_array_equal(_edge(step), expected)
    np.testing.assert_array_equal(_edge(step.T), expected.T)


@pytest.mark.parametrize("feature", ["pixel", "gradient", "edge", "dct", "wavelet"])
def test_fmi_prefers_a_source_to_noise_with_every_feature(triple, feature):
    _, a, b = triple
    noise = np.random.default_rng(0).uniform(0, 255, a.shape)
    copy = metrics.feature_mutual_information(a, a, b, feature=feature)
    assert copy > 1
    assert copy > metrics.feature_mutual_information(noise, a, b, feature=feature)


def test_edge_fmi_by_hand():
    step = np.zeros((12, 12))
    step[:, 6:] = 100
    flat = np.full((12, 12), 30.0)
    # The edge is column 6. Of ten columns of windows, three see it and share nothing with a flat source;
    # seven are alike and count 1.
    assert metrics.feature_mutual_information(step, flat, flat, feature="edge") == pytest.approx(
        1.4, abs=1e-12
    )
    # Half of the rows see the same edge in both.
    half = np.where(np.arange(12)[:, None] < 6, flat, step)
    assert metrics.feature_mutual_information(step, step, half, feature="edge") > 1.7


@pytest.mark.parametrize("feature", ["edge", "wavelet", "dct"])
def test_fmi_does_not_see_a_linear_change_of_grey_values(triple, feature):
    fused, a, b = (image.astype(float) for image in triple)
    value = metrics.feature_mutual_information(fused, a, b, feature=feature)
    changed = metrics.feature_mutual_information(fused, a / 2 + 32, b / 4, feature=feature)
    # The image's mean is one coefficient of the cosine transform, and the level of the wavelet's smooth band,
    # which some windows share with the bands beside it.
    assert changed == pytest.approx(value, rel=1e-6 if feature == "edge" else 5e-4)


def test_fmi_window_five_differs_and_stays_symmetric(triple):
    fused, a, b = (image[:40, :40] for image in triple)
    five = metrics.feature_mutual_information(fused, a, b, window=5)
    assert five == pytest.approx(metrics.feature_mutual_information(fused, b, a, window=5))
    assert five != pytest.approx(metrics.feature_mutual_information(fused, a, b), rel=1e-3)


def test_fsim_averages_large_pictures_down(triple_of):
    small = triple_of(6, 200, 210)
    # Factor 2 averages each pixel of the doubled pictures from four equal ones: the small pictures come back.
    large = [np.kron(image, np.ones((2, 2))) for image in small]
    assert metrics.fsim(*large) == pytest.approx(metrics.fsim(*small), rel=1e-9)


def test_importing_the_measures_stays_light():
    code = (
        "import sys, scalefuse.metrics;"
        "print([m for m in ('scipy', 'torch', 'torchmetrics', 'skimage') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_levels_are_rounded_for_the_entropy():
    assert metrics.entropy(np.array([[0.6, 1.4]])) == 0
    assert metrics.entropy(np.array([[0.4, 0.6]])) == pytest.approx(1)
