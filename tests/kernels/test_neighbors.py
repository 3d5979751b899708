"""Exact search against a plain float64 reference, through every stage."""

import numpy as np
import pytest
import torch

from sklearn_seapig.kernels import neighbors as kernel
from sklearn_seapig.kernels.neighbors import euclidean_norm, knn
from sklearn_seapig.neighbors import ExactNeighbors


def reference_knn(Q, X, k, exclude=None):
    """Differences in float64, sorted by (distance, index)."""
    Q, X = Q.astype(np.float64), X.astype(np.float64)
    distances, indices = np.empty((len(Q), k)), np.empty((len(Q), k), dtype=np.int64)
    for i, q in enumerate(Q):
        gap = X - q
        peak = np.abs(gap).max(axis=1, keepdims=True)
        peak[(peak == 0) | ((peak > 1e-100) & (peak < 1e100))] = 1
        distance = np.sqrt(((gap / peak) ** 2).sum(axis=1)) * peak[:, 0]
        if exclude is not None:
            distance[exclude[i]] = np.inf
        indices[i] = np.argsort(distance, kind="stable")[:k]
        distances[i] = distance[indices[i]]
    return distances, indices


def search(Q, X, k, exclude=None):
    return ExactNeighbors().add(X).search(torch.from_numpy(Q), k, exclude)


def _random(rng, n, d, dtype):
    return rng.normal(size=(n, d)).astype(dtype)


def _clustered(rng, n, d, dtype):
    side = rng.choice([-1, 1], size=(n, 1))
    return (1e4 * side + rng.normal(size=(n, d))).astype(dtype)


def _duplicated(rng, n, d, dtype):
    X = rng.normal(size=(n, d))
    X[rng.permutation(n)[: int(0.6 * n)]] = X[0]
    return X.astype(dtype)


def _scaled(by):
    return lambda rng, n, d, dtype: (by * rng.normal(size=(n, d))).astype(dtype)


def _offset(by):
    return lambda rng, n, d, dtype: (by + rng.normal(size=(n, d))).astype(dtype)


def _integers(high):
    return lambda rng, n, d, dtype: rng.integers(0, high, size=(n, d)).astype(dtype)


def _one_far(rng, n, d, dtype):
    X = rng.normal(size=(n, d))
    X[801] = 1e15  # not among the queries: from there all other rows are equally far
    return X.astype(dtype)


def _sparse(rng, n, d, dtype):
    return np.eye(d)[rng.integers(0, d, size=n)].astype(dtype)


F32, F64 = np.float32, np.float64
DATA = {
    "random f32": (_random, F32, 16),
    "random f64": (_random, F64, 16),
    "clustered f32": (_clustered, F32, 16),
    "clustered f64": (_clustered, F64, 16),
    "duplicated f32": (_duplicated, F32, 16),
    "duplicated f64": (_duplicated, F64, 16),
    "binary": (_integers(2), F32, 8),
    "binary wide": (_integers(2), F32, 40),
    "integers": (_integers(5), F64, 4),
    "one-hot": (_sparse, F32, 50),
    "offset 1e4 f32": (_offset(1e4), F32, 16),
    "offset 1e6 f32": (_offset(1e6), F32, 16),
    "offset 1e8 f64": (_offset(1e8), F64, 16),
    "scale 1e-25 f32": (_scaled(1e-25), F32, 16),
    "scale 1e-40 f32": (_scaled(1e-40), F32, 16),
    "scale 1e20 f32": (_scaled(1e20), F32, 16),
    "scale 1e200 f64": (_scaled(1e200), F64, 16),
    "scale 1e-200 f64": (_scaled(1e-200), F64, 16),
    "one far row f32": (_one_far, F32, 16),
    "one far row f64": (_one_far, F64, 16),
    "line f32": (_random, F32, 1),
    "line f64": (_random, F64, 1),
    "plane f32": (_random, F32, 2),
    "tiny integers line": (_integers(3), F32, 1),
}


