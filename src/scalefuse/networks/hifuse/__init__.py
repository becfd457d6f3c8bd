"""HiFuse: image classification from fused local and global features."""

from scalefuse.networks.hifuse.network import VARIANTS, HiFuse, base, small, tiny
from scalefuse.networks.hifuse.spec import SPEC, HiFuseConfig

__all__ = ["SPEC", "VARIANTS", "HiFuse", "HiFuseConfig", "base", "small", "tiny"]
