import logging

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt
from skimage.measure import label
from skimage.morphology import local_maxima, reconstruction
from skimage.segmentation import watershed

from scalefuse.errors import InputError
from scalefuse.inference import instances
from scalefuse.inference.instances import label_instances


def discs(seed, number=40, shape=(150, 170)):
    generator = np.random.default_rng(seed)
    rows, columns = np.indices(shape)
    mask = np.zeros(shape, bool)
    for row, column, radius in zip(
        generator.uniform(0, shape[0], number),
        generator.uniform(0, shape[1], number),
        generator.uniform(3, 11, number),
        strict=True,
    ):
        mask |= (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
    return mask


def whole_picture_watershed(mask, depth):
    square = np.ones((3, 3))
    distance = distance_transform_edt(mask)
    peaks = local_maxima(reconstruction(distance - depth, distance, footprint=square)) & mask
    components = label(mask, connectivity=2)
    lost = np.setdiff1d(np.arange(1, components.max() + 1), components[peaks])
    markers = label(peaks, connectivity=2)
    for component in lost:
        markers[components == component] = markers.max() + 1
    return watershed(-distance, markers, mask=mask, connectivity=2)


def same_objects(first, second):
    pairs = np.unique(np.stack([first.ravel(), second.ravel()]), axis=1)
    return len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("depth", [0.5, 1.0, 2.0])
def test_piecewise_watershed_is_that_of_the_whole_picture(seed, depth):
    mask = discs(seed)
    ours, number = label_instances(mask, method="watershed", depth=depth)
    components, theirs = label(mask, connectivity=2), np.zeros(mask.shape, int)
    for component in range(1, components.max() + 1):
        alone = components == component
        theirs[alone] = theirs.max() + whole_picture_watershed(alone, depth)[alone]
    assert same_objects(ours, theirs)
    assert number == ours.max() == len(np.unique(theirs)) - 1
    # With all components at once, the order in a queue decides about pixels between two parts.
    together = whole_picture_watershed(mask, depth)
    assert len(np.unique(together)) - 1 == number
    agreeing = sum(np.bincount(together[ours == part]).max() for part in range(1, number + 1))
    assert agreeing >= 0.995 * mask.sum()
    banded, _ = label_instances(mask, method="watershed", depth=depth, band_pixels=170 * 7)
    np.testing.assert_array_equal(banded, ours)


def test_components_are_those_of_scikit_image():
    mask = discs(9)
    np.testing.assert_array_equal(label_instances(mask)[0], label(mask, connectivity=2))


def test_touching_discs_are_parted_and_one_disc_is_not():
    rows, columns = np.indices((40, 70))
    left = (rows - 20) ** 2 + (columns - 20) ** 2 <= 144
    right = (rows - 20) ** 2 + (columns - 42) ** 2 <= 144
    labels, number = label_instances(left | right, method="watershed")
    assert number == 2
    assert labels[20, 20] != labels[20, 42]
    assert (labels[left & (columns < 28)] == labels[20, 20]).all()
    assert label_instances(left, method="watershed")[1] == 1
    # Cut in half by the picture's border, it is still one object.
    assert label_instances(left[20:], method="watershed")[1] == 1
    assert label_instances(np.ones((5, 6), bool), method="watershed")[1] == 1


def test_a_too_large_component_stays_whole_and_says_so(monkeypatch, caplog):
    monkeypatch.setattr(instances, "LARGEST_SPLIT", 100)
    rows, columns = np.indices((40, 70))
    pair = ((rows - 20) ** 2 + (columns - 20) ** 2 <= 144) | ((rows - 20) ** 2 + (columns - 42) ** 2 <= 144)
    # Libraries that configure logging may have switched off every logger that existed before.
    monkeypatch.setattr(instances._log, "disabled", False)
    with caplog.at_level(logging.WARNING):
        assert label_instances(pair, method="watershed")[1] == 1
    assert "too large" in caplog.text


def test_bad_arguments():
    with pytest.raises(InputError, match="'voronoi'"):
        label_instances(np.zeros((3, 3)), method="voronoi")
    with pytest.raises(InputError, match="depth"):
        label_instances(np.zeros((3, 3)), method="watershed", depth=-1)
