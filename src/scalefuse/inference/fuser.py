"""Fusing two pictures with a trained network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from scalefuse.data.colour import from_luma_chroma, to_luma_chroma
from scalefuse.data.image import Image
from scalefuse.data.intensity import IntensityRange, resolve_intensity, to_unit
from scalefuse.data.pixels import as_pixels
from scalefuse.data.write import from_unit
from scalefuse.errors import BundleError, InputError
from scalefuse.fusion import GUIDED, STRATEGIES
from scalefuse.fusion.baselines import BASELINES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scalefuse.bundle import Bundle
    from scalefuse.inference.engines.choice import EngineChoice, Job

DEFAULT_STRATEGY = "guided_bands"
"""Strategy used where neither the user nor the bundle names one."""


class FusionEngine(Protocol):
    """What computes features and pictures; a DILRAN module is one."""

    def encode(self, x: Tensor) -> Tensor:
        """Map images ``(N, 1, H, W)`` in [0, 1] to features ``(N, C, H, W)``."""
        ...

    def decode(self, features: Tensor) -> Tensor:
        """Map features ``(N, C, H, W)`` to images ``(N, 1, H, W)``."""
        ...


class RememberingEngine:
    """An engine that keeps the features of the last two images, for comparing strategies on one pair.

    Args:
        engine: What computes them.
    """

    def __init__(self, engine: FusionEngine) -> None:
        self.engine = engine
        self._known: list[tuple[Tensor, Tensor]] = []

    def encode(self, x: Tensor) -> Tensor:
        """Features of ``x``, computed only where it is not one of the last two."""
        for image, features in self._known:
            if image.shape == x.shape and torch.equal(image, x):
                return features
        features = self.engine.encode(x)
        self._known = [*self._known[-1:], (x, features)]
        return features

    def decode(self, features: Tensor) -> Tensor:
        """The picture of ``features``."""
        return self.engine.decode(features)


@dataclass(frozen=True)
class FusedImage:
    """A fused picture and what is needed to write it.

    Attributes:
        unit: ``(H, W)``, or ``(H, W, 3)`` where an input was in colour; values in [0, 1].
        bits: 8 where both inputs had 8 bits, else 16.
        like: The first input, whose geometry the result has.
        ranges: For each input, the values that became 0 and 1.
    """

    unit: NDArray[np.float32]
    bits: int
    like: Image
    ranges: tuple[tuple[float, float], tuple[float, float]]

    @property
    def pixels(self) -> NDArray[Any]:
        """The picture in whole numbers of :attr:`bits` bits, as it is written."""
        return from_unit(self.unit, self.bits)


class Fuser:
    """Fuses two registered pictures of one patient.

    Args:
        engine: A network with ``encode`` and ``decode``; None will do for a baseline.
        strategy: Name in :data:`scalefuse.fusion.STRATEGIES` or :data:`scalefuse.fusion.GUIDED`, or
            ``baseline:NAME`` with a name in :data:`scalefuse.fusion.baselines.BASELINES`, which leaves the
            network out.

    Attributes:
        computed_by: What computes the network, where the fuser was made from a bundle.

    Raises:
        InputError: Unknown strategy.

    Example:
        >>> import scalefuse
        >>> fuser = scalefuse.load("dilran")
        >>> ct, mri = np.random.default_rng(0).random((2, 40, 33), dtype=np.float32)
        >>> fuser(ct, mri).shape
        (40, 33)
    """

    def __init__(self, engine: FusionEngine | None, *, strategy: str = DEFAULT_STRATEGY) -> None:
        self.strategy = check_strategy(strategy)
        if engine is None and ":" not in self.strategy:
            raise InputError(f"The strategy {strategy!r} needs a network; give one, or choose a baseline.")
        self._engine = engine
        self.computed_by: EngineChoice | None = None

    @classmethod
    def from_bundle(
        cls,
        bundle: Bundle,
        *,
        strategy: str | None = None,
        engine: str | None = None,
        precision: str | None = None,
        job: Job | None = None,
    ) -> Fuser:
        """A fuser from a bundle.

        Args:
            bundle: A trained model for fusion.
            strategy: Overrides the bundle's.
            engine: What computes the network; see
                :func:`~scalefuse.inference.engines.choice.choose_engine`. None for ``torch``, or for what an
                export was made for.
            precision: ``fp32``, ``bf16`` or ``auto``; None for ``fp32``, or for that of an export.
            job: How much there is to fuse, for ``auto``; None for unknown.

        Raises:
            BundleError: The bundle is for another task, or damaged.
            InputError: Unknown strategy, engine or precision, or a pair of these that does not work.
            MissingExtraError: The engine is not installed.
        """
        if bundle.info.task != "fusion":
            raise BundleError(
                f"{bundle.source}: a bundle for {bundle.info.task}, but fusion needs one for fusion; "
                "use `scalefuse predict` with this one, or leave the model out."
            )
        from scalefuse.inference.engines.build import bundle_engine

        built, choice = bundle_engine(bundle, engine=engine, precision=precision, job=job)
        fuser = cls(built, strategy=strategy or bundle.info.strategy or DEFAULT_STRATEGY)
        fuser.computed_by = choice
        return fuser

    @property
    def engine(self) -> FusionEngine:
        """The network."""
        assert self._engine is not None
        return self._engine

    def fuse_tensors(self, a: Tensor, b: Tensor) -> Tensor:
        """Fuse grey images.

        Args:
            a: First images, ``(N, 1, H, W)``, values in [0, 1].
            b: Second images, same shape.

        Returns:
            ``(N, 1, H, W)``, clamped to [0, 1]; on the images' device where nothing is decoded, else in main
            memory.
        """
        with torch.inference_mode():
            kind, _, name = self.strategy.rpartition(":")
            if kind:
                return BASELINES[name](a, b).clamp(0, 1)
            # One image at a time: features are 64 times as large as the picture.
            f1, f2 = self.engine.encode(a), self.engine.encode(b)
            # An engine that failed on the second picture has gone on in main memory.
            f1 = f1.to(f2.device)
            if name in GUIDED:
                # The features may lie on another device than the pictures.
                return GUIDED[name](a.to(f1.device), b.to(f1.device), f1, f2).to(a.device)
            fused = STRATEGIES[name](f1, f2)
            del f1, f2
            return self.engine.decode(fused).float().clamp(0, 1)

    def __call__(self, a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float32]:
        """Fuse two arrays with values in [0, 1].

        Args:
            a: ``(H, W)`` or ``(H, W, 3)``, real numbers (or Booleans).
            b: ``(H, W)`` or ``(H, W, 3)``, same height and width.

        Returns:
            ``(H, W)``, or ``(H, W, 3)`` where an input is in colour: its luma is fused and its chroma kept;
            of two colour pictures each pixel's chroma is weighted by its saturation.

        Raises:
            InputError: Sizes differ, are below the network's smallest, values are whole numbers or not in
                [0, 1], or these are no arrays.
        """
        lumas, chromas = [], []
        for name, image in (("first", a), ("second", b)):
            pixels = _checked(image, name)
            if pixels.ndim == 3:
                luma, chroma = to_luma_chroma(pixels)
                chromas.append(chroma)
            else:
                luma = pixels
            lumas.append(np.require(luma, np.float32, ["C", "W"]))
        if lumas[0].shape != lumas[1].shape:
            raise InputError(
                f"The first image is {_size(lumas[0])}, the second {_size(lumas[1])} pixels (height×width), "
                "but both must be of one size and registered; resample one onto the other."
            )
        first, second = (torch.from_numpy(luma)[None, None] for luma in lumas)
        fused: NDArray[np.float32] = self.fuse_tensors(first, second)[0, 0].numpy()
        if not chromas:
            return fused
        return from_luma_chroma(fused, chromas[0] if len(chromas) == 1 else _join_chroma(*chromas))

    def fuse_images(
        self,
        a: Image,
        b: Image,
        *,
        range_a: IntensityRange | str | None = None,
        range_b: IntensityRange | str | None = None,
    ) -> FusedImage:
        """Fuse two pictures as read from files.

        Args:
            a: First picture; the result has its geometry.
            b: Second picture.
            range_a: Which values of ``a`` become 0 and 1; needed where the file does not say.
            range_b: The same for ``b``.

        Raises:
            InputError: Sizes differ (both are named), a range is needed or does not fit, or these are no
                pictures.
        """
        for image in (a, b):
            if not isinstance(image, Image):
                raise InputError(
                    "Expected pictures as scalefuse.data.read_image gives them, but got "
                    f"{type(image).__name__}; arrays with values in [0, 1] are fused by calling the fuser."
                )
        choices = resolve_intensity(a, range_a), resolve_intensity(b, range_b)
        if a.size != b.size:
            raise InputError(
                f"{a.label} is {a.size[0]}×{a.size[1]} and {b.label} is {b.size[0]}×{b.size[1]} pixels "
                "(height×width), but both must be of one size and registered; resample one onto the other."
            )
        (unit_a, bounds_a), (unit_b, bounds_b) = to_unit(a.pixels, choices[0]), to_unit(b.pixels, choices[1])
        try:
            unit = self(unit_a, unit_b)
        except InputError as error:
            raise InputError(f"{a.label} with {b.label}: {error}") from error
        bits = 8 if a.bits == 8 and b.bits == 8 else 16
        return FusedImage(unit=unit, bits=bits, like=a, ranges=(bounds_a, bounds_b))


def check_strategy(name: str) -> str:
    """Return ``name`` if it is a strategy or ``baseline:NAME``.

    Raises:
        InputError: It is not; the message lists those that exist.

    Example:
        >>> check_strategy("average")
        'average'
    """
    known = [*STRATEGIES, *GUIDED, *(f"baseline:{baseline}" for baseline in BASELINES)]
    if name not in known:
        import difflib

        near = difflib.get_close_matches(name, known, n=1)
        hint = f" did you mean {near[0]!r}?" if near else ""
        raise InputError(f"Unknown strategy {name!r};{hint} Expected one of: {', '.join(known)}.")
    return name


def _checked(image: object, name: str) -> NDArray[Any]:
    if isinstance(image, Image):
        raise InputError(
            f"The {name} image is a picture as read from a file, whose values first have to become [0, 1]; "
            "call fuse_images, or give its pixels scaled to [0, 1]."
        )
    pixels = as_pixels(image)
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3):
        raise InputError(f"The {name} image has shape {pixels.shape}; expected (H, W) or (H, W, 3).")
    if pixels.dtype.kind in "ui":
        # An almost black slice of 8 bits must not be taken for values from 0 to 1.
        raise InputError(
            f"The {name} image holds whole numbers ({pixels.dtype}); scale it to [0, 1] first, for instance "
            "by dividing by 255."
        )
    # One pass that also catches NaN, which compares false.
    if not (pixels.size and pixels.min() >= 0 and pixels.max() <= 1):
        raise InputError(f"The {name} image has values outside [0, 1] or NaN; scale it to [0, 1] first.")
    return pixels


def _size(image: NDArray[Any]) -> str:
    return f"{image.shape[0]}×{image.shape[1]}"


def _join_chroma(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    # One weight for Cb and Cr together, so that no hue appears that neither picture has.
    saturation1, saturation2 = (np.linalg.norm(chroma, axis=-1, keepdims=True) for chroma in (first, second))
    total = np.broadcast_to(saturation1 + saturation2, first.shape)
    joined: NDArray[np.float32] = np.divide(
        first * saturation1 + second * saturation2, total, out=np.zeros_like(first), where=total > 0
    )
    return joined
