import numpy as np
import pytest
import torch
from torchmetrics.functional import classification

from scalefuse.errors import InputError
from scalefuse.metrics.segmentation import (
    SEGMENTATION_METRIC_DEFINITIONS,
    SEGMENTATION_METRIC_HIGHER_IS_BETTER,
    SEGMENTATION_METRICS,
    Counts,
    PooledOverlap,
    count,
    dice,
    iou,
    measure_segmentation,
    precision,
    recall,
    specificity,
)

# By hand: TP 3, FP 1, FN 2, TN 10.
PRED = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]], bool)
TARGET = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]], bool)
EMPTY = np.zeros((4, 4), bool)


def test_by_hand():
    assert count(PRED, TARGET) == Counts(3, 1, 2, 10)
    assert dice(PRED, TARGET) == 6 / 9
    assert iou(PRED, TARGET) == 3 / 6
    assert recall(PRED, TARGET) == 3 / 5
    assert precision(PRED, TARGET) == 3 / 4
    assert specificity(PRED, TARGET) == 10 / 11


@pytest.mark.parametrize("seed", range(5))
def test_equals_torchmetrics(seed):
    generator = np.random.default_rng(seed)
    pred, target = generator.random((2, 9, 13)) < generator.random((2, 1, 1)) * 0.6 + 0.2
    theirs = torch.from_numpy(pred).int(), torch.from_numpy(target).int()
    for ours, reference in [
        (dice, classification.binary_f1_score),
        (iou, classification.binary_jaccard_index),
        (recall, classification.binary_recall),
        (precision, classification.binary_precision),
        (specificity, classification.binary_specificity),
    ]:
        assert ours(pred, target) == pytest.approx(float(reference(*theirs)), abs=1e-6), ours.__name__


@pytest.mark.parametrize("measure", [dice, iou, recall, precision])
def test_empty_masks(measure):
    assert measure(EMPTY, EMPTY) == 1
    assert measure(PRED, EMPTY) == 0
    assert measure(EMPTY, TARGET) == 0


def test_specificity_is_the_recall_of_the_background():
    for pred in (PRED, EMPTY, ~EMPTY):
        for target in (TARGET, EMPTY, ~EMPTY):
            assert specificity(pred, target) == recall(~pred, ~target)


def test_pooled_by_hand():
    pooled = PooledOverlap()
    pooled.add(PRED, TARGET)
    pooled.add(EMPTY, PRED)
    # TP 3, FP 1, FN 6 over both: far from the mean of the two images' Dice, 1/3.
    assert pooled.measures() == {
        "pooled_dice": 6 / 13,
        "pooled_iou": 3 / 10,
        "pooled_recall": 3 / 9,
        "pooled_precision": 3 / 4,
    }
    together = count(np.hstack([PRED, EMPTY]), np.hstack([TARGET, PRED]))
    assert pooled.counts == together


@pytest.mark.parametrize("pair", [(PRED, TARGET), (PRED, EMPTY), (EMPTY, TARGET), (EMPTY, EMPTY)])
@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 2.0)])
def test_the_table_and_the_joint_measurement_agree(pair, spacing):
    joint = measure_segmentation(*pair, spacing)
    assert joint == {name: function(*pair, spacing) for name, function in SEGMENTATION_METRICS.items()}
    assert list(joint) == list(SEGMENTATION_METRICS) == list(SEGMENTATION_METRIC_DEFINITIONS)
    assert np.isfinite(list(joint.values())).all()


def test_a_perfect_mask_is_best_and_a_miss_is_worst():
    perfect, miss = measure_segmentation(TARGET, TARGET), measure_segmentation(EMPTY, TARGET)
    other = measure_segmentation(PRED, TARGET)
    for name, higher in SEGMENTATION_METRIC_HIGHER_IS_BETTER.items():
        assert perfect[name] == (1 if higher else 0)
        if name != "specificity":
            assert (miss[name] < other[name]) is higher, name


def test_masks_of_0_and_255_count_as_masks():
    assert count(PRED * np.uint8(255), TARGET.astype(int)) == count(PRED, TARGET)


@pytest.mark.parametrize(
    ("pred", "target", "message"),
    [
        (PRED, TARGET[:3], r"\(4, 4\) and \(3, 4\)"),
        (PRED[None], TARGET[None], "two masks"),
        (np.arange(16).reshape(4, 4), TARGET, "prediction of 0 and one other value"),
        (PRED, np.full((4, 4), 0.5) + PRED, "reference of 0 and one other value"),
    ],
)
def test_bad_masks(pred, target, message):
    with pytest.raises(InputError, match=message):
        dice(pred, target)
