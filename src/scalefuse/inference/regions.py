"""A table of the objects in a label picture, accumulated band by band."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalefuse.data.colour import to_luma_chroma
from scalefuse.errors import InputError
from scalefuse.inference.components import row_bands

BAND_PIXELS = 1024 * 1024
"""Pixels looked at together: where most belong to objects, each takes some 150 bytes for a while."""

Region = dict[str, int | float]


def regions_table(
    labels: NDArray[Any],
    *,
    intensity: NDArray[Any] | None = None,
    spacing: tuple[float, float] | None = None,
    band_pixels: int = BAND_PIXELS,
) -> list[Region]:
    """Measure every object of a label picture.

    Sums of pixel coordinates are whole numbers, so the result does not depend on the bands. Values agree with
    scikit-image's ``regionprops``: eccentricity is that of the ellipse with the same second moments, the
    equivalent diameter that of the circle with the same area.

    Args:
        labels: ``(H, W)`` whole numbers, 0 for the background.
        intensity: ``(H, W)``, or ``(H, W, 3)`` of which the luma counts, in any unit; of another number of
            channels ``(H, W, C)`` each is measured.
        spacing: mm between rows and between columns; adds ``area_mm2`` and ``equivalent_diameter_mm``, and
            eccentricity is then that of the shape in mm.
        band_pixels: pixels looked at together.

    Returns:
        One row per label that occurs, ascending: ``label``, ``area_px``, ``centroid_row``,
        ``centroid_column``, ``top``, ``left``, ``bottom``, ``right`` (the last two exclusive),
        ``equivalent_diameter_px``, ``eccentricity`` in [0, 1], and where given ``mean_intensity``, or
        ``mean_intensity_1`` to ``mean_intensity_C``.

    Raises:
        InputError: labels that are not whole numbers from 0 on, sizes that differ, or a spacing that is not
            positive.

    Example:
        >>> labels = np.array([[0, 1, 1, 1], [0, 0, 0, 2]])
        >>> row = regions_table(labels, spacing=(0.5, 0.5))[0]
        >>> row["area_px"], row["centroid_column"], row["eccentricity"], row["area_mm2"]
        (3, 2.0, 1.0, 0.75)
    """
    _check(labels, intensity, spacing)
    sums = _accumulate(labels, intensity, band_pixels)
    row_mm, column_mm = spacing or (1.0, 1.0)
    table: list[Region] = []
    for label in np.flatnonzero(sums.count):
        n = int(sums.count[label])
        top, bottom = int(sums.top[label]), int(sums.bottom[label])
        left, right = int(sums.left[label]), int(sums.right[label])
        row_sum, column_sum = int(sums.row[label]), int(sums.column[label])
        # In whole numbers up to the one division: no digits are lost far from the origin.
        rows_2 = (n * int(sums.row_row[label]) - row_sum**2) / n**2 * row_mm**2
        columns_2 = (n * int(sums.column_column[label]) - column_sum**2) / n**2 * column_mm**2
        mixed = (n * int(sums.row_column[label]) - row_sum * column_sum) / n**2 * row_mm * column_mm
        region: Region = {
            "label": int(label),
            "area_px": n,
            "centroid_row": row_sum / n,
            "centroid_column": column_sum / n,
            "top": top,
            "left": left,
            "bottom": bottom + 1,
            "right": right + 1,
            "equivalent_diameter_px": float(np.sqrt(4 * n / np.pi)),
            "eccentricity": _eccentricity(rows_2, columns_2, mixed),
        }
        if intensity is not None:
            for name, channel in zip(intensity_columns(intensity), sums.intensity, strict=True):
                region[name] = float(channel[label]) / n
        if spacing is not None:
            area = n * row_mm * column_mm
            region["area_mm2"] = area
            region["equivalent_diameter_mm"] = float(np.sqrt(4 * area / np.pi))
        table.append(region)
    return table


def intensity_columns(intensity: NDArray[Any]) -> list[str]:
    """The columns of a table that hold the mean intensities.

    Args:
        intensity: as :func:`regions_table` takes it.

    Example:
        >>> intensity_columns(np.zeros((4, 4, 3))), intensity_columns(np.zeros((4, 4, 2)))
        (['mean_intensity'], ['mean_intensity_1', 'mean_intensity_2'])
    """
    if intensity.shape[2:] in ((), (3,)):
        return ["mean_intensity"]
    return [f"mean_intensity_{channel + 1}" for channel in range(intensity.shape[2])]


class _Sums:
    """Sums over the pixels of each label, ``(largest label + 1,)``; the background's stay zero."""

    def __init__(self, size: int, shape: tuple[int, ...], num_intensities: int) -> None:
        self.count, self.row, self.column = (np.zeros(size, np.int64) for _ in range(3))
        self.row_row, self.column_column, self.row_column = (np.zeros(size, np.int64) for _ in range(3))
        self.top, self.left = np.full(size, shape[0]), np.full(size, shape[1])
        self.bottom, self.right = np.full(size, -1), np.full(size, -1)
        self.intensity = np.zeros((num_intensities, size))


