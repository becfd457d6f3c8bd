"""The order of the cases: a function of the seed and the epoch only."""

from collections import Counter

import pytest

from scalefuse.data.sampling import EpochSampler, EvenBatches, SampleKey
from scalefuse.errors import InputError


def epoch(sampler, number):
    sampler.set_epoch(number)
    return list(sampler)


def test_every_case_once_in_another_order_each_epoch():
    sampler = EpochSampler(list(range(20)), seed=1)
    first, second = epoch(sampler, 0), epoch(sampler, 1)
    assert sorted(key.case for key in first) == sorted(key.case for key in second) == list(range(20))
    assert [key.case for key in first] != [key.case for key in second]
    assert {key.epoch for key in first} == {0}
    assert {key.epoch for key in second} == {1}


def test_an_epoch_does_not_depend_on_those_before():
    undisturbed = EpochSampler(["a"] * 7 + ["b"] * 3, seed=2, balance=0.5, num_samples=15)
    orders = [epoch(undisturbed, number) for number in range(4)]
    resumed = EpochSampler(["a"] * 7 + ["b"] * 3, seed=2, balance=0.5, num_samples=15)
    assert epoch(resumed, 3) == orders[3]
    assert list(resumed) == orders[3]
    assert epoch(EpochSampler(["a"] * 10, seed=3), 0) != epoch(EpochSampler(["a"] * 10, seed=4), 0)


@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
def test_shares_of_the_groups(balance):
    groups = ["large"] * 16 + ["small"] * 4
    sampler = EpochSampler(groups, seed=0, balance=balance, num_samples=300)
    counts = Counter(groups[key.case] for key in sampler)
    weights = {"large": 16 ** (1 - balance), "small": 4 ** (1 - balance)}
    for group, weight in weights.items():
        assert counts[group] == pytest.approx(300 * weight / sum(weights.values()), abs=1)
    assert len(sampler) == sum(counts.values()) == 300


@pytest.mark.parametrize("balance", [0.0, 0.6])
def test_a_group_with_less_than_a_case_an_epoch_has_its_share_over_the_epochs(balance):
    groups = ["a"] * 32 + ["b"] * 5 + ["c"] * 2
    sampler = EpochSampler(groups, seed=0, balance=balance, num_samples=8)
    counts = Counter()
    for number in range(2000):
        keys = epoch(sampler, number)
        assert len(keys) == 8
        counts.update(groups[key.case] for key in keys)
    weights = {name: groups.count(name) ** (1 - balance) for name in "abc"}
    for name, weight in weights.items():
        expected = 16000 * weight / sum(weights.values())
        # Of what a share has left, chance decides: at most half a case an epoch of standard deviation.
        assert counts[name] == pytest.approx(expected, abs=4 * 0.5 * 2000**0.5)


def test_repeats_are_numbered_and_even():
    sampler = EpochSampler(["x"] * 3, seed=0, num_samples=8)
    keys = list(sampler)
    assert len(set(keys)) == 8
    per_case = Counter(key.case for key in keys)
    assert max(per_case.values()) - min(per_case.values()) <= 1
    for case, count in per_case.items():
        assert sorted(key.repeat for key in keys if key.case == case) == list(range(count))


def test_fewer_samples_than_cases():
    keys = list(EpochSampler(["x"] * 9, seed=0, num_samples=4))
    assert len(keys) == len({key.case for key in keys}) == 4


def test_keys_are_plain():
    assert SampleKey(3) == (3, 0, 0)


@pytest.mark.parametrize(("groups", "seed", "balance"), [([], 0, 0), (["x"], -1, 0), (["x"], 0, 1.5)])
def test_wrong_arguments(groups, seed, balance):
    with pytest.raises(InputError):
        EpochSampler(groups, seed=seed, balance=balance)


@pytest.mark.parametrize(
    ("cases", "size", "least", "expected"),
    [
        (20, 11, 1, [10, 10]),
        (33, 32, 1, [16, 17]),
        (7, 3, 1, [2, 2, 3]),
        (5, 8, 1, [5]),
        (3, 2, 2, [3]),
        (7, 2, 2, [2, 2, 3]),
        (6, 1, 1, [1] * 6),
        (1, 4, 2, [1]),
    ],
)
def test_batches_leave_nothing_out_and_are_alike(cases, size, least, expected):
    sampler = EpochSampler(list(range(cases)), seed=2)
    batches = EvenBatches(sampler, size, least=least)
    for epoch in (0, 1):
        sampler.set_epoch(epoch)
        found = list(batches)
        assert sorted(len(batch) for batch in found) == expected
        assert len(batches) == len(expected)
        assert [key for batch in found for key in batch] == list(sampler)
