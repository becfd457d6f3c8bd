"""From classification bundles, one or several, to the arguments of a classifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scalefuse.bundle import Bundle, parse_stored
from scalefuse.data.classification_input import ClassificationPreprocessing
from scalefuse.errors import BundleError, InputError
from scalefuse.inference.classification_postprocessing import ClassificationPostProcessing
from scalefuse.inference.classifier_views import bundle_views
from scalefuse.inference.finite_weights import require_finite_weights


def classifier_arguments(
    bundles: Bundle | Sequence[Bundle], *, postprocess: bool, tta: bool = False
) -> tuple[list[Bundle], dict[str, Any]]:
    """Bundles that fit together, and arguments for :class:`~scalefuse.inference.classifier.Classifier`.

    Of several bundles each keeps its own temperature. Their calibration scores are those of single networks
    and single views, and are left out of an average of either.

    Args:
        bundles: one or several.
        postprocess: whether to use temperature, calibration scores and operating point.
        tta: whether to average over the views that training showed.

    Raises:
        BundleError: a bundle is for another task, damaged, or does not fit the others.
        InputError: no bundle, or ``tta`` of one that was trained on pictures as they stand.

    Example:
        >>> classifier_arguments([], postprocess=True)
        Traceback (most recent call last):
        scalefuse.errors.InputError: An ensemble needs at least one bundle, but got none.
    """
    bundles = [bundles] if isinstance(bundles, Bundle) else list(bundles)
    if not bundles:
        raise InputError("An ensemble needs at least one bundle, but got none.")
    settings = [_settings(bundle) for bundle in bundles]
    for bundle, other in zip(bundles[1:], settings[1:], strict=True):
        for name in ("labels", "multi_label"):
            if other[name] != settings[0][name]:
                raise BundleError(
                    f"{bundle.source}: its {name} {other[name]} differ from {settings[0][name]} of "
                    f"{bundles[0].source}, but bundles of an ensemble must agree; leave it out."
                )
        for name in ("preprocessing", "in_channels"):
            if other[name] != settings[0][name]:
                raise BundleError(
                    f"{bundle.source}: its {name} differs from that of {bundles[0].source} "
                    f"({other[name]} instead of {settings[0][name]}), but bundles of an ensemble must agree; "
                    "leave it out."
                )
    arguments = settings[0]
    fitted = [_postprocessing(bundle, arguments["multi_label"]) for bundle in bundles]
    plain = ClassificationPostProcessing(multi_label=arguments["multi_label"])
    if not postprocess:
        arguments["postprocessing"] = plain
    elif len(bundles) == 1:
        arguments["postprocessing"] = fitted[0]
    else:
        arguments["postprocessing"] = plain
        arguments["temperatures"] = [one.temperature for one in fitted]
    if tta:
        arguments["views"] = bundle_views(bundles, arguments["preprocessing"].size)
        kept: ClassificationPostProcessing = arguments["postprocessing"]
        arguments["postprocessing"] = plain.model_copy(update={"temperature": kept.temperature})
    for bundle in bundles:
        require_finite_weights(bundle.state, bundle.source)
    return bundles, arguments


def _settings(bundle: Bundle) -> dict[str, Any]:
    info = bundle.info
    if info.task != "classification":
        raise BundleError(
            f"{bundle.source}: a bundle for {info.task}, but classifying needs one for classification; "
            + ("use `scalefuse fuse` with this one." if info.task == "fusion" else "choose another bundle.")
        )
    preprocessing: ClassificationPreprocessing = parse_stored(
        ClassificationPreprocessing, info.preprocessing, bundle
    )
    network: Any = info.network
    if len(info.labels) != network.num_classes:
        raise BundleError(
            f"{bundle.source}: names {len(info.labels)} classes ({', '.join(info.labels) or 'none'}), but "
            f"its network tells {network.num_classes} apart; the bundle is damaged or was edited, make it "
            "again."
        )
    return {
        "labels": info.labels,
        "multi_label": preprocessing.multi_label,
        "in_channels": network.in_channels,
        "preprocessing": preprocessing,
    }


def _postprocessing(bundle: Bundle, multi_label: bool) -> ClassificationPostProcessing:
    if bundle.info.postprocessing is None:
        return ClassificationPostProcessing(multi_label=multi_label)
    fitted: ClassificationPostProcessing = parse_stored(
        ClassificationPostProcessing, bundle.info.postprocessing, bundle
    )
    table, labels = fitted.true_probabilities, bundle.info.labels
    point = fitted.operating_point
    unknown = [] if point is None else [label for label in point.thresholds if label not in labels]
    if fitted.multi_label != multi_label or unknown or (table and len(table) != len(labels)):
        raise BundleError(
            f"{bundle.source}: its calibration does not fit its {len(labels)} classes {', '.join(labels)}; "
            "the bundle is damaged or was edited, make it again."
        )
    return fitted
