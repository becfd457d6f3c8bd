"""Choosing threshold, smallest object and hole filling on validation data."""

from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scalefuse.errors import InputError
from scalefuse.inference.components import component_sizes, label_components
from scalefuse.inference.postprocessing import PostProcessing
from scalefuse.metrics.segmentation.masks import check_masks

THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(4, 17))
SMALLEST_OBJECTS = (0, 10, 20, 50, 100, 200, 500, 1000)
FILL_HOLES = (0, 50, 500)


class PostProcessingFit(NamedTuple):
    """What was chosen, and what it is worth.

    Attributes:
        postprocessing: the choice.
        dice: mean per-image Dice with it, on the images it was chosen on: optimistic by nature. For several
            classes or labels, the mean over these as well, but the background.
        plain_dice: the same with the threshold 0.5, or the most probable class, and no cleaning.
    """

    postprocessing: PostProcessing
    dice: float
    plain_dice: float


def fit_postprocessing(
    probabilities: Iterable[NDArray[Any]],
    masks: Iterable[NDArray[Any]],
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    smallest_objects: Sequence[int] = SMALLEST_OBJECTS,
    fill_holes: Sequence[int] = FILL_HOLES,
) -> PostProcessingFit:
    """Find the post-processing with the largest mean per-image Dice on validation images.

    All combinations are tried. Among equals the threshold nearest to 0.5, then the least cleaning wins. Both
    masks empty count as Dice 1, one empty as 0. Images are looked at one after another and may be generated.

    Args:
        probabilities: maps ``(H, W)`` at the size of the masks: in [0, 1], or unsigned integers over their
            full range.
        masks: reference masks ``(H, W)``, in the same order.
        thresholds: to try, in (0, 1).
        smallest_objects: to try, in pixels.
        fill_holes: to try, in pixels.

    Raises:
        InputError: no images, not as many masks as maps, sizes that differ, or nothing to try.

    Example:
        >>> probability = np.array([[0.4, 0.4, 0.1]])
        >>> fit = fit_postprocessing([probability], [probability > 0.3])
        >>> fit.postprocessing.threshold, fit.dice, fit.plain_dice
        (0.4, 1.0, 0.0)
    """
    grid = list(product(sorted(thresholds), sorted(fill_holes), sorted(smallest_objects)))
    if not grid:
        raise InputError("Expected a threshold, a smallest object and a hole size to try, but got none.")
    total, plain, number = np.zeros(len(grid)), 0.0, 0
    for given, mask in _pairs(probabilities, masks):
        probability = _unit(given)
        predicted, target = check_masks(probability >= 0.5, mask)
        plain += float(_dice(predicted[target].sum(), predicted.sum(), target.sum()))
        total += np.concatenate(
            [
                _dice_by_smallest_object(
                    PostProcessing(threshold=threshold, fill_holes=holes).apply(probability),
                    target,
                    sorted(smallest_objects),
                )
                for threshold, holes in product(sorted(thresholds), sorted(fill_holes))
            ]
        )
        number += 1
    if not number:
        raise InputError("Expected validation images to fit the post-processing on, but got none.")
    best = total.max()
    threshold, holes, smallest = min(
        (choice for choice, dice in zip(grid, total, strict=True) if dice >= best - 1e-9 * number),
        # Rounded: 0.45 and 0.55 are as near, whatever their binary digits say.
        key=lambda choice: (round(abs(choice[0] - 0.5), 9), choice),
    )
    chosen = PostProcessing(threshold=threshold, smallest_object=smallest, fill_holes=holes)
    return PostProcessingFit(chosen, float(best) / number, plain / number)


def fit_label_postprocessing(
    probabilities: Sequence[NDArray[Any]], masks: Sequence[NDArray[Any]]
) -> PostProcessingFit:
    """As :func:`fit_postprocessing`, for each of several labels that a pixel may carry together.

    Args:
        probabilities: maps ``(K, H, W)`` at the size of the masks: in [0, 1], or unsigned integers
            over their full range.
        masks: reference masks ``(K, H, W)``, in the same order.

    Raises:
        InputError: as :func:`fit_postprocessing`.

    Example:
        >>> probability = np.array([[[0.4, 0.1]], [[0.6, 0.3]]])
        >>> fit = fit_label_postprocessing([probability], [probability > 0.35])
        >>> [one.threshold for one in fit.postprocessing.classes], fit.dice, fit.plain_dice
        ([0.4, 0.5], 1.0, 0.5)
    """
    labels = len(masks[0]) if len(masks) else 1
    fits = [
        fit_postprocessing((one[label] for one in probabilities), (one[label] for one in masks))
        for label in range(labels)
    ]
    return PostProcessingFit(
        PostProcessing(classes=tuple(fit.postprocessing for fit in fits)),
        float(np.mean([fit.dice for fit in fits])),
        float(np.mean([fit.plain_dice for fit in fits])),
    )


