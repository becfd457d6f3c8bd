"""Refusing weights that hold no numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from scalefuse.errors import BundleError


def require_finite_weights(state: Mapping[str, Tensor], source: Path | str) -> None:
    """Refuse weights with NaN or infinite values, before they spoil everything they touch.

    Args:
        state: name → tensor.
        source: where they come from, for the message.

    Raises:
        BundleError: the first such tensor is named.

    Example:
        >>> require_finite_weights({"head.bias": torch.tensor([0.0, float("nan")])}, "mine")
        Traceback (most recent call last):
        scalefuse.errors.BundleError: mine: the weights head.bias hold NaN or infinite values; ...
    """
    for name, tensor in state.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise BundleError(
                f"{source}: the weights {name} hold NaN or infinite values; the model is damaged, copy it "
                "again or train it again."
            )
