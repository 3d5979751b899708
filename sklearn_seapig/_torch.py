"""The border between numpy and torch: every conversion of the package goes through here."""

import contextlib
import os
import threading
import weakref

import numpy as np
import torch

_home = {"process": os.getpid()}


def _mind_fork():
    """Let torch use one thread in a process that was forked from the one that imported this.

    The threads of torch's OpenMP are not copied by a fork, but the child waits for them forever.
    """
    if _home["process"] != os.getpid():
        torch.set_num_threads(1)
        _home["process"] = os.getpid()


def resolve_device(device):
    """Return the torch device that a ``device`` parameter names, "auto" included.

    Raises ValueError where the device is not available on this machine, so that the message
    names the parameter instead of a driver.
    """
    _mind_fork()
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        resolved = torch.device(device)
        torch.empty(0, device=resolved)
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"device={device!r} is not available here ({reason}); use 'cpu' or 'auto'."
        ) from error
    if resolved.type == "meta":
        raise ValueError("device='meta' holds no data; use 'cpu' or 'auto'.")
    return resolved


def is_here(device):
    """Return whether this machine has the device that a ``device`` parameter names.

    Unlike `resolve_device` this wakes no driver: loading a file must not take memory of a GPU.
    """
    if device == "auto":
        return True
    try:
        device = torch.device(device)
    except (RuntimeError, TypeError):
        return False
    count = getattr(getattr(torch, device.type, None), "device_count", None)
    return device.type == "cpu" or (count is not None and (device.index or 0) < count())


def to_numpy(tensor, name="X"):
    """Return a detached tensor as an array on the CPU, without a copy where none is needed.

    Floats of 16 and 8 bits, most of which numpy does not know, become float32; that is exact.
    """
    if tensor.is_nested:
        raise TypeError(f"{name} is a nested tensor; pass rows of one length, padded if need be.")
    if tensor.is_quantized:
        raise TypeError(f"{name} is a quantized tensor; pass {name}.dequantize().")
    if tensor.layout != torch.strided:
        raise TypeError(f"{name} is a sparse tensor; pass {name}.to_dense().")
    if tensor.device.type == "meta":
        raise TypeError(f"{name} is a tensor on the meta device, which holds no data.")
    _mind_fork()
    tensor = tensor.detach().cpu().resolve_conj().resolve_neg()
    if tensor.is_floating_point() and tensor.itemsize < 4:
        tensor = tensor.float()
    return tensor.numpy()


def from_numpy(array, device="cpu"):
    """Return an array as a tensor: a view on the CPU, elsewhere a copy that lives as long as it.

    The view must not be written to; the array may be read-only or a memory map.
    """
    _mind_fork()
    device = torch.device(device)
    if device.type != "cpu":
        return _device_copies.get(array, device)
    return _view(array)


def as_tensor(X, device):
    """Return an array or tensor on the device that a ``device`` parameter names.

    Apple's devices have no float64, which most scores need: such rows stay on the CPU.
    """
    device = resolve_device(device)
    device = torch.device("cpu") if device.type == "mps" else device
    return (X if isinstance(X, torch.Tensor) else from_numpy(X)).to(device)


def _view(array):
    array = np.ascontiguousarray(array)
    if array.dtype.byteorder not in "=|":
        array = array.astype(array.dtype.newbyteorder("="))
    try:
        # dlpack takes read-only arrays (joblib workers, memory maps) where torch.from_numpy warns.
        return torch.from_dlpack(array.view(np.ndarray))
    except BufferError:  # numpy before 2.1 exports no read-only arrays
        return torch.from_numpy(array.copy())


class _DeviceCopies:
    """Copies of fitted arrays on an accelerator, kept between calls and outside of any pickle.

    An entry is keyed by the identity of the array and goes when the array goes, so an estimator
    holds plain numpy state and still sends its reference set to the device only once.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._copies = {}

    def get(self, array, device):
        key = (id(array), device)
        with self._lock:
            if key not in self._copies:
                self._copies[key] = _view(array).to(device)
                weakref.finalize(array, self._copies.pop, key, None)
            return self._copies[key]


_device_copies = _DeviceCopies()


@contextlib.contextmanager
def exact_arithmetic(device):
    """Run torch code without autograd and without the reduced precision of an outer autocast."""
    device = torch.device(device)
    with torch.inference_mode(), torch.autocast(device.type, enabled=False):
        yield
