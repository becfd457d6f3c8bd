"""What the masks held that a model was trained on."""

from __future__ import annotations

from collections.abc import Sequence

from scalefuse.bundle import Bundle, parse_stored
from scalefuse.data.masks import MaskClasses
from scalefuse.errors import InputError


def trained_classes(bundles: Sequence[Bundle]) -> MaskClasses | None:
    """Values or colours that the masks of some models' training had; None where no model names any.

    Args:
        bundles: with the configuration of their training.

    Raises:
        InputError: the models were trained on masks of different values.
    """
    found = [one for bundle in bundles if (one := _trained_classes(bundle)) is not None]
    if any(one != found[0] for one in found):
        raise InputError(
            "The models were trained on masks with different values or colours; say what the masks to "
            "measure hold (--classes)."
        )
    return found[0] if found else None


def _trained_classes(bundle: Bundle) -> MaskClasses | None:
    data = (bundle.info.config or {}).get("data")
    stored = data.get("classes") if isinstance(data, dict) else None
    if stored is None:
        return None
    classes: MaskClasses = parse_stored(MaskClasses, stored, bundle)
    return None if classes.values is None and classes.colours is None else classes
