"""What is said of models that average over views of a picture."""

from __future__ import annotations

from scalefuse.bundle import Bundle


def views_notes(bundle: Bundle, *, tta: bool | None, postprocess: bool) -> list[str]:
    """What a user should know of a bundle that averages over views.

    Args:
        bundle: The first of those that segment, whose word counts.
        tta: Whether the user asked for averages; None for neither way.
        postprocess: Whether the fitted post-processing is used.
    """
    if not bundle.info.preprocessing.get("tta") or tta:
        return []
    if tta is None:
        return ["The model averages over eight flips and rotations of each picture; --no-tta takes one view."]
    if postprocess:
        return [
            "Threshold and cleaning of this model were fitted on averages over flips and rotations, not on "
            "one view (--no-tta); evaluate says what that costs."
        ]
    return []
