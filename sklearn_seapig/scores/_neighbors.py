"""The parent of the scores that look at the nearest reference rows."""

from numbers import Integral

import numpy as np
import torch
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted

from .._state import calibration_rows_are_fresh
from .._torch import from_numpy, to_numpy
from .._validation import Range, check_parameter
from .._warn import warn
from ..base import BaseScore
from ..neighbors import ALGORITHMS, find_backend, search_cache

CHUNK = 32768  # rows that are prepared and searched at once, at most
CHUNK_BYTES = 2**25  # their size in float64, at most
OVERLAP = 0.1  # share of calibration rows equal to reference rows that is worth a warning


def _middle(distances):
    """Return the median of each row; the rows are sorted already."""
    k = distances.shape[1]
    return distances[:, (k - 1) // 2 : k // 2 + 1].mean(axis=1)


_AGGREGATE = {
    "max": lambda distances: distances[:, -1],
    "mean": lambda distances: distances.mean(axis=1),
    "median": _middle,
    "min": lambda distances: distances[:, 0],
}


class NeighborsScore(BaseScore):
    """Search, aggregation and calibration; a child says in which space and with which measure."""

    _parameter_constraints = {
        **BaseScore._parameter_constraints,
        "k": [Range(Integral, 1, None, closed="left")],
        "stat": [StrOptions(set(_AGGREGATE))],
        "algorithm": [StrOptions(set(ALGORITHMS))],
    }

    _scored_with = ("k", "stat", "algorithm")
    _keeps_rows = True  # of X as they are, not an image of them
    _tuned = False

    def __init__(
        self, k=5, stat="max", *, algorithm="exact", quantile=0.99, trim=None, device="cpu"
    ):
        super().__init__(quantile=quantile, trim=trim, device=device)
        self.k = k
        self.stat = stat
        self.algorithm = algorithm

    def set_params(self, **params):
        """Set parameters, see `sklearn.base.BaseEstimator.set_params`.

        Searches over parameters do it for each candidate, and most of these ask for neighbors
        that the one before has found. So a score with parameters set this way looks for them in
        `sklearn_seapig.neighbors.search_cache`, and so do its clones.
        """
        super().set_params(**params)
        if params:
            self._tuned = True
        return self

    def __sklearn_clone__(self):
        twin = super().__sklearn_clone__()
        if self._tuned:
            twin._tuned = True
        return twin

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
        Z = self._tensor(X)
        self._check_k(k, self._n_reference())
        distances, indices = self._lookup(Z, k)
        return distances, np.flatnonzero(self.support_)[indices]

    def recall_check(self, X, n_samples=1000, random_state=0):
        """Return the share of the true k nearest reference rows that the search in use finds.

        It is 1 for ``algorithm="exact"``. For the others it depends on the data: take rows like
        those to be scored, and outliers as well.

        Parameters
        ----------
        X : array-like or tensor of shape (n_samples_X, n_features)
            Rows to look up.
        n_samples : int, default=1000
            Number of rows of X that are looked up, drawn at random; all where X has no more.
        random_state : int, RandomState instance or None, default=0
            Which ones.

        Returns
        -------
        recall : float in [0, 1]
            A row found counts if it is no farther than the k-th nearest row, so of equally distant
            rows any will do.
        """
        check_is_fitted(self)
        at_least_one = Range(Integral, 1, None, closed="left")
        check_parameter("n_samples", n_samples, at_least_one, type(self).__name__)
        Z = self._tensor(X)
        if n_samples < len(Z):
            order = check_random_state(random_state).permutation(len(Z))
            Z = Z[torch.as_tensor(order[:n_samples], device=Z.device)]
        found, _ = self._lookup(Z, self.k)
        true, _ = self._lookup(Z, self.k, algorithm="exact")
        return float((found <= true[:, -1:] * (1 + 1e-9)).mean())

    def _tensor(self, X, *, reset=False, name="X"):
        Z = super()._tensor(X, reset=reset, name=name)
        # The rows are kept: those that may be the user's are copied, the others need no copy.
        # Rows that may be in the cache already are copied later, if they are not.
        copy = reset and self._keeps_rows and not self._tuned and _may_share(Z, X)
        return Z.clone() if copy else Z

    def _fit(self, Z, y):
        self._check_k(self.k, len(Z))
        backend = find_backend(self.algorithm)(self._device)
        X, scale = self._reference(Z)
        known = search_cache.recall(X, scale) if self._tuned and backend.exact else None
        if known is not None:
            backend = backend.from_state(known, self._device)
        else:
            backend.add(X.copy() if self._tuned and self._keeps_rows else X, scale)
        self._index_, self.search_spec_ = backend.state(), backend.spec()
        if self._tuned and backend.exact and known is None:
            search_cache.keep(self._index_)

    def _score(self, Z):
        self._check_k(self.k, self._n_reference())
        return self._confidences(Z, lambda rows: self._search(Z[rows], self.k)[0])

    def _score_fit_rows(self, Z):
        self._check_k(self.k, len(Z), 1, " (none is its own neighbor; or pass X_cal)")
        own = np.arange(len(Z))
        return self._confidences(Z, lambda rows: self._search_unseen(Z[rows], self.k, own[rows])[0])

    def _score_calibration(self, Z):
        """Score each row as if unseen: one that equals a reference row is taken to be that row."""
        self._check_k(self.k, self._n_reference())
        n_seen = []
        confidences = self._confidences(Z, lambda rows: self._unseen(Z[rows], n_seen))
        if sum(n_seen) >= OVERLAP * len(Z):  # a few equal rows are nothing that anybody could mend
            self._warn_overlap(sum(n_seen), len(Z))
        return confidences

    def _unseen(self, Z, n_seen):
        distances, indices = self._search(Z, self.k)
        seen = np.flatnonzero(distances[:, 0] == 0)
        if len(seen) and not calibration_rows_are_fresh():
            self._check_k(self.k, self._n_reference(), 1, " to calibrate on the fit rows")
            n_seen.append(len(seen))
            rows = Z[from_numpy(seen).to(Z.device)]
            distances = distances.copy()  # may be kept for the next search
            distances[seen] = self._search_unseen(rows, self.k, indices[seen, 0])[0]
        return distances

    def _warn_overlap(self, n_seen, n):
        warn(
            f"{n_seen} of {n} calibration rows overlap with the rows that {type(self).__name__} "
            "was fitted on (or the data repeat rows); they are scored leave-one-out. Calibrate on "
            "rows that were not used in fit."
        )

    def _calibrate(self, scores):
        super()._calibrate(scores)
        if self.offset_ == 0 and scores.min() < 0:
            warn(
                f"{type(self).__name__} has offset_ 0 because at least {self.quantile:.4g} of the "
                "calibration rows are duplicates of reference rows: only exact duplicates will be "
                "accepted. Drop duplicate rows, or raise k or quantile."
            )

    def _confidences(self, Z, distances):
        """Aggregate chunk by chunk, so that memory does not grow by k numbers for each row."""
        return -np.concatenate([self._aggregate(distances(rows)) for rows in chunks(Z)])

    def _lookup(self, Z, k, algorithm=None):
        """Return distances and indices for all rows at once."""
        found = [self._search(Z[rows], k, algorithm=algorithm) for rows in chunks(Z)]
        distances, indices = (np.concatenate(part) for part in zip(*found, strict=True))
        return distances, indices

    def _search(self, Z, k, exclude=None, algorithm=None):
        """Return distances and indices; `exclude` names a row that is no neighbor, for each row."""
        backend = find_backend(algorithm or self.search_spec_["name"])
        backend = backend.from_state(self._index_, self._device)
        k = int(k)  # numpy's small integers would overflow
        search = search_cache.search if backend.exact else type(backend).search
        return search(backend, self._queries(Z), k, exclude)

    def _search_unseen(self, Z, k, exclude):
        """Search as if the fit rows Z, with the indices `exclude`, had not been seen."""
        return self._search(Z, k, exclude)

    def _n_reference(self):
        return len(self._index_["X"])

    def _check_k(self, k, n_samples, left_out=0, why=""):
        if k > n_samples - left_out:
            raise ValueError(
                f"{type(self).__name__} needs at least k={k} other rows{why}, but was fitted on "
                f"n_samples={n_samples} ({n_samples} samples); lower k or fit on more rows."
            )

    def _aggregate(self, distances):
        return _AGGREGATE[self.stat](distances)

    # What the three scores differ in.

    def _reference(self, Z):
        """Return the reference rows and their scale or None, as arrays."""
        return to_numpy(Z), None

    def _queries(self, Z):
        """Return the rows in the space of the reference rows."""
        return Z


def chunks(Z):
    """Return slices of the rows that are prepared and searched at once."""
    step = max(1, min(CHUNK, CHUNK_BYTES // (8 * Z.shape[1])))
    return [slice(start, start + step) for start in range(0, len(Z), step)]


def _may_share(Z, X):
    """Return whether a tensor may use memory of the rows that a user has passed."""
    if isinstance(X, torch.Tensor):
        return Z.untyped_storage().data_ptr() == X.untyped_storage().data_ptr()
    if isinstance(X, np.ndarray):
        return Z.device.type == "cpu" and np.may_share_memory(to_numpy(Z), X)
    return not isinstance(X, (list, tuple))
