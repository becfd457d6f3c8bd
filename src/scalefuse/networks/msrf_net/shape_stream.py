"""The shape stream of MSRF-Net: edges from the finest scale, gated by the coarser ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scalefuse.networks.msrf_net.initialisation import he_normal_

# Below this, an image counts as constant: its gradient stays near zero instead of becoming amplified noise.
SMALLEST_MAXIMUM = 1e-5


def image_gradient(image: Tensor) -> Tensor:
    """Return the Scharr gradient magnitude of the channels' mean, divided by its maximum in each image.

    The border is continued by its own value. The 3×3 Scharr convolution is written as shifts and sums: it
    then stays in the image's precision under autocast, which would run a convolution in half precision.

    Args:
        image: Shape ``(N, C, H, W)``, any intensity range.

    Returns:
        Shape ``(N, 1, H, W)``, in [0, 1]; all zero for a constant image.

    Example:
        >>> step = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(1, 1, 4, 4)
        >>> image_gradient(step)[0, 0, 0]
        tensor([0., 1., 1., 0.])

    Reference:
        MSRF-Net, figure 1 ("image gradients"). Deviation from the released program, which feeds OpenCV's
        Canny edges with thresholds that leave the map empty for most images.
    """
    padded = F.pad(image.mean(dim=1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    rows = (3 * padded[:, :, :-2] + 10 * padded[:, :, 1:-1] + 3 * padded[:, :, 2:]) / 16
    columns = (3 * padded[..., :-2] + 10 * padded[..., 1:-1] + 3 * padded[..., 2:]) / 16
    along_x = (rows[..., 2:] - rows[..., :-2]) / 2
    along_y = (columns[:, :, 2:] - columns[:, :, :-2]) / 2
    squares = along_x.square() + along_y.square()
    # The root's derivative is infinite at zero, so flat places pass around it.
    flat = squares == 0
    magnitude = squares.masked_fill(flat, 1.0).sqrt().masked_fill(flat, 0.0)
    return magnitude / magnitude.amax(dim=(2, 3), keepdim=True).clamp_min(SMALLEST_MAXIMUM)


class ResidualBlock(nn.Module):
    """``ReLU(x + BN(conv(ReLU(BN(conv x)))))`` with 3×3 convolutions.

    Args:
        channels: Channels in and out.

    Example:
        >>> ResidualBlock(8)(torch.zeros(1, 8, 4, 4)).shape
        torch.Size([1, 8, 4, 4])

    Reference:
        MSRF-Net, section III-C. Deviation from the released program, whose second convolution reads the
        block's input and so leaves the first one without effect.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(channels)
        he_normal_(self.conv1)
        he_normal_(self.conv2)

    def forward(self, feature: Tensor) -> Tensor:
        """Return the refined feature.

        Args:
            feature: Shape ``(N, channels, H, W)``.

        Returns:
            Shape ``(N, channels, H, W)``, not negative.
        """
        update = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(feature)))))
        return torch.relu(feature + update)


class GatedConvolution(nn.Module):
    """Strengthen the shape stream where a coarser feature agrees, then lower its width.

    ``α = σ(BN(1×1(ReLU(1×1(BN(S ‖ G))))))``; the result is ``1×1(S · (1 + α))``.

    Args:
        channels: Channels of the stream S.
        gate_channels: Channels of the coarser feature, of which one channel G is made.
        out_channels: Channels of the result.

    Example:
        >>> gate = GatedConvolution(8, 16, out_channels=4)
        >>> gate(torch.zeros(1, 8, 8, 8), torch.zeros(1, 16, 2, 2)).shape
        torch.Size([1, 4, 8, 8])

    Reference:
        Takikawa et al., Gated-SCNN, ICCV 2019, section 3.1; MSRF-Net, section III-C. Deviation from the
        released program, which returns the gate itself instead of the gated feature.
    """

    def __init__(self, channels: int, gate_channels: int, out_channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(gate_channels, 1, 1)
        self.norm_in = nn.BatchNorm2d(channels + 1)
        self.mix = nn.Conv2d(channels + 1, channels + 1, 1)
        self.score = nn.Conv2d(channels + 1, 1, 1)
        self.norm_out = nn.BatchNorm2d(1)
        self.reduce = nn.Conv2d(channels, out_channels, 1)
        he_normal_(self.mix)

    def forward(self, stream: Tensor, gate: Tensor) -> Tensor:
        """Return the gated stream.

        Args:
            stream: Shape ``(N, channels, H, W)``.
            gate: Shape ``(N, gate_channels, h, w)``, any size.

        Returns:
            Shape ``(N, out_channels, H, W)``.
        """
        # mode="bilinear" without align_corners: the image's corners, not the corner pixels' centres, meet.
        squeezed = F.interpolate(self.squeeze(gate), size=stream.shape[-2:], mode="bilinear")
        mixed = torch.relu(self.mix(self.norm_in(torch.cat([stream, squeezed], dim=1))))
        alpha = torch.sigmoid(self.norm_out(self.score(mixed)))
        reduced: Tensor = self.reduce(stream * (1 + alpha))
        return reduced


class ShapeStream(nn.Module):
    """Edge logits of the image, and one channel that tells the decoder where edges are.

    Args:
        channels: Channels of the four scales, finest first. The stream's width starts at the finest
            scale's and is halved by each gate.

    Example:
        >>> features = [torch.zeros(1, 8 << i, 16 >> i, 16 >> i) for i in range(4)]
        >>> edge, guide = ShapeStream((8, 16, 32, 64))(features, torch.zeros(1, 3, 16, 16))
        >>> edge.shape, guide.shape
        (torch.Size([1, 1, 16, 16]), torch.Size([1, 1, 16, 16]))

    Reference:
        MSRF-Net, section III-C, figure 3. Deviation from the released program, which starts at scale 2
        and gates by scales 3 and 4 only.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        widths = [channels[0] >> i for i in range(4)]
        self.enter = nn.Conv2d(channels[0], widths[0], 1)
        self.residuals = nn.ModuleList(ResidualBlock(width) for width in widths[:-1])
        self.gates = nn.ModuleList(
            GatedConvolution(width, gate_channels, narrower)
            for width, gate_channels, narrower in zip(widths[:-1], channels[1:], widths[1:], strict=True)
        )
        self.edge = nn.Conv2d(widths[-1], 1, 1)
        self.guide_mix = nn.Conv2d(2, 1, 1)
        self.guide_scale = nn.Conv2d(1, 1, 1)
        self.guide_norm = nn.BatchNorm2d(1)
        he_normal_(self.guide_scale)

    def forward(self, features: Sequence[Tensor], image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the edge logits and the decoder's guide.

        Args:
            features: Four tensors, finest first.
            image: Shape ``(N, C, H, W)``, of the finest scale's size.

        Returns:
            Edge logits and guide (not negative), each of shape ``(N, 1, H, W)``.
        """
        stream = self.enter(features[0])
        for residual, gate, coarser in zip(self.residuals, self.gates, features[1:], strict=True):
            stream = gate(residual(stream), coarser)
        edge = self.edge(stream)
        seen = torch.cat([torch.sigmoid(edge), image_gradient(image).to(edge.dtype)], dim=1)
        guide = self.guide_scale(torch.sigmoid(self.guide_mix(seen)))
        return edge, torch.relu(self.guide_norm(guide))
