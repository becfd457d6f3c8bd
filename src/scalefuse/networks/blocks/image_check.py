"""The check of an image's shape that networks with a size multiple share."""

from __future__ import annotations

from torch import Tensor

from scalefuse.errors import InputError


def check_image(image: Tensor, in_channels: int, size_multiple: int) -> None:
    """Make sure that an image has the channels and a size that a network takes.

    Args:
        image: Expected as ``(N, in_channels, H, W)``.
        in_channels: Channels that the network was built for.
        size_multiple: What H and W must be multiples of.

    Raises:
        InputError: The image has another number of dimensions or channels, or another size.

    Example:
        >>> import torch
        >>> check_image(torch.zeros(1, 3, 16, 20), 3, 8)
        Traceback (most recent call last):
        scalefuse.errors.InputError: Expected a height and width that are multiples of 8, but got 16×20. \
Pad the image to 16×24.
    """
    if image.ndim != 4 or image.shape[1] != in_channels:
        raise InputError(
            f"Expected an image of shape (N, {in_channels}, H, W), but got {tuple(image.shape)}. "
            f"This network was built for {in_channels} channel(s)."
        )
    height, width = image.shape[-2:]
    if height % size_multiple or width % size_multiple:
        padded = [-(-size // size_multiple) * size_multiple for size in (height, width)]
        raise InputError(
            f"Expected a height and width that are multiples of {size_multiple}, but got "
            f"{height}×{width}. Pad the image to {padded[0]}×{padded[1]}."
        )
