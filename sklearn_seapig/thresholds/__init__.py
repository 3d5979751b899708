"""Rules that turn the confidences of calibration rows into a bound."""

from ._base import check_confidence
from ._conformal import ConformalThreshold
from ._planning import certifiable_risk, required_calibration_size
from ._quantile import QuantileThreshold, quantile_bound, quantile_rank, weighted_quantile_bound
from ._risk import RiskThreshold

__all__ = [
    "ConformalThreshold",
    "QuantileThreshold",
    "RiskThreshold",
    "certifiable_risk",
    "check_confidence",
    "quantile_bound",
    "quantile_rank",
    "required_calibration_size",
    "weighted_quantile_bound",
]
