"""Segmenting a picture of any size with a trained network, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from scalefuse.data.image import Image
from scalefuse.data.intensity import IntensityRange
from scalefuse.errors import BundleError, InputError
from scalefuse.inference.network_input import NetworkInput
from scalefuse.inference.postprocessing import PostProcessing
from scalefuse.inference.sliding import sliding_bands
from scalefuse.schema import Schema

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scalefuse.bundle import Bundle
    from scalefuse.inference.engines.choice import EngineChoice, EnsembleChoice, Job

Engine = Callable[[Tensor], Any]
"""Maps images ``(N, C, H, W)`` in [0, 1] to logits ``(N, K, H, W)``, or to a tuple with these as ``mask``."""

_BAND_ROWS = 512
_VIEWS = tuple((turn, flip) for flip in (False, True) for turn in range(4))


class SegmentationPreprocessing(Schema):
    """How pixels became network input in training; stored in a bundle.

    Attributes:
        resize: height and width to which whole images were resized; ``None`` for their own resolution.
        intensity: which values became 0 and 1; ``None`` for the full range of 8- and 16-bit images.
        multi_label: whether a pixel may carry several labels.
        tta: whether the post-processing was fitted on averages over the eight flips and rotations by 90°, so
            that predictions are such averages too where nothing else is asked for.
    """

    resize: tuple[int, int] | None = None
    intensity: IntensityRange | None = None
    multi_label: bool = False
    tta: bool = False


@dataclass(frozen=True)
class Segmentation:
    """What a :class:`Segmenter` found in one picture.

    Attributes:
        mask: Boolean ``(H, W)``; for several classes their indices ``(H, W)``, 0 for the background; for
            labels Boolean ``(K, H, W)``.
        probability: ``(K, H, W)`` in 16 bits, 65535 for certain; ``None`` where not asked for.
    """

    mask: NDArray[Any]
    probability: NDArray[np.uint16] | None


WHOLE_IMAGE_LIMIT = 1024 * 1024
"""Pixels up to which a picture goes through the network at once."""

TILE, OVERLAP = 512, 0.25
"""Side of the windows of a larger picture, and the part of each that the next one repeats."""


class Segmenter:
    """Segments pictures of any size.

    A picture up to ``whole_image_limit`` pixels is segmented as a whole, mirrored at its lower and right edge
    up to a multiple of ``size_multiple``; a larger one in overlapping windows with Gaussian weights, of which
    one row is held at a time. A model trained on resized images (``resize``) gets every picture resized, and
    its probabilities are resized back.

    Args:
        engines: a network, an exported model or any other :data:`Engine`; of several, probabilities are
            averaged.
        labels: names of the classes. One name, or two with the background first, for a binary mask; several
            with the background first; or, with ``multi_label``, one per label.
        multi_label: whether a pixel may carry several labels.
        in_channels: channels that the network expects: 3 (grey is repeated), 1 (colour becomes luma), or
            another number, which every image must have.
        size_multiple: what height and width must be divisible by.
        resize: height and width to which images were resized in training; ``None`` for none.
        intensity: which values become 0 and 1; ``None`` for the full range of 8- and 16-bit pictures.
        postprocessing: threshold and cleaning.
        whole_image_limit: pixels up to which a picture is segmented as a whole.
        tile: side of a window, or height and width.
        overlap: part of a window that the next one repeats, in [0, 1).
        tta: whether to average over the eight flips and rotations by 90°.
        quarter_turns: whether rotations by 90° and 270° are among them, as they must not be where the engines
            take one size that is not square.

    Attributes:
        computed_by: what computes the networks, where the segmenter was made from bundles.

    Raises:
        InputError: an argument is out of its range.

    Example:
        >>> def bright(images):
        ...     return (images.mean(dim=1, keepdim=True) - 0.5) * 20
        >>> segmenter = Segmenter(bright, size_multiple=8)
        >>> result = segmenter.segment(np.array([[0, 200, 250]], np.uint8))
        >>> result.mask, result.probability[0, 0, 0]
        (array([[False,  True,  True]]), np.uint16(3))
    """

    def __init__(
        self,
        engines: Engine | Sequence[Engine],
        *,
        labels: Sequence[str] = ("background", "object"),
        multi_label: bool = False,
        in_channels: int = 3,
        size_multiple: int = 1,
        resize: tuple[int, int] | None = None,
        intensity: IntensityRange | str | None = None,
        postprocessing: PostProcessing | None = None,
        whole_image_limit: int = WHOLE_IMAGE_LIMIT,
        tile: int | tuple[int, int] = TILE,
        overlap: float = OVERLAP,
        tta: bool = False,
        quarter_turns: bool = True,
    ) -> None:
        self.engines: list[Engine] = list(engines) if isinstance(engines, Sequence) else [engines]
        self.labels, self.multi_label = tuple(labels), multi_label
        self.in_channels, self.size_multiple = in_channels, size_multiple
        self.resize = None if resize is None else _sides("size to resize to", resize)
        self.intensity = intensity
        self.postprocessing = postprocessing or PostProcessing()
        self.tile = _sides("tile", (tile, tile) if isinstance(tile, int) else tile)
        self.whole_image_limit, self.overlap = whole_image_limit, overlap
        self.tta, self.quarter_turns = tta, quarter_turns
        self.computed_by: EngineChoice | EnsembleChoice | None = None
        self._check()

    @classmethod
    def from_bundle(
        cls,
        bundle: Bundle | Sequence[Bundle],
        *,
        postprocess: bool = True,
        tta: bool | None = None,
        engine: str | None = None,
        precision: str | None = None,
        job: Job | None = None,
        **options: Any,
    ) -> Segmenter:
        """A segmenter from a bundle, or an ensemble from several.

        Args:
            bundle: one or several; the labels and the kind of labels must agree, and the first one's
                preprocessing and post-processing are used.
            postprocess: whether to use the bundle's fitted post-processing; without it, the threshold is 0.5.
            tta: whether to average over the eight flips and rotations by 90°; None for what the (first)
                bundle says.
            engine: what computes the networks; see
                :func:`~scalefuse.inference.engines.choice.choose_engine`. None for ``torch``, or for what an
                export was made for.
            precision: ``fp32``, ``bf16`` or ``auto``; None for ``fp32``, or for that of an export.
            job: how much there is to segment, each picture counted once, for ``auto``; None for unknown.
            **options: arguments of :class:`Segmenter` that override the bundle's.

        Raises:
            BundleError: a bundle is for another task, damaged, or does not fit the others.
            InputError: no bundle, an option is out of its range, or an engine and precision that do not work.
            MissingExtraError: the engine is not installed.
        """
        from scalefuse.inference.engines.build import bundle_engine
        from scalefuse.inference.engines.choice import of_networks
        from scalefuse.inference.ensemble import segmenter_arguments

        bundles, arguments = segmenter_arguments(bundle, postprocess=postprocess)
        arguments |= options
        if tta is not None:
            arguments["tta"] = tta
        if job is not None and arguments["tta"]:
            job = replace(job, passes=job.passes * len(_VIEWS))
        built = [
            bundle_engine(one, engine=engine, precision=precision, job=job, size=arguments["resize"])
            for one in bundles
        ]
        segmenter = cls([one for one, _ in built], **arguments)
        segmenter.computed_by = of_networks([choice for _, choice in built])
        return segmenter

    @property
    def num_outputs(self) -> int:
        """Channels of the probabilities: K."""
        return 1 if not self.multi_label and len(self.labels) <= 2 else len(self.labels)

    def segment(self, image: Image | NDArray[Any], *, keep_probability: bool = True) -> Segmentation:
        """Mask and probability map of a picture.

        Args:
            image: an image, or an array ``(H, W)`` or ``(H, W, 3)`` of 8 or 16 bits, or of real numbers in
                [0, 1]. Where the network expects C channels that are neither 1 nor 3, ``(H, W, C)``.
            keep_probability: whether to return the probabilities as well.

        Raises:
            InputError: not such a picture, or its intensities need a choice.
            BundleError: the network gives another number of channels, another size, or no numbers.
        """
        source = NetworkInput(image, self.in_channels, self.intensity)
        height, width = source.size
        outputs = self.num_outputs
        kind: Any = np.uint16 if outputs > 256 else np.uint8
        if outputs == 1 or self.multi_label:
            kind = np.bool_
        mask = np.empty((outputs, height, width) if self.multi_label else (height, width), kind)
        kept = np.empty((outputs, height, width), np.uint16) if keep_probability else None
        for top, band in self._bands(source):
            rows = slice(top, top + band.shape[1])
            rounded = np.floor(band.numpy() * 65535 + 0.5).astype(np.uint16)
            # Of the rounded map, so that whoever thresholds the one that is written gets the same mask.
            mask[..., rows, :] = self.postprocessing.threshold_or_best(
                rounded.astype(np.float32) / np.float32(65535), multi_label=self.multi_label
            )
            if kept is not None:
                kept[:, rows] = rounded
        return Segmentation(self.postprocessing.clean_any(mask), kept)

    def probabilities(self, image: Image | NDArray[Any]) -> NDArray[np.float32]:
        """Probabilities ``(K, H, W)`` in [0, 1], of the whole picture at once; arguments as :meth:`segment`.

        K is 1 for a binary mask (of the object), else the number of classes or labels.
        """
        source = NetworkInput(image, self.in_channels, self.intensity)
        result = np.empty((self.num_outputs, *source.size), np.float32)
        for top, band in self._bands(source):
            result[:, top : top + band.shape[1]] = band.numpy()
        return result

    def _bands(self, source: NetworkInput) -> Iterator[tuple[int, Tensor]]:
        height, width = source.size
        if self.resize is not None and self.resize != source.size:
            small = self._predict(source.resized(self.resize))
            yield from _enlarged(small, source.size)
        elif height * width <= self.whole_image_limit:
            window = self._padded(height), self._padded(width)
            yield 0, self._predict(source.window(0, 0, *window))[:, :height, :width]
        else:
            window = min(self.tile[0], self._padded(height)), min(self.tile[1], self._padded(width))
            size = max(height, window[0]), max(width, window[1])
            bands = sliding_bands(
                lambda top, left: self._predict(source.window(top, left, *window)),
                size,
                window,
                self.overlap,
            )
            for top, band in bands:
                if top < height:
                    yield top, band[:, : height - top, :width]

    def _padded(self, length: int) -> int:
        return -(-length // self.size_multiple) * self.size_multiple

    def _predict(self, image: Tensor) -> Tensor:
        """Probabilities ``(K, H, W)`` of one input ``(C, H, W)``, averaged over engines and orientations."""
        # Odd sizes of resized training images may need padding too.
        height, width = image.shape[1:]
        missing = self._padded(height) - height, self._padded(width) - width
        batch = image[None]
        if any(missing):
            batch = F.pad(batch, (0, missing[1], 0, missing[0]), mode="replicate")
        turns = [view for view in _VIEWS if self.quarter_turns or view[0] % 2 == 0]
        turns = turns if self.tta else turns[:1]
        total = torch.zeros(self.num_outputs, *batch.shape[2:])
        with torch.inference_mode():
            for turn, flip in turns:
                turned = torch.rot90(batch, turn, (2, 3))
                turned = (turned.flip(3) if flip else turned).contiguous()
                for engine in self.engines:
                    probability = self._activate(engine(turned), turned)
                    probability = probability.flip(2) if flip else probability
                    total += torch.rot90(probability, -turn, (1, 2))
        total /= len(turns) * len(self.engines)
        if not torch.isfinite(total.sum()):
            raise BundleError(
                "The network gave NaN or infinite values; the model is damaged, train it again."
            )
        return total[:, :height, :width]

    def _activate(self, output: Any, image: Tensor) -> Tensor:
        logits = output if isinstance(output, Tensor) else output.mask
        expected = (1, self.num_outputs, *image.shape[2:])
        if tuple(logits.shape) != expected:
            raise BundleError(
                f"Expected logits of shape {expected} for {len(self.labels)} labels, but the network gave "
                f"{tuple(logits.shape)}; the model does not fit its labels."
            )
        logits = logits[0].float().cpu()
        exclusive = self.num_outputs > 1 and not self.multi_label
        return logits.softmax(dim=0) if exclusive else logits.sigmoid()

    def _check(self) -> None:
        if not self.engines:
            raise InputError("A segmenter needs at least one network, but got none.")
        if not self.labels:
            raise InputError("A segmenter needs at least one label, but got none.")
        if self.size_multiple < 1 or any(side < 1 or side % self.size_multiple for side in self.tile):
            wrong = (side for side in self.tile if side < 1 or side % max(1, self.size_multiple))
            side = next(wrong, self.tile[0])
            raise InputError(
                f"Expected a tile that is a multiple of {self.size_multiple}, but got {side}; "
                f"use {max(1, side // max(1, self.size_multiple)) * self.size_multiple}."
            )
        if not 0 <= self.overlap < 1:
            raise InputError(f"Expected an overlap from 0 to below 1, but got {self.overlap}.")
        settings = len(self.postprocessing.classes)
        expected = len(self.labels) - (not self.multi_label)
        if settings not in (0, expected):
            raise InputError(
                f"Expected post-processing for {expected} classes, but got it for {settings}; fit it anew or "
                "leave it out."
            )
        if self.resize is not None and min(self.resize) < 1:
            raise InputError(f"Expected a size to resize to of at least 1 pixel, but got {self.resize}.")


def _sides(name: str, given: Any) -> tuple[int, int]:
    whole = isinstance(given, tuple | list) and all(isinstance(side, Integral) for side in given)
    if not whole or len(given) != 2:
        raise InputError(f"Expected a {name} as (height, width) in pixels, but got {given!r}.")
    return int(given[0]), int(given[1])


def _enlarged(small: Tensor, size: tuple[int, int]) -> Iterator[tuple[int, Tensor]]:
    """Resize ``(K, h, w)`` to ``size``, bilinear between pixel centres, in bands of rows."""

    def interpolate(values: Tensor, to: tuple[int, int]) -> Tensor:
        # Where it shrinks, antialiasing; where it grows, that is plain bilinear interpolation.
        return F.interpolate(values[None], size=to, mode="bilinear", antialias=True)[0].clamp_(0, 1)

    height, width = size
    if height <= small.shape[1]:
        small = interpolate(small, (height, small.shape[2]))
    rows = small.shape[1]
    for top in range(0, height, _BAND_ROWS):
        bottom = min(top + _BAND_ROWS, height)
        place = (torch.arange(top, bottom, dtype=torch.float64) + 0.5) * (rows / height) - 0.5
        place = place.clamp(0, rows - 1)
        upper = place.floor().long()
        part = (place - upper).float()[:, None]
        band = torch.lerp(small[:, upper], small[:, (upper + 1).clamp(max=rows - 1)], part)
        yield top, interpolate(band, (bottom - top, width))
