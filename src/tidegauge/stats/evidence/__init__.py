"""Evidence of drift: anytime-valid e-processes of conformal ranks."""

from tidegauge.stats.evidence.process import LIFE, Evidence, EvidenceStep, Reference
from tidegauge.stats.evidence.ranks import Tolerated

__all__ = ["LIFE", "Evidence", "EvidenceStep", "Reference", "Tolerated"]
