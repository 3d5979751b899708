"""Confidence from the distances to the nearest reference rows."""

import numpy as np
import torch
from sklearn.covariance import ledoit_wolf

from .._torch import from_numpy, to_numpy
from .._warn import warn
from ..kernels.covariance import (
    SLACK,
    candidates_without_row,
    least_without_row,
    nearest_without_row,
    whitening,
)
from ..kernels.linear import map_rows
from ..kernels.moments import Moments
from ..kernels.neighbors import euclidean_norm
from ._covariance import check_scale, warn_singular
from ._neighbors import NeighborsScore, chunks


class EuclideanScore(NeighborsScore):
    """Minus the Euclidean distance to the k nearest reference rows.

    Far from everything the model was trained on means low confidence.

    Parameters
    ----------
    k : int, default=5
        Number of neighbors.
    stat : {"max", "mean", "median", "min"}, default="max"
        How the k distances become one number.
    algorithm : {"exact", "hnsw", "ivf"}, default="exact"
        How neighbors are searched. "hnsw" and "ivf" are approximate, see Notes.
    quantile : float in (0, 1], default=0.99
        Share of new, in-distribution rows to accept (the coverage).
    trim : float in (0, 1), default=None
        Share of fit rows to leave out of the reference set: those farthest from the others.
    device : str, default="cpu"
        Where the search runs: "cpu", "cuda", "cuda:1", "mps" or "auto".

    Attributes
    ----------
    calibration_scores_ : ndarray of shape (n_calibration,)
        Confidences that the bound is learned from.
    offset_ : float
        The bound on the confidence; follows `quantile`.
    support_ : ndarray of shape (n_samples,)
        Which rows given to `fit` are in the reference set.
    search_spec_ : dict
        The search in use: its name, whether it is exact, its size and parameters.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where `fit` saw a data frame with string names.

    See Also
    --------
    CosineScore : The same with the angle between rows.
    MahalanobisScore : The same in units of the training covariance.

    Notes
    -----
    The default search is exact at every size, and equal distances come in the order of the rows.
    float32 data are searched in float32 and measured in float64. Parameters set by `set_params`,
    as in GridSearchCV, make it remember what it found, see `sklearn_seapig.neighbors.search_cache`.
    That is at most 256 MiB, which ``search_cache.clear()`` frees. The reference rows are copied
    into memory once; a memory map is read, not kept. From 100,000 rows of 256 features on, where
    the spectrum is steep, coordinates of a quarter of their size are kept beside them: the search
    is then cheaper than the matrix product, and exact still.

    ``algorithm="hnsw"`` (a graph of near rows) and ``"ivf"`` (lists of rows around means) use
    faiss on the CPU (``pip install 'sklearn-seapig[ann]'``). They may miss near rows, so that a
    row looks farther than it is, never nearer: distances are exact. How much they miss depends on
    the data (repeated rows hurt "hnsw"); `recall_check` measures it. The index is built in every
    `fit`, by one thread, since it would else be another one each time.

    ``score_samples`` of a row that is in the reference set includes the match with itself. Without
    ``X_cal`` the bound is learned leave-one-out instead: each row is scored against all others.
    A calibration row that equals a reference row is scored the same way; where they are a tenth
    or more of the calibration rows, with a warning.

    References
    ----------
    Sun, Y. et al. "Out-of-Distribution Detection with Deep Nearest Neighbors", ICML 2022,
    arXiv:2204.06507.

    Douze, M. et al. "The Faiss library", 2024, arXiv:2401.08281.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_seapig import EuclideanScore
    >>> X = np.random.default_rng(0).normal(size=(500, 8))
    >>> score = EuclideanScore(k=5, quantile=0.95).fit(X[:400], X_cal=X[400:])
    >>> score.predict([[0.0] * 8, [3.0] * 8])
    array([ 1, -1])
    """


