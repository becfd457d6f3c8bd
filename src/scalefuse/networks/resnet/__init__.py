"""ResNet-18, the plain baseline that a classifier must beat, built from MONAI."""

from scalefuse.networks.resnet.network import ResNet18
from scalefuse.networks.resnet.spec import SPEC, ResNet18Config

__all__ = ["SPEC", "ResNet18", "ResNet18Config"]