def _accumulate(labels: NDArray[Any], intensity: NDArray[Any] | None, band_pixels: int) -> _Sums:
    num_intensities = 0 if intensity is None else len(intensity_columns(intensity))
    sums = _Sums(int(labels.max(initial=0)) + 1, labels.shape, num_intensities)
    for band in row_bands(labels.shape, band_pixels):
        row, column = np.nonzero(labels[band])
        label = labels[band][row, column].astype(np.intp)
        # Labels of a band lie close together: count from its smallest one.
        low = int(label.min(initial=0 if not label.size else label[0]))
        near = label - low
        row = row + band.start
        here = slice(low, low + int(near.max(initial=-1)) + 1)
        sums.count[here] += np.bincount(near)
        for total, weights in (
            (sums.row, row),
            (sums.column, column),
            (sums.row_row, row * row),
            (sums.column_column, column * column),
            (sums.row_column, row * column),
        ):
            # Sums of a band are whole numbers below 2**53, which doubles hold exactly.
            total[here] += np.bincount(near, weights=weights).astype(np.int64)
        np.minimum.at(sums.top, label, row)
        np.maximum.at(sums.bottom, label, row)
        np.minimum.at(sums.left, label, column)
        np.maximum.at(sums.right, label, column)
        if intensity is not None:
            # Pixel after pixel onto the running sum, so that rounding does not depend on the bands.
            for of_channel, values in zip(sums.intensity, _measured(intensity[band]), strict=True):
                np.add.at(of_channel, label, values[row - band.start, column])
    return sums


def _measured(band: NDArray[Any]) -> list[NDArray[np.float64]]:
    """The values that are averaged: grey ones, luma, or those of each channel."""
    if band.ndim == 2:
        channels = [band]
    elif band.shape[2] == 3:
        channels = [to_luma_chroma(band)[0]]
    else:
        channels = [band[..., channel] for channel in range(band.shape[2])]
    return [channel.astype(np.float64) for channel in channels]


def _eccentricity(rows_2: float, columns_2: float, mixed: float) -> float:
    middle = (rows_2 + columns_2) / 2
    reach = float(np.hypot((rows_2 - columns_2) / 2, mixed))
    major, minor = middle + reach, max(middle - reach, 0.0)
    return float(np.sqrt(1 - minor / major)) if major > 0 else 0.0


def _check(labels: NDArray[Any], intensity: NDArray[Any] | None, spacing: tuple[float, float] | None) -> None:
    if labels.ndim != 2 or labels.dtype.kind not in "ui" or labels.min(initial=0) < 0:
        raise InputError(
            f"Expected labels (H, W) of whole numbers from 0 on, but got {labels.dtype} of shape "
            f"{labels.shape}; number the objects of a mask with label_instances first."
        )
    if intensity is not None and (intensity.shape[:2] != labels.shape or intensity.ndim not in (2, 3)):
        raise InputError(
            f"Expected intensities (H, W) or (H, W, C) of the labels' size {labels.shape}, but got shape "
            f"{intensity.shape}."
        )
    if spacing is not None and not all(np.isfinite(part) and part > 0 for part in spacing):
        raise InputError(f"Expected a spacing (rows, columns) of positive mm, but got {spacing}.")
