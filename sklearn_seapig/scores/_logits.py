"""The parent of the scores that look at the logits of a network."""

from numbers import Real

import torch
from sklearn.utils._param_validation import StrOptions

from .._logits import TASKS, check_logits, row_blocks
from .._validation import Range
from .._warn import warn
from ..base import BaseScore
from ..calibration import fit_temperature
from ..kernels.logits import as_units

_AGGREGATE = {
    "min": lambda confidence: confidence.amin(dim=-1),
    "mean": lambda confidence: confidence.mean(dim=-1),
    "max": lambda confidence: confidence.amax(dim=-1),
    "sum": lambda confidence: confidence.sum(dim=-1),
}


class BaseLogitScore(BaseScore):
    """Base class of the scores of logits: shapes, ensembles, labels and temperature.

    A subclass writes `_confidence`, the confidence of distributions given as logits on the last
    axis, and gets every task.

    Parameters
    ----------
    task : {"multiclass", "binary", "multilabel"}, default="multiclass"
        What the columns of X are: the logits of classes; one logit or two; one logit for each
        label that holds or not. A single logit z stands for the two logits (0, z).
    members : bool, default=False
        Whether X has the members of an ensemble on a last axis: (n_samples, n_columns, n_members),
        or (n_samples, n_members) for a single binary logit. The members' confidences are averaged.
    aggregate : {"min", "mean", "max", "sum"}, default="min"
        How the confidences of the labels become one, with ``task="multilabel"``. "min" is the least
        certain label.
    temperature : float or "fit", default=1.0
        The logits are divided by it. "fit" finds the temperature that fits the labels given to
        `fit` best.
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
    SoftmaxScore : A score to start with.

    Notes
    -----
    All of `fit` is calibration: give it logits of rows that the network was not trained on. Labels
    are looked at with ``temperature="fit"`` alone. They may be column indices, or any labels of
    which every class occurs; these stand for the columns in sorted order.

    Everything is computed in float64. A class may be masked by -inf.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_seapig import BaseLogitScore
    >>> class SecondLogitScore(BaseLogitScore):
    ...     '''Minus the second largest logit.'''
    ...     def _confidence(self, logits):
    ...         return -logits.topk(2, dim=-1).values[..., 1]
    >>> SecondLogitScore().fit([[3.0, 1.0, 0.0], [2.0, 2.0, 0.0]]).score_samples([[5.0, 4.0, 3.0]])
    array([-4.])
    """

    # A SelectiveClassifier fits such a score on outputs for calibration rows, with true columns.
    fits_on_calibration = True
    _scored_with = ("task", "members", "aggregate")

    _parameter_constraints = {
        **BaseScore._parameter_constraints,
        "task": [StrOptions(TASKS)],
        "members": ["boolean"],
        "aggregate": [StrOptions(set(_AGGREGATE))],
        "temperature": [Range(Real, 0, None, closed="neither"), StrOptions({"fit"})],
    }

    def __init__(
        self,
        task="multiclass",
        *,
        members=False,
        aggregate="min",
        temperature=1.0,
        quantile=0.99,
        trim=None,
        device="cpu",
    ):
        super().__init__(quantile=quantile, trim=trim, device=device)
        self.task = task
        self.members = members
        self.aggregate = aggregate
        self.temperature = temperature

    def _confidence(self, logits):
        """Return the confidence of distributions, one for each row of logits on the last axis."""
        raise NotImplementedError(f"{type(self).__name__} must define _confidence(logits).")

    def _combine(self, units):
        """Return the confidence of the labels, (n, labels), from (n, members, labels, classes)."""
        return self._confidence(units).mean(dim=1)

    def _check(self, X, *, reset=False, name="X"):
        members = bool(self.members)
        return check_logits(self, X, task=self.task, members=members, reset=reset, name=name)

    def _fit(self, Z, y):
        if self.task != "multilabel" and _are_probabilities(Z, bool(self.members)):
            warn(
                "Input X looks like probabilities: every row lies in [0, 1] and sums to 1. "
                f"{type(self).__name__} takes logits; pass those, or np.log of the probabilities."
            )
        self.temperature_ = self.temperature
        if self.temperature == "fit":
            self.temperature_, self.classes_ = fit_temperature(Z, y, self.task, bool(self.members))
        self.temperature_ = float(self.temperature_)

    def _score(self, Z):
        return torch.cat([self._score_block(Z[rows].to(torch.float64)) for rows in row_blocks(Z)])

    def _score_block(self, Z):
        if len(Z) == 1:
            # torch splits a sum over one long row between its threads, and then it rounds otherwise
            # than the same row among others.
            return self._score_block(Z.expand(2, *Z.shape[1:]))[:1]
        units = as_units(Z, self.task, bool(self.members))
        return _AGGREGATE[self.aggregate](self._combine(units / self.temperature_))


def _are_probabilities(Z, members):
    single = Z.shape[1] == 1 or (members and Z.ndim == 2)
    if single or Z.amin() < 0 or Z.amax() > 1:
        return False
    # Probabilities of half precision sum to 1 within its rounding.
    return bool(((Z.sum(dim=1) - 1).abs() < 1e-2).all())
