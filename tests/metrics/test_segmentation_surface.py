import numpy as np
import pytest
import torch
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice

from scalefuse.errors import InputError
from scalefuse.metrics.segmentation import assd, boundary_iou, hd95, surface_dice, surface_distances


def blobs(seed, shape=(40, 52)):
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(2, *shape)), (0, 4, 4))
    common = gaussian_filter(np.random.default_rng(seed + 100).normal(size=shape), 4)
    return tuple(noise + common > 0.02)


def for_monai(mask):
    return torch.from_numpy(np.stack([~mask, mask])[None].astype(np.float32))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.7, 1.3)])
def test_equals_monai(seed, spacing):
    pred, target = blobs(seed)
    pair = for_monai(pred), for_monai(target)
    theirs = compute_hausdorff_distance(*pair, percentile=95, spacing=list(spacing))
    assert hd95(pred, target, spacing) == pytest.approx(theirs.item(), abs=1e-5)
    theirs = compute_average_surface_distance(*pair, symmetric=True, spacing=list(spacing))
    assert assd(pred, target, spacing) == pytest.approx(theirs.item(), abs=1e-5)
    for tolerance in (0.5, 2.0):
        theirs = compute_surface_dice(*pair, class_thresholds=[tolerance], spacing=list(spacing))
        assert surface_dice(pred, target, spacing, tolerance=tolerance) == pytest.approx(
            theirs.item(), abs=1e-6
        )


def test_by_hand():
    # Two 4×4 squares in 8×8, the second one column to the right: of 12 outline pixels each, the left column's
    # four are 1 away, and so are the inner pixels of the right column (two) and nothing else.
    left = np.zeros((8, 8), bool)
    left[2:6, 1:5] = True
    right = np.roll(left, 1, axis=1)
    distances = surface_distances(left, right)
    assert sorted(distances.from_pred) == [0.0] * 6 + [1.0] * 6
    assert sorted(distances.from_target) == [0.0] * 6 + [1.0] * 6
    assert hd95(left, right) == 1.0
    assert hd95(left, right, (1.0, 0.25)) == 0.25
    assert assd(left, right) == 0.5
    assert surface_dice(left, right, tolerance=0.5) == 0.5
    assert surface_dice(left, right, tolerance=1.0) == 1.0


def test_a_miss_counts_the_diagonal():
    nothing, something = np.zeros((30, 40), bool), np.zeros((30, 40), bool)
    something[3:5, 3:5] = True
    for pair in [(nothing, something), (something, nothing)]:
        assert hd95(*pair) == assd(*pair) == 50.0
        assert hd95(*pair, (2.0, 2.0)) == 100.0
        # 30 rows of 4 mm, 40 columns of 1.25 mm.
        assert hd95(*pair, (4.0, 1.25)) == pytest.approx(130.0)
        assert surface_dice(*pair, tolerance=1e9) == 0.0
    assert hd95(nothing, nothing) == assd(nothing, nothing) == 0.0
    assert surface_dice(nothing, nothing) == 1.0


def test_no_prediction_is_worse_than_a_miss():
    # The two farthest pixels: still nearer than what a miss costs.
    one, other = np.zeros((6, 8), bool), np.zeros((6, 8), bool)
    one[0, 0] = other[-1, -1] = True
    assert hd95(one, other) == pytest.approx(np.hypot(5, 7))
    assert hd95(one, other) < hd95(np.zeros_like(one), other)


def test_far_objects_are_measured_in_the_whole_picture():
    generator = np.random.default_rng(0)
    pred, target = np.zeros((64, 90), bool), np.zeros((64, 90), bool)
    pred[50:60, 5:12] = generator.random((10, 7)) > 0.5
    target[3:9, 70:80] = generator.random((6, 10)) > 0.5
    checkerboard = np.indices(pred.shape).sum(0) % 2 == 0
    pred, target = pred & checkerboard, target & checkerboard
    a, b = np.argwhere(pred), np.argwhere(target)
    # No pixel has a neighbour: every pixel belongs to the outline.
    table = np.linalg.norm(a[:, None] - b[None], axis=-1)
    distances = surface_distances(pred, target)
    np.testing.assert_allclose(np.sort(distances.from_pred), np.sort(table.min(1)))
    np.testing.assert_allclose(np.sort(distances.from_target), np.sort(table.min(0)))


# The diagonal has 100 pixels.
@pytest.mark.parametrize("ratio", [0.02, 0.036, 0.1])
def test_boundary_iou_from_the_definition(ratio):
    from scipy.ndimage import binary_erosion

    pred, target = blobs(7, (60, 80))
    width = {0.02: 2, 0.036: 4, 0.1: 10}[ratio]
    rims = [mask & ~binary_erosion(mask, np.ones((3, 3)), iterations=width) for mask in (pred, target)]
    expected = (rims[0] & rims[1]).sum() / (rims[0] | rims[1]).sum()
    assert boundary_iou(pred, target, dilation_ratio=ratio) == pytest.approx(expected, abs=1e-12)


def test_boundary_iou_sees_what_iou_does_not():
    target = np.zeros((200, 200), bool)
    target[20:180, 20:180] = True
    pred = target.copy()
    pred[20:26] = False
    assert boundary_iou(target, target) == 1.0
    assert boundary_iou(pred, target) < 0.75 < 0.96 < (pred & target).sum() / (pred | target).sum()
    nothing = np.zeros_like(target)
    assert boundary_iou(nothing, nothing) == 1.0
    assert boundary_iou(nothing, target) == boundary_iou(target, nothing) == 0.0


def test_bad_arguments():
    mask = np.ones((3, 3), bool)
    with pytest.raises(InputError, match="positive mm"):
        hd95(mask, mask, (1.0, 0.0))
    with pytest.raises(InputError, match="tolerance"):
        surface_dice(mask, mask, tolerance=-1)
    with pytest.raises(InputError, match="dilation ratio"):
        boundary_iou(mask, mask, dilation_ratio=0)
