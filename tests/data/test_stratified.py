"""Splits with the same share of every class in every part, and no group in two."""

from pathlib import Path

import numpy as np
import pytest

from scalefuse.data.classification import ClassificationCase
from scalefuse.data.segmentation import SegmentationCase
from scalefuse.data.splits import split_by_fraction
from scalefuse.data.splits_stratified import stratified_k_folds, stratified_split_by_fraction
from scalefuse.errors import InputError


def make(counts, *, per_group=1):
    """Cases of the classes 0, 1, … in these numbers; each ``per_group`` in a row belong to one patient."""
    cases = []
    for label, count in enumerate(counts):
        for number in range(count):
            group = f"{label}-{number // per_group}" if per_group > 1 else None
            cases.append(ClassificationCase(f"{label}/{number}", "train", label, group=group))
    return cases


@pytest.mark.parametrize("counts", [(80, 20), (147, 399), (50, 30, 12, 7)])
def test_every_part_has_its_share_of_every_class(counts):
    cases = make(counts)
    train, val = stratified_split_by_fraction(cases, 0.2, 3)
    assert {c.name for c in train} | {c.name for c in val} == {c.name for c in cases}
    assert not {c.name for c in train} & {c.name for c in val}
    for label, count in enumerate(counts):
        assert abs(sum(c.label == label for c in val) - 0.2 * count) < 1
    for _, part in stratified_k_folds(cases, 5, 3):
        for label, count in enumerate(counts):
            assert abs(sum(c.label == label for c in part) - count / 5) < 1


def test_folds_cover_every_case_once_and_no_group_straddles():
    cases = make((60, 24), per_group=4)
    folds = stratified_k_folds(cases, 3, 0)
    assert sorted(c.name for _, val in folds for c in val) == sorted(c.name for c in cases)
    for train, val in folds:
        assert not {c.group for c in train} & {c.group for c in val}
        assert sum(c.label == 1 for c in val) == 8
        assert sum(c.label == 0 for c in val) == 20


def test_groups_of_mixed_sizes_and_labels_stay_near():
    rng = np.random.default_rng(0)
    cases = [
        ClassificationCase(f"{patient}-{number}", "all", int(rng.random() < 0.3), group=f"{patient}")
        for patient in range(60)
        for number in range(int(rng.integers(1, 9)))
    ]
    share = np.mean([c.label for c in cases])
    for train, val in stratified_k_folds(cases, 4, 0):
        assert len(val) == pytest.approx(len(cases) / 4, rel=0.1)
        assert np.mean([c.label for c in val]) == pytest.approx(share, abs=0.05)
        assert not {c.group for c in train} & {c.group for c in val}


def test_several_labels_are_dealt_out_too():
    rng = np.random.default_rng(1)
    cases = [
        ClassificationCase(
            f"{n}", "all", tuple(int(i) for i in np.flatnonzero(rng.random(3) < (0.5, 0.2, 0.06)))
        )
        for n in range(200)
    ]
    totals = [sum(label in c.labels for c in cases) for label in range(3)]
    for _, val in stratified_k_folds(cases, 4, 0):
        for label, total in enumerate(totals):
            assert abs(sum(label in c.labels for c in val) - total / 4) <= 2


def test_the_order_of_the_cases_does_not_matter_but_the_seed_does():
    cases = make((30, 10))
    held = [{c.name for c in stratified_split_by_fraction(some, 0.3, 5)[1]} for some in (cases, cases[::-1])]
    assert held[0] == held[1]
    assert {c.name for c in stratified_split_by_fraction(cases, 0.3, 6)[1]} != held[0]


def test_each_side_gets_something():
    for fraction in (0.01, 0.99):
        train, val = stratified_split_by_fraction(make((3, 1)), fraction, 0)
        assert train
        assert val


@pytest.mark.parametrize(
    "call",
    [
        lambda: stratified_split_by_fraction(make((1,)), 0.5, 0),
        lambda: stratified_split_by_fraction(make((4, 4), per_group=8)[:4], 0.5, 0),
        lambda: stratified_split_by_fraction(make((4, 4)), 1.0, 0),
        lambda: stratified_k_folds(make((2, 2)), 5, 0),
        lambda: stratified_k_folds(make((2, 2)), 1, 0),
        lambda: stratified_k_folds(make((2, 2)), 2, -1),
    ],
)
def test_what_cannot_be_split(call):
    with pytest.raises(InputError):
        call()


def test_a_large_group_is_not_held_out_for_a_small_share():
    cases = [
        SegmentationCase(f"{n}", Path(f"{n}.png"), group="big" if n < 50 else f"g{n % 10}")
        for n in range(100)
    ]
    for seed in range(60):
        train, val = split_by_fraction(cases, 0.15, seed)
        assert len(val) == 15
        assert len(train) == 85
    pairs = [SegmentationCase(f"{n}", Path(f"{n}.png"), group="ab"[n < 3]) for n in range(10)]
    assert {len(split_by_fraction(pairs, 0.1, seed)[1]) for seed in range(20)} == {3}
