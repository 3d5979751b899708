"""How many labelled rows a promise about the risk needs, and what promise some rows allow."""

from bisect import bisect_left
from numbers import Integral, Real

import numpy as np
from scipy.special import betainc, betaincinv

from .._validation import Range, check_parameter

_OPEN = Range(Real, 0, 1, closed="neither")
# Far above any data set, and small enough for the arithmetic of binomial tails.
_LARGEST = 2**40


def required_calibration_size(max_risk, delta, expected_error=0.0):
    """Return how many accepted, labelled rows certify a risk at an expected error rate.

    This is the smallest m for which m rows with ``round(m * expected_error)`` errors show, with
    certainty 1 - `delta`, an error rate of at most `max_risk`:
    P(Bin(m, max_risk) <= errors) <= delta. Rows that are rejected do not count: where a share c is
    accepted, m / c calibration rows are needed. With exactly this number about half of all
    calibration sets have more errors than expected and fail; plan for more.

    Parameters
    ----------
    max_risk : float in (0, 1)
        Error rate to certify.
    delta : float in (0, 1)
        Probability that the certificate may be wrong.
    expected_error : float in [0, max_risk), default=0.0
        Error rate expected among the accepted rows.

    Returns
    -------
    n_accepted : int
        Number of accepted, labelled rows.

    Raises
    ------
    ValueError
        If a parameter is out of its range, or `expected_error` is so close to `max_risk` that no
        feasible number of rows tells them apart.

    See Also
    --------
    RiskThreshold : The rule that this plans for.
    certifiable_risk : The reverse question.

    Examples
    --------
    >>> from sklearn_seapig import required_calibration_size
    >>> required_calibration_size(max_risk=0.05, delta=0.05)
    59
    >>> required_calibration_size(max_risk=0.05, delta=0.05, expected_error=0.02)
    124
    """
    caller = "required_calibration_size"
    check_parameter("max_risk", max_risk, _OPEN, caller)
    check_parameter("delta", delta, _OPEN, caller)
    check_parameter("expected_error", expected_error, Range(Real, 0, 1, closed="left"), caller)
    if expected_error >= max_risk:
        raise ValueError(
            f"expected_error={expected_error} is not below max_risk={max_risk}; no number of rows "
            "certifies a risk below the error rate."
        )

    def tail(m, errors):
        return betainc(m - errors, errors + 1, 1 - max_risk)

    # Rounding takes away at most half an error; the tail is continued to broken numbers.
    start = 1 + bisect_left(
        range(1, _LARGEST),
        True,
        key=lambda m: tail(m, max(0.0, m * expected_error - 0.5)) <= delta,
    )
    # With the same number of errors more rows only help: a number of errors has a certificate if
    # the most rows that round to it have one.
    errors = round(start * expected_error) + np.arange(1024)
    while start < _LARGEST:
        most = _most_rows(errors, expected_error)
        passes = tail(most, errors) <= delta
        if passes.any():
            at = passes.argmax()
            reach = range(start, int(most[at]) + 1)
            return start + bisect_left(reach, True, key=lambda m: tail(m, errors[at]) <= delta)
        start, errors = int(most[-1]), errors + len(errors)
    raise ValueError(
        f"expected_error={expected_error} is too close to max_risk={max_risk}: more than "
        f"{_LARGEST} rows would be needed."
    )


def _most_rows(errors, rate):
    """Return the largest numbers m with ``round(m * rate) <= errors``, at most `_LARGEST`."""
    with np.errstate(divide="ignore"):
        m = np.minimum(np.floor((errors + 0.5) / np.float64(rate)), _LARGEST)
    # Rounding is to even, and the quotient may be off by a hair.
    m += np.round((m + 1) * rate) <= errors
    return m - (np.round(m * rate) > errors)


def certifiable_risk(n, errors, delta):
    """Return the smallest error rate that n accepted, labelled rows certify.

    This is the exact upper limit of Clopper and Pearson: the true error rate lies above it with
    probability at most `delta`, whatever it is.

    Parameters
    ----------
    n : int
        Number of accepted, labelled rows, at least 1.
    errors : int
        Number of errors among them.
    delta : float in (0, 1)
        Probability that the certificate may be wrong.

    Returns
    -------
    risk : float
        Upper limit of the error rate; 1 where all rows are errors.

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    See Also
    --------
    required_calibration_size : The reverse question.

    Notes
    -----
    The rows must be chosen without a look at their errors. `RiskThreshold` chooses a bound by the
    errors and pays for it.

    References
    ----------
    Clopper, C. and Pearson, E. S. "The use of confidence or fiducial limits illustrated in the case
    of the binomial", Biometrika, 1934.

    Examples
    --------
    >>> from sklearn_seapig import certifiable_risk
    >>> round(certifiable_risk(n=100, errors=1, delta=0.05), 6)
    0.04656
    """
    caller = "certifiable_risk"
    check_parameter("n", n, Range(Integral, 1, None, closed="left"), caller)
    check_parameter("errors", errors, Range(Integral, 0, n, closed="both"), caller)
    check_parameter("delta", delta, _OPEN, caller)
    if errors == n:
        return 1.0
    return float(betaincinv(errors + 1, n - errors, 1 - delta))
