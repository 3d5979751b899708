"""Approximate searches of faiss, chosen by name. The one file that imports faiss.

faiss works in float32 on centred rows and only proposes candidates; their distances are measured
from the reference rows themselves, as in the exact search. The bytes of the index that are kept
hold no rows. What faiss searches is built from both, once in a process, and never pickled.
"""

import contextlib
import math
import threading
import weakref

import numpy as np
import torch

from .._optional import extra
from .._torch import exact_arithmetic, from_numpy
from ..kernels.neighbors import knn, measure
from ._exact import ExactNeighbors, pad

with extra("ann", "An approximate search"):
    import faiss

SLACK = 16  # candidates beyond k: the excluded row, and what float32 may have misplaced
BLOCK_ROWS = 8192
FAR = 1e15  # a coordinate beyond this overflows when squared in float32
LINKS = 32  # HNSW: neighbors of a row in the graph, twice as many on the lowest level
BUILD_WIDTH = 100  # HNSW: rows kept in view while the graph is built
SEARCH_WIDTH = 128  # HNSW: the same while it is searched, at least the number of candidates
TRAIN_ROWS = 64  # IVF: rows for each list that k-means sees
LEAST_ROWS = 39  # IVF: rows for each list on average, at least
LEAST_LISTS = 16  # IVF: lists visited for each query, or a sixteenth of all


class FaissNeighbors:
    """What the approximate backends share; a child builds the index and asks it for candidates.

    Queries far off the data, and those for which faiss finds too few rows, are searched exactly.
    faiss runs on the CPU, wherever the rows come from. While it is in use its index holds the
    reference rows a second time, in float32.
    """

    exact = False

    def __init__(self, device="cpu"):
        self.rows = ExactNeighbors(device)

    def add(self, X, scale=None):
        """Take in an array (n, d) of reference rows, row j to be multiplied by ``scale[j]``."""
        self.rows.add(X, scale)
        self.unit = self._power_of_two()
        with _one_thread():
            self.learned = self._build()
        return self

    def search(self, Q, k, exclude=None):
        """Return float64 distances and int64 indices of shape (q, k) for a tensor Q (q, d).

        `exclude` names one reference row for each query that is not its neighbor.
        """
        index = _live_indexes.get(self)
        n = len(self.rows.X)
        found = min(k, n - (exclude is not None))
        rows = self._centered(Q.cpu().to(torch.float64).numpy())
        far = ~(np.abs(rows).max(axis=1) < FAR)
        rows[far] = 0
        candidates = self._candidates(index, rows, min(found + SLACK, n))
        with exact_arithmetic("cpu"):
            near = measure(
                Q.cpu(),
                from_numpy(self.rows.X),
                torch.from_numpy(candidates),
                found,
                scale=None if self.rows.scale is None else from_numpy(self.rows.scale),
                exclude=None if exclude is None else torch.as_tensor(exclude),
            )
        distances, indices = (tensor.numpy() for tensor in near)
        rest = np.flatnonzero(far | (indices[:, -1] < 0))
        if len(rest):
            skip = None if exclude is None else np.asarray(exclude)[rest]
            near = self.rows.search(Q[from_numpy(rest).to(Q.device)], found, skip)
            distances[rest], indices[rest] = near
        return pad(distances, k, np.inf), pad(indices, k, -1)

    def spec(self):
        """Describe the search: name, whether it is exact, its size and its parameters."""
        return {**self.rows.spec(), "name": self.name, "exact": self.exact, **self._parameters()}

    def state(self):
        """Return everything needed to search again, as arrays and plain values."""
        return {**self.rows.state(), "unit": self.unit, **self.learned}

    @classmethod
    def from_state(cls, state, device="cpu"):
        """Return a backend over a state, sharing its memory."""
        backend = cls(device)
        backend.rows = ExactNeighbors.from_state(state, device)
        backend.unit = state["unit"]
        backend.learned = {k: v for k, v in state.items() if k in ("index", "list")}
        return backend

    def live_index(self):
        """Return an index that faiss can search, built from the state."""
        try:
            index = faiss.deserialize_index(np.asarray(self.learned["index"]))
        except RuntimeError as error:
            raise ValueError(f"The {self.name} index is corrupted: {error}; fit again.") from error
        if (self._size(index), index.d) != self.rows.X.shape:
            raise ValueError(
                f"The {self.name} index is for {self._size(index)} rows of {index.d} features, but "
                f"the reference rows are of shape {self.rows.X.shape}; fit again."
            )
        return self._filled(index)

    def _blocks(self, step=1):
        """Yield the reference rows as faiss sees them, or every `step`-th, and their slices."""
        X, scale = self.rows.X, self.rows.scale
        for start in range(0, len(X), BLOCK_ROWS * step):
            block = slice(start, start + BLOCK_ROWS * step, step)
            rows = X[block].astype(np.float64)
            yield block, rows if scale is None else rows * scale[block, None]

    def _power_of_two(self):
        """Return a unit in which the rows fit float32; a power of two, so that nothing rounds."""
        half = [np.abs(rows / 2 - self.rows.center / 2).max() for _, rows in self._blocks()]
        return math.ldexp(1.0, min(math.frexp(max(half))[1] + 1, 1023)) if max(half) else 1.0

    def _centered(self, rows):
        # Divided before, since a difference of finite numbers may overflow.
        with np.errstate(over="ignore"):
            gap = rows / self.unit - self.rows.center.astype(np.float64) / self.unit
            return np.ascontiguousarray(gap, dtype=np.float32)


