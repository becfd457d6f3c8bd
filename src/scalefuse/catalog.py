"""THE list of networks: one literal dict, one literal union of their configs."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from scalefuse.networks.dilran.spec import SPEC as DILRAN_SPEC
from scalefuse.networks.dilran.spec import DILRANConfig
from scalefuse.networks.hifuse.spec import SPEC as HIFUSE_SPEC
from scalefuse.networks.hifuse.spec import HiFuseConfig
from scalefuse.networks.msrf_net.spec import SPEC as MSRF_NET_SPEC
from scalefuse.networks.msrf_net.spec import MSRFNetConfig
from scalefuse.networks.resnet.spec import SPEC as RESNET18_SPEC
from scalefuse.networks.resnet.spec import ResNet18Config
from scalefuse.networks.spec import NetworkSpec
from scalefuse.networks.unet.spec import SPEC as UNET_SPEC
from scalefuse.networks.unet.spec import UNetConfig

NETWORKS: dict[str, NetworkSpec] = {
    "dilran": DILRAN_SPEC,
    "msrf_net": MSRF_NET_SPEC,
    "hifuse": HIFUSE_SPEC,
    "resnet18": RESNET18_SPEC,
    "unet": UNET_SPEC,
}
"""Name to what ScaleFuse knows about the network."""

NetworkConfig = Annotated[
    DILRANConfig | MSRFNetConfig | HiFuseConfig | ResNet18Config | UNetConfig, Field(discriminator="name")
]
"""A config of any catalogued network, told apart by its ``name``."""
