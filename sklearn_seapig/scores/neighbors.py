"""Confidence from the distances to the nearest reference rows."""

import warnings
from numbers import Integral

import numpy as np
import torch
from sklearn.covariance import ledoit_wolf
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted

from .._torch import from_numpy, to_numpy
from .._validation import Range, check_features, check_parameter
from ..base import BaseScore
from ..kernels.covariance import whitening
from ..kernels.linear import map_rows
from ..kernels.moments import Moments
from ..kernels.neighbors import euclidean_norm
from ..neighbors import ExactNeighbors

CHUNK = 32768  # rows that are prepared and searched at once

_AGGREGATE = {
    "max": lambda distances: distances[:, -1],
    "mean": lambda distances: distances.mean(axis=1),
    "median": lambda distances: np.median(distances, axis=1),
    "min": lambda distances: distances[:, 0],
}

_PARAMETERS = """k : int, default=5
        Number of neighbors.
    stat : {"max", "mean", "median", "min"}, default="max"
        How the k distances become one number.
    quantile : float in (0, 1], default=0.99
        Share of new, in-distribution rows to accept (the coverage).
    trim : float in (0, 1), default=None
        Share of fit rows to leave out of the reference set: those farthest from the others.
    device : str, default="cpu"
        Where the search runs: "cpu", "cuda", "cuda:1", "mps" or "auto"."""

_ATTRIBUTES = """calibration_scores_ : ndarray of shape (n_calibration,)
        Confidences that the bound is learned from.
    offset_ : float
        The bound on the confidence; follows `quantile`.
    support_ : ndarray of shape (n_samples,)
        Which rows given to `fit` are in the reference set.
    search_spec_ : dict
        The search in use: its name, whether it is exact, its size.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where `fit` saw a data frame with string names."""

_NOTES = """The search is exact at every size, and equal distances come in the order of the rows.
    float32 data are searched in float32 and measured in float64.

    ``score_samples`` of a row that is in the reference set includes the match with itself. Without
    ``X_cal`` the bound is learned leave-one-out instead: each row is scored against all others.
    Calibration rows that are also reference rows are scored the same way, with a warning."""


def _document(cls):
    for name, text in [("parameters", _PARAMETERS), ("attributes", _ATTRIBUTES), ("notes", _NOTES)]:
        cls.__doc__ = cls.__doc__.replace(f"%({name})s", text)
    return cls


class _NeighborsScore(BaseScore):
    _parameter_constraints = {
        **BaseScore._parameter_constraints,
        "k": [Range(Integral, 1, None, closed="left")],
        "stat": [StrOptions(set(_AGGREGATE))],
    }

    def __init__(self, k=5, stat="max", *, quantile=0.99, trim=None, device="cpu"):
        super().__init__(quantile=quantile, trim=trim, device=device)
        self.k = k
        self.stat = stat

    def kneighbors(self, X, k=None):
        """Return the nearest reference rows of each row.

        Parameters
        ----------
        X : array-like or tensor of shape (n_samples, n_features)
            Rows to look up.
        k : int, default=None
            Number of neighbors; None takes the parameter `k`.

        Returns
        -------
        distances : float64 ndarray of shape (n_samples, k)
            Distances, ascending.
        indices : int64 ndarray of shape (n_samples, k)
            Rows of the X given to `fit`; equally distant ones in ascending order.

        Raises
        ------
        ValueError
            If `k` exceeds the number of reference rows.
        """
        check_is_fitted(self)
        k = self.k if k is None else k
        check_parameter("k", k, self._parameter_constraints["k"][0], type(self).__name__)
        Z = self._to_tensor(check_features(self, X))
        self._check_k(k, len(self._index_["X"]))
        distances, indices = self._search(Z, k)
        return distances, np.flatnonzero(self.support_)[indices]

    def _fit(self, Z, y):
        backend = ExactNeighbors(self.device).add(*self._reference(Z))
        self._index_, self.search_spec_ = backend.state(), backend.spec()
        self._check_k(self.k, len(Z))

    def _score(self, Z):
        self._check_k(self.k, len(self._index_["X"]))
        return -self._aggregate(self._search(Z, self.k)[0])

    def _score_fit_rows(self, Z):
        self._check_k(self.k, len(Z) - 1, " (none is its own neighbor; or pass X_cal)")
        return -self._aggregate(self._search(Z, self.k, exclude=np.arange(len(Z)))[0])

    def _score_calibration(self, Z):
        """Score each row as if unseen: one that equals a reference row is taken to be that row."""
        self._check_k(self.k, len(self._index_["X"]))
        distances, _ = self._search(Z, self.k + 1)
        seen = distances[:, 0] == 0
        if seen.any():
            self._check_k(self.k, len(self._index_["X"]) - 1, " for calibration on the same rows")
            warnings.warn(
                f"{seen.sum()} of {len(seen)} calibration rows overlap with the rows that "
                f"{type(self).__name__} was fitted on; they are scored leave-one-out. Calibrate "
                "on rows that were not used in fit.",
                UserWarning,
                stacklevel=5,
            )
        nearest = np.where(seen[:, None], distances[:, 1:], distances[:, :-1])
        return -self._aggregate(nearest)

    def _calibrate(self, scores):
        super()._calibrate(scores)
        if self.offset_ == 0 and scores.min() < 0:
            warnings.warn(
                f"{type(self).__name__} has offset_ 0 because at least {self.quantile:.4g} of the "
                "calibration rows are duplicates of reference rows: only exact duplicates will be "
                "accepted. Drop duplicate rows, or raise k or quantile.",
                UserWarning,
                stacklevel=3,
            )

    def _search(self, Z, k, exclude=None):
        """Return distances and indices; `exclude` names a row that is no neighbor, for each row."""
        backend = ExactNeighbors.from_state(self._index_, self.device)
        found = []
        for start in range(0, len(Z), CHUNK):
            rows = slice(start, start + CHUNK)
            skip = None if exclude is None else exclude[rows]
            found.append(backend.search(self._queries(Z[rows]), k, skip))
        distances, indices = (np.concatenate(part) for part in zip(*found, strict=True))
        return distances, indices

    def _check_k(self, k, n, why=""):
        if k > n:
            n_samples = len(self._index_["X"])
            raise ValueError(
                f"{type(self).__name__} needs at least k={k} other rows{why}, but was fitted on "
                f"n_samples={n_samples} ({n_samples} samples); lower k or fit on more rows."
            )

    def _aggregate(self, distances):
        return _AGGREGATE[self.stat](distances)

    # What the three scores differ in.

    def _reference(self, Z):
        """Return the reference rows, copied, and their scale or None, as arrays."""
        return to_numpy(Z).copy(), None

    def _queries(self, Z):
        """Return the rows in the space of the reference rows."""
        return Z


