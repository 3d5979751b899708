"""The one extension point: a confidence score that is a scikit-learn outlier detector."""

import math
from numbers import Real

import numpy as np
import torch
from sklearn.base import BaseEstimator, OutlierMixin, _fit_context
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from ._state import OnDevice, blank_twin, snapshot
from ._torch import as_tensor, exact_arithmetic, from_numpy, to_numpy
from ._validation import QUANTILE, Range, check_features, check_parameter
from .thresholds import check_confidence, quantile_bound


class BaseScore(OnDevice, OutlierMixin, BaseEstimator):
    """Base class of all confidence scores: learn, calibrate, accept or reject.

    A subclass writes `_score`, mostly also `_fit`, and gets the whole contract. The number that
    `score_samples` returns is a confidence: higher is more normal. A row is accepted where its
    confidence is at least ``offset_``.

    Parameters
    ----------
    quantile : float in (0, 1], default=0.99
        Share of new, in-distribution rows to accept (the coverage). It can be changed on a fitted
        score, by ``set_params(quantile=...)`` or `set_threshold`, without a new fit.
    trim : float in (0, 1), default=None
        Share of fit rows to leave out of the final fit: those whose confidence, scored as if
        unseen, is strictly below the `trim`-quantile. Equal rows go together or not at all.
        They take no part in the calibration either, so that `quantile` is the share of rows
        like the kept ones: without ``X_cal``, about ``quantile * (1 - trim)`` of rows like all.
    device : str, default="cpu"
        Where tensors live: "cpu", "cuda", "cuda:1", "mps" or "auto". A fitted score that is loaded
        on a machine without it warns once and computes on the CPU; `fit` refuses it there.

    Attributes
    ----------
    calibration_scores_ : ndarray of shape (n_calibration,)
        Confidences that the bound is learned from, in the order of their rows.
    offset_ : float
        The bound on the confidence; follows `quantile`.
    support_ : ndarray of shape (n_samples,)
        Which rows given to `fit` were kept (all, unless `trim` is set).
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where `fit` saw a data frame with string names.

    Notes
    -----
    Think twice before adding anything here. Hooks for subclasses, all with finite tensors on the
    device, float32 or float64:

    * ``_fit(Z, y)``: learn; all learned state is arrays and plain values in attributes that end
      in an underscore.
    * ``_score(Z)``: confidence of each row, a float64 tensor or array of shape (n,).
    * ``_score_fit_rows(Z)``: confidence of the rows just fitted on *as if unseen*, leave-one-out
      where it exists. The default is ``_score(Z)``, which is optimistic for a score that
      remembers its rows.
    * ``_usable(Z)``: bool array of shape (n,), which fit rows can be learned from at all.
    * ``_score_calibration(Z)``: confidence of calibration rows, for scores that must look out for
      rows they were fitted on. The default is ``_score(Z)``.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_seapig import BaseScore
    >>> class RadiusScore(BaseScore):
    ...     '''Minus the distance from the origin.'''
    ...     def _score(self, Z):
    ...         return -Z.norm(dim=1)
    >>> X = np.random.default_rng(0).normal(size=(100, 2))
    >>> RadiusScore(quantile=0.9).fit(X).predict([[0.0, 0.0], [9.0, 9.0]])
    array([ 1, -1])
    """

    _parameter_constraints = {
        "quantile": [QUANTILE],
        "trim": [Range(Real, 0, 1, closed="neither"), None],
        "device": [str, torch.device],
    }
    _min_samples = 1
    # Parameters that scoring reads: they must be those of the fit that learned the bound.
    _scored_with = ()

    def __init__(self, *, quantile=0.99, trim=None, device="cpu"):
        self.quantile = quantile
        self.trim = trim
        self.device = device

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, *, X_cal=None):
        """Learn from X and set the bound.

        Parameters
        ----------
        X : array-like or tensor of shape (n_samples, n_features)
            Rows to learn from.
        y : array-like of shape (n_samples,), default=None
            Labels, for the scores that use them; ignored by the others.
        X_cal : array-like or tensor of shape (n_calibration, n_features), default=None
            Rows that the bound is learned from, fresh ones. By default the rows of X, scored as
            if unseen.

        Returns
        -------
        self : object
            The fitted score.

        Raises
        ------
        ValueError
            If X or X_cal is not a finite 2-D array, has too few rows, or a parameter is out of
            its range. The score is then as it was before.
        """
        twin = blank_twin(self)
        twin._fit_and_calibrate(X, y, X_cal)
        self.__dict__ = twin.__dict__
        return self

    def _fit_and_calibrate(self, X, y, X_cal):
        Z = self._tensor(X, reset=True)
        _check_labels(y, len(Z))
        self._remember_parameters()
        if X_cal is not None:
            X_cal = self._tensor(X_cal, name="X_cal")
        with exact_arithmetic(Z.device):
            self.support_ = self._usable(Z)
            Z, y = _keep(Z, y, self.support_)
            self._fit(Z, y)
            if self.trim is not None:
                inner = _above_quantile(self._run(self._score_fit_rows, Z), self.trim)
                self.support_[self.support_] = inner
                Z, y = _keep(Z, y, inner)
                self._fit(Z, y)
        if X_cal is None:
            self._calibrate(self._run(self._score_fit_rows, Z))
        else:
            self._calibrate(self._run(self._score_calibration, X_cal))

    def set_threshold(self, q=None, X=None, *, scores=None):
        """Set a new bound without a new fit.

        Parameters
        ----------
        q : float in (0, 1], default=None
            Share of new, in-distribution rows to accept; becomes `quantile`. None keeps it.
        X : array-like or tensor of shape (n_calibration, n_features), default=None
            Calibration rows, which replace the ones before. None keeps the ones before.
        scores : array-like of shape (n_calibration,), default=None
            Confidences of calibration rows that were scored elsewhere (out of fold, on another
            machine), in place of `X`.

        Returns
        -------
        self : object
            The score with its new ``offset_``.

        Raises
        ------
        ValueError
            If `q` is out of its range, `X` or `scores` is empty or not finite, both are given, or a
            parameter that scoring reads was changed after `fit`. The score is then as it was
            before.
        """
        check_is_fitted(self)
        self._check_unchanged()
        q = self.quantile if q is None else q
        check_parameter("q", q, QUANTILE, f"{type(self).__name__}.set_threshold")
        if X is not None and scores is not None:
            raise ValueError("Both X and scores are given; set_threshold takes one of them.")
        if X is not None:
            Z = self._tensor(X)
            scores = self._run(self._score_calibration, Z)
        elif scores is None:
            self._check_calibrated()
            scores = self.calibration_scores_
        twin = snapshot(self)
        twin.__dict__ = {**vars(self), "quantile": q}
        twin._calibrate(check_confidence(scores, name="scores"))
        self.__dict__ = twin.__dict__
        return self

    def _calibrate(self, scores):
        self.calibration_scores_ = scores.copy()  # may be the user's own, or a column of X
        self._bound_ = (self.quantile, quantile_bound(scores, self.quantile))

    def _check_calibrated(self):
        check_is_fitted(self)
        message = "This %(name)s has seen no calibration rows; call set_threshold(X=...)."
        check_is_fitted(self, "calibration_scores_", msg=message)

    @property
    def offset_(self):
        """The bound: minus the min(n, ceil((n + 1) quantile))-th smallest uncertainty."""
        self._check_calibrated()
        quantile, bound = self._bound_
        if quantile == self.quantile:
            return bound
        check_parameter("quantile", self.quantile, QUANTILE, type(self).__name__)
        return quantile_bound(self.calibration_scores_, self.quantile)

    def score_samples(self, X):
        """Return the confidence of each row; higher is more normal.

        Parameters
        ----------
        X : array-like or tensor of shape (n_samples, n_features)
            Rows to score.

        Returns
        -------
        scores : float64 ndarray of shape (n_samples,)
            The confidences. A row gets the same one in every batch.
        """
        check_is_fitted(self)
        return self._run(self._score, self._tensor(X))

    def decision_function(self, X):
        """Return ``score_samples(X) - offset_``: a row is accepted where this is at least 0.

        Parameters
        ----------
        X : array-like or tensor of shape (n_samples, n_features)
            Rows to score.

        Returns
        -------
        decision : float64 ndarray of shape (n_samples,)
        """
        state = snapshot(self)
        return state.score_samples(X) - state.offset_

    def predict(self, X):
        """Return +1 for each accepted row and -1 for each rejected one.

        Parameters
        ----------
        X : array-like or tensor of shape (n_samples, n_features)
            Rows to judge.

        Returns
        -------
        accepted : int64 ndarray of shape (n_samples,)
        """
        return np.where(self.select(X).selected, 1, -1)

    def select(self, X):
        """Return the confidences and the decisions from one pass.

        Parameters
        ----------
        X : array-like or tensor of shape (n_samples, n_features)
            Rows to judge.

        Returns
        -------
        selection : Bunch
            ``score``, float64 array of shape (n_samples,), and ``selected``, bool array of shape
            (n_samples,), True where the row is accepted.
        """
        state = snapshot(self)
        score = state.score_samples(X)
        return Bunch(score=score, selected=score >= state.offset_)

    def _usable(self, Z):
        return np.ones(len(Z), dtype=bool)

    def _fit(self, Z, y):
        """Learn; nothing to learn by default."""

    def _score(self, Z):
        raise NotImplementedError(f"{type(self).__name__} must define _score(Z).")

    def _score_fit_rows(self, Z):
        return self._score(Z)

    def _score_calibration(self, Z):
        return self._score(Z)

    def _check(self, X, *, reset=False, name="X"):
        """Return X as a finite float array; for scores that take something else than 2-D X."""
        min_samples = self._min_samples if reset else 1
        return check_features(self, X, reset=reset, name=name, min_samples=min_samples)

    def _tensor(self, X, *, reset=False, name="X"):
        if not reset:
            self._check_unchanged()
        return as_tensor(self._check(X, reset=reset, name=name), self._device)

    def _remember_parameters(self):
        self._fitted_with_ = {name: getattr(self, name) for name in self._scored_with}

    def _check_unchanged(self):
        for name, value in getattr(self, "_fitted_with_", {}).items():
            now = getattr(self, name)
            if now != value:
                raise ValueError(
                    f"{name} was {value!r} in fit and is {now!r} now; fit again, as the bound was "
                    "learned with the former."
                )

    def _run(self, hook, Z):
        """Call a hook and return its confidences as a float64 array, refusing NaN."""
        with exact_arithmetic(Z.device):
            scores = hook(Z)
        if isinstance(scores, torch.Tensor):
            scores = to_numpy(scores, name="scores")
        scores = np.asarray(scores, dtype=np.float64)
        if scores.shape != (len(Z),):
            raise ValueError(
                f"{type(self).__name__} must return one confidence for each of {len(Z)} rows, got "
                f"an array of shape {scores.shape}."
            )
        if np.isnan(scores).any():
            raise ValueError(
                f"{type(self).__name__} returned NaN for row {int(np.isnan(scores).argmax())}; "
                "rescale X, its values are too large or too small for float64."
            )
        return scores


def _check_labels(y, n_samples):
    """Refuse what cannot be labels of the rows; most scores make no other use of them."""
    if y is not None and hasattr(y, "__len__") and len(y) != n_samples:
        raise ValueError(
            f"y has {len(y)} entries for {n_samples} rows of X; give one label a row. Calibration "
            "rows are passed as X_cal."
        )


def _keep(Z, y, mask):
    if mask.all():
        return Z, y
    return Z[from_numpy(mask).to(Z.device)], None if y is None else np.asarray(y)[mask]


def _above_quantile(scores, trim):
    """Return which rows to keep when the lowest share `trim` goes and ties stay."""
    at = min(len(scores) - 1, math.floor(round(trim * len(scores), 9)))
    return scores >= np.partition(scores, at)[at]
