"""Approximate searches: what is exact about them, what is not, and what the state holds."""

import copy
import os
import pickle
import subprocess
import sys
from importlib import import_module

import numpy as np
import pytest
import torch
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_seapig import CosineScore, EuclideanScore, MahalanobisScore
from sklearn_seapig.neighbors import ExactNeighbors, find_backend

faiss = pytest.importorskip("faiss")
_faiss = import_module("sklearn_seapig.neighbors._faiss")

SCORES = [EuclideanScore, CosineScore, MahalanobisScore]
NAMES = ["hnsw", "ivf"]
ARRAYS = {"hnsw": ["levels", "neighbors"], "ivf": ["means", "list"]}
KINDS = ["random", "clustered", "duplicated", "offset", "low rank", "sorted"]


def rows(n=2000, d=12, seed=0, kind="clustered"):
    rng = np.random.default_rng(seed)
    shape = np.random.default_rng(99)
    X = rng.normal(size=(n, d))
    if kind in ("clustered", "sorted", "offset"):
        side = rng.integers(0, 10, size=n)
        X = X / 4 + 3 * shape.normal(size=(10, d))[np.sort(side) if kind == "sorted" else side]
    elif kind == "duplicated":
        X = X[rng.integers(0, n // 3, size=n)]
    elif kind == "low rank":
        X = X[:, :3] @ shape.normal(size=(3, d))
    return X + 1e8 if kind == "offset" else X


def backend(name, X, scale=None):
    return find_backend(name)().add(X, scale)


@pytest.fixture
def all_lists(monkeypatch):
    monkeypatch.setattr(_faiss, "LEAST_LISTS", 10**6)


# Protocol


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ivf_that_reads_all_lists_is_exact(kind, dtype, all_lists):
    X, Q = rows(kind=kind).astype(dtype), rows(100, seed=1, kind=kind).astype(dtype)
    Q[:10] = X[:10]
    distances, indices = backend("ivf", X).search(torch.from_numpy(Q), 7)
    expected, order = ExactNeighbors().add(X).search(torch.from_numpy(Q), 7)
    np.testing.assert_array_equal(distances, expected)
    if kind != "duplicated" and not (kind == "offset" and dtype == np.float32):  # all ties there
        np.testing.assert_array_equal(indices, order)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_distances_are_exact_ascending_and_of_distinct_rows(name, kind):
    X, Q = rows(kind=kind), rows(100, seed=1, kind=kind)
    Q[:10] = X[:10]
    distances, indices = backend(name, X).search(torch.from_numpy(Q), 7)
    assert distances.dtype == np.float64
    assert indices.dtype == np.int64
    expected = np.linalg.norm(X[indices] - Q[:, None], axis=2)
    np.testing.assert_allclose(distances, expected, rtol=1e-12)
    step = np.diff(distances, axis=1)
    assert ((step > 0) | ((step == 0) & (np.diff(indices, axis=1) > 0))).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["clustered", "low rank", "sorted", "offset"])
def test_recall_on_data_like_embeddings(name, kind):
    # SP-NN-32, -33, -35
    X, Q = rows(4000, kind=kind), rows(200, seed=1, kind=kind)
    fitted = EuclideanScore(k=10, algorithm=name).fit(X, X_cal=Q)
    assert fitted.recall_check(Q) > 0.97
    assert fitted.recall_check(Q + 5 * X.std()) > 0.9


@pytest.mark.parametrize("name", NAMES)
def test_the_excluded_row_is_no_neighbor_and_its_duplicates_are(name):
    X = rows(600)
    X[300:] = X[:300]
    near = backend(name, X).search(torch.from_numpy(X), 1, np.arange(600))
    np.testing.assert_array_equal(near[0], 0)
    np.testing.assert_array_equal(near[1][:, 0], (np.arange(600) + 300) % 600)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n", [1, 2, 5, 50])
def test_small_reference_sets_are_padded_past_their_end(name, n, capfd):
    X, Q = rows(n), rows(9, seed=1)
    distances, indices = backend(name, X).search(torch.from_numpy(Q), n + 3)
    expected, order = ExactNeighbors().add(X).search(torch.from_numpy(Q), n + 3)
    np.testing.assert_array_equal(distances, expected)
    np.testing.assert_array_equal(indices, order)
    if n > 1:
        own = backend(name, X).search(torch.from_numpy(X), n, np.arange(n))
        assert (own[1][:, -1] == -1).all()
        assert np.isinf(own[0][:, -1]).all()
        assert (own[1][:, :-1] >= 0).all()
    assert capfd.readouterr() == ("", "")  # faiss complains of few rows to the terminal


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", [1e-300, 1e-25, 1e20, 1e300])
def test_scales_that_float32_does_not_hold(name, scale):
    # SP-NN-05, -06
    X, Q = rows(500), rows(50, seed=1)
    _, order = backend(name, X).search(torch.from_numpy(Q), 3)
    distances, indices = backend(name, X * scale).search(torch.from_numpy(Q * scale), 3)
    np.testing.assert_array_equal(indices, order)
    np.testing.assert_allclose(
        distances / scale, np.linalg.norm(X[order] - Q[:, None], axis=2), rtol=1e-9
    )


@pytest.mark.parametrize("name", NAMES)
def test_queries_too_far_for_float32_are_searched_exactly(name):
    X, Q = rows(500), rows(20, seed=1)
    Q[3] *= 1e30
    Q[4] *= 1e200
    found = backend(name, X).search(torch.from_numpy(Q), 3)
    expected = ExactNeighbors().add(X).search(torch.from_numpy(Q[3:5]), 3)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a[3:5], b)