def make(name, n=2500, n_queries=60, seed=0):
    draw, dtype, d = DATA[name]
    rows = draw(np.random.default_rng(seed), n + n_queries, d, dtype)
    X, Q = rows[:n], rows[n:]
    # Some queries are reference rows themselves.
    return np.concatenate([Q, X[: n_queries // 4]]), X


@pytest.fixture
def stages(monkeypatch):
    """Record which stages of the search run, as a list of names."""
    seen = []
    candidates, exhaustive = kernel._candidates, kernel._exhaustive

    def spy_candidates(queries, points, size, dtype, device):
        seen.append(str(dtype).removeprefix("torch."))
        return candidates(queries, points, size, dtype, device)

    def spy_exhaustive(*args):
        seen.append("exhaustive")
        return exhaustive(*args)

    monkeypatch.setattr(kernel, "_candidates", spy_candidates)
    monkeypatch.setattr(kernel, "_exhaustive", spy_exhaustive)
    return seen


@pytest.mark.parametrize("k", [1, 5, 50])
@pytest.mark.parametrize("name", DATA)
def test_equals_the_float64_reference_in_distance_and_order(name, k):
    # SP-NN-01, -03, -05, -06, -14, -16; SP-IN-29; SK-05
    Q, X = make(name)
    distances, indices = search(Q, X, k)
    expected, order = reference_knn(Q, X, k)
    np.testing.assert_array_equal(indices, order)
    np.testing.assert_allclose(distances, expected, rtol=1e-12)
    assert distances.dtype == np.float64
    assert indices.dtype == np.int64


@pytest.mark.parametrize("k", [1, 5, 50])
@pytest.mark.parametrize("name", DATA)
def test_leave_one_out_excludes_the_row_itself_by_index(name, k):
    # SP-NN-04, -19: with duplicates "the first hit" is mostly another row.
    _, X = make(name, n=1500)
    rows = np.arange(0, 1500, 25)
    distances, indices = search(X[rows], X, k, exclude=rows)
    expected, order = reference_knn(X[rows], X, k, exclude=rows)
    np.testing.assert_array_equal(indices, order)
    np.testing.assert_allclose(distances, expected, rtol=1e-12)
    assert not (indices == rows[:, None]).any()


@pytest.mark.parametrize("name", ["random f32", "duplicated f64", "binary", "offset 1e8 f64"])
@pytest.mark.parametrize(("n", "k"), [(1, 1), (5, 5), (6, 5), (51, 50), (22, 5)])
def test_reference_sets_barely_larger_than_k(name, n, k):
    Q, X = make(name, n=n, n_queries=8)
    distances, indices = search(Q, X, k)
    expected, order = reference_knn(Q, X, k)
    np.testing.assert_array_equal(indices, order)
    np.testing.assert_allclose(distances, expected, rtol=1e-12)
    if n > k:
        rows = np.arange(min(n, 8))
        distances, indices = search(X[rows], X, k, exclude=rows)
        np.testing.assert_array_equal(indices, reference_knn(X[rows], X, k, exclude=rows)[1])


def test_past_the_end_distances_are_inf_and_indices_minus_one():
    Q, X = make("random f64", n=3, n_queries=4)
    distances, indices = search(Q, X, 5)
    assert np.isinf(distances[:, 3:]).all()
    assert (indices[:, 3:] == -1).all()
    distances, indices = search(X, X, 3, exclude=np.arange(3))
    assert np.isinf(distances[:, 2]).all()
    assert (indices[:, 2] == -1).all()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("random f32", ["float32"]),
        ("random f64", ["float32"]),
        ("offset 1e4 f32", ["float32"]),
        ("offset 1e8 f64", ["float32"]),
        ("clustered f32", ["float32", "float64"]),
        ("scale 1e-25 f32", ["float32", "float64"]),
        ("scale 1e20 f32", ["float32", "float64"]),
        ("binary", ["float32", "float64", "exhaustive"]),
        ("scale 1e200 f64", ["float32", "float64", "exhaustive"]),
    ],
)
def test_each_kind_of_data_reaches_its_stage_and_no_later_one(stages, name, expected):
    Q, X = make(name)
    search(Q, X, 5)
    assert stages == expected


@pytest.mark.parametrize("refused", [["float32"], ["float32", "float64"]])
@pytest.mark.parametrize("exclude", [False, True])
@pytest.mark.parametrize("name", DATA)
def test_later_stages_alone_give_the_same(monkeypatch, name, refused, exclude):
    candidates = kernel._candidates

    def refuse(queries, points, size, dtype, *rest):
        index, left_out = candidates(queries, points, size, dtype, *rest)
        if str(dtype).removeprefix("torch.") in refused:
            # The worst candidates that a stage without a certificate may hand on.
            index = torch.arange(size).expand(len(queries), -1) + len(points) - size
            left_out = torch.full_like(left_out, -np.inf)
        return index, left_out

    monkeypatch.setattr(kernel, "_candidates", refuse)
    _, X = make(name, n=900)
    rows = np.arange(0, 900, 45)
    skip = rows if exclude else None
    distances, indices = search(X[rows], X, 5, exclude=skip)
    expected, order = reference_knn(X[rows], X, 5, exclude=skip)
    np.testing.assert_array_equal(indices, order)
    np.testing.assert_allclose(distances, expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["random f32", "clustered f32", "binary", "offset 1e6 f32"])
def test_a_row_alone_and_in_a_batch_of_3000(name):
    # SP-NN-02, -20, -36: the same to the bit, so a decision at the bound is the same as well.
    rng = np.random.default_rng(1)
    draw, dtype, d = DATA[name]
    X = draw(rng, 4000, d, dtype)
    Q = draw(rng, 3000, d, dtype)
    backend = ExactNeighbors().add(X)
    distances, indices = backend.search(torch.from_numpy(Q), 5)
    for size in (1, 20, 200):
        alone, index = backend.search(torch.from_numpy(Q[:size]), 5)
        np.testing.assert_array_equal(alone, distances[:size])
        np.testing.assert_array_equal(index, indices[:size])
    for i in range(0, 3000, 300):
        alone, index = backend.search(torch.from_numpy(Q[i : i + 1]), 5)
        np.testing.assert_array_equal(alone[0], distances[i])
        np.testing.assert_array_equal(index[0], indices[i])


@pytest.mark.parametrize("name", ["random f32", "clustered f32", "binary"])
def test_one_thread_and_two(name):
    Q, X = make(name)
    before = torch.get_num_threads()
    found = []
    try:
        for n_threads in (1, 2):
            torch.set_num_threads(n_threads)
            found.append(search(Q, X, 5))
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_array_equal(found[0][1], found[1][1])


@pytest.mark.parametrize("n", [1, 49])
def test_one_long_row_is_measured_as_by_one_thread(n):
    # torch splits the sum of a single row of more than 32,768 numbers between its threads.
    rng = np.random.default_rng(0)
    X, Q = rng.random((2, 150_000), dtype=np.float32), rng.random((3, 150_000), dtype=np.float32)
    X = X[np.arange(n) % 2]  # equal rows, so that all stages of the search measure
    before = torch.get_num_threads()
    found = []
    try:
        for n_threads in (1, 2):
            torch.set_num_threads(n_threads)
            found += [search(Q, X, 1)[0], np.concatenate([search(q[None], X, 1)[0] for q in Q])]
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


@pytest.fixture
def torch_settings():
    """Put torch's global settings back, whatever a test does to them."""
    precision, dtype = torch.get_float32_matmul_precision(), torch.get_default_dtype()
    yield
    torch.set_float32_matmul_precision(precision)
    torch.set_default_dtype(dtype)


@pytest.mark.parametrize("name", ["random f32", "clustered f32", "binary"])
@pytest.mark.parametrize("setting", ["medium", "high", "float64", "bfloat16", "autocast", "meta"])
def test_global_settings_of_torch_change_nothing(torch_settings, name, setting):
    Q, X = make(name)
    expected, order = reference_knn(Q, X, 5)
    if setting in ("medium", "high"):
        torch.set_float32_matmul_precision(setting)
        found = search(Q, X, 5)
    elif setting == "autocast":
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = search(Q, X, 5)
    elif setting == "meta":
        with torch.device("meta"):
            found = ExactNeighbors().add(X).search(torch.from_numpy(Q), 5)
    else:
        torch.set_default_dtype(getattr(torch, setting))
        found = search(Q, X, 5)
    np.testing.assert_array_equal(found[1], order)
    np.testing.assert_allclose(found[0], expected, rtol=1e-12)


def test_products_count_as_rounded_where_torch_does_not_say(monkeypatch, stages):
    # torch raises here once a backend's own fp32_precision was set.
    def refuse():
        raise RuntimeError("mix of the legacy and new APIs")

    monkeypatch.setattr(torch, "get_float32_matmul_precision", refuse)
    Q, X = make("random f32")
    np.testing.assert_array_equal(search(Q, X, 5)[1], reference_knn(Q, X, 5)[1])
    assert stages[:2] == ["float32", "float64"]


def test_reduced_precision_of_products_is_within_the_margin(monkeypatch):
    # Products as the coarsest hardware forms them, from factors rounded to bfloat16.
    addmm = torch.addmm

    def coarse(bias, a, b, **options):
        if a.dtype == torch.float32:
            a, b = a.bfloat16().float(), b.bfloat16().float()
        return addmm(bias, a, b, **options)

    monkeypatch.setattr(torch, "addmm", coarse)
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "medium")
    Q, X = make("plane f32")
    np.testing.assert_array_equal(search(Q, X, 5)[1], reference_knn(Q, X, 5)[1])


