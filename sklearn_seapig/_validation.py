"""Checks of what users pass in; every message names the parameter, the value and the mend."""

import math
from collections.abc import Mapping
from numbers import Real

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn.utils._param_validation import Interval, validate_parameter_constraints
from sklearn.utils.validation import column_or_1d, validate_data
from torch.utils.data import DataLoader, Dataset

from ._torch import from_numpy, to_numpy


class Range(Interval):
    """An interval of numbers that refuses booleans, which Python counts among the integers."""

    def is_satisfied_by(self, val):
        return not isinstance(val, (bool, np.bool_)) and super().is_satisfied_by(val)

    def __str__(self):
        # (0, 1] is how the documentation writes it; the parent prints (0.0, 1.0].
        return super().__str__().replace(".0", "")


QUANTILE = Range(Real, 0, 1, closed="right")


def check_parameter(name, value, constraint, caller):
    """Raise InvalidParameterError (a ValueError) where one argument breaks its constraint."""
    validate_parameter_constraints({name: [constraint]}, {name: value}, caller_name=caller)


def check_features(
    estimator, X, *, reset=False, name="X", min_samples=1, max_dim=2, check_finite=True
):
    """Return X as a finite 2-D float array of the width that the estimator was fitted on.

    float32 and float64 stay what they are, half precision becomes float32, everything else
    float64. The result may share memory with X. A tensor on an accelerator is checked there and
    stays a tensor. `max_dim` and `check_finite` are for the few who take more axes or infinity.
    """
    on_device = isinstance(X, torch.Tensor) and X.device.type not in ("cpu", "meta")
    if on_device and not reset:
        return _check_device_tensor(estimator, X, name, max_dim, check_finite)
    X = _as_array_like(X, name, max_dim)
    try:
        X = validate_data(
            estimator,
            X,
            reset=reset,
            dtype=[np.float64, np.float32],
            order="C",
            ensure_all_finite=False,
            ensure_min_samples=min_samples,
            allow_nd=max_dim > 2,
        )
    except (TypeError, ValueError, OverflowError) as error:  # int too large for a float
        if name in str(error):
            raise
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"Input {name}: {error}") from error
    if check_finite:
        _check_finite(X, name)
    return X


def _as_array_like(X, name, max_dim):
    if isinstance(X, torch.Tensor):
        X = to_numpy(X, name)
    if issparse(X):  # one of its formats is a dict; scikit-learn has the right message
        return X
    if isinstance(X, (Dataset, DataLoader)):
        raise TypeError(
            f"{name} is a {type(X).__name__}, which a TorchEmbedder turns into rows: put one "
            "before this estimator in a Pipeline."
        )
    if X is None or isinstance(X, (str, bytes, Mapping, set)):
        raise TypeError(
            f"{name} must be a 2D array-like of shape (n_samples, n_features), got "
            f"{type(X).__name__}; pass an array, a data frame or a tensor."
        )
    if isinstance(X, (list, tuple)):
        try:
            X = stacked(X, name)
        except ValueError as error:
            raise ValueError(
                f"{name} is a {type(X).__name__} of rows of unequal length ({error}); "
                "pass rows of one length."
            ) from error
    _refuse_silent_numbers(X, name)
    if getattr(X, "dtype", None) == np.float16:
        X = np.asarray(X, dtype=np.float32)
    if len(getattr(X, "shape", ())) > max_dim:
        raise ValueError(
            f"Input {name}: found array with dim {len(X.shape)} (shape {tuple(X.shape)}), expected "
            f"{max_dim}D; embed it first or pass {name}.reshape(len({name}), -1)."
        )
    return X


def stacked(rows, name):
    """Return a list of rows or numbers, which may be tensors, as an array."""
    return np.asarray([to_numpy(x, name) if isinstance(x, torch.Tensor) else x for x in rows])


def _refuse_silent_numbers(X, name):
    """Refuse what numpy would turn into numbers that nobody has measured."""
    if np.ma.is_masked(X):
        n_masked = np.ma.count_masked(X)
        raise ValueError(
            f"{name} is a masked array with {n_masked} masked values; fill them or drop their rows."
        )
    if hasattr(X, "head") or (isinstance(X, np.ndarray) and X.ndim):
        dtype = np.asarray(X.head(1) if hasattr(X, "head") else X[:1]).dtype
        if dtype.kind in "mM":
            raise TypeError(
                f"{name} holds dates or time spans ({dtype}), which are no numbers; make numbers "
                "of them first."
            )


def as_array(values, name):
    """Return a tensor as an array, and anything else as it is."""
    return to_numpy(values, name) if isinstance(values, torch.Tensor) else values


def check_vector(values, name):
    """Return numbers as a float64 vector, which a column of shape (n, 1) becomes with a warning."""
    values = as_array(values, name)
    try:
        if isinstance(values, (list, tuple)):
            values = stacked(values, name)
        _refuse_silent_numbers(values, name)
        shape = np.shape(values)
        if len(shape) != 1 and shape[1:] != (1,):
            raise ValueError(f"{name} should be a 1d array, got an array of shape {shape} instead.")
        return column_or_1d(values, dtype=np.float64, warn=True)
    except (TypeError, ValueError, OverflowError) as error:
        if name in str(error):
            raise
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{name} must be a vector of numbers: {str(error).splitlines()[0]}") from error


def _check_finite(X, name):
    # The sum is finite for nearly every finite array and needs no mask of the size of X. torch sums
    # two to four times as fast as numpy.
    if math.isfinite(from_numpy(X).sum()):
        return
    bad = np.flatnonzero(~np.isfinite(X).all(axis=tuple(range(1, X.ndim))))
    if len(bad):
        kind = "NaN" if np.isnan(X[bad]).any() else "infinity"
        raise ValueError(_not_finite(name, kind, len(bad), len(X), bad[0]))


def _not_finite(name, kind, n_bad, n_rows, first):
    return (
        f"Input {name} contains {kind} in {n_bad} of {n_rows} rows (the first is row {first}); "
        "drop or impute these rows."
    )


def _check_device_tensor(estimator, X, name, max_dim, check_finite):
    """Check a tensor where it lives, so that it need not pass through the CPU."""
    X = X.detach()
    if not 2 <= X.ndim <= max_dim:
        raise ValueError(f"Input {name}: found tensor with dim {X.ndim}, expected {max_dim}D.")
    validate_data(estimator, X, reset=False, skip_check_array=True)
    if X.dtype not in (torch.float32, torch.float64):
        half = X.dtype in (torch.float16, torch.bfloat16)
        X = X.to(torch.float32 if half else torch.float64)
    bad = (~torch.isfinite(X).flatten(1).all(dim=1)).nonzero()
    if check_finite and len(bad):
        kind = "NaN" if bool(torch.isnan(X[bad[:, 0]]).any()) else "infinity"
        raise ValueError(_not_finite(name, kind, len(bad), len(X), int(bad[0])))
    return X
