"""Moving places of an image and its mask: crops, affine and elastic warps, flips and turns."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from scalefuse.data.augmentation import AugmentationConfig


@dataclass(frozen=True)
class View:
    """A rectangle on an image; it may reach beyond the image.

    Attributes:
        source: height and width of the image.
        top: first row.
        left: first column.
        size: height and width of the rectangle.
    """

    source: tuple[int, int]
    top: int
    left: int
    size: tuple[int, int]

    @classmethod
    def draw(cls, rng: np.random.Generator, source: tuple[int, int], size: tuple[int, int] | None) -> View:
        """A random rectangle inside of the image; around its middle along an axis that is too short.

        Args:
            rng: where the random numbers come from.
            source: height and width of the image.
            size: height and width of the rectangle; ``None`` for the whole image.

        Example:
            >>> View.draw(np.random.default_rng(0), (10, 20), None)
            View(source=(10, 20), top=0, left=0, size=(10, 20))
            >>> View.draw(np.random.default_rng(0), (10, 20), (16, 20)).top
            -3
        """
        if size is None or size == source:
            return cls(source, 0, 0, source)
        corner = []
        for length, wanted in zip(source, size, strict=True):
            room = length - wanted
            corner.append(int(rng.integers(room + 1)) if room > 0 else math.floor(room / 2))
        return cls(source, corner[0], corner[1], size)


def warp_grid(config: AugmentationConfig, rng: np.random.Generator, view: View) -> Tensor | None:
    """Where each pixel of a randomly warped view comes from.

    Args:
        config: how likely and how strong.
        rng: where the random numbers come from.
        view: the view before it is warped.

    Returns:
        ``(H, W, 2)``: column and row in the image, in pixels with 0 the centre of the first one; ``None``
        where nothing was drawn.

    Example:
        >>> from scalefuse.data.augmentation import AugmentationConfig
        >>> view = View((8, 8), 0, 0, (8, 8))
        >>> warp_grid(AugmentationConfig(affine=1), np.random.default_rng(0), view).shape
        torch.Size([8, 8, 2])
        >>> warp_grid(AugmentationConfig.off(), np.random.default_rng(0), view) is None
        True
    """
    affine, elastic = rng.random() < config.affine, rng.random() < config.elastic
    if not affine and not elastic:
        return None
    height, width = view.size
    rows = torch.arange(height, dtype=torch.float32) - (height - 1) / 2
    columns = torch.arange(width, dtype=torch.float32) - (width - 1) / 2
    matrix, shift = _affine(config, rng, view.size) if affine else (np.eye(2), np.zeros(2))
    xx, xy, yx, yy = (float(value) for value in matrix.ravel())
    x = xx * columns[None, :] + xy * rows[:, None] + (view.left + (width - 1) / 2 + float(shift[0]))
    y = yx * columns[None, :] + yy * rows[:, None] + (view.top + (height - 1) / 2 + float(shift[1]))
    grid = torch.stack([x, y], dim=-1)
    if elastic:
        points = config.elastic_points
        spread = rng.standard_normal((1, 2, points, points), dtype=np.float32) * config.elastic_strength
        spread *= np.array([width, height], np.float32).reshape(1, 2, 1, 1)
        field = F.interpolate(torch.from_numpy(spread), size=view.size, mode="bicubic", align_corners=True)
        grid += field[0].permute(1, 2, 0)
    return grid


def _affine(
    config: AugmentationConfig, rng: np.random.Generator, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Matrix and shift (x, y) from the centred places of the result to those of the image."""
    angle = math.radians(rng.uniform(-1, 1) * config.rotation_degrees)
    shear = math.tan(math.radians(rng.uniform(-1, 1) * config.shear_degrees))
    zoom = config.scale ** rng.uniform(-1, 1)
    apart = config.stretch ** (rng.uniform(-1, 1) / 2)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    matrix = turn @ np.array([[1.0, shear], [0.0, 1.0]]) @ np.diag([zoom * apart, zoom / apart])
    shift = rng.uniform(-1, 1, 2) * config.shift * np.array([size[1], size[0]])
    return matrix, shift


