"""Numbers that others computed, and numbers worked out by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from scalefuse.metrics import FUSION_METRICS

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "fusion_metrics.json").read_text())

# FSIM(F, A) + FSIM(F, B) by the outside implementation piq 0.8.0 (float64, data_range 255, not chromatic);
# it needs torchvision, so only its numbers are here. Key: seed, height, width of the made triple.
FSIM_BY_PIQ = {
    (1, 96, 120): 1.6705301448245802,
    (2, 96, 120): 1.6760796435130656,
    (3, 96, 120): 1.6745686894355631,
}


@pytest.mark.parametrize("seed", sorted(GOLDEN))
@pytest.mark.parametrize("name", sorted(GOLDEN["1"]))
def test_agrees_with_the_fields_evaluator(triple_of, seed, name):
    value = FUSION_METRICS[name](*triple_of(int(seed)))
    assert value == pytest.approx(GOLDEN[seed][name], rel=1e-6)


@pytest.mark.parametrize("key", sorted(FSIM_BY_PIQ))
def test_fsim_agrees_with_an_outside_implementation(triple_of, key):
    # The median of an even number of values and an epsilon differ between the two.
    assert FUSION_METRICS["FSIM"](*triple_of(*key)) == pytest.approx(FSIM_BY_PIQ[key], rel=5e-6)


# Fused: two dark columns and two bright ones; a is the same; b is its transpose, independent of it.
COLUMNS = np.tile([0.0, 0.0, 4.0, 4.0], (4, 1))
BY_HAND = {
    "EN": 1.0,  # two levels, equally often
    "SD": 2.0,
    "SF": np.sqrt(16 / 3),  # one of three horizontal differences is 4
    "AG": np.sqrt(2) / 2,  # central differences 0, 2, 2, 0 in every row: half the pixels have √(2²/2)
    "MI": np.log(2),  # I(F; A) = H(F), I(F; B) = 0
    "NMI": 1.0,
    "CC": 0.5,
    "SCD": np.sqrt(0.5),  # cov(F − B, A) = 4, sd(F − B) = √8, sd(A) = 2; F − A is constant
    "PSNR": 10 * np.log10(255**2 / 4),  # MSE 0 and 8
}


@pytest.mark.parametrize("name", sorted(BY_HAND))
def test_four_by_four_worked_by_hand(name):
    value = FUSION_METRICS[name](COLUMNS, COLUMNS, COLUMNS.T)
    assert value == pytest.approx(BY_HAND[name], rel=1e-12)


def test_edge_preservation_of_a_dimmed_picture_by_hand(triple_of):
    _, a, _ = triple_of(1)
    # Half the strength everywhere: the strength sigmoid is at its centre; orientations agree.
    expected = 0.9994 / 2 * 0.9879 / (1 + np.exp(-22 * 0.2))
    assert FUSION_METRICS["Qabf"](a / 2, a, a) == pytest.approx(expected, rel=1e-12)


def test_ssim_of_constant_pictures_by_hand():
    dark, bright = np.full((9, 9), 50.0), np.full((9, 9), 200.0)
    c1 = 2.55**2
    luminance = (2 * 50 * 200 + c1) / (50**2 + 200**2 + c1)
    assert FUSION_METRICS["SSIM"](dark, dark, bright) == pytest.approx(1 + luminance, rel=1e-12)


def test_vif_of_a_sharpened_picture_exceeds_that_of_a_blurred_one(triple_of):
    _, a, _ = triple_of(1)
    centre = a.mean()
    stronger, weaker = (np.clip(centre + gain * (a - centre), 0, 255) for gain in (1.1, 0.9))
    vif = FUSION_METRICS["VIF"]
    assert vif(weaker, a, a) < 1.99 < 2.01 < vif(stronger, a, a)
    assert vif(a, a, a) == pytest.approx(2, rel=1e-9)
