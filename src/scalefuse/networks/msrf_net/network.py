"""MSRF-Net: a multi-scale residual fusion network for segmentation."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from scalefuse.errors import InputError
from scalefuse.networks.blocks.image_check import check_image
from scalefuse.networks.msrf_net.decoder import LastLevel, TripleAttentionDecoder
from scalefuse.networks.msrf_net.dual_scale import MultiScaleResidualFusion
from scalefuse.networks.msrf_net.encoder import Encoder
from scalefuse.networks.msrf_net.shape_stream import ShapeStream

SIZE_MULTIPLE = 8


class MSRFNetOutput(NamedTuple):
    """Logits of :class:`MSRFNet`, all at the image's height and width.

    Attributes:
        mask: The segmentation, ``(N, num_classes, H, W)``.
        scale3: Deep supervision at stride 4, ``(N, num_classes, H, W)``.
        scale2: Deep supervision at stride 2, ``(N, num_classes, H, W)``.
        edge: The objects' boundaries, ``(N, 1, H, W)``.
    """

    mask: Tensor
    scale3: Tensor
    scale2: Tensor
    edge: Tensor


class MSRFNet(nn.Module):
    """Segment an image while all resolutions stay alive and exchange features again and again.

    Args:
        in_channels: Channels of the image.
        num_classes: Channels of the logits: 1 for a binary mask, n for n classes or n labels.
        width: Channels at full size, a multiple of 8; doubled at each of the three coarser scales.
        growth: Channels that a dense convolution between scales 1 and 2 adds; doubled and doubled again
            for the coarser pairs.
        dropout: Dropout probability between the encoder's levels, in [0, 1).

    Raises:
        InputError: An argument is out of its range.

    Example:
        >>> import torch
        >>> network = MSRFNet(width=8, growth=4).eval()
        >>> output = network(torch.zeros(1, 3, 16, 24))
        >>> output.mask.shape, output.edge.shape
        (torch.Size([1, 1, 16, 24]), torch.Size([1, 1, 16, 24]))

    Reference:
        Srivastava et al., MSRF-Net: A Multi-Scale Residual Fusion Network for Biomedical Image
        Segmentation, IEEE JBHI 26(5), 2022, doi 10.1109/JBHI.2021.3138024. Deviations: logits are returned,
        where the paper's network ends in sigmoids; the image gradient is computed inside, see
        :func:`~scalefuse.networks.msrf_net.shape_stream.image_gradient`; where the released program differs
        from the paper's figures, the figures are followed, as the blocks' docstrings say.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        num_classes: int = 1,
        width: int = 32,
        growth: int = 16,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        for name, value in (("in_channels", in_channels), ("num_classes", num_classes), ("growth", growth)):
            if value < 1:
                raise InputError(f"Expected argument `{name}` to be at least 1, but got {value}.")
        if width < 8 or width % 8:
            raise InputError(f"Expected argument `width` to be a positive multiple of 8, but got {width}.")
        if not 0 <= dropout < 1:
            raise InputError(f"Expected argument `dropout` to be in [0, 1), but got {dropout}.")
        self.in_channels = in_channels
        self.num_classes = num_classes
        c1, c2, c3, c4 = channels = (width, 2 * width, 4 * width, 8 * width)
        self.encoder = Encoder(in_channels, channels, dropout)
        self.fusion = MultiScaleResidualFusion(channels, growth)
        self.shape_stream = ShapeStream(channels)
        self.decoder3 = TripleAttentionDecoder(c4, c3, num_classes=num_classes, scale=4)
        self.decoder2 = TripleAttentionDecoder(c3, c2, num_classes=num_classes, scale=2)
        self.last_level = LastLevel(c2, c1, num_classes=num_classes)

    def forward(self, image: Tensor) -> MSRFNetOutput:
        """Return the logits of mask, deep supervision and edge.

        Args:
            image: Shape ``(N, in_channels, H, W)``, H and W multiples of 8, intensities about [0, 1] or
                standardised.

        Returns:
            Logits at the image's size.

        Raises:
            InputError: The image has another number of dimensions or channels, or a height or width that is
                not a multiple of 8.
        """
        check_image(image, self.in_channels, SIZE_MULTIPLE)
        x1, x2, x3, x4 = fused = self.fusion(self.encoder(image))
        edge, guide = self.shape_stream(fused, image)
        feature, scale3 = self.decoder3(x3, x4)
        feature, scale2 = self.decoder2(x2, feature)
        mask = self.last_level(x1, feature, guide)
        return MSRFNetOutput(mask=mask, scale3=scale3, scale2=scale2, edge=edge)
