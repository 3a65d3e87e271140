"""Drift of images: what they look like, how strange they are to a baseline, what about them moved."""

from tidegauge.stats.images.baseline import ImageBaseline, ImageDrift, compare, fit_baseline
from tidegauge.stats.images.features import ATTRIBUTES, ImageFeatures, extract

__all__ = [
    "ATTRIBUTES",
    "ImageBaseline",
    "ImageDrift",
    "ImageFeatures",
    "compare",
    "extract",
    "fit_baseline",
]
