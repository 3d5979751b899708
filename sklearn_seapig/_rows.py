"""Rows gathered batch by batch into one array, in memory or in a file."""

import os
import uuid
from pathlib import Path

import numpy as np


class RowSink:
    """One array on the CPU, or in a .npy file, that is filled batch by batch.

    The file is written under another name and moved to its place when it is complete: what an
    interrupted run leaves is the file that was there before, and an array that is still held
    keeps its own rows.
    """

    def __init__(self, n_rows, path=None, width=None):
        self.n_rows = n_rows
        self.width = width
        self.path = None if path is None else _check_path(path)
        self._filled = 0
        self._array = None
        self._temporary = None
        self._chunks = []

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._array = None
        if self._temporary is not None:
            self._temporary.unlink(missing_ok=True)

    def add(self, rows):
        """Append rows; all must have the width of the first, or the one that is expected."""
        if self.width is None:
            self.width = rows.shape[1]
        if rows.shape[1] != self.width:
            raise ValueError(
                f"A batch of X was embedded in {rows.shape[1]} columns, expected {self.width} as "
                "before; call fit again where the module or a parameter was changed."
            )
        if self.n_rows is None:
            self._chunks.append(rows.copy())
            return
        if self._array is None:
            self._array = self._allocate(rows.dtype)
        stop = self._filled + len(rows)
        if stop <= self.n_rows:
            self._array[self._filled : stop] = rows
        self._filled = stop

    def result(self):
        """Return the complete array."""
        if not self._filled and not self._chunks:
            raise ValueError("X yields 0 sample(s) while a minimum of 1 is required.")
        if self.n_rows is None:
            return self._concatenate()
        if self._filled != self.n_rows:
            raise ValueError(
                f"X yielded {self._filled} rows where its sampler promises {self.n_rows}; check "
                "its collate_fn."
            )
        return self._array if self.path is None else self._publish()

    def _concatenate(self):
        chunks, self._chunks = self._chunks, []
        self.n_rows = sum(len(chunk) for chunk in chunks)
        while chunks:
            self.add(chunks.pop(0))
        return self.result()

    def _allocate(self, dtype):
        shape = (self.n_rows, self.width)
        if self.path is None:
            return np.empty(shape, dtype)
        self._temporary = self.path.with_name(f".{self.path.name}.{uuid.uuid4().hex}.part")
        return np.lib.format.open_memmap(self._temporary, mode="w+", dtype=dtype, shape=shape)

    def _publish(self):
        self._array.flush()
        # Opened before the move: another process may replace the file right after it.
        array = np.lib.format.open_memmap(self._temporary, mode="r")
        os.replace(self._temporary, self.path)
        self._temporary = None
        array.filename = self.path
        return array


def _check_path(path):
    path = Path(path).absolute()
    if path.is_dir() or not path.parent.is_dir():
        raise ValueError(
            f"output={str(path)!r} must be the path of a .npy file in a folder that exists."
        )
    return path
