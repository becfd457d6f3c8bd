"""ScaleFuse: multi-scale feature fusion for medical images.

Three published networks, three tasks, one tool: segment with MSRF-Net, fuse two modalities with DILRAN,
classify with HiFuse. Research software, not a medical device.
"""

__version__ = "0.1.0"
