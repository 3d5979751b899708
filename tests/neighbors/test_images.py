"""Scores and backends whose exact search goes by images: the same results, from any state."""

import copy
import pickle

import numpy as np
import pytest
import torch

from sklearn_seapig import CosineScore, EuclideanScore, MahalanobisScore, load, save
from sklearn_seapig.kernels import images, projected
from sklearn_seapig.neighbors import ExactNeighbors, search_cache

NAMES = {"axes", "short", "more"}


@pytest.fixture
def few_rows(monkeypatch):
    """Let images be made for few rows already."""
    monkeypatch.setattr(images, "LEAST_ROWS", 3000)
    monkeypatch.setattr(projected, "ROWS_PER_K", 100)


@pytest.fixture
def searches(monkeypatch):
    calls, search = [], projected._search

    def counted(rows, *args):
        found = search(rows, *args)
        calls.append((len(rows), len(found[0])))
        return found

    monkeypatch.setattr(projected, "_search", counted)
    return calls


def rows(n=3200, seed=0, dtype=np.float32):
    X = np.random.default_rng(seed).normal(size=(n, 256)) * np.arange(1, 257) ** -0.9
    return (X + 1).astype(dtype)


def results(fitted, Q):
    return [fitted.score_samples(Q), fitted.calibration_scores_, *fitted.kneighbors(Q)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("score", [EuclideanScore, CosineScore])
@pytest.mark.parametrize("fresh", [True, False])
def test_scores_are_those_of_the_plain_search(score, dtype, fresh, few_rows, searches, monkeypatch):
    X, Q = rows(dtype=dtype), rows(100, seed=1, dtype=dtype)
    cal = {"X_cal": rows(200, seed=2, dtype=dtype)} if fresh else {}
    fitted = score(k=3).fit(X, **cal)
    assert fitted._index_.keys() >= NAMES
    found = results(fitted, Q)
    assert searches.count((100, 100)) == 2  # score_samples and kneighbors
    monkeypatch.setattr(images, "LEAST_ROWS", 10**9)
    plain = score(k=3).fit(X, **cal)
    assert not plain._index_.keys() & NAMES
    for a, b in zip(found, results(plain, Q), strict=True):
        np.testing.assert_array_equal(a, b)  # to the last bit


def test_whitened_rows_have_no_steep_spectrum(few_rows):
    assert not MahalanobisScore().fit(rows(), X_cal=rows(50, seed=1))._index_.keys() & NAMES


def test_the_state_is_arrays_and_comes_back(few_rows, searches, tmp_path):
    # SP-PS-04, SP-PS-09
    pytest.importorskip("skops")
    X, Q = rows(), rows(40, seed=1)
    fitted = EuclideanScore(k=3).fit(X, X_cal=Q)
    expected = results(fitted, Q)
    assert all(value is None or type(value) is np.ndarray for value in fitted._index_.values())
    assert len(pickle.dumps(fitted)) < 1.35 * X.nbytes  # 0.04 of it for the axes at so few rows
    save(fitted, tmp_path / "score.skops")
    for other in (
        pickle.loads(pickle.dumps(fitted)),
        copy.deepcopy(fitted),
        load(tmp_path / "score.skops"),
    ):
        searches.clear()
        for a, b in zip(results(other, Q), expected, strict=True):
            np.testing.assert_array_equal(a, b)
        assert searches == [(40, 40)] * 2


def test_a_state_without_images_and_a_read_only_one(few_rows, searches):
    X, Q = rows(), torch.from_numpy(rows(40, seed=1))
    backend = ExactNeighbors().add(X)
    expected = backend.search(Q, 5)
    state = backend.state()
    older = {name: state[name] for name in ("X", "scale", "center")}
    frozen = copy.deepcopy(state)
    for name in NAMES | {"X", "center"}:
        frozen[name].flags.writeable = False
    searches.clear()
    for other, n_searches in ((older, 0), (frozen, 1)):
        found = ExactNeighbors.from_state(other).search(Q, 5)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a, b)
        assert len(searches) == n_searches


def test_the_cache_of_searches_keeps_images_and_counts_them(few_rows):
    search_cache.clear()
    X, Q = rows(), rows(50, seed=1)
    first = EuclideanScore().set_params(k=2).fit(X, X_cal=Q)
    again = EuclideanScore().set_params(k=3).fit(X, X_cal=Q)
    assert again._index_["short"] is first._index_["short"]
    assert sum(kept.nbytes for kept in search_cache._kept) > 1.25 * X.nbytes
    search_cache.clear()


ROWS = """
import numpy as np, torch
from sklearn_seapig.neighbors import ExactNeighbors
rng = np.random.default_rng(0)
scale = np.arange(1, 257, dtype=np.float32) ** -0.9
X = rng.standard_normal((100_000, 256), dtype=np.float32)
X *= scale
Q = torch.from_numpy(rng.standard_normal((600, 256), dtype=np.float32) * scale)
torch.ones(300, 300) @ torch.ones(300, 300)
"""
SEARCH = """
backend = ExactNeighbors().add(X)
assert backend.images
backend.search(Q, 5)
"""


def test_memory_beyond_the_data_is_bounded(peak_of):
    assert peak_of(ROWS, SEARCH) < 25 + 256  # MiB: the images, and what a search may take