def test_scaled_reference_points():
    Q, X = make("random f32")
    scale = np.random.default_rng(3).uniform(0.1, 10, size=len(X))
    backend = ExactNeighbors().add(X, scale)
    distances, indices = backend.search(torch.from_numpy(Q), 5)
    expected, order = reference_knn(Q, X.astype(np.float64) * scale[:, None], 5)
    np.testing.assert_array_equal(indices, order)
    np.testing.assert_allclose(distances, expected, rtol=1e-12)


def test_any_center_is_right():
    Q, X = make("random f32")
    expected = reference_knn(Q, X, 5)[1]
    for center in (0.0, 1e3, 1e8):
        with torch.inference_mode():
            where = torch.full((X.shape[1],), center, dtype=torch.float32)
            found = knn(torch.from_numpy(Q), torch.from_numpy(X), 5, center=where)
        np.testing.assert_array_equal(found[1].numpy(), expected)


def test_mass_ties_are_measured_once(stages):
    # Every row is equally far: measured one by one, but neither sorted nor moved around memory.
    X = np.eye(60)[np.arange(10_000) % 60].astype(np.float32)
    distances, indices = search(np.zeros((50, 60), np.float32), X, 5)
    np.testing.assert_array_equal(indices, np.tile(np.arange(5), (50, 1)))
    np.testing.assert_array_equal(distances, 1.0)
    assert stages[-1] == "exhaustive"


