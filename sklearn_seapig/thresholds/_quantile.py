"""The finite-sample quantile and its rule."""

import math

import numpy as np

from .._validation import QUANTILE
from ._base import ThresholdRule, at_least, rows, warn_of_ties


def quantile_rank(n, q):
    """Return min(n, ceil((n + 1) q)), the rank that accepts a share q of fresh exchangeable rows.

    The product is rounded to nine decimals first: (24 + 1) * 0.56 is 14 and not, as binary
    fractions have it, a hair above. The rank is at least 1, however small q.
    """
    return max(1, min(n, math.ceil(round((n + 1) * q, 9))))


def quantile_bound(confidence, q):
    """Return the finite-sample q-quantile bound: minus the k-th smallest uncertainty.

    Parameters
    ----------
    confidence : ndarray of shape (n,)
        Confidences of calibration rows; higher is more normal.
    q : float in (0, 1]
        Share of fresh rows to accept.

    Returns
    -------
    bound : float
        One of the confidences, with k = min(n, ceil((n + 1) q)); never infinite. At least k
        calibration rows have this confidence or more.
    """
    at = len(confidence) - quantile_rank(len(confidence), q)
    return float(np.partition(confidence, at)[at])


def weighted_quantile_bound(confidence, weight, q):
    """Return the bound of `quantile_bound` where row i stands for ``weight[i]`` rows."""
    scores, mass = running_mass(confidence, weight)
    needed = min(mass[-1], round((mass[-1] + 1) * q, 9))
    # The slack absorbs the rounding of the running sum, so that it can reach its own total.
    return float(scores[np.searchsorted(mass, needed * (1 - 1e-9))])


def running_mass(confidence, weight):
    """Return the confidences of positive weight from the top, and the running sum of weights."""
    confidence, weight = confidence[weight > 0], weight[weight > 0]
    order = np.argsort(-confidence, kind="stable")
    return confidence[order], np.cumsum(weight[order])


class QuantileThreshold(ThresholdRule):
    """Bound that accepts a given share of fresh rows: the finite-sample quantile.

    Parameters
    ----------
    q : float in (0, 1], default=0.99
        Share of new, in-distribution rows to accept (the coverage).

    Attributes
    ----------
    threshold_ : float
        A row is accepted where its confidence is at least this.
    feasible_ : bool
        Always True: every share can be had.
    guarantee_ : str
        What the bound promises, with its numbers.
    n_calibration_ : int
        Number of calibration rows.

    See Also
    --------
    EuclideanScore : A score that holds such a bound itself, as ``quantile``.
    SelectiveClassifier : Takes a rule as ``threshold``.

    Notes
    -----
    The bound is minus the k-th smallest uncertainty with k = min(n, ceil((n + 1) q)), the rank of
    split conformal prediction. If calibration and fresh rows are exchangeable, a fresh row is
    accepted with probability at least min(q, n / (n + 1)), on average over calibration sets.
    Where (n + 1) q exceeds n the smallest confidence seen is the bound.

    With `sample_weight` a row counts as that many rows, and n is the sum of the weights. The bound
    then accepts a share q of the weighted calibration rows, which is an estimate of the share for
    rows of the law that the weights stand for, without a promise; `ConformalThreshold` has one.

    References
    ----------
    Vovk, V., Gammerman, A. and Shafer, G. "Algorithmic Learning in a Random World", 2005.

    Examples
    --------
    >>> from sklearn_seapig import QuantileThreshold
    >>> rule = QuantileThreshold(q=0.75).fit([0.9, 0.1, 0.8, 0.7, 0.6, 0.5, 0.4])
    >>> rule.threshold_
    0.4
    >>> print(rule.guarantee_)
    accepts a fresh exchangeable row with probability >= 0.75 (7 calibration rows)
    """

    _parameter_constraints = {"q": [QUANTILE]}

    def __init__(self, q=0.99):
        self.q = q

    def _learn(self, confidence, error, groups, weight):
        n = len(confidence)
        if weight is None or (weight == 1).all():
            bound = quantile_bound(confidence, self.q)
            warn_of_ties(confidence, bound, quantile_rank(n, self.q))
            share = at_least(min(self.q, n / (n + 1)))
            promise = f"accepts a fresh exchangeable row with probability >= {share}"
        else:
            bound = weighted_quantile_bound(confidence, weight, self.q)
            promise = f"estimate, no promise: accepts a share {at_least(self.q)} of the weight"
        return {
            "threshold_": bound,
            "feasible_": True,
            "guarantee_": f"{promise} ({rows(n)})",
        }
