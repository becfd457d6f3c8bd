"""Differentiable measures against the measures that they follow."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, sobel

from scalefuse.data.phantom import head_phantom
from scalefuse.losses import fusion as losses
from scalefuse.metrics import (
    edge_preservation,
    ssim,
    sum_of_correlations_of_differences,
    visual_information_fidelity,
)


def smooth(seed):
    field = gaussian_filter(np.random.default_rng(seed).normal(size=(96, 81)), 1.5)
    return np.rint(255 * (field - field.min()) / np.ptp(field))


def triple(kind):
    """(fused, a, b), whole numbers 0–255."""
    if kind == "fields":
        a, b = smooth(1), smooth(2)
        return np.rint(0.6 * np.maximum(a, b) + 0.2 * (a + b)), a, b
    head = head_phantom(96, seed=2)
    a, b = np.rint(255 * np.clip((head.ct_hu + 100) / 1100, 0, 1)), np.rint(255.0 * head.mri)
    return np.rint(np.maximum(a, 0.9 * b)), a, b


def tensors(pictures):
    return [torch.from_numpy(picture / 255).float()[None, None] for picture in pictures]


@pytest.fixture(params=["fields", "head"])
def pictures(request):
    return triple(request.param)


def test_structural_similarity(pictures):
    fused, a, b = tensors(pictures)
    ours = losses.structural_similarity(fused, a) + losses.structural_similarity(fused, b)
    assert ours.item() == pytest.approx(ssim(*pictures), abs=1e-3)


def test_visual_information(pictures):
    fused, a, b = tensors(pictures)
    ours = losses.visual_information(fused, a) + losses.visual_information(fused, b)
    assert ours.item() == pytest.approx(visual_information_fidelity(*pictures), abs=1e-3)


def test_edge_transfer(pictures):
    assert losses.edge_transfer(*tensors(pictures)).item() == pytest.approx(
        edge_preservation(*pictures), abs=2e-3
    )


def test_correlations_of_differences(pictures):
    assert losses.correlations_of_differences(*tensors(pictures)).item() == pytest.approx(
        sum_of_correlations_of_differences(*pictures), abs=1e-3
    )


def test_sobel_is_scipys(pictures):
    image = pictures[0] / 255
    x, y = losses.sobel(torch.from_numpy(image)[None, None])
    np.testing.assert_allclose(x[0, 0].numpy(), sobel(image, axis=1, mode="constant"), atol=1e-6)
    np.testing.assert_allclose(y[0, 0].numpy(), sobel(image, axis=0, mode="constant"), atol=1e-6)


def test_gradient_loss_by_hand():
    step = torch.zeros(1, 1, 3, 4)
    step[..., 2:] = 1
    x, y = losses.sobel(step)
    expected = x.square().mean() + y.square().mean()
    assert losses.gradient_loss(step, torch.zeros_like(step)).item() == pytest.approx(expected.item())
    # Of the absolute gradients: the negative of a picture has the same.
    assert losses.gradient_loss(-step, step).item() == 0


def test_batch_is_one_value_per_image(pictures):
    batches = [torch.cat([image, image.flip(-1), 0.5 * image]) for image in tensors(pictures)]
    for number in range(3):
        one = [batch[number : number + 1] for batch in batches]
        for name in ("edge_transfer", "correlations_of_differences"):
            function = getattr(losses, name)
            torch.testing.assert_close(
                function(*batches)[number : number + 1], function(*one), rtol=1e-4, atol=1e-5
            )
        for name in ("structural_similarity", "visual_information"):
            function = getattr(losses, name)
            torch.testing.assert_close(
                function(*batches[:2])[number : number + 1], function(*one[:2]), rtol=1e-4, atol=1e-5
            )


def test_terms_are_the_means(pictures):
    fused, a, b = tensors(pictures)
    terms = losses.fusion_terms(fused, a, b)
    assert terms.qabf.item() == pytest.approx(losses.edge_transfer(fused, a, b).item())
    assert terms.scd.item() == pytest.approx(losses.correlations_of_differences(fused, a, b).item())
    assert terms.intensity.item() == pytest.approx((fused - torch.maximum(a, b)).abs().mean().item())


TERMS = losses.FusionTerms._fields


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("flat", ["fused", "sources", "all"])
def test_gradients_are_finite_on_constant_pictures(level, flat):
    images = tensors(triple("head"))
    if flat in ("fused", "all"):
        images[0] = torch.full_like(images[0], level)
    if flat in ("sources", "all"):
        images[1:] = [torch.full_like(images[0], level)] * 2
    fused = images[0].clone().requires_grad_()
    for name, value in losses.fusion_terms(fused, *images[1:])._asdict().items():
        (gradient,) = torch.autograd.grad(value, fused, retain_graph=True)
        assert torch.isfinite(value), name
        assert torch.isfinite(gradient).all(), name
        assert gradient.abs().max() < 1e3, name


@pytest.mark.parametrize("name", TERMS)
def test_gradient_points_uphill(name):
    fused, a, b = tensors(triple("fields"))
    fused = (fused + 0.02 * torch.rand(fused.shape, generator=torch.manual_seed(0))).requires_grad_()
    value = getattr(losses.fusion_terms(fused, a, b), name)
    (gradient,) = torch.autograd.grad(value, fused)
    assert gradient.abs().max() > 0
    step = 1e-3 * gradient / gradient.norm()
    up, down = (getattr(losses.fusion_terms(fused.detach() + sign * step, a, b), name) for sign in (1, -1))
    assert up > down
