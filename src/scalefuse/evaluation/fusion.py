"""Measuring fused pictures against their two sources."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalefuse.data.image import Image
from scalefuse.errors import InputError
from scalefuse.evaluation.bootstrap import bootstrap_interval, paired_bootstrap
from scalefuse.metrics import FUSION_METRICS

DEFAULT_METRICS = ("EN", "SD", "SF", "AG", "MI", "SCD", "VIF", "Qabf", "SSIM", "PSNR", "CC")
"""Measured where nothing is asked for; the others cost more time."""


_ROUNDING = 0.25
"""How far beyond 0 and 255 a picture of real numbers may reach."""


def luma_8bit(pixels: NDArray[Any]) -> NDArray[np.float64]:
    """What the measures see of a written picture: rounded 8-bit luma (BT.601, full range).

    Args:
        pixels: ``(H, W)`` or ``(H, W, 3)``, uint8 or uint16 over the whole range, or float in [0, 1].

    Returns:
        ``(H, W)``, whole numbers 0–255.

    Raises:
        InputError: Another number type, or real numbers outside [0, 1].

    Example:
        >>> luma_8bit(np.array([[[255, 0, 0]]], np.uint8)), luma_8bit(np.array([[65535]], np.uint16))
        (array([[76.]]), array([[255.]]))
    """
    scale = {"uint8": 1.0, "uint16": 1 / 257, "float32": 255.0, "float64": 255.0}.get(pixels.dtype.name)
    if scale is None:
        raise InputError(
            f"Expected uint8, uint16 or float pixels but got {pixels.dtype}; convert them first."
        )
    values = pixels.astype(np.float64) * scale
    # What rounding may leave outside is clipped below; anything else would be measured as black or white.
    if scale == 255.0 and not (values.min() >= -_ROUNDING and values.max() <= 255 + _ROUNDING):
        raise InputError(
            f"Expected real numbers in [0, 1], but got {pixels.min():g} to {pixels.max():g}; scale them, or "
            "write the picture in 8 or 16 bits."
        )
    if values.ndim == 3:
        values = np.rint(values) @ np.array([0.299, 0.587, 0.114])
    luma: NDArray[np.float64] = np.clip(np.rint(values), 0, 255)
    return luma


@dataclass(frozen=True)
class FusionCase:
    """Two sources, as 8-bit luma, and what each method made of them.

    Attributes:
        name: Name of the pair.
        a: First source, ``(H, W)``, 0–255.
        b: Second source, same.
        fused: Method to its picture, ``(H, W)``, 0–255.
    """

    name: str
    a: NDArray[np.float64]
    b: NDArray[np.float64]
    fused: Mapping[str, NDArray[np.float64]]


@dataclass
class FusionEvaluation:
    """Per-case values and their summary.

    Attributes:
        metrics: Names of the measures, in order.
        rows: One dict per case and method: ``case``, ``method`` and the measures.
        notes: What could not be measured, and why.
    """

    metrics: Sequence[str]
    rows: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def methods(self) -> list[str]:
        """Names of the methods, in order of appearance."""
        return list(dict.fromkeys(row["method"] for row in self.rows))

    def values(self, method: str, metric: str) -> NDArray[np.float64]:
        """Values of all cases for one method and measure, ``(num_cases,)``."""
        return np.array([row[metric] for row in self.rows if row["method"] == method], dtype=np.float64)

    def summary(self) -> dict[str, Any]:
        """Means with bootstrap 95 % intervals, and the first method's paired differences from the others."""
        first, *others = self.methods
        means: dict[str, Any] = {}
        for method in self.methods:
            means[method] = {}
            for metric in self.metrics:
                values = self.values(method, metric)
                finite = values[np.isfinite(values)]
                low, high = bootstrap_interval(finite) if len(finite) else (float("nan"),) * 2
                means[method][metric] = {
                    "mean": float(finite.mean()) if len(finite) else None,
                    "low": _number(low),
                    "high": _number(high),
                    "n": len(finite),
                }
        differences: dict[str, Any] = {}
        for method in others:
            differences[method] = {}
            for metric in self.metrics:
                ours, theirs = self.values(first, metric), self.values(method, metric)
                both = np.isfinite(ours) & np.isfinite(theirs)
                if both.any():
                    mean, low, high = paired_bootstrap(ours[both], theirs[both])
                    differences[method][metric] = {
                        "mean": float(mean),
                        "low": float(low),
                        "high": float(high),
                    }
        return {
            "num_cases": len({row["case"] for row in self.rows}),
            "confidence": 0.95,
            "methods": means,
            f"{first} minus": differences,
            "notes": self.notes,
        }


def check_measures(names: Sequence[str]) -> None:
    """Refuse measures that there are not.

    Args:
        names: those in :data:`scalefuse.metrics.FUSION_METRICS` pass.

    Raises:
        InputError: unknown measure.

    Example:
        >>> check_measures(["CC", "SSIM"])
    """
    unknown = [name for name in names if name not in FUSION_METRICS]
    if unknown:
        raise InputError(f"Unknown measure {unknown[0]!r}; expected some of: {', '.join(FUSION_METRICS)}.")


def evaluate_fusion(
    cases: Iterable[FusionCase],
    metrics: Sequence[str] = DEFAULT_METRICS,
    *,
    on_case: Callable[[FusionCase, list[dict[str, Any]]], None] | None = None,
) -> FusionEvaluation:
    """Measure fused pictures.

    Args:
        cases: Sources and fused pictures; consumed one by one.
        metrics: Names in :data:`scalefuse.metrics.FUSION_METRICS`.
        on_case: Called with every finished case and its rows.

    Raises:
        InputError: Unknown measure.

    Example:
        >>> image = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(float)
        >>> evaluation = evaluate_fusion([FusionCase("1", image, image, {"same": image})], ["CC", "SSIM"])
        >>> evaluation.rows
        [{'case': '1', 'method': 'same', 'CC': 1.0, 'SSIM': 2.0}]
    """
    check_measures(metrics)
    evaluation = FusionEvaluation(metrics=list(metrics))
    for case in cases:
        rows = []
        for method, fused in case.fused.items():
            row: dict[str, Any] = {"case": case.name, "method": method}
            for metric in metrics:
                try:
                    row[metric] = float(FUSION_METRICS[metric](fused, case.a, case.b))
                except InputError as error:
                    # A picture too small for one measure still has the others.
                    row[metric] = float("nan")
                    evaluation.notes.append(f"{case.name}: {metric} not measured: {error}")
            rows.append(row)
        evaluation.rows += rows
        if on_case is not None:
            on_case(case, rows)
    return evaluation


def source_luma(image: Image, unit: NDArray[Any]) -> NDArray[np.float64]:
    """8-bit luma of a source: its own values where it has 8 bits, else those of ``unit``."""
    full_8bit = image.bits == 8
    return luma_8bit(image.pixels if full_8bit else unit)


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
