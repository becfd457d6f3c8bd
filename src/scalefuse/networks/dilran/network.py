"""DILRAN: an auto-encoder whose multi-scale features are joined by a fixed strategy to fuse two images.

The network is trained to reproduce single images. To fuse, both images are encoded, a function of
:mod:`scalefuse.fusion` joins the features, and the decoder draws the picture.

Reference:
    Zhou, Xu, Zhang: An Attention-based Multi-Scale Feature Learning Network for Multimodal Medical Image
    Fusion, arXiv 2212.04661, section 3.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from scalefuse.errors import InputError
from scalefuse.networks.dilran.decoder import Decoder
from scalefuse.networks.dilran.encoder import Encoder

MIN_SIZE = 16
"""Smallest height and width, in pixels, that :class:`DILRAN` takes."""


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
        >>> import torch
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
        self.decoder = Decoder(features)

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
            InputError: If the number of channels is not the network's, or H or W is below 16.
        """
        if features.ndim != 4 or features.shape[1] != self.features:
            raise InputError(
                f"Expected features of shape (N, {self.features}, H, W) but got {tuple(features.shape)}; "
                "decode what `encode` or a fusion strategy returned."
            )
        if min(features.shape[-2:]) < MIN_SIZE:
            raise InputError(
                f"Expected features of at least {MIN_SIZE}×{MIN_SIZE} pixels but got "
                f"{features.shape[2]}×{features.shape[3]}."
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
        >>> import torch
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
