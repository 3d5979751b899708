"""The exact search, which is the default."""

import numpy as np
import torch

from .._torch import exact_arithmetic, from_numpy, resolve_device, to_numpy
from ..kernels.images import Images, make_images
from ..kernels.neighbors import knn
from ..kernels.projected import projected_knn

CENTER_ROWS = 1024


class ExactNeighbors:
    """Exact Euclidean search by blocks of matrix products, see `kernels.neighbors`.

    Many rows with most of their variance on few axes, as embeddings have it, are searched on the
    CPU by their images on these axes, see `kernels.projected`: the same result some times sooner,
    for a quarter more of float32 numbers to keep. `add` tries whether it would pay.

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
        # Not the mean of the middle two, which overflows near the largest float.
        self.center = np.partition(rows, len(rows) // 2, axis=0)[len(rows) // 2].copy()
        self.images = {}
        if self.device.type == "cpu":
            with exact_arithmetic(self.device):
                images = make_images(from_numpy(X), **self._places("cpu"))
            if images is not None:
                self.images = {name: to_numpy(part) for name, part in images._asdict().items()}
        return self

    def search(self, Q, k, exclude=None):
        """Return float64 distances and int64 indices of shape (q, k) for a tensor Q (q, d).

        `exclude` names one reference row for each query that is not its neighbor.
        """
        # Apple's devices have no float64: there the rows stay on the CPU and only the float32
        # products, which hold nearly all of the work, move.
        home = "cpu" if self.device.type == "mps" else self.device
        found = min(k, len(self.X) - (exclude is not None))
        options = self._places(home)
        options["exclude"] = None if exclude is None else torch.as_tensor(exclude, device=home)
        Q, X = Q.to(home), from_numpy(self.X, home)
        with exact_arithmetic(home):
            if self.images and self.device.type == "cpu":
                images = Images(**{name: from_numpy(part) for name, part in self.images.items()})
                distances, indices = projected_knn(Q, X, found, images, **options)
            else:
                distances, indices = knn(Q, X, found, device=self.device, **options)
        return (
            pad(distances.cpu().numpy(), k, np.inf),
            pad(indices.cpu().numpy(), k, -1),
        )

    def _places(self, home):
        scale = None if self.scale is None else from_numpy(self.scale, home)
        return {"center": from_numpy(self.center, home), "scale": scale}

    def spec(self):
        """Describe the search: name, whether it is exact, and the size of the reference set."""
        n, d = self.X.shape
        return {"name": "exact", "exact": self.exact, "n": n, "d": d}

    def state(self):
        """Return everything needed to search again, as arrays and plain values."""
        return {"X": self.X, "scale": self.scale, "center": self.center, **self.images}

    @classmethod
    def from_state(cls, state, device="cpu"):
        """Return a backend over a state, sharing its memory."""
        backend = cls(device)
        backend.X, backend.scale, backend.center = state["X"], state["scale"], state["center"]
        backend.images = {name: state[name] for name in Images._fields if name in state}
        return backend


def pad(found, k, value):
    missing = k - found.shape[1]
    return np.pad(found, ((0, 0), (0, missing)), constant_values=value) if missing else found
