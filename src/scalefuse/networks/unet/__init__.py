"""A plain U-Net, MONAI's: what other segmentation networks are compared with."""

from scalefuse.networks.unet.network import UNet

__all__ = ["UNet"]
