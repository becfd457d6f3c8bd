"""From probabilities to a clean mask: threshold, small objects, small holes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from scalefuse.errors import InputError
from scalefuse.inference.components import component_sizes, label_components, row_bands
from scalefuse.schema import Schema


class PostProcessing(Schema):
    """How probabilities become a mask; fitted on validation data and stored in a bundle.

    Holes are filled before small objects are removed. Pixels of an object hang together by edges or corners,
    those of a hole by edges only; background that touches the picture's border is no hole.

    Attributes:
        threshold: smallest probability of the foreground, in (0, 1). Classes that exclude one another have
            none: the most probable one wins.
        smallest_object: objects of fewer pixels are removed.
        fill_holes: holes of at most so many pixels are filled.
        classes: settings of each label, or of each class but the background, in their order; they then count
            instead of the three above.

    Example:
        >>> PostProcessing(smallest_object=2).apply(np.array([[0.9, 0.8, 0.1, 0.7]]))
        array([[ True,  True, False, False]])
    """

    threshold: float = Field(default=0.5, gt=0.0, lt=1.0)
    smallest_object: int = Field(default=0, ge=0)
    fill_holes: int = Field(default=0, ge=0)
    classes: tuple[PostProcessing, ...] = ()

    def of_class(self, index: int) -> PostProcessing:
        """The settings of one label, or of one class; ``index`` 0 is the first label or first foreground.

        Raises:
            InputError: there are settings per class, but none for this one.

        Example:
            >>> both = PostProcessing(fill_holes=3), PostProcessing(smallest_object=9)
            >>> PostProcessing(classes=both).of_class(1).smallest_object
            9
        """
        if not self.classes:
            return self
        if index >= len(self.classes):
            raise InputError(
                f"The post-processing has settings for {len(self.classes)} classes, but the mask has more; "
                "fit it on this model's classes, or leave it out."
            )
        return self.classes[index]

    def apply(self, probability: NDArray[Any]) -> NDArray[np.bool_]:
        """Threshold and clean one probability map.

        Args:
            probability: ``(H, W)``, values in [0, 1].

        Returns:
            The mask ``(H, W)``.

        Raises:
            InputError: not two dimensions.
        """
        if probability.ndim != 2:
            raise InputError(f"Expected a probability map (H, W), but got shape {probability.shape}.")
        return self.clean(probability >= self.threshold)

    def clean(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Fill small holes and remove small objects of a mask ``(H, W)``; the argument stays as it is."""
        if self.fill_holes > 0:
            mask = mask | self._holes(mask)
        if self.smallest_object > 1:
            mask = mask & self._large(mask)
        return mask

    def clean_classes(self, classes: NDArray[Any]) -> NDArray[Any]:
        """Clean each class of a map of class indices, in the order of the indices.

        Small objects become background (0); a hole is filled where it holds background.

        Args:
            classes: class indices ``(H, W)``, 0 for the background.
        """
        result = classes.copy()
        for index in range(1, int(classes.max(initial=0)) + 1):
            self.of_class(index - 1).clean_one_class(result, index)
        return result

    def clean_one_class(self, classes: NDArray[Any], index: int) -> None:
        """Clean one class of a map of class indices ``(H, W)``, in place; see :meth:`clean_classes`."""
        if self.fill_holes == 0 and self.smallest_object <= 1:
            return
        mask = classes == index
        cleaned = self.clean(mask)
        classes[mask & ~cleaned] = 0
        classes[cleaned & (classes == 0)] = index

    def threshold_or_best(self, probability: NDArray[Any], *, multi_label: bool = False) -> NDArray[Any]:
        """The mask before cleaning; arguments and result as :meth:`decide`."""
        mask: NDArray[Any]
        if multi_label:
            mask = np.stack([one >= self.of_class(index).threshold for index, one in enumerate(probability)])
        elif len(probability) == 1:
            mask = probability[0] >= self.threshold
        else:
            mask = probability.argmax(axis=0).astype(np.uint8 if len(probability) <= 256 else np.uint16)
        return mask

    def clean_any(self, mask: NDArray[Any]) -> NDArray[Any]:
        """Clean what :meth:`threshold_or_best` gives."""
        if mask.ndim == 3:
            for index, label in enumerate(mask):
                label[...] = self.of_class(index).clean(label)
            return mask
        return self.clean(mask) if mask.dtype == np.bool_ else self.clean_classes(mask)

    def decide(self, probability: NDArray[Any], *, multi_label: bool = False) -> NDArray[Any]:
        """Make a mask of the probabilities of all classes.

        Args:
            probability: ``(K, H, W)``: of the foreground (K = 1), of each label, or of each class with the
                background first.
            multi_label: whether a pixel may carry several labels.

        Returns:
            Boolean ``(H, W)`` for K = 1, Boolean ``(K, H, W)`` for labels, else class indices ``(H, W)``.

        Raises:
            InputError: not three dimensions.

        Example:
            >>> probability = np.array([[[0.6, 0.2]], [[0.1, 0.3]], [[0.3, 0.5]]])
            >>> PostProcessing().decide(probability)
            array([[0, 2]], dtype=uint8)
        """
        if probability.ndim != 3 or not len(probability):
            raise InputError(f"Expected probabilities (K, H, W), but got shape {probability.shape}.")
        return self.clean_any(self.threshold_or_best(probability, multi_label=multi_label))

    def _holes(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        labels, number = label_components(~mask, diagonal=False)
        small = component_sizes(labels, number) <= self.fill_holes
        small[0] = False
        for border in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
            small[border] = False
        return _look_up(small, labels)

    def _large(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        labels, number = label_components(mask)
        return _look_up(component_sizes(labels, number) >= self.smallest_object, labels)


def _look_up(table: NDArray[np.bool_], labels: NDArray[np.int32]) -> NDArray[np.bool_]:
    # Band by band: NumPy turns the indices of a look-up into 64-bit copies.
    result = np.empty(labels.shape, np.bool_)
    for band in row_bands(labels.shape):
        result[band] = table[labels[band]]
    return result
