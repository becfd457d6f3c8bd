"""How MSRF-Net's convolutions start."""

from __future__ import annotations

import math

from torch import nn


def he_normal_(convolution: nn.Conv2d | nn.ConvTranspose2d, negative_slope: float = 0.0) -> None:
    """Draw a convolution's weight from He's normal distribution and set its bias to zero.

    The fan-in counts the products that reach one output value; a transposed convolution with stride s
    spreads its kernel over s² outputs, so only one in s² of its products reaches any one of them.

    Args:
        convolution: Changed in place.
        negative_slope: Slope of the (leaky) ReLU that follows.

    Example:
        >>> convolution = nn.Conv2d(64, 64, 3)
        >>> he_normal_(convolution)
        >>> bool(abs(convolution.weight.std() - (2 / (64 * 9)) ** 0.5) < 0.002)
        True

    Reference:
        He et al., Delving Deep into Rectifiers, ICCV 2015, eq. 10 and 15.
    """
    kernel_area = math.prod(convolution.kernel_size)
    fan_in = convolution.in_channels * kernel_area / convolution.groups
    if isinstance(convolution, nn.ConvTranspose2d):
        fan_in /= math.prod(convolution.stride)
    nn.init.normal_(convolution.weight, std=math.sqrt(2.0 / ((1.0 + negative_slope**2) * fan_in)))
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