def test_state_round_trip_and_spec():
    Q, X = make("random f32")
    backend = ExactNeighbors().add(X)
    assert backend.spec() == {"name": "exact", "exact": True, "n": 2500, "d": 16}
    again = ExactNeighbors.from_state(backend.state())
    np.testing.assert_array_equal(
        again.search(torch.from_numpy(Q), 5)[0], backend.search(torch.from_numpy(Q), 5)[0]
    )


@pytest.mark.parametrize("scale", [0.0, 5e-324, 1e-200, 1e-140, 1.0, 1e150, 1e200, 1e307])
def test_norm_neither_overflows_nor_underflows(scale):
    rows = torch.tensor([[3.0, 4.0], [0.0, 0.0], [-3.0, 4.0]], dtype=torch.float64) * scale
    np.testing.assert_allclose(
        euclidean_norm(rows).numpy(), np.array([5.0, 0.0, 5.0]) * scale, rtol=1e-12
    )


SEARCH = """
import numpy as np, torch
from sklearn_seapig.neighbors import ExactNeighbors
rng = np.random.default_rng(0)
X = rng.standard_normal((150_000, 64), dtype=np.float32)
Q = torch.from_numpy(rng.standard_normal((1_000, 64), dtype=np.float32))
backend = ExactNeighbors().add(X)
torch.ones(300, 300) @ torch.ones(300, 300)
"""


def test_memory_beyond_the_data_is_bounded(peak_of):
    # MiB; one float32 matrix of all distances has 570.
    assert peak_of(SEARCH, "backend.search(Q, 5)") < 256
