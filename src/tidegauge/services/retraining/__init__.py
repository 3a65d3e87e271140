"""Retraining: from labelled live data to a candidate, a comparison, and a decision."""

from tidegauge.services.retraining.retrainings import Retrainings

__all__ = ["Retrainings"]
