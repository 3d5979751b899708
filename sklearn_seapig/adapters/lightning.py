"""Selective inference with Lightning: test, predict and write."""

import functools
from numbers import Integral

import torch
from sklearn.utils._param_validation import validate_parameter_constraints

from .._batches import describe, pick_input
from .._optional import extra
from .._validation import Range
from .._warn import warn
from ._lightning_hooks import KEPT_HOOKS, accepted, own_hook, warn_other_tree
from ._lightning_judge import embedders_in, take_apart
from ._lightning_metrics import given_metrics, metrics_of, scalars_of
from ._lightning_reading import (
    check_rows,
    paired,
    pick_output,
    pick_target,
    recording,
    resolve,
    rows_of,
    rows_of_input,
)
from ._lightning_writer import SelectivePredictionWriter
from ._members import values_of_nothing
from .torchmetrics import SelectiveMetric

with extra("lightning", "The adapter of Lightning"):
    from lightning import LightningModule
    from torchmetrics import Metric, MetricCollection

__all__ = ["SelectiveInferenceTask", "SelectivePredictionWriter"]

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
        "labels", "target", "targets", "y", of a dict within a tuple or list too, else the second
        element of a tuple or list. A batch that has both is refused.

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
        name does not begin with "train" or "val"; it leaves out, with a warning, what does not
        compare predictions with a target, such as a `MeanMetric`. Each test works on copies.

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
    last two lie on the CPU. Where ``predict_step`` is called without a trainer, the network runs as
    it is: call ``task.eval()`` before and use ``torch.no_grad()``, as with any module.

    **Test.** The metrics see ``task(input)`` and the target of each batch, and are logged once per
    epoch as ``full/<name>``, ``selected/<name>``, ``rejected/<name>``, beside ``coverage``, the
    share of selected rows; nan for a part without rows. A metric that gives a vector is logged as
    ``<name>/0``, ``<name>/1``, ...; one that gives a matrix is refused before the first batch, and
    a curve is left out with a warning. Each of several data loaders has its own, with
    ``/dataloader_idx_<i>`` at the end of the name. ``test_step`` of `task` and its hooks around
    batches and epochs of a test are not run; hooks that prepare, transfer, load or save something
    are, and those at the start and the end. A target of shape (B, 1) is ravelled with a
    DataConversionWarning where predictions have another shape.

    **Several processes.** Metrics are those of all rows. Lightning repeats rows in ``test`` where
    their number is no multiple of the number of processes; the metrics count them again. In
    ``predict`` it repeats none, and stops with an AssertionError where there are fewer rows than
    processes. Threads that use one network take turns.

    **Cost.** On two CPU cores, batches of 256 images took 1.01 to 1.03 times what
    ``trainer.predict`` of `task` and the score alone took together. Batches of 32, which the
    network itself passed in 1.5 ms, took 1.15 to 1.5 times that, as does a ``predict_step`` written
    by hand that calls network and score (``tests/benchmarks/bench_lightning.py``).

    **Devices.** A score of this package works on the device of the features, whatever its own
    `device`; its arrays are copied there once. Any other detector works on the CPU.

    **Checkpoints.** ``state_dict`` is that of `task`: its checkpoints can be given as ``ckpt_path``
    and loaded by ``load_from_checkpoint(path, task=..., score=...)``, where hyperparameters of
    `task` are left aside. The score is not in it: save it with joblib or skops, and fit it on
    features of the weights that it is used with.

    Lightning comes as ``lightning`` and as ``pytorch_lightning``, which do not mix; this class
    belongs to ``lightning``.

    Raises
    ------
    NotFittedError
        If `score` is not fitted, or has no bound yet.
    TypeError
        If `score` cannot score new rows.
    ValueError
        If `task` has no such `layer` or `method`, `metrics` do not compare predictions with a
        target, a batch or an output has no such key (the message lists those it has), or the score
        is given another number of rows than the batch has.

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
    >>> task = SelectiveInferenceTask(net, score).eval()

    ``Trainer().predict(task, loader)`` gives for each batch:

    >>> output = task.predict_step(torch.cat([X[:2], X[:2] + 100]))
    >>> output["predictions"].shape, output["selected"]
    (torch.Size([4, 2]), tensor([ True,  True, False, False]))
    """

    # Hyperparameters in a checkpoint are those of the task, not arguments of this class.
    CHECKPOINT_HYPER_PARAMS_KEY = "selective_hyper_parameters"
    CHECKPOINT_HYPER_PARAMS_NAME = "selective_hparams_name"

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
        given = {
            "task": task,
            "input_key": input_key,
            "target_key": target_key,
            "layer": layer,
            "method": method,
            "features_key": features_key,
            "output_key": output_key,
            "metrics": metrics,
        }
        validate_parameter_constraints(_CONSTRAINTS, given, "SelectiveInferenceTask")
        super().__init__()
        warn_other_tree(task)
        self.task = task
        self.score = score
        self.input_key = input_key
        self.target_key = target_key
        self.features_key = features_key
        self.output_key = output_key
        # In a tuple, so that they are no part of this module and stay where they are.
        self._given_metrics = () if metrics is None else (given_metrics(task, metrics),)
        embedder, self._judge = take_apart(score)
        default = "forward" if self._judge.sees_logits else "embed"
        self._source = resolve(task, layer, method, embedder, default, embedders_in(score))
        self._selective = torch.nn.ModuleList()
        self._keep_hooks()

    def _keep_hooks(self):
        self.strict_loading = getattr(self.task, "strict_loading", True)
        for name in KEPT_HOOKS:
            own = own_hook(self.task, name)
            if own is not None:
                setattr(self, name, own)

    def forward(self, *args, **kwargs):
        """Call the task."""
        return self.task(*args, **kwargs)

    def predict_step(self, batch, batch_idx=0, dataloader_idx=None):
        """Return ``predictions``, ``score`` and ``selected`` of a batch."""
        step = own_hook(self.task, "predict_step")
        if step is not None:
            given = (batch, batch_idx, dataloader_idx)[: 2 if dataloader_idx is None else 3]
            step = functools.partial(step, *accepted(step, given))
        predictions, score, selected = self._infer(batch, step)
        return {"predictions": predictions, "score": score, "selected": selected}

    def on_test_epoch_start(self):
        """Start the metrics of each data loader anew."""
        (base,) = self._given_metrics or (metrics_of(self.task),)
        # New ones in each process: states that were shared by a spawn would be counted twice.
        self._selective = torch.nn.ModuleList(
            SelectiveMetric(base).to(self.device) for _ in self.trainer.num_test_batches
        )
        for metric in self._selective:
            metric.reset()
            _, matrices = scalars_of(values_of_nothing(metric.full))
            if matrices:
                raise ValueError(
                    f"The metrics {matrices} give more than numbers and vectors, which cannot be "
                    "logged; compute them by SelectiveMetric from what trainer.predict gives."
                )

    def test_step(self, batch, batch_idx=0, dataloader_idx=0):
        """Update the metrics with a batch."""
        output, _, selected = self._infer(batch)
        predictions = pick_output(output, self.output_key, "output_key")
        predictions, target = paired(predictions, pick_target(batch, self.target_key))
        try:
            self._selective[dataloader_idx].update(predictions, target, selected=selected)
        except (AttributeError, TypeError, ValueError) as error:
            raise ValueError(
                f"The metrics do not take a {describe(predictions)} and a {describe(target)} "
                f"({error}); name other parts by output_key and target_key."
            ) from error

    def on_test_epoch_end(self):
        """Log what the metrics are over the epoch."""
        several = len(self._selective) > 1
        for i, metric in enumerate(self._selective):
            end = f"/dataloader_idx_{i}" if several else ""
            scalars, others = scalars_of(metric.compute())
            if others:
                warn(f"The metrics {others} are not logged, since they are no numbers or vectors.")
            values = {f"{name}{end}": value for name, value in scalars.items()}
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
                "once; choose another layer or method (none can be read within a module that "
                "torch.compile or torch.jit has compiled)."
            )
        (features,) = read
        known = rows_of(x)
        if step is not None:
            known = rows_of_input(batch, self.input_key) | rows_of(output)
        check_rows(features, known, name)
        try:
            score, selected = self._judge(features)
        except ValueError as error:
            error.add_note(f"The score was given the output of {name}: {describe(features)}.")
            raise
        return output, torch.from_numpy(score), torch.from_numpy(selected)

    def _pick_features(self, output):
        return pick_output(output, self.features_key, "features_key")