@_document
class EuclideanScore(_NeighborsScore):
    """Minus the Euclidean distance to the k nearest reference rows.

    Far from everything the model was trained on means low confidence.

    Parameters
    ----------
    %(parameters)s

    Attributes
    ----------
    %(attributes)s

    See Also
    --------
    CosineScore : The same with the angle between rows.
    MahalanobisScore : The same in units of the training covariance.

    Notes
    -----
    %(notes)s

    References
    ----------
    Sun, Y. et al. "Out-of-Distribution Detection with Deep Nearest Neighbors", ICML 2022,
    arXiv:2204.06507.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_seapig import EuclideanScore
    >>> X = np.random.default_rng(0).normal(size=(500, 8))
    >>> score = EuclideanScore(k=5, quantile=0.95).fit(X[:400], X_cal=X[400:])
    >>> score.predict([[0.0] * 8, [3.0] * 8])
    array([ 1, -1])
    """


@_document
class CosineScore(_NeighborsScore):
    """Minus the cosine distance to the k nearest reference rows, which lies in [0, 2].

    The cosine distance is 1 - cos of the angle between two rows, so the length of a row does not
    matter.

    Parameters
    ----------
    %(parameters)s

    Attributes
    ----------
    %(attributes)s

    See Also
    --------
    EuclideanScore : The same with distances that see the length of a row.

    Notes
    -----
    %(notes)s

    A row of zeros has no direction. In ``fit`` it is an error. As a query it gets the lowest
    confidence there is, -2, and so is rejected unless everything is accepted.

    With one feature there are only two directions; ``fit`` warns.

    References
    ----------
    Sun, Y. et al. "Out-of-Distribution Detection with Deep Nearest Neighbors", ICML 2022,
    arXiv:2204.06507.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_seapig import CosineScore
    >>> X = np.random.default_rng(0).normal(loc=1.0, size=(500, 8))
    >>> score = CosineScore(k=5, quantile=0.95).fit(X[:400], X_cal=X[400:])
    >>> score.predict([[10.0] * 8, [-1.0] * 8])
    array([ 1, -1])
    """

    def _reference(self, Z):
        if Z.shape[1] == 1:
            warnings.warn(
                "CosineScore sees n_features=1: every row has one of two directions; use "
                "EuclideanScore.",
                UserWarning,
                stacklevel=5,
            )
        length = _length(Z)
        zero = np.flatnonzero(np.isnan(length))
        if len(zero):
            raise ValueError(
                f"Input X has zero norm in {len(zero)} of {len(Z)} rows (row index {zero[0]} is the "
                "first), which have no direction; drop them or use EuclideanScore."
            )
        return to_numpy(Z).copy(), 1 / length

    def _queries(self, Z):
        scale = np.nan_to_num(1 / _length(Z))
        return Z.to(torch.float64) * from_numpy(scale).to(Z.device).unsqueeze(1)

    def _search(self, Z, k, exclude=None):
        distances, indices = super()._search(Z, k, exclude)
        # For unit rows 1 - cos is half the squared distance, and loses no digits when small.
        distances = distances**2 / 2
        distances[np.isnan(_length(Z))] = 2.0
        return distances, indices


