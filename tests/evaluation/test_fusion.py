"""Per-case values and summaries of fused pictures."""

import numpy as np
import pytest
import scipy.stats

from scalefuse.errors import InputError
from scalefuse.evaluation.fusion import FusionCase, FusionEvaluation, evaluate_fusion, luma_8bit
from scalefuse.metrics import FUSION_METRICS

RNG = np.random.default_rng(4)


def test_luma_of_grey_pictures():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(luma_8bit(levels), levels)
    np.testing.assert_array_equal(luma_8bit(levels.astype(np.uint16) * 257), levels)
    np.testing.assert_array_equal(luma_8bit(levels / 255.0), levels)
    np.testing.assert_array_equal(luma_8bit(levels.astype(np.float32) / 255), levels)
    np.testing.assert_array_equal(luma_8bit(np.array([[128, 129, 65535]], np.uint16)), [[0, 1, 255]])


def test_luma_of_colours_is_that_of_pillow():
    from PIL import Image

    rgb = RNG.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    ours = luma_8bit(rgb)
    exact = rgb @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_array_equal(ours, np.rint(exact))
    # Pillow computes in 16-bit fixed point: at exact halves it may fall on the other side.
    assert np.abs(ours - np.asarray(Image.fromarray(rgb).convert("L"), float)).max() <= 1
    np.testing.assert_array_equal(luma_8bit(rgb.astype(np.uint16) * 257), ours)


@pytest.mark.parametrize("dtype", [np.int16, np.int64, bool, np.complex64])
def test_other_numbers_are_refused(dtype):
    with pytest.raises(InputError, match=np.dtype(dtype).name):
        luma_8bit(np.zeros((4, 4), dtype))


def made(num_cases=7):
    rows = [
        {"case": str(case), "method": method, "EN": float(RNG.normal(shift, 1)), "CC": float(RNG.random())}
        for case in range(num_cases)
        for method, shift in (("ours", 1.0), ("theirs", 0.0), ("other", 3.0))
    ]
    return FusionEvaluation(metrics=["EN", "CC"], rows=rows)


def test_summary_against_numpy_and_scipy():
    evaluation = made()
    summary = evaluation.summary()
    assert evaluation.methods == ["ours", "theirs", "other"]
    assert summary["num_cases"] == 7
    for method in evaluation.methods:
        for metric in ("EN", "CC"):
            values = [row[metric] for row in evaluation.rows if row["method"] == method]
            entry = summary["methods"][method][metric]
            theirs = scipy.stats.bootstrap(
                (values,), np.mean, n_resamples=2000, method="percentile", rng=np.random.default_rng(0)
            ).confidence_interval
            assert entry["mean"] == pytest.approx(np.mean(values))
            assert (entry["low"], entry["high"]) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
            assert entry["n"] == 7
    for method in ("theirs", "other"):
        difference = evaluation.values("ours", "EN") - evaluation.values(method, "EN")
        theirs = scipy.stats.bootstrap(
            (difference,), np.mean, n_resamples=2000, method="percentile", rng=np.random.default_rng(0)
        ).confidence_interval
        entry = summary["ours minus"][method]["EN"]
        assert entry["mean"] == pytest.approx(difference.mean())
        assert (entry["low"], entry["high"]) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_values_that_are_missing_are_left_out_pairwise():
    evaluation = made(4)
    evaluation.rows[0]["EN"] = float("nan")
    summary = evaluation.summary()
    ours = evaluation.values("ours", "EN")
    assert np.isnan(ours[0])
    assert summary["methods"]["ours"]["EN"]["n"] == 3
    assert summary["methods"]["ours"]["EN"]["mean"] == pytest.approx(ours[1:].mean())
    expected = (ours - evaluation.values("theirs", "EN"))[1:].mean()
    assert summary["ours minus"]["theirs"]["EN"]["mean"] == pytest.approx(expected)


def test_a_measure_that_nothing_has_is_null():
    evaluation = made(3)
    for row in evaluation.rows:
        row["EN"] = float("nan")
    entry = evaluation.summary()["methods"]["ours"]["EN"]
    assert entry == {"mean": None, "low": None, "high": None, "n": 0}


def test_every_measure_is_called_with_fused_and_sources():
    fused, a, b = (RNG.integers(0, 256, (176, 180)).astype(float) for _ in range(3))
    evaluation = evaluate_fusion([FusionCase("one", a, b, {"x": fused})], list(FUSION_METRICS))
    assert evaluation.rows == [
        {"case": "one", "method": "x", **{name: float(f(fused, a, b)) for name, f in FUSION_METRICS.items()}}
    ]


def test_too_small_for_a_measure_is_noted():
    small = RNG.integers(0, 256, (12, 12)).astype(float)
    evaluation = evaluate_fusion([FusionCase("small", small, small, {"x": small})], ["EN", "MS-SSIM"])
    assert np.isfinite(evaluation.rows[0]["EN"])
    assert np.isnan(evaluation.rows[0]["MS-SSIM"])
    assert "small: MS-SSIM not measured" in evaluation.notes[0]


def test_unknown_measure():
    with pytest.raises(InputError, match=r"'VIFF'.*VIF"):
        evaluate_fusion([], ["VIFF"])


def test_real_numbers_beyond_one_are_refused():
    assert luma_8bit(np.array([[-1e-4, 1 + 1e-4]], np.float32)).tolist() == [[0, 255]]
    for pixels in ([[0.0, 255.0]], [[-1.0, 0.5]], [[np.nan, 0.5]]):
        with pytest.raises(InputError, match=r"in \[0, 1\]"):
            luma_8bit(np.array(pixels, np.float32))
