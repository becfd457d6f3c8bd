"""Losses of a classifier against PyTorch's and torch's own focal formula, and what weights mean."""

import pytest
import torch
import torch.nn.functional as F

from scalefuse.config.classification import ClassificationLoss
from scalefuse.errors import InputError
from scalefuse.training.classification_loss import WeightedLoss, class_weights, mean_weight

LOGITS = torch.randn(40, 3, generator=torch.manual_seed(0), dtype=torch.float32) * 2
TARGETS = torch.randint(0, 3, (40,), generator=torch.manual_seed(1))
LABELS = torch.randint(0, 2, (40, 3), generator=torch.manual_seed(2)).float()
ONES = torch.ones(3)


def loss(weights=ONES, *, multi_label=False, scale=1.0, **options):
    return WeightedLoss(ClassificationLoss(**options), weights, multi_label=multi_label, scale=scale)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_pytorchs(smoothing):
    expected = F.cross_entropy(LOGITS, TARGETS, label_smoothing=smoothing)
    torch.testing.assert_close(loss(label_smoothing=smoothing)(LOGITS, TARGETS), expected)
    soft = F.one_hot(TARGETS, 3).float().lerp(torch.full((40, 3), 1 / 3), 0.4)
    expected = F.cross_entropy(LOGITS, soft, label_smoothing=smoothing)
    torch.testing.assert_close(loss(label_smoothing=smoothing)(LOGITS, soft), expected)


def test_class_weights_over_all_cases_are_pytorchs():
    weights = torch.tensor([1.0, 5.0, 0.3])
    scale = mean_weight(weights, TARGETS, torch.ones(40))
    expected = F.cross_entropy(LOGITS, TARGETS, weight=weights)
    torch.testing.assert_close(loss(weights, scale=scale)(LOGITS, TARGETS), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_class_weights_of_shares_are_pytorchs(smoothing):
    """PyTorch weights every share of a soft target by its own class, and averages over the images."""
    weights = torch.tensor([1.0, 9.0, 0.3])
    soft = F.one_hot(TARGETS, 3).float().lerp(F.one_hot(TARGETS.flip(0), 3).float(), 0.3)
    expected = F.cross_entropy(LOGITS, soft, weight=weights)
    torch.testing.assert_close(loss(weights)(LOGITS, soft), expected)
    # Mixing is linear: 0.7 of the one loss and 0.3 of the other.
    for name in ("cross_entropy", "focal"):
        measure = loss(weights, name=name, label_smoothing=smoothing)
        parts = 0.7 * measure(LOGITS, TARGETS) + 0.3 * measure(LOGITS, TARGETS.flip(0))
        torch.testing.assert_close(measure(LOGITS, soft), parts)


@pytest.mark.parametrize("name", ["cross_entropy", "focal"])
def test_smoothing_leaves_the_weight_of_a_case_to_its_class(name):
    weights = torch.tensor([1.0, 9.0, 0.3])
    each = torch.stack(
        [loss(name=name, label_smoothing=0.1)(LOGITS[i : i + 1], TARGETS[i : i + 1]) for i in range(40)]
    )
    expected = (weights[TARGETS] * each).mean()
    torch.testing.assert_close(loss(weights, name=name, label_smoothing=0.1)(LOGITS, TARGETS), expected)


def test_smoothed_labels_are_neither_certain():
    expected = F.binary_cross_entropy_with_logits(LOGITS, torch.where(LABELS == 1, 0.9, 0.1))
    torch.testing.assert_close(loss(multi_label=True, label_smoothing=0.2)(LOGITS, LABELS), expected)


def test_several_labels_are_binary_cross_entropy():
    expected = F.binary_cross_entropy_with_logits(LOGITS, LABELS)
    torch.testing.assert_close(loss(multi_label=True)(LOGITS, LABELS), expected)
    weights = torch.tensor([1.0, 5.0, 0.3])
    expected = F.binary_cross_entropy_with_logits(LOGITS, LABELS, pos_weight=weights)
    torch.testing.assert_close(loss(weights, multi_label=True)(LOGITS, LABELS), expected)


@pytest.mark.parametrize("gamma", [0.0, 2.0, 3.5])
def test_focal_is_the_papers_equation(gamma):
    right = LOGITS.softmax(1)[torch.arange(40), TARGETS]
    expected = (-((1 - right) ** gamma) * right.log()).mean()
    torch.testing.assert_close(loss(name="focal", focal_gamma=gamma)(LOGITS, TARGETS), expected)
    right = torch.where(LABELS == 1, LOGITS.sigmoid(), 1 - LOGITS.sigmoid())
    expected = (-((1 - right) ** gamma) * right.log()).mean()
    found = loss(name="focal", focal_gamma=gamma, multi_label=True)(LOGITS, LABELS)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", ["cross_entropy", "focal"])
@pytest.mark.parametrize("multi_label", [False, True])
def test_a_weight_of_two_is_the_case_twice_and_of_none_no_case(name, multi_label):
    targets = LABELS if multi_label else TARGETS
    measure = loss(name=name, multi_label=multi_label)
    weights = torch.ones(40)
    weights[3], weights[7] = 2, 0
    twice = [n for n in range(40) if n != 7] + [3]
    torch.testing.assert_close(measure(LOGITS, targets, weights), measure(LOGITS[twice], targets[twice]))


def test_balanced_classes_have_equal_parts():
    weights = class_weights("balanced", TARGETS, 3)
    shares = torch.bincount(TARGETS, minlength=3) * weights
    torch.testing.assert_close(shares, torch.full((3,), 40 / 3))
    assert mean_weight(weights, TARGETS, torch.ones(40)) == pytest.approx(1)
    weights = class_weights("balanced", LABELS, 3)
    torch.testing.assert_close(weights * LABELS.sum(0), 40 - LABELS.sum(0))


@pytest.mark.parametrize("multi_label", [False, True])
def test_balanced_classes_count_cases_as_often_as_their_weights_say(multi_label):
    targets = LABELS if multi_label else TARGETS
    counted = torch.ones(40)
    counted[3], counted[7], counted[9] = 2, 0, 3
    repeated = [n for n in range(40) for _ in range(int(counted[n]))]
    weights = class_weights("balanced", targets, 3, "abc", counted)
    torch.testing.assert_close(weights, class_weights("balanced", targets[repeated], 3))
    if not multi_label:
        parts = torch.bincount(targets, weights=counted, minlength=3) * weights
        torch.testing.assert_close(parts, torch.full((3,), len(repeated) / 3))


def test_bad_weights():
    with pytest.raises(InputError, match=r"2 numbers, but there are 3 classes \(a, b, c\)"):
        class_weights([1.0, 2.0], TARGETS, 3, "abc")
    for bad in (float("nan"), -1.0, float("inf")):
        with pytest.raises(InputError, match="0 or more"):
            mean_weight(ONES, TARGETS, torch.full((40,), bad))
    with pytest.raises(InputError, match="all training images are 0"):
        mean_weight(ONES, TARGETS, torch.zeros(40))
