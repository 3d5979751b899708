"""How foreign a row is, as a p-value, and many such decisions at once."""

from numbers import Real

import numpy as np

from .._validation import Range, check_parameter, check_vector
from ._base import check_confidence


def conformal_pvalues(calibration_scores, scores):
    """Return, for each row, a p-value for "this row is like the calibration rows".

    It is the share of calibration rows that are at most as confident, the row itself counted among
    them: (1 + #{calibration scores <= score}) / (n + 1). Low means foreign. For a row exchangeable
    with the calibration rows, P(p-value <= t) <= t for every t, with ties or without.

    Parameters
    ----------
    calibration_scores : array-like of shape (n_calibration,)
        Confidences of calibration rows; higher is more normal.
    scores : array-like of shape (n_samples,)
        Confidences of query rows.

    Returns
    -------
    pvalues : float64 ndarray of shape (n_samples,)
        Between 1 / (n_calibration + 1) and 1.

    Raises
    ------
    ValueError
        If an array is empty, not 1-D or holds NaN.

    See Also
    --------
    benjamini_hochberg : Rejects many rows with a bounded share of false rejections.
    ConformalThreshold : ``pvalue > 1 - q`` as a bound on the confidence.

    References
    ----------
    Vovk, V., Gammerman, A. and Shafer, G. "Algorithmic Learning in a Random World", 2005.

    Bates, S., Candès, E., Lei, L., Romano, Y. and Sesia, M. "Testing for Outliers with Conformal
    p-values", Annals of Statistics, 2023, arXiv:2104.08279.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_seapig import conformal_pvalues
    >>> conformal_pvalues(-np.arange(1, 20), [-20, -18.5, -5])
    array([0.05, 0.1 , 0.8 ])
    """
    reference = np.sort(check_confidence(calibration_scores, name="calibration_scores"))
    scores = check_confidence(scores, name="scores")
    below = np.searchsorted(reference, scores, side="right")
    return (1 + below) / (len(reference) + 1)


def benjamini_hochberg(pvalues, alpha):
    """Return which rows to reject so that on average at most a share alpha of them is wrongly so.

    The k rows with the smallest p-values, for the largest k whose k-th smallest p-value is at most
    k `alpha` / m (the step-up rule). With `conformal_pvalues` of rows that are independent of one
    another, the false discovery rate is at most `alpha` times the share of normal rows, although
    they all share one calibration set.

    Parameters
    ----------
    pvalues : array-like of shape (n_samples,)
        p-values in [0, 1]; low means foreign.
    alpha : float in (0, 1]
        The false discovery rate to allow: the mean share of normal rows among the rejected.

    Returns
    -------
    rejected : bool ndarray of shape (n_samples,)
        True where the row is rejected.

    Raises
    ------
    ValueError
        If a p-value is NaN or outside of [0, 1], or `alpha` is out of its range.

    See Also
    --------
    conformal_pvalues : Where the p-values come from.

    Notes
    -----
    With n calibration rows no p-value is below 1 / (n + 1), so nothing can be rejected among m rows
    unless k `alpha` / m reaches this for some k; give some m / (k alpha) calibration rows.

    References
    ----------
    Benjamini, Y. and Hochberg, Y. "Controlling the False Discovery Rate", Journal of the Royal
    Statistical Society B, 1995.

    Bates, S., Candès, E., Lei, L., Romano, Y. and Sesia, M. "Testing for Outliers with Conformal
    p-values", Annals of Statistics, 2023, arXiv:2104.08279.

    Examples
    --------
    >>> from sklearn_seapig import benjamini_hochberg
    >>> benjamini_hochberg([0.01, 0.9, 0.03, 0.04], alpha=0.1)
    array([ True, False,  True,  True])
    """
    check_parameter("alpha", alpha, Range(Real, 0, 1, closed="right"), "benjamini_hochberg")
    pvalues = check_vector(pvalues, "pvalues")
    if len(pvalues) == 0:
        return np.zeros(0, dtype=bool)
    pvalues = check_confidence(pvalues, name="pvalues")
    if pvalues.min() < 0 or pvalues.max() > 1:
        raise ValueError(
            f"pvalues lie in [{pvalues.min():g}, {pvalues.max():g}]; p-values lie in [0, 1]."
        )
    ordered, m = np.sort(pvalues), len(pvalues)
    # The slack lets 3 / 20 reach 3 * 0.05 however these are rounded.
    reached = np.flatnonzero(ordered <= np.arange(1, m + 1) / m * alpha * (1 + 1e-12))
    if not len(reached):
        return np.zeros(m, dtype=bool)
    return pvalues <= ordered[reached[-1]]
