"""What one pixel value means: the range of values that becomes [0, 1], never guessed in silence."""

from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError, model_serializer, model_validator

from scalefuse.data.image import Image
from scalefuse.errors import InputError, IntensityChoiceError
from scalefuse.schema import Schema

IntensityMode = Literal["full", "minmax", "percentile", "window", "range"]

INTENSITY_OPTIONS = "full, minmax, percentile:LOW:HIGH, window:CENTRE:WIDTH, range:LOW:HIGH"
_NUM_VALUES = {"full": 0, "minmax": 0, "percentile": 2, "window": 2, "range": 2}


class IntensityRange(Schema):
    """A choice of the values that become 0 and 1; values outside are clipped.

    - ``full``: the whole range of the integer type, 0–255 or 0–65535.
    - ``minmax``: the picture's own smallest and largest value.
    - ``percentile:LOW:HIGH``: two percentiles of the picture's own values, such as ``percentile:1:99``.
    - ``window:CENTRE:WIDTH``: centre ∓ half the width, in the picture's unit, such as ``window:40:80`` in HU
      (what DICOM calls ``LINEAR_EXACT``).
    - ``range:LOW:HIGH``: the two values themselves.

    In a configuration file and in JSON it is written as that string.

    Attributes:
        mode: which of the five.
        values: the two numbers, or none.

    Example:
        >>> IntensityRange.parse("window:40:80").values
        (40.0, 80.0)
        >>> str(IntensityRange.parse("percentile:1:99.5"))
        'percentile:1:99.5'
    """

    mode: IntensityMode
    values: tuple[float, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, data: Any) -> Any:
        if not isinstance(data, str):
            return data
        mode, *numbers = data.strip().split(":")
        if mode not in _NUM_VALUES:
            raise ValueError(f"unknown intensity range {data!r}; expected one of {INTENSITY_OPTIONS}")
        try:
            return {"mode": mode, "values": tuple(float(number) for number in numbers)}
        except ValueError as error:
            raise ValueError(f"{data!r} holds something that is no number; expected {_form(mode)}") from error

    @model_validator(mode="after")
    def _check(self) -> Self:
        count = _NUM_VALUES[self.mode]
        if len(self.values) != count:
            raise ValueError(f"{str(self)!r} has {len(self.values)} numbers; expected {_form(self.mode)}")
        if not np.isfinite(self.values).all():
            raise ValueError(f"{str(self)!r} holds NaN or an infinite number; expected finite ones")
        if self.mode == "window" and self.values[1] <= 0:
            raise ValueError(f"{str(self)!r} has a width of {self.values[1]:g}; expected one above 0")
        if self.mode in ("range", "percentile") and self.values[0] >= self.values[1]:
            raise ValueError(f"{str(self)!r}: the first number must be below the second")
        if self.mode == "percentile" and not (self.values[0] >= 0 and self.values[1] <= 100):
            raise ValueError(f"{str(self)!r}: percentiles lie between 0 and 100")
        return self

    @model_serializer
    def _to_text(self) -> str:
        return str(self)

    def __str__(self) -> str:
        return ":".join([self.mode, *(repr(value).removesuffix(".0") for value in self.values)])

    @classmethod
    def parse(cls, text: str) -> "IntensityRange":
        """Read a choice from its string form, as it is given on the command line.

        Raises:
            InputError: the string is none of the five forms.

        Example:
            >>> IntensityRange.parse("window:40")
            Traceback (most recent call last):
            scalefuse.errors.InputError: 'window:40' has 1 numbers; expected window:CENTRE:WIDTH.
        """
        try:
            return cls.model_validate(text)
        except ValidationError as error:
            message = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise InputError(f"{message}.") from error


def _form(mode: str) -> str:
    return next(option for option in INTENSITY_OPTIONS.split(", ") if option.split(":")[0] == mode)


