"""Changing the values of an image: colour, gamma, blur and noise."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from scalefuse.data.augmentation import AugmentationConfig

# Rows: luma, and the two chroma axes I and Q of NTSC; a turn of the chroma plane is a turn of the hue.
_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_RGB = np.linalg.inv(_YIQ)


def jitter_intensity(image: Tensor, config: AugmentationConfig, rng: np.random.Generator) -> Tensor:
    """Change the values of an image at random.

    Brightness, contrast, saturation, hue, the loss of colour and the negative are all affine in the colour of
    a pixel and are done in one step; gamma, blur and noise follow.

    Args:
        image: ``(C, H, W)`` float32, values in [0, 1].
        config: how likely and how strong.
        rng: where the random numbers come from.

    Returns:
        ``(C, H, W)``, values in [0, 1].

    Example:
        >>> from scalefuse.data.augmentation import AugmentationConfig
        >>> config = AugmentationConfig.off().model_copy(update={"invert": 1.0})
        >>> jitter_intensity(torch.tensor([[[0.0, 0.25]]]), config, np.random.default_rng(0)).tolist()
        [[[1.0, 0.75]]]
    """
    colour, grey, invert, gamma, blur, noise = rng.random(6) < (
        config.colour,
        config.grey,
        config.invert,
        config.gamma,
        config.blur,
        config.noise,
    )
    if colour or invert or (grey and image.shape[0] == 3):
        matrix, offset = colour_change(image, config, rng, colour=colour, grey=grey, invert=invert)
        image = _apply(image, matrix, offset).clamp_(0, 1)
    if gamma:
        image = image.pow((1 + config.gamma_strength) ** rng.uniform(-1, 1))
    if blur and config.blur_sigma > 0:
        image = _blur(image, rng.uniform(0.2, 1) * config.blur_sigma)
    if noise:
        drawn = rng.standard_normal(image.shape, dtype=np.float32)
        image = torch.from_numpy(drawn).mul_(rng.uniform(0, 1) * config.noise_std).add_(image).clamp_(0, 1)
    return image


def colour_change(
    image: Tensor,
    config: AugmentationConfig,
    rng: np.random.Generator,
    *,
    colour: bool,
    grey: bool,
    invert: bool,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw a change of colour as a matrix and an offset.

    Args:
        image: ``(C, H, W)``, values in [0, 1]; contrast is about its mean.
        config: how strong.
        rng: where the random numbers come from.
        colour: change brightness and contrast, and for three channels saturation and hue.
        grey: take the colour away; three channels only.
        invert: make a negative.

    Returns:
        ``(C, C)`` and ``(C,)``; the new value is matrix times old value plus offset.

    Example:
        >>> from scalefuse.data.augmentation import AugmentationConfig
        >>> colour_change(torch.zeros(1, 2, 2), AugmentationConfig(), np.random.default_rng(0),
        ...               colour=False, grey=False, invert=True)
        (array([[-1.]]), array([1.]))
    """
    channels = image.shape[0]
    matrix, offset = np.eye(channels), np.zeros(channels)
    brightness = rng.uniform(-1, 1) * config.brightness
    contrast = (1 + config.contrast) ** rng.uniform(-1, 1)
    saturation = (1 + config.saturation) ** rng.uniform(-1, 1)
    angle = 2 * math.pi * rng.uniform(-1, 1) * config.hue
    if channels == 3 and (colour or grey):
        amount = 0.0 if grey else saturation
        turn, across = amount * math.cos(angle), amount * math.sin(angle)
        matrix = _RGB @ np.array([[1.0, 0.0, 0.0], [0.0, turn, -across], [0.0, across, turn]]) @ _YIQ
    if colour:
        mean = float(image.mean())
        matrix = contrast * matrix
        offset = offset + (1 - contrast) * mean + brightness
    if invert:
        matrix, offset = -matrix, 1 - offset
    return matrix, offset


def _apply(image: Tensor, matrix: NDArray[np.float64], offset: NDArray[np.float64]) -> Tensor:
    channels, height, width = image.shape
    factors = torch.from_numpy(matrix.astype(np.float32))
    shift = torch.from_numpy(offset.astype(np.float32))
    if channels == 1:
        return image * factors[0, 0] + shift[0]
    return torch.addmm(shift[:, None], factors, image.reshape(channels, -1)).reshape(channels, height, width)


def _blur(image: Tensor, sigma: float) -> Tensor:
    radius = max(1, math.ceil(3 * sigma))
    # Mirroring needs more pixels than it adds.
    radius = min(radius, image.shape[-1] - 1, image.shape[-2] - 1)
    if radius < 1:
        return image
    places = torch.arange(-radius, radius + 1, dtype=torch.float32)
    weights = torch.exp(-0.5 * (places / sigma) ** 2)
    weights /= weights.sum()
    padded = F.pad(image[:, None], (radius, radius, radius, radius), mode="reflect")
    rows = F.conv2d(padded, weights.view(1, 1, 1, -1))
    return F.conv2d(rows, weights.view(1, 1, -1, 1))[:, 0]
