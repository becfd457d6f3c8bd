"""Averages of classifiers: over mirrored and turned views of a picture, and over networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scalefuse.bundle import Bundle
from scalefuse.errors import InputError

View = tuple[int, bool]
"""Quarter turns (0 to 3), and whether the turned picture is then mirrored left and right."""

AS_IT_STANDS: View = (0, False)

ENSEMBLE_UNCALIBRATED = (
    "Coverage and sensitivity are calibrated for single models, and an ensemble has no calibration of its "
    "own; leave them or the ensemble out."
)
"""What to say to who asks for calibrated decisions of several models together."""

UNCALIBRATED = (
    "Coverage and sensitivity are calibrated for pictures as they stand, and an average over views has no "
    "calibration of its own; leave them or test-time augmentation (--tta) out."
)
"""What to say where both are asked for."""

_MIRRORED: View = (0, True)
_UPSIDE_DOWN: View = (2, True)


def see(batch: Tensor, view: View) -> Tensor:
    """Pictures ``(N, C, H, W)`` under a view; odd turns exchange height and width.

    Example:
        >>> see(torch.tensor([[[[1, 2], [3, 4]]]]), (2, True)).tolist()
        [[[[3, 4], [1, 2]]]]
    """
    if view == AS_IT_STANDS:
        return batch
    turned = torch.rot90(batch, view[0], (2, 3))
    return (turned.flip(3) if view[1] else turned).contiguous()


def mean_logits(logits: Sequence[Tensor], temperatures: Sequence[float], *, multi_label: bool) -> Tensor:
    """Logits of the mean of several networks' calibrated probabilities.

    Args:
        logits: ``(N, K)`` of each network.
        temperatures: of each network.
        multi_label: whether classes do not exclude one another.

    Returns:
        ``(N, K)``.

    Example:
        >>> logits = [torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]])]
        >>> mean_logits(logits, [1, 1], multi_label=False).softmax(1)
        tensor([[0.5000, 0.5000]])
    """
    scaled = torch.stack([one.double() / by for one, by in zip(logits, temperatures, strict=True)])
    if not multi_label:
        return scaled.log_softmax(dim=2).logsumexp(dim=0).float()
    # The logit of a mean m is log m - log (1 - m); both sums share the factor 1 / number of networks.
    here, absent = F.logsigmoid(scaled), F.logsigmoid(-scaled)
    return (here.logsumexp(dim=0) - absent.logsumexp(dim=0)).float()


def trained_views(augmentation: Mapping[str, Any], size: tuple[int, int]) -> tuple[View, ...]:
    """The views that training showed, as far as they keep the size of the picture.

    Args:
        augmentation: ``flip_horizontal``, ``flip_vertical`` and ``quarter_turns`` of the run's configuration,
            probabilities; what is missing is 0.
        size: height and width of the network's input.

    Returns:
        1, 2, 4 or 8 views; the first is the picture as it stands.

    Example:
        >>> trained_views({"flip_horizontal": 0.5}, (64, 64))
        ((0, False), (0, True))
        >>> len(trained_views({"flip_horizontal": 0.5, "quarter_turns": 0.5}, (64, 64)))
        8
    """
    changes = [
        view
        for name, view in (("flip_horizontal", _MIRRORED), ("flip_vertical", _UPSIDE_DOWN))
        if augmentation.get(name, 0) > 0
    ]
    if augmentation.get("quarter_turns", 0) > 0:
        changes.append((1 if size[0] == size[1] else 2, False))
    views = [AS_IT_STANDS]
    # All that the changes lead to, one after another: they form a group.
    for view in views:
        for change in changes:
            after = _then(view, change)
            if after not in views:
                views.append(after)
    return tuple(views)


def _then(first: View, second: View) -> View:
    # A mirror turns the sense of the turns that follow it.
    turns = first[0] - second[0] if first[1] else first[0] + second[0]
    return turns % 4, first[1] != second[1]


def bundle_views(bundles: Sequence[Bundle], size: tuple[int, int]) -> tuple[View, ...]:
    """The views that all of some bundles were trained on.

    Args:
        bundles: with the configuration of their training.
        size: height and width of the networks' input.

    Raises:
        InputError: there is none but the picture as it stands, so that nothing could be averaged.
    """
    shown = [trained_views((bundle.info.config or {}).get("augmentation") or {}, size) for bundle in bundles]
    views = tuple(view for view in shown[0] if all(view in others for others in shown))
    if len(views) == 1:
        names = ", ".join(str(bundle.source) for bundle in bundles)
        raise InputError(
            f"{names}: averaging over mirrored or turned views needs models that were trained on the same "
            "ones, and here there are none; leave test-time augmentation (--tta) out."
        )
    return views
