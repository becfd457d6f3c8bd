import math

import numpy as np
import pytest
from scipy.stats import binom

from scalefuse.errors import InputError
from scalefuse.inference.classification_postprocessing import ClassificationPostProcessing
from scalefuse.inference.conformal import (
    adaptive_scores,
    conformal_rank,
    lac_threshold,
    prediction_sets,
    true_probabilities,
)


def simulated(number, classes, generator):
    """Probabilities of an overconfident model, and targets that are drawn from milder ones."""
    logits = generator.normal(0, 2.0, (number, classes))

    def softmax(values):
        values = np.exp(values - values.max(axis=1, keepdims=True))
        return values / values.sum(axis=1, keepdims=True)

    mild = softmax(0.6 * logits)
    targets = (mild.cumsum(axis=1) < generator.random((number, 1))).sum(axis=1)
    return softmax(logits), targets


def by_the_book(calibration, targets, new, coverage):
    """Split-conformal sets of LAC by scores and their quantile, as the tutorials define it.

    The quantile is the smallest score q with a share of at least ⌈(n + 1) · coverage⌉ / n scores up to q.
    (Their programs take NumPy's "higher", which is one score more.)
    """
    scores = 1 - calibration[np.arange(len(targets)), targets]
    level = min(1.0, math.ceil((len(scores) + 1) * coverage) / len(scores))
    return 1 - new <= np.quantile(scores, level - 1e-12, method="inverted_cdf")


def test_hand_worked():
    # Nine scores 1 - p: 0.05 0.1 0.2 0.25 0.3 0.4 0.5 0.6 0.9. For 0.8 the ⌈10 · 0.8⌉ = 8th is 0.6: p ≥ 0.4.
    table = [0.95, 0.9, 0.8, 0.75, 0.7, 0.6, 0.5, 0.4, 0.1]
    assert conformal_rank(9, 0.8) == 8
    assert lac_threshold(table, 0.8) == 0.4
    scores = ClassificationPostProcessing(true_probabilities=(tuple(table), (), ()))
    new = np.array([[0.4, 0.35, 0.25], [0.45, 0.45, 0.1], [0.34, 0.33, 0.33], [0.98, 0.01, 0.01]])
    sets = prediction_sets(new, scores, 0.8)
    np.testing.assert_array_equal(sets, [[1, 0, 0], [1, 1, 0], [0, 0, 0], [1, 0, 0]])
    # 0.95 takes the tenth of nine scores: only all classes are sure enough.
    assert prediction_sets(new, scores, 0.95).all()


@pytest.mark.parametrize(
    ("cases", "coverage", "rank"), [(99, 0.07, 7), (999, 0.9, 900), (9, 0.9, 9), (20, 0.95, 20)]
)
def test_ranks_are_free_of_binary_digits(cases, coverage, rank):
    assert conformal_rank(cases, coverage) == rank


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9, 0.95])
def test_sets_are_those_by_the_book(coverage):
    generator = np.random.default_rng(1)
    calibration, targets = simulated(157, 4, generator)
    # Five digits, as they are stored, so that rounding moves nothing.
    calibration, new = calibration.round(5), simulated(300, 4, generator)[0].round(5)
    scores = ClassificationPostProcessing.calibrated(calibration, targets)
    expected = by_the_book(calibration, targets, new, coverage)
    sets = prediction_sets(new, scores, coverage)
    # The same number may have other binary digits as 1 - (1 - p).
    tied = np.isclose(new, lac_threshold(sum(scores.true_probabilities, ()), coverage), rtol=0, atol=1e-9)
    np.testing.assert_array_equal(sets[~tied], expected[~tied])
    assert tied.mean() < 0.01


@pytest.mark.parametrize("method", ["lac", "aps"])
@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
def test_coverage_holds_on_new_cases(method, coverage):
    """Of 400 fresh calibration sets with one fresh case each, as the guarantee is worded: binomial."""
    generator = np.random.default_rng(7)
    trials, hits = 400, 0
    for _ in range(trials):
        probabilities, targets = simulated(61, 5, generator)
        scores = ClassificationPostProcessing.calibrated(probabilities[:60], targets[:60])
        hits += prediction_sets(probabilities[60:], scores, coverage, method=method)[0, targets[60]]
    assert hits >= binom.ppf(0.001, trials, coverage)
    if method == "lac":
        # No wider than it must be: the coverage is at most 1 / (n + 1) larger, here 0.016.
        assert hits <= binom.ppf(0.999, trials, min(1.0, coverage + 1 / 61))