def fit_class_postprocessing(
    predicted: Iterable[NDArray[Any]],
    masks: Sequence[NDArray[Any]],
    num_classes: int,
    *,
    smallest_objects: Sequence[int] = SMALLEST_OBJECTS,
    fill_holes: Sequence[int] = FILL_HOLES,
) -> PostProcessingFit:
    """Find smallest object and hole filling of each of several classes that exclude one another.

    One class is fitted after another, in the order in which they are cleaned, each on maps that the classes
    before it have changed and for its own mean per-image Dice. There is no threshold: the most probable class
    wins.

    Args:
        predicted: class indices ``(H, W)`` before cleaning, 0 for the background.
        masks: reference class indices ``(H, W)``, in the same order.
        num_classes: the background included.
        smallest_objects: to try, in pixels.
        fill_holes: to try, in pixels.

    Raises:
        InputError: as :func:`fit_postprocessing`.

    Example:
        >>> predicted = np.array([[1, 0, 2, 2, 0, 2]])
        >>> fit = fit_class_postprocessing([predicted], [predicted * (predicted == 1)], 3)
        >>> [one.smallest_object for one in fit.postprocessing.classes], fit.dice, fit.plain_dice
        ([0, 10], 1.0, 0.5)
    """
    grid = list(product(sorted(fill_holes), sorted(smallest_objects)))
    if not grid:
        raise InputError("Expected a smallest object and a hole size to try, but got none.")
    # Their own copies: each class's cleaning changes what the next one sees.
    maps = [(one.copy(), wanted) for one, wanted in _pairs(predicted, masks)]
    if not maps:
        raise InputError("Expected validation images to fit the post-processing on, but got none.")
    chosen, dice, plain = [], [], []
    for index in range(1, num_classes):
        total, before = np.zeros(len(grid)), 0.0
        for one, wanted in maps:
            mask, target = check_masks(one == index, wanted == index)
            before += float(_dice((mask & target).sum(), mask.sum(), target.sum()))
            free = mask | (one == 0)
            total += np.concatenate(
                [
                    _dice_by_smallest_object(
                        PostProcessing(fill_holes=holes).clean(mask), target, sorted(smallest_objects), free
                    )
                    for holes in sorted(fill_holes)
                ]
            )
        best = total.max()
        holes, smallest = min(
            choice for choice, value in zip(grid, total, strict=True) if value >= best - 1e-9 * len(maps)
        )
        chosen.append(PostProcessing(smallest_object=smallest, fill_holes=holes))
        for one, _ in maps:
            chosen[-1].clean_one_class(one, index)
        dice.append(float(best) / len(maps))
        plain.append(before / len(maps))
    return PostProcessingFit(
        PostProcessing(classes=tuple(chosen)), float(np.mean(dice)), float(np.mean(plain))
    )


def _unit(probability: NDArray[Any]) -> NDArray[Any]:
    if probability.dtype.kind != "u":
        return probability
    return probability.astype(np.float32) / np.float32(np.iinfo(probability.dtype).max)


def _pairs(
    probabilities: Iterable[NDArray[Any]], masks: Iterable[NDArray[Any]]
) -> Iterable[tuple[NDArray[Any], NDArray[Any]]]:
    rest = iter(masks)
    nothing = object()
    for number, probability in enumerate(probabilities):
        mask = next(rest, nothing)
        if mask is nothing:
            raise InputError(f"Expected a mask for each probability map, but got only {number} masks.")
        assert isinstance(mask, np.ndarray)
        yield probability, mask
    if next(rest, nothing) is not nothing:
        raise InputError("Expected a probability map for each mask, but got more masks.")


def _dice_by_smallest_object(
    mask: NDArray[np.bool_],
    target: NDArray[np.bool_],
    smallest_objects: Sequence[int],
    free: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """Dice for each smallest object; only ``free`` pixels take the class, though all count for the size."""
    labels, number = label_components(mask)
    sizes = component_sizes(labels, number)[1:]
    taken = sizes if free is None else np.bincount(labels[free], minlength=number + 1)[1:]
    hits = np.bincount(labels[target if free is None else target & free], minlength=number + 1)[1:]
    kept = sizes >= np.asarray(smallest_objects)[:, None]
    return _dice((kept * hits).sum(axis=1), (kept * taken).sum(axis=1), np.count_nonzero(target))


def _dice(hits: Any, predicted: Any, wanted: Any) -> NDArray[np.float64]:
    both = np.asarray(predicted, dtype=np.float64) + wanted
    dice: NDArray[np.float64] = np.divide(2.0 * hits, both, out=np.ones_like(both), where=both > 0)
    return dice
