"""One file of predictions from any number of processes."""

import itertools
import os
from pathlib import Path

import numpy as np
import torch

from .._batches import describe
from .._optional import extra

with extra("lightning", "The adapter of Lightning"):
    from lightning.pytorch.callbacks import BasePredictionWriter


class SelectivePredictionWriter(BasePredictionWriter):
    """Write what ``trainer.predict`` gives into one file, in the order of the data set.

    With several processes, each sees a part of the rows and ``trainer.predict`` returns that part
    only. This callback gathers the parts on the first process, which puts every row in its place,
    once, and writes them.

    Parameters
    ----------
    path : str or path
        The file, read by ``torch.load(path)``; replaced when it is complete. Missing folders are
        made.

    See Also
    --------
    SelectiveInferenceTask : Gives predictions, confidences and decisions of each batch.

    Notes
    -----
    The file holds a dict, or a list of one for each data loader where there are several, with what
    ``predict_step`` returns for a batch (``predictions``, ``score``, ``selected``), joined along
    the rows, and ``index``, the position of each row in the data set, ascending. Tensors and arrays
    are joined along their first axis to tensors, dicts and tuples part by part, lists with one
    entry a row are appended to each other (a list of tensors is refused, since it could as well be
    a list of parts). Where the step returns no dict, its outputs are ``predictions``.

    A row that several processes saw is kept once, from the first of them. A row that none saw
    (``limit_predict_batches``, a sampler that leaves rows out) has no ``index``. With
    ``limit_predict_batches=0`` Lightning calls no writer, and a file of before stays.

    In one process a loader without known positions (of an IterableDataset, say) is written in the
    order of its batches; with several processes it is refused.

    All rows pass through the memory of the first process.

    Examples
    --------
    >>> from lightning import Trainer
    >>> from sklearn_seapig import SelectivePredictionWriter
    >>> writer = SelectivePredictionWriter("predictions.pt")
    >>> trainer = Trainer(accelerator="cpu", logger=False, callbacks=[writer])

    After ``trainer.predict(task, loader, return_predictions=False)`` the rows are in
    ``torch.load("predictions.pt")``.
    """

    def __init__(self, path):
        super().__init__("epoch")
        self.path = path

    def setup(self, trainer, pl_module, stage):
        """Make the folder before hours of inference, rather than fail after them."""
        super().setup(trainer, pl_module, stage)
        if stage == "predict" and trainer.is_global_zero:
            Path(self.path).parent.mkdir(parents=True, exist_ok=True)

    def write_on_epoch_end(self, trainer, pl_module, predictions, batch_indices):
        """Gather the rows of all processes and write them from the first one."""
        if len(batch_indices) == 1:  # Lightning then drops the list of data loaders
            predictions = [predictions]
        parts = _gather((predictions, batch_indices))
        if trainer.is_global_zero:
            joined = [
                _join_processes([(batches[i], indices[i]) for batches, indices in parts])
                for i in range(len(batch_indices))
            ]
            _save(joined[0] if len(joined) == 1 else joined, Path(self.path))
        trainer.strategy.barrier("SelectivePredictionWriter")  # nobody reads before it is there


def _gather(value):
    """Return the values of all processes in the first one, and None in the others."""
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return [value]
    is_first = distributed.get_rank() == 0
    values = [None] * distributed.get_world_size() if is_first else None
    distributed.gather_object(value, values)
    return values


def _join_processes(parts):
    """Join the batches of one data loader, given as (batches, indices) of each process."""
    batches, index = [], []
    for own_batches, own_index in parts:
        own_batches = [b if isinstance(b, dict) else {"predictions": b} for b in own_batches]
        batches += own_batches
        index += _check_index(own_batches, own_index, len(parts))
    if any("index" in batch for batch in batches):
        raise ValueError(
            "predict_step returns an 'index', a name that the file needs for the positions in the "
            "data set; rename it."
        )
    if not batches:
        return {"index": torch.zeros(0, dtype=torch.int64)}
    rows = np.concatenate([np.asarray(i, dtype=np.int64) for i in index])
    lengths = [len(i) for i in index]
    # The first of several equal ones, as documented.
    index, order = np.unique(rows, return_index=True)
    joined = {
        name: _join([batch[name] for batch in batches], lengths, order, name) for name in batches[0]
    }
    return {"index": torch.from_numpy(index), **joined}


def _check_index(batches, index, n_processes):
    if len(index) == len(batches):
        return index
    if n_processes > 1:
        raise ValueError(
            "The positions of the rows in the data set are not known, so the parts of "
            f"{n_processes} processes cannot be put in order; give a DataLoader of a data set with "
            "a length, or predict in one process."
        )
    starts = np.cumsum([0, *(_n_rows(batch) for batch in batches)])
    return [np.arange(*bounds) for bounds in itertools.pairwise(starts)]


def _n_rows(batch):
    score = batch.get("score", next(iter(batch.values())))
    if not _has_rows(score):
        raise ValueError(
            "The number of rows of a batch is not known, as the first of the predictions is a "
            f"{describe(score)}; let predict_step return a tensor with one row for each."
        )
    return len(score)


def _join(pieces, lengths, order, name):
    """Join one part of the batches along the rows, then put the rows in order."""
    first = pieces[0]
    if isinstance(first, dict):
        return {k: _join([p[k] for p in pieces], lengths, order, f"{name}[{k!r}]") for k in first}
    if isinstance(first, tuple):
        return tuple(
            _join(list(column), lengths, order, f"{name}[{i}]")
            for i, column in enumerate(zip(*pieces, strict=True))
        )
    _check_rows(pieces, lengths, name)
    if isinstance(first, torch.Tensor):
        return torch.cat(pieces)[torch.from_numpy(order)]
    if isinstance(first, np.ndarray):
        rows = np.concatenate(pieces)[order]
        return torch.from_numpy(rows) if rows.dtype.kind in "biuf" else rows.tolist()
    rows = [row for piece in pieces for row in piece]
    return [rows[i] for i in order]


def _has_rows(piece):
    return isinstance(piece, list) or getattr(piece, "ndim", 0) > 0


def _check_rows(pieces, lengths, name):
    for piece, n_rows in zip(pieces, lengths, strict=True):
        if not _has_rows(piece):
            raise ValueError(
                f"{name} is a {describe(piece)} in a batch of {n_rows} rows; it must have a row "
                "for each to be written."
            )
        if isinstance(piece, list) and any(getattr(row, "ndim", 0) for row in piece):
            raise ValueError(
                f"{name} is a {describe(piece)}, of which it cannot be told whether its entries "
                "are rows; return a tuple of parts, one tensor, or a dict for each row."
            )
        if len(piece) != n_rows:
            raise ValueError(
                f"{name} has {len(piece)} rows in a batch of {n_rows} rows of the data set; it "
                "must have one for each."
            )


def _save(content, path):
    part = path.with_name(f"{path.name}.part")
    torch.save(content, part)
    os.replace(part, path)
