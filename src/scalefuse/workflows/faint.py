"""Pictures whose values lie at the dark end of the range that a model sees, and what to say of them."""

from __future__ import annotations

from scalefuse.data.image import Image
from scalefuse.data.intensity import FAINT, IntensityRange, range_of_fewer_bits, resolve_range

_MEASURED = ("dicom", "nifti")
"""Kinds of files whose numbers mean what a range means."""


class FaintPictures:
    """Collects them during a batch.

    Args:
        choice: Which values become black and white; None for the whole range of the numbers.

    Example:
        >>> import numpy as np
        >>> faint = FaintPictures(None)
        >>> faint.look("a.tif", Image(np.array([[0, 3071]], np.uint16)))
        >>> faint.look("b.tif", Image(np.array([[0, 51000]], np.uint16)))
        >>> [note[:48] for note in faint.notes()]
        ['a.tif: 16 bits, but values up to 3071 of 65535 o']
        >>> faint = FaintPictures(IntensityRange.parse("range:0:4095"))
        >>> faint.look("c.png", Image(np.array([[0, 255]], np.uint8)))
        >>> faint.notes()[0][:30]
        'c.png: values up to 255 only, '
    """

    def __init__(self, choice: IntensityRange | None) -> None:
        self._choice = choice
        self._found: dict[str, float] = {}
        self._narrow: dict[str, str] = {}

    def look(self, name: str, image: Image) -> None:
        """Look at the values of a picture.

        Args:
            name: As people know it.
            image: As it was read.
        """
        if self._choice is None:
            narrow = range_of_fewer_bits(image)
            if narrow is not None:
                self._found[name] = float(image.pixels.max())
                self._narrow[name] = str(narrow)
        elif self._choice.mode in ("range", "window") and image.bits == 8 and image.kind not in _MEASURED:
            low, high = resolve_range(image.pixels, self._choice)
            largest = float(image.pixels.max())
            if (largest - low) / (high - low) <= FAINT:
                self._found[name] = largest

    def notes(self) -> list[str]:
        """A line for people, where there is something to say."""
        if not self._found:
            return []
        first = min(self._found)
        more = "" if len(self._found) == 1 else f" and {len(self._found) - 1} more"
        brightest = max(self._found, key=lambda name: self._found[name])
        if self._choice is None:
            return [
                f"{first}{more}: 16 bits, but values up to {self._found[brightest]:g} of 65535 only, nearly "
                f"black to the network. If they have fewer bits, give --range {self._narrow[brightest]}."
            ]
        return [
            f"{first}{more}: values up to {self._found[brightest]:g} only, nearly black to the network, "
            f"which sees them in the range {self._choice}. If they are stored in 8 bits, give --range full."
        ]
