"""A picture as a network wants it, window by window: values in [0, 1], its number of channels."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from scalefuse.data.colour import to_luma_chroma
from scalefuse.data.image import Image
from scalefuse.data.intensity import IntensityRange, channel_ranges, resolve_intensity
from scalefuse.data.pixels import as_pixels
from scalefuse.errors import InputError
from scalefuse.inference.sliding import mirrored_indices


class NetworkInput:
    """Gives windows of a picture as float32 tensors; the picture itself is never copied as a whole.

    Args:
        image: an image, a PIL picture, or an array or tensor ``(H, W)`` or ``(H, W, 3)`` of 8 or 16 bits, or
            of real numbers in [0, 1]; for another number C of channels, ``(H, W, C)``.
        in_channels: 1 (colour becomes luma), 3 (grey is repeated), or what the image has.
        intensity: which values become 0 and 1; ``None`` for the full range of 8- and 16-bit pictures and for
            arrays of real numbers in [0, 1]. Of other numbers of channels than 1 and 3, each has its own
            ``minmax`` or ``percentile``.

    Raises:
        InputError: not such a picture, NaN values, values outside [0, 1], intensities that need a choice, or
            a number of channels that a picture cannot be brought to.

    Example:
        >>> source = NetworkInput(np.array([[0, 51], [102, 255]], np.uint8), in_channels=1)
        >>> source.window(0, 0, 2, 4)[0]
        tensor([[0.0000, 0.2000, 0.0000, 0.2000],
                [0.4000, 1.0000, 0.4000, 1.0000]])
    """

    def __init__(
        self, image: Image | NDArray[Any], in_channels: int, intensity: IntensityRange | str | None = None
    ) -> None:
        pixels = image.pixels if isinstance(image, Image) else as_pixels(image)
        known = in_channels in (1, 3)
        if not known and isinstance(image, Image) and image.num_channels != in_channels:
            raise InputError(
                f"{image.label} has {image.num_channels} channel(s), but the model expects {in_channels}; "
                f"use another model, or images of {in_channels} channels."
            )
        fits = pixels.shape[2:] in ((), (1,), (3,)) if known else pixels.shape[2:] == (in_channels,)
        if pixels.ndim not in (2, 3) or 0 in pixels.shape or not fits:
            many = f"an array (H, W, {in_channels}), as the model has {in_channels} channels"
            expected = "a picture (H, W) or (H, W, 3)" if known else many
            raise InputError(f"Expected {expected}, but got shape {pixels.shape}.")
        self.pixels: NDArray[Any] = pixels if pixels.ndim == 3 else pixels[..., None]
        self.in_channels = in_channels
        self.ranges = self._ranges(image, intensity)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.pixels.shape[0], self.pixels.shape[1]

    def window(self, top: int, left: int, height: int, width: int) -> Tensor:
        """The window ``(C, height, width)``; beyond the lower and the right edge the picture is mirrored."""
        pixels = self.pixels[top : top + height, left : left + width]
        if pixels.shape[:2] != (height, width):
            rows = mirrored_indices(top, top + height, self.size[0]).numpy()
            columns = mirrored_indices(left, left + width, self.size[1]).numpy()
            pixels = self.pixels[rows[:, None], columns]
        return self._channels(pixels)

    def resized(self, size: tuple[int, int]) -> Tensor:
        """The whole picture ``(C, *size)``, bilinear with antialiasing, one channel at a time."""
        if self.in_channels == 1 and self.pixels.shape[2] == 3:
            channels = [self._small(channel, size) for channel in range(3)]
            # Luma is a weighted sum: it may as well be taken after resizing.
            return self._channels_of_unit(torch.stack(channels, dim=-1).numpy())
        small = [self._small(channel, size) for channel in range(self.pixels.shape[2])]
        return torch.stack(small * (self.in_channels // len(small)))

    def _small(self, channel: int, size: tuple[int, int]) -> Tensor:
        unit = torch.from_numpy(_unit(self.pixels[..., channel], *self.ranges[channel]))[None, None]
        return F.interpolate(unit, size=size, mode="bilinear", antialias=True)[0, 0].clamp_(0, 1)

    def _channels(self, pixels: NDArray[Any]) -> Tensor:
        if len(set(self.ranges)) == 1:
            return self._channels_of_unit(_unit(pixels, *self.ranges[0]))
        units = [_unit(pixels[..., index], *bounds) for index, bounds in enumerate(self.ranges)]
        return torch.from_numpy(np.stack(units))

    def _channels_of_unit(self, unit: NDArray[np.float32]) -> Tensor:
        if unit.shape[2] == 3 and self.in_channels == 1:
            unit = to_luma_chroma(unit)[0][..., None]
        tensor = torch.from_numpy(np.ascontiguousarray(unit.transpose(2, 0, 1)))
        return tensor.repeat(self.in_channels // tensor.shape[0], 1, 1)

    def _ranges(
        self, image: Image | NDArray[Any], choice: IntensityRange | str | None
    ) -> list[tuple[float, float]]:
        """What becomes 0 and 1 in each channel."""
        if self.pixels.dtype.kind == "f" and not np.isfinite([self.pixels.min(), self.pixels.max()]).all():
            raise InputError(f"{_name(image)} holds NaN or infinite values, but all must be finite.")
        if choice is None and not isinstance(image, Image) and self.pixels.dtype.kind == "f":
            low, high = float(self.pixels.min()), float(self.pixels.max())
            if low < 0 or high > 1:
                raise InputError(
                    f"Expected real numbers in [0, 1], but got values from {low:g} to {high:g}; choose which "
                    "values become 0 and 1, such as 'percentile:1:99'."
                )
            return [(0.0, 1.0)] * self.pixels.shape[2]
        if isinstance(image, Image):
            return channel_ranges(self.pixels, resolve_intensity(image, choice))
        parsed = IntensityRange.parse(choice) if isinstance(choice, str) else choice
        return channel_ranges(self.pixels, parsed or IntensityRange(mode="full"))


def _unit(pixels: NDArray[Any], low: float, high: float) -> NDArray[np.float32]:
    if high <= low:
        return np.zeros(pixels.shape, np.float32)
    exact: Any = np.float32 if pixels.dtype in (np.uint8, np.uint16, np.float32) else np.float64
    values: NDArray[Any] = pixels.astype(exact)
    np.subtract(values, low, out=values)
    np.divide(values, high - low, out=values)
    np.clip(values, 0, 1, out=values)
    return values.astype(np.float32, copy=False)


def _name(image: Image | NDArray[Any]) -> str:
    return image.label if isinstance(image, Image) else "The picture"
