"""Metrics for evaluation in torch loops, right in one process and in many, on torchmetrics."""

from ._risk_coverage_metric import RiskCoverageMetric
from ._selective_metric import SelectiveMetric

__all__ = ["RiskCoverageMetric", "SelectiveMetric"]
