"""A picture in windows that overlap, put together again band by band."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

_FLOOR = 1e-3


def window_starts(length: int, window: int, overlap: float) -> list[int]:
    """Where windows start along one axis; the last one ends with the picture.

    The places are those of MONAI's sliding-window inferer.

    Args:
        length: of the picture, at least ``window``.
        window: length of a window.
        overlap: part of a window that the next one repeats, in [0, 1).

    Example:
        >>> window_starts(20, 8, 0.25)
        [0, 6, 12]
        >>> window_starts(21, 8, 0.25)
        [0, 6, 12, 13]
    """
    step = max(1, int(window * (1 - overlap)))
    return [*range(0, length - window, step), length - window]


def gaussian_weights(height: int, width: int) -> Tensor:
    """Weights of a window's pixels, ``(height, width)``: a Gaussian around its centre, at least 0.001.

    The same as MONAI's importance map in the mode ``gaussian``, without importing MONAI, which takes longer
    than most predictions.

    Args:
        height: rows of the window.
        width: columns of the window.

    Example:
        >>> gaussian_weights(3, 3)[1, 1]
        tensor(1.)
    """

    def along(length: int) -> Tensor:
        place = torch.arange(length, dtype=torch.float32) - (length - 1) / 2
        return torch.exp(-(place**2) / (2 * (0.125 * length) ** 2))

    weights = along(height)[:, None] * along(width)
    return weights.clamp(min=max(float(weights.min()), _FLOOR))


def mirrored_indices(start: int, stop: int, length: int) -> Tensor:
    """Indices ``start`` … ``stop - 1``, mirrored at the last and the first pixel of an axis.

    Args:
        start: first index.
        stop: end, which may lie beyond ``length`` by any amount.
        length: of the axis; a single pixel is repeated.

    Example:
        >>> mirrored_indices(1, 8, 4).tolist()
        [1, 2, 3, 2, 1, 0, 1]
    """
    index = torch.arange(start, stop)
    if length == 1:
        return torch.zeros_like(index)
    index = index % (2 * length - 2)
    return torch.where(index < length, index, 2 * length - 2 - index)


def sliding_bands(
    predict: Callable[[int, int], Tensor],
    size: tuple[int, int],
    window: tuple[int, int],
    overlap: float,
) -> Iterator[tuple[int, Tensor]]:
    """Predict window by window and give the weighted mean in bands of finished rows.

    Only the rows of one row of windows are held.

    Args:
        predict: maps a window's top and left to its prediction ``(K, h, w)``.
        size: height and width of the picture, at least those of a window.
        window: h and w.
        overlap: part of a window that the next one repeats, in [0, 1).

    Yields:
        The first row of a band, and the band ``(K, rows, W)``; bands follow one another without gaps.

    Example:
        >>> bands = sliding_bands(lambda top, left: torch.full((1, 4, 4), 7.0), (10, 9), (4, 4), 0.5)
        >>> [(top, band.shape[1]) for top, band in bands]
        [(0, 2), (2, 2), (4, 2), (6, 4)]
    """
    height, width = window
    weights = gaussian_weights(height, width)
    tops, lefts = window_starts(size[0], height, overlap), window_starts(size[1], width, overlap)
    total: Tensor | None = None
    weight = torch.zeros(height, size[1])
    for number, top in enumerate(tops):
        for left in lefts:
            part = predict(top, left)
            if total is None:
                total = torch.zeros(part.shape[0], height, size[1])
            total[:, :, left : left + width] += part * weights
            weight[:, left : left + width] += weights
        assert total is not None
        done = (tops[number + 1] if number + 1 < len(tops) else size[0]) - top
        yield top, total[:, :done] / weight[:done]
        rest = height - done
        for held in (total, weight):
            held[..., :rest, :] = held[..., done:, :].clone()
            held[..., rest:, :] = 0
