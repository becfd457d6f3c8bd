"""NIfTI pictures that were laid on one another though their files place them apart."""

from __future__ import annotations

from scalefuse.data.image import Image
from scalefuse.data.nifti import lie_alike


class Places:
    """Collects them during a batch.

    Example:
        >>> import numpy as np
        >>> from scalefuse.data.image import Geometry
        >>> ct, mri = (
        ...     Image(np.ones((4, 4)), geometry=Geometry(affine=scale * np.eye(4), nifti_shape=(4, 4)))
        ...     for scale in (1, 2)
        ... )
        >>> places = Places()
        >>> places.look("patient 1", ct, mri)
        >>> places.notes()[0][:69]
        'patient 1: by the NIfTI affines the pictures lie in different places;'
    """

    def __init__(self) -> None:
        self._found: set[str] = set()

    def look(self, name: str, first: Image, *others: Image) -> None:
        """Compare pictures that are laid on the first.

        Args:
            name: What people know them by.
            first: One picture.
            others: Those of the same place.
        """
        if not all(lie_alike(first, other) for other in others):
            self._found.add(name)

    def notes(self) -> list[str]:
        """A line for people, where there is something to say."""
        if not self._found:
            return []
        first, more = min(self._found), len(self._found) - 1
        return [
            f"{first}{f' and {more} more' if more else ''}: by the NIfTI affines the pictures lie in "
            "different places; they were laid on one another pixel by pixel, as they are stored. If the "
            "affines are right, resample one onto the other."
        ]
