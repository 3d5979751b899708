"""What every threshold rule shares: the checks of its input and the contract of its output.

Every rule is an estimator with ``fit(confidence, error=None, *, groups=None, sample_weight=None)``
and the fitted attributes ``threshold_``, ``feasible_`` and ``guarantee_``. A row is accepted where
its confidence is at least ``threshold_``, ties included.
"""

import math
from inspect import signature

import numpy as np
from sklearn.base import BaseEstimator, _fit_context
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from .._state import VersionStamp
from .._validation import check_vector
from .._warn import warn


class ThresholdRule(VersionStamp, BaseEstimator):
    """Base class of the rules; a rule writes `_learn`, which returns the fitted attributes."""

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, confidence, error=None, *, groups=None, sample_weight=None):
        """Learn the bound.

        Parameters
        ----------
        confidence : array-like of shape (n_samples,)
            Confidences of calibration rows; higher is more normal.
        error : array-like of shape (n_samples,), default=None
            Losses of the predictions on these rows (1 where wrong, 0 where right); only for rules
            about errors.
        groups : array-like of shape (n_samples,), default=None
            Groups of the rows; only for a rule with one bound per group.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows; the class says what they mean.

        Returns
        -------
        self : object
            The fitted rule.

        Raises
        ------
        ValueError
            If an array is not what the rule needs or a parameter is out of its range. The rule is
            then as it was before.
        """
        confidence = check_confidence(confidence)
        weight = None
        if sample_weight is not None:
            weight = check_weight(sample_weight, len(confidence))
        learned = self._learn(confidence, error, groups, weight)
        # One assignment: a thread that judges meanwhile sees the old bound or the new one.
        self.__dict__ = {**vars(self), "n_calibration_": len(confidence), **learned}
        return self

    def accept(self, confidence, groups=None):
        """Return where a confidence reaches the bound.

        Parameters
        ----------
        confidence : array-like of shape (n_samples,)
            Confidences of query rows.
        groups : array-like of shape (n_samples,), default=None
            Groups of the rows; only for a rule with one bound per group.

        Returns
        -------
        accepted : bool ndarray of shape (n_samples,)
            True where ``confidence >= threshold_``.
        """
        check_is_fitted(self)
        return self._reaches(check_confidence(confidence), self.threshold_)

    def _reaches(self, confidence, bound):
        """Compare; infinity as the bound of a rule that is not feasible rejects even infinity."""
        accepted = confidence >= bound
        return accepted if self.feasible_ else accepted & (bound < np.inf)

    def _learn(self, confidence, error, groups, weight):
        raise NotImplementedError


def accepted_by(rule, confidence, groups):
    """Return where a fitted rule accepts, one that has no more than a bound included."""
    if not hasattr(rule, "accept"):
        return confidence >= rule.threshold_
    if "groups" in signature(rule.accept).parameters:
        return np.asarray(rule.accept(confidence, groups=groups))
    return np.asarray(rule.accept(confidence))


def guarantee_of(rule):
    """Return what a fitted rule promises, one of elsewhere included."""
    return getattr(rule, "guarantee_", f"none: {type(rule).__name__} promises nothing")


def check_confidence(confidence, name="confidence"):
    """Return confidences as a float64 vector without NaN; infinities are honest bounds."""
    confidence = check_vector(confidence, name)
    if len(confidence) == 0:
        raise ValueError(f"{name} has 0 samples; give at least one row.")
    missing = int(np.isnan(confidence).sum())
    if missing:
        raise ValueError(
            f"{name} contains NaN in {missing} of {len(confidence)} rows; mend or drop these rows."
        )
    return confidence


def check_weight(sample_weight, n):
    """Return the weights of n rows as a float64 vector that is not all zero."""
    weight = check_confidence(sample_weight, name="sample_weight")
    if len(weight) != n or not ((weight >= 0) & (weight < np.inf)).all() or weight.sum() == 0:
        raise ValueError(
            f"sample_weight must hold {n} finite numbers of at least 0, not all of them 0, one for "
            f"each row; got {len(weight)} from {weight.min():.6g} to {weight.max():.6g}."
        )
    return weight


def at_least(value):
    """Return a number for a promise of at least `value`, never rounded up."""
    return _rounded(value, math.floor)


def at_most(value):
    """Return a number for a promise of at most `value`, never rounded down."""
    return _rounded(value, math.ceil)


def _rounded(value, towards):
    """Round to four digits, of the distance to 1 for values that lie close to it."""
    size = min(value, abs(1 - value)) or 1
    scale = 10 ** min(300, max(0, 3 - math.floor(math.log10(size))))
    # What lies beyond the ninth digit is rounding: 1 - 0.9 is a hair below 0.1.
    number = round(value * scale, 5)
    return f"{towards(number) / scale:.15g}"


def rows(n):
    """Return the words for n calibration rows."""
    return f"{n} calibration row{'s' * (n != 1)}"


def warn_of_ties(confidence, bound, rank):
    """Warn where rows tied at the bound make a rule accept far more than the rank asked for."""
    n = len(confidence)
    achieved = np.count_nonzero(confidence >= bound)
    if achieved > rank + 0.05 * n:
        warn(
            f"ties: {np.count_nonzero(confidence == bound)} of {rows(n)} have the confidence at "
            f"the bound, so the achieved coverage is {achieved / n:.4g} where {rank / n:.4g} was "
            "asked for; a confidence with more distinct values comes closer."
        )


def check_error(error, confidence, rule, max_loss=np.inf):
    """Return the losses of calibration rows as a float64 vector of values in [0, max_loss]."""
    if error is None:
        raise ValueError(
            f"{rule} needs error, the loss of each calibration row (1 where the prediction is "
            "wrong, else 0); got None."
        )
    error = check_confidence(error, name="error")
    check_consistent_length(confidence, error)
    # A float32 loss of 0.1 is a hair above 0.1.
    outside = (error < 0) | (error > max_loss * (1 + 1e-7))
    if outside.any():
        raise ValueError(
            f"error must lie in [0, {max_loss:.9g}], got {error[outside][0]:.9g} in row "
            f"{int(outside.argmax())}; "
            + ("clip the loss or raise max_loss." if max_loss < np.inf else "give a loss.")
        )
    return np.minimum(error, max_loss)


def blocks(confidence, loss):
    """Return the rows sorted from the most confident on, and where tied confidences end.

    Returns
    -------
    bounds : ndarray of shape (n_blocks,)
        The distinct confidences, from the highest on.
    sizes : ndarray of shape (n_blocks,)
        How many rows have at least this confidence.
    losses : ndarray of shape (n_samples,)
        The losses of the sorted rows.
    """
    # Ties are sorted as well, so that sums do not depend on the order of the rows.
    order = np.lexsort((loss, -confidence))
    confidence = confidence[order]
    last = np.flatnonzero(np.append(confidence[1:] != confidence[:-1], True))
    return confidence[last], last + 1, loss[order]
