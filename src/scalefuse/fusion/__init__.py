"""Fusion strategies: functions that join the features of two images, ``(N, C, H, W)`` each.

``STRATEGIES`` names them; ``scalefuse.fusion.baselines.BASELINES`` holds the plain pixel baselines, which
take images instead of features.
"""

from scalefuse.fusion.table import STRATEGIES, UNNORMALISED, Strategy

__all__ = ["STRATEGIES", "UNNORMALISED", "Strategy"]