def sample_view(
    image: Tensor, mask: Tensor, view: View, grid: Tensor | None, *, blend_mask: bool
) -> tuple[Tensor, Tensor]:
    """Take a view of an image and its mask; mirrored where it reaches beyond them.

    Args:
        image: ``(C, H, W)``, uint8, uint16 or floating point in [0, 1].
        mask: ``(M, H, W)``, any number type.
        view: the rectangle.
        grid: from :func:`warp_grid`; ``None`` for the rectangle itself, whose pixels are copied.
        blend_mask: whether the mask holds 0 and 1 only and is interpolated and thresholded at half.

    Returns:
        Image ``(C, H', W')`` float32 in [0, 1], and mask ``(M, H', W')``.

    Example:
        >>> image = torch.arange(4, dtype=torch.float32).reshape(1, 2, 2) / 4
        >>> sample_view(image, image, View((2, 2), 0, -1, (2, 4)), None, blend_mask=False)[0]
        tensor([[[0.0000, 0.0000, 0.2500, 0.2500],
                 [0.5000, 0.5000, 0.7500, 0.7500]]])
    """
    if grid is None:
        rows = _mirrored(view.top, view.size[0], view.source[0])
        columns = _mirrored(view.left, view.size[1], view.source[1])
        return _to_unit(_take(image, rows, columns)), _take(mask, rows, columns)
    # Only the part of the image that the grid touches is turned into floating point.
    columns = _reach(grid[..., 0], view.source[1])
    rows = _reach(grid[..., 1], view.source[0])
    part, marks = _to_unit(image[:, rows, columns]), mask[:, rows, columns]
    height, width = part.shape[-2:]
    corner = torch.tensor([columns.start, rows.start], dtype=torch.float32)
    scaled = (grid - corner + 0.5) * torch.tensor([2 / width, 2 / height]) - 1
    if blend_mask:
        both = torch.cat([part, marks.to(torch.float32)])
        moved = _grid_sample(both, scaled, "bilinear")
        return moved[: len(part)].clamp_(0, 1), (moved[len(part) :] >= 0.5).to(mask.dtype)
    moved = _grid_sample(part, scaled, "bilinear").clamp_(0, 1)
    return moved, _grid_sample(marks.to(torch.float32), scaled, "nearest").to(mask.dtype)


def _grid_sample(tensor: Tensor, grid: Tensor, mode: str) -> Tensor:
    return F.grid_sample(tensor[None], grid[None], mode=mode, padding_mode="reflection", align_corners=False)[
        0
    ]


def _to_unit(image: Tensor) -> Tensor:
    if image.is_floating_point():
        return image.to(torch.float32)
    # contiguous before the conversion: four times fewer bytes to reorder.
    return image.contiguous().to(torch.float32).mul_(1 / (255 if image.dtype == torch.uint8 else 65535))


def _take(tensor: Tensor, rows: slice | Tensor, columns: slice | Tensor) -> Tensor:
    return tensor[:, rows][:, :, columns]


def _mirrored(start: int, count: int, length: int) -> slice | Tensor:
    if start >= 0 and start + count <= length:
        return slice(start, start + count)
    places = torch.arange(start, start + count) % (2 * length)
    return torch.where(places < length, places, 2 * length - 1 - places)


def _reach(places: Tensor, length: int) -> slice:
    """The part of an axis that places, mirrored at its ends, and their neighbours touch."""
    low, high = torch.aminmax(places)
    first, last = math.floor(float(low)) - 1, math.ceil(float(high)) + 1
    # What lies beyond one end is mirrored into the part, which must hold it.
    first, last = min(first, 2 * length - 1 - last), max(last, -1 - first)
    return slice(max(0, first), min(length, last + 1))


def flip_and_turn(
    image: Tensor, mask: Tensor, config: AugmentationConfig, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Flip and turn by quarters, without interpolation.

    Args:
        image: ``(C, H, W)``.
        mask: ``(M, H, W)``.
        config: how likely.
        rng: where the random numbers come from.

    Returns:
        Both, contiguous, of the same size as before.

    Example:
        >>> from scalefuse.data.augmentation import AugmentationConfig
        >>> config = AugmentationConfig.off().model_copy(update={"flip_horizontal": 1.0})
        >>> image = torch.tensor([[[1, 2], [3, 4]]])
        >>> flip_and_turn(image, image, config, np.random.default_rng(0))[0].tolist()
        [[[2, 1], [4, 3]]]
    """
    drawn, turns = rng.random(3), int(rng.integers(4))
    axes = [
        axis
        for axis, chance in ((-1, config.flip_horizontal), (-2, config.flip_vertical))
        if drawn[axis] < chance
    ]
    if axes:
        image, mask = image.flip(axes), mask.flip(axes)
    if drawn[0] < config.quarter_turns:
        turns = turns if image.shape[-1] == image.shape[-2] else 2 * (turns // 2)
        image, mask = torch.rot90(image, turns, (-2, -1)), torch.rot90(mask, turns, (-2, -1))
    return image.contiguous(), mask.contiguous()
