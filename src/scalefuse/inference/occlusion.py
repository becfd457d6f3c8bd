"""Where in a picture a classifier finds its evidence for a class: what covered parts cost it."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from scalefuse.errors import InputError

CELLS = 8
COVERS = (CELLS + 1) ** 2
"""Rows and columns of the map, and how many covered pictures go through the network for it."""


def occlusion_sensitivity(
    score: Callable[[Tensor], Tensor], image: Tensor, *, cells: int = CELLS, batch_size: int = 16
) -> Tensor:
    """How far a score falls where a part of the image is covered.

    A square of 2×2 cells moves over the image by one cell at a time, beginning one cell outside, so that each
    cell is covered four times. What is covered takes the image's mean, channel by channel. Unlike a gradient,
    this needs no look into the network, and tells what the network does and not what an infinitely small
    change would.

    Args:
        score: Maps images ``(N, C, H, W)`` to one number each, ``(N,)``.
        image: ``(1, C, H, W)``, as the network takes it.
        cells: Rows and columns of the map; fewer where the image has fewer pixels.
        batch_size: Covered images that are scored at once.

    Returns:
        ``(rows, columns)``, the mean fall of the score over the four covers of a cell; 0 where it rose.

    Raises:
        InputError: Not one image, or no cell.

    Reference:
        Zeiler and Fergus: Visualizing and Understanding Convolutional Networks, ECCV 2014, section 4.2.
        Deviations: the score is the caller's, squares overlap and are averaged, and what covers is the
        image's own mean.

    Example:
        >>> image = torch.zeros(1, 1, 16, 16)
        >>> image[0, 0, 5, 13] = 1
        >>> int(occlusion_sensitivity(lambda x: x[:, 0, 5, 13], image).argmax())  # row 2, column 6 of 8
        22
    """
    if image.ndim != 4 or image.shape[0] != 1 or cells < 1 or batch_size < 1:
        raise InputError(
            f"Expected one image (1, C, H, W), a cell or more, and a batch of 1 or more, but got "
            f"{tuple(image.shape)}, {cells} cells and batches of {batch_size}."
        )
    height, width = image.shape[2:]
    rows, columns = _edges(height, min(cells, height)), _edges(width, min(cells, width))
    squares = [(row, column) for row in range(-1, len(rows) - 1) for column in range(-1, len(columns) - 1)]
    mean = image.mean(dim=(2, 3))[0, :, None, None]
    # The image as it stands comes first; equal parts suit engines that prepare themselves for a batch's size.
    count = 1 + len(squares)
    size = math.ceil(count / math.ceil(count / batch_size))
    scores = []
    with torch.inference_mode():
        for start in range(0, count, size):
            numbers = range(start, min(start + size, count))
            shown = image.repeat(len(numbers), 1, 1, 1)
            for one, number in zip(shown, numbers, strict=True):
                if number > 0:
                    row, column = squares[number - 1]
                    one[:, _span(rows, row), _span(columns, column)] = mean
            scores.append(score(shown).float().cpu())
    whole, *covered = torch.cat(scores)
    total = torch.zeros(len(rows) - 1, len(columns) - 1)
    for (row, column), left in zip(squares, covered, strict=True):
        total[max(0, row) : row + 2, max(0, column) : column + 2] += whole - left
    return (total / 4).clamp(min=0)


def log_odds(logits: Tensor, class_index: int | Tensor, *, multi_label: bool = False) -> Tensor:
    """Logarithm of a class's probability over that of all others, for each row of logits.

    Args:
        logits: ``(N, K)``.
        class_index: The class; or ``(N,)``, that of each row.
        multi_label: Whether classes do not exclude one another: then the others say nothing, and the logit
            itself is the answer.

    Returns:
        ``(N,)``.

    Example:
        >>> log_odds(torch.tensor([[0.5, 2.0]]), 1)
        tensor([1.5000])
    """
    chosen = torch.as_tensor(class_index, device=logits.device).expand(len(logits))[:, None]
    own = logits.gather(1, chosen)[:, 0]
    if multi_label or logits.shape[1] == 1:
        return own
    others = logits.scatter(1, chosen, -math.inf)
    return own - others.logsumexp(dim=1)


def _edges(side: int, cells: int) -> list[int]:
    return [round(side * number / cells) for number in range(cells + 1)]


def _span(edges: list[int], first: int) -> slice:
    """Two cells from one on, as far as there are any."""
    return slice(edges[max(0, first)], edges[min(len(edges) - 1, first + 2)])
