"""Configuration of a segmentation training."""

from __future__ import annotations

from typing import Literal

from scalefuse.config.base import RunBase
from scalefuse.networks.msrf_net.spec import MSRFNetConfig


class SegmentationRun(RunBase):
    """A segmentation training."""

    name: str = "msrf_net"
    task: Literal["segmentation"] = "segmentation"
    network: MSRFNetConfig = MSRFNetConfig()
