"""What is read of a batch, and of the forward pass of a task."""

import contextlib
import functools
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.exceptions import DataConversionWarning

from .._batches import describe, pick_input
from .._extraction import _turn

TARGET_KEYS = ("label", "labels", "target", "targets", "y")


@dataclass(frozen=True)
class Source:
    """What is read of a task: the output of a method, or of a call, of one of its modules."""

    path: str  # of the module in the task, "" for the task itself
    method: str | None  # None: the module is called
    # A layer only means something within the pass; a method can be called on its own.
    can_be_called: bool

    @property
    def name(self):
        return ".".join(filter(None, (self.path, self.method)))

    def __call__(self, task, x):
        module = _submodule(task, self.path)
        return module(x) if self.method is None else getattr(module, self.method)(x)


def resolve(task, layer, method, embedder, default, others=()):
    """Return what is to be read of a task: what an embedder of it reads, or a layer or method.

    `others` are embedders that the score has at a later place.
    """
    if embedder is None:
        if layer is None and method is None:
            _check_no_embedder_of(task, others)
        return _source(task, "", layer, default if layer is None and method is None else method)
    if layer is not None or method is not None:
        raise ValueError(
            f"layer={layer!r} and method={method!r} are given, but score begins with a "
            "TorchEmbedder, which says what it reads; drop them, or pass score[1:]."
        )
    paths = [path for path, module in task.named_modules() if module is embedder.module]
    if not paths:
        raise ValueError(
            f"score begins with a TorchEmbedder of a {type(embedder.module).__name__} that is no "
            f"part of task={type(task).__name__} (perhaps a copy of it); pass score[1:], and name "
            "by layer or method what it sees."
        )
    return _source(task, paths[0], embedder.layer, embedder.method)


def _check_no_embedder_of(task, embedders):
    modules = set(task.modules())
    if any(embedder.module in modules for embedder in embedders):
        raise ValueError(
            "score has a TorchEmbedder of a part of the task behind other steps, so what it sees "
            "is no output of the task; put the TorchEmbedder first, or name by layer or method "
            "what the first step sees."
        )


def _submodule(task, path):
    return task.get_submodule(path) if path else task  # a ScriptModule has no such method


def _source(task, path, layer, method):
    module = _submodule(task, path)
    if layer is not None:
        names = [name for name, _ in module.named_modules() if name]
        if layer not in names:
            more = f" and {len(names) - 20} more" if len(names) > 20 else ""
            raise ValueError(
                f"layer={layer!r} is no submodule of {type(module).__name__}; it has "
                f"{names[:20]}{more}."
            )
        _check_takes_hooks(module.get_submodule(layer), f"layer={layer!r}")
        return Source(".".join(filter(None, (path, layer))), None, False)
    entry = getattr(module, method, None)
    if not callable(entry):
        raise ValueError(
            f"method={method!r} is no method of {type(module).__name__}; give the name of a method "
            "whose output the score sees ('forward' for logits), or of a layer."
        )
    if isinstance(module, torch.jit.ScriptModule):  # it lets nobody replace a method
        _check_takes_hooks(module, f"method={method!r}", forward=method == "forward")
        return Source(path, None, True)
    if isinstance(entry, torch.nn.Module):  # self.embed = nn.Sequential(...)
        _check_takes_hooks(entry, f"method={method!r}")
        return Source(".".join(filter(None, (path, method))), None, True)
    return Source(path, method, True)


def _check_takes_hooks(module, name, forward=True):
    if isinstance(module, torch.jit.RecursiveScriptModule) or not forward:
        raise ValueError(
            f"{name} of a {type(module).__name__} cannot be read, since torch.jit has compiled it; "
            "call it within a module of your own and name that."
        )


@contextlib.contextmanager
def recording(task, source, pick):
    """Yield the list into which go all outputs of a source while the task runs.

    Threads wait for each other, and for a TorchEmbedder, as they would see each other's outputs.
    """
    module, outputs = _submodule(task, source.path), []

    def keep(output):
        picked = pick(output)
        # A copy, since the next layer may work in place.
        outputs.append(picked.clone() if isinstance(picked, torch.Tensor) else picked)

    with _turn.lock, contextlib.ExitStack() as stack:
        if source.method is None:
            hook = module.register_forward_hook(lambda _module, _args, output: keep(output))
            stack.callback(hook.remove)
        else:
            stack.enter_context(_watched(module, source.method, keep))
        yield outputs


