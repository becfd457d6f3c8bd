import math

import numpy as np
import pytest
from scipy.stats import binom

from scalefuse.errors import InputError
from scalefuse.inference.operating_point import (
    OperatingPoint,
    choose_operating_point,
    choose_threshold,
    decide,
)

TABLE = ((0.6, 0.7, 0.9), tuple(round(0.05 * step, 2) for step in range(1, 20)))
LABELS = ("benign", "malignant")


def test_hand_worked():
    # 19 positives 0.05 … 0.95: of 20 · 0.1 = 2, the second smallest; 18 of them are called.
    assert choose_threshold(TABLE[1], 0.9) == 0.1
    assert choose_threshold(TABLE[1], 0.95) == 0.05
    with pytest.raises(
        InputError, match=r"at least 24 calibration cases of it, but the model carries 19.*0\.95"
    ):
        choose_threshold(TABLE[1], 0.96, label="malignant")


def test_sensitivity_holds_on_new_cases():
    """Of fresh calibration sets with one fresh positive each: a binomial count."""
    generator = np.random.default_rng(0)
    trials, hits = 2000, 0
    for _ in range(trials):
        positives = generator.beta(3, 2, 41)
        hits += positives[40] >= choose_threshold(positives[:40], 0.9)
    assert binom.ppf(0.001, trials, 0.9) <= hits <= binom.ppf(0.999, trials, 0.9 + 1 / 41)


def test_the_decision_follows_the_threshold():
    point = choose_operating_point(TABLE, LABELS, 0.9)
    assert point == OperatingPoint(sensitivity=0.9, thresholds={"malignant": 0.1})
    probabilities = np.array([[0.89, 0.11], [0.9, 0.1], [0.91, 0.09], [0.2, 0.8]])
    assert decide(probabilities, LABELS).tolist() == [0, 0, 0, 1]
    assert decide(probabilities, LABELS, operating_point=point).tolist() == [1, 1, 0, 1]


def test_another_positive_class():
    point = choose_operating_point(TABLE, LABELS, 0.75, positive="benign")
    assert point.thresholds == {"benign": 0.6}
    # Below its threshold the class is not called, even where it is the more probable one.
    assert decide(np.array([[0.55, 0.45], [0.6, 0.4]]), LABELS, operating_point=point).tolist() == [1, 0]


def test_one_class_of_many():
    point = OperatingPoint(sensitivity=0.9, thresholds={"b": 0.2})
    probabilities = np.array([[0.5, 0.2, 0.3], [0.3, 0.1, 0.6], [0.6, 0.15, 0.25]])
    assert decide(probabilities, "abc", operating_point=point).tolist() == [1, 2, 0]
    with pytest.raises(InputError, match="name the class"):
        choose_operating_point(((0.5,), (0.5,), (0.5,)), "abc", 0.5)


def test_labels_have_thresholds_of_their_own():
    table = (TABLE[1], tuple(math.sqrt(value) for value in TABLE[1]))
    point = choose_operating_point(table, ("edema", "mass"), 0.9, multi_label=True)
    assert point.thresholds == {"edema": 0.1, "mass": pytest.approx(math.sqrt(0.1))}
    called = decide(
        np.array([[0.1, 0.1], [0.05, 0.5]]), ("edema", "mass"), multi_label=True, operating_point=point
    )
    assert called.tolist() == [[True, False], [False, True]]
    plain = decide(np.array([[0.5, 0.49]]), ("edema", "mass"), multi_label=True)
    assert plain.tolist() == [[True, False]]
    only = choose_operating_point(table, ("edema", "mass"), 0.9, multi_label=True, positive="mass")
    assert list(only.thresholds) == ["mass"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: choose_operating_point((), LABELS, 0.9), "no calibration scores"),
        (lambda: choose_operating_point(TABLE, LABELS, 0.9, positive="cyst"), "knows benign, malignant"),
        (lambda: choose_operating_point(TABLE, LABELS, 95), "give 0.95"),
        (lambda: choose_operating_point(((0.5,), ()), LABELS, 0.9), "leave it out"),
        (lambda: decide(np.ones((1, 3)), LABELS), r"\(N, 2\)"),
        (
            lambda: decide(
                np.ones((1, 2)),
                LABELS,
                operating_point=OperatingPoint(sensitivity=0.5, thresholds={"x": 1.0}),
            ),
            "knows benign",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call()
