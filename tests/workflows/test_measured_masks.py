"""Masks that are measured against others: pixel sizes."""

import numpy as np
import pytest

from scalefuse.data.image import Geometry, Image
from scalefuse.workflows.measured_masks import _spacing


@pytest.mark.parametrize(
    ("kind", "expected"), [("nifti", (0.5, 0.25)), ("dicom", (0.5, 0.25)), ("tiff", None)]
)
def test_no_tolerance_in_millimetres_under_a_microscope(kind, expected):
    image = Image(np.zeros((4, 4), np.uint8), kind=kind, geometry=Geometry(spacing_mm=(0.5, 0.25)))
    assert _spacing(image) == expected
    assert _spacing(Image(np.zeros((4, 4), np.uint8), kind="png")) is None