@contextlib.contextmanager
def _watched(module, method, keep):
    """Show every output of a method to `keep`: forward hooks do not see a plain method call."""
    entry = getattr(module, method)
    own = vars(module).get(method)  # set on the instance, by somebody else

    @functools.wraps(entry)
    def call(*args, **kwargs):
        output = entry(*args, **kwargs)
        keep(output)
        return output

    setattr(module, method, call)
    try:
        yield
    finally:
        if own is None:
            delattr(module, method)
        else:
            setattr(module, method, own)


def pick_output(output, key, name):
    """Return the part of an output that a key, a position or a function names."""
    if key is None:
        return output
    if callable(key):
        return key(output)
    try:
        if isinstance(output, (torch.Tensor, np.ndarray)):  # it would give a row
            raise TypeError("it has no parts")
        return output[key]
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"{name}={key!r}, but the output is a {describe(output)}.") from error


def pick_target(batch, key):
    """Return what the metrics compare predictions with."""
    if callable(key):
        return key(batch)
    found = _named_parts(batch)
    for name in (*TARGET_KEYS, 1) if key is None else (key,):
        if name in found:
            if key is None:
                _check_only_target(batch, found, name)
            return found[name]
    seen = "no target by a default key" if key is None else f"no target target_key={key!r}"
    raise ValueError(
        f"A batch has {seen}: it is a {describe(batch)}; set target_key to one of "
        f"{list(found)}, or to a function of the batch."
    )


def _check_only_target(batch, found, name):
    """Refuse a dict with a target beside a tensor where a target would be, too."""
    if name in (1, *getattr(batch, "_fields", ())) or not isinstance(found.get(1), torch.Tensor):
        return
    raise ValueError(
        f"A batch has two targets by default keys, {name!r} and its second element: it is a "
        f"{describe(batch)}; set target_key to {name!r} or to 1."
    )


def _named_parts(batch):
    """Return all parts of a batch that have a key, a field name or a position."""
    if hasattr(batch, "keys"):
        return {name: batch[name] for name in batch.keys()}  # noqa: SIM118 - BatchEncoding, ...
    found = {}
    if isinstance(batch, (tuple, list)):
        for part in batch:
            found.update(_named_parts(part) if hasattr(part, "keys") else {})
        found.update(zip(getattr(batch, "_fields", ()), batch, strict=False))
        found.update(enumerate(batch))
    return found


def paired(predictions, target):
    """Return predictions and target with a needless last axis of length 1 taken from one."""
    tensors = isinstance(predictions, torch.Tensor) and isinstance(target, torch.Tensor)
    if not tensors or predictions.shape == target.shape:
        return predictions, target
    if target.ndim == 2 and target.shape[1] == 1 and predictions.shape[2:] != (1,):
        warnings.warn(
            "A column-vector y was passed when a 1d array was expected: targets have shape "
            f"{tuple(target.shape)}, predictions {tuple(predictions.shape)}; targets are ravelled.",
            DataConversionWarning,
            stacklevel=2,
        )
        return predictions, target[:, 0]
    if target.ndim == 1 and predictions.ndim == 2 and predictions.shape[1] == 1:
        return predictions[:, 0], target
    return predictions, target


def check_rows(features, known, name):
    """Refuse what cannot be one row of features for each row of a batch.

    `known` holds what the numbers of rows may be, and nothing where none is known.
    """
    if not isinstance(features, (torch.Tensor, np.ndarray)):
        raise TypeError(
            f"{name} must give a tensor of shape (B, D) for the score, got a "
            f"{describe(features)}; name its part by features_key."
        )
    if features.ndim < 2:
        raise ValueError(
            f"{name} must give an output of shape (B, D) for the score, got shape "
            f"{tuple(features.shape)}."
        )
    if known and len(features) not in known:
        raise ValueError(
            f"{name} gave {len(features)} rows for the score in a batch of {min(known)} rows; it "
            "must give one row for each (average crops in the module)."
        )


def rows_of(value):
    """Return the numbers of rows that a tensor tells of, none for anything else."""
    has_rows = isinstance(value, (torch.Tensor, np.ndarray)) and value.ndim > 0
    return {len(value)} if has_rows else set()


def rows_of_input(batch, key):
    """Return the numbers of rows of a batch that a task reads in its own way."""
    try:
        return rows_of(key(batch) if callable(key) else pick_input(batch, key))
    except (TypeError, ValueError):  # it may lie where no default key tells
        return set()
