"""How good the answers are: metrics with confidence intervals, with and without labels."""

from tidegauge.stats.performance.calibration_error import CalibrationError, ReliabilityBin, calibration_error
from tidegauge.stats.performance.classification import Classification, classify
from tidegauge.stats.performance.confidence_sequence import Bounds, ConfidenceSequence, ProportionSequence
from tidegauge.stats.performance.matthews import matthews
from tidegauge.stats.performance.multilabel import MultilabelClassification, classify_multilabel
from tidegauge.stats.performance.paired import Paired, compare_paired, mcnemar, paired_difference
from tidegauge.stats.performance.pr_auc import pr_auc
from tidegauge.stats.performance.probabilities import Probabilities, score_probabilities
from tidegauge.stats.performance.regression import Regression, regress
from tidegauge.stats.performance.risk_test import RiskStep, RiskTest
from tidegauge.stats.performance.roc_auc import roc_auc
from tidegauge.stats.performance.wilson import Estimate, wilson

__all__ = [
    "Bounds",
    "CalibrationError",
    "Classification",
    "ConfidenceSequence",
    "Estimate",
    "MultilabelClassification",
    "Paired",
    "Probabilities",
    "ProportionSequence",
    "Regression",
    "ReliabilityBin",
    "RiskStep",
    "RiskTest",
    "calibration_error",
    "classify",
    "classify_multilabel",
    "compare_paired",
    "matthews",
    "mcnemar",
    "paired_difference",
    "pr_auc",
    "regress",
    "roc_auc",
    "score_probabilities",
    "wilson",
]
