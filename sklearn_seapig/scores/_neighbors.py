"""The parent of the scores that look at the nearest reference rows."""

from numbers import Integral

import numpy as np
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted

from .._state import calibration_rows_are_fresh
from .._torch import from_numpy, to_numpy
from .._validation import Range, check_parameter
from .._warn import warn
from ..base import BaseScore
from ..neighbors import ExactNeighbors

CHUNK = 32768  # rows that are prepared and searched at once
OVERLAP = 0.1  # share of calibration rows equal to reference rows that is worth a warning

_AGGREGATE = {
    "max": lambda distances: distances[:, -1],
    "mean": lambda distances: distances.mean(axis=1),
    "median": lambda distances: np.median(distances, axis=1),
    "min": lambda distances: distances[:, 0],
}


class NeighborsScore(BaseScore):
    """Search, aggregation and calibration; a child says in which space and with which measure."""

    _parameter_constraints = {
        **BaseScore._parameter_constraints,
        "k": [Range(Integral, 1, None, closed="left")],
        "stat": [StrOptions(set(_AGGREGATE))],
    }

    _scored_with = ("k", "stat")

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
        Z = self._tensor(X)
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
        return -self._aggregate(self._search_unseen(Z, self.k, np.arange(len(Z)))[0])

    def _score_calibration(self, Z):
        """Score each row as if unseen: one that equals a reference row is taken to be that row."""
        self._check_k(self.k, len(self._index_["X"]))
        distances, indices = self._search(Z, self.k)
        seen = np.flatnonzero(distances[:, 0] == 0)
        if len(seen) and not calibration_rows_are_fresh():
            self._check_k(self.k, len(self._index_["X"]) - 1, " to calibrate on the fit rows")
            self._warn_overlap(len(seen), len(Z))
            rows = Z[from_numpy(seen).to(Z.device)]
            distances[seen] = self._search_unseen(rows, self.k, indices[seen, 0])[0]
        return -self._aggregate(distances)

    def _warn_overlap(self, n_seen, n):
        if n_seen < OVERLAP * n:  # a few equal rows are nothing that anybody could mend
            return
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

    def _search(self, Z, k, exclude=None):
        """Return distances and indices; `exclude` names a row that is no neighbor, for each row."""
        backend = ExactNeighbors.from_state(self._index_, self._device)
        found = []
        for start in range(0, len(Z), CHUNK):
            rows = slice(start, start + CHUNK)
            skip = None if exclude is None else exclude[rows]
            found.append(backend.search(self._queries(Z[rows]), k, skip))
        distances, indices = (np.concatenate(part) for part in zip(*found, strict=True))
        return distances, indices

    def _search_unseen(self, Z, k, exclude):
        """Search as if the fit rows Z, with the indices `exclude`, had not been seen."""
        return self._search(Z, k, exclude)

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
