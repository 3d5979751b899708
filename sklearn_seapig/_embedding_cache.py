"""Embeddings kept on the disk under a fingerprint of all that they depend on."""

import hashlib
import os
import types
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, SequentialSampler

from . import __version__
from ._extraction import _turn, check_entry
from ._torch import resolve_device
from ._warn import warn

DIGEST_SIZE = 32
CHUNK_BYTES = 2**24


class _NoFingerprint(Exception):
    """Something that the embeddings depend on cannot be read as bytes."""


def cache_entry(embedder, X, source):
    """Return the file of one module, entry and data, or None (and warn) where there can be none."""
    folder = _check_folder(embedder.cache)
    check_entry(embedder.module, embedder.method, embedder.layer)
    reason = _not_repeatable(X)
    if reason is None:
        try:
            return _Entry(folder, embedder, source)
        except _NoFingerprint as error:
            reason = str(error)
    warn(f"The embeddings are not kept in cache={str(folder)!r}: {reason}.")
    return None


class _Entry:
    """One file: an array in numpy's .npy format, followed by a digest of it and of its name."""

    def __init__(self, folder, embedder, source):
        self._embedder = embedder
        self._watched = None
        self._settings = _digest_of_settings(embedder)
        rows = _RowHash()
        for batch in source.batches():
            rows.add(batch)
        self._n_rows = rows.n_rows
        self._data = rows.digest()
        name = _hasher(self._settings + self._data).hexdigest()
        self.path = folder / f"{name}.npy"

    def read(self, sink):
        """Add the rows of the file to a sink; return False where there is no sound file."""
        try:
            file = open(self.path, "rb")  # noqa: SIM115 - closed by the with below
        except FileNotFoundError:
            return False
        with file:
            opened = self._open_array(file)
            if opened is None:
                warn(f"{self.path} of the cache is corrupted; its embeddings are computed again.")
                return False
            (n_rows, width), dtype = opened
            step = max(1, CHUNK_BYTES // (width * dtype.itemsize or 1))
            for start in range(0, n_rows, step):
                shape = (min(step, n_rows - start), width)
                data = file.read(shape[0] * width * dtype.itemsize)
                sink.add(np.frombuffer(data, dtype).reshape(shape))
        return True

    def watch(self, batches):
        """Yield batches and take note of them, as they need not be those of the first pass."""
        self._watched = _RowHash()
        for batch in batches:
            self._watched.add(batch)
            yield batch

    def store(self, rows):
        """Write what was computed, unless it came from the file or belongs to other data."""
        if self._watched is None:
            return
        now = _digest_of_settings(self._embedder), self._watched.digest()
        if now != (self._settings, self._data):
            warn(
                "The embeddings are not kept in the cache: X or the module changed between two "
                "passes (random augmentation?); make them deterministic or set cache=None."
            )
            return
        temporary = self.path.with_name(f".{self.path.name}.{uuid.uuid4().hex}.part")
        try:
            with open(temporary, "xb") as file:
                hashing = _HashingFile(file, self.path.name)
                # numpy writes in pieces to what is no plain file: no second copy in the memory.
                np.lib.format.write_array(
                    hashing, np.asarray(rows), version=(1, 0), allow_pickle=False
                )
                file.write(hashing.hasher.digest())
            os.replace(temporary, self.path)
        except OSError as error:
            # Hours of work are worth more than the file.
            warn(f"The embeddings could not be written to {self.path} of the cache ({error}).")
        finally:
            temporary.unlink(missing_ok=True)

    def _open_array(self, file):
        """Return shape and dtype, with the file at the first row, or None for a damaged file."""
        size = os.fstat(file.fileno()).st_size - DIGEST_SIZE
        hasher, left = _hasher(self.path.name.encode()), size
        while left > 0:
            data = file.read(min(left, CHUNK_BYTES))
            if not data:
                return None
            hasher.update(data)
            left -= len(data)
        # Nothing of the file is interpreted before all of it is known to be sound.
        if size < 0 or file.read() != hasher.digest():
            return None
        file.seek(0)
        try:
            if np.lib.format.read_magic(file) != (1, 0):
                return None
            shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
        except ValueError:
            return None
        sound = (
            len(shape) == 2
            and shape[0] == self._n_rows
            and not fortran_order
            and dtype in (np.float32, np.float64)
            and file.tell() + shape[0] * shape[1] * dtype.itemsize == size
        )
        return (shape, dtype) if sound else None


class _RowHash:
    """Digest of batches of input tensors: bytes, dtype, order, and where a batch ends.

    The last because how rows are batched changes the last bits of what a module gives.
    """

    def __init__(self):
        self.n_rows = 0
        self._hasher = _hasher()

    def add(self, batch):
        _feed_tensor(self._hasher, batch)
        self.n_rows += len(batch)

    def digest(self):
        return self._hasher.digest()


class _HashingFile:
    """The part of a file that numpy writes to, with a digest of what went through."""

    def __init__(self, file, name):
        self._file = file
        self.hasher = _hasher(name.encode())

    def write(self, data):
        self.hasher.update(data)
        return self._file.write(data)


def _hasher(data=b""):
    return hashlib.blake2b(data, digest_size=DIGEST_SIZE)


def _check_folder(folder):
    if not os.fspath(folder):
        raise ValueError("cache='' is no folder; give the path of one, or None for no cache.")
    path = Path(folder).expanduser().absolute()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"cache={str(path)!r} is no folder and cannot be made one ({error}); give the path of "
            "a folder that can be written to."
        ) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise ValueError(f"cache={str(path)!r} must be a folder that can be written to.")
    return path


