"""Confidence from the size of logits."""

from ..kernels import logits as kernels
from ._logits import BaseLogitScore


class EnergyScore(BaseLogitScore):
    """Minus the free energy of the logits, T log sum exp(z / T).

    Parameters
    ----------
    task : {"multiclass", "binary", "multilabel"}, default="multiclass"
        What the columns of X are: the logits of classes; one logit or two; one logit for each
        label that holds or not. A single logit z stands for the two logits (0, z).
    members : bool, default=False
        Whether X has the members of an ensemble on a last axis; their confidences are averaged.
    aggregate : {"min", "mean", "max", "sum"}, default="sum"
        How labels become one confidence with ``task="multilabel"``; "sum" is the joint energy.
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
    MaxLogitScore : Its limit at temperature 0.
    SoftmaxScore : Does not see what all logits have in common.

    Notes
    -----
    Unlike probabilities, the energy sees the size of the logits, which is larger on data like the
    training data.

    With ``task="multilabel"`` and the default "sum" it is the joint energy, sum log(1 + exp z): it
    counts evidence for labels that hold and none for labels that do not.

    References
    ----------
    Liu, W. et al. "Energy-based Out-of-distribution Detection", NeurIPS 2020, arXiv:2010.03759.

    Wang, H. et al. "Can multi-label classification networks know what they don't know?", NeurIPS
    2021, arXiv:2109.14162.

    Examples
    --------
    >>> from sklearn_seapig import EnergyScore
    >>> score = EnergyScore().fit([[2.0, 1.0, 0.0], [5.0, 0.0, 0.0]])
    >>> score.score_samples([[2.0, 1.0, 0.0]]).round(6)
    array([2.407606])
    """

    def __init__(
        self,
        task="multiclass",
        *,
        members=False,
        aggregate="sum",
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

    def _confidence(self, logits):
        return self.temperature_ * kernels.log_sum_exp(logits)


class MaxLogitScore(BaseLogitScore):
    """The largest logit.

    Parameters
    ----------
    task : {"multiclass", "binary", "multilabel"}, default="multiclass"
        What the columns of X are: the logits of classes; one logit or two; one logit for each
        label that holds or not. A single logit z stands for the two logits (0, z).
    members : bool, default=False
        Whether X has the members of an ensemble on a last axis; their confidences are averaged.
    aggregate : {"min", "mean", "max", "sum"}, default="max"
        How labels become one confidence with ``task="multilabel"``; "max" is the largest.
    temperature : float or "fit", default=1.0
        No effect: the largest logit is that of the logits as given.
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
    EnergyScore : The same with all logits taking part.

    Notes
    -----
    With ``task="binary"`` and one logit z, which stands for (0, z), it is max(0, z): a row that is
    certainly negative counts 0, and `MarginScore` is the better choice. With ``task="multilabel"``
    it is the largest logit itself.

    References
    ----------
    Hendrycks, D. et al. "Scaling Out-of-Distribution Detection for Real-World Settings", ICML
    2022, arXiv:1911.11132.

    Examples
    --------
    >>> from sklearn_seapig import MaxLogitScore
    >>> score = MaxLogitScore().fit([[2.0, 1.0, 0.0], [5.0, 0.0, 0.0]])
    >>> score.score_samples([[2.0, 1.0, 0.0]])
    array([2.])
    """

    def __init__(
        self,
        task="multiclass",
        *,
        members=False,
        aggregate="max",
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

    def _confidence(self, logits):
        # Logits come divided by the temperature, which is no part of this score's definition.
        if self.task == "multilabel":
            logits = logits[..., 1:]
        return self.temperature_ * kernels.largest_logit(logits)
