"""Approximate searches of faiss, chosen by name. The one file that imports faiss.

faiss works in float32 on centred rows and only proposes candidates; their distances are measured
from the reference rows themselves, as in the exact search. What an index has learned is kept as
plain arrays without the rows. What faiss searches is built from both, once in a process, and never
pickled. The arrays may come from a file of anyone, and faiss checks nothing: all of them are
checked here. faiss never reads its own format, which can name files to write to.
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
FAR = 2.0**50  # float32 holds the square of this, and of its inverse
LINKS = 32  # HNSW: neighbors of a row in the graph, twice as many on the lowest level
BUILD_WIDTH = 100  # HNSW: rows kept in view while the graph is built
SEARCH_WIDTH = 128  # HNSW: the same while it is searched, at least the number of candidates
TRAIN_ROWS = 64  # IVF: rows for each list that k-means sees
LEAST_ROWS = 39  # IVF: rows for each list on average, at least
LEAST_LISTS = 16  # IVF: lists visited for each query, or a sixteenth of all


class FaissNeighbors:
    """What the approximate backends share; a child builds the index and asks it for candidates.

    Queries far off the data, and those for which faiss finds too few rows, are searched exactly.
    So are those near a reference row far off the others, which faiss sees moved to the edge.
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
        n, k = len(self.rows.X), int(k)  # faiss refuses the integers of numpy
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
        backend.unit = state.get("unit")
        backend.learned = {name: state.get(name) for name in cls.learns}
        return backend

    def live_index(self):
        """Return an index that faiss can search, built from the state."""
        unit, (n, d) = self.unit, self.rows.X.shape
        self._check(isinstance(unit, float) and 0 < unit < math.inf, f"its unit is {unit}")
        self._check(n > 0 and d > 0, f"the reference rows are of shape {(n, d)}")
        return self._restored(n, d)

    def _array(self, name, dtype, shape):
        """Return an array of the state, of which a length of None is any length."""
        array = self.learned[name]
        what = f"its {name} must be an array of {np.dtype(dtype)} and of shape {shape}"
        self._check(isinstance(array, np.ndarray) and array.dtype == dtype, what)
        fits = [size in (None, found) for size, found in zip(shape, array.shape, strict=False)]
        self._check(array.ndim == len(shape) and all(fits), f"{what}, found {array.shape}")
        return np.ascontiguousarray(array)

    def _check(self, holds, what):
        if not holds:
            raise ValueError(f"The {self.name} index is corrupted: {what}; fit again.")

    def _float32_blocks(self):
        """Yield the rows for faiss, which reads as many numbers as it is told there are."""
        for block, rows in self._blocks():
            shape, rows = rows.shape, self._centered(rows)
            # A nan, too, is no row: a graph can be walked off its end by one.
            self._check(rows.shape == shape and np.abs(rows).max() <= FAR, "it has rows of nan")
            yield block, rows

    def _blocks(self, step=1):
        """Yield the reference rows as faiss sees them, or every `step`-th, and their slices."""
        X, scale = self.rows.X, self.rows.scale
        for start in range(0, len(X), BLOCK_ROWS * step):
            block = slice(start, start + BLOCK_ROWS * step, step)
            rows = X[block].astype(np.float64)
            yield block, rows if scale is None else rows * scale[block, None]

    def _power_of_two(self):
        """Return a unit in which most rows fit float32; a power of two, so that nothing rounds.

        It goes by the median row: by the largest, one row far off would make zeros of the others.
        """
        half = [np.abs(rows / 2 - self.rows.center / 2).max(axis=1) for _, rows in self._blocks()]
        half = np.concatenate(half)
        # The lower of two middle rows: the sum of both may overflow.
        middle = np.quantile(half[half > 0], 0.5, method="lower") if half.any() else 0.25
        return math.ldexp(1.0, min(math.frexp(middle)[1] + 1, 1023))

    def _centered(self, rows):
        # Halved before, since a difference of finite numbers may overflow.
        with np.errstate(over="ignore"):
            gap = (rows / 2 - self.rows.center.astype(np.float64) / 2) / (self.unit / 2)
        return np.ascontiguousarray(np.clip(gap, -FAR, FAR), dtype=np.float32)


