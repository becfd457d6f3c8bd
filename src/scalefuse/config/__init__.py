"""Run configurations: a YAML file plus ``--set key=value``, validated before any work is done."""

from scalefuse.config.classification import ClassificationRun
from scalefuse.config.fusion import FusionRun
from scalefuse.config.loading import RunConfig, config_yaml, load_config, shipped_configs
from scalefuse.config.segmentation import SegmentationRun

__all__ = [
    "ClassificationRun",
    "FusionRun",
    "RunConfig",
    "SegmentationRun",
    "config_yaml",
    "load_config",
    "shipped_configs",
]
