"""Changes of an image's values against kornia's, which are written independently."""

import math

import kornia
import numpy as np
import pytest
import torch

from scalefuse.data.augmentation import AugmentationConfig
from scalefuse.data.augmentation_intensity import colour_change, jitter_intensity

IMAGE = torch.rand(3, 40, 56, generator=torch.Generator().manual_seed(0))


def changed(seed, **options):
    config = AugmentationConfig.off().model_copy(update=options)
    return jitter_intensity(IMAGE.clone(), config, np.random.default_rng(seed))


@pytest.mark.parametrize("seed", range(4))
def test_blur(seed):
    generator = np.random.default_rng(seed)
    generator.random(6)  # which changes are made
    sigma = generator.uniform(0.2, 1) * 3.0
    side = 2 * max(1, math.ceil(3 * sigma)) + 1
    theirs = kornia.filters.gaussian_blur2d(IMAGE[None], (side, side), (sigma, sigma), border_type="reflect")
    torch.testing.assert_close(changed(seed, blur=1.0, blur_sigma=3.0), theirs[0])


def test_the_loss_of_colour():
    theirs = kornia.color.rgb_to_grayscale(IMAGE[None])[0].expand(3, -1, -1)
    torch.testing.assert_close(changed(0, grey=1.0), theirs, atol=2e-3, rtol=0)


def test_gamma():
    ours = changed(1, gamma=1.0, gamma_strength=0.5)
    generator = np.random.default_rng(1)
    generator.random(6)
    theirs = kornia.enhance.adjust_gamma(IMAGE, 1.5 ** generator.uniform(-1, 1))
    torch.testing.assert_close(ours, theirs)


def test_a_turn_of_the_hue_keeps_luma_and_strength_of_colour():
    """In kornia's YUV, whose chroma plane is another turn of the same plane."""
    config = AugmentationConfig.off().model_copy(
        update={"hue": 0.3, "brightness": 0, "contrast": 0, "saturation": 0}
    )
    options = {"colour": True, "grey": False, "invert": False}
    matrix, offset = colour_change(IMAGE, config, np.random.default_rng(2), **options)
    assert offset == pytest.approx(0)
    turned = (torch.from_numpy(matrix).float() @ IMAGE.flatten(1)).view_as(IMAGE)
    before, after = kornia.color.rgb_to_yuv(IMAGE), kornia.color.rgb_to_yuv(turned)
    torch.testing.assert_close(after[0], before[0], atol=2e-3, rtol=0)
    # I and Q are V and U turned by 33 degrees, with the rounded coefficients of NTSC.
    strength = before[1:].norm(dim=0)
    torch.testing.assert_close(after[1:].norm(dim=0), strength, atol=2e-3, rtol=0.02)
    assert ((after[1:] - before[1:]).norm(dim=0) > 0.1 * strength).all()


def test_inverted_after_its_colours_changed():
    colours = {"colour": 1.0, "brightness": 0.05, "contrast": 0.1, "saturation": 0.1, "hue": 0.0}
    both, alone = changed(3, invert=1.0, **colours), changed(3, **colours)
    inside = (alone > 0) & (alone < 1)
    assert inside.float().mean() > 0.8
    torch.testing.assert_close(both[inside], 1 - alone[inside], atol=1e-5, rtol=0)
