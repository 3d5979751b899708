"""The metrics of a task: which are taken, and what of their values can be logged."""

import inspect

import torch

from .._optional import extra
from .._warn import warn

with extra("lightning", "The adapter of Lightning"):
    from torchmetrics import Metric, MetricCollection
    from torchmetrics.aggregation import BaseAggregator
    from torchmetrics.metric import CompositionalMetric
    from torchmetrics.wrappers.abstract import WrapperMetric


def given_metrics(task, metrics):
    """Return given metrics, or the one that a path names, once they can compare predictions."""
    if isinstance(metrics, str):
        metrics = _named(task, metrics)
    elif not isinstance(metrics, (Metric, MetricCollection)):
        try:
            metrics = MetricCollection(metrics)
        except (TypeError, ValueError) as error:
            raise ValueError(f"metrics={metrics!r} cannot be joined: {error}") from error
    bad = [type(m).__name__ for m in _members(metrics) if not _compares(m)]
    if bad:
        raise ValueError(
            f"metrics has {', '.join(bad)}, which does not compare predictions with a target: its "
            "update takes something else than (preds, target); drop it."
        )
    return metrics


def metrics_of(task):
    """Return those metrics of a task that are for ``trainer.test``."""
    own = _own(task)
    fit = {name: metric for name, metric in own.items() if all(map(_compares, _members(metric)))}
    found = {n: m for n, m in fit.items() if n.startswith("test")} or {
        n: m for n, m in fit.items() if not n.startswith(("train", "val"))
    }
    if not found:
        raise ValueError(
            f"{type(task).__name__} has no metrics for trainer.test (of its attributes, "
            f"{list(own)} are metrics); pass metrics=, for example torchmetrics.Accuracy(...)."
        )
    skipped = [n for n in own if n not in fit and not n.startswith(("train", "val"))]
    if skipped:
        warn(
            f"The metrics {skipped} of {type(task).__name__} are left out: they do not compare "
            "predictions with a target (a mean of losses, for example); pass metrics= to name "
            "those to use."
        )
    return next(iter(found.values())) if len(found) == 1 else MetricCollection(found)


def scalars_of(values):
    """Return what of the values of metrics can be logged, and the names of what cannot.

    A vector, such as one value for each class, gives one scalar for each of its entries.
    """
    scalars, others = {}, []
    for name, value in values.items():
        if not isinstance(value, (torch.Tensor, int, float)) or getattr(value, "ndim", 0) > 1:
            others.append(name)
        elif getattr(value, "ndim", 0) == 1 and len(value) > 1:
            scalars |= {f"{name}/{i}": entry for i, entry in enumerate(value)}
        else:
            scalars[name] = value
    return scalars, others


def _own(task):
    inner = getattr(task, "_orig_mod", task)  # of torch.compile, which shows no children
    children = inner.named_children()
    return {name: m for name, m in children if isinstance(m, (Metric, MetricCollection))}


def _named(task, path):
    try:
        found = getattr(task, "_orig_mod", task).get_submodule(path)
    except AttributeError:
        found = None
    if not isinstance(found, (Metric, MetricCollection)):
        raise ValueError(
            f"metrics={path!r} is no metric of {type(task).__name__}; its attributes "
            f"{list(_own(task))} are."
        )
    return found


def _members(metrics):
    return list(metrics.values()) if isinstance(metrics, MetricCollection) else [metrics]


def _compares(metric):
    """Return whether a metric takes (preds, target), as far as its signature tells."""
    wraps = isinstance(metric, (WrapperMetric, CompositionalMetric))
    if any(isinstance(part, BaseAggregator) for part in (metric.modules() if wraps else [metric])):
        return False  # takes (value, weight)
    try:
        inspect.signature(metric.update).bind(None, None)
    except TypeError:
        return False
    return True
