"""Risk-coverage numbers from batches. Imports torchmetrics."""

import math
from collections.abc import Mapping

import numpy as np
import torch

from .._optional import extra
from .._torch import to_numpy
from ..metrics import _measures as measures
from ..metrics import risk_coverage_curve
from ..metrics._sample import Sample
from ..thresholds import check_confidence
from ._row_losses import row_losses, zero_one_loss
from ._subsets import as_rows

with extra("metrics", "sklearn_seapig.adapters.torchmetrics"):
    from torchmetrics import Metric
    from torchmetrics.utilities.data import dim_zero_cat

    from ._members import gather

# What `compute` returns, by the names of make_selective_scorer.
MEASURES = {
    "aurc": measures.aurc,
    "eaurc": measures.excess_aurc,
    "naurc": measures.normalized_aurc,
    "augrc": measures.augrc,
    "failure_auroc": measures.failure_auroc,
}


class RiskCoverageMetric(Metric):
    """Risk-coverage numbers of a confidence, from batches.

    Parameters
    ----------
    loss : callable or dict of str to callable, default=None
        ``loss(preds, target)`` returns the losses of the rows, shape (n,), finite and not
        negative, such as absolute residuals. None is the 0/1 error of the predicted class. A
        dict evaluates several losses over the same confidence; None is allowed in it.
    **kwargs
        Settings of `torchmetrics.Metric`, such as ``sync_on_compute``.

    Raises
    ------
    TypeError
        If `loss` is neither a callable nor a dict of them.

    See Also
    --------
    risk_coverage_curve, aurc_score, excess_aurc_score, normalized_aurc_score, augrc_score,
    failure_auroc_score : The same numbers, from arrays.

    Notes
    -----
    `compute` returns ``aurc``, ``eaurc``, ``naurc``, ``augrc`` and ``failure_auroc`` as float64;
    with a dict of losses, ``<loss>/aurc`` and so on. Before the first row all are nan, and so are
    ``failure_auroc`` where losses are not 0 or 1 or do not differ, and ``naurc`` where no order of
    the rows is better than another.

    Confidences and losses of all rows are kept in float64 (float32 on Apple's devices), 16 bytes
    for a row and one loss. In several processes they are gathered in `compute` and `curve`, which
    all processes must call.

    Examples
    --------
    >>> import torch
    >>> from sklearn_seapig import RiskCoverageMetric
    >>> metric = RiskCoverageMetric()
    >>> preds, target = torch.tensor([0, 1, 2, 1]), torch.tensor([0, 1, 1, 2])
    >>> metric.update(preds, target, confidence=torch.tensor([0.9, 0.8, 0.4, 0.3]))
    >>> round(metric.compute()["aurc"].item(), 6)
    0.208333
    >>> metric.curve().selective_risk.round(2)
    array([0.  , 0.  , 0.33, 0.5 ])
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    def __init__(self, loss=None, **kwargs):
        # Without a cache: a process would not gather where it has a value, but another new rows.
        super().__init__(**{"dist_sync_fn": gather, "compute_with_cache": False, **kwargs})
        self.loss = dict(loss) if isinstance(loss, Mapping) else loss
        bad = [f for f in self._losses().values() if f is not None and not callable(f)]
        if bad or not self._losses():
            raise TypeError(
                f"loss={loss!r} must be a callable of (preds, target), None for the 0/1 error, or "
                "a dict from names to these that is not empty."
            )
        # nan equals nothing, so a MetricCollection takes no two of these for the same metric; it
        # would where their losses agree on the first batch. First, as some compare one state only.
        self.add_state("apart", default=torch.tensor(math.nan), dist_reduce_fx="max")
        # One row: the confidence, then its losses.
        self.add_state("rows", default=[], dist_reduce_fx="cat")

    def update(self, preds, target, confidence):
        """Add a batch.

        Parameters
        ----------
        preds : array-like of shape (n, ...)
            What `loss` takes. For the 0/1 error: class indices as integers (n,), probabilities
            or logits (n, c) of which the largest counts, or probabilities (n,) of class 1, which
            is predicted above 0.5.
        target : array-like of shape (n, ...)
            What `loss` takes. For the 0/1 error: class indices (n,).
        confidence : array-like of shape (n,)
            Higher is more confident.

        Raises
        ------
        TypeError
            If an argument is not numeric.
        ValueError
            If the lengths differ, a value is NaN, a loss is negative, or predictions and targets
            cannot be read as classes. The batch is not added then.
        """
        preds, target = as_rows(preds, "preds"), as_rows(target, "target")
        target = target.to(preds.device)
        n = len(as_rows(confidence, "confidence"))
        if not len(preds) == len(target) == n:
            raise ValueError(
                f"preds has {len(preds)} rows, target {len(target)} and confidence {n}; pass one "
                "of each for every row."
            )
        rows = np.empty((n, 1 + len(self._losses())))
        if n:
            rows[:, 0] = check_confidence(confidence)
            for column, (name, loss) in enumerate(self._losses().items(), start=1):
                rows[:, column] = row_losses(loss or zero_one_loss, preds, target, name)
        self.rows.append(torch.from_numpy(rows).to(self.device, _exact(self.device)))

    def forward(self, preds, target, confidence):
        """Add a batch like `update` and return its own values."""
        if self.dist_sync_on_step:
            return super().forward(preds, target, confidence)
        # The parent copies all rows seen so far, in each call.
        self.update(preds, target, confidence)
        self._forward_cache = self._measure(self.rows[-1])
        return self._forward_cache

    def compute(self):
        """Return the numbers over all rows seen since the last reset, in all processes.

        Returns
        -------
        values : dict of str to Tensor
        """
        return self._measure(self._all_rows())

    def curve(self):
        """Return the risk-coverage curve over all rows, in all processes.

        Returns
        -------
        curve : RiskCoverageCurve, or dict of str to RiskCoverageCurve
            A dict where `loss` is one.

        Raises
        ------
        ValueError
            If no row was seen.
        """
        with self.sync_context(
            dist_sync_fn=self.dist_sync_fn,
            should_sync=self.sync_on_compute and not self._is_synced,
        ):
            rows = to_numpy(self._all_rows())
        if not len(rows):
            raise ValueError("there is no row to draw a curve of; call update before curve.")
        curves = {
            name: risk_coverage_curve(rows[:, column], rows[:, 0])
            for column, name in enumerate(self._losses(), start=1)
        }
        return curves if isinstance(self.loss, dict) else curves["loss"]

    def plot(self, val=None, ax=None):
        """Plot one result of `compute`, or a list of them, as torchmetrics does."""
        return self._plot(val, ax)

    def _losses(self):
        return self.loss if isinstance(self.loss, dict) else {"loss": self.loss}

    def _all_rows(self):
        rows = dim_zero_cat(self.rows) if len(self.rows) else torch.empty(0)
        return rows if rows.numel() else rows.new_empty((0, 1 + len(self._losses())))

    def _measure(self, rows):
        table = to_numpy(rows)
        result = {}
        for column, name in enumerate(self._losses(), start=1):
            prefix = f"{name}/" if isinstance(self.loss, dict) else ""
            for key, value in _numbers(table[:, column], table[:, 0]).items():
                value = torch.tensor(value, device=self.device, dtype=_exact(self.device))
                result[prefix + key] = value
        return result

    def _apply(self, fn, exclude_state=""):
        # To another device, but never to half precision: confidences that differ would tie.
        def move(tensor):
            if tensor.is_meta:
                return fn(tensor)
            device = fn(tensor.new_empty(0, dtype=torch.float32)).device
            return tensor.to(device, torch.float32 if device.type == "mps" else tensor.dtype)

        return super()._apply(move, exclude_state)

    def _load_from_state_dict(self, state_dict, prefix, *args):
        rows = state_dict.get(f"{prefix}rows", [])
        widths = {part.shape[1] for part in rows if part.ndim == 2}
        if widths - {1 + len(self._losses())}:
            args[-1].append(
                f"rows of width {sorted(widths)} do not fit a RiskCoverageMetric of "
                f"{len(self._losses())} losses"
            )
            return
        super()._load_from_state_dict(state_dict, prefix, *args)
        self.rows = list(self.rows)  # the list of the state_dict must not grow with this metric


def _numbers(loss, confidence):
    if len(loss) == 0:
        return dict.fromkeys(MEASURES, math.nan)
    sample = Sample(loss, confidence)  # is sorted once
    numbers = {name: float(measure(sample)) for name, measure in MEASURES.items()}
    return numbers if sample.is_binary else {**numbers, "failure_auroc": math.nan}


def _exact(device):
    """Return the floating type of rows: Apple's devices have no float64."""
    return torch.float32 if device.type == "mps" else torch.float64
