import numpy as np
import pytest
from skimage.measure import label

from scalefuse.errors import InputError
from scalefuse.inference.components import component_sizes, label_components


def spiral(size=41):
    """Nested rings joined on one side: objects that cross every band many times."""
    rows, columns = np.indices((size, size)) - size // 2
    rings = np.maximum(abs(rows), abs(columns)) % 4 < 2
    return rings | ((rows > 0) & (columns == 0))


@pytest.mark.parametrize("diagonal", [True, False])
@pytest.mark.parametrize("density", [0.2, 0.45, 0.6, 0.8])
def test_bands_give_the_labels_of_the_whole_picture(diagonal, density):
    mask = np.random.default_rng(int(density * 100)).random((61, 47)) < density
    theirs, number = label(mask, connectivity=2 if diagonal else 1, return_num=True)
    for band_pixels in (1, 47 * 3, 47 * 20, 10**6):
        ours, found = label_components(mask, diagonal=diagonal, band_pixels=band_pixels)
        assert found == number
        np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_array_equal(component_sizes(ours, found), np.bincount(theirs.ravel()))


def test_winding_objects():
    mask = spiral()
    theirs = label(mask, connectivity=2)
    for rows in (1, 2, 5):
        np.testing.assert_array_equal(label_components(mask, band_pixels=41 * rows)[0], theirs)


def test_nothing_and_everything():
    labels, number = label_components(np.zeros((3, 4), bool))
    assert number == 0
    assert not labels.any()
    labels, number = label_components(np.ones((30, 4), bool), band_pixels=8)
    assert number == 1
    assert (labels == 1).all()
    with pytest.raises(InputError, match=r"\(H, W\)"):
        label_components(np.zeros((2, 2, 2)))
