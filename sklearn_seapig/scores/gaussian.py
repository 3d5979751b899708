"""Confidence from Gaussian densities around the class means."""

from numbers import Number, Real

import numpy as np
import torch
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.multiclass import check_classification_targets

from .._torch import from_numpy, to_numpy
from .._validation import Range
from .._warn import warn
from ..base import BaseScore
from ..kernels.covariance import FLOOR, whitening
from ..kernels.linear import map_rows
from ._covariance import check_scale, warn_singular

BLOCK_BYTES = 2**25  # rows and their distances in float64 that are held at once


class GaussianScore(BaseScore):
    """Minus the squared Mahalanobis distance to the nearest class mean.

    All classes share one covariance: that of the rows around the mean of their own class. This is
    the score that the literature calls Mahalanobis; `MahalanobisScore` here searches for nearest
    neighbors after whitening.

    Parameters
    ----------
    relative : bool, default=False
        Subtract the squared distance under one Gaussian of all rows from the smallest squared
        distance to a class, so that directions common to all classes count less. It needs two
        classes to tell rows apart.
    shrinkage : float in [0, 1] or "auto", default=None
        Weight of a multiple of the identity in each covariance. "auto" chooses it (Ledoit and
        Wolf), and None shrinks only where rows are few.
    quantile : float in (0, 1], default=0.99
        Share of new, in-distribution rows to accept (the coverage).
    trim : float in (0, 1), default=None
        Share of fit rows to leave out of the final fit: those with the lowest confidence.
    device : str, default="cpu"
        Where tensors live: "cpu", "cuda", "cuda:1", "mps" or "auto".

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted; ``[0]`` without `y`.
    counts_ : ndarray of shape (n_classes,)
        Number of rows of each class.
    means_ : ndarray of shape (n_classes, n_features_in_)
        Mean of each class.
    covariance_ : ndarray of shape (n_features_in_, n_features_in_)
        Covariance around the class means with divisor n, after shrinkage where there was any.
    shrinkage_ : float
        Weight of the multiple of the identity in `covariance_`; 0 where nothing was shrunk.
    location_ : ndarray of shape (n_features_in_,)
        Mean of all rows.
    background_covariance_ : ndarray of shape (n_features_in_, n_features_in_)
        Covariance of all rows around `location_`, likewise; only with ``relative=True``.
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
    MahalanobisScore : Distance to the nearest rows instead of the nearest class mean.
    PCAScore : Distance from the subspace that holds most of the variance.

    Notes
    -----
    `fit` takes the labels as `y`: integers, floats without a fraction, booleans or strings. No
    `y` is one class. A `y` of real numbers is an error.

    Statistics are gathered in float64 around the means, block by block, whatever the dtype of X.
    With ``shrinkage=None`` and fewer than ``2 * n_features`` rows (more precisely, rows beyond the
    first of each further class) the covariances are shrunk, with a warning. Without shrinkage,
    directions in which no class varies get a small variance (1e-6 of the largest), so that a row
    that deviates there is far from all classes; a warning says so.

    Without ``X_cal`` the bound is learned leave-one-out: each row is scored against the means and
    the covariances of the others, in closed form. A row that is alone in its class is scored
    against the other classes. That is exact without shrinkage; a shrunk covariance is downdated as
    a whole, with the weight that all rows gave it.

    References
    ----------
    Lee, K. et al. "A Simple Unified Framework for Detecting Out-of-Distribution Samples and
    Adversarial Attacks", NeurIPS 2018, arXiv:1807.03888.

    Ren, J. et al. "A Simple Fix to Mahalanobis Distance for Improving Near-OOD Detection", 2021,
    arXiv:2106.09022.

    Ledoit, O. and Wolf, M. "A well-conditioned estimator for large-dimensional covariance
    matrices", Journal of Multivariate Analysis, 2004.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_seapig import GaussianScore
    >>> y = np.repeat(["left", "right"], 200)
    >>> X = np.random.default_rng(0).normal(size=(400, 2)) + 10 * (y == "right")[:, None]
    >>> GaussianScore().fit(X, y).predict([[0.0, 0.0], [5.0, 5.0], [10.0, 10.0]])
    array([ 1, -1,  1])
    """

    _parameter_constraints = {
        **BaseScore._parameter_constraints,
        "relative": ["boolean"],
        "shrinkage": [Range(Real, 0, 1, closed="both"), StrOptions({"auto"}), None],
    }
    _min_samples = 2
    _scored_with = ("relative",)

    def __init__(self, *, relative=False, shrinkage=None, quantile=0.99, trim=None, device="cpu"):
        super().__init__(quantile=quantile, trim=trim, device=device)
        self.relative = relative
        self.shrinkage = shrinkage

    def _fit(self, Z, y):
        if len(Z) < self._min_samples:
            raise ValueError(
                f"GaussianScore needs {self._min_samples} rows to learn from, but "
                f"n_samples={len(Z)} is left of X; give more rows."
            )
        labels = np.zeros(len(Z), dtype=np.int64) if y is None else _as_labels(y)
        self.classes_, codes, self.counts_ = np.unique(
            labels, return_inverse=True, return_counts=True
        )
        few = len(Z) - len(self.counts_) + 1 < 2 * Z.shape[1]
        if few and self.shrinkage is None:
            warn(
                f"GaussianScore has n_samples={len(Z)} in {len(self.counts_)} classes for "
                f"n_features={Z.shape[1]}, fewer than 2 * n_features + n_classes - 1: the "
                "covariance is shrunk (Ledoit-Wolf). Fit on more rows, or reduce the features "
                "first."
            )
        means, covariance, matrix, self.shrinkage_ = self._gaussian(
            Z, codes, self.counts_, few, "covariance"
        )
        self.means_, self.covariance_ = to_numpy(means), to_numpy(covariance)
        self._codes_, self._whitening_ = codes, to_numpy(matrix)
        if self.relative:
            one = np.zeros(len(Z), dtype=np.int64)
            mean, covariance, matrix, shrinkage = self._gaussian(
                Z, one, np.array([len(Z)]), few, "background covariance"
            )
            self.background_covariance_ = to_numpy(covariance)
            self._background_ = {"whitening": to_numpy(matrix), "shrinkage": shrinkage}
            self.location_ = to_numpy(mean[0])
        else:
            self.location_ = self.counts_ / len(Z) @ self.means_

    def _gaussian(self, Z, codes, counts, few, name):
        """Return class means, the covariance around them, its whitening and its shrinkage."""
        order = np.argsort(codes, kind="stable")
        constant = torch.ones(Z.shape[1], dtype=torch.bool, device=Z.device)
        means = torch.empty(len(counts), Z.shape[1], dtype=torch.float64, device=Z.device)
        for code, rows in enumerate(np.split(order, np.cumsum(counts)[:-1])):
            group = Z[from_numpy(rows).to(Z.device)]
            constant &= group.amax(dim=0) == group.amin(dim=0)
            total = sum(block.to(torch.float64).sum(dim=0) for block in _blocks(group))
            means[code] = total / len(group)
        covariance = _covariance(Z, means, codes)
        check_scale(covariance.diagonal(), constant)
        shrinkage = self.shrinkage
        if shrinkage == "auto" or (shrinkage is None and few):
            shrinkage = _ledoit_wolf(Z, means, codes, covariance)
        shrinkage = float(shrinkage or 0)
        if shrinkage and not constant.all():
            # What is shrunk varies in every direction, the constant features included.
            target = covariance.diagonal().mean()
            covariance *= 1 - shrinkage
            covariance.diagonal().add_(shrinkage * target)
            matrix, n_null = whitening(covariance, torch.zeros_like(constant))
        else:
            matrix, n_null = whitening(covariance, constant)
            flat = np.flatnonzero(to_numpy(constant))
            warn_singular(f"{name} of GaussianScore", flat, n_null, " within the classes")
        return means, covariance, matrix, shrinkage

    def _score(self, Z):
        matrix, means = self._whitened(Z.device)
        origin = from_numpy(self.location_, Z.device)
        scores = []
        for block in _blocks(Z, max(Z.shape[1], len(means))):
            square = _squared(map_rows(block, matrix, origin), means).amin(dim=1)
            if self.relative:
                points = self._background_points(block)
                square -= _squared(points, torch.zeros_like(points[:1]))[:, 0]
            scores.append(-square)
        return torch.cat(scores)

    def _score_fit_rows(self, Z):
        """Score each row under the means and covariances of the others."""
        matrix, means = self._whitened(Z.device)
        origin = from_numpy(self.location_, Z.device)
        codes = from_numpy(self._codes_, Z.device)
        counts = from_numpy(self.counts_, Z.device)
        every = torch.tensor([len(Z)], device=Z.device)
        width = max(Z.shape[1], len(means))
        scores = []
        for block, code in zip(_blocks(Z, width), _blocks(codes, width), strict=True):
            points = map_rows(block, matrix, origin)
            weight = 1 - self.shrinkage_
            square = _squared_unseen(points, means, code, counts, len(Z), weight).amin(dim=1)
            if self.relative:
                points = self._background_points(block)
                zero, weight = torch.zeros_like(points[:1]), 1 - self._background_["shrinkage"]
                square -= _squared_unseen(
                    points, zero, torch.zeros_like(code), every, len(Z), weight
                )[:, 0]
            scores.append(-square)
        return torch.cat(scores)

    def _whitened(self, device):
        """Return the whitening and the class means after it, around the mean of all rows."""
        matrix = from_numpy(self._whitening_, device)
        means = from_numpy(self.means_, device)
        return matrix, map_rows(means, matrix, from_numpy(self.location_, device))

    def _background_points(self, Z):
        matrix = from_numpy(self._background_["whitening"], Z.device)
        return map_rows(Z, matrix, from_numpy(self.location_, Z.device))


