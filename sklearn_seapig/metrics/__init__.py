"""Metrics of selective prediction: ``(loss, confidence)`` in, exact finite-sample numbers out."""

from ._plot.confidence import ConfidenceDisplay
from ._plot.embedding import EmbeddingDisplay
from ._plot.risk_coverage import RiskCoverageDisplay
from ._plot.threshold import ThresholdDisplay
from .failure import effective_reliability_score, failure_auroc_score, fpr_at_tpr
from .intervals import BootstrapInterval, ScoreComparison, bootstrap_interval, compare_scores
from .report import selective_classification_report
from .risk_coverage import (
    RiskCoverageCurve,
    augrc_score,
    aurc_score,
    coverage_at_risk,
    excess_aurc_score,
    normalized_aurc_score,
    risk_at_coverage,
    risk_coverage_curve,
)
from .scorer import make_selective_scorer

__all__ = [
    "BootstrapInterval",
    "ConfidenceDisplay",
    "EmbeddingDisplay",
    "RiskCoverageCurve",
    "RiskCoverageDisplay",
    "ScoreComparison",
    "ThresholdDisplay",
    "augrc_score",
    "aurc_score",
    "bootstrap_interval",
    "compare_scores",
    "coverage_at_risk",
    "effective_reliability_score",
    "excess_aurc_score",
    "failure_auroc_score",
    "fpr_at_tpr",
    "make_selective_scorer",
    "normalized_aurc_score",
    "risk_at_coverage",
    "risk_coverage_curve",
    "selective_classification_report",
]
