"""What metrics hold: copies of given metrics, counts of rows, states of other processes."""

import contextlib
import copy
import functools
import math
import warnings
from numbers import Number

import numpy as np
import torch
import torch.distributed as dist

from .._optional import extra
from .._warn import warn

with extra("metrics", "sklearn_seapig.adapters.torchmetrics"):
    from lightning_utilities import apply_to_collection
    from torchmetrics import Metric, MetricCollection
    from torchmetrics.utilities.distributed import gather_all_tensors


def as_collection(base):
    """Return a copy of a metric or of several as a collection that has seen nothing."""
    if not isinstance(base, (Metric, MetricCollection, list, tuple, dict)):
        raise TypeError(
            f"base={base!r} must be a torchmetrics Metric, a MetricCollection, or a list or dict "
            "of metrics."
        )
    base = copy.deepcopy(base)
    if not isinstance(base, MetricCollection):
        base = MetricCollection(base)
    if not len(base):
        raise ValueError("base holds no metric; give at least one.")
    members = dict(base.items(keep_base=True))
    naming = {"prefix": base.prefix, "postfix": base.postfix}
    collection = MetricCollection(members, compute_groups=False, **naming)
    collection.reset()
    return collection


def values_of_nothing(collection):
    """Return nan under the names, and where it can be known in the shapes, of a collection."""
    values = {}
    for alone in one_by_one(apart(collection.clone())):
        try:
            with no_warning_of_empty_metrics():
                values |= alone.compute()
        except Exception:  # many metrics cannot be computed of nothing, each in its own way
            device = next(iter(alone.values())).device
            values |= {key: torch.tensor(math.nan, device=device) for key in alone}
    return nan_like(values)


def apart(collection):
    """Return a collection that waits for no other process."""
    for metric in metrics_in(collection):
        metric.distributed_available_fn = bool  # bool() is False
    return collection


def one_by_one(collection):
    """Yield each member of a collection as a collection that names its values likewise."""
    naming = {"prefix": collection.prefix, "postfix": collection.postfix}
    for name, member in collection.items(keep_base=True):
        yield MetricCollection({name: member}, compute_groups=False, **naming)


def metrics_in(module):
    """Return all metrics below a module, those within wrappers included."""
    return [m for m in module.modules() if isinstance(m, Metric) and m is not module]


def values_where_possible(collection, full, part):
    """Return the values of a part, with nan and a warning for what so few rows do not define.

    `full` are the values of all rows, which could be computed.
    """
    try:
        return collection.compute()
    except Exception:  # each in its own way: R2Score of one row, ...
        if not _recover(collection):
            raise
    values = nan_like(full)
    for alone in one_by_one(collection):
        try:
            values |= {k: value for k, value in alone.compute().items() if k in values}
        except Exception as error:
            if not _recover(alone):
                raise
            warn(
                f"{', '.join(alone)} is nan for the {part} rows, of which it cannot be computed: "
                f"{error}"
            )
    return values


def _recover(collection):
    """Give metrics that failed to compute their own rows back; False where the exchange failed."""
    metrics = metrics_in(collection)
    synced = [metric for metric in metrics if metric._is_synced]
    for metric in synced:
        metric.unsync()
    exchanges = any(m.sync_on_compute and m.distributed_available_fn() for m in metrics)
    return bool(synced) or not exchanges


def nan_like(values):
    """Return the same structure with nan in every tensor, array and number."""

    def nan(value):
        if isinstance(value, np.ndarray):
            return np.full(value.shape, math.nan)
        if not isinstance(value, torch.Tensor):
            return math.nan
        dtype = value.dtype if value.is_floating_point() else torch.get_default_dtype()
        return torch.full_like(value, math.nan, dtype=dtype)

    return apply_to_collection(values, (torch.Tensor, np.ndarray, Number), nan)


@contextlib.contextmanager
def no_warning_of_empty_metrics():
    """Silence what torchmetrics says where this process has no rows, of which others may have."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The ``compute`` method of metric")
        yield


class RowCounts(Metric):
    """Numbers of selected and of rejected rows, exact at any size."""

    full_state_update = False

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.add_state("counts", torch.zeros(2, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, mask):
        n = int(mask.sum())
        added = torch.tensor([n, len(mask) - n], device=self.counts.device)
        self.counts = self.counts + added

    def compute(self):
        return self.counts


def gather(tensor, group=None):
    """Return the tensors of all processes; for ``dist_sync_fn`` of a torchmetrics metric.

    A process without rows holds an empty float vector where the others may hold integers or
    matrices, or a default where they hold what a first batch made of it. Sent as it is, such a
    tensor would abort the others.
    """
    kinds = [None] * dist.get_world_size(group)
    dist.all_gather_object(kinds, (tuple(tensor.shape), tensor.dtype), group=group)
    filled = [kind for kind in kinds if kind[0] != (0,)] or kinds
    shapes, dtypes = zip(*filled, strict=True)
    if len({len(shape) for shape in shapes}) > 1:
        raise RuntimeError(
            f"a metric has states of the shapes {shapes} in different processes, which cannot be "
            "joined; give each process a batch with selected and rejected rows first."
        )
    if tensor.shape == (0,):
        tensor = tensor.new_empty((0, *shapes[0][1:]))
    return gather_all_tensors(tensor.to(functools.reduce(torch.promote_types, dtypes)), group)


def check_lists(counts, metrics):
    """Raise RuntimeError where processes would wait for each other without an end.

    torchmetrics gathers a list that has no reduction entry by entry, and a process has an entry
    for each of its batches with rows of the part.
    """
    if not (counts.sync_on_compute and counts.distributed_available_fn()):
        return
    lengths = {
        f"{type(metric).__name__}.{name}": len(value)
        for metric in metrics
        for name, value in metric.metric_state.items()
        if isinstance(value, list) and metric._reductions[name] is None
    }
    if not lengths:
        return
    group = counts.process_group
    everywhere = [None] * dist.get_world_size(group)
    dist.all_gather_object(everywhere, lengths, group=group)
    uneven = {name for other in everywhere for name in lengths if other[name] != lengths[name]}
    if uneven:
        raise RuntimeError(
            f"{sorted(uneven)} hold lists of other lengths in other processes, which torchmetrics "
            "cannot gather; compute this metric in one process."
        )