class HNSWNeighbors(FaissNeighbors):
    """A graph of near rows, walked towards the query (hierarchical navigable small world).

    Malkov, Y. and Yashunin, D. "Efficient and robust approximate nearest neighbor search using
    Hierarchical Navigable Small World graphs", TPAMI 2018, arXiv:1603.09320.
    """

    name = "hnsw"

    def _parameters(self):
        return {"links": LINKS, "build_width": BUILD_WIDTH, "search_width": SEARCH_WIDTH}

    def _build(self):
        index = faiss.IndexHNSWFlat(self.rows.X.shape[1], LINKS)
        index.hnsw.efConstruction = BUILD_WIDTH
        for _, rows in self._blocks():
            index.add(self._centered(rows))
        return {"index": faiss.serialize_index(index, faiss.IO_FLAG_SKIP_STORAGE)}

    def _size(self, graph):
        return graph.ntotal

    def _filled(self, graph):
        flat = faiss.IndexFlatL2(graph.d)
        for _, rows in self._blocks():
            flat.add(self._centered(rows))
        flat.this.disown()  # the graph frees it
        graph.storage, graph.own_fields = flat, True
        return graph

    def _candidates(self, index, rows, width):
        settings = faiss.SearchParametersHNSW(efSearch=max(SEARCH_WIDTH, width))
        return index.search(rows, width, params=settings)[1]


class IVFNeighbors(FaissNeighbors):
    """Lists of rows around the means of k-means, of which the nearest few are read (inverted file).

    Douze, M. et al. "The Faiss library", 2024, arXiv:2401.08281.
    """

    name = "ivf"

    def _parameters(self):
        n_lists = self._n_lists()
        return {"lists": n_lists, "lists_read": _lists_read(n_lists)}

    def _n_lists(self):
        n = len(self.rows.X)
        return max(1, min(int(4 * math.sqrt(n)), n // LEAST_ROWS))

    def _build(self):
        n, d = self.rows.X.shape
        index = faiss.index_factory(d, f"IVF{self._n_lists()},Flat")
        index.cp.min_points_per_centroid = 1  # with fewer it would complain to the terminal
        step = max(1, n // (self._n_lists() * TRAIN_ROWS))
        index.train(np.concatenate([self._centered(rows) for _, rows in self._blocks(step)]))
        nearest = [self._lists(index, self._centered(rows), 1)[:, 0] for _, rows in self._blocks()]
        return {
            "index": faiss.serialize_index(index),
            "list": np.concatenate(nearest).astype(np.int32),
        }

    def _size(self, index):
        place = self.learned["list"]
        return len(place) if len(place) and 0 <= place.min() <= place.max() < index.nlist else 0

    def _filled(self, index):
        for block, rows in self._blocks():
            rows, place = self._centered(rows), self.learned["list"][block].astype(np.int64)
            index.add_core(len(rows), faiss.swig_ptr(rows), None, faiss.swig_ptr(place), None)
        index.nprobe = _lists_read(index.nlist)
        return index

    def _candidates(self, index, rows, width):
        return index.search_preassigned(rows, width, self._lists(index, rows, index.nprobe), None)[
            1
        ]

    def _lists(self, index, rows, count):
        """Return the nearest lists of each row; faiss would let it depend on the batch."""
        means = torch.from_numpy(index.quantizer.reconstruct_n(0, index.nlist))
        with exact_arithmetic("cpu"):
            return knn(torch.from_numpy(rows), means, count, center=means[0])[1].numpy()


def _lists_read(n_lists):
    return min(n_lists, max(LEAST_LISTS, n_lists // 16))


class _LiveIndexes:
    """The indexes in use, kept between calls and outside of any pickle.

    One is keyed by the identity of the array of its bytes and goes when that goes.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._indexes = {}

    def get(self, backend):
        learned = backend.learned["index"]
        with self._lock:
            if id(learned) not in self._indexes:
                self._indexes[id(learned)] = backend.live_index()
                weakref.finalize(learned, self._indexes.pop, id(learned), None)
            return self._indexes[id(learned)]


_live_indexes = _LiveIndexes()


@contextlib.contextmanager
def _one_thread():
    """Build with one thread: with several, a graph is another one each time."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
