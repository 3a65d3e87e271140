"""Everything that windows are computed from beside the log and the labels of this cluster."""

from __future__ import annotations

from dataclasses import dataclass

from tidegauge.services.sources.drift import CustomDrift
from tidegauge.services.sources.foreign import ForeignLogs
from tidegauge.services.sources.performance import CustomPerformance, LateFiles


@dataclass(frozen=True)
class Sources:
    late_files: LateFiles
    foreign_logs: ForeignLogs
    performance: CustomPerformance
    drift: CustomDrift
