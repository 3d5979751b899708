"""A metric of the full, the selected and the rejected rows. Imports torchmetrics."""

import math

import torch

from .._optional import extra
from ._subsets import as_mask, check_rows, take

with extra("metrics", "sklearn_seapig.adapters.torchmetrics"):
    from torchmetrics import Metric
    from torchmetrics.wrappers.abstract import WrapperMetric

    from ._members import (
        RowCounts,
        apart,
        as_collection,
        check_lists,
        gather,
        metrics_in,
        nan_like,
        no_warning_of_empty_metrics,
        values_of_nothing,
        values_where_possible,
    )

PARTS = ("full", "selected", "rejected")


class SelectiveMetric(WrapperMetric):
    """A metric on all rows, on those that a selective model accepts, and on those it rejects.

    Parameters
    ----------
    base : Metric, MetricCollection, or list or dict of metrics
        Copied three times, without the rows it has seen; the given object stays as it is.

    Raises
    ------
    TypeError
        If `base` is none of these.
    ValueError
        If `base` holds no metric or something else than metrics, two metrics of one name, or a
        metric with ``dist_sync_on_step=True``.

    Notes
    -----
    `compute` returns ``full/<name>``, ``selected/<name>`` and ``rejected/<name>`` for each name
    that `base` returns, and ``coverage``, the share of selected rows. What no row was seen for is
    nan, never 0. So is, with a warning, what cannot be computed of the few rows of a part, such as
    R2Score of one rejected row.

    In several processes each metric gathers its own state. Whether a part is empty is decided on
    counts of all processes, so all processes must call `compute`, as with any metric.

    Compute groups of a collection are not used: torchmetrics forms them of metrics that look alike
    on the first batch, and on a part with one or two rows different metrics do.

    A mask that is none and arguments of unequal lengths are refused before anything is added. What
    a metric of `base` itself refuses may by then have been added to others; reset after that.

    Examples
    --------
    >>> import torch
    >>> from torchmetrics.classification import BinaryAccuracy
    >>> from sklearn_seapig import SelectiveMetric
    >>> metric = SelectiveMetric(BinaryAccuracy())
    >>> preds, target = torch.tensor([1, 0, 1, 1]), torch.tensor([1, 0, 0, 1])
    >>> metric.update(preds, target, torch.tensor([1, 1, -1, 1]))
    >>> metric.compute()
    {'full/BinaryAccuracy': tensor(0.7500), 'selected/BinaryAccuracy': tensor(1.),
     'rejected/BinaryAccuracy': tensor(0.), 'coverage': tensor(0.7500)}
    """

    def __init__(self, base):
        super().__init__()
        for part in PARTS:
            setattr(self, part, as_collection(base))
        members = metrics_in(self.full)
        if any(member.dist_sync_on_step for member in members):
            raise ValueError(
                "base has dist_sync_on_step=True, which would let processes wait for each other "
                "where only some have rejected rows; leave it False."
            )
        same = ("process_group", "sync_on_compute", "distributed_available_fn")
        self.counts = RowCounts(**{name: getattr(members[0], name) for name in same})
        for metric in metrics_in(self):
            metric.dist_sync_fn = metric.dist_sync_fn or gather
            # A process would not gather what it has a value of, but another one may have new rows.
            metric.compute_with_cache = False
        # For the values of one batch. In a tuple, so that it is no part of the state.
        self._of_batch = (apart(as_collection(base)),)

    def update(self, *args, selected=None, **kwargs):
        """Add a batch.

        Parameters
        ----------
        *args, **kwargs
            What the update of `base` takes, such as ``preds, target``. Tensors, arrays and lists
            have one entry for each row of the batch.
        selected : array-like of shape (n,)
            Which rows are accepted: booleans, 1 and 0, or the 1 and -1 of `predict`. By name, or
            the last of the positional arguments.

        Raises
        ------
        TypeError
            If `selected` is missing or is not numeric.
        ValueError
            If `selected` holds other values, or its length is not that of the other arguments.
        """
        args, kwargs, mask = _split(args, kwargs, selected)
        for part, (some, named) in self._parts(args, kwargs, mask).items():
            getattr(self, part).update(*some, **named)
        self.counts.update(mask)
        self._update_count += 1

    def forward(self, *args, selected=None, **kwargs):
        """Add a batch like `update` and return its own values."""
        self.update(*args, selected=selected, **kwargs)
        args, kwargs, mask = _split(args, kwargs, selected)
        values = {}
        for part, (some, named) in self._parts(args, kwargs, mask).items():
            values[part] = self._values_of_batch(part, some, named, values.get("full"))
        self._forward_cache = self._joined(values, int(mask.sum()), len(mask))
        return self._forward_cache

    def compute(self):
        """Return the values over all rows seen since the last reset, in all processes.

        Returns
        -------
        values : dict of str to Tensor

        Raises
        ------
        RuntimeError
            In several processes, if `base` keeps lists that torchmetrics gathers batch by batch
            (retrieval, ROUGE, detection) and the processes have not seen equally many batches.
        """
        for part in PARTS:
            check_lists(self.counts, metrics_in(getattr(self, part)))
        with no_warning_of_empty_metrics():
            # Counts of all processes: all of them must take the same branch below.
            n_selected, n_rejected = self.counts.compute().tolist()
            values = {"full": self.full.compute()} if n_selected + n_rejected else {}
            for part, n in (("selected", n_selected), ("rejected", n_rejected)):
                if n:
                    values[part] = values_where_possible(getattr(self, part), values["full"], part)
            return self._joined(values, n_selected, n_selected + n_rejected)

    def reset(self):
        """Forget all rows."""
        super().reset()
        for child in self.children():
            child.reset()

    def persistent(self, mode=False):
        """Let the states of the metrics be part of the ``state_dict``, or not."""
        super().persistent(mode)
        for metric in metrics_in(self):  # a wrapper does not tell those that it wraps
            metric.persistent(mode)

    def set_dtype(self, dst_type):
        """Change the floating type of the states; counts of rows stay integers."""
        super().set_dtype(dst_type)
        for collection in (*(getattr(self, part) for part in PARTS), *self._of_batch):
            collection.set_dtype(dst_type)
        return self

    def plot(self, val=None, ax=None):
        """Plot one result of `compute`, or a list of them, as torchmetrics does."""
        return self._plot(val, ax)

    def _parts(self, args, kwargs, mask):
        """Return the arguments of each part that has rows in this batch."""
        n = int(mask.sum())
        parts = {"full": (args, kwargs)} if len(mask) else {}
        for part, size, rows in (("selected", n, mask), ("rejected", len(mask) - n, ~mask)):
            if 0 < size < len(mask):
                parts[part] = ([take(a, rows) for a in args], take(kwargs, rows))
            elif size:
                parts[part] = (args, kwargs)
        return parts

    def _values_of_batch(self, part, args, kwargs, full):
        """Return the values of a part of one batch; `forward` of a metric may lose its rows."""
        (collection,) = self._of_batch
        collection.to(self.counts.device)
        collection.reset()  # after a spawn its states may lie in memory shared by processes
        try:
            for metric in metrics_in(collection):
                metric._enable_grad = torch.is_grad_enabled()  # as in forward
            collection.update(*args, **kwargs)
            if full is None:
                return collection.compute()
            return values_where_possible(collection, full, part)
        finally:
            collection.reset()

    def _joined(self, values, n_selected, n):
        nothing = nan_like(values["full"]) if n else values_of_nothing(self.full)
        result = {
            f"{part}/{name}": value
            for part in PARTS
            for name, value in values.get(part, nothing).items()
        }
        coverage = n_selected / n if n else math.nan
        result["coverage"] = torch.tensor(coverage, device=self.counts.device)
        return result

    def __setstate__(self, state):
        super().__setstate__(state)
        # A spawned process gets the states in memory that it shares with the others, and many
        # metrics add in place: rows would count several times.
        for metric in metrics_in(self):
            for name, value in metric.metric_state.items():
                if isinstance(value, torch.Tensor) and value.device.type == "cpu":
                    setattr(metric, name, value.clone())

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, strict, missing, *rest):
        names = [
            f"{prefix}{path}.{name}"
            for path, metric in self.named_modules()
            if isinstance(metric, Metric)
            for name in metric.metric_state
        ]
        absent = [name for name in names if name not in state_dict]
        if 0 < len(absent) < len(names):  # torchmetrics would load the others in silence
            rest[-1].append(f"the state of a SelectiveMetric lacks {absent}")
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing, *rest)


def _split(args, kwargs, selected):
    """Return the arguments of the base metrics and the mask, once they fit each other."""
    if selected is None:
        if not args:
            raise TypeError("selected is missing; pass it by name, or as the last argument.")
        *args, selected = args
    mask = as_mask(selected)
    named = {f"argument {i}": value for i, value in enumerate(args, start=1)}
    for name, value in {**named, **kwargs}.items():
        check_rows(value, len(mask), name)
    return args, kwargs, mask
