from itertools import product

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from scalefuse.errors import InputError
from scalefuse.evaluation.fit_postprocessing import (
    fit_class_postprocessing,
    fit_label_postprocessing,
    fit_postprocessing,
)
from scalefuse.inference.postprocessing import PostProcessing
from scalefuse.metrics.segmentation import dice


def cases(number=3):
    generator = np.random.default_rng(0)
    for _ in range(number):
        truth = gaussian_filter(generator.normal(size=(50, 60)), 5) > 0.02
        noisy = gaussian_filter(truth * 0.8 + generator.normal(scale=0.5, size=truth.shape), 0.8)
        yield np.clip(noisy, 0, 1), truth


def test_equals_trying_everything():
    maps, masks = zip(*cases(), strict=True)
    grid = {"thresholds": (0.3, 0.4, 0.5), "smallest_objects": (0, 5, 30), "fill_holes": (0, 20)}
    fit = fit_postprocessing(maps, masks, **grid)
    table = {}
    for threshold, smallest, holes in product(*grid.values()):
        candidate = PostProcessing(threshold=threshold, smallest_object=smallest, fill_holes=holes)
        scores = [dice(candidate.apply(one), mask) for one, mask in zip(maps, masks, strict=True)]
        table[candidate] = np.mean(scores)
    assert fit.dice == pytest.approx(max(table.values()))
    assert table[fit.postprocessing] == pytest.approx(fit.dice)
    assert fit.plain_dice == pytest.approx(table[PostProcessing()])
    assert fit.dice > fit.plain_dice + 0.02


@pytest.mark.parametrize("number_type", [np.uint8, np.uint16])
def test_maps_of_whole_numbers_are_over_their_full_range(number_type):
    maps, masks = zip(*cases(), strict=True)
    top = np.iinfo(number_type).max
    whole = [np.rint(one * top).astype(number_type) for one in maps]
    fractions = [one.astype(np.float32) / np.float32(top) for one in whole]
    assert fit_postprocessing(whole, masks) == fit_postprocessing(fractions, masks)
    labels = fit_label_postprocessing([one[None] for one in whole], [one[None] for one in masks])
    assert labels.postprocessing.classes == (fit_postprocessing(fractions, masks).postprocessing,)


def test_no_better_choice_means_no_processing():
    mask = np.zeros((20, 20), bool)
    mask[5:12, 5:12] = True
    fit = fit_postprocessing(iter([mask * 0.9]), iter([mask]))
    assert fit == (PostProcessing(), 1.0, 1.0)


def test_empty_images_count():
    noise = np.zeros((20, 20))
    noise[3:6, 3:6] = 0.9
    fit = fit_postprocessing([noise], [np.zeros((20, 20), bool)], thresholds=(0.5,))
    assert fit == (PostProcessing(smallest_object=10), 1.0, 0.0)


def class_cases(number=3):
    """Class maps with specks and holes, and what they should be."""
    generator = np.random.default_rng(1)
    for _ in range(number):
        smooth = gaussian_filter(generator.normal(size=(60, 64)), 6)
        truth = np.digitize(smooth, [0.0, 0.05])
        noisy = truth.copy()
        for _ in range(25):
            top, left, side = (int(one) for one in generator.integers((0, 0, 1), (56, 56, 5)))
            noisy[top : top + side, left : left + side] = generator.integers(0, 3)
        yield noisy, truth


def test_classes_equal_trying_everything():
    maps, masks = zip(*class_cases(), strict=True)
    grid = {"smallest_objects": (0, 10, 20), "fill_holes": (0, 4, 20)}
    fit = fit_class_postprocessing(maps, masks, 3, **grid)

    def score(candidate):
        cleaned = [candidate.clean_classes(one) for one in maps]
        return [
            np.mean([dice(one == index, mask == index) for one, mask in zip(cleaned, masks, strict=True)])
            for index in (1, 2)
        ]

    settings = [PostProcessing(smallest_object=s, fill_holes=h) for s, h in product(*grid.values())]
    table = {pair: score(PostProcessing(classes=pair)) for pair in product(settings, settings)}
    found = table[fit.postprocessing.classes]
    assert fit.dice == pytest.approx(np.mean(found))
    assert fit.plain_dice == pytest.approx(np.mean(score(PostProcessing())))
    assert fit.dice > fit.plain_dice + 0.01
    # The first class is cleaned first: nothing does better for it. The second has what the first left.
    assert found[0] == pytest.approx(max(values[0] for values in table.values()))
    first = fit.postprocessing.classes[0]
    assert found[1] == pytest.approx(max(values[1] for pair, values in table.items() if pair[0] == first))


def test_class_maps_are_left_alone():
    maps, masks = zip(*class_cases(1), strict=True)
    before = maps[0].copy()
    fit_class_postprocessing(maps, masks, 3)
    np.testing.assert_array_equal(maps[0], before)


def test_labels_are_fitted_one_by_one():
    first, second = list(cases(2)), list(cases(4))[2:]
    maps = [np.stack([one[0], 0.5 * two[0]]) for one, two in zip(first, second, strict=True)]
    masks = [np.stack([one[1], two[1]]) for one, two in zip(first, second, strict=True)]
    fit = fit_label_postprocessing(maps, masks)
    alone = [fit_postprocessing([one[k] for one in maps], [one[k] for one in masks]) for k in range(2)]
    assert fit.postprocessing.classes == tuple(one.postprocessing for one in alone)
    assert fit.postprocessing.classes[0].threshold > fit.postprocessing.classes[1].threshold
    assert fit.dice == pytest.approx(np.mean([one.dice for one in alone]))
    decided = [fit.postprocessing.decide(one, multi_label=True) for one in maps]
    scores = [dice(one[k], mask[k]) for one, mask in zip(decided, masks, strict=True) for k in range(2)]
    assert np.mean(scores) == pytest.approx(fit.dice)
    # What training keeps are 8-bit maps.
    rounded = fit_label_postprocessing([np.round(one * 255).astype(np.uint8) for one in maps], masks)
    assert rounded.dice == pytest.approx(fit.dice, abs=0.01)


def test_bad_class_input():
    one = np.zeros((4, 4), int)
    for maps, masks, message in [
        ([], [], "got none"),
        ([one], [], "only 0 masks"),
        ([one], [one, one], "more masks"),
        ([one], [one[:2]], "one size"),
    ]:
        with pytest.raises(InputError, match=message):
            fit_class_postprocessing(maps, masks, 3)
    with pytest.raises(InputError, match="to try"):
        fit_class_postprocessing([one], [one], 3, fill_holes=())
    with pytest.raises(InputError, match="got none"):
        fit_label_postprocessing([], [])


def test_bad_input():
    one = np.zeros((4, 4))
    for maps, masks, message in [
        ([], [], "got none"),
        ([one], [], "only 0 masks"),
        ([one], [one, one], "more masks"),
        ([one], [one[:2]], "one size"),
    ]:
        with pytest.raises(InputError, match=message):
            fit_postprocessing(maps, masks)
    with pytest.raises(InputError, match="to try"):
        fit_postprocessing([one], [one], thresholds=())
