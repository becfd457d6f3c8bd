"""Properties of the strategy that joins the pictures themselves."""

import numpy as np
import pytest
import torch

from scalefuse.errors import InputError
from scalefuse.fusion import GUIDED
from scalefuse.fusion.guided import JoinWeights, energies_of, guided_bands, join_bands
from scalefuse.inference.fuser import DEFAULT_STRATEGY, Fuser

SIZES = pytest.mark.parametrize("size", [(16, 16), (17, 23), (33, 40), (64, 48)])


def pair(seed, size=(33, 40), number=2):
    generator = torch.manual_seed(seed)
    pictures = torch.rand(2, number, 1, *size, generator=generator)
    features = torch.randn(2, number, 6, *size, generator=generator)
    return (*pictures, *features)


@SIZES
def test_a_picture_with_itself_stays(size):
    a, _, f, _ = pair(0, size)
    torch.testing.assert_close(guided_bands(a, a, f, f), a)


@SIZES
def test_order_does_not_matter(size):
    a, b, f1, f2 = pair(1, size)
    torch.testing.assert_close(guided_bands(a, b, f1, f2), guided_bands(b, a, f2, f1), rtol=1e-4, atol=1e-5)


def test_what_is_empty_adds_nothing():
    a, _, f1, _ = pair(2)
    zero = torch.zeros_like(a)
    fused = guided_bands(a, zero, f1, torch.zeros_like(f1))
    torch.testing.assert_close(fused, a, rtol=1e-3, atol=1e-3)
    assert torch.equal(guided_bands(zero, zero, torch.zeros_like(f1), torch.zeros_like(f1)), zero)


def test_the_scale_of_the_features_does_not_matter():
    a, b, f1, f2 = pair(3)
    expected = guided_bands(a, b, f1, f2)
    for scale in (1e-6, 1e4):
        torch.testing.assert_close(guided_bands(a, b, scale * f1, scale * f2), expected, rtol=1e-3, atol=1e-4)


def test_images_of_a_batch_do_not_mix():
    a, b, f1, f2 = pair(4, number=3)
    alone = guided_bands(a[1:2], b[1:2], f1[1:2], f2[1:2])
    torch.testing.assert_close(guided_bands(a, b, f1, f2)[1:2], alone)
    # Nor where another image's features are far larger.
    larger = torch.tensor([100.0, 1.0, 1.0]).reshape(3, 1, 1, 1)
    torch.testing.assert_close(guided_bands(a, b, f1 * larger, f2 * larger)[1:2], alone)


def test_mirrored_in_mirrored_out():
    # Sizes that the cells of 3 and of 16 pixels both divide.
    tensors = pair(5, (48, 96))
    mirrored = guided_bands(*(x.flip(-1) for x in tensors))
    torch.testing.assert_close(mirrored, guided_bands(*tensors).flip(-1), rtol=1e-4, atol=1e-5)


def test_by_hand():
    # Two even pictures with even features: no detail, and the base takes the share
    # e1^n1 · x1^n2 / (… + …) of the first, with the firm part of the weaker one added.
    a, b = torch.full((1, 1, 32, 32), 0.2), torch.full((1, 1, 32, 32), 0.4)
    f1, f2 = 3 * torch.ones(1, 2, 32, 32), torch.ones(1, 2, 32, 32)
    exponents = torch.zeros(3, 4, 3)
    exponents[2, 1, 1], exponents[2, 2, 2] = 0.5, 2.0
    weights = JoinWeights(exponents, torch.tensor([0.0, 0.0, 0.25]))
    fused = join_bands(a, b, energies_of(f1), energies_of(f2), weights)
    floor = 1e-3 * 10
    odds = ((9 + floor) / (1 + floor)) ** 0.5 * (0.21 / 0.41) ** 2
    share = odds / (1 + odds)
    expected = share * 0.2 + (1 - share) * 0.4 + abs(2 * share - 1) * 0.25 * ((1 - share) * 0.2 + share * 0.4)
    torch.testing.assert_close(fused, torch.full_like(a, expected))


def test_energies_by_hand():
    # One channel, a step of 2 between two columns: each side of it has half of the squared difference twice.
    f = torch.tensor([[[[1.0, 1.0, 3.0], [1.0, 1.0, 3.0]]]])
    gradient, energy = energies_of(f)[0]
    assert gradient.tolist() == [[0, 4, 4], [0, 4, 4]]
    assert energy.tolist() == [[1, 1, 9], [1, 1, 9]]


def test_an_edge_that_one_picture_has_is_kept():
    columns = torch.arange(64) // 8 % 2
    striped = (0.4 + 0.2 * columns).expand(1, 1, 64, 64)
    flat = torch.full_like(striped, 0.5)
    # The features of a real encoder are not needed: the pictures' own gradients speak for themselves.
    fused = guided_bands(striped, flat, striped, flat)
    kept = (fused[..., 1:] - fused[..., :-1])[..., 16:48]
    expected = (striped[..., 1:] - striped[..., :-1])[..., 16:48]
    assert np.corrcoef(kept.flatten(), expected.flatten())[0, 1] > 0.95
    assert kept.abs().amax() > 0.15


@pytest.mark.parametrize(
    "shapes",
    [
        ((1, 1, 16, 16), (1, 1, 16, 18), (1, 4, 16, 16), (1, 4, 16, 16)),
        ((1, 1, 16, 16), (1, 1, 16, 16), (1, 4, 16, 16), (1, 4, 16, 18)),
        ((1, 1, 16, 16), (1, 1, 16, 16), (1, 4, 16, 18), (1, 4, 16, 18)),
        ((1, 3, 16, 16), (1, 3, 16, 16), (1, 4, 16, 16), (1, 4, 16, 16)),
    ],
)
def test_shapes_must_fit(shapes):
    with pytest.raises(InputError):
        guided_bands(*(torch.zeros(shape) for shape in shapes))


def test_the_default_needs_no_decoder():
    class Encoder:
        def encode(self, x):
            return x.expand(-1, 4, -1, -1)

        def decode(self, features):
            raise AssertionError("nothing is to be decoded")

    assert DEFAULT_STRATEGY in GUIDED
    a, b, _, _ = pair(6, number=1)
    fused = Fuser(Encoder()).fuse_tensors(a, b)
    torch.testing.assert_close(fused, guided_bands(a, b, a.expand(-1, 4, -1, -1), b.expand(-1, 4, -1, -1)))
