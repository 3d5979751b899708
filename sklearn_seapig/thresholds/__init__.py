"""Rules that turn the confidences of calibration rows into a bound."""

from ._base import check_confidence
from ._conformal import ConformalThreshold
from ._quantile import QuantileThreshold, quantile_bound, quantile_rank, weighted_quantile_bound

__all__ = [
    "ConformalThreshold",
    "QuantileThreshold",
    "check_confidence",
    "quantile_bound",
    "quantile_rank",
    "weighted_quantile_bound",
]