def test_queries_for_which_faiss_finds_too_few_rows_are_searched_exactly(monkeypatch):
    monkeypatch.setattr(_faiss, "LEAST_LISTS", 1)
    X, Q = rows(500), rows(50, seed=1)
    distances, indices = backend("ivf", X).search(torch.from_numpy(Q), 400)
    assert (indices >= 0).all()
    assert np.isfinite(distances).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_row_alone_and_in_a_batch(name):
    # SP-NN-20: neither the width of the search nor the way faiss computes depends on the batch.
    X, Q = rows(3000, 40).astype(np.float32), rows(3000, 40, seed=1).astype(np.float32)
    fitted = EuclideanScore(algorithm=name).fit(X, X_cal=Q[:50])
    whole = fitted.score_samples(Q)
    for size in (1, 19, 20, 200):
        np.testing.assert_array_equal(fitted.score_samples(Q[:size]), whole[:size])
    alone = np.concatenate([fitted.score_samples(Q[i : i + 1]) for i in range(0, 3000, 100)])
    np.testing.assert_array_equal(alone, whole[::100])


STATE = """
import hashlib, sys
import numpy as np
from sklearn_seapig.neighbors import find_backend
X = np.random.default_rng(0).standard_normal((3000, 24), dtype=np.float32)
state = find_backend(sys.argv[1])().add(X).state()
print({k: hashlib.sha256(state[k]).hexdigest() for k in sys.argv[2:]})
"""


@pytest.mark.parametrize("name", NAMES)
def test_two_fits_are_equal_to_the_bit_in_any_process_with_any_threads(name):
    # SP-NN-24
    found = {
        subprocess.run(
            [sys.executable, "-c", STATE, name, *ARRAYS[name]],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": threads},
        ).stdout
        for threads in ("1", "2")
    }
    assert len(found) == 1
    assert all(array in next(iter(found)) for array in ARRAYS[name])


@pytest.mark.parametrize("name", NAMES)
def test_building_leaves_the_threads_of_faiss_alone(name):
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(3)
    try:
        backend(name, rows(200))
        assert faiss.omp_get_max_threads() == 3
    finally:
        faiss.omp_set_num_threads(before)


# Scores


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_are_near_those_of_the_exact_search(score, name, dtype):
    X, Q = rows(1500).astype(dtype), rows(300, seed=1).astype(dtype)
    fitted, exact = score(algorithm=name).fit(X), score().fit(X)
    assert fitted.search_spec_["name"] == name
    assert not fitted.search_spec_["exact"]
    assert exact.search_spec_["exact"]
    assert fitted.recall_check(X, n_samples=200) > 0.97
    assert exact.recall_check(X, n_samples=200) == 1
    # What is missed can only make a row look less normal.
    assert (fitted.score_samples(Q) <= exact.score_samples(Q)).all()
    np.testing.assert_allclose(fitted.score_samples(X), exact.score_samples(X), rtol=0.2)
    assert (fitted.score_samples(Q) == exact.score_samples(Q)).mean() > 0.9
    assert (fitted.calibration_scores_ == exact.calibration_scores_).mean() > 0.9
    index = score(k=1, algorithm=name).fit(X).kneighbors(X)[1][:, 0]
    assert (index == np.arange(1500)).mean() > 0.97


@pytest.mark.parametrize("name", NAMES)
def test_recall_check_sees_what_is_missed(name, monkeypatch):
    X, Q = rows(3000, 60, kind="random"), rows(300, 60, seed=1, kind="random")
    monkeypatch.setattr(_faiss, "LEAST_LISTS", 2)
    monkeypatch.setattr(_faiss, "SEARCH_WIDTH", 1)
    monkeypatch.setattr(_faiss, "LINKS", 4)
    fitted = EuclideanScore(k=20, algorithm=name).fit(X, X_cal=Q)
    found, true = fitted.kneighbors(Q)[1], EuclideanScore(k=20).fit(X, X_cal=Q).kneighbors(Q)[1]
    expected = np.mean([len(np.intersect1d(a, b)) / 20 for a, b in zip(found, true, strict=True)])
    assert 0.01 < expected < 0.9
    assert fitted.recall_check(Q) == pytest.approx(expected, abs=1e-12)
    some = fitted.recall_check(Q, n_samples=50)
    assert some == fitted.recall_check(Q, n_samples=50)
    assert some == pytest.approx(expected, abs=0.2)
    with pytest.raises(ValueError, match="'n_samples' parameter"):
        fitted.recall_check(Q, n_samples=0)


