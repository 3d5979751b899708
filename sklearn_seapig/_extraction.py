"""Run a torch module over batches and leave it without hooks, graphs or new flags."""

import contextlib
import itertools
import os
import threading
from types import SimpleNamespace

import numpy as np
import torch

from ._batches import describe
from ._torch import resolve_device, to_numpy
from ._warn import warn

# One lock for all modules: embedders of a network and of a part of it share train flags. It is
# held for a whole extraction, so two of them never see each other's flags.
_turn = SimpleNamespace(lock=threading.RLock())


def _renew_lock():
    _turn.lock = threading.RLock()


# The thread that held the lock when a process was forked does not exist in the child.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def extract(batches, add, *, module, method, layer, device, check_finite):
    """Call ``add`` with the rows, as an array of shape (B, D), of every batch of input tensors."""
    check_entry(module, method, layer)
    entry = f"{type(module).__name__}.{method}" if layer is None else f"layer={layer!r}"
    # A tensor knows which of several accelerators a bare "cuda" means.
    device = torch.empty(0, device=resolve_device(device)).device
    if device.type == "meta":  # moving the module there would lose its values
        raise ValueError(f"device={str(device)!r} holds no data; use 'cpu' or 'auto'.")
    n_seen = 0
    with _turn.lock:
        move(module, device)
        with evaluating(module), reading(module, method, layer) as read:
            for batch in batches:
                # A copy even where nothing is cast: the module may work in place.
                x = batch.detach().to(device, input_dtype(batch, module), copy=True)
                if check_finite:
                    _check_finite(x, batch, n_seen)
                add(_as_rows(_call(read, x, entry), len(x), entry))
                n_seen += len(x)


def check_entry(module, method, layer):
    """Raise ValueError where the module lacks what is to be read, or holds no values yet."""
    tensors = [*module.parameters(), *module.buffers()]
    if any(torch.nn.parameter.is_lazy(t) or t.is_meta for t in tensors):
        raise ValueError(
            f"module={type(module).__name__} has parameters without values (lazy or on the meta "
            "device); load them or call the module once before."
        )
    if layer is not None:
        names = [name for name, _ in module.named_modules(remove_duplicate=False)]
        if layer not in names:
            raise ValueError(
                f"layer={layer!r} is no submodule of {type(module).__name__}; it has "
                f"{_first(n for n in names if n)}."
            )
    elif not callable(getattr(module, method, None)):
        raise ValueError(
            f"method={method!r} is no method of {type(module).__name__}; it has "
            f"{_first(_own_methods(module))}, or give the name of a layer."
        )


def _own_methods(module):
    """Return "forward" and the public methods that are not torch's own."""
    own = [c for c in type(module).__mro__ if not c.__module__.startswith("torch.")]
    names = {n for c in own for n, value in vars(c).items() if callable(value)}
    return sorted({"forward", *(n for n in names - set(dir(object)) if not n.startswith("_"))})


def _first(names, n=20):
    names = list(names)
    return names if len(names) <= n else f"{names[:n]} and {len(names) - n} more"


def move(module, device):
    """Move a module to a device in place; say so where that takes it off an accelerator."""
    devices = {t.device for t in itertools.chain(module.parameters(), module.buffers())}
    if devices <= {device}:
        return
    left = sorted({str(d) for d in devices - {device} if d.type != "cpu"})
    if left:
        warn(
            f"module={type(module).__name__} is moved from {', '.join(left)} to {device}; set "
            f"device={left[0]!r} to run it where it was."
        )
    module.to(device)


@contextlib.contextmanager
def evaluating(module):
    """Put a module in eval mode and give every submodule its own train flag back."""
    flags = [(submodule, submodule.training) for submodule in module.modules()]
    try:
        if any(training for _, training in flags):  # exported programs refuse eval()
            module.eval()
        yield
    finally:
        # Through train() first, parents before children: some modules override it to do more
        # than setting flags (merging weights, freezing a part), which has to be undone.
        try:
            for submodule, training in flags:
                if submodule.training != training:
                    submodule.train(training)
        finally:
            for submodule, training in flags:
                if submodule.training != training:
                    submodule.training = training


