from itertools import product

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from scalefuse.errors import InputError
from scalefuse.evaluation.fit_postprocessing import fit_postprocessing
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
