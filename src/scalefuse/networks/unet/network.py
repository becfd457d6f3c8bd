"""A plain U-Net: MONAI's ``BasicUNet``, with this package's arguments and messages."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from scalefuse.errors import InputError
from scalefuse.networks.blocks.image_check import check_image

SIZE_MULTIPLE = 16
NORMS = ("batch", "instance")


class UNet(nn.Module):
    """Segment an image with an encoder of five levels, a decoder, and skips between them.

    Two 3×3 convolutions a level, 2×2 max pooling, transposed convolutions upwards.

    Args:
        in_channels: Channels of the image.
        num_classes: Channels of the logits: 1 for a binary mask, n for n classes or n labels.
        width: Channels at full size, even; doubled at each of the four coarser levels.
        norm: What follows each convolution: ``batch`` or ``instance`` normalisation, with learned scale and
            shift.
        dropout: Dropout probability after each convolution, in [0, 1).

    Raises:
        InputError: An argument is out of its range.

    Example:
        >>> import torch
        >>> network = UNet(width=8).eval()
        >>> network(torch.zeros(1, 3, 16, 32)).shape
        torch.Size([1, 1, 16, 32])

    Reference:
        Ronneberger, Fischer, Brox, U-Net: Convolutional Networks for Biomedical Image Segmentation, MICCAI
        2015, doi 10.1007/978-3-319-24574-4_28. Deviations, all MONAI's but the norm: padded convolutions, so
        that the logits have the image's size; a norm after every convolution; leaky ReLU with slope 0.1.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        num_classes: int = 1,
        width: int = 64,
        norm: str = "batch",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        for name, value in (("in_channels", in_channels), ("num_classes", num_classes)):
            if value < 1:
                raise InputError(f"Expected argument `{name}` to be at least 1, but got {value}.")
        if width < 2 or width % 2:
            raise InputError(f"Expected argument `width` to be a positive even number, but got {width}.")
        if norm not in NORMS:
            raise InputError(f"Expected argument `norm` to be one of {NORMS}, but got {norm!r}.")
        if not 0 <= dropout < 1:
            raise InputError(f"Expected argument `dropout` to be in [0, 1), but got {dropout}.")
        # Here, and not above: whoever uses another network need not wait for MONAI.
        from monai.networks.nets.basic_unet import BasicUNet

        self.in_channels = in_channels
        self.layers = BasicUNet(
            spatial_dims=2,
            in_channels=in_channels,
            out_channels=num_classes,
            features=(width, 2 * width, 4 * width, 8 * width, 16 * width, width),
            norm=(norm, {"affine": True}),
            bias=False,
            dropout=dropout,
        )
        for parent in list(self.layers.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, nn.InstanceNorm2d):
                    setattr(parent, name, _InstanceNorm(child.num_features, eps=child.eps, affine=True))

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits ``(N, num_classes, H, W)``.

        Args:
            image: Shape ``(N, in_channels, H, W)``, H and W multiples of 16, intensities about [0, 1] or
                standardised.

        Raises:
            InputError: The image has another number of dimensions or channels, or a height or width that is
                not a multiple of 16.
        """
        check_image(image, self.in_channels, SIZE_MULTIPLE)
        logits: Tensor = self.layers(image)
        return logits


class _InstanceNorm(nn.InstanceNorm2d):
    """Instance normalisation that also takes one pixel, which becomes its channel's shift.

    PyTorch's own refuses it; the coarsest level of the smallest image is one.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return ``(N, C, H, W)``, normalised over H and W."""
        normalised: Tensor = torch.instance_norm(
            input, self.weight, self.bias, None, None, True, 0.0, self.eps, False
        )
        return normalised
