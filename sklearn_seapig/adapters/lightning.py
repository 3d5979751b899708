"""Selective inference with Lightning: test, predict and write."""

import functools
import inspect
from numbers import Integral

import torch
from sklearn.utils._param_validation import validate_parameter_constraints

from .._batches import describe, pick_input
from .._composition import fits_on_calibration
from .._optional import extra
from .._validation import Range
from .._warn import warn
from ._lightning_judge import take_apart
from ._lightning_reading import (
    check_rows,
    paired,
    pick_output,
    pick_target,
    recording,
    resolve,
)
from ._lightning_writer import SelectivePredictionWriter

with extra("lightning", "The adapter of Lightning"):
    from lightning import LightningModule
    from torchmetrics import Metric, MetricCollection

    from .torchmetrics import SelectiveMetric

__all__ = ["SelectiveInferenceTask", "SelectivePredictionWriter"]

# What a task does to data and weights, it does when it is wrapped, too. Its other hooks log metrics
# that nobody updates here, or expect the outputs of its own steps.
_KEPT_HOOKS = (
    "prepare_data", "setup", "teardown", "configure_model", "on_load_checkpoint",
    "test_dataloader", "predict_dataloader",
    "on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer",
    "on_test_model_eval", "on_predict_model_eval",
    "on_test_start", "on_predict_start", "on_predict_epoch_start",
)  # fmt: skip

_KEY = [str, Range(Integral, 0, None, closed="left"), callable, None]
_CONSTRAINTS = {
    "task": [torch.nn.Module],
    "input_key": _KEY,
    "target_key": _KEY,
    "layer": [str, None],
    "method": [str, None],
    "features_key": _KEY,
    "output_key": _KEY,
    "metrics": [str, Metric, MetricCollection, dict, list, tuple, None],
}


