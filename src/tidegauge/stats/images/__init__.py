"""Drift of images: what they look like, how strange they are to a baseline, what about them moved."""

from tidegauge.stats.images.baseline import (
    ImageBaseline,
    ImageDrift,
    ObservedImages,
    compare,
    fit_baseline,
    observe,
)
from tidegauge.stats.images.changes import (
    CHANGES,
    HARMLESS,
    Tolerance,
    brightened,
    contrasted,
    noisy,
    reencoded,
    resized,
    rotated,
    zoomed,
)
from tidegauge.stats.images.features import ATTRIBUTES, ImageFeatures, extract
from tidegauge.stats.images.samples import Images, ImageSamples, sample

__all__ = [
    "ATTRIBUTES",
    "CHANGES",
    "HARMLESS",
    "ImageBaseline",
    "ImageDrift",
    "ImageFeatures",
    "ImageSamples",
    "Images",
    "ObservedImages",
    "Tolerance",
    "brightened",
    "compare",
    "contrasted",
    "extract",
    "fit_baseline",
    "noisy",
    "observe",
    "reencoded",
    "resized",
    "rotated",
    "sample",
    "zoomed",
]
