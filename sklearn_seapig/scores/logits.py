"""Confidence from the probabilities that logits stand for."""

from sklearn.utils._param_validation import StrOptions

from ..kernels import logits as kernels
from ._logits import BaseLogitScore


class SoftmaxScore(BaseLogitScore):
    """Minus the probability of an error, 1 - max p: the softmax response.

    Parameters
    ----------
    task : {"multiclass", "binary", "multilabel"}, default="multiclass"
        What the columns of X are: the logits of classes; one logit or two; one logit for each
        label that holds or not. A single logit z stands for the two logits (0, z).
    members : bool, default=False
        Whether X has the members of an ensemble on a last axis; their confidences are averaged.
    aggregate : {"min", "mean", "max", "sum"}, default="min"
        How labels become one confidence with ``task="multilabel"``; "min" is the least certain.
    temperature : float or "fit", default=1.0
        The logits are divided by it; "fit" learns it from the labels given to `fit`.
    quantile : float in (0, 1], default=0.99
        Share of new, in-distribution rows to accept (the coverage).
    trim : float in (0, 1), default=None
        Share of fit rows that take no part in the calibration: those of least confidence.
    device : str, default="cpu"
        Where tensors live: "cpu", "cuda", "cuda:1", "mps" or "auto".

    Attributes
    ----------
    temperature_ : float
        The temperature in use.
    classes_ : ndarray of shape (n_classes,)
        What the columns stand for; only with ``temperature="fit"``.
    calibration_scores_ : ndarray of shape (n_calibration,)
        Confidences that the bound is learned from.
    offset_ : float
        The bound on the confidence; follows `quantile`.
    support_ : ndarray of shape (n_samples,)
        Which rows given to `fit` were kept.
    n_features_in_ : int
        Number of columns seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, where `fit` saw a data frame with string names.

    See Also
    --------
    EntropyScore : Looks at all classes.
    MarginScore : Looks at the two largest.

    Notes
    -----
    1 - max p is summed from the other classes, so that confident rows stay apart down to the
    smallest numbers of float64, where max p has long been rounded to 1.

    References
    ----------
    Hendrycks, D. and Gimpel, K. "A Baseline for Detecting Misclassified and Out-of-Distribution
    Examples in Neural Networks", ICLR 2017, arXiv:1610.02136.

    Examples
    --------
    >>> from sklearn_seapig import SoftmaxScore
    >>> score = SoftmaxScore().fit([[2.0, 1.0, 0.0], [5.0, 0.0, 0.0]])
    >>> score.score_samples([[2.0, 1.0, 0.0]]).round(6)
    array([-0.334759])
    """

    def _confidence(self, logits):
        return -kernels.error_probability(logits)


class EntropyScore(BaseLogitScore):
    """Minus the Shannon entropy of the class probabilities, in nats.

    Parameters
    ----------
    task : {"multiclass", "binary", "multilabel"}, default="multiclass"
        What the columns of X are: the logits of classes; one logit or two; one logit for each
        label that holds or not. A single logit z stands for the two logits (0, z).
    members : bool, "predictive" or "mutual_information", default=False
        Whether X has the members of an ensemble on a last axis. True averages their entropies;
        "predictive" takes the entropy of their averaged probabilities, "mutual_information" the
        difference of the two.
    aggregate : {"min", "mean", "max", "sum"}, default="min"
        How labels become one confidence with ``task="multilabel"``; "min" is the least certain.
    temperature : float or "fit", default=1.0
        The logits are divided by it; "fit" learns it from the labels given to `fit`.
    quantile : float in (0, 1], default=0.99
        Share of new, in-distribution rows to accept (the coverage).
    trim : float in (0, 1), default=None
        Share of fit rows that take no part in the calibration: those of least confidence.
    device : str, default="cpu"
        Where tensors live: "cpu", "cuda", "cuda:1", "mps" or "auto".

    Attributes
    ----------
    temperature_ : float
        The temperature in use.
    classes_ : ndarray of shape (n_classes,)
        What the columns stand for; only with ``temperature="fit"``.
    calibration_scores_ : ndarray of shape (n_calibration,)
        Confidences that the bound is learned from.
    offset_ : float
        The bound on the confidence; follows `quantile`.
    support_ : ndarray of shape (n_samples,)
        Which rows given to `fit` were kept.
    n_features_in_ : int
        Number of columns seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, where `fit` saw a data frame with string names.

    See Also
    --------
    SoftmaxScore : Looks at the largest probability alone.

    Notes
    -----
    An entropy is summed from terms of one sign, so it is exact where the probabilities saturate,
    and 0 for a class that is certain.

    With an ensemble, the entropy of the averaged probabilities (total uncertainty) is the mean of
    the members' entropies (aleatoric) plus the mutual information (epistemic: how much the
    members disagree).

    References
    ----------
    Shannon, C. E. "A Mathematical Theory of Communication", 1948.

    Depeweg, S. et al. "Decomposition of Uncertainty in Bayesian Deep Learning for Efficient and
    Risk-sensitive Learning", ICML 2018, arXiv:1710.07283.

    Examples
    --------
    >>> from sklearn_seapig import EntropyScore
    >>> score = EntropyScore().fit([[2.0, 1.0, 0.0], [5.0, 0.0, 0.0]])
    >>> score.score_samples([[2.0, 1.0, 0.0]]).round(6)
    array([-0.832396])
    """

    _parameter_constraints = {
        **BaseLogitScore._parameter_constraints,
        "members": ["boolean", StrOptions({"predictive", "mutual_information"})],
    }

    def _confidence(self, logits):
        return -kernels.entropy(logits)

    def _combine(self, units):
        if self.members == "predictive":
            return -kernels.entropy(kernels.log_mean_probability(units, dim=1))
        if self.members == "mutual_information":
            return -kernels.mutual_information(units, dim=1)
        return super()._combine(units)


