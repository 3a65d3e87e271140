"""Statistics: arrays in, frozen results out. No I/O, no clock, no thresholds."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tidegauge.stats.baselines import compare, fit_baseline
    from tidegauge.stats.evidence import Evidence, EvidenceStep

__all__ = ["Evidence", "EvidenceStep", "compare", "fit_baseline"]


def __getattr__(name: str) -> Any:
    # Resolved when asked for: who needs one statistic need not load OpenCV.
    if name in ("compare", "fit_baseline"):
        return getattr(import_module("tidegauge.stats.baselines"), name)
    if name in ("Evidence", "EvidenceStep"):
        return getattr(import_module("tidegauge.stats.evidence"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
