"""Fusion strategies: functions that join the features of two images, ``(N, C, H, W)`` each.

``STRATEGIES`` names them; ``scalefuse.fusion.baselines.BASELINES`` holds the plain pixel baselines, which
take images instead of features.
"""

from scalefuse.fusion.table import GUIDED, STRATEGIES, UNNORMALISED, GuidedStrategy, Strategy

__all__ = ["GUIDED", "STRATEGIES", "UNNORMALISED", "GuidedStrategy", "Strategy"]
