"""The bound that accepts a share of fresh rows with a finite-sample promise."""

import math
from bisect import bisect_left
from numbers import Real

import numpy as np
from scipy.special import betainc
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from .._validation import QUANTILE, Range
from .._warn import warn
from ._base import ThresholdRule, at_least, check_confidence, rows, warn_of_ties
from ._quantile import running_mass


def conformal_rank(n, q, delta=None):
    """Return the smallest rank k whose bound keeps the promise, n + 1 where none does.

    Marginal: k = ceil((n + 1) q), rounded to nine decimals first as in `quantile_rank`. With
    `delta`: the smallest k with P(Beta(k, n + 1 - k) >= q) >= 1 - delta, as Beta(k, n + 1 - k) is
    the law of the coverage that the k-th of n calibration rows gives.
    """
    if delta is None:
        return max(1, math.ceil(round((n + 1) * q, 9)))
    ranks = range(1, n + 1)
    return 1 + bisect_left(ranks, True, key=lambda k: betainc(k, n + 1 - k, q) <= delta)


def conformal_size(q, delta=None):
    """Return the smallest number of calibration rows that bounds anything, infinite for q = 1."""
    if q == 1:
        return math.inf
    rows_needed = q / (1 - q) if delta is None else math.log(delta) / math.log(q)
    return max(1, math.ceil(round(rows_needed, 9)))


