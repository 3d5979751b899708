"""The exact search, which is the default."""

import numpy as np
import torch

from .._torch import exact_arithmetic, from_numpy, resolve_device
from ..kernels.neighbors import knn

CENTER_ROWS = 1024


class ExactNeighbors:
    """Exact Euclidean search by blocks of matrix products, see `kernels.neighbors`.

    Memory beyond the data does not grow with the number of reference rows: about 100 MiB at 512
    features with the constants of the kernel, and some for the queries of one call.
    """

    exact = True

    def __init__(self, device="cpu"):
        self.device = resolve_device(device)

    def add(self, X, scale=None):
        """Take in an array (n, d) of reference rows, row j to be multiplied by ``scale[j]``."""
        self.X, self.scale = X, scale
        # A point amid the rows keeps the products small. The median of some rows will do, and
        # unlike the mean it stays there when a few rows are far away.
        some = slice(None, None, max(1, len(X) // CENTER_ROWS))
        rows = X[some] if scale is None else X[some] * scale[some, None]
        self.center = np.median(rows, axis=0).astype(rows.dtype)
        return self

    def search(self, Q, k, exclude=None):
        """Return float64 distances and int64 indices of shape (q, k) for a tensor Q (q, d).

        `exclude` names one reference row for each query that is not its neighbor.
        """
        # Apple's devices have no float64: there the rows stay on the CPU and only the float32
        # products, which hold nearly all of the work, move.
        home = "cpu" if self.device.type == "mps" else self.device
        found = min(k, len(self.X) - (exclude is not None))
        with exact_arithmetic(home):
            distances, indices = knn(
                Q.to(home),
                from_numpy(self.X, home),
                found,
                center=from_numpy(self.center, home),
                scale=None if self.scale is None else from_numpy(self.scale, home),
                exclude=None if exclude is None else torch.as_tensor(exclude, device=home),
                device=self.device,
            )
        return (
            pad(distances.cpu().numpy(), k, np.inf),
            pad(indices.cpu().numpy(), k, -1),
        )

    def spec(self):
        """Describe the search: name, whether it is exact, and the size of the reference set."""
        n, d = self.X.shape
        return {"name": "exact", "exact": self.exact, "n": n, "d": d}

    def state(self):
        """Return everything needed to search again, as arrays and plain values."""
        return {"X": self.X, "scale": self.scale, "center": self.center}

    @classmethod
    def from_state(cls, state, device="cpu"):
        """Return a backend over a state, sharing its memory."""
        backend = cls(device)
        backend.X, backend.scale, backend.center = state["X"], state["scale"], state["center"]
        return backend


def pad(found, k, value):
    missing = k - found.shape[1]
    return np.pad(found, ((0, 0), (0, missing)), constant_values=value) if missing else found