class SelectiveInferenceTask(LightningModule):
    """A task that says for each row whether its prediction is to be trusted.

    It wraps a trained task and a fitted score for ``trainer.test`` (metrics of all, of the selected
    and of the rejected rows) and for ``trainer.predict`` (predictions, confidences, decisions).

    Parameters
    ----------
    task : LightningModule or torch.nn.Module
        The trained network. It is shared, not copied.

    score : score, outlier detector, Pipeline ending in one, or SelectiveClassifier
        The fitted confidence. Where it is a Pipeline that begins with a `TorchEmbedder` of `task`
        or of a part of it, that step is read from the pass that makes the predictions, in place of
        `layer` and `method`. Of a `SelectiveClassifier` the confidence and the threshold are taken;
        the predictions are those of `task`.

    input_key : str, int or callable, default=None
        Where a batch holds the input of `task`: a key of a dict, a position in a tuple, or a
        function of the batch, whose result is passed on as it is. None takes the batch itself if it
        is a tensor, the first element of a tuple or list, and of a dict the first of "image", "x",
        "input", "inputs", "pixel_values", "input_ids", "features".

    target_key : str, int or callable, default=None
        Where a batch holds the target of the metrics, likewise. None takes the first of "label",
        "labels", "target", "targets", "y", else the second element of a tuple or list.

    layer : str, default=None
        Dotted path of a submodule of `task`, as in ``task.named_modules()``, whose output the score
        sees.

    method : str, default=None
        Method of `task` whose output the score sees, where `layer` is None: "forward" for logits.
        None is "forward" for a score that is one of logits and "embed" for any other.

    features_key : str, int or callable, default=None
        Where the output of `layer` or `method` holds what the score sees, if it holds more: a key,
        a position, or a function of it.

    output_key : str, int or callable, default=None
        Where the output of `task` holds what the metrics see, if it holds more, likewise.

    metrics : Metric, MetricCollection, dict or list of them, or str, default=None
        The metrics of ``trainer.test``, or the dotted path of one in `task`. None takes those
        attributes of `task` whose name begins with "test", and where there are none, those whose
        name does not begin with "train" or "val". They are copied.

    See Also
    --------
    SelectivePredictionWriter : Joins the predictions of several processes in one file.
    TorchEmbedder : The same embedding as a step of a scikit-learn Pipeline.
    sklearn_seapig.adapters.torchmetrics.SelectiveMetric : What computes the metrics.

    Notes
    -----
    **One pass.** `task` is called once for each batch, and what the score needs is read on the way:
    the output of `layer`, or of `method` where ``forward`` calls it. A `method` that ``forward``
    does not call is called in addition, which costs another pass and, where the network draws
    random numbers, may not belong to the prediction.

    **Predict.** ``trainer.predict`` gives for each batch a dict with ``predictions``, what
    ``task.predict_step`` returns where the task has its own, else ``task(input)``, untouched;
    ``score``, the confidences, float64; ``selected``, bool. Higher confidence is more normal. The
    last two lie on the CPU.

    **Test.** The metrics see ``task(input)`` and the target of each batch, and are logged once per
    epoch as ``full/<name>``, ``selected/<name>``, ``rejected/<name>``, beside ``coverage``, the
    share of selected rows; nan for a part without rows. Each of several data loaders has its own,
    with ``/dataloader_idx_<i>`` at the end of the name. ``test_step`` of `task` and its other test
    hooks are not run; hooks that prepare, transfer or load something are. A target of shape (B, 1)
    is ravelled with a DataConversionWarning where predictions have another shape.

    **Several processes.** Metrics are those of all rows. Lightning repeats rows in ``test`` where
    their number is no multiple of the number of processes; the metrics count them again. In
    ``predict`` it repeats none.

    **Devices.** A score of this package works on the device of the features, whatever its own
    `device`; its arrays are copied there once. Any other detector works on the CPU.

    **Checkpoints.** ``state_dict`` is that of `task`: its checkpoints can be given as ``ckpt_path``
    and loaded by ``load_from_checkpoint(path, task=..., score=...)``. The score is not in it: save
    it with joblib or skops, and fit it on features of the weights that it is used with.

    Lightning comes as ``lightning`` and as ``pytorch_lightning``, which do not mix; this class
    belongs to ``lightning``.

    Raises
    ------
    NotFittedError
        If `score` is not fitted, or has no bound yet.
    TypeError
        If `score` cannot score new rows.
    ValueError
        If `task` has no such `layer` or `method`, a batch or an output has no such key (the message
        lists those it has), or the score is given another number of rows than the batch has.

    Examples
    --------
    >>> import torch
    >>> from lightning import LightningModule
    >>> from sklearn_seapig import EuclideanScore, SelectiveInferenceTask
    >>> class Net(LightningModule):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.body, self.head = torch.nn.Linear(4, 3), torch.nn.Linear(3, 2)
    ...     def embed(self, x):
    ...         return self.body(x)
    ...     def forward(self, x):
    ...         return self.head(self.embed(x))
    >>> net, X = Net(), torch.randn(100, 4)
    >>> score = EuclideanScore(k=5, quantile=1.0).fit(net.embed(X))
    >>> task = SelectiveInferenceTask(net, score)

    ``Trainer().predict(task, loader)`` gives for each batch:

    >>> output = task.predict_step(torch.cat([X[:2], X[:2] + 100]))
    >>> output["predictions"].shape, output["selected"]
    (torch.Size([4, 2]), tensor([ True,  True, False, False]))
    """

    def __init__(
        self,
        task,
        score,
        input_key=None,
        target_key=None,
        *,
        layer=None,
        method=None,
        features_key=None,
        output_key=None,
        metrics=None,
    ):
        given = {k: v for k, v in locals().items() if k in _CONSTRAINTS}
        validate_parameter_constraints(_CONSTRAINTS, given, "SelectiveInferenceTask")
        super().__init__()
        _warn_other_tree(task)
        self.task = task
        self.score = score
        self.input_key = input_key
        self.target_key = target_key
        self.features_key = features_key
        self.output_key = output_key
        self.metrics = metrics
        embedder, self._judge = take_apart(score)
        default = "forward" if fits_on_calibration(self._judge.score) else "embed"
        self._source = resolve(task, layer, method, embedder, default)
        self._selective = torch.nn.ModuleList()
        self._keep_hooks()

    def _keep_hooks(self):
        self.strict_loading = getattr(self.task, "strict_loading", True)
        for name in _KEPT_HOOKS:
            own = _own_hook(self.task, name)
            if own is not None:
                setattr(self, name, own)

    def forward(self, *args, **kwargs):
        """Call the task."""
        return self.task(*args, **kwargs)

    def predict_step(self, batch, batch_idx=0, dataloader_idx=0):
        """Return ``predictions``, ``score`` and ``selected`` of a batch."""
        step = _own_hook(self.task, "predict_step")
        if step is not None:
            step = functools.partial(step, *_accepted(step, (batch, batch_idx, dataloader_idx)))
        predictions, score, selected = self._infer(batch, step)
        return {"predictions": predictions, "score": score, "selected": selected}

    def on_test_epoch_start(self):
        """Start the metrics of each data loader anew."""
        base = _find_metrics(self.task, self.metrics)
        # New ones in each process: states that were shared by a spawn would be counted twice.
        self._selective = torch.nn.ModuleList(
            SelectiveMetric(base).to(self.device) for _ in self.trainer.num_test_batches
        )
        for metric in self._selective:
            metric.reset()

    def test_step(self, batch, batch_idx=0, dataloader_idx=0):
        """Update the metrics with a batch."""
        output, _, selected = self._infer(batch)
        predictions = pick_output(output, self.output_key, "output_key")
        predictions, target = paired(predictions, pick_target(batch, self.target_key))
        self._selective[dataloader_idx].update(
            predictions, target, selected=selected.to(self.device)
        )

    def on_test_epoch_end(self):
        """Log what the metrics are over the epoch."""
        several = len(self._selective) > 1
        for i, metric in enumerate(self._selective):
            end = f"/dataloader_idx_{i}" if several else ""
            values = {f"{name}{end}": value for name, value in metric.compute().items()}
            # Equal on all processes already; without sync_dist Lightning says they may not be.
            self.log_dict(values, sync_dist=True, add_dataloader_idx=False)
            metric.reset()

    def state_dict(self, *args, **kwargs):
        """Return the state of the task, under its own keys."""
        return self.task.state_dict(*args, **kwargs)

    def load_state_dict(self, state_dict, *args, **kwargs):
        """Load the state of a task."""
        return self.task.load_state_dict(state_dict, *args, **kwargs)

    def _input(self, batch):
        if callable(self.input_key):
            return self.input_key(batch)
        return pick_input(batch, self.input_key)

    def _infer(self, batch, step=None):
        """Run the task or its step once; return the output, confidences and decisions."""
        x = self._input(batch) if step is None else None
        with recording(self.task, self._source, self._pick_features) as read:
            output = self.task(x) if step is None else step()
            if not read and self._source.can_be_called:
                self._source(self.task, self._input(batch) if x is None else x)
        name = self._source.name
        if len(read) != 1:
            raise ValueError(
                f"{name} ran {len(read)} times in one call of {type(self.task).__name__}, expected "
                "once; choose another layer or method."
            )
        (features,) = read
        rows = output if x is None else x
        check_rows(features, len(rows) if getattr(rows, "ndim", 0) else None, name)
        try:
            score, selected = self._judge(features)
        except ValueError as error:
            error.add_note(f"The score was given the output of {name}: {describe(features)}.")
            raise
        return output, torch.from_numpy(score), torch.from_numpy(selected)

    def _pick_features(self, output):
        return pick_output(output, self.features_key, "features_key")