class ConformalThreshold(ThresholdRule):
    """Bound that accepts at least a given share of fresh rows, for every sample size.

    Parameters
    ----------
    q : float in (0, 1], default=0.99
        Share of fresh rows to accept (the coverage).
    delta : float in (0, 1), default=None
        None promises the share on average over calibration sets. A number promises that this very
        calibration set gives it, except with probability `delta`.

    Attributes
    ----------
    threshold_ : float
        A row is accepted where its confidence is at least this; minus infinity where there are too
        few calibration rows, which accepts everything.
    feasible_ : bool
        Whether there are enough calibration rows to reject anything.
    guarantee_ : str
        What the bound promises, with its numbers.
    n_calibration_ : int
        Number of calibration rows.
    calibration_scores_ : ndarray of shape (n_positive,) or None
        Confidences of the rows of positive weight, most confident first; None without weights.
    calibration_mass_ : ndarray of shape (n_positive,) or None
        Running sum of their weights.

    See Also
    --------
    QuantileThreshold : The same rank, but never infinite.
    RiskThreshold : Bounds the errors among the accepted rows.
    conformal_pvalues : How foreign each row is, in place of one decision.

    Notes
    -----
    The bound is the k-th largest of n confidences. Without `delta`, k = ceil((n + 1) q): a fresh
    row that is exchangeable with the calibration rows is accepted with probability at least q, and
    below q + 1 / (n + 1) where no confidences tie. With `delta`, k is the smallest rank with
    P(Beta(k, n + 1 - k) >= q) >= 1 - delta, for independent rows of one distribution.

    If k exceeds n, only accepting everything keeps the promise; a warning names the number of rows
    that would do. `QuantileThreshold` takes the smallest confidence seen instead.

    `sample_weight` is for covariate shift: the likelihood ratio of fresh to calibration rows, up
    to one factor. The exact bound then depends on the weight of the fresh row as well, which
    ``accept(confidence, sample_weight=...)`` takes, on the same scale. ``threshold_``, and `accept`
    without weights, take the largest calibration weight in its place, and so does
    `SelectiveClassifier`. This keeps the promise if no fresh row weighs more; else the probability
    may fall short of q by as much as the probability that one does. Weights that are equal give the
    bound without weights.
    There is no such form with `delta`.

    References
    ----------
    Vovk, V., Gammerman, A. and Shafer, G. "Algorithmic Learning in a Random World", 2005.

    Vovk, V. "Conditional validity of inductive conformal predictors", ACML 2012, arXiv:1209.2673.

    Tibshirani, R. J., Foygel Barber, R., Candès, E. and Ramdas, A. "Conformal Prediction Under
    Covariate Shift", NeurIPS 2019, arXiv:1904.06019.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_seapig import ConformalThreshold
    >>> confidence = np.arange(100) / 100
    >>> ConformalThreshold(q=0.9).fit(confidence).threshold_
    0.09
    >>> rule = ConformalThreshold(q=0.9, delta=0.05).fit(confidence)
    >>> rule.threshold_
    0.04
    >>> print(rule.guarantee_)
    accepts at least a share 0.9 of fresh rows, with certainty 0.95 (100 calibration rows)
    """

    _parameter_constraints = {
        "q": [QUANTILE],
        "delta": [Range(Real, 0, 1, closed="neither"), None],
    }

    def __init__(self, q=0.99, delta=None):
        self.q = q
        self.delta = delta

    def _learn(self, confidence, error, groups, weight):
        if weight is not None:
            return self._learn_weighted(confidence, weight)
        n = len(confidence)
        k = conformal_rank(n, self.q, self.delta)
        bound = -math.inf
        if k <= n:
            bound = float(np.partition(confidence, n - k)[n - k])
            warn_of_ties(confidence, bound, k)
        else:
            needed = conformal_size(self.q, self.delta)
            self._warn_too_few(n, f"give at least {needed}" if needed < math.inf else "take q < 1")
        return {
            "threshold_": bound,
            "feasible_": k <= n,
            "guarantee_": self._guarantee(k <= n, "exchangeable", rows(n)),
            "calibration_scores_": None,
            "calibration_mass_": None,
        }

    def _learn_weighted(self, confidence, weight):
        if self.delta is not None:
            raise ValueError(
                f"sample_weight has no form with delta={self.delta}; set delta=None or drop the "
                "weights."
            )
        largest = weight.max()
        scores, mass = running_mass(confidence, weight)
        bound = float(_weighted_bounds(scores, mass, largest, self.q))
        feasible = bool(bound > -math.inf or scores[-1] == -math.inf)
        if not feasible:
            advice = "take q < 1"
            if self.q < 1:
                least = self.q / (1 - self.q)
                advice = f"the weights must sum to at least {least:.6g} times the largest one"
            self._warn_too_few(len(confidence), advice)
        size = mass[-1] ** 2 / np.sum(weight**2)
        seen = f"{rows(len(confidence))}, effective size {size:.4g}"
        return {
            "threshold_": bound,
            "feasible_": feasible,
            "guarantee_": self._guarantee(feasible, "reweighted", seen, most=largest),
            "calibration_scores_": scores,
            "calibration_mass_": mass,
        }

    def accept(self, confidence, groups=None, *, sample_weight=None):
        """Return where a confidence reaches the bound.

        Parameters
        ----------
        confidence : array-like of shape (n_samples,)
            Confidences of query rows.
        groups : array-like of shape (n_samples,), default=None
            Not used by this rule.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the query rows, on the scale of those given to `fit`, for the exact bound of
            each row. None takes ``threshold_`` for all.

        Returns
        -------
        accepted : bool ndarray of shape (n_samples,)
            True where the confidence is at least the bound.
        """
        if sample_weight is None:
            return super().accept(confidence, groups)
        check_is_fitted(self)
        if self.calibration_mass_ is None:
            raise ValueError(
                "sample_weight is given to accept but was not given to fit; give it to both."
            )
        confidence = check_confidence(confidence)
        weight = _check_sample_weight(
            sample_weight, confidence[:, None], dtype=np.float64, ensure_non_negative=True
        )
        scores, mass = self.calibration_scores_, self.calibration_mass_
        return confidence >= _weighted_bounds(scores, mass, weight, self.q)

    def _warn_too_few(self, n, advice):
        delta = "" if self.delta is None else f", delta={self.delta}"
        warn(
            f"{rows(n)} (n={n}) are too few for q={self.q}{delta}, so everything is accepted; "
            f"{advice}."
        )

    def _guarantee(self, feasible, kind, seen, most=None):
        if not feasible:
            return f"accepts everything: too few calibration rows for q={self.q} ({seen})"
        if self.delta is not None:
            return (
                f"accepts at least a share {at_least(self.q)} of fresh rows, with certainty "
                f"{at_least(1 - self.delta)} ({seen})"
            )
        text = f"accepts a fresh {kind} row with probability >= {at_least(self.q)}"
        if most is not None:
            text += f" if no fresh row weighs more than {at_least(most)}"
        return f"{text} ({seen})"


def _weighted_bounds(scores, mass, weight, q):
    """Return the bound for fresh rows of these weights, each of which may lie beyond all scores."""
    # The slack absorbs the rounding of the running sum, so that equal weights are ranks.
    needed = (mass[-1] + weight) * q * (1 - 1e-9)
    return np.append(scores, -math.inf)[np.searchsorted(mass, needed)]
