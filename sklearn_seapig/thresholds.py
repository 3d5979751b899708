"""Rules that turn the confidences of calibration rows into a bound.

Every rule is an estimator with ``fit(confidence, error=None, *, groups=None, sample_weight=None)``
and the fitted attributes ``threshold_``, ``feasible_`` and ``guarantee_``. A row is accepted where
its confidence is at least ``threshold_``, ties included.
"""

import math

import numpy as np
import torch
from sklearn.base import BaseEstimator, _fit_context
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, column_or_1d

from ._state import VersionStamp
from ._torch import to_numpy
from ._validation import QUANTILE


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
    confidence, weight = confidence[weight > 0], weight[weight > 0]
    order = np.argsort(-confidence, kind="stable")
    mass = np.cumsum(weight[order])
    needed = min(mass[-1], round((mass[-1] + 1) * q, 9))
    # The slack absorbs the rounding of the running sum, so that it can reach its own total.
    at = np.searchsorted(mass, needed * (1 - 1e-12))
    return float(confidence[order[at]])


class QuantileThreshold(VersionStamp, BaseEstimator):
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

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, confidence, error=None, *, groups=None, sample_weight=None):
        """Learn the bound.

        Parameters
        ----------
        confidence : array-like of shape (n_samples,)
            Confidences of calibration rows; higher is more normal.
        error : array-like of shape (n_samples,), default=None
            Losses of the predictions on these rows; not used by this rule.
        groups : array-like of shape (n_samples,), default=None
            Groups of the rows; not used by this rule.
        sample_weight : array-like of shape (n_samples,), default=None
            Row i counts as ``sample_weight[i]`` rows.

        Returns
        -------
        self : QuantileThreshold
            The fitted rule.

        Raises
        ------
        ValueError
            If `confidence` is empty, holds NaN, or the weights sum to zero.
        """
        confidence = check_confidence(confidence)
        if sample_weight is None:
            self.threshold_ = quantile_bound(confidence, self.q)
        else:
            weight = _check_sample_weight(
                sample_weight, confidence[:, None], dtype=np.float64, ensure_non_negative=True
            )
            if weight.sum() == 0:
                raise ValueError("sample_weight sums to 0; give at least one row a weight above 0.")
            self.threshold_ = weighted_quantile_bound(confidence, weight, self.q)
        self.n_calibration_ = len(confidence)
        self.feasible_ = True
        self.guarantee_ = self._guarantee(len(confidence))
        return self

    def _guarantee(self, n):
        share = min(self.q, n / (n + 1))
        return (
            f"accepts a fresh exchangeable row with probability >= {share:.4g} "
            f"({n} calibration row{'s' * (n > 1)})"
        )

    def accept(self, confidence):
        """Return where a confidence reaches the bound.

        Parameters
        ----------
        confidence : array-like of shape (n_samples,)
            Confidences of query rows.

        Returns
        -------
        accepted : bool ndarray of shape (n_samples,)
            True where ``confidence >= threshold_``.
        """
        check_is_fitted(self)
        return check_confidence(confidence) >= self.threshold_


def check_confidence(confidence, name="confidence"):
    """Return confidences as a float64 vector without NaN; infinities are honest bounds."""
    if isinstance(confidence, torch.Tensor):
        confidence = to_numpy(confidence, name)
    shape = np.shape(confidence)
    if len(shape) != 1 and shape[1:] != (1,):
        raise ValueError(f"{name} should be a 1d array, got an array of shape {shape} instead.")
    confidence = column_or_1d(confidence, dtype=np.float64, warn=True)
    if len(confidence) == 0:
        raise ValueError(f"{name} has 0 samples; give at least one calibration row.")
    missing = int(np.isnan(confidence).sum())
    if missing:
        raise ValueError(
            f"{name} contains NaN in {missing} of {len(confidence)} rows; mend the score first."
        )
    return confidence
