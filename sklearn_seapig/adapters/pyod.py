"""Scores of PyOD detectors. The one file that imports PyOD, and that turns its sign."""

import contextlib
import copy

import numpy as np
import torch
from sklearn.base import clone

from .._optional import extra
from .._torch import to_numpy
from .._warn import warn
from ..base import BaseScore

with extra("pyod", "PyODScore"):
    from pyod.models.base import BaseDetector
    from pyod.models.copod import COPOD
    from pyod.models.ecod import ECOD
    from pyod.models.knn import KNN

PROBES = 8  # rows that are scored alone and together to see whether a detector looks at the batch


class PyODScore(BaseScore):
    """Minus the outlier score of a PyOD detector.

    Parameters
    ----------
    detector : pyod detector, default=None
        Cloned and fitted; None is ``KNN()``.
    quantile : float in (0, 1], default=0.99
        Share of new, in-distribution rows to accept (the coverage). The detector's own
        ``contamination`` has no effect on it.
    trim : float in (0, 1), default=None
        Share of fit rows to leave out of the final fit: those of the highest outlier score.
    device : str, default="cpu"
        Not used: a detector runs where PyOD runs it.

    Attributes
    ----------
    detector_ : pyod detector
        The fitted detector.
    scoring_ : {"together", "alone", "beside the fit rows"}
        How rows are scored: all at once, or one at a time because the detector's scores depend on
        the batch.
    calibration_scores_ : ndarray of shape (n_calibration,)
        Confidences that the bound is learned from.
    offset_ : float
        The bound on the confidence; follows `quantile`.
    support_ : ndarray of shape (n_samples,)
        Which rows given to `fit` were kept.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where `fit` saw a data frame with string names.

    See Also
    --------
    EuclideanScore : What ``KNN`` computes, faster and leave-one-out.

    Notes
    -----
    PyOD's scores are high for outliers; here the sign is turned.

    Without ``X_cal`` the bound is learned from the detector's scores of its own training rows
    (``decision_scores_``). Neighbor detectors leave the row itself out there; others (PCA, MCD,
    AutoEncoder, ...) look at rows they were fitted on, which is optimistic: give calibration rows.

    A detector that compares the rows of a batch with each other gives a row another score in each
    batch. Such a detector scores one row at a time (COPOD, ECOD), or one row beside all the fit
    rows where it needs neighbors in its batch (SOD), which are then kept. Both are slow.

    Scores that are not finite, or that change from call to call, are refused with the name of the
    detector. A row that occurs more often than the detector has neighbors gets a warning.

    Load pickles of detectors from people you trust only.

    References
    ----------
    Chen, S. et al. "PyOD 2: A Python Library for Outlier Detection with LLM-powered Model
    Selection", 2024, arXiv:2412.12154.

    Examples
    --------
    >>> import numpy as np
    >>> from pyod.models.iforest import IForest
    >>> from sklearn_seapig import PyODScore
    >>> X = np.random.default_rng(0).normal(size=(500, 4))
    >>> score = PyODScore(IForest(random_state=0), quantile=0.95).fit(X[:400], X_cal=X[400:])
    >>> score.predict([[0.0] * 4, [6.0] * 4])
    array([ 1, -1])
    """

    _parameter_constraints = {
        **BaseScore._parameter_constraints,
        "detector": [BaseDetector, None],
    }
    _min_samples = 2

    def __init__(self, detector=None, *, quantile=0.99, trim=None, device="cpu"):
        super().__init__(quantile=quantile, trim=trim, device=device)
        self.detector = detector

    def _fit(self, Z, y):
        X = _rows(Z)
        with _training():  # a constructor may build a network
            self.detector_ = KNN() if self.detector is None else _unfitted_copy(self.detector)
        try:
            with _training():
                self.detector_.fit(X)
        except Exception as error:
            n, d = X.shape
            raise ValueError(
                f"{self._name()} cannot be fitted on X with n_samples={n} ({n} samples) and "
                f"n_features={d}: {error}; mind constant or collinear features, or take another "
                "detector."
            ) from error
        self._check_finite(self.detector_.decision_scores_, "training rows of X")
        self._warn_duplicates(X)
        self.scoring_ = self._choose_scoring(X[:PROBES])
        self._context_ = X if self.scoring_ == "beside the fit rows" else None

    def _score_fit_rows(self, Z):
        return -np.asarray(self.detector_.decision_scores_, dtype=np.float64)

    def _score(self, Z):
        X = _rows(Z)
        if self.scoring_ == "together":
            outlyingness = self._outlyingness(X)
        elif self.scoring_ == "alone":
            outlyingness = self._one_by_one(X)
        else:
            beside = (np.vstack([self._context_, row]) for row in X)
            outlyingness = np.array([self._outlyingness(batch)[-1] for batch in beside])
        self._check_finite(outlyingness, "rows of X")
        return -outlyingness

    def _outlyingness(self, X):
        # A copy, as some detectors write into themselves here: threads would mix their rows.
        detector = copy.copy(self.detector_)
        with _training():
            scores = detector.decision_function(X)
        return np.asarray(scores, dtype=np.float64).reshape(len(X))

    def _one_by_one(self, X):
        return np.concatenate([self._outlyingness(row) for row in X[:, None]])

    def _choose_scoring(self, X):
        if isinstance(self.detector_, (COPOD, ECOD)):
            return "alone"
        try:
            alone = self._one_by_one(X)
        except (ValueError, IndexError):  # it looks for neighbors in the batch; there are none
            return "beside the fit rows"
        if not np.isfinite(alone).all():
            return "beside the fit rows"
        together, again = self._outlyingness(X), self._outlyingness(X)
        if not _agree(together, again):
            raise ValueError(
                f"{self._name()} scores the same rows differently in each call, so no bound on its "
                "scores means anything; take another detector."
            )
        return "together" if _agree(together, alone) else "alone"

    def _warn_duplicates(self, X):
        """Warn where a row occurs more often than it has neighbors: its density is infinite."""
        n_neighbors = getattr(self.detector_, "n_neighbors", None)
        if n_neighbors is None:
            return
        most = int(np.unique(X, axis=0, return_counts=True)[1].max())
        if most > n_neighbors:
            warn(
                f"X holds a row with {most} duplicates, more than n_neighbors={n_neighbors} of "
                f"{self._name()}: distances of 0 dominate its scores. Drop duplicate rows or raise "
                "n_neighbors."
            )

    def _check_finite(self, outlyingness, of_what):
        bad = int((~np.isfinite(outlyingness)).sum())
        if bad:
            raise ValueError(
                f"{self._name()} returned scores that are not finite for {bad} of "
                f"{len(outlyingness)} {of_what}; mind constant or collinear features and huge "
                "values, or take another detector."
            )

    def _name(self):
        return f"the detector {type(self.detector_).__name__}"


@contextlib.contextmanager
def _training():
    # A score runs without autograd, which deep detectors need.
    with torch.inference_mode(False), torch.enable_grad():
        yield


def _agree(a, b):
    return np.allclose(a, b, rtol=1e-5, atol=1e-8 * np.abs(b).max())


def _rows(Z):
    # A copy: detectors keep their training rows, and some write into what they are given.
    return np.array(to_numpy(Z), dtype=np.float64, order="C")


def _unfitted_copy(detector):
    try:
        return clone(detector)
    except RuntimeError:  # its constructor changes parameters, which scikit-learn does not clone
        return copy.deepcopy(detector)
