import numpy as np
import pytest
from pydantic import ValidationError
from scipy.ndimage import gaussian_filter
from skimage.measure import label, regionprops

from scalefuse.errors import InputError
from scalefuse.inference.postprocessing import PostProcessing


def probability(seed=0):
    smooth = gaussian_filter(np.random.default_rng(seed).normal(size=(70, 80)), 1.5)
    return 1 / (1 + np.exp(-12 * smooth))


@pytest.mark.parametrize("smallest", [2, 10, 40])
def test_small_objects(smallest):
    mask = probability() >= 0.6
    mask[0, 0] = True
    expected = np.zeros_like(mask)
    for region in regionprops(label(mask, connectivity=2)):
        if region.area >= smallest:
            expected[tuple(region.coords.T)] = True
    assert expected.sum() < mask.sum()
    np.testing.assert_array_equal(PostProcessing(smallest_object=smallest).clean(mask), expected)
    np.testing.assert_array_equal(PostProcessing(smallest_object=smallest).apply(mask * 0.7), expected)


@pytest.mark.parametrize("largest", [1, 8, 60])
def test_small_holes(largest):
    mask = probability() >= 0.4
    # A single missing pixel in the middle of the largest object.
    mask[30:35, 30:35] = True
    mask[32, 32] = False
    expected = mask.copy()
    for region in regionprops(label(~mask, connectivity=1)):
        top, left, bottom, right = region.bbox
        if region.area <= largest and top > 0 and left > 0 and bottom < 70 and right < 80:
            expected[tuple(region.coords.T)] = True
    assert expected.sum() > mask.sum()
    np.testing.assert_array_equal(PostProcessing(fill_holes=largest).clean(mask), expected)


def test_a_ring_filled_first_is_large_enough():
    mask = np.zeros((5, 5), bool)
    mask[1:4, 1:4] = True
    mask[2, 2] = False
    assert PostProcessing(fill_holes=1, smallest_object=9).clean(mask).sum() == 9
    assert PostProcessing(smallest_object=9).clean(mask).sum() == 0
    assert mask.sum() == 8


def test_background_meets_at_edges_only():
    # The hole touches the outside at a corner, where the object's pixels meet too.
    mask = np.zeros((6, 6), bool)
    mask[1:5, 1:5] = True
    mask[2, 2] = mask[1, 1] = False
    filled = PostProcessing(fill_holes=1).clean(mask)
    assert filled[2, 2]
    assert not filled[1, 1]


def test_classes_are_cleaned_one_by_one():
    classes = np.array([[1, 1, 1, 0, 2], [1, 0, 1, 0, 0], [1, 1, 1, 2, 2], [0, 0, 0, 2, 2]], np.uint8)
    cleaned = PostProcessing(smallest_object=2, fill_holes=1).clean_classes(classes)
    assert cleaned.tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 2, 2], [0, 0, 0, 2, 2]]


def test_each_class_has_its_own_settings():
    classes = np.array([[1, 1, 1, 0, 2], [1, 0, 1, 0, 0], [1, 1, 1, 2, 2], [0, 0, 0, 2, 2]], np.uint8)
    own = PostProcessing(classes=(PostProcessing(fill_holes=1), PostProcessing(smallest_object=2)))
    assert own.clean_classes(classes).tolist() == [
        [1, 1, 1, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 2, 2],
        [0, 0, 0, 2, 2],
    ]
    other = PostProcessing(classes=own.classes[::-1])
    assert other.clean_classes(classes).tolist() == classes.tolist()
    with pytest.raises(InputError, match="settings for 2 classes"):
        own.clean_classes(classes + classes)


def test_each_label_has_its_own_threshold_and_size():
    maps = np.array([[[0.5, 0.4, 0.0]], [[0.5, 0.4, 0.4]]])
    own = PostProcessing(
        classes=(PostProcessing(threshold=0.45), PostProcessing(threshold=0.3, smallest_object=3))
    )
    assert own.decide(maps, multi_label=True).tolist() == [[[True, False, False]], [[True, True, True]]]
    smaller = maps * [[[1]], [[0.8]]]
    assert own.decide(smaller, multi_label=True).tolist() == [[[True, False, False]], [[True, True, True]]]
    assert not own.decide(maps[:, :, :2], multi_label=True)[1].any()


def test_settings_round_trip_as_json():
    own = PostProcessing(classes=(PostProcessing(threshold=0.3), PostProcessing(fill_holes=7)))
    assert PostProcessing.model_validate_json(own.model_dump_json()) == own


def test_decisions():
    maps = np.array([[[0.5, 0.4]], [[0.3, 0.6]]])
    assert PostProcessing().decide(maps[:1]).tolist() == [[True, False]]
    assert PostProcessing().decide(maps).tolist() == [[0, 1]]
    assert PostProcessing(threshold=0.4).decide(maps, multi_label=True).tolist() == [
        [[True, True]],
        [[False, True]],
    ]


def test_bad_values():
    for wrong in ({"threshold": 1.0}, {"threshold": 0}, {"smallest_object": -1}, {"holes": 3}):
        with pytest.raises(ValidationError):
            PostProcessing(**wrong)
    with pytest.raises(InputError, match=r"\(H, W\)"):
        PostProcessing().apply(np.zeros((1, 2, 2)))
    with pytest.raises(InputError, match=r"\(K, H, W\)"):
        PostProcessing().decide(np.zeros((2, 2)))
