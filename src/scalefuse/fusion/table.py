"""THE list of fusion strategies."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from scalefuse.fusion import adaptive, guided, strategies

Strategy = Callable[[Tensor, Tensor], Tensor]
GuidedStrategy = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]

STRATEGIES: dict[str, Strategy] = {
    "softmax_nuclear_norm": strategies.softmax_nuclear_norm,
    "average": strategies.average,
    "addition": strategies.addition,
    "maximum": strategies.maximum,
    "feature_energy_ratio": strategies.feature_energy_ratio,
    "l1_norm": strategies.l1_norm,
    "l1_norm_raw": strategies.l1_norm_raw,
    "l1_norm_half": strategies.l1_norm_half,
    "local_energy_ratio": adaptive.local_energy_ratio,
    "two_scale_energy_ratio": adaptive.two_scale_energy_ratio,
}
"""Name → function of two feature tensors ``(N, C, H, W)``."""

GUIDED: dict[str, GuidedStrategy] = {"guided_bands": guided.guided_bands}
"""Name → function of two pictures ``(N, 1, H, W)`` and their features: it joins the pictures themselves, as
the features say, and nothing is decoded."""

DECODED_DEFAULT = "two_scale_energy_ratio"
"""Strategy for a decoder where the chosen one needs none: to train it, or to check it."""

UNNORMALISED: frozenset[str] = frozenset({"l1_norm_raw", "l1_norm_half"})
"""Strategies kept only to reproduce the paper's program: the decoded pictures saturate."""
