"""Windows of attention over a map of tokens: cutting, joining, positions, and who may see whom.

Layouts: ``NHWC`` is a map of tokens; ``NWLC`` is windows, with W windows per map and L tokens per window.
"""

from __future__ import annotations

import torch
from torch import Tensor

MAX_CACHED_MASKS = 32
"""Masks that one :class:`MaskCache` keeps; the oldest goes first."""


def partition_windows(x_NHWC: Tensor, window: int) -> Tensor:
    """Cut a map into windows, row by row.

    Args:
        x_NHWC: Tokens, ``(N, H, W, C)``; H and W are multiples of ``window``.
        window: Side of a window in tokens.

    Returns:
        ``(N, windows, window², C)``.

    Example:
        >>> partition_windows(torch.arange(8).view(1, 2, 4, 1), 2)[0, :, :, 0].tolist()
        [[0, 1, 4, 5], [2, 3, 6, 7]]
    """
    samples, height, width, channels = x_NHWC.shape
    split = x_NHWC.view(samples, height // window, window, width // window, window, channels)
    count = (height // window) * (width // window)
    return split.permute(0, 1, 3, 2, 4, 5).reshape(samples, count, window * window, channels)


def merge_windows(x_NWLC: Tensor, window: int, height: int, width: int) -> Tensor:
    """Undo :func:`partition_windows`.

    Args:
        x_NWLC: Windows, ``(N, windows, window², C)``.
        window: Side of a window in tokens.
        height: Height of the map in tokens.
        width: Width of the map in tokens.

    Returns:
        ``(N, height, width, C)``.

    Example:
        >>> x = torch.rand(1, 4, 6, 3)
        >>> torch.equal(merge_windows(partition_windows(x, 2), 2, 4, 6), x)
        True
    """
    samples, channels = x_NWLC.shape[0], x_NWLC.shape[-1]
    split = x_NWLC.view(samples, height // window, width // window, window, window, channels)
    return split.permute(0, 1, 3, 2, 4, 5).reshape(samples, height, width, channels)


def relative_position_index(window: int) -> Tensor:
    """Row of the relative position table for every pair (query, key) of tokens in a window.

    Args:
        window: Side of a window in tokens.

    Returns:
        int64 ``(window², window²)``, values in [0, (2·window - 1)²).

    Reference:
        Liu et al.: Swin Transformer, ICCV 2021, section 3.2, which HiFuse's global branch follows.

    Example:
        >>> relative_position_index(2)[0].tolist()
        [4, 3, 1, 0]
    """
    axis = torch.arange(window)
    row, column = torch.meshgrid(axis, axis, indexing="ij")
    row, column = row.flatten(), column.flatten()
    down = row[:, None] - row[None, :] + window - 1
    right = column[:, None] - column[None, :] + window - 1
    return down * (2 * window - 1) + right


def attention_mask(
    size: tuple[int, int], window: int, shift: tuple[int, int], device: torch.device | None = None
) -> Tensor | None:
    """Pairs of tokens that may attend to each other in each window.

    A map is padded on the right and bottom to whole windows and rolled up and left by ``shift``. Two tokens
    of a window see each other if both are real and neither or both came in from the opposite edge. Padded
    tokens see only each other, which keeps the softmax finite; their results are cropped.

    Args:
        size: Height and width of the map before padding, in tokens.
        window: Side of a window in tokens.
        shift: How far the map is rolled up and left, in tokens.
        device: Where the mask is to lie.

    Returns:
        Boolean ``(windows, window², window²)``, True where attention is allowed; None if it is everywhere.

    Example:
        >>> attention_mask((4, 4), 2, (0, 0)) is None
        True
        >>> attention_mask((1, 2), 2, (0, 0)).int().tolist()
        [[[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]]
    """
    padded = tuple(side + -side % window for side in size)
    if padded == size and shift == (0, 0):
        return None
    real, wrapped = [], []
    for side, padded_side, offset in zip(size, padded, shift, strict=True):
        position = (torch.arange(padded_side, device=device) + offset) % padded_side
        real.append(position < side)
        wrapped.append(position < offset)
    region = 2 * wrapped[0].long()[:, None] + wrapped[1].long()[None, :]
    region = torch.where(real[0][:, None] & real[1][None, :], region, 4)
    region_WL = partition_windows(region[None, :, :, None], window)[0, :, :, 0]
    return region_WL[:, :, None] == region_WL[:, None, :]


class MaskCache:
    """Masks of :func:`attention_mask`, each built the first time that a size is seen.

    Example:
        >>> cache = MaskCache(window=2)
        >>> first = cache.get((3, 3), (1, 1), torch.device("cpu"))
        >>> cache.get((3, 3), (1, 1), torch.device("cpu")) is first
        True
    """

    def __init__(self, window: int) -> None:
        self.window = window
        self._masks: dict[tuple[tuple[int, int], tuple[int, int], torch.device], Tensor | None] = {}

    def get(self, size: tuple[int, int], shift: tuple[int, int], device: torch.device) -> Tensor | None:
        """Return the mask of a map of ``size`` rolled by ``shift``; see :func:`attention_mask`."""
        # The stand-ins for tensors that exporters and meta devices trace with must not outlive the trace.
        if torch.compiler.is_compiling():
            return attention_mask(size, self.window, shift, device)
        key = (size, shift, device)
        if key not in self._masks:
            # A tensor born in inference mode would be of no use to a later training step.
            with torch.inference_mode(False):
                mask = attention_mask(size, self.window, shift, device)
            if mask is not None and type(mask) is not Tensor:
                return mask
            if len(self._masks) >= MAX_CACHED_MASKS:
                del self._masks[next(iter(self._masks))]
            self._masks[key] = mask
        return self._masks[key]
