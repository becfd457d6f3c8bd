"""Properties of the strategies with a weight per pixel."""

import pytest
import torch

from scalefuse.errors import InputError
from scalefuse.fusion import STRATEGIES
from scalefuse.fusion.adaptive import local_energy_ratio


def features(seed, size=(17, 23), number=2):
    return torch.randn(number, 6, *size, generator=torch.manual_seed(seed))


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 5), (16, 16), (33, 40)])
def test_equal_features_stay(size):
    f = features(0, size)
    torch.testing.assert_close(local_energy_ratio(f, f), f, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 5), (16, 16), (33, 40)])
def test_order_does_not_matter(size):
    a, b = features(1, size), features(2, size)
    torch.testing.assert_close(local_energy_ratio(a, b), local_energy_ratio(b, a), rtol=1e-5, atol=1e-6)


def test_result_lies_between_the_two_with_one_weight_for_all_channels():
    a, b = features(3), features(4)
    fused = local_energy_ratio(a, b)
    assert (fused >= torch.minimum(a, b) - 1e-6).all()
    assert (fused <= torch.maximum(a, b) + 1e-6).all()
    clear = (a - b).abs() > 0.2
    share = torch.where(clear, (fused - b) / (a - b), torch.nan)
    spread = share.nan_to_num(-1).amax(1) - share.nan_to_num(2).amin(1)
    assert (spread[clear.any(1)] < 1e-4).all()


def test_zeros():
    a = features(5)
    zero = torch.zeros_like(a)
    torch.testing.assert_close(local_energy_ratio(a, zero), a)
    torch.testing.assert_close(local_energy_ratio(zero, a), a)
    assert torch.equal(local_energy_ratio(zero, zero), zero)


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1e6])
def test_scale_does_not_matter(scale):
    a, b = features(6), features(7)
    torch.testing.assert_close(
        local_energy_ratio(scale * a, scale * b) / scale, local_energy_ratio(a, b), rtol=1e-4, atol=1e-5
    )


def test_constant_features_by_hand():
    one = torch.ones(1, 3, 8, 9)
    # Energies 1 and 9, shares 1/82 and 81/82.
    torch.testing.assert_close(local_energy_ratio(one, 3 * one), (1 + 81 * 3) / 82 * one)


def test_the_stronger_wins_where_it_is_stronger():
    a, b = torch.zeros(1, 2, 32, 32), torch.ones(1, 2, 32, 32)
    a[..., :16] = 10
    fused = local_energy_ratio(a, b)
    assert (fused[..., :10] > 9.9).all()
    torch.testing.assert_close(fused[..., 24:], b[..., 24:])


def test_images_of_a_batch_do_not_mix():
    a, b = features(8, number=3), features(9, number=3)
    torch.testing.assert_close(local_energy_ratio(a, b)[1:2], local_energy_ratio(a[1:2], b[1:2]))


def test_mirrored_in_mirrored_out():
    a, b = features(10, (16, 24)), features(11, (16, 24))
    torch.testing.assert_close(
        local_energy_ratio(a.flip(-1), b.flip(-1)), local_energy_ratio(a, b).flip(-1), rtol=1e-5, atol=1e-6
    )


def test_gradients_are_finite_where_both_vanish():
    a, b = features(12), features(13)
    a[..., :8], b[..., :8] = 0, 0
    a.requires_grad_()
    local_energy_ratio(a, b).square().sum().backward()
    assert a.grad.isfinite().all()


def test_half_precision_keeps_its_type():
    a, b = features(14).bfloat16(), features(15).bfloat16()
    fused = local_energy_ratio(a, b)
    assert fused.dtype == torch.bfloat16
    torch.testing.assert_close(fused.float(), local_energy_ratio(a.float(), b.float()), rtol=0.05, atol=0.05)


def test_shapes_must_fit():
    with pytest.raises(InputError):
        local_energy_ratio(features(0), features(0, (17, 24)))


def test_listed():
    assert STRATEGIES["local_energy_ratio"] is local_energy_ratio