class HNSWNeighbors(FaissNeighbors):
    """A graph of near rows, walked towards the query (hierarchical navigable small world).

    Malkov, Y. and Yashunin, D. "Efficient and robust approximate nearest neighbor search using
    Hierarchical Navigable Small World graphs", TPAMI 2018, arXiv:1603.09320.
    """

    name = "hnsw"
    learns, key = ("levels", "neighbors", "entry"), "neighbors"

    def _parameters(self):
        return {"links": LINKS, "build_width": BUILD_WIDTH, "search_width": SEARCH_WIDTH}

    def _build(self):
        index = faiss.IndexHNSWFlat(self.rows.X.shape[1], LINKS)
        index.hnsw.efConstruction = BUILD_WIDTH
        for _, rows in self._float32_blocks():
            index.add(rows)
        return {
            "levels": faiss.vector_to_array(index.hnsw.levels),
            "neighbors": faiss.vector_to_array(index.hnsw.neighbors),
            "entry": int(index.hnsw.entry_point),
        }

    def _restored(self, n, d):
        index = faiss.IndexHNSWFlat(d, LINKS)
        graph = index.hnsw
        places = faiss.vector_to_array(graph.cum_nneighbor_per_level)
        levels, neighbors = self._checked(n, places)
        faiss.copy_array_to_vector(levels, graph.levels)
        graph.max_level = graph.prepare_level_tab(n, True)
        faiss.copy_array_to_vector(neighbors, graph.neighbors)
        graph.entry_point = self.learned["entry"]
        for _, rows in self._float32_blocks():
            index.storage.add(rows)
        index.ntotal = n
        return index

    def _checked(self, n, places):
        """Return levels and neighbors, in which every walk down from the entry stays inside.

        A row on `levels[i]` levels has ``places[levels[i]]`` neighbors, in the order of the levels.
        """
        levels = self._array("levels", np.int32, (n,))
        highest = len(places) - 1
        self._check(1 <= levels.min() <= levels.max() <= highest, f"levels not in 1..{highest}")
        ends = np.cumsum(places[levels], dtype=np.int64)
        neighbors = self._array("neighbors", np.int32, (int(ends[-1]),))
        inside = -1 <= neighbors.min() <= neighbors.max() < n
        self._check(inside, f"neighbors that are no rows of {n}")
        for level in range(1, levels.max()):
            rows = np.flatnonzero(levels > level)
            starts = ends[rows] - places[levels[rows]]
            near = neighbors[starts[:, None] + np.arange(places[level], places[level + 1])]
            self._check((levels[near[near >= 0]] > level).all(), "neighbors not on their level")
        entry = self.learned["entry"]
        known = isinstance(entry, int) and 0 <= entry < n and levels[entry] == levels.max()
        self._check(known, f"the entry {entry} is no row of the highest level")
        return levels, neighbors

    def _candidates(self, index, rows, width):
        settings = faiss.SearchParametersHNSW(efSearch=max(SEARCH_WIDTH, width))
        return index.search(rows, width, params=settings)[1]


class IVFNeighbors(FaissNeighbors):
    """Lists of rows around the means of k-means, of which the nearest few are read (inverted file).

    Douze, M. et al. "The Faiss library", 2024, arXiv:2401.08281.
    """

    name = "ivf"
    learns, key = ("means", "list"), "means"

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
        means = index.quantizer.reconstruct_n(0, index.nlist)
        nearest = [_lists(means, rows, 1)[:, 0] for _, rows in self._float32_blocks()]
        return {
            "means": means,
            "list": np.concatenate(nearest).astype(np.int32),
        }

    def _restored(self, n, d):
        means = self._array("means", np.float32, (self._n_lists(), d))
        self._check(np.isfinite(means).all(), "its means are not finite")
        place = self._array("list", np.int32, (n,))
        self._check(0 <= place.min() <= place.max() < len(means), "rows in lists there are not")
        quantizer = faiss.IndexFlatL2(d)
        quantizer.add(means)
        index = faiss.IndexIVFFlat(quantizer, d, len(means))
        index.is_trained = True
        for block, rows in self._float32_blocks():
            where = place[block].astype(np.int64)
            index.add_core(len(rows), faiss.swig_ptr(rows), None, faiss.swig_ptr(where), None)
        index.nprobe = _lists_read(len(means))
        return index

    def _candidates(self, index, rows, width):
        lists = _lists(self.learned["means"], rows, index.nprobe)
        unused = np.zeros(lists.shape, np.float32)  # older faiss wants the distances to the means
        return index.search_preassigned(rows, width, lists, unused)[1]


def _lists(means, rows, count):
    """Return the nearest lists of each row; faiss would let it depend on the batch."""
    means = from_numpy(means)
    with exact_arithmetic("cpu"):
        return knn(torch.from_numpy(rows), means, count, center=means[0])[1].numpy()


def _lists_read(n_lists):
    return min(n_lists, max(LEAST_LISTS, n_lists // 16))


class _LiveIndexes:
    """The indexes in use, kept between calls and outside of any pickle.

    One is keyed by the identity of an array it was built from and goes when that goes.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._indexes = {}

    def get(self, backend):
        learned = backend.learned[backend.key]
        with self._lock:
            if id(learned) not in self._indexes:
                index = backend.live_index()
                weakref.finalize(learned, self._indexes.pop, id(learned), None)
                self._indexes[id(learned)] = index
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
