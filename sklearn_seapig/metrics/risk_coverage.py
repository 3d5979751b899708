"""Risk against coverage: the curve, the areas below it, and points on it.

A selective model that accepts the k most confident of n rows has the coverage k / n, the selective
risk (mean loss of the accepted rows) and the generalized risk (their summed loss over n).
"""

from numbers import Real
from typing import NamedTuple

import numpy as np

from .._validation import Range, check_parameter
from . import _measures as measures
from ._sample import Sample


class RiskCoverageCurve(NamedTuple):
    """What `risk_coverage_curve` returns."""

    coverage: np.ndarray
    selective_risk: np.ndarray
    generalized_risk: np.ndarray
    threshold: np.ndarray


def risk_coverage_curve(loss, confidence, *, sample_weight=None):
    """Compute risk and coverage for every threshold that can be told apart.

    Parameters
    ----------
    loss : array-like of shape (n_samples,)
        Loss of each prediction, not negative: 0/1 errors, absolute residuals, ...
    confidence : array-like of shape (n_samples,)
        Confidence in each prediction; higher is more confident.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.

    Returns
    -------
    curve : RiskCoverageCurve
        A named tuple of float64 arrays of shape (n_thresholds,), most confident first.
        ``coverage`` rises to 1. ``selective_risk`` is the mean loss of accepted rows,
        ``generalized_risk`` their summed loss over all rows. ``threshold`` falls; accepting
        ``confidence >= threshold[i]`` gives the i-th point.

    Raises
    ------
    ValueError
        If a loss is negative, a number is missing, or the lengths differ.

    See Also
    --------
    aurc_score : Area below the selective risk.
    augrc_score : Area below the generalized risk.
    RiskCoverageDisplay : The curve as a picture.

    Notes
    -----
    Rows of equal confidence are accepted together, so the curve has one point for each distinct
    confidence, and the order of the rows never matters.

    References
    ----------
    El-Yaniv, R. and Wiener, Y. "On the Foundations of Noise-free Selective Classification",
    JMLR 2010.

    Examples
    --------
    >>> from sklearn_seapig.metrics import risk_coverage_curve
    >>> curve = risk_coverage_curve(loss=[0, 0, 1, 1], confidence=[0.9, 0.8, 0.8, 0.1])
    >>> curve.coverage
    array([0.25, 0.75, 1.  ])
    >>> curve.selective_risk
    array([0.        , 0.33333333, 0.5       ])
    >>> curve.threshold
    array([0.9, 0.8, 0.1])
    """
    blocks = Sample(loss, confidence, sample_weight).blocks
    weight, loss = measures.cumulated(blocks)
    total = weight[-1]
    return RiskCoverageCurve(weight / total, loss / weight, loss / total, blocks.confidence)


def aurc_score(loss, confidence, *, sample_weight=None):
    """Compute the area under the risk-coverage curve: the selective risk averaged over ranks.

    Parameters
    ----------
    loss : array-like of shape (n_samples,)
        Loss of each prediction, not negative: 0/1 errors, absolute residuals, ...
    confidence : array-like of shape (n_samples,)
        Confidence in each prediction; higher is more confident.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.

    Returns
    -------
    aurc : float
        In the unit of the loss; lower is better. A random order has the mean loss, on average.

    Raises
    ------
    ValueError
        If a loss is negative, a number is missing, or the lengths differ.

    See Also
    --------
    excess_aurc_score : What is left above the best possible order.
    augrc_score : The same with the generalized risk, which errors at the top do not dominate.

    Notes
    -----
    AURC = (1/n) sum over k of the mean loss of the k most confident rows. Among rows of equal
    confidence the loss is taken to grow evenly, which is the mean over all orders of them; a
    constant confidence has the mean loss exactly.

    With weights, a row of weight w counts w times the selective risk at its rank; tied rows share
    their mean weight and mean loss. Unlike for `augrc_score`, a row of weight 2 is therefore not
    quite the same as two rows.

    References
    ----------
    Geifman, Y., Uziel, G. and El-Yaniv, R. "Bias-Reduced Uncertainty Estimation for Deep Neural
    Classifiers", ICLR 2019, arXiv:1805.08206.

    Examples
    --------
    >>> from sklearn_seapig.metrics import aurc_score
    >>> aurc_score(loss=[0, 0, 1], confidence=[0.9, 0.8, 0.1])  # (0 + 0 + 1/3) / 3
    0.111...
    """
    return float(measures.aurc(Sample(loss, confidence, sample_weight)))


def excess_aurc_score(loss, confidence, *, sample_weight=None):
    """Compute the AURC above the smallest one that these losses allow (E-AURC).

    Parameters
    ----------
    loss : array-like of shape (n_samples,)
        Loss of each prediction, not negative: 0/1 errors, absolute residuals, ...
    confidence : array-like of shape (n_samples,)
        Confidence in each prediction; higher is more confident.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.

    Returns
    -------
    excess : float
        In the unit of the loss; 0 where no row of larger loss is as confident as one of smaller
        loss. What is below 1e-12 of the mean loss is rounding, and is given as 0.

    Raises
    ------
    ValueError
        If a loss is negative, a number is missing, or the lengths differ.

    See Also
    --------
    normalized_aurc_score : The same in units of a random order.

    Notes
    -----
    The smallest AURC is that of the finite sample, rows ordered by their loss, and not the limit
    r + (1 - r) ln(1 - r) for many rows, which is too small for few.

    With weights, rows of equal loss keep their order in it. No order is known to be best then for
    losses other than 0/1, and the excess over the order by loss may come out slightly negative.

    References
    ----------
    Geifman, Y., Uziel, G. and El-Yaniv, R. "Bias-Reduced Uncertainty Estimation for Deep Neural
    Classifiers", ICLR 2019, arXiv:1805.08206.

    Examples
    --------
    >>> from sklearn_seapig.metrics import excess_aurc_score
    >>> excess_aurc_score(loss=[1, 0, 0, 0], confidence=[0.9, 0.8, 0.7, 0.6])  # 11/24
    0.458...
    """
    return float(measures.excess_aurc(Sample(loss, confidence, sample_weight)))


