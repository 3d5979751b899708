"""Rules that turn the confidences of calibration rows into a bound."""

from ._base import accepted_by, check_confidence, check_weight, guarantee_of
from ._conformal import ConformalThreshold
from ._cost import CostThreshold
from ._group import GroupThreshold
from ._planning import certifiable_risk, required_calibration_size
from ._pvalues import benjamini_hochberg, conformal_pvalues
from ._quantile import QuantileThreshold, quantile_bound, quantile_rank, weighted_quantile_bound
from ._risk import RiskThreshold

__all__ = [
    "ConformalThreshold",
    "CostThreshold",
    "GroupThreshold",
    "QuantileThreshold",
    "RiskThreshold",
    "accepted_by",
    "benjamini_hochberg",
    "certifiable_risk",
    "check_confidence",
    "check_weight",
    "conformal_pvalues",
    "guarantee_of",
    "quantile_bound",
    "quantile_rank",
    "required_calibration_size",
    "weighted_quantile_bound",
]