def resolve_range(pixels: NDArray[Any], choice: IntensityRange) -> tuple[float, float]:
    """The values that become 0 and 1 for one picture.

    Args:
        pixels: any shape; all channels count together.
        choice: the chosen range.

    Returns:
        (low, high), in the unit of the pixels. They are equal for a constant picture under ``minmax`` or
        ``percentile``.

    Raises:
        InputError: ``full`` for pixels that are not 8- or 16-bit unsigned integers.

    Example:
        >>> resolve_range(np.array([[3, 9]]), IntensityRange.parse("minmax"))
        (3.0, 9.0)
    """
    if choice.mode == "full":
        if pixels.dtype not in (np.uint8, np.uint16):
            raise InputError(
                f"the intensity range 'full' needs 8- or 16-bit unsigned pixels, but these are "
                f"{pixels.dtype}; choose one of {INTENSITY_OPTIONS.removeprefix('full, ')}."
            )
        return 0.0, float(np.iinfo(pixels.dtype).max)
    if choice.mode == "minmax":
        return float(pixels.min()), float(pixels.max())
    first, second = choice.values
    if choice.mode == "percentile":
        low, high = np.percentile(pixels, (first, second))
        return float(low), float(high)
    if choice.mode == "window":
        return first - second / 2, first + second / 2
    return first, second


def channel_ranges(pixels: NDArray[Any], choice: IntensityRange) -> list[tuple[float, float]]:
    """The values that become 0 and 1, channel by channel.

    Grey and colour have one range for all. Of other numbers of channels, which may be measurements of
    different things, each has its own ``minmax`` or ``percentile``.

    Args:
        pixels: ``(H, W)`` or ``(H, W, C)``.
        choice: the chosen range.

    Raises:
        InputError: as :func:`resolve_range`.

    Example:
        >>> channel_ranges(np.array([[[3, 900], [9, 100]]]), IntensityRange.parse("minmax"))
        [(3.0, 9.0), (100.0, 900.0)]
    """
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    if channels in (1, 3):
        return [resolve_range(pixels, choice)] * channels
    return [resolve_range(pixels[..., channel], choice) for channel in range(channels)]


def to_unit(pixels: NDArray[Any], choice: IntensityRange) -> tuple[NDArray[np.float32], tuple[float, float]]:
    """Map pixel values linearly to [0, 1] and clip what lies outside.

    16-bit values survive: written back with 16 bits and the range ``full`` they are the same.

    Args:
        pixels: ``(H, W)``, ``(H, W, 3)``, or ``(H, W, C)`` with a range for each channel (see
            :func:`channel_ranges`); finite.
        choice: which values become 0 and 1.

    Returns:
        The values in [0, 1], and the (low, high) that became 0 and 1; of several ranges the lowest and the
        highest. A constant picture under ``minmax`` or
        ``percentile`` becomes all 0.

    Raises:
        InputError: ``full`` for pixels that are not 8- or 16-bit unsigned integers.

    Example:
        >>> unit, bounds = to_unit(np.array([[-40.0, 40.0, 200.0]]), IntensityRange.parse("window:40:160"))
        >>> unit.tolist(), bounds
        ([[0.0, 0.5, 1.0]], (-40.0, 120.0))
    """
    if pixels.ndim == 3 and pixels.shape[2] not in (1, 3):
        parts = [to_unit(pixels[..., channel], choice) for channel in range(pixels.shape[2])]
        bounds = min(low for _, (low, _) in parts), max(high for _, (_, high) in parts)
        return np.stack([part for part, _ in parts], axis=-1), bounds
    low, high = resolve_range(pixels, choice)
    if high <= low:
        return np.zeros(pixels.shape, np.float32), (low, high)
    # float32 counts exactly up to 2**24: enough for 16 bits, not for wider integers or doubles.
    narrow = pixels.dtype.itemsize <= 2
    unit: NDArray[Any] = np.array(pixels, dtype=np.float32 if narrow else np.float64)
    # In place: pictures of 8192×8192 colour pixels are meant to fit.
    np.subtract(unit, low, out=unit)
    np.divide(unit, high - low, out=unit)
    np.clip(unit, 0.0, 1.0, out=unit)
    return unit.astype(np.float32, copy=False), (low, high)