@pytest.mark.parametrize("name", NAMES)
def test_a_refit_is_never_stale(name):
    # SP-NN-26, SP-CA-03, SP-CA-04
    A, B = rows(300), rows(500, seed=1)
    A[7] = 100
    fitted = EuclideanScore(k=1, algorithm=name, trim=0.005).fit(A)
    assert fitted.score_samples(A[7:8]) < -90
    fitted.fit(B)
    fresh = EuclideanScore(k=1, algorithm=name, trim=0.005).fit(B)
    assert fitted.search_spec_["n"] == fitted.support_.sum()
    for array in ARRAYS[name]:
        np.testing.assert_array_equal(fitted._index_[array], fresh._index_[array])
    np.testing.assert_array_equal(fitted.score_samples(A), fresh.score_samples(A))
    np.testing.assert_array_equal(fitted.calibration_scores_, fresh.calibration_scores_)


def test_algorithm_is_checked():
    X = rows(100)
    with pytest.raises(ValueError, match=r"'algorithm' parameter .*'hnsw'.*Got 'kdtree'"):
        EuclideanScore(algorithm="kdtree").fit(X)
    fitted = EuclideanScore().fit(X).set_params(algorithm="hnsw")
    with pytest.raises(ValueError, match="algorithm was 'exact' in fit and is 'hnsw' now"):
        fitted.score_samples(X)


def test_without_faiss_the_extra_is_named():
    code = """
import sys
sys.modules["faiss"] = None
import numpy as np
from sklearn_seapig import EuclideanScore
X = np.eye(20)
EuclideanScore(k=1).fit(X)
try:
    EuclideanScore(k=1, algorithm="hnsw").fit(X)
except ImportError as error:
    assert "faiss" in str(error) and "sklearn-seapig[ann]" in str(error), error
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", code], check=True)


# State


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("name", NAMES)
def test_the_state_is_arrays_and_plain_values_and_comes_back(score, name):
    # SP-PS-04, SP-PS-09, SEC-08
    X, Q = rows(600), rows(100, seed=1)
    fitted = score(algorithm=name).fit(X)
    expected = fitted.score_samples(Q)
    for value in fitted._index_.values():
        assert value is None or isinstance(value, (np.ndarray, float, int))
        # No bytes of faiss, whose reader opens the files that they name.
        assert not isinstance(value, np.ndarray) or value.dtype in ("f4", "f8", "i4")
    others = [pickle.loads(pickle.dumps(fitted)), copy.deepcopy(fitted)]
    skops = pytest.importorskip("skops.io")
    data = skops.dumps(fitted)
    others.append(skops.loads(data, trusted=skops.get_untrusted_types(data=data)))
    for other in others:
        np.testing.assert_array_equal(other.score_samples(Q), expected)


@pytest.mark.parametrize(("name", "bytes_per_row"), [("hnsw", 320), ("ivf", 50)])
def test_a_file_holds_the_rows_once(name, bytes_per_row):
    # SP-MM-03, SP-PS-09
    X = rows(4000, 256).astype(np.float32)
    size = len(pickle.dumps(EuclideanScore(algorithm=name).fit(X, X_cal=X[:50])))
    means = 102 * 256 * 4 if name == "ivf" else 0
    assert size < X.nbytes + 4000 * bytes_per_row + means + 10_000
    assert size < 1.35 * X.nbytes


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [1e14, 1e25, 1e200])
def test_a_reference_row_far_off_costs_the_others_nothing(name, size):
    X, Q = rows(kind="random"), rows(200, seed=1, kind="random")
    X[5], X[6, 3] = size, -size
    fitted = EuclideanScore(k=10, algorithm=name).fit(X, X_cal=Q)
    assert fitted.recall_check(Q) > 0.9
    near_far = X[5:7] * (1 + 1e-9)
    for a, b in zip(
        fitted.kneighbors(near_far),
        EuclideanScore(k=10).fit(X, X_cal=Q).kneighbors(near_far),
        strict=True,
    ):
        np.testing.assert_array_equal(a[:, 0], b[:, 0])


def test_the_unit_of_the_largest_rows_is_finite():
    X = np.array([[1.7e308, 0], [-1.7e308, 0], [0, 0], [1.6e308, 0]])
    distances, indices = backend("hnsw", X).search(torch.from_numpy(X), 1)
    np.testing.assert_array_equal(indices[:, 0], np.arange(4))
    np.testing.assert_array_equal(distances, 0)


@pytest.mark.parametrize("name", NAMES)
def test_k_may_be_an_integer_of_numpy(name):
    X = rows(300)
    made, Q = backend(name, X), torch.from_numpy(X[:5])
    for a, b in zip(made.search(Q, np.int64(3)), made.search(Q, 3), strict=True):
        np.testing.assert_array_equal(a, b)


# scikit-learn


@parametrize_with_checks([EuclideanScore(algorithm="hnsw"), EuclideanScore(algorithm="ivf")])
def test_scikit_learn(estimator, check):
    check(estimator)
