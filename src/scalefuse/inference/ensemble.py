"""From segmentation bundles, one or several, to the arguments of a segmenter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from scalefuse.bundle import Bundle, parse_stored
from scalefuse.catalog import NETWORKS
from scalefuse.errors import BundleError, InputError
from scalefuse.inference.exported.model import ExportedBundle
from scalefuse.inference.postprocessing import PostProcessing


def segmenter_arguments(
    bundles: Bundle | Sequence[Bundle], *, postprocess: bool
) -> tuple[list[Bundle], dict[str, Any]]:
    """Bundles that fit together, and keyword arguments for :class:`~scalefuse.inference.segmenter.Segmenter`.

    Args:
        bundles: one or several; the first one's preprocessing and post-processing count.
        postprocess: whether to use the stored post-processing.

    Raises:
        BundleError: a bundle is for another task, damaged, or does not fit the others.
        InputError: no bundle.

    Example:
        >>> segmenter_arguments([], postprocess=True)
        Traceback (most recent call last):
        scalefuse.errors.InputError: An ensemble needs at least one bundle, but got none.
    """
    bundles = [bundles] if isinstance(bundles, Bundle) else list(bundles)
    if not bundles:
        raise InputError("An ensemble needs at least one bundle, but got none.")
    settings = [_settings(bundle) for bundle in bundles]
    for bundle, other in zip(bundles[1:], settings[1:], strict=True):
        for name in ("labels", "multi_label", "in_channels", "resize", "intensity"):
            if other[name] != settings[0][name]:
                raise BundleError(
                    f"{bundle.source}: its {name} {other[name]} differ from {settings[0][name]} of "
                    f"{bundles[0].source}, but bundles of an ensemble must agree; leave it out."
                )
    first = bundles[0]
    arguments = settings[0]
    fixed = [one.size for one in bundles if isinstance(one, ExportedBundle) and one.size]
    if fixed and arguments["resize"] is None:
        # Graphs of one size see pictures of their own resolution in windows that fit.
        height, width = (min(sides) for sides in zip(*fixed, strict=True))
        arguments |= {"whole_image_limit": 0, "tile": (height, width)}
    arguments["quarter_turns"] = all(height == width for height, width in fixed)
    arguments["size_multiple"] = math.lcm(*(one["size_multiple"] for one in settings))
    arguments["postprocessing"] = PostProcessing()
    if postprocess and first.info.postprocessing is not None:
        arguments["postprocessing"] = parse_stored(PostProcessing, first.info.postprocessing, first)
    return bundles, arguments


def require_segmentation(bundle: Bundle) -> None:
    """Refuse a bundle for another task.

    Raises:
        BundleError: it is one.
    """
    task = bundle.info.task
    if task != "segmentation":
        raise BundleError(
            f"{bundle.source}: a bundle for {task}, but segmenting needs one for segmentation; "
            + ("use `scalefuse fuse` with this one." if task == "fusion" else "choose another bundle.")
        )


def _settings(bundle: Bundle) -> dict[str, Any]:
    from scalefuse.inference.segmenter import SegmentationPreprocessing

    info = bundle.info
    require_segmentation(bundle)
    preprocessing = parse_stored(SegmentationPreprocessing, info.preprocessing, bundle)
    network: Any = info.network
    return {
        "labels": info.labels or ("background", "object"),
        "multi_label": preprocessing.multi_label,
        "in_channels": network.in_channels,
        "size_multiple": NETWORKS[network.name].size_multiple,
        "resize": preprocessing.resize,
        "intensity": preprocessing.intensity,
        "tta": preprocessing.tta,
    }