def _own_hook(task, name):
    """Return a hook of a task, or None where it has none or Lightning's own."""
    hook = getattr(task, name, None)
    module = getattr(hook, "__module__", "") or ""
    return None if module.startswith(("lightning.pytorch.core", "pytorch_lightning.core")) else hook


def _accepted(step, args):
    """Return as many of (batch, batch_idx, dataloader_idx) as a step takes."""
    parameters = inspect.signature(step).parameters.values()
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return args
    wanted = [
        p for p in parameters if p.default is p.empty or p.name in ("batch_idx", "dataloader_idx")
    ]
    return args[: len(wanted)]


def _find_metrics(task, metrics):
    if isinstance(metrics, (Metric, MetricCollection)):
        return metrics
    if isinstance(metrics, str):
        return task.get_submodule(metrics)
    if metrics is not None:
        return MetricCollection(metrics)
    own = {n: m for n, m in task.named_children() if isinstance(m, (Metric, MetricCollection))}
    found = {n: m for n, m in own.items() if n.startswith("test")} or {
        n: m for n, m in own.items() if not n.startswith(("train", "val"))
    }
    if not found:
        raise ValueError(
            f"{type(task).__name__} has no metrics for trainer.test (of its attributes, "
            f"{list(own)} are metrics); pass metrics=, for example torchmetrics.Accuracy(...)."
        )
    return next(iter(found.values())) if len(found) == 1 else MetricCollection(found)


def _warn_other_tree(task):
    if any(cls.__module__.startswith("pytorch_lightning.") for cls in type(task).__mro__):
        warn(
            f"task={type(task).__name__} comes from pytorch_lightning, this class from lightning: "
            "run it with lightning.Trainer, which pytorch_lightning.Trainer does not mix with."
        )
