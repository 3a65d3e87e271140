"""Advice on thresholds: how often clean data would pass them, and which pass as rarely as one wishes."""

from tidegauge.stats.advice.clean import (
    Clean,
    CleanCategories,
    CleanClassification,
    CleanNumbers,
    CleanProportion,
    CleanSamples,
)
from tidegauge.stats.advice.laws import Law
from tidegauge.stats.advice.thresholds import (
    Advice,
    Alerts,
    Frequency,
    expected_alerts,
    suggest_thresholds,
)

__all__ = [
    "Advice",
    "Alerts",
    "Clean",
    "CleanCategories",
    "CleanClassification",
    "CleanNumbers",
    "CleanProportion",
    "CleanSamples",
    "Frequency",
    "Law",
    "expected_alerts",
    "suggest_thresholds",
]
