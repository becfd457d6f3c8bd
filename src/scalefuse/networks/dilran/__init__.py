"""DILRAN, the dilated residual attention network for image fusion (arXiv 2212.04661)."""

from scalefuse.networks.dilran.network import DILRAN

__all__ = ["DILRAN"]
