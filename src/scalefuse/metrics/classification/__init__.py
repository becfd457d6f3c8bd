"""Measures of classification for many resamples at once, and DeLong's interval, which no library here has."""

from scalefuse.metrics.classification.confusion import confusion_matrices, confusion_measures
from scalefuse.metrics.classification.delong import DeLong, delong
from scalefuse.metrics.classification.ranking import RankingAreas, ranking_areas
from scalefuse.metrics.classification.table import (
    CLASSIFICATION_METRIC_DEFINITIONS,
    CLASSIFICATION_METRIC_HIGHER_IS_BETTER,
)

__all__ = [
    "CLASSIFICATION_METRIC_DEFINITIONS",
    "CLASSIFICATION_METRIC_HIGHER_IS_BETTER",
    "DeLong",
    "RankingAreas",
    "confusion_matrices",
    "confusion_measures",
    "delong",
    "ranking_areas",
]