def normalized_aurc_score(loss, confidence, *, sample_weight=None):
    """Compute the excess AURC in units of that of a random order (NAURC).

    Parameters
    ----------
    loss : array-like of shape (n_samples,)
        Loss of each prediction, not negative: 0/1 errors, absolute residuals, ...
    confidence : array-like of shape (n_samples,)
        Confidence in each prediction; higher is more confident.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.

    Returns
    -------
    naurc : float
        0 for the best order, 1 for a random one, above 1 for worse; nan, with a warning, where
        all losses are equal and no order is better than another.

    Raises
    ------
    ValueError
        If a loss is negative, a number is missing, or the lengths differ.

    References
    ----------
    Cattelan, L. F. P. and Silva, D. "How to Fix a Broken Confidence Estimator: Evaluating Post-hoc
    Methods for Selective Classification with Deep Neural Networks", UAI 2024, arXiv:2305.15508.

    Examples
    --------
    >>> from sklearn_seapig.metrics import normalized_aurc_score
    >>> normalized_aurc_score(loss=[0, 1, 0, 0], confidence=[0.5, 0.5, 0.5, 0.5])
    1.0
    """
    naurc = float(measures.normalized_aurc(Sample(loss, confidence, sample_weight)))
    return measures.warn_if_undefined(naurc, "naurc", "all losses are equal")


def augrc_score(loss, confidence, *, sample_weight=None):
    """Compute the area under the generalized risk-coverage curve.

    Parameters
    ----------
    loss : array-like of shape (n_samples,)
        Loss of each prediction, not negative: 0/1 errors, absolute residuals, ...
    confidence : array-like of shape (n_samples,)
        Confidence in each prediction; higher is more confident.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows; a row of weight 2 counts as two rows.

    Returns
    -------
    augrc : float
        In the unit of the loss; lower is better. For 0/1 errors at most 0.5.

    Raises
    ------
    ValueError
        If a loss is negative, a number is missing, or the lengths differ.

    See Also
    --------
    failure_auroc_score : The part of it that is the ranking.

    Notes
    -----
    The trapezoid of the generalized risk at the ends of tied blocks, from (0, 0). For 0/1 errors at
    rate r it is r (1 - r) (1 - AUROC) + r² / 2, where AUROC is `failure_auroc_score`, ties
    included: r² / 2 at best, r / 2 at random.

    References
    ----------
    Traub, J. et al. "Overcoming Common Flaws in the Evaluation of Selective Classification
    Systems", NeurIPS 2024, arXiv:2407.01032.

    Examples
    --------
    >>> from sklearn_seapig.metrics import augrc_score
    >>> augrc_score(loss=[0, 0, 1, 1], confidence=[0.9, 0.8, 0.7, 0.6])
    0.125
    """
    return float(measures.augrc(Sample(loss, confidence, sample_weight)))


def coverage_at_risk(loss, confidence, target, *, sample_weight=None):
    """Return the largest coverage whose selective risk is at most a target.

    Parameters
    ----------
    loss : array-like of shape (n_samples,)
        Loss of each prediction, not negative: 0/1 errors, absolute residuals, ...
    confidence : array-like of shape (n_samples,)
        Confidence in each prediction; higher is more confident.
    target : float
        The selective risk allowed, in the unit of the loss.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.

    Returns
    -------
    coverage : float
        In [0, 1]; 0 where no threshold meets the target.

    Raises
    ------
    ValueError
        If `target` or a loss is negative, a number is missing, or the lengths differ.

    See Also
    --------
    RiskThreshold : A threshold that keeps such a target on new rows, with a stated probability.

    Notes
    -----
    The curve is not monotone: this is the last threshold that meets the target, not the one before
    the first that fails. It describes these rows and promises nothing for others.

    Examples
    --------
    >>> from sklearn_seapig.metrics import coverage_at_risk
    >>> coverage_at_risk([0, 1, 0, 0, 1], [0.9, 0.8, 0.7, 0.6, 0.5], target=0.25)
    0.8
    """
    check_parameter(
        "target", target, Range(Real, 0, None, closed="left"), caller="coverage_at_risk"
    )
    return float(measures.coverage_at_risk(Sample(loss, confidence, sample_weight), target))


def risk_at_coverage(loss, confidence, coverage, *, sample_weight=None):
    """Return the selective risk at the smallest coverage that reaches a given one.

    Parameters
    ----------
    loss : array-like of shape (n_samples,)
        Loss of each prediction, not negative: 0/1 errors, absolute residuals, ...
    confidence : array-like of shape (n_samples,)
        Confidence in each prediction; higher is more confident.
    coverage : float in (0, 1]
        Share of rows to accept at least. Tied rows are accepted together.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.

    Returns
    -------
    risk : float
        Mean loss of the accepted rows.

    Raises
    ------
    ValueError
        If `coverage` is not in (0, 1], a loss is negative, a number is missing, or the lengths
        differ.

    Examples
    --------
    >>> from sklearn_seapig.metrics import risk_at_coverage
    >>> risk_at_coverage([0, 1, 0, 0, 1], [0.9, 0.8, 0.7, 0.6, 0.5], coverage=0.8)
    0.25
    """
    check_parameter(
        "coverage", coverage, Range(Real, 0, 1, closed="right"), caller="risk_at_coverage"
    )
    return float(measures.risk_at_coverage(Sample(loss, confidence, sample_weight), coverage))
