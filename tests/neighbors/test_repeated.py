"""Searches that a grid search would repeat are done once, and nothing else changes."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_seapig import CosineScore, EuclideanScore, MahalanobisScore, SelectiveClassifier
from sklearn_seapig.neighbors import ExactNeighbors, search_cache

SCORES = [EuclideanScore, CosineScore, MahalanobisScore]
GRID = {"k": [1, 2, 7, 20], "stat": ["max", "mean", "median"], "quantile": [0.8, 0.95]}


@pytest.fixture(autouse=True)
def empty_cache():
    search_cache.clear()
    yield
    search_cache.clear()


@pytest.fixture
def searches(monkeypatch):
    """The (k, number of queries) of every search that was really done."""
    calls, search = [], ExactNeighbors.search

    def counted(backend, Q, k, exclude=None):
        calls.append((k, len(Q)))
        return search(backend, Q, k, exclude)

    monkeypatch.setattr(ExactNeighbors, "search", counted)
    return calls


def rows(n=200, d=5, seed=0, kind="random"):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    if kind == "clustered":
        X += 1e4 * rng.choice([-1, 1], size=(n, 1))
    elif kind == "duplicated":
        X = X[rng.integers(0, n // 4, size=n)]
    elif kind == "offset":
        X += 1e6
    elif kind == "low rank":
        X = X[:, :2] @ rng.normal(size=(2, d)) + 1
    return X + 2.0 * (kind == "random")


def labels(n):
    return np.where(np.arange(n) % 7, 1, -1)


def tuned(score, **params):
    """A score that a search has set the parameters of."""
    return score.set_params(**params)


def everything(fitted, Q):
    distances, indices = fitted.kneighbors(Q)
    return [fitted.calibration_scores_, fitted.score_samples(Q), distances, indices]


def assert_same(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)  # to the last bit


@pytest.mark.parametrize("score", SCORES)
def test_a_grid_needs_one_search_for_each_fold_and_role(score, searches):
    X, y = rows(), labels(200)
    GridSearchCV(score(), GRID, cv=4, scoring="accuracy", refit=False).fit(X, y)
    assert sorted(searches) == [(40, 50)] * 4 + [(40, 150)] * 4


def test_a_k_beyond_the_room_costs_few_searches(searches):
    X = rows(500)
    for k in range(1, 101):
        tuned(EuclideanScore(), k=k).fit(X)
    assert searches == [(40, 500), (128, 500)]


def test_the_grid_inside_of_a_pipeline_and_of_a_selective_classifier(searches):
    X, y = rows(), labels(200)
    pipe = make_pipeline(StandardScaler(), EuclideanScore())
    grid = {f"euclideanscore__{name}": values for name, values in GRID.items()}
    GridSearchCV(pipe, grid, cv=3, scoring="accuracy", refit=False).fit(X, y)
    assert len(searches) == 2 * 3
    searches.clear()
    model = SelectiveClassifier(GaussianNB(), EuclideanScore(), random_state=0)
    grid = {f"confidence__{name}": values for name, values in GRID.items()}
    GridSearchCV(model, grid, cv=3, refit=False).fit(X, y)
    assert len(searches) == 2 * 3  # calibration rows and test rows


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("random", np.float32),
        ("clustered", np.float32),
        ("duplicated", np.float64),
        ("offset", np.float64),
        ("low rank", np.float64),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_results_are_those_without_the_cache_to_the_bit(score, kind, dtype, searches):
    X, Q = rows(kind=kind).astype(dtype), rows(60, seed=1, kind=kind).astype(dtype)
    Q[:5] = X[:5]
    for k, stat in [(3, "max"), (1, "mean"), (40, "median")]:
        plain = score(k=k, stat=stat)
        again = tuned(score(), k=k, stat=stat)
        assert_same(everything(plain.fit(X), Q), everything(again.fit(X), Q))
        assert_same(everything(plain.fit(X, X_cal=Q), Q), everything(again.fit(X, X_cal=Q), Q))


@pytest.mark.parametrize("score", SCORES)
def test_the_results_of_a_search_are_those_without_the_cache(score, monkeypatch):
    X, y = rows(), labels(200)

    def search():
        found = GridSearchCV(
            score(),
            GRID,
            cv=KFold(3, shuffle=True, random_state=0),
            scoring="accuracy",
            return_train_score=True,
        ).fit(X, y)
        return [found.cv_results_["mean_test_score"], found.cv_results_["mean_train_score"]]

    expected = search()
    monkeypatch.setattr(search_cache, "max_bytes", 0)
    assert_same(search(), expected)


@pytest.mark.parametrize("score", SCORES)
def test_rows_written_to_are_other_rows(score):
    # Equal memory, other content: what identity would get wrong (SP-IN-36, SP-CA-02, SP-CA-03).
    X, Q = rows(), rows(60, seed=1)
    fitted = tuned(score(), k=2).fit(X)
    fitted.score_samples(Q)
    X[150] *= 3
    Q[0] *= -3
    assert_same(everything(tuned(score(), k=2).fit(X), Q), everything(score(k=2).fit(X), Q))
    X[:] = rows(seed=5)
    fitted.fit(X)
    assert_same(everything(fitted, Q), everything(score(k=2).fit(X), Q))


@pytest.mark.parametrize("change", [np.nextafter(2.0, 3.0), -2.0])
def test_the_smallest_change_of_one_value_is_seen(change, searches):
    X = rows()
    X[77, 3] = 2.0
    tuned(EuclideanScore(), k=2).fit(X)
    X[77, 3] = change
    found = tuned(EuclideanScore(), k=2).fit(X).calibration_scores_
    assert len(searches) == 2
    np.testing.assert_array_equal(found, EuclideanScore(k=2).fit(X).calibration_scores_)


def test_equal_whitened_rows_of_other_units_are_not_confused():
    # X and 2 X have the same whitened rows; a query has not.
    X, Q = rows(), rows(60, seed=1)
    for factor in (1.0, 2.0):
        fitted = tuned(MahalanobisScore(), k=2).fit(factor * X)
        expected = MahalanobisScore(k=2).fit(factor * X)
        np.testing.assert_array_equal(fitted.score_samples(Q), expected.score_samples(Q))


def test_dtypes_and_shapes_are_told_apart(searches):
    X = np.round(rows(), 1).astype(np.float32)
    for data in (X, X.astype(np.float64), X[:, :4], X[:199], X):
        tuned(EuclideanScore(), k=2).fit(data)
    assert len(searches) == 4


def test_scores_that_nobody_tunes_keep_nothing(searches):
    X = rows()
    fitted = EuclideanScore(k=2).fit(X).set_threshold(0.9)
    fitted.score_samples(X[:50])
    clone(fitted).fit(X)
    assert searches == [(2, 200), (2, 50), (2, 200)]
    assert search_cache._kept == ()


def test_what_is_returned_is_not_what_is_kept():
    X, Q = rows(), rows(60, seed=1)
    fitted = tuned(EuclideanScore(), k=2).fit(X)
    distances, indices = fitted.kneighbors(Q)
    expected = distances.copy(), indices.copy()
    distances[:], indices[:] = 0, 0
    assert_same(fitted.kneighbors(Q), expected)
    # Scores only read what the cache hands out, and what is kept cannot be written to.
    (kept,) = search_cache._kept
    assert kept.searches
    assert not any(found[0].flags.writeable for _, _, found in kept.searches)


def test_a_score_that_was_pickled_or_refitted_has_no_part_in_the_cache(searches):
    X, Q = rows(), rows(60, seed=1)
    fitted = tuned(EuclideanScore(), k=2).fit(X)
    other = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(other.score_samples(Q), fitted.score_samples(Q))
    fitted.fit(rows(seed=3)).fit(X)
    np.testing.assert_array_equal(other.score_samples(Q), fitted.score_samples(Q))


def test_memory_is_bounded_and_zero_is_off(searches, monkeypatch):
    X = rows(1000, 20)
    monkeypatch.setattr(search_cache, "max_bytes", 10**6)
    for seed in range(6):
        tuned(EuclideanScore(), k=2).fit(X + seed).score_samples(X[:300])
        assert 0 < sum(kept.nbytes for kept in search_cache._kept) <= 10**6
    searches.clear()
    monkeypatch.setattr(search_cache, "max_bytes", 0)
    for _ in range(2):
        tuned(EuclideanScore(), k=2).fit(X)
    assert search_cache._kept == ()
    assert len(searches) == 2


def test_scoring_leaves_the_score_as_it_was():
    X = rows()
    fitted = tuned(EuclideanScore(), k=2).fit(X)
    before = pickle.dumps(fitted)
    fitted.score_samples(rows(60, seed=1))
    fitted.predict(X)
    assert pickle.dumps(fitted) == before


def test_parallel_workers_and_threads_find_the_same():
    X, y = rows(), labels(200)
    grid = {"k": [1, 4], "stat": ["max", "mean"]}
    results = []
    for n_jobs in (None, 2):
        search = GridSearchCV(EuclideanScore(), grid, cv=3, scoring="accuracy", n_jobs=n_jobs)
        results.append(search.fit(X, y).cv_results_["mean_test_score"])
    np.testing.assert_array_equal(*results)

    # SP-CC-01
    sets = [rows(seed=seed) for seed in range(3)]
    expected = [EuclideanScore(k=2).fit(Z).score_samples(X) for Z in sets]

    def work(i):
        return tuned(EuclideanScore(), k=2).fit(sets[i % 3]).score_samples(X)

    with ThreadPoolExecutor(8) as pool:
        for i, found in enumerate(pool.map(work, range(30))):
            np.testing.assert_array_equal(found, expected[i % 3])


ROWS = """
import sys
import numpy as np
from sklearn_seapig import EuclideanScore
path, dtype = sys.argv[1:]
X = np.random.default_rng(0).standard_normal((10_000, 1024), dtype=np.float32).astype(dtype)
np.save(path, X)
X = np.load(path, mmap_mode="r") if dtype == "float16" else X
EuclideanScore().fit(X[:100])
"""


@pytest.mark.parametrize(("dtype", "kept"), [("float16", 40), ("float64", 80)])
def test_memory_beyond_the_data(dtype, kept, tmp_path, peak_of):
    # The reference rows are kept once, `kept` MiB; calibration rows are the user's data, 46 MiB
    # at most, and a memory map comes with its own pages.
    data = kept + 46 + 20
    fit = "EuclideanScore().fit(X, X_cal=X[:6000] + np.ones(1, dtype))"
    assert 0.9 * kept < peak_of(ROWS, fit, str(tmp_path / "X.npy"), dtype) < data + 200


def test_queries_written_to_afterwards_are_other_queries():
    X, Q = rows(), rows(40, seed=1)
    score = EuclideanScore().set_params(k=3).fit(X, X_cal=rows(50, seed=2))
    score.score_samples(Q)
    Q[:] += 1
    plain = EuclideanScore(k=3).fit(X, X_cal=rows(50, seed=2))
    np.testing.assert_array_equal(score.score_samples(Q), plain.score_samples(Q))


@pytest.mark.parametrize("order", [SCORES, SCORES[::-1]])
def test_scores_of_other_kinds_do_not_share_neighbors(order):
    X, Q = rows(), rows(40, seed=1)
    for cls in (*order, *order):
        tuned = cls().set_params(k=3).fit(X, X_cal=rows(50, seed=2))
        plain = cls(k=3).fit(X, X_cal=rows(50, seed=2))
        np.testing.assert_array_equal(tuned.score_samples(Q), plain.score_samples(Q))


def test_a_service_of_many_small_batches_does_not_grow(searches):
    score = EuclideanScore().set_params(k=3).fit(rows(), X_cal=rows(50, seed=2))
    for seed in range(20):
        score.score_samples(rows(3, seed=seed))
    (kept,) = search_cache._kept
    assert len(kept.searches) <= 4


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("algorithm", ["exact", "hnsw", "ivf"])
def test_grids_over_numpy_integers(score, algorithm):
    X, Q = rows(300), rows(40, seed=1)
    for k in (*np.array([1, 60], dtype=np.int64), np.int8(100), np.uint16(3)):
        tuned = score(algorithm=algorithm).set_params(k=k).fit(X, X_cal=Q)
        plain = score(int(k), algorithm=algorithm).fit(X, X_cal=Q)
        np.testing.assert_array_equal(tuned.score_samples(Q), plain.score_samples(Q))
        distances, _ = plain.kneighbors(Q, k=np.int64(2))
        assert distances.shape == (40, 2)