def _length(Z):
    """Return the length of each row as a float64 array, NaN where it is too small or too large."""
    blocks = [euclidean_norm(block.to(torch.float64)) for block in Z.split(CHUNK)]
    length = to_numpy(torch.cat(blocks))
    return np.where((length > 1e-300) & (length < 1e300), length, np.nan)


@_document
class MahalanobisScore(_NeighborsScore):
    """Minus the Mahalanobis distance to the k nearest reference rows.

    That is the Euclidean distance in units in which the reference rows have unit covariance, so
    it depends neither on the units of the features nor on linear relations between them.

    Parameters
    ----------
    %(parameters)s

    Attributes
    ----------
    location_ : ndarray of shape (n_features_in_,)
        Mean of the reference rows.
    covariance_ : ndarray of shape (n_features_in_, n_features_in_)
        Their covariance with divisor n, after shrinkage where there was any.
    %(attributes)s

    See Also
    --------
    EuclideanScore : The same without the covariance.

    Notes
    -----
    %(notes)s

    The covariance is that of all reference rows, also in leave-one-out.

    Mean, covariance and whitening are computed in float64. With fewer than ``2 * n_features``
    rows the covariance is shrunk (Ledoit and Wolf), with a warning. With enough rows and features
    that are constant or collinear, the directions without variation get a small variance (1e-6
    of the largest), so that a row that breaks a relation which held for all reference rows is far
    from them; a warning names the features that are constant, or says ``collinear``. Collinearity
    is judged on the correlation matrix, free of units.

    References
    ----------
    Lee, K. et al. "A Simple Unified Framework for Detecting Out-of-Distribution Samples and
    Adversarial Attacks", NeurIPS 2018, arXiv:1807.03888.

    Ledoit, O. and Wolf, M. "A well-conditioned estimator for large-dimensional covariance
    matrices", Journal of Multivariate Analysis, 2004.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_seapig import MahalanobisScore
    >>> X = np.random.default_rng(0).normal(size=(500, 2)) * [1.0, 1000.0]
    >>> score = MahalanobisScore(quantile=0.95).fit(X[:400], X_cal=X[400:])
    >>> score.predict([[0.0, 2000.0], [9.0, 0.0]])
    array([ 1, -1])
    """

    _min_samples = 2

    def _reference(self, Z):
        mean, covariance = Moments(Z.shape[1], Z.device).update(Z).finalize()
        constant = Z.amax(dim=0) == Z.amin(dim=0)
        if len(Z) < 2 * Z.shape[1]:
            covariance = _shrunk(Z)
        matrix, n_null = whitening(covariance, constant)
        if len(Z) >= 2 * Z.shape[1]:
            _warn_singular(np.flatnonzero(to_numpy(constant)), n_null)
        self.location_, self.covariance_ = to_numpy(mean), to_numpy(covariance)
        self._whitening_ = to_numpy(matrix)
        return to_numpy(self._whiten(Z, Z.dtype)), None

    def _queries(self, Z):
        # Of the dtype of the reference rows, so that a reference row meets itself at distance 0.
        return self._whiten(Z, from_numpy(self._index_["X"][:0]).dtype)

    def _whiten(self, Z, dtype):
        matrix = from_numpy(self._whitening_, Z.device)
        return map_rows(Z, matrix, from_numpy(self.location_, Z.device)).to(dtype)


def _shrunk(Z):
    n, d = Z.shape
    warnings.warn(
        f"MahalanobisScore has n_samples={n} for n_features={d}, fewer than 2 * n_features: the "
        "covariance is shrunk (Ledoit-Wolf). Fit on more rows, or reduce the features first.",
        UserWarning,
        stacklevel=6,
    )
    return from_numpy(ledoit_wolf(to_numpy(Z.to(torch.float64)))[0]).to(Z.device)


def _warn_singular(constant, n_null):
    if len(constant):
        what = f"features {constant.tolist()} are constant"
    elif n_null:
        what = f"{n_null} linear combinations of the features are constant (collinear features)"
    else:
        return
    warnings.warn(
        f"The covariance of MahalanobisScore is singular: {what}. Rows that deviate there will be "
        "far from all others; drop the features if that is not wanted.",
        UserWarning,
        stacklevel=6,
    )
