"""Metrics of selective prediction: ``(loss, confidence)`` in, exact finite-sample numbers out."""

from .failure import effective_reliability_score, failure_auroc_score, fpr_at_tpr
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

__all__ = [
    "RiskCoverageCurve",
    "augrc_score",
    "aurc_score",
    "coverage_at_risk",
    "effective_reliability_score",
    "excess_aurc_score",
    "failure_auroc_score",
    "fpr_at_tpr",
    "normalized_aurc_score",
    "risk_at_coverage",
    "risk_coverage_curve",
    "selective_classification_report",
]
