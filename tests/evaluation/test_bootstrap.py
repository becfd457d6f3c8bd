import numpy as np
import pytest
import scipy.stats

from scalefuse.errors import InputError
from scalefuse.evaluation import bootstrap
from scalefuse.evaluation.bootstrap import bootstrap_interval, paired_bootstrap, resample_counts


@pytest.mark.parametrize("statistic", [np.mean, np.median])
@pytest.mark.parametrize("confidence", [0.95, 0.8])
def test_equals_scipy(statistic, confidence):
    values = np.random.default_rng(5).beta(8, 2, 41)
    theirs = scipy.stats.bootstrap(
        (values,),
        statistic,
        n_resamples=700,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(3),
    ).confidence_interval
    ours = bootstrap_interval(values, statistic=statistic, confidence=confidence, num_resamples=700, seed=3)
    assert ours == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_drawing_in_parts_changes_nothing(monkeypatch):
    values = np.random.default_rng(0).normal(size=13)
    whole = bootstrap_interval(values)
    monkeypatch.setattr(bootstrap, "_VALUES_AT_ONCE", 100)
    assert bootstrap_interval(values) == whole


def test_nan_is_no_case():
    values = [0.1, 0.4, 0.9]
    assert bootstrap_interval([0.1, np.nan, 0.4, 0.9]) == bootstrap_interval(values)
    assert np.isnan(bootstrap_interval([np.nan])).all()
    assert np.isnan(bootstrap_interval([])).all()
    assert bootstrap_interval([0.3]) == (0.3, 0.3)


def test_paired_is_the_interval_of_the_differences():
    generator = np.random.default_rng(1)
    hardness = generator.normal(size=30)
    x, y = hardness + 0.1, hardness + generator.normal(scale=0.01, size=30)
    mean, low, high = paired_bootstrap(x, y)
    assert mean == pytest.approx((x - y).mean())
    assert (low, high) == bootstrap_interval(x - y)
    assert high - low < 0.02 < np.subtract(*reversed(bootstrap_interval(x)))
    x[3], y[4] = np.nan, np.nan
    rest = np.delete(x - y, [3, 4])
    assert paired_bootstrap(x, y) == (pytest.approx(rest.mean()), *bootstrap_interval(rest))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bootstrap_interval([[1.0]]), "shape"),
        (lambda: bootstrap_interval([1.0, np.inf]), "1 infinite ones"),
        (lambda: bootstrap_interval([1.0], confidence=95), "got 95"),
        (lambda: bootstrap_interval([1.0], num_resamples=0), "got 0"),
        (lambda: paired_bootstrap([1.0], [1.0, 2.0]), "1 and 2"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_counts_are_resamples():
    blocks = list(resample_counts(700_000, num_resamples=3, seed=1))
    assert [block.shape for block in blocks] == [(1, 700_000)] * 3
    assert [int(block.sum()) for block in blocks] == [700_000] * 3
    values = np.random.default_rng(0).normal(size=40)
    counts = np.concatenate(list(resample_counts(40, num_resamples=4000)))
    assert counts.shape == (4000, 40)
    means = counts @ values / 40
    assert means.mean() == pytest.approx(values.mean(), abs=4 * values.std() / np.sqrt(40 * 4000))
    assert means.std() == pytest.approx(values.std() / np.sqrt(40), rel=0.05)
    with pytest.raises(InputError, match="at least 1 resample"):
        next(resample_counts(4, num_resamples=0))
