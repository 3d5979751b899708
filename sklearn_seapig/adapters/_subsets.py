"""Arguments of an update: their rows, which of these are selected, and the part of these."""

from collections.abc import Mapping

import numpy as np
import torch

from .._torch import from_numpy


def as_rows(values, name):
    """Return an array-like with rows as a tensor, half precision as float32."""
    if not isinstance(values, torch.Tensor):
        values = np.asarray(values)
    if values.ndim == 0:
        raise ValueError(f"{name} has shape (); pass one value for each row, shape (n,).")
    try:
        values = values.detach() if isinstance(values, torch.Tensor) else from_numpy(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"{name} is not an array of numbers ({error}); pass a tensor, an array or a list of "
            "numbers."
        ) from error
    return values.float() if values.is_floating_point() and values.itemsize < 4 else values


def as_mask(selected):
    """Return which rows are selected, as booleans on the CPU.

    They are given as booleans, as 1 and 0, or as 1 and -1.
    """
    values = as_rows(selected, "selected").cpu()
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise ValueError(
            f"selected has shape {tuple(values.shape)}; pass one value for each row, shape (n,)."
        )
    seen = set(torch.unique(values).tolist())
    if not (seen <= {0, 1} or seen <= {-1, 1}):
        raise ValueError(
            f"selected holds the values {sorted(seen)[:5]}; pass booleans, 1 and 0, or the 1 and "
            "-1 of predict. A confidence becomes a mask as score >= threshold."
        )
    return values > 0


def check_rows(value, n, name):
    """Raise ValueError where an argument that has rows does not have one for each of `n`."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            check_rows(part, n, f"{name}[{key!r}]")
    elif _has_rows(value) and len(value) != n:
        raise ValueError(
            f"{name} has {len(value)} rows and selected has {n}; pass one value of selected for "
            "each row of the batch."
        )


def take(value, mask):
    """Return the rows of an argument where the mask holds; what has no rows stays as it is."""
    if isinstance(value, Mapping):
        return {key: take(part, mask) for key, part in value.items()}
    if not _has_rows(value):
        return value
    if isinstance(value, torch.Tensor):
        return value[mask.to(value.device)]
    if isinstance(value, np.ndarray):
        return value[mask.numpy()]
    return [row for row, kept in zip(value, mask.tolist(), strict=True) if kept]


def _has_rows(value):
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return value.ndim > 0
    return isinstance(value, (list, tuple))
