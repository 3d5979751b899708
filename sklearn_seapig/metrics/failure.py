"""How well a confidence tells right predictions from wrong ones, and what a threshold is worth."""

from numbers import Real

import numpy as np

from .._validation import Range, check_parameter
from . import _measures as measures
from ._sample import Sample

_ONE_KIND = "all predictions are right, or all are wrong"


def failure_auroc_score(loss, confidence, *, sample_weight=None):
    """Compute the probability that a right prediction is more confident than a wrong one.

    Parameters
    ----------
    loss : array-like of shape (n_samples,)
        0 where the prediction is right, 1 where it is wrong.
    confidence : array-like of shape (n_samples,)
        Confidence in each prediction; higher is more confident.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.

    Returns
    -------
    auroc : float
        In [0, 1]; ties count half. 0.5 for a random order; nan, with a warning, where all
        predictions are right or all are wrong.

    Raises
    ------
    ValueError
        If a loss is neither 0 nor 1, a number is missing, or the lengths differ.

    See Also
    --------
    augrc_score : This ranking and the error rate in one number.

    References
    ----------
    Hendrycks, D. and Gimpel, K. "A Baseline for Detecting Misclassified and Out-of-Distribution
    Examples in Neural Networks", ICLR 2017, arXiv:1610.02136.

    Examples
    --------
    >>> from sklearn_seapig.metrics import failure_auroc_score
    >>> failure_auroc_score(loss=[0, 1, 0, 1], confidence=[0.9, 0.8, 0.7, 0.6])
    0.75
    """
    sample = _binary_sample(loss, confidence, sample_weight)
    return measures.warn_if_undefined(
        float(measures.failure_auroc(sample)), "failure_auroc", _ONE_KIND
    )


def fpr_at_tpr(loss, confidence, tpr=0.95, *, sample_weight=None):
    """Return the share of wrong predictions accepted when a share of the right ones is.

    Parameters
    ----------
    loss : array-like of shape (n_samples,)
        0 where the prediction is right, 1 where it is wrong.
    confidence : array-like of shape (n_samples,)
        Confidence in each prediction; higher is more confident.
    tpr : float in (0, 1], default=0.95
        Share of right predictions to accept at least. Tied rows are accepted together.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.

    Returns
    -------
    fpr : float
        In [0, 1], lower is better; nan, with a warning, where all predictions are right or all are
        wrong.

    Raises
    ------
    ValueError
        If `tpr` is not in (0, 1], a loss is neither 0 nor 1, a number is missing, or the lengths
        differ.

    Notes
    -----
    For the detection of foreign inputs give 1 as the loss of these: the number is then the FPR95 of
    that literature, with the inputs of the known kind as positives.

    Examples
    --------
    >>> from sklearn_seapig.metrics import fpr_at_tpr
    >>> fpr_at_tpr(loss=[0, 0, 1, 0, 1], confidence=[0.9, 0.8, 0.7, 0.6, 0.5])
    0.5
    """
    check_parameter("tpr", tpr, Range(Real, 0, 1, closed="right"), caller="fpr_at_tpr")
    sample = _binary_sample(loss, confidence, sample_weight)
    return measures.warn_if_undefined(
        float(measures.fpr_at_tpr(sample, tpr)), "fpr_at_tpr", _ONE_KIND
    )


def effective_reliability_score(loss, confidence, threshold, *, cost=1.0, sample_weight=None):
    """Compute the mean worth of answers: right ones earn, wrong ones cost, abstentions are free.

    Parameters
    ----------
    loss : array-like of shape (n_samples,)
        Loss of each prediction, in [0, 1]; 1 is wrong.
    confidence : array-like of shape (n_samples,)
        Confidence in each prediction; higher is more confident.
    threshold : float
        Rows whose confidence is at least this are answered.
    cost : float, default=1.0
        What a wrong answer costs, where a right one earns 1.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.

    Returns
    -------
    reliability : float
        At most 1; 0 for a model that never answers.

    Raises
    ------
    ValueError
        If a loss is not in [0, 1], `threshold` is NaN, `cost` is negative, a number is missing, or
        the lengths differ.

    Notes
    -----
    An answer earns 1 - loss where the loss is below 1, and -`cost` where it is 1. It is worth
    giving where the probability of being right exceeds cost / (1 + cost).

    References
    ----------
    Whitehead, S. et al. "Reliable Visual Question Answering: Abstain Rather Than Answer
    Incorrectly", ECCV 2022, arXiv:2204.13631.

    Examples
    --------
    >>> from sklearn_seapig.metrics import effective_reliability_score
    >>> effective_reliability_score([0, 0, 1, 1], [0.9, 0.8, 0.7, 0.6], threshold=0.7)
    0.25
    """
    name = "effective_reliability_score"
    check_parameter("cost", cost, Range(Real, 0, None, closed="left"), caller=name)
    check_parameter("threshold", threshold, Range(Real, None, None, closed="both"), caller=name)
    sample = Sample(loss, confidence, sample_weight)
    if sample.loss.max() > 1:
        raise ValueError(
            f"loss holds {sample.loss.max():.6g}, but {name} needs losses in [0, 1]; divide them "
            "by their largest possible value."
        )
    earned = np.where(sample.loss < 1, 1 - sample.loss, -float(cost))
    worth = np.where(sample.confidence >= threshold, earned, 0)
    return float(np.average(worth, weights=sample.weight))


def _binary_sample(loss, confidence, sample_weight):
    sample = Sample(loss, confidence, sample_weight)
    if not sample.is_binary:
        other = sample.loss[(sample.loss != 0) & (sample.loss != 1)][0]
        raise ValueError(
            f"loss holds {other:.6g}, but right and wrong are 0 and 1 here; pass "
            "loss > limit, with the loss from which on a prediction is wrong."
        )
    return sample