class CosineScore(NeighborsScore):
    """Minus the cosine distance to the k nearest reference rows, which lies in [0, 2].

    The cosine distance is 1 - cos of the angle between two rows, so the length of a row does not
    matter.

    Parameters
    ----------
    k : int, default=5
        Number of neighbors.
    stat : {"max", "mean", "median", "min"}, default="max"
        How the k distances become one number.
    algorithm : {"exact", "hnsw", "ivf"}, default="exact"
        How neighbors are searched. "hnsw" and "ivf" are approximate, see Notes.
    quantile : float in (0, 1], default=0.99
        Share of new, in-distribution rows to accept (the coverage).
    trim : float in (0, 1), default=None
        Share of fit rows to leave out of the reference set: those farthest from the others.
    device : str, default="cpu"
        Where the search runs: "cpu", "cuda", "cuda:1", "mps" or "auto".

    Attributes
    ----------
    calibration_scores_ : ndarray of shape (n_calibration,)
        Confidences that the bound is learned from.
    offset_ : float
        The bound on the confidence; follows `quantile`.
    support_ : ndarray of shape (n_samples,)
        Which rows given to `fit` are in the reference set.
    search_spec_ : dict
        The search in use: its name, whether it is exact, its size and parameters.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where `fit` saw a data frame with string names.

    See Also
    --------
    EuclideanScore : The same with distances that see the length of a row.

    Notes
    -----
    The default search is exact at every size, and equal distances come in the order of the rows.
    float32 data are searched in float32 and measured in float64. The approximate searches are
    described in `EuclideanScore`.

    ``score_samples`` of a row that is in the reference set includes the match with itself. Without
    ``X_cal`` the bound is learned leave-one-out instead: each row is scored against all others.
    A calibration row that equals a reference row is scored the same way; where they are a tenth
    or more of the calibration rows, with a warning.

    A row of zeros has no direction. ``fit`` leaves such rows out, with a warning. As a query one
    gets the lowest confidence there is, -2, and so is rejected unless everything is accepted.

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

    def _usable(self, Z):
        zero = np.isnan(_length(Z))
        if zero.all():
            raise ValueError("Input X has zero norm in every row; CosineScore needs directions.")
        if zero.any():
            warn(
                f"Input X has zero norm in {zero.sum()} of {len(Z)} rows (the first has row index "
                f"{zero.argmax()}); CosineScore leaves them out, as they have no direction."
            )
        return ~zero

    def _reference(self, Z):
        if Z.shape[1] == 1:
            warn(
                "CosineScore sees n_features=1, so every row has one of two directions; use "
                "EuclideanScore."
            )
        return to_numpy(Z), 1 / _length(Z)

    def _queries(self, Z):
        scale = np.nan_to_num(1 / _length(Z))
        return Z.to(torch.float64) * from_numpy(scale).to(Z.device).unsqueeze(1)

    def _search(self, Z, k, exclude=None, algorithm=None):
        distances, indices = super()._search(Z, k, exclude, algorithm)
        # For unit rows 1 - cos is half the squared distance, and loses no digits when small.
        distances = distances**2 / 2
        distances[np.isnan(_length(Z))] = 2.0
        return distances, indices


def _length(Z):
    """Return the length of each row as a float64 array, NaN where it is too small or too large."""
    length = np.empty(len(Z))
    for rows in chunks(Z):
        length[rows] = to_numpy(euclidean_norm(Z[rows].to(torch.float64)))
    return np.where((length > 1e-300) & (length < 1e300), length, np.nan)


class MahalanobisScore(NeighborsScore):
    """Minus the Mahalanobis distance to the k nearest reference rows.

    That is the Euclidean distance in units in which the reference rows have unit covariance, so
    it depends neither on the units of the features nor on linear relations between them.

    Parameters
    ----------
    k : int, default=5
        Number of neighbors.
    stat : {"max", "mean", "median", "min"}, default="max"
        How the k distances become one number.
    algorithm : {"exact", "hnsw", "ivf"}, default="exact"
        How neighbors are searched. "hnsw" and "ivf" are approximate, see Notes.
    quantile : float in (0, 1], default=0.99
        Share of new, in-distribution rows to accept (the coverage).
    trim : float in (0, 1), default=None
        Share of fit rows to leave out of the reference set: those farthest from the others.
    device : str, default="cpu"
        Where the search runs: "cpu", "cuda", "cuda:1", "mps" or "auto".

    Attributes
    ----------
    location_ : ndarray of shape (n_features_in_,)
        Mean of the reference rows.
    covariance_ : ndarray of shape (n_features_in_, n_features_in_)
        Their covariance with divisor n, after shrinkage where there was any.
    shrinkage_ : float
        Weight of the multiple of the identity in the covariance; 0 where nothing was shrunk.
    calibration_scores_ : ndarray of shape (n_calibration,)
        Confidences that the bound is learned from.
    offset_ : float
        The bound on the confidence; follows `quantile`.
    support_ : ndarray of shape (n_samples,)
        Which rows given to `fit` are in the reference set.
    search_spec_ : dict
        The search in use: its name, whether it is exact, its size and parameters.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where `fit` saw a data frame with string names.

    See Also
    --------
    EuclideanScore : The same without the covariance.
    GaussianScore : Distance to the nearest class mean, which the literature calls Mahalanobis.

    Notes
    -----
    The default search is exact at every size, and equal distances come in the order of the rows.
    float32 data are searched in float32 and measured in float64. The approximate searches are
    described in `EuclideanScore`.

    ``score_samples`` of a row that is in the reference set includes the match with itself. Without
    ``X_cal`` the bound is learned leave-one-out instead: each row is scored against all others.
    A calibration row that equals a reference row is scored the same way; where they are a tenth
    or more of the calibration rows, with a warning.

    Leave-one-out leaves the row out of the covariance as well.

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
    _keeps_rows = False

    def _reference(self, Z):
        mean, covariance = Moments(Z.shape[1], Z.device).update(Z).finalize()
        constant = Z.amax(dim=0) == Z.amin(dim=0)
        check_scale(covariance.diagonal(), constant)
        self.shrinkage_ = 0.0
        if len(Z) < 2 * Z.shape[1]:
            covariance, self.shrinkage_ = _shrunk(Z - mean, covariance.diagonal().max().sqrt())
        matrix, n_null = whitening(covariance, constant)
        if len(Z) >= 2 * Z.shape[1]:
            warn_singular(
                "covariance of MahalanobisScore", np.flatnonzero(to_numpy(constant)), n_null
            )
        self.location_, self.covariance_ = to_numpy(mean), to_numpy(covariance)
        self._whitening_ = to_numpy(matrix)
        return to_numpy(self._queries(Z)), None

    def _queries(self, Z):
        # In float64 for float32 rows too: rounded after whitening, near rows would lose digits.
        matrix = from_numpy(self._whitening_, Z.device)
        return map_rows(Z, matrix, from_numpy(self.location_, Z.device))

    def _search_unseen(self, Z, k, exclude):
        # Without a row no distance from it shrinks by more than a known factor. So the nearest
        # rows under the covariance of all rows mostly prove to contain the nearest ones here.
        points = from_numpy(self._index_["X"], Z.device)
        n, weight = len(points), 1 - self.shrinkage_
        k, width = int(k), int(min(k + SLACK, n - 1))
        near, index = self._search(Z, width, exclude)
        row = torch.as_tensor(exclude, device=Z.device)
        index = torch.as_tensor(index, device=Z.device).sort(dim=1).values
        distances, indices = nearest_without_row(points, row, index, k, weight)
        reached = from_numpy(near[:, -1]).to(Z.device) * least_without_row(n)
        rest = ((distances[:, -1] > reached) & (width < n - 1)).nonzero()[:, 0]
        if len(rest):
            index = candidates_without_row(points, row[rest], k, weight)
            found = nearest_without_row(points, row[rest], index, k, weight)
            distances[rest], indices[rest] = found
        return to_numpy(distances), to_numpy(indices)


def _shrunk(centered, scale):
    n, d = centered.shape
    warn(
        f"MahalanobisScore has n_samples={n} for n_features={d}, fewer than 2 * n_features: the "
        "covariance is shrunk (Ledoit-Wolf). Fit on more rows, or reduce the features first."
    )
    # The weight is a ratio of fourth powers; it is found at unit scale, where they are in range.
    scale = scale if scale > 0 else torch.ones_like(scale)
    covariance, shrinkage = ledoit_wolf(to_numpy(centered / scale))
    return from_numpy(covariance).to(centered.device) * scale**2, float(shrinkage)
