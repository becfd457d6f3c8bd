"""From the name or path of a bundle to a predictor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from scalefuse.bundle import Bundle
from scalefuse.inference.exported.model import load_model

if TYPE_CHECKING:
    from scalefuse.inference.classifier import Classifier
    from scalefuse.inference.fuser import Fuser
    from scalefuse.inference.segmenter import Segmenter


def load(name_or_path: str | Path | Bundle, **options: Any) -> Fuser | Segmenter | Classifier:
    """Load a trained model, ready to use.

    Args:
        name_or_path: A bundle's folder or zip file, the name of one that comes with ScaleFuse, or the folder
            of an export.
        **options: Passed to the predictor: ``strategy`` for fusion; ``tta``, ``tile``, … for segmentation;
            ``batch_size``, ``intensity``, … for classification; and for all of them ``engine`` and
            ``precision`` (see :func:`~scalefuse.inference.engines.choice.choose_engine`), which are
            ``torch`` and ``fp32`` here where not given, so that results depend on no engine that happens to
            be installed. An export has its own.

    Returns:
        A :class:`~scalefuse.inference.fuser.Fuser`, a :class:`~scalefuse.inference.segmenter.Segmenter` or a
        :class:`~scalefuse.inference.classifier.Classifier`, by the bundle's task.

    Raises:
        BundleError: There is no such bundle, or it is damaged.

    Example:
        >>> import scalefuse
        >>> type(scalefuse.load("dilran")).__name__
        'Fuser'
    """
    bundle = name_or_path if isinstance(name_or_path, Bundle) else load_model(name_or_path)
    if bundle.info.task == "segmentation":
        from scalefuse.inference.segmenter import Segmenter

        return Segmenter.from_bundle(bundle, **options)
    if bundle.info.task == "classification":
        from scalefuse.inference.classifier import Classifier

        return Classifier.from_bundle(bundle, **options)
    from scalefuse.inference.fuser import Fuser

    return Fuser.from_bundle(bundle, **options)