@contextlib.contextmanager
def reading(module, method, layer):
    """Yield the function from an input batch to an output batch; its hook is gone afterwards."""
    if layer is None:
        # Only a call of the module itself runs the hooks on its forward.
        yield module if method == "forward" else getattr(module, method)
        return
    caller = threading.get_ident()
    outputs = []

    def keep(_module, _args, output):
        # Another thread may call the module for reasons of its own.
        if threading.get_ident() == caller:
            # A copy, since the next layer may work in place.
            outputs.append(output.clone() if isinstance(output, torch.Tensor) else output)

    def read(x):
        outputs.clear()
        module(x)
        if len(outputs) != 1:
            raise ValueError(
                f"layer={layer!r} ran {len(outputs)} times in one call of "
                f"{type(module).__name__}, expected once; choose another layer or a method."
            )
        return outputs.pop()

    handle = dict(module.named_modules(remove_duplicate=False))[layer].register_forward_hook(keep)
    try:
        yield read
    finally:
        handle.remove()


def input_dtype(x, module):
    """Return the dtype that an input tensor is cast to.

    Integers stay integers (int64 or int32, which tables accept) only where the first layer with
    parameters looks them up in a table; everything else takes the dtype of the parameters.
    """
    if x.is_complex():
        return x.dtype
    integer = not x.is_floating_point() and x.dtype != torch.bool
    if integer and takes_integers(module):
        return x.dtype if x.dtype == torch.int32 else torch.int64
    tensors = itertools.chain(module.parameters(), module.buffers())
    return next((t.dtype for t in tensors if t.is_floating_point()), torch.float32)


def takes_integers(module):
    """Return whether the first layer with parameters, in order of registration, is a table."""
    for layer in module.modules():
        # Leaves only: networks hold loose parameters (class tokens) beside their first layer.
        is_leaf = next(layer.children(), None) is None
        if is_leaf and next(layer.parameters(recurse=False), None) is not None:
            return isinstance(layer, (torch.nn.Embedding, torch.nn.EmbeddingBag))
    return False


def _check_finite(x, batch, n_seen):
    good = torch.isfinite(x).flatten(1).all(dim=1)
    if bool(good.all()):
        return
    first = int((~good).nonzero()[0])
    row = batch[first]
    if bool(torch.isfinite(row).all()):
        seen = f"a value too large for {x.dtype}, the dtype of the module,"
    else:
        seen = "NaN" if bool(torch.isnan(row).any()) else "infinity"
    raise ValueError(
        f"Input X contains {seen} in row {n_seen + first}; drop, impute or scale such rows."
    )


def _call(read, x, entry):
    try:
        with torch.inference_mode():
            return read(x)
    except Exception as error:
        error.add_note(
            f"TorchEmbedder called {entry} with a {x.dtype} tensor of shape {tuple(x.shape)} on "
            f"{x.device}."
        )
        raise


def _as_rows(output, n_rows, entry):
    """Return an output as a float array on the CPU, or say what it is instead of (B, D)."""
    if isinstance(output, torch.Tensor):
        output = to_numpy(output, f"the output of {entry}")
    if not isinstance(output, np.ndarray) or output.dtype.kind not in "biuf":
        raise TypeError(
            f"{entry} must give a real tensor or array of shape (B, D), got a {describe(output)}."
        )
    if output.ndim != 2:
        raise ValueError(
            f"{entry} must give an output of shape (B, D), got shape {output.shape} for a batch of "
            f"{n_rows} rows; pool or flatten it in the module."
        )
    if len(output) != n_rows:
        raise ValueError(
            f"{entry} gave {len(output)} rows for a batch of {n_rows}; it must give one row for "
            "each."
        )
    if output.dtype in (np.float32, np.float64):
        return output
    return output.astype(np.float32 if output.dtype == np.float16 else np.float64)
