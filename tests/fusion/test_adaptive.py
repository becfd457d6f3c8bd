"""Properties of the strategies with a weight per pixel."""

import numpy as np
import pytest
import torch

from scalefuse.errors import InputError
from scalefuse.fusion import STRATEGIES
from scalefuse.fusion.adaptive import local_energy_ratio, two_scale_energy_ratio

both = pytest.mark.parametrize("strategy", [local_energy_ratio, two_scale_energy_ratio])


def features(seed, size=(17, 23), number=2):
    return torch.randn(number, 6, *size, generator=torch.manual_seed(seed))


@both
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 5), (16, 16), (33, 40)])
def test_equal_features_stay(strategy, size):
    f = features(0, size)
    torch.testing.assert_close(strategy(f, f), f, rtol=1e-6, atol=1e-6)


@both
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 5), (16, 16), (33, 40)])
def test_order_does_not_matter(strategy, size):
    a, b = features(1, size), features(2, size)
    torch.testing.assert_close(strategy(a, b), strategy(b, a), rtol=1e-5, atol=1e-6)


def test_result_lies_between_the_two_with_one_weight_for_all_channels():
    a, b = features(3), features(4)
    fused = local_energy_ratio(a, b)
    assert (fused >= torch.minimum(a, b) - 1e-6).all()
    assert (fused <= torch.maximum(a, b) + 1e-6).all()
    clear = (a - b).abs() > 0.2
    share = torch.where(clear, (fused - b) / (a - b), torch.nan)
    spread = share.nan_to_num(-1).amax(1) - share.nan_to_num(2).amin(1)
    assert (spread[clear.any(1)] < 1e-4).all()


@both
def test_zeros(strategy):
    a = features(5)
    zero = torch.zeros_like(a)
    torch.testing.assert_close(strategy(a, zero), a)
    torch.testing.assert_close(strategy(zero, a), a)
    assert torch.equal(strategy(zero, zero), zero)


@both
@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1e6])
def test_scale_does_not_matter(strategy, scale):
    a, b = features(6), features(7)
    torch.testing.assert_close(strategy(scale * a, scale * b) / scale, strategy(a, b), rtol=1e-4, atol=1e-5)


def test_constant_features_by_hand():
    one = torch.ones(1, 3, 8, 9)
    # Energies 1 and 9, shares 1/82 and 81/82.
    torch.testing.assert_close(local_energy_ratio(one, 3 * one), (1 + 81 * 3) / 82 * one)
    # Fourth powers of the energies; no detail.
    torch.testing.assert_close(two_scale_energy_ratio(one, 3 * one), (1 + 6561 * 3) / 6562 * one)


@both
def test_the_stronger_wins_where_it_is_stronger(strategy):
    a, b = torch.zeros(1, 2, 32, 32), torch.ones(1, 2, 32, 32)
    a[..., :16] = 10
    fused = strategy(a, b)
    assert (fused[..., :10] > 9.9).all()
    torch.testing.assert_close(fused[..., 24:], b[..., 24:])


@both
def test_images_of_a_batch_do_not_mix(strategy):
    a, b = features(8, number=3), features(9, number=3)
    torch.testing.assert_close(strategy(a, b)[1:2], strategy(a[1:2], b[1:2]))


@both
def test_mirrored_in_mirrored_out(strategy):
    a, b = features(10, (16, 24)), features(11, (16, 24))
    torch.testing.assert_close(
        strategy(a.flip(-1), b.flip(-1)), strategy(a, b).flip(-1), rtol=1e-5, atol=1e-6
    )


@both
def test_gradients_are_finite_where_both_vanish(strategy):
    a, b = features(12), features(13)
    a[..., :8], b[..., :8] = 0, 0
    a.requires_grad_()
    strategy(a, b).square().sum().backward()
    assert a.grad.isfinite().all()


@both
def test_half_precision_keeps_its_type(strategy):
    a, b = features(14).bfloat16(), features(15).bfloat16()
    fused = strategy(a, b)
    assert fused.dtype == torch.bfloat16
    torch.testing.assert_close(fused.float(), strategy(a.float(), b.float()), rtol=0.05, atol=0.05)


@both
def test_shapes_must_fit(strategy):
    with pytest.raises(InputError):
        strategy(features(0), features(0, (17, 24)))


def test_listed():
    assert STRATEGIES["local_energy_ratio"] is local_energy_ratio
    assert STRATEGIES["two_scale_energy_ratio"] is two_scale_energy_ratio


def test_brightness_from_one_and_detail_from_the_other():
    # The first is bright and flat, the second faint and striped.
    a = torch.full((1, 4, 48, 48), 3.0)
    b = torch.zeros(1, 4, 48, 48)
    b[..., ::2] = 1.0
    fused = two_scale_energy_ratio(a, b)[..., 8:-8, 8:-8]
    assert fused.mean().item() == pytest.approx(3.0, abs=0.02)
    stripes = fused[..., ::2].mean() - fused[..., 1::2].mean()
    assert stripes.item() == pytest.approx(1.0, abs=0.01)
    # One weight for both would have lost the stripes.
    flat = local_energy_ratio(a, b)[..., 8:-8, 8:-8]
    assert (flat[..., ::2].mean() - flat[..., 1::2].mean()).item() < 0.05


def test_two_scales_as_written_out_with_numpy():
    from scipy.ndimage import correlate1d

    a, b = (features(seed, (16, 24), number=1)[0].double().numpy() for seed in (16, 17))

    def mean(x, size):
        ones = np.ones_like(x)
        for axis in (0, 1):
            x, ones = (correlate1d(y, np.ones(size), axis=axis, mode="constant") for y in (x, ones))
        return x / ones

    def cells(x):
        return x.reshape(*x.shape[:-2], 4, 4, 6, 4).mean(axis=(-3, -1))

    def enlarged(x):
        rows = (np.arange(16) + 0.5) / 4 - 0.5
        columns = (np.arange(24) + 0.5) / 4 - 0.5
        x = np.apply_along_axis(lambda line: np.interp(rows, np.arange(4), line), -2, x)
        return np.apply_along_axis(lambda line: np.interp(columns, np.arange(6), line), -1, x)

    def gradient_energy(f):
        down, right = np.zeros(f.shape), np.zeros(f.shape)
        down[:, :-1] += np.diff(f, axis=1) ** 2
        down[:, 1:] += np.diff(f, axis=1) ** 2
        right[:, :, :-1] += np.diff(f, axis=2) ** 2
        right[:, :, 1:] += np.diff(f, axis=2) ** 2
        return mean((down + right).mean(0), 9)

    e1, e2 = (enlarged(mean(cells((f**2).mean(0)), 3)) for f in (a, b))
    g1, g2 = gradient_energy(a), gradient_energy(b)
    coarse, fine = e1**4 / (e1**4 + e2**4), g1**4 / (g1**4 + g2**4)
    low_a, low_b = enlarged(cells(a)), enlarged(cells(b))
    expected = coarse * low_a + (1 - coarse) * low_b + fine * (a - low_a) + (1 - fine) * (b - low_b)
    found = two_scale_energy_ratio(torch.from_numpy(a)[None].float(), torch.from_numpy(b)[None].float())
    np.testing.assert_allclose(found[0].numpy(), expected, rtol=1e-4, atol=1e-5)
