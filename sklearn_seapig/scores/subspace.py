"""Confidence from how well a subspace explains a row."""

from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import _fit_context
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import RealNotInt

from .._state import blank_twin
from .._torch import exact_arithmetic, from_numpy, to_numpy
from .._validation import Range
from .._warn import warn
from ..base import BaseScore
from ..kernels.moments import Moments
from ..kernels.neighbors import euclidean_norm
from ..kernels.subspace import (
    effective_rank,
    principal_axes,
    random_fourier_features,
    reconstruction_error,
)

BLOCK_BYTES = 2**25  # features in float64 that are held at once
N_FOLDS = 5


class PCAScore(BaseScore):
    """Minus the reconstruction error of the principal components.

    A row that the leading components of the fit rows cannot explain gets a low confidence. With
    random Fourier features it is the error of an approximate kernel PCA.

    Parameters
    ----------
    n_components : int or float in (0, 1), default=0.9
        Number of components, or the share of the variance that they must explain; such a share
        keeps at most rank - 1 components.
    gamma : float, default=None
        Width of the Gaussian kernel exp(-gamma ||x - y||^2) that random Fourier features stand
        for; goes with `n_features`. None is linear PCA.
    n_features : int, default=None
        Number of random Fourier features; goes with `gamma`.
    normalize : bool, default=False
        Divide each row by its length first: with linear PCA the score is CoP, with random Fourier
        features CoRP.
    quantile : float in (0, 1], default=0.99
        Share of new, in-distribution rows to accept (the coverage).
    trim : float in (0, 1), default=None
        Share of fit rows to leave out of the final fit: those worst explained.
    device : str, default="cpu"
        Where tensors live: "cpu", "cuda", "cuda:1", "mps" or "auto".
    random_state : int, RandomState instance or None, default=None
        Draws the random Fourier features.

    Attributes
    ----------
    mean_ : ndarray of shape (n,)
        Mean of the rows, in the space of the random Fourier features if there are any.
    components_ : ndarray of shape (n_components_, n)
        Orthonormal principal axes, by falling variance.
    explained_variance_ratio_ : ndarray of shape (n_components_,)
        Share of the variance along each of them.
    n_components_ : int
        Number of components kept.
    n_samples_seen_ : int
        Number of rows behind the components.
    calibration_scores_ : ndarray of shape (n_calibration,)
        Confidences that the bound is learned from.
    offset_ : float
        The bound on the confidence; follows `quantile`.
    support_ : ndarray of shape (n_samples,)
        Which rows given to `fit` were kept; `partial_fit` does not set it.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where `fit` saw a data frame with string names.

    See Also
    --------
    MahalanobisScore : Distances in units of the whole covariance.

    Notes
    -----
    Statistics are gathered in float64 around the mean, block by block, whatever the dtype of X.

    A row is always explained better by components that were fitted on it. Without ``X_cal`` the
    bound is therefore learned from confidences that are cross-fitted in five folds, always the same
    for a number of rows; the number of components is that of all rows.

    A row of zeros has no direction: with ``normalize=True``, `fit` leaves it out with a warning,
    and as a query it gets -3, lower than any row with a direction.

    References
    ----------
    Fang, K. et al. "Kernel PCA for Out-of-Distribution Detection", NeurIPS 2024,
    arXiv:2402.02949.

    Rahimi, A. and Recht, B. "Random Features for Large-Scale Kernel Machines", NeurIPS 2007.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_seapig import PCAScore
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(500, 2)) @ [[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    >>> X += 0.01 * rng.normal(size=X.shape)
    >>> PCAScore(2).fit(X).predict([[5.0, 5.0, 0.0], [1.0, -1.0, 0.0]])
    array([ 1, -1])
    """

    _parameter_constraints = {
        **BaseScore._parameter_constraints,
        "n_components": [
            Range(Integral, 1, None, closed="left"),
            Range(RealNotInt, 0, 1, closed="neither"),
        ],
        "gamma": [Range(Real, 0, None, closed="neither"), None],
        "n_features": [Range(Integral, 1, None, closed="left"), None],
        "normalize": ["boolean"],
        "random_state": ["random_state"],
    }
    _min_samples = 2
    _scored_with = ("normalize",)

    def __init__(
        self,
        n_components=0.9,
        *,
        gamma=None,
        n_features=None,
        normalize=False,
        quantile=0.99,
        trim=None,
        device="cpu",
        random_state=None,
    ):
        super().__init__(quantile=quantile, trim=trim, device=device)
        self.n_components = n_components
        self.gamma = gamma
        self.n_features = n_features
        self.normalize = normalize
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None, *, X_cal=None):
        """Learn from further rows; in any number of batches the same as one `fit` on all.

        The sums that this needs are kept, in float64 and of the size of the covariance; `fit` keeps
        none, so after it this method begins anew, with a warning. Rows are not kept: give
        calibration rows here or to `set_threshold` before the score has to decide. The first batch
        needs two rows, and more than an integer `n_components` plus 1.

        Parameters
        ----------
        X : array-like or tensor of shape (n_samples, n_features)
            Further rows.
        y : None
            Ignored.
        X_cal : array-like or tensor of shape (n_calibration, n_features), default=None
            Rows that the bound is learned from, fresh ones.

        Returns
        -------
        self : PCAScore
            The score, with its components after these rows.

        Raises
        ------
        ValueError
            If `trim` is set or a batch is refused; the score is then as it was before.
        """
        if self.trim is not None:
            raise ValueError(f"trim={self.trim} needs all rows at once; use fit, or trim=None.")
        begun = hasattr(self, "_moments_")
        if not begun and hasattr(self, "components_"):
            warn(
                "fit keeps no sums that rows could be added to: PCAScore.partial_fit forgets what "
                "fit has learned and begins anew."
            )
        twin = blank_twin(self)
        if begun:
            kept = (
                "_moments_",
                "_fourier_",
                "_fitted_with_",
                "n_features_in_",
                "feature_names_in_",
            )
            twin.__dict__.update({k: v for k, v in vars(self).items() if k in kept})
        Z = twin._tensor(X, reset=not begun)
        twin._remember_parameters()
        if X_cal is not None:
            X_cal = twin._tensor(X_cal, name="X_cal")
        with exact_arithmetic(Z.device):
            twin._add(Z)
        if X_cal is not None:
            twin._calibrate(twin._run(twin._score_calibration, X_cal))
        self.__dict__ = twin.__dict__
        return self

    def _add(self, Z):
        if hasattr(self, "_moments_"):
            moments = Moments.from_state(self._moments_, Z.device)
        else:
            self._draw(Z.shape[1])
            moments = None
        usable = self._usable(Z)
        if not usable.all():
            Z = Z[from_numpy(usable).to(Z.device)]
        moments = self._moments(Z, moments)
        self._moments_ = moments.state()
        self._learn(moments)

    def _fit(self, Z, y):
        if len(Z) < self._min_samples:
            raise ValueError(
                f"PCAScore needs {self._min_samples} rows to learn from, but n_samples={len(Z)} is "
                "left of X; give more rows."
            )
        self._draw(Z.shape[1])
        self._learn(self._moments(Z))

    def _score(self, Z):
        mean = from_numpy(self.mean_, Z.device)
        axes = from_numpy(self.components_, Z.device).T
        return self._score_with(Z, mean, axes)

    def _score_fit_rows(self, Z):
        """Score each fold of rows against the components of the others."""
        scores = torch.empty(len(Z), dtype=torch.float64, device=Z.device)
        n_folds = min(N_FOLDS, len(Z))
        # Drawn, since rows may come in turns: every fifth row could be all there is of a class.
        folds = np.random.RandomState(0).permutation(len(Z)) % n_folds
        index = [from_numpy(np.flatnonzero(folds == fold)).to(Z.device) for fold in range(n_folds)]
        moments = [self._moments(Z[rows]) for rows in index]
        for fold, rows in enumerate(index):
            # Merged, not all minus one: a row much larger than the others would cost the digits.
            others = Moments(len(moments[0].mean), Z.device)
            for part in moments[:fold] + moments[fold + 1 :]:
                others.merge(part)
            mean, covariance = others.finalize()
            values, axes = principal_axes(covariance)
            kept = min(self.n_components_, effective_rank(values, others.count))
            scores[rows] = self._score_with(Z[rows], mean, axes[:, :kept])
        return scores

    def _score_with(self, Z, mean, axes):
        error = [reconstruction_error(block, mean, axes) for block in self._features(Z)]
        scores = -torch.cat(error)
        if self.normalize:
            scores[_zero_rows(Z)] = -3.0  # beyond the 2 or 2 sqrt(2) of a row
        return scores

    def _usable(self, Z):
        if not self.normalize:
            return super()._usable(Z)
        zero = to_numpy(_zero_rows(Z))
        if zero.all():
            raise ValueError("Input X has zero norm in every row; normalize=True needs directions.")
        if zero.any():
            warn(
                f"Input X has zero norm in {zero.sum()} of {len(Z)} rows (the first has row index "
                f"{zero.argmax()}); PCAScore(normalize=True) leaves them out."
            )
        return ~zero

    def _draw(self, width):
        """Draw the random Fourier features."""
        if (self.gamma is None) != (self.n_features is None):
            missing = "gamma" if self.gamma is None else "n_features"
            raise ValueError(
                f"{missing}=None, but random Fourier features need gamma and n_features "
                f"(gamma={self.gamma}, n_features={self.n_features}); give both or none."
            )
        self._fourier_ = None
        if self.gamma is not None:
            random = check_random_state(self.random_state)
            scale = np.sqrt(2 * self.gamma)
            frequencies = random.normal(scale=scale, size=(width, self.n_features))
            self._fourier_ = (frequencies, random.uniform(0, 2 * np.pi, size=self.n_features))

    def _features(self, Z):
        """Yield the rows block by block in the space of the components, in float64."""
        width = Z.shape[1] if self._fourier_ is None else self._fourier_[0].shape[1]
        for block in Z.split(max(256, BLOCK_BYTES // (8 * width))):
            block = block.to(torch.float64)
            if self.normalize:
                length = euclidean_norm(block).unsqueeze(1)
                block = block / torch.where(length > 0, length, 1.0)
            if self._fourier_ is not None:
                frequencies, phases = (from_numpy(part, Z.device) for part in self._fourier_)
                block = random_fourier_features(block, frequencies, phases)
            yield block

    def _moments(self, Z, moments=None):
        for block in self._features(Z):
            if moments is None:
                moments = Moments(block.shape[1], Z.device)
            moments.update(block)
        return moments

    def _learn(self, moments):
        mean, covariance = moments.finalize()
        if not torch.isfinite(covariance.trace()):
            raise ValueError("Input X is too large for a covariance in float64; rescale X.")
        values, axes = principal_axes(covariance)
        kept = self._choose(values, effective_rank(values, moments.count))
        self.mean_ = to_numpy(mean)
        self.components_ = np.ascontiguousarray(to_numpy(axes[:, :kept]).T)
        total = values.sum().clamp_min(torch.finfo(values.dtype).tiny)
        self.explained_variance_ratio_ = to_numpy(values[:kept] / total)
        self.n_components_ = kept
        self.n_samples_seen_ = moments.count

    def _choose(self, values, rank):
        if isinstance(self.n_components, Integral):
            if self.n_components >= max(rank, 1):
                raise ValueError(
                    f"n_components={self.n_components} leaves no residual: the rows have rank "
                    f"{rank} (n_features={len(values)}); take fewer components."
                )
            return int(self.n_components)
        share = torch.cumsum(values, dim=0) / values.sum()
        enough = int((share < self.n_components).sum()) + 1
        return max(0, min(enough, rank - 1))


def _zero_rows(Z):
    return (Z == 0).all(dim=1)
