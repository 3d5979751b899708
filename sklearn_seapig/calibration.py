"""Temperature scaling: one number that makes probabilities match frequencies."""

import math

import numpy as np
import torch
from scipy.optimize import brentq
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin, _fit_context
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d

from ._logits import TASKS, check_logits, row_blocks
from ._state import OnDevice, blank_twin
from ._torch import as_tensor, exact_arithmetic, from_numpy, to_numpy
from ._warn import warn
from .kernels.logits import as_units, nll_slope

LOWEST, HIGHEST = 0.005, 1000.0
IGNORED = -100  # torch's default ignore_index


def check_targets(y, n_columns, task):
    """Return the column of the true class of each row, (n,), or of each label, (n, labels).

    Integers that are columns are taken as such. Otherwise the sorted classes of `y` must be as many
    as the columns, and stand for them in that order.

    Returns
    -------
    target : int64 ndarray
    classes : ndarray
        What the columns stand for.
    """
    if y is None:
        raise ValueError(
            "Fitting a temperature requires y to be passed, but the target y is None; pass labels "
            "or give the temperature as a number."
        )
    if isinstance(y, torch.Tensor):
        y = to_numpy(y, name="y")
    if task == "multilabel":
        return _check_indicators(y, n_columns)
    y = column_or_1d(y, warn=True)
    if y.dtype.kind == "O":  # integers in an object array, which scikit-learn does not recognize
        y = np.asarray(y.tolist())
    check_classification_targets(y)
    if y.dtype.kind in "if" and IGNORED in y:
        raise ValueError(
            f"y holds {IGNORED}, which torch ignores and this does not; drop these rows."
        )
    n_classes = max(2, n_columns)
    classes = np.unique(y)
    is_column = np.isin(classes, np.arange(n_classes))
    if classes.dtype.kind in "iufb" and is_column.all():
        return y.astype(np.int64), np.arange(n_classes)
    if len(classes) != n_classes:
        raise ValueError(
            f"y has {len(classes)} classes {classes.tolist()[:10]}, but X has columns for "
            f"{n_classes}; give column indices 0 to {n_classes - 1}, or labels in which every "
            "class occurs."
        )
    return np.searchsorted(classes, y), classes


def _check_indicators(y, n_columns):
    y = np.asarray(y)
    if y.shape[1:] != (n_columns,) or not np.isin(y, (0, 1)).all():
        raise ValueError(
            f"y must hold 0 or 1 for each of the {n_columns} labels with task='multilabel', got an "
            f"array of shape {y.shape}."
        )
    return y.astype(np.int64), np.arange(2)


def fit_temperature(Z, y, task, members=False):
    """Return the temperature that minimizes the NLL of given logits and labels.

    The NLL is convex in 1 / T, so its slope has one root, which is bracketed and found by Brent's
    method. Where there is none in [0.005, 1000] (every row right, or no better than guessing) the
    end is returned, with a warning.

    Parameters
    ----------
    Z : tensor
        Logits as `kernels.logits.as_units` takes them.
    y : array-like
        Labels, see `check_targets`.

    Returns
    -------
    temperature : float
    classes : ndarray
    """
    n_columns = Z.shape[1] if not members or Z.ndim == 3 else 1
    target, classes = check_targets(y, n_columns, task)
    if len(target) != len(Z):
        raise ValueError(f"X has {len(Z)} rows and y has {len(target)}; give one label a row.")
    target = from_numpy(target.reshape(len(Z), 1, -1)).to(Z.device)

    def slope(log_beta):
        total = 0.0
        for rows in row_blocks(Z):
            units = as_units(Z[rows].to(torch.float64), task, members)
            wanted = target[rows].expand(units.shape[:-1])
            total += float(nll_slope(units, wanted, math.exp(log_beta)))
        return total

    low, high = -math.log(HIGHEST), -math.log(LOWEST)
    at_high = slope(high)
    if not math.isfinite(at_high):
        raise ValueError("y names a class whose logit is -inf in X: its likelihood is 0 there.")
    if at_high < 0:
        return _bound(
            LOWEST, "every row is right, or X is tiny: the likelihood still grows"
        ), classes
    if slope(low) >= 0:
        return _bound(HIGHEST, "X is no better than guessing, or huge"), classes
    if at_high == 0:
        return _bound(LOWEST, "every row is right to the last digit"), classes
    return math.exp(-brentq(slope, low, high, xtol=1e-12, rtol=1e-12)), classes


def _bound(temperature, reason):
    warn(
        f"temperature='fit' ends at {temperature}, the end of its range [{LOWEST}, {HIGHEST}], as "
        f"{reason}; fit on more or harder rows."
    )
    return temperature


class TemperatureScaler(OneToOneFeatureMixin, TransformerMixin, OnDevice, BaseEstimator):
    """Divide logits by the temperature that makes their probabilities fit the labels.

    Parameters
    ----------
    task : {"multiclass", "binary", "multilabel"}, default="multiclass"
        What the columns of X are: classes; one logit or two; labels that hold or not.
    device : str, default="cpu"
        Where the temperature is fitted: "cpu", "cuda", "cuda:1", "mps" or "auto".

    Attributes
    ----------
    temperature_ : float
        Minimizer of the negative log-likelihood; above 1 where the logits are overconfident.
    classes_ : ndarray of shape (n_classes,)
        What the columns stand for, in their order.
    n_features_in_ : int
        Number of columns seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, where `fit` saw a data frame with string names.

    See Also
    --------
    EnergyScore : Takes ``temperature="fit"`` itself, as every logit score.

    Notes
    -----
    Fit it on rows that the network was not trained on. Labels may be column indices; other labels
    must show every class once and stand for the columns in sorted order.

    The temperature lies in [0.005, 1000]. Where the likelihood has no maximum (all rows right, or
    no better than guessing) it is the end of that range, with a warning.

    References
    ----------
    Guo, C. et al. "On Calibration of Modern Neural Networks", ICML 2017, arXiv:1706.04599.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_seapig import TemperatureScaler
    >>> logits = np.tile([4.0, 0.0, 0.0], (100, 1))
    >>> y = np.repeat([0, 1], [75, 25])
    >>> scaler = TemperatureScaler().fit(logits, y)
    >>> round(scaler.temperature_, 6)
    2.232443
    """

    _parameter_constraints = {"task": [StrOptions(TASKS)], "device": [str, torch.device]}

    def __init__(self, task="multiclass", *, device="cpu"):
        self.task = task
        self.device = device

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Fit the temperature.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_columns)
            Logits.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Labels.

        Returns
        -------
        self : TemperatureScaler

        Raises
        ------
        ValueError
            If the labels do not fit the columns, or X holds NaN, +inf or a row of -inf.
        """
        twin = blank_twin(self)
        Z = twin._tensor(X, reset=True)
        with exact_arithmetic(Z.device):
            twin.temperature_, twin.classes_ = fit_temperature(Z, y, self.task)
        self.__dict__ = twin.__dict__
        return self

    def transform(self, X):
        """Return ``X / temperature_``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_columns)
            Logits.

        Returns
        -------
        scaled : ndarray of shape (n_samples, n_columns)
        """
        check_is_fitted(self)
        return to_numpy(self._tensor(X)) / self.temperature_

    def _tensor(self, X, reset=False):
        return as_tensor(check_logits(self, X, task=self.task, reset=reset), self._device)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags
