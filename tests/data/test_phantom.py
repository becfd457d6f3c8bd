"""The drawn head holds the values it promises."""

import numpy as np
import pytest

from scalefuse.data.phantom import TISSUES, head_phantom, hot_colours, pet_phantom
from scalefuse.errors import InputError


@pytest.fixture(scope="module")
def head():
    return head_phantom(256, seed=0)


def test_shapes_and_ranges(head):
    for picture in head:
        assert picture.shape == (256, 256)
        assert picture.dtype == np.float32
        assert np.isfinite(picture).all()
    assert head.mri.min() >= 0
    assert head.mri.max() <= 1
    assert head.ct_hu.min() >= -1024


def test_ct_numbers_of_the_tissues(head):
    assert abs(np.median(head.ct_hu[:8]) - -1000) < 5
    assert head.ct_hu.max() > 1000
    # The middle of the head is brain: between water and blood.
    middle = head.ct_hu[90:170, 90:170]
    assert 5 < np.median(middle) < 45
    assert 0.03 < (head.ct_hu > 700).mean() < 0.2
    assert (TISSUES["csf"][0], TISSUES["grey matter"][0], TISSUES["white matter"][0]) == (8, 38, 28)


def test_each_modality_shows_what_the_other_does_not(head):
    bone = head.ct_hu > 1000
    assert head.mri[bone].mean() < 0.15  # Compact bone is dark in MR.
    brain = (head.ct_hu > 0) & (head.ct_hu < 60)
    fluid = brain & (head.mri > 0.85)
    assert fluid.sum() > 300
    # Fluid and brain differ by a few HU in CT, and by most of the range in MR.
    rest = brain & ~fluid
    assert head.ct_hu[rest].mean() - head.ct_hu[fluid].mean() < 30
    assert head.mri[fluid].mean() - head.mri[rest].mean() > 0.35
    # The haemorrhage: bright in CT among soft tissue, dark in MR.
    clot = (head.ct_hu > 58) & (head.ct_hu < 85) & (head.mri < 0.25)
    assert clot[60:200, 60:200].sum() > 30


def test_a_seed_is_one_head_and_another_seed_another():
    first, again, other = head_phantom(96, seed=1), head_phantom(96, seed=1), head_phantom(96, seed=2)
    np.testing.assert_array_equal(first.ct_hu, again.ct_hu)
    np.testing.assert_array_equal(first.mri, again.mri)
    inside = slice(30, 66)
    assert np.corrcoef(first.mri[inside, inside].ravel(), other.mri[inside, inside].ravel())[0, 1] < 0.8


def test_the_same_head_at_every_size():
    large, small = head_phantom(256, seed=4).mri, head_phantom(128, seed=4).mri
    halved = large.reshape(128, 2, 128, 2).mean(axis=(1, 3))
    assert np.corrcoef(halved.ravel(), small.ravel())[0, 1] > 0.97


def test_uptake_is_in_colour_and_follows_the_grey_matter():
    pet = pet_phantom(128, seed=0)
    assert pet.shape == (128, 128, 3)
    assert (pet.min(), pet.max()) == (0, 1)
    assert (pet[..., 0] >= pet[..., 1]).all()
    assert (pet[..., 1] >= pet[..., 2]).all()
    head = head_phantom(128, seed=0)
    heat = pet.sum(axis=-1)
    brain = (head.ct_hu > 0) & (head.ct_hu < 60)
    assert heat[brain].mean() > 5 * heat[~brain].mean()


def test_colour_map_grows_from_black_to_white():
    colours = hot_colours(np.linspace(0, 1, 200)[None])
    assert (np.diff(colours, axis=1) >= 0).all()
    assert colours[0, 0].tolist() == [0, 0, 0]
    assert colours[0, -1].tolist() == [1, 1, 1]


def test_too_small():
    with pytest.raises(InputError, match="at least 32"):
        head_phantom(16)
    assert head_phantom(33).mri.shape == (33, 33)