def _as_labels(y):
    """Return y as a 1-D array of labels that can be sorted."""
    y = to_numpy(y, name="y") if isinstance(y, torch.Tensor) else np.asarray(y)
    y = column_or_1d(y, warn=True)
    if y.dtype.kind == "O":
        strings = [isinstance(label, str) for label in y]
        numbers = [isinstance(label, (Number, np.bool_)) for label in y]
        if not all(strings) and not all(numbers):
            kinds = sorted({type(label).__name__ for label in y})
            raise ValueError(
                f"y must hold labels of one kind, strings or numbers, got {', '.join(kinds)}; drop "
                "rows without a label, and convert the others."
            )
        y = np.asarray(y.tolist())
    if y.dtype.kind == "f":
        bad = ~np.isfinite(y)
        if bad.any():
            raise ValueError(
                f"y contains NaN or infinity in {bad.sum()} of {len(y)} rows (the first is row "
                f"{bad.argmax()}); drop rows without a label."
            )
        if (y != np.floor(y)).any():
            raise ValueError(
                "y is continuous (floats with a fraction), but GaussianScore takes class labels; "
                "pass labels, or y=None for one class."
            )
    check_classification_targets(y)
    return y


def _blocks(Z, width=None):
    """Return blocks of rows of some width."""
    return Z.split(max(256, BLOCK_BYTES // (8 * (width or Z.shape[1]))))


def _centered(Z, means, codes):
    """Yield the rows around the means of their classes."""
    codes = from_numpy(codes).to(Z.device)
    for block, code in zip(_blocks(Z), _blocks(codes, Z.shape[1]), strict=True):
        yield block.to(torch.float64) - means[code]


def _covariance(Z, means, codes):
    scatter = torch.zeros(Z.shape[1], Z.shape[1], dtype=torch.float64, device=Z.device)
    for block in _centered(Z, means, codes):
        scatter.addmm_(block.T, block)
    return scatter / len(Z)


def _ledoit_wolf(Z, means, codes, covariance):
    """Return the weight of the identity that Ledoit and Wolf estimate."""
    n, d = Z.shape
    scale = covariance.diagonal().max().sqrt()
    if d == 1 or scale == 0:
        return 0.0
    # A ratio of fourth powers, found at unit scale, where they are in range.
    fourth = sum(
        float((block / scale).square().sum(dim=1).square().sum())
        for block in _centered(Z, means, codes)
    )
    covariance = covariance / scale / scale
    norm = float(covariance.square().sum())
    spread = norm - float(covariance.trace()) ** 2 / d
    noise = (fourth / n - norm) / n
    return 1.0 if noise >= spread else max(0.0, noise / spread)


def _squared(points, means):
    """Return squared distances (n, n_classes) by differences: not rounded by the batch."""
    exact = "donot_use_mm_for_euclid_dist"
    return torch.cdist(points, means, compute_mode=exact).square_()


def _squared_unseen(points, means, codes, counts, n, weight):
    """Return squared distances of fit rows under the means and covariance of the others.

    Let v be a row around the mean of its class, whitened, and a = m / (m - 1) for a class of m.
    Without the row that mean lies at a v from it, and the covariance is
    n / (n - 1) (S - weight a v v' / n), whose inverse follows from Sherman and Morrison. A class
    that has no other row is infinitely far.
    """
    own = points - means[codes]
    size = counts[codes].to(torch.float64).unsqueeze(1)
    ratio = size / (size - 1).clamp_min(1)
    leverage = weight / n * ratio * own.square().sum(dim=1, keepdim=True)  # at most 1
    along = (points * own).sum(dim=1, keepdim=True) - own @ means.T
    gain = weight / n * ratio / (1 - leverage).clamp_min(FLOOR)
    square = (_squared(points, means) + gain * along.square()) * ((n - 1) / n)
    index = codes.unsqueeze(1)
    to_own = square.gather(1, index) * ratio.square()
    return square.scatter(1, index, torch.where(size > 1, to_own, torch.inf))
