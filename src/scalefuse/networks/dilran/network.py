"""DILRAN: an auto-encoder whose multi-scale features are joined by a fixed strategy to fuse two images.

The network is trained to reproduce single images. To fuse, both images are encoded, a function of
:mod:`scalefuse.fusion` joins the features, and the decoder draws the picture.

Reference:
    Zhou, Xu, Zhang: An Attention-based Multi-Scale Feature Learning Network for Multimodal Medical Image
    Fusion, arXiv 2212.04661, section 3.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalefuse.errors import InputError

MIN_SIZE = 16
"""Smallest height and width, in pixels, that :class:`DILRAN` takes."""


def pooled_attention(x: Tensor) -> Tensor:
    """Attention map: 2×2 average pooling, ReLU, nearest-neighbour upsampling back to the input's size.

    Args:
        x: Features or images, ``(N, C, H, W)``.

    Returns:
        The non-negative map, ``(N, C, H, W)``.

    Reference:
        Pyramid attention of arXiv 2212.04661, section 3.1. The released program fails on odd sizes; here
        the last window of an odd size averages only the pixels that exist, and the upsampled map is cropped.

    Example:
        >>> pooled_attention(torch.tensor([[[[1.0, 3.0, 5.0]]]]))
        tensor([[[[2., 2., 5.]]]])
    """
    height, width = x.shape[-2:]
    # One more row and column complete the last windows of an odd size (an even one ignores them); the same
    # mean of ones is the share of each window that exists. Unlike `ceil_mode` and slicing, this holds for
    # every size in one exported graph. ReLU before the upsampling: the same values, a quarter of the work.
    pooled, share = (F.avg_pool2d(F.pad(t, (0, 1, 0, 1)), 2) for t in (x, x.new_ones(1, 1, height, width)))
    upsampled = F.interpolate(F.relu(pooled / share), scale_factor=2.0, mode="nearest")
    return F.pad(upsampled, (0, width - upsampled.shape[-1], 0, height - upsampled.shape[-2]))


class DilatedResidualAttention(nn.Module):
    """Residual attention over three growing receptive fields of one shared convolution.

    Computes ``d + P(d) · (c(d) + c(c(d)) + c(c(c(d))))`` with :func:`pooled_attention` as ``P`` and one
    3×3 convolution ``c``.

    Args:
        features: Number of channels.

    Reference:
        DILRAN module of arXiv 2212.04661, section 3.1.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, C, H, W)``."""
        once = self.conv(x)
        twice = self.conv(once)
        return torch.addcmul(x, pooled_attention(x), once + twice + self.conv(twice))


class Encoder(nn.Module):
    """Multi-scale feature extractor of DILRAN: one grey channel to ``features`` channels.

    Args:
        features: Number of channels of the features.
        dilations: Dilation of each of the parallel 3×3 convolutions.
    """

    def __init__(self, features: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.input_conv = nn.Conv2d(1, features, 1)
        self.dilated_convs = nn.ModuleList(
            nn.Conv2d(features, features, 3, padding=dilation, dilation=dilation) for dilation in dilations
        )
        self.reduce_conv = nn.Conv2d(features * len(dilations), features, 1)
        self.residual_attention = DilatedResidualAttention(features)
        # One layer, used after the reduction and again after the attention, as in the released weights.
        self.norm = nn.InstanceNorm2d(features, affine=True)

    def forward(self, image: Tensor) -> Tensor:
        """Map an image ``(N, 1, H, W)`` to features ``(N, C, H, W)``."""
        x = torch.addcmul(image, pooled_attention(image), self.input_conv(image))
        multi_scale = torch.cat([conv(x) for conv in self.dilated_convs], dim=1)
        reduced = self.norm(self.reduce_conv(multi_scale))
        return torch.addcmul(x, pooled_attention(x), self.norm(self.residual_attention(reduced)))


class DILRAN(nn.Module):
    """Dilated residual attention network for the fusion of two registered images of one patient.

    ``decode(encode(x))`` reproduces ``x``; ``decode(strategy(encode(a), encode(b)))`` fuses ``a`` and ``b``.
    The network sees one grey channel; colour is handled outside, by fusing the luma.

    Args:
        features: Number of feature channels; even, because the decoder halves it.
        dilations: Dilation of each parallel 3×3 convolution of the encoder.

    Raises:
        InputError: If ``features`` is not a positive even number or ``dilations`` is empty or not positive.

    Reference:
        arXiv 2212.04661, section 3. Deviations: the norm layer always uses each image's own statistics
        (the released program never leaves training mode, so this is what its weights were made for; running
        statistics lose the reconstruction), sizes may be odd (see :func:`pooled_attention`), and
        the layers of the released file that take no part in the output do not exist here.

    Example:
        >>> network = DILRAN(features=8).eval()
        >>> image = torch.rand(1, 1, 33, 40)
        >>> network.encode(image).shape, network(image).shape
        (torch.Size([1, 8, 33, 40]), torch.Size([1, 1, 33, 40]))
    """

    def __init__(self, *, features: int = 64, dilations: Sequence[int] = (1, 3, 5)) -> None:
        super().__init__()
        if features < 2 or features % 2:
            raise InputError(f"Expected `features` to be a positive even number but got {features}.")
        if not dilations or min(dilations) < 1:
            raise InputError(f"Expected `dilations` to be positive integers but got {tuple(dilations)}.")
        self.features = features
        self.encoder = Encoder(features, dilations)
        self.decoder = nn.Sequential(
            nn.Conv2d(features, features, 3, padding=1),
            nn.Conv2d(features, features // 2, 3, padding=1),
            nn.Conv2d(features // 2, 1, 3, padding=1),
        )

    def encode(self, x: Tensor) -> Tensor:
        """Extract the features of images.

        Args:
            x: Grey images in [0, 1], ``(N, 1, H, W)`` with any H, W ≥ 16.

        Returns:
            Features, ``(N, C, H, W)``.

        Raises:
            InputError: If the shape or the data type is another one.
        """
        check_image(x)
        features: Tensor = self.encoder(x)
        return features

    def decode(self, features: Tensor) -> Tensor:
        """Draw the picture of features.

        Args:
            features: Features of one image, or of several joined by a strategy, ``(N, C, H, W)``.

        Returns:
            Grey image, ``(N, 1, H, W)``, near [0, 1] but not clamped.

        Raises:
            InputError: If the number of channels is not the network's.
        """
        if features.ndim != 4 or features.shape[1] != self.features:
            raise InputError(
                f"Expected features of shape (N, {self.features}, H, W) but got {tuple(features.shape)}; "
                "decode what `encode` or a fusion strategy returned."
            )
        image: Tensor = self.decoder(features)
        return image

    def forward(self, x: Tensor) -> Tensor:
        """Reproduce images: ``decode(encode(x))``, ``(N, 1, H, W)`` to ``(N, 1, H, W)``."""
        return self.decode(self.encode(x))


def check_image(x: Tensor) -> None:
    """Refuse what :meth:`DILRAN.encode` does not take.

    Raises:
        InputError: If the shape or the data type is another one.

    Example:
        >>> check_image(torch.zeros(1, 1, 16, 16))
    """
    if x.ndim != 4 or x.shape[1] != 1:
        raise InputError(
            f"DILRAN expects one grey channel, shape (N, 1, H, W), but got {tuple(x.shape)}; "
            "fuse the luma of colour images and keep their chroma."
        )
    if not x.is_floating_point():
        raise InputError(
            f"DILRAN expects floating-point values in [0, 1] but got {x.dtype}; scale the image."
        )
    height, width = x.shape[-2:]
    if height < MIN_SIZE or width < MIN_SIZE:
        raise InputError(
            f"DILRAN expects images of at least {MIN_SIZE}×{MIN_SIZE} pixels but got {height}×{width}; "
            "use a larger image."
        )
