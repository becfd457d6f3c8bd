"""MSRF-Net (Srivastava et al., 2022): segmentation with features of all scales exchanged again and again."""

from scalefuse.networks.msrf_net.decoder import LastLevel, TripleAttentionDecoder
from scalefuse.networks.msrf_net.dual_scale import DualScaleDenseFusion, MultiScaleResidualFusion
from scalefuse.networks.msrf_net.encoder import Encoder
from scalefuse.networks.msrf_net.network import MSRFNet, MSRFNetOutput
from scalefuse.networks.msrf_net.shape_stream import GatedConvolution, ShapeStream, image_gradient

__all__ = [
    "DualScaleDenseFusion",
    "Encoder",
    "GatedConvolution",
    "LastLevel",
    "MSRFNet",
    "MSRFNetOutput",
    "MultiScaleResidualFusion",
    "ShapeStream",
    "TripleAttentionDecoder",
    "image_gradient",
]
