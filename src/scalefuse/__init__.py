"""ScaleFuse: multi-scale feature fusion for medical images.

Three published networks, three tasks, one tool: segment with MSRF-Net, fuse two modalities with DILRAN,
classify with HiFuse. Research software, not a medical device.
"""

from typing import Any

from scalefuse.version import __version__

__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    # `scalefuse.load` without importing PyTorch for those who only ask for the version.
    if name == "load":
        from scalefuse.inference.loading import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
