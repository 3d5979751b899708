"""The bound that costs least where an error and a rejection have a price."""

import math
from numbers import Real

import numpy as np
from sklearn.utils._param_validation import StrOptions

from .._validation import Range
from ._base import ThresholdRule, blocks, check_error, rows


class CostThreshold(ThresholdRule):
    """Bound with the least cost, where errors and rejections have a price.

    Parameters
    ----------
    reject_cost : float, default=0.2
        Price of a rejection, 0 or more.
    error_cost : float, default=1.0
        Price of an accepted error, above 0; it multiplies the loss of an accepted row.
    method : {"empirical", "chow"}, default="empirical"
        "empirical" takes the bound with the least cost on the calibration rows, for any confidence.
        "chow" takes 1 - `reject_cost` / `error_cost`, for a confidence that is the probability of
        being right; it looks at no errors.

    Attributes
    ----------
    threshold_ : float
        A row is accepted where its confidence is at least this. Infinity, where "empirical" finds
        nothing cheaper, rejects everything; minus infinity, where even an error costs no more than
        a rejection, accepts everything.
    feasible_ : bool
        Always True: there is always a cheapest bound.
    guarantee_ : str
        What the bound means, with its numbers; it is an estimate and no promise.
    n_calibration_ : int
        Number of calibration rows.
    cost_ : float
        Mean cost of the calibration rows under the bound; nan where no errors were given.

    See Also
    --------
    RiskThreshold : A bound with a promise on the errors.

    Notes
    -----
    The cost on the calibration rows is the least of many, so that of fresh rows tends to be a
    little larger. Among bounds of equal cost, the one that accepts most is taken. Row i counts as
    ``sample_weight[i]`` rows.

    References
    ----------
    Chow, C. K. "On optimum recognition error and reject tradeoff", IEEE Transactions on
    Information Theory, 1970.

    Examples
    --------
    >>> from sklearn_seapig import CostThreshold
    >>> CostThreshold(reject_cost=0.2, method="chow").fit([0.7, 0.9]).threshold_
    0.8
    >>> rule = CostThreshold(reject_cost=0.2).fit([0.9, 0.8, 0.7, 0.6], [0, 0, 1, 1])
    >>> rule.threshold_
    0.8
    >>> print(rule.guarantee_)
    estimate, no promise: mean cost 0.1 (4 calibration rows, reject_cost=0.2, error_cost=1)
    """

    _parameter_constraints = {
        "reject_cost": [Range(Real, 0, None, closed="left")],
        "error_cost": [Range(Real, 0, None, closed="neither")],
        "method": [StrOptions({"empirical", "chow"})],
    }

    def __init__(self, reject_cost=0.2, error_cost=1.0, method="empirical"):
        self.reject_cost = reject_cost
        self.error_cost = error_cost
        self.method = method

    def _learn(self, confidence, error, groups, weight):
        extra = None
        if error is not None or self.method == "empirical":
            error = check_error(error, confidence, type(self).__name__)
            weight = np.ones(len(confidence)) if weight is None else weight
            # What accepting a row costs more than rejecting it.
            extra = weight * (self.error_cost * error - self.reject_cost)
        if self.method == "chow":
            bound = self._chow(confidence)
        elif self.reject_cost >= self.error_cost * max(1, error.max()):
            bound = -math.inf
        else:
            bound = _cheapest(confidence[weight > 0], extra[weight > 0])
        cost = math.nan
        if extra is not None:
            accepted = confidence >= bound
            # Sorted, so that the sum does not depend on the order of the rows.
            cost = self.reject_cost + float(np.sort(extra[accepted]).sum() / weight.sum())
        return {
            "threshold_": bound,
            "feasible_": True,
            "guarantee_": self._guarantee(len(confidence), cost),
            "cost_": cost,
        }

    def _chow(self, confidence):
        if confidence.min() < 0 or confidence.max() > 1:
            raise ValueError(
                f"confidence lies in [{confidence.min():g}, {confidence.max():g}], but "
                "method='chow' needs the probability of being right, in [0, 1]; give calibrated "
                "probabilities or take method='empirical'."
            )
        if self.reject_cost >= self.error_cost:
            return -math.inf
        return 1 - self.reject_cost / self.error_cost

    def _guarantee(self, n, cost):
        prices = f"reject_cost={self.reject_cost:g}, error_cost={self.error_cost:g}"
        seen = f"({rows(n)}, {prices})"
        if self.method == "empirical":
            return f"estimate, no promise: mean cost {cost:.4g} {seen}"
        return f"least expected cost if the confidence is the probability of being right {seen}"


def _cheapest(confidence, extra):
    """Return the lowest bound for which the sum of `extra` over the accepted rows is least."""
    bounds, sizes, extra = blocks(confidence, extra)
    total = np.append(0, np.cumsum(extra)[sizes - 1])
    # Sums that differ by rounding only are ties.
    ties = total <= total.min() + 1e-12 * np.abs(extra).sum()
    return float(np.append(math.inf, bounds)[np.flatnonzero(ties)[-1]])
