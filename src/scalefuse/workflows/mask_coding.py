"""What the values of ready masks mean, where they can be read in two ways."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalefuse.data.masks import MaskClasses, read_mask
from scalefuse.data.read import image_stem
from scalefuse.errors import InputError

Reading = Callable[[Path], NDArray[Any]]

WRITTEN_BY_PREDICT = "_mask"
"""What the names of the masks that ``scalefuse predict`` writes end in."""


class MaskCoding:
    """Reads masks that hold class indices, or else the values or colours of the reference masks.

    The choice is made once for all files of a folder: those that only one reading fits decide for the others.
    Where none does, and the readings differ, files named as ``scalefuse predict`` names them hold indices,
    and others what was named; a note says so.

    Args:
        classes: what the reference masks hold.

    Example:
        >>> import tempfile
        >>> from scalefuse.data.write import write_pixels
        >>> folder = Path(tempfile.mkdtemp())
        >>> write_pixels(folder / "a.png", np.array([[0, 2]], np.uint8))
        >>> write_pixels(folder / "b.png", np.array([[0, 4]], np.uint8))
        >>> coding = MaskCoding(MaskClasses(names=("ground", "disc", "cup"), values=(0, 2, 4)))
        >>> coding.decide([folder / "a.png", folder / "b.png"])
        >>> coding.read(folder / "a.png").tolist(), coding.notes()
        ([[0, 1]], [])
    """

    def __init__(self, classes: MaskClasses) -> None:
        self.classes = classes
        self._readings: list[Reading] = [self._indices]
        if classes.values is not None or classes.colours is not None:
            self._readings.append(self._named)
        self._notes: list[str] = []

    def decide(self, files: Iterable[Path]) -> None:
        """Look at all files, and keep the reading that is meant.

        Raises:
            InputError: some files can only be indices, some only named values, and some either.
        """
        if len(self._readings) == 1:
            return
        only: tuple[list[Path], list[Path]] = ([], [])
        either: list[Path] = []
        for file in files:
            indices, named = (_tried(reading, file) for reading in self._readings)
            if (indices is None) != (named is None):
                only[indices is None].append(file)
            elif indices is not None and named is not None and not np.array_equal(indices, named):
                either.append(file)
        if not either:
            return
        if only[0] and only[1]:
            raise InputError(
                f"{only[0][0]} holds class indices and {only[1][0]} {self._what}, and {either[0]} could hold "
                "either; give masks that are all alike."
            )
        named_meant = bool(only[1])
        if not (only[0] or only[1]):
            named_meant = not all(image_stem(file).endswith(WRITTEN_BY_PREDICT) for file in either)
            self._notes = [self._note(either, named=named_meant)]
        self._readings = [self._readings[named_meant]]

    def read(self, file: Path) -> NDArray[Any]:
        """Class indices ``(H, W)`` of a file.

        Raises:
            InputError: unreadable, or values that no class has.
        """
        for reading in self._readings[:-1]:
            found = _tried(reading, file)
            if found is not None:
                return found
        return self._readings[-1](file)

    def notes(self) -> list[str]:
        """What people must know of the choice."""
        return list(self._notes)

    @property
    def _what(self) -> str:
        return "the values that were named" if self.classes.colours is None else "the colours that were named"

    def _note(self, files: list[Path], *, named: bool) -> str:
        shown = f"{files[0]}" + (f" and {len(files) - 1} more" if len(files) > 1 else "")
        if named:
            return (
                f"{shown}: read as {self._what}, and would fit class indices too; if these are meant, name "
                f"the files NAME{WRITTEN_BY_PREDICT}, as `scalefuse predict` does."
            )
        return (
            f"{shown}: read as class indices, as `scalefuse predict` writes NAME{WRITTEN_BY_PREDICT} files, "
            f"and would fit {self._what} too; if these are meant, name the files as the images."
        )

    def _indices(self, file: Path) -> NDArray[Any]:
        plain = MaskClasses(names=self.classes.names)
        if len(self.classes.names) == 2:
            # predict writes two classes as 0 and 255.
            found = _tried(read_mask, file)
            if found is not None:
                return found
        return read_mask(file, plain)

    def _named(self, file: Path) -> NDArray[Any]:
        return read_mask(file, self.classes)


def _tried(reading: Reading, file: Path) -> NDArray[Any] | None:
    try:
        return reading(file)
    except InputError:
        return None