class MarginScore(BaseLogitScore):
    """The lead of the largest logit or probability over the second.

    Parameters
    ----------
    kind : {"logit", "probability"}, default="logit"
        Whether logits are compared, z1 - z2, or probabilities, p1 - p2.
    task : {"multiclass", "binary", "multilabel"}, default="multiclass"
        What the columns of X are: the logits of classes; one logit or two; one logit for each
        label that holds or not. A single logit z stands for the two logits (0, z).
    members : bool, default=False
        Whether X has the members of an ensemble on a last axis; their confidences are averaged.
    aggregate : {"min", "mean", "max", "sum"}, default="min"
        How labels become one confidence with ``task="multilabel"``; "min" is the least certain.
    temperature : float or "fit", default=1.0
        The logits are divided by it; "fit" learns it from the labels given to `fit`.
    quantile : float in (0, 1], default=0.99
        Share of new, in-distribution rows to accept (the coverage).
    trim : float in (0, 1), default=None
        Share of fit rows that take no part in the calibration: those of least confidence.
    device : str, default="cpu"
        Where tensors live: "cpu", "cuda", "cuda:1", "mps" or "auto".

    Attributes
    ----------
    temperature_ : float
        The temperature in use.
    classes_ : ndarray of shape (n_classes,)
        What the columns stand for; only with ``temperature="fit"``.
    calibration_scores_ : ndarray of shape (n_calibration,)
        Confidences that the bound is learned from.
    offset_ : float
        The bound on the confidence; follows `quantile`.
    support_ : ndarray of shape (n_samples,)
        Which rows given to `fit` were kept.
    n_features_in_ : int
        Number of columns seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, where `fit` saw a data frame with string names.

    See Also
    --------
    SoftmaxScore : Looks at the largest probability alone.

    Notes
    -----
    A margin of logits grows without end and is not moved by a temperature that is the same for all
    rows, except in scale. It is at most 1e300, the value where all other classes are masked.

    References
    ----------
    Liang, H. et al. "Selective Classification Under Distribution Shifts", TMLR 2024,
    arXiv:2405.05160.

    Examples
    --------
    >>> from sklearn_seapig import MarginScore
    >>> logits = [[2.0, 1.0, 0.0], [5.0, 0.0, 0.0]]
    >>> MarginScore().fit(logits).score_samples(logits)
    array([1., 5.])
    >>> MarginScore("probability").fit(logits).score_samples(logits).round(6)
    array([0.420512, 0.980055])
    """

    _parameter_constraints = {
        **BaseLogitScore._parameter_constraints,
        "kind": [StrOptions({"logit", "probability"})],
    }
    _scored_with = (*BaseLogitScore._scored_with, "kind")

    def __init__(
        self,
        kind="logit",
        task="multiclass",
        *,
        members=False,
        aggregate="min",
        temperature=1.0,
        quantile=0.99,
        trim=None,
        device="cpu",
    ):
        super().__init__(
            task,
            members=members,
            aggregate=aggregate,
            temperature=temperature,
            quantile=quantile,
            trim=trim,
            device=device,
        )
        self.kind = kind

    def _confidence(self, logits):
        if self.kind == "logit":
            return kernels.logit_margin(logits)
        return kernels.probability_margin(logits)
