"""Single objects in a mask: connected components, or a watershed that parts touching nuclei."""

import logging
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from scalefuse.errors import InputError
from scalefuse.inference.components import BAND_PIXELS, label_components, row_bands

InstanceMethod = Literal["components", "watershed"]

LARGEST_SPLIT = 8 * 1024 * 1024
"""Pixels of the bounding box up to which the watershed looks at a component: bounds its memory to 1 GiB."""

_log = logging.getLogger(__name__)


def label_instances(
    mask: NDArray[Any],
    *,
    method: InstanceMethod = "components",
    depth: float = 1.0,
    band_pixels: int = BAND_PIXELS,
) -> tuple[NDArray[np.int32], int]:
    """Number the objects of a mask.

    Memory beyond the result stays bounded for any size: components are labelled band by band, and the
    watershed looks at one component at a time, so that nothing depends on the bands or on what else is in
    the picture. Only a component whose bounding box exceeds :data:`LARGEST_SPLIT` pixels stays in one piece
    under ``"watershed"``, with a logged warning.

    Args:
        mask: ``(H, W)``.
        method: ``"components"``: pixels that touch by an edge or a corner are one object. ``"watershed"``:
            components are parted at their necks, see :func:`split_component`.
        depth: for the watershed, see :func:`split_component`.
        band_pixels: pixels labelled together.

    Returns:
        Labels ``(H, W)``, 0 for the background, and their number. Components are numbered in reading order,
        parts of one component consecutively.

    Raises:
        InputError: not two dimensions, another method, or a negative depth.

    Example:
        >>> mask = np.zeros((9, 17), bool)
        >>> mask[1:8, 1:8] = mask[1:8, 9:16] = mask[4, 8] = True
        >>> label_instances(mask)[1], label_instances(mask, method="watershed")[1]
        (1, 2)
    """
    if method not in ("components", "watershed"):
        raise InputError(f"Expected the method 'components' or 'watershed', but got {method!r}.")
    if not depth >= 0:
        raise InputError(f"Expected a depth of zero or more pixels, but got {depth}.")
    labels, number = label_components(mask, band_pixels=band_pixels)
    if method == "components" or not number:
        return labels, number
    from scipy.ndimage import find_objects

    height, width = labels.shape
    total = 0
    for label, (rows, columns) in enumerate(find_objects(labels), start=1):
        # With the ring of background around it, a component's distances are those of the whole picture.
        window = labels[
            max(0, rows.start - 1) : min(height, rows.stop + 1),
            max(0, columns.start - 1) : min(width, columns.stop + 1),
        ]
        component = window == label
        if component.size > LARGEST_SPLIT:
            _log.warning("an object of %d×%d pixels is too large to be parted by watershed", *component.shape)
            parts, number = component.astype(np.int32), 1
        else:
            parts, number = split_component(component, depth=depth)
        # Negative until all are done, so that new numbers are not taken for old ones.
        window[component] = -(parts[component] + total)
        total += number
    for band in row_bands(labels.shape, band_pixels):
        np.negative(labels[band], out=labels[band])
    return labels, total


def split_component(component: NDArray[np.bool_], *, depth: float = 1.0) -> tuple[NDArray[np.int32], int]:
    """Part one connected component at its necks, by a watershed of the distance to the background.

    Beyond the picture is neither object nor background: a nucleus cut by the border stays whole.

    Reference: Vincent 1993 for h-maxima by reconstruction, which mark the parts; Beucher and Meyer for the
    watershed, as scikit-image does it.

    Args:
        component: ``(H, W)``, one object.
        depth: a part must be so many pixels deeper than the neck that joins it to a deeper one, where the
            depth of a pixel is its distance to the background. Larger values part less.

    Returns:
        Parts numbered from 1, ``(H, W)``, 0 for the background, and their number.

    Example:
        >>> mask = np.zeros((7, 15), bool)
        >>> mask[:, :7] = mask[:, 8:] = mask[3, 7] = True
        >>> split_component(mask)[0][3, [0, 14]]
        array([1, 2], dtype=int32)
    """
    from scipy.ndimage import distance_transform_edt, label
    from skimage.morphology import local_maxima, reconstruction
    from skimage.segmentation import watershed

    whole = component.astype(np.int32)
    if component.all():
        return whole, 1
    distance = distance_transform_edt(component)
    if distance.max() <= max(1.0, depth):
        return whole, 1
    square = np.ones((3, 3), bool)
    lowered = reconstruction(distance - depth, distance, footprint=square) if depth > 0 else distance
    markers, number = label(local_maxima(lowered) & component, structure=square)
    if number <= 1:
        return whole, 1
    parts: NDArray[np.int32] = watershed(-distance, markers, mask=component, connectivity=2)
    return parts.astype(np.int32, copy=False), number
