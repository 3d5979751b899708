"""What counts as logits: their shape for each task, and what may stand in them."""

import numpy as np
import torch

from ._torch import as_tensor, to_numpy
from ._validation import check_features, stacked

TASKS = {"multiclass", "binary", "multilabel"}
BLOCK = 2**18  # logits that are converted to float64 at once: a few such arrays fit the cache


def row_blocks(Z):
    """Yield slices of rows that hold about `BLOCK` logits each."""
    step = max(1, BLOCK // max(1, Z[0].numel()))
    for start in range(0, len(Z), step):
        yield slice(start, start + step)


def check_logits(estimator, X, *, task, members=False, reset=False, name="X"):
    """Return X as float logits of the shape that the task asks for.

    A class may be masked by -inf. NaN, +inf and units in which every class is masked are refused,
    with ValueError.
    """
    if task == "binary" and not members:
        X = _vector_as_column(X, name)
    X = check_features(
        estimator, X, reset=reset, name=name, max_dim=3 if members else 2, check_finite=False
    )
    _check_shape(X, task, members, name)
    # One column of logits a unit: everything except the classes of a multiclass or two-logit row.
    single = task == "multilabel" or X.shape[1] == 1 or (members and X.ndim == 2)
    bad = _bad_rows(X, single)
    if len(bad):
        raise ValueError(
            f"Input {name} contains NaN, +infinity or nothing but -infinity in {len(bad)} of "
            f"{len(X)} rows (the first is row {bad[0]}); -inf may mask some classes, not all."
        )
    return X


def _vector_as_column(X, name):
    """Return single logits (n,) as (n, 1), and anything else as it is."""
    try:
        array = stacked(X, name) if isinstance(X, (list, tuple)) else X
        if np.ndim(array) != 1:
            return X
    except ValueError:  # rows of unequal length, of which check_features tells
        return X
    return X.unsqueeze(1) if isinstance(X, torch.Tensor) else np.reshape(array, (-1, 1))


def _check_shape(X, task, members, name):
    shape = tuple(X.shape)
    if members and X.ndim == 2 and task != "binary":
        raise ValueError(
            f"{name} has shape {shape}, but members={members!r} needs (n_samples, n_classes, "
            f"n_members) with task={task!r}."
        )
    n_columns = 1 if members and X.ndim == 2 else shape[1]
    if task == "multiclass" and n_columns == 1:
        raise ValueError(
            f"{name} has n_features=1 (1 feature(s)), but task='multiclass' needs a logit for each "
            "class; a single logit is task='binary'."
        )
    if task == "binary" and n_columns > 2:
        raise ValueError(
            f"{name} has {n_columns} columns, but task='binary' takes one logit or two; use "
            "task='multiclass' or task='multilabel'."
        )


def _bad_rows(X, single):
    """Return the rows with NaN, +inf, or a distribution that is -inf throughout."""
    X = as_tensor(X, X.device if isinstance(X, torch.Tensor) else "cpu")
    wrong = torch.isnan(X) | torch.isposinf(X)
    if not single:
        wrong = wrong.any(dim=1) | torch.isneginf(X).all(dim=1)
    return np.flatnonzero(to_numpy(wrong.reshape(len(X), -1).any(dim=1)))
