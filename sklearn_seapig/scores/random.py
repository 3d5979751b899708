"""A score without information: the baseline that every other score must beat."""

import hashlib

import numpy as np
from sklearn.utils import check_random_state

from .._torch import to_numpy
from ..base import BaseScore


class RandomScore(BaseScore):
    """Uniform noise in [0, 1) that says nothing about a row: the baseline.

    Parameters
    ----------
    quantile : float in (0, 1], default=0.99
        Share of rows to accept.
    trim : float in (0, 1), default=None
        Share of fit rows that take no part in the calibration.
    device : str, default="cpu"
        Not used; the same parameter as in the other scores.
    random_state : int, RandomState instance or None, default=None
        Which noise. Pass an int for the same scores in every fit and every process.

    Attributes
    ----------
    calibration_scores_ : ndarray of shape (n_calibration,)
        Confidences that the bound is learned from.
    offset_ : float
        The bound on the confidence; follows `quantile`.
    support_ : ndarray of shape (n_samples,)
        Which rows given to `fit` were kept.
    seed_ : int
        The seed of the noise, drawn from `random_state` in `fit`.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where `fit` saw a data frame with string names.

    See Also
    --------
    EuclideanScore : A score with information.

    Notes
    -----
    The noise is a keyed hash (BLAKE2b) of the values of a row, so a row has the same score in
    every batch and every process, equal rows have equal scores, and float32 and float64 rows of
    equal values too.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_seapig import RandomScore
    >>> X = np.random.default_rng(0).normal(size=(1000, 4))
    >>> score = RandomScore(quantile=0.8, random_state=0).fit(X)
    >>> float((score.predict(X) == 1).mean())
    0.801
    """

    _parameter_constraints = {**BaseScore._parameter_constraints, "random_state": ["random_state"]}

    def __init__(self, *, quantile=0.99, trim=None, device="cpu", random_state=None):
        super().__init__(quantile=quantile, trim=trim, device=device)
        self.random_state = random_state

    def _fit(self, Z, y):
        self.seed_ = int(check_random_state(self.random_state).randint(2**31 - 1))

    def _score(self, Z):
        # Adding 0.0 turns -0.0 into 0.0, which equals it.
        rows = np.ascontiguousarray(to_numpy(Z), dtype="<f8") + 0.0
        key = self.seed_.to_bytes(8, "little")
        digests = b"".join(hashlib.blake2b(row, digest_size=8, key=key).digest() for row in rows)
        return (np.frombuffer(digests, dtype="<u8") >> 11) * 2.0**-53
