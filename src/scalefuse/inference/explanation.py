"""Where in a picture a classifier finds its evidence for a class: Grad-CAM on the stages of a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from scalefuse.data.classification_input import fit_geometry
from scalefuse.errors import InputError
from scalefuse.inference.occlusion import log_odds

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from scalefuse.data.classification_input import Fit

FEWEST_CELLS = 7
"""The default stage is the last one whose map has at least so many rows and columns."""

STEPS = 8
"""Pictures between a blank one and the one to explain, over which gradients are averaged."""


ExplanationMethod = Literal["grad-cam", "occlusion"]
"""How evidence is found: by gradients at a stage of the network, or by covering parts of the picture."""


@dataclass(frozen=True)
class Explanation:
    """Where a classifier found evidence for a class.

    Attributes:
        map: ``(H, W)`` at the picture's own size, values in [0, 1] of which the largest is 1; all 0 where
            there is no evidence for the class.
        class_index: the class.
        label: its name.
        stage: stage of the network, counted from 1; None for occlusion, which knows none.
        cells: rows and columns of the map before it was enlarged: nothing finer can be told.
    """

    map: NDArray[np.float32]
    class_index: int
    label: str
    stage: int | None
    cells: tuple[int, int]


def has_stages(network: Any) -> bool:
    """Whether a network can be explained and asked for embeddings: it must show its stages.

    Example:
        >>> has_stages(torch.nn.Identity())
        False
    """
    names = ("forward_features", "forward_embedding", "forward_head")
    return all(callable(getattr(network, name, None)) for name in names)


def grad_cam(
    network: Any,
    images: Tensor,
    class_indices: Tensor,
    *,
    stage: int | None = None,
    multi_label: bool = False,
    steps: int = STEPS,
) -> tuple[Tensor, int]:
    """Gradient-weighted activation maps of one stage: what is there, and speaks for the class.

    What stands out at a place (each channel's activation less its mean over the map) is multiplied by what it
    matters there (the gradient of the class's log odds, averaged while the picture emerges from its own mean
    colour in ``steps`` steps), and summed over the channels; sums below 0 are 0. A map of a single cell, in
    which nothing stands out, is 0.

    Args:
        network: with ``forward_features`` (images to a list of stages) and ``forward_head`` (the last stage
            to logits), such as HiFuse, whose stages are those of the fusion branch; in evaluation mode.
        images: ``(N, C, H, W)``, as the network takes them.
        class_indices: ``(N,)``, the class to explain in each.
        stage: counted from 1; None for the last one with at least 7×7 cells, or the first if none has.
        multi_label: whether classes do not exclude one another, see
            :func:`scalefuse.inference.occlusion.log_odds`.
        steps: for the mean gradient; each is a pass through the network and back.

    Returns:
        Maps ``(N, h, w)``, 0 or larger, and the stage used.

    Raises:
        InputError: the network shows no stages, or has no such stage.

    Reference:
        Selvaraju et al.: Grad-CAM, ICCV 2017, equations 1 and 2. Deviations, each of which made maps mark
        more of what the shipped x-ray model uses (``python -m benchmarks.explanations``): gradients are not
        averaged over the map before the product (Draelos and Carin: HiResCAM, arXiv 2011.08891), but along a
        path from a blank picture, which saturation does not silence (Sundararajan et al.: Integrated
        gradients, ICML 2017); log odds in place of the logit, a part of which can be common to all classes;
        and activations are taken from their mean, since the fused features of HiFuse have no ReLU and plain
        background is not 0 there.

    Example:
        >>> from scalefuse.networks.hifuse import HiFuse
        >>> network = HiFuse(num_classes=2, embed_dim=16, depths=(1, 1, 1, 1)).eval()
        >>> maps, stage = grad_cam(network, torch.rand(3, 3, 64, 96), torch.tensor([0, 1, 1]))
        >>> maps.shape, stage
        (torch.Size([3, 8, 12]), 2)
    """
    if not has_stages(network):
        raise InputError(
            "Explanations and embeddings need a network that shows its stages, but this model is a plain "
            "function (such as an exported one); use the bundle it was made from, or explain by occlusion."
        )
    # Tensors of torch.inference_mode, in which the caller may stand, have no gradients: hence the copies.
    with torch.inference_mode(False):
        pictures, chosen = images.clone(), class_indices.clone()
        with torch.no_grad():
            features = network.forward_features(pictures)
            number = check_stage(stage, features)
            activation = features[number - 1]
        blank = pictures.mean(dim=(2, 3), keepdim=True)
        gradient = torch.zeros_like(activation)
        for step in range(steps):
            with torch.enable_grad():
                shown = torch.lerp(blank, pictures, (step + 0.5) / steps).requires_grad_()
                features = network.forward_features(shown)
                logits = network.forward_head(features[-1])
                score = log_odds(logits, chosen, multi_label=multi_label).sum()
                gradient += torch.autograd.grad(score, features[number - 1])[0]
    standing_out = activation - activation.mean(dim=(2, 3), keepdim=True)
    return (gradient / steps * standing_out).sum(dim=1).relu(), number


def class_to_explain(probabilities: NDArray[Any], decided: Any) -> int:
    """The class whose evidence is shown where none is named: what the picture is called.

    Args:
        probabilities: ``(K,)``.
        decided: the class's index; or for labels Boolean ``(K,)``: the most probable that is called is taken,
            and the most probable of all where none is.

    Example:
        >>> import numpy as np
        >>> class_to_explain(np.array([0.9, 0.5, 0.4]), np.array([False, True, True]))  # thresholds differ
        1
    """
    import numpy as np

    called = np.asarray(decided)
    if called.ndim == 0:
        return int(called)
    return int(np.where(called if called.any() else True, probabilities, -1.0).argmax())


def check_class_index(class_index: object, num_classes: int) -> None:
    """Refuse what is no index of a class.

    Args:
        class_index: what was given.
        num_classes: of the model.

    Raises:
        InputError: no whole number, or none from 0 to ``num_classes - 1``.

    Example:
        >>> check_class_index(2, 2)
        Traceback (most recent call last):
        scalefuse.errors.InputError: Expected a class index from 0 to 1, but got 2.
    """
    if not isinstance(class_index, Integral) or not 0 <= int(class_index) < num_classes:
        raise InputError(f"Expected a class index from 0 to {num_classes - 1}, but got {class_index!r}.")


def check_stage(stage: int | None, features: list[Tensor]) -> int:
    """The stage to explain, counted from 1.

    Args:
        stage: the chosen one, or None.
        features: of all stages, each ``(N, C, h, w)``.

    Raises:
        InputError: there is no such stage.

    Example:
        >>> check_stage(None, [torch.zeros(1, 4, 56, 56), torch.zeros(1, 8, 28, 28)])
        2
        >>> check_stage(5, [torch.zeros(1, 4, 56, 56), torch.zeros(1, 8, 28, 28)])
        Traceback (most recent call last):
        scalefuse.errors.InputError: The network has stages 1 to 2, but got stage 5; choose one of them.
    """
    if stage is None:
        large = [number for number, one in enumerate(features, 1) if min(one.shape[2:]) >= FEWEST_CELLS]
        return large[-1] if large else 1
    if not 1 <= stage <= len(features):
        raise InputError(
            f"The network has stages 1 to {len(features)}, but got stage {stage}; choose one of them."
        )
    return stage


def over_input(cam: Tensor, size: tuple[int, int], network: Any, stage: int) -> Tensor:
    """Lay a stage's map over the network's input, cell by cell where it belongs.

    Args:
        cam: ``(h, w)``, of the stage.
        size: height and width of the input.
        network: perhaps with ``stage_grid`` (stage to the side of its cells and the first pixel of the first
            one); without, or where the cells cover the input exactly, the map is returned as it is.
        stage: counted from 1.

    Returns:
        ``(h, w)`` or ``size``, to be stretched over the whole input.

    Example:
        >>> from scalefuse.networks.hifuse import HiFuse
        >>> network = HiFuse(num_classes=2, embed_dim=16, depths=(1, 1, 1, 1))
        >>> over_input(torch.eye(4), (128, 128), network, 4).shape
        torch.Size([4, 4])
        >>> over_input(torch.eye(4), (100, 100), network, 4).shape
        torch.Size([100, 100])
    """
    grid = getattr(network, "stage_grid", None)
    if grid is None:
        return cam
    cell, first = grid(stage)
    covered = cam.shape[0] * cell, cam.shape[1] * cell
    if first == 0 and covered == size:
        return cam
    below, beside = (max(0, side - first - whole) for side, whole in zip(size, covered, strict=True))
    large = F.pad(_enlarge(cam, covered)[None, None], (0, beside, 0, below), mode="replicate")[0, 0]
    return large[-first : size[0] - first, -first : size[1] - first]


def sum_of_maps(maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """Maps of several networks together, at the size of the input where their cells differ.

    Example:
        >>> sum_of_maps([torch.ones(2, 2), torch.ones(4, 4)], (8, 8)).shape
        torch.Size([8, 8])
    """
    if len({tuple(one.shape) for one in maps}) > 1:
        maps = [_enlarge(one, size) for one in maps]
    return torch.stack(list(maps)).sum(dim=0)


def to_picture(cam: Tensor, picture: tuple[int, int], size: tuple[int, int], fit: Fit) -> Tensor:
    """Lay a map of the network's input over the picture that the input was made from.

    Args:
        cam: ``(h, w)``, of any resolution.
        picture: height and width of the picture.
        size: height and width of the network's input.
        fit: how the picture became the input, see
            :class:`scalefuse.data.classification_input.ClassificationPreprocessing`.

    Returns:
        ``(*picture)``, bilinear; 0 where the network did not look (outside of a crop).

    Example:
        >>> to_picture(torch.tensor([[0.0, 1.0]]), (1, 4), (4, 4), "resize")
        tensor([[0.0000, 0.2500, 0.7500, 1.0000]])
    """
    scaled, (top, left) = fit_geometry(picture, size, fit)
    if scaled == size:
        return _enlarge(cam, picture)
    seen = _enlarge(cam, size)
    if fit == "pad":
        return _enlarge(seen[-top : scaled[0] - top, -left : scaled[1] - left], picture)
    canvas = F.pad(seen, (left, scaled[1] - size[1] - left, top, scaled[0] - size[0] - top))
    return _enlarge(canvas, picture)


def _enlarge(values: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(values.shape) == size:
        return values
    return F.interpolate(values[None, None], size=size, mode="bilinear", antialias=True)[0, 0].clamp(min=0)


def unit(values: Tensor) -> Tensor:
    """Values of 0 or more, divided by the largest of them; all 0 stay 0.

    Example:
        >>> unit(torch.tensor([0.0, 2.0, 4.0]))
        tensor([0.0000, 0.5000, 1.0000])
    """
    largest = values.max()
    return values / largest if largest > 0 else values
