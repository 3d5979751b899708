"""What users pass as X of an embedder, as batches of input tensors in row order."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from numbers import Number

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn.utils.validation import check_array
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from ._torch import from_numpy, to_numpy
from ._warn import warn

INPUT_KEYS = ("image", "x", "input", "inputs", "pixel_values", "input_ids", "features")


@dataclass(frozen=True)
class Source:
    """Input tensors in row order, with what is known of their number beforehand."""

    batches: Callable[[], Iterator[torch.Tensor]]
    n_rows: int | None
    n_batches: int | None
    # Arrays are checked as scikit-learn does; what a loader yields is the user's own business.
    check_finite: bool


def as_rows(X):
    """Return tensors of at most 2 dimensions and lists as arrays, which share what follows."""
    if issparse(X):
        raise TypeError(
            "Sparse data was passed for X, but a torch module takes dense data; pass X.toarray()."
        )
    if isinstance(X, torch.Tensor):
        return _check_tensor(X) if X.ndim > 2 else to_numpy(X)
    if isinstance(X, (list, tuple)):
        return _stack(X)
    if not any(hasattr(X, name) for name in ("shape", "__array__", "__dataframe__")):
        raise TypeError(
            f"X must be an array, a data frame, a tensor, a Dataset or a DataLoader, got "
            f"{describe(X)}."
        )
    return X


def _check_tensor(X):
    if X.layout != torch.strided or X.device.type == "meta" or X.is_complex():
        raise TypeError(
            f"X is a {X.dtype} tensor of layout {X.layout} on device {X.device}; pass a dense "
            "real tensor that holds data."
        )
    if len(X) == 0:
        raise ValueError(f"Found tensor with 0 sample(s) (shape={tuple(X.shape)}) in X.")
    return X


def _stack(rows):
    """Return a list of rows as an array; a list of anything else is a mistake worth naming."""
    for row in rows:
        plain = isinstance(row, (Number, str, list, tuple, np.ndarray, np.generic, torch.Tensor))
        batch = isinstance(row, (list, tuple)) and any(isinstance(x, torch.Tensor) for x in row)
        if not plain or batch:
            raise TypeError(
                f"X is a {type(rows).__name__} that holds a {describe(row)}, expected rows of "
                "numbers; pass a Dataset or a DataLoader itself, and one at a time."
            )
    try:
        return np.asarray([to_numpy(r) if isinstance(r, torch.Tensor) else r for r in rows])
    except ValueError as error:
        raise ValueError(
            f"X is a {type(rows).__name__} of rows of unequal shape ({error}); pass rows of one "
            "shape."
        ) from error


def check_many_dimensions(X):
    """Return an array of images, sequences, ... that torch can take."""
    # Whether it is finite is asked batch by batch: images need not fit into the memory twice.
    X = check_array(
        X, dtype="numeric", order="C", ensure_all_finite=False, allow_nd=True, input_name="X"
    )
    return X.astype(np.float64) if X.dtype.itemsize > 8 else X


def source_from_rows(X, batch_size):
    """Return the batches of an array or a tensor whose first axis is the rows."""
    starts = range(0, len(X), batch_size)

    def batches():
        for start in starts:
            rows = X[start : start + batch_size]
            yield rows if isinstance(rows, torch.Tensor) else from_numpy(rows)

    return Source(batches, len(X), len(starts), check_finite=True)


def source_from_dataset(dataset, batch_size, input_key):
    """Return the batches of a Dataset in its own order."""
    streams = isinstance(dataset, IterableDataset)
    if not streams and not hasattr(dataset, "__len__"):
        raise TypeError(
            f"X is a {type(dataset).__name__} without a length; define __len__, or make it an "
            "IterableDataset."
        )
    # A generator of its own: DataLoader draws from the global one for every pass otherwise.
    loader = DataLoader(dataset, batch_size=int(batch_size), generator=torch.Generator())
    return source_from_loader(loader, input_key)


def source_from_loader(loader, input_key):
    """Return the input tensors of the batches of a DataLoader, used as it is."""

    def batches():
        for batch in loader:
            yield pick_input(batch, input_key)

    try:
        n_batches = len(loader)
    except TypeError:
        n_batches = None
    return Source(batches, _n_rows(loader), n_batches, check_finite=False)


def _n_rows(loader):
    """Return how many rows a loader promises, or None where only a pass can tell."""
    # Any other batch sampler need not visit the rows of its sampler once each.
    if (
        isinstance(loader.dataset, IterableDataset)
        or type(loader.batch_sampler) is not BatchSampler
    ):
        return None
    try:
        return len(loader.batch_sampler.sampler)
    except TypeError:
        return None


def check_row_order(loader):
    """Refuse a loader that loses rows, and warn where it brings them in an order of its own."""
    _check_no_row_dropped(loader)
    samplers = (getattr(loader.batch_sampler, "sampler", None), loader.batch_sampler)
    if loader.batch_sampler is None:
        samplers = (loader.sampler,)
    random = (RandomSampler, SubsetRandomSampler, WeightedRandomSampler)
    # DistributedSampler and many samplers of users keep a flag of that name.
    if any(isinstance(s, random) or getattr(s, "shuffle", False) is True for s in samplers):
        warn(
            "X is a DataLoader that shuffles, so row i of the result is not row i of its dataset; "
            "build it with shuffle=False and without a random sampler."
        )


def _check_no_row_dropped(loader):
    sampler = loader.batch_sampler
    if not (loader.drop_last or getattr(sampler, "drop_last", False)):
        return
    n_rows = _n_rows(loader)
    if n_rows is None:
        raise ValueError(
            "X is a DataLoader with drop_last=True and without a known number of rows, so the "
            "last of them may be lost; build it with drop_last=False."
        )
    kept = n_rows - n_rows % sampler.batch_size
    if kept != n_rows:
        raise ValueError(
            f"X is a DataLoader with drop_last=True that would embed {kept} of {n_rows} rows; "
            "build it with drop_last=False."
        )


def describe(value):
    """Return the structure of a batch or an output in a few words, for messages."""
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return f"{type(value).__name__} of shape {tuple(value.shape)}"
    if hasattr(value, "keys"):
        return f"{type(value).__name__} with keys {list(value.keys())[:20]}"
    if isinstance(value, (tuple, list)):
        parts = [describe(part) for part in value[:4]] + ["..."] * (len(value) > 4)
        return f"{type(value).__name__} of ({', '.join(parts)})"
    return type(value).__name__


def pick_input(batch, input_key=None):
    """Return the tensor of a batch that the module is to be called with."""
    if callable(input_key):
        picked = input_key(batch)
    elif hasattr(batch, "keys"):
        picked = _by_key(batch, input_key)
    elif isinstance(batch, (tuple, list)):
        picked = _by_position(batch, input_key)
    elif input_key is None:
        picked = batch
    else:
        raise ValueError(f"input_key={input_key!r} but a batch of X is a {describe(batch)}.")
    if isinstance(picked, np.ndarray) and picked.dtype.kind in "biuf":
        picked = from_numpy(picked)
    if not isinstance(picked, torch.Tensor) or picked.ndim == 0:
        raise TypeError(
            f"A batch of X must hold its input as a tensor with rows, got a {describe(picked)} "
            f"from a {describe(batch)}; name it by input_key, which may be a function of the batch."
        )
    return picked.detach()


def _by_key(batch, key):
    keys = list(batch.keys())
    wanted = INPUT_KEYS if key is None else (key,)
    for name in wanted:
        if name in keys:
            return batch[name]
    seen = f"none of the default keys {list(INPUT_KEYS)}" if key is None else f"no key {key!r}"
    raise ValueError(f"A batch of X has {seen}; set input_key to one of its keys {keys}.")


def _by_position(batch, key):
    if isinstance(key, str):
        if key in getattr(batch, "_fields", ()):
            return getattr(batch, key)
        if not (batch and hasattr(batch[0], "keys")):
            raise ValueError(f"input_key={key!r} but a batch of X is a {describe(batch)}.")
    elif key is not None:
        if key >= len(batch):
            raise ValueError(f"input_key={key} but a batch of X is a {describe(batch)}.")
        return batch[key]
    first = batch[0] if batch else None
    return _by_key(first, key) if hasattr(first, "keys") else first