def test_without_the_correction_it_would_not_hold():
    """With 9 cases the plain 0.9 quantile covers too few."""
    generator = np.random.default_rng(3)
    plain = corrected = 0
    for _ in range(3000):
        probabilities, targets = simulated(10, 5, generator)
        calibration = probabilities[np.arange(9), targets[:9]]
        own = probabilities[9, targets[9]]
        plain += own >= np.quantile(calibration, 0.1)
        corrected += own >= lac_threshold(calibration, 0.9)
    assert plain < binom.ppf(0.001, 3000, 0.9)
    assert corrected >= binom.ppf(0.001, 3000, 0.9)


def test_each_label_is_covered_by_itself():
    generator = np.random.default_rng(5)
    present = generator.random((4000, 2)) < (0.3, 0.6)
    probabilities = 1 / (1 + np.exp(-generator.normal(np.where(present, 1.0, -1.0), (1.0, 2.0))))
    scores = ClassificationPostProcessing.calibrated(probabilities[:2000], present[:2000].astype(int))
    assert scores.multi_label
    sets = prediction_sets(probabilities[2000:], scores, 0.9)
    for label in range(2):
        with_label = present[2000:, label]
        # Calibration and new cases both vary: the bound is that of a difference.
        error = math.sqrt(0.09 / with_label.sum() + 0.09 / present[:2000, label].sum())
        assert abs(sets[with_label, label].mean() - 0.9) < 4 * error
    assert sets.mean() < 0.9


def test_table_and_adaptive_scores_by_hand():
    probabilities = np.array([[0.123456789, 0.7, 0.176543211], [0.5, 0.25, 0.25], [0.1, 0.2, 0.7]])
    targets = np.array([0, 1, 2])
    assert true_probabilities(probabilities, targets) == ((0.12345,), (0.25,), (0.7,))
    assert adaptive_scores(probabilities, targets) == (0.7, 0.75, 1.0)


def test_adaptive_sets_by_hand():
    scores = ClassificationPostProcessing(
        true_probabilities=((0.5,) * 4,), adaptive_scores=(0.3, 0.5, 0.6, 0.8)
    )
    scores = scores.model_copy(update={"true_probabilities": ((0.5,), (0.5,), (0.5, 0.5))})
    # ⌈5 · 0.6⌉ = 3: up to 0.6 of probability.
    new = np.array([[0.35, 0.25, 0.4], [0.9, 0.05, 0.05], [0.3, 0.3, 0.4]])
    np.testing.assert_array_equal(
        prediction_sets(new, scores, 0.6, method="aps"), [[0, 0, 1], [1, 0, 0], [0, 0, 1]]
    )
    np.testing.assert_array_equal(
        prediction_sets(new, scores, 0.8, method="aps"), [[1, 0, 1], [1, 0, 0], [1, 0, 1]]
    )


def test_rounding_never_costs_coverage():
    generator = np.random.default_rng(2)
    probabilities, targets = simulated(200, 3, generator)
    scores = ClassificationPostProcessing.calibrated(probabilities.astype(np.float32), targets)
    exact = sorted(probabilities[np.arange(200), targets])
    stored = sorted(value for row in scores.true_probabilities for value in row)
    assert all(a <= b + 1e-7 for a, b in zip(stored, exact, strict=True))
    assert scores == ClassificationPostProcessing.model_validate_json(scores.model_dump_json())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: conformal_rank(10, 95), "give 0.95 for 95 %"),
        (lambda: conformal_rank(10, 1.0), "between 0 and 1"),
        (
            lambda: prediction_sets(np.ones((1, 2)), ClassificationPostProcessing(), 0.9),
            "no calibration scores",
        ),
        (
            lambda: prediction_sets(
                np.ones((1, 3)), ClassificationPostProcessing(true_probabilities=((0.5,), ())), 0.9
            ),
            r"\(N, 2\)",
        ),
        (lambda: true_probabilities(np.ones((2, 2)), np.array([0, 2])), "0 to 1"),
        (lambda: true_probabilities(np.full((1, 2), np.nan), np.array([0])), "NaN"),
        (lambda: true_probabilities(np.ones((2, 2)), np.array([0])), "shape"),
        (lambda: adaptive_scores(np.ones((1, 2)), np.array([[0, 1]])), "exclude"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call()
