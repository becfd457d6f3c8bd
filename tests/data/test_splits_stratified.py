"""Grouped, stratified folds against scikit-learn's."""

import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold

from scalefuse.data.classification import ClassificationCase
from scalefuse.data.splits_stratified import stratified_k_folds


def unevenness(parts, labels):
    """Standard deviation of the number of cases of each class over parts, as a share of its mean."""
    counts = np.array([np.bincount(labels[part], minlength=3) for part in parts])
    return float((counts.std(axis=0) / counts.mean(axis=0)).sum())


@pytest.mark.parametrize("seed", range(4))
def test_classes_are_spread_as_evenly_as_by_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 60, 500)
    leaning = 0.5 * rng.dirichlet([0.3] * 3, 60) + 0.5 * np.array([0.7, 0.25, 0.05])
    labels = np.array([rng.choice(3, p=leaning[group]) for group in groups])
    cases = [
        ClassificationCase(str(n), "all", int(labels[n]), group=str(group)) for n, group in enumerate(groups)
    ]
    ours = [[int(case.name) for case in val] for _, val in stratified_k_folds(cases, 5, seed)]
    splitter = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
    theirs = [val for _, val in splitter.split(labels, labels, groups)]
    assert unevenness(ours, labels) <= unevenness(theirs, labels)
    assert max(map(len, ours)) - min(map(len, ours)) <= max(map(len, theirs)) - min(map(len, theirs))