def resolve_intensity(image: Image, choice: IntensityRange | str | None) -> IntensityRange:
    """The range to use for a picture: the choice, or the default where there can be one.

    8- and 16-bit pictures default to ``full``. DICOM, NIfTI, floating-point and signed pictures have none:
    nothing in such a file says which values are black and white, and a silent guess would change what the
    result shows.

    Args:
        image: the picture.
        choice: what the user chose, or ``None``.

    Raises:
        IntensityChoiceError: no choice for a picture that needs one.
        InputError: a choice that does not fit the picture, or a bad string.

    Example:
        >>> str(resolve_intensity(Image(np.zeros((2, 2), np.uint8)), None))
        'full'
        >>> resolve_intensity(Image(np.array([[-1000.0, 60.0]]), kind="dicom", unit="HU"), None)
        Traceback (most recent call last):
        scalefuse.errors.IntensityChoiceError: the image: holds values from -1000 to 60 HU, ...
    """
    if isinstance(choice, str):
        choice = IntensityRange.parse(choice)
    if not isinstance(choice, IntensityRange | None):
        raise InputError(f"Expected a range such as 'window:40:80' or an IntensityRange, but got {choice!r}.")
    measured = image.kind in ("dicom", "nifti") and not image.is_colour
    has_full = image.bits is not None and not measured
    if choice is None:
        if has_full:
            return IntensityRange(mode="full")
        unit = {"HU": " HU", "arbitrary": " (arbitrary unit)", "grey level": ""}[image.unit]
        raise IntensityChoiceError(
            f"{image.label}: holds values from {image.pixels.min():g} to {image.pixels.max():g}{unit}, and "
            "which of them are black and white must be chosen; give a range (--range; of two inputs "
            "--range-a and --range-b; in a configuration data.intensity, or range_a and range_b of a pair of "
            f"folders): {_suggestions(image)}."
        )
    if choice.mode == "full" and image.bits is None:
        raise InputError(
            f"{image.label}: the intensity range 'full' needs 8- or 16-bit unsigned pixels, but these are "
            f"{image.pixels.dtype}; choose {_suggestions(image)}."
        )
    return choice


FAINT = 0.125
"""16-bit pictures whose values all lie within this share of the range hardly differ from black."""


def range_of_fewer_bits(image: Image) -> IntensityRange | None:
    """The range to choose for values of fewer bits that lie in 16, such as those of 12-bit cameras.

    Returns:
        None where ``full`` is right, as far as the values tell, and where it is not the default.

    Example:
        >>> str(range_of_fewer_bits(Image(np.array([[0, 3071]], np.uint16))))
        'range:0:4095'
        >>> range_of_fewer_bits(Image(np.array([[0, 51000]], np.uint16))) is None
        True
    """
    if image.bits != 16 or (image.kind in ("dicom", "nifti") and not image.is_colour):
        return None
    high = int(image.pixels.max())
    if not 0 < high <= FAINT * 65535:
        return None
    return IntensityRange(mode="range", values=(0.0, float(2 ** max(8, high.bit_length()) - 1)))


def _suggestions(image: Image) -> str:
    forms = ["minmax", "percentile:1:99"]
    if image.unit == "HU":
        forms += ["window:40:80 (brain)", "window:600:2800 (bone)"]
    else:
        forms.append("window:CENTRE:WIDTH")
    if image.display_window is not None:
        centre, width = image.display_window
        forms.append(f"window:{centre:g}:{width:g} (proposed by the file)")
    return ", ".join([*forms, "range:LOW:HIGH"])