def _not_repeatable(X):
    """Return why X cannot be read twice with the same rows, or None where it can."""
    data = X.dataset if isinstance(X, DataLoader) else X
    if isinstance(data, IterableDataset):
        return "an IterableDataset may be readable only once; pass an array or a map-style Dataset"
    if isinstance(X, DataLoader):
        order = X.sampler if X.batch_sampler is None else X.batch_sampler
        if type(order) is BatchSampler:
            order = order.sampler
        # Any other sampler may be random or an iterator that the first pass would exhaust.
        if not isinstance(order, (SequentialSampler, Sequence)):
            return (
                f"the order of the DataLoader comes from a {type(order).__name__}; build it with "
                "shuffle=False and without a sampler"
            )
    return None


def _digest_of_settings(embedder):
    """Return the digest of everything but the data."""
    module, layer = embedder.module, embedder.layer
    device = torch.empty(0, device=resolve_device(embedder.device)).device
    autocast = torch.is_autocast_enabled(device.type) and torch.get_autocast_dtype(device.type)
    hasher = _hasher()
    entry = ("method", embedder.method) if layer is None else ("layer", layer)
    _feed(hasher, (__version__, torch.__version__, *entry, str(device), str(autocast)))
    # Another thread's extraction may have put the module in a mode with other (merged) weights.
    with _turn.lock:
        _feed_module(hasher, module)
    return hasher.digest()


# Attributes of a module that are fed as tensors and submodules, or do not change an embedding.
_OWN = {"_parameters", "_buffers", "_modules", "training", "_non_persistent_buffers_set"}


def _feed_module(hasher, module):
    """Add classes, tensors and plain attributes (number of heads, activation, ...) of a module."""
    _feed(hasher, repr(module))
    for name, submodule in module.named_modules(remove_duplicate=False):
        kind = type(submodule)
        _feed(hasher, (name, kind.__module__, kind.__qualname__))
        for key, value in sorted(vars(submodule).items()):
            if "_hooks" in key and value:
                raise _NoFingerprint("the module has hooks, whose effect is in no fingerprint")
            if key not in _OWN and "_hook" not in key:
                _feed(hasher, (key, value))
    # Not the state_dict alone: it may be overridden, and lacks buffers that are not persistent.
    for tensors in (module.named_parameters, module.named_buffers):
        _feed(hasher, dict(tensors(remove_duplicate=False)))
    _feed(hasher, module.state_dict())


def _feed(hasher, value):
    """Add a value to a hash so that no two values give the same bytes."""
    if isinstance(value, torch.Tensor):
        _feed_tensor(hasher, value)
    elif isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        _feed_tensor(hasher, torch.from_numpy(np.array(value)))
    elif isinstance(value, torch.nn.Module):
        _feed_module(hasher, value)
    elif isinstance(value, (torch.dtype, torch.device, np.generic, complex)):
        _feed(hasher, repr(value))
    elif isinstance(value, (set, frozenset)):
        _feed(hasher, sorted(map(repr, value)))
    elif isinstance(value, type):
        _feed(hasher, f"{value.__module__}.{value.__qualname__}")
    elif callable(value) and not getattr(value, "__closure__", None) and _is_function(value):
        code = getattr(value, "__code__", None)
        body = (code.co_code, repr(code.co_consts), repr(code.co_names)) if code else ()
        _feed(hasher, (str(value.__module__), value.__qualname__, *body))
    elif isinstance(value, Mapping):
        _feed(hasher, tuple(value.items()))
    elif isinstance(value, (tuple, list)):
        hasher.update(f"{len(value)} values;".encode())
        for part in value:
            _feed(hasher, part)
    elif value is None or isinstance(value, (bool, int, float, str, bytes)):
        data = repr(value).encode(errors="backslashreplace")
        hasher.update(f"{len(data)} bytes;".encode())
        hasher.update(data)
    else:
        raise _NoFingerprint(f"the module holds a {type(value).__name__}, which has no fingerprint")


def _is_function(value):
    return isinstance(value, (types.FunctionType, types.BuiltinFunctionType))


def _feed_tensor(hasher, tensor):
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
        raise _NoFingerprint("a tensor of the module or of X is not dense, so has no fingerprint")
    tensor = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
    hasher.update(f"{tensor.dtype} {tuple(tensor.shape)};".encode())
    hasher.update(tensor.reshape(-1).view(torch.uint8).numpy())
