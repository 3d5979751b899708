"""Threads, workers, forks and the end of the process; the ids are fault cases of a test."""

import multiprocessing
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from sklearn_seapig import (
    CosineScore,
    EnergyScore,
    EntropyScore,
    EuclideanScore,
    GaussianScore,
    MahalanobisScore,
    MarginScore,
    MaxLogitScore,
    PCAScore,
    QuantileThreshold,
    RandomScore,
    SelectiveClassifier,
    SoftmaxScore,
    TemperatureScaler,
)

N_THREADS, N_CALLS = 8, 5  # 40 calls

ESTIMATORS = {
    "EuclideanScore": EuclideanScore(quantile=0.8),
    "CosineScore": CosineScore(quantile=0.8),
    "MahalanobisScore": MahalanobisScore(quantile=0.8),
    "GaussianScore": GaussianScore(quantile=0.8),
    "PCAScore": PCAScore(n_components=3, quantile=0.8),
    "Fourier": PCAScore(n_components=3, gamma=0.1, n_features=50, random_state=0),
    "RandomScore": RandomScore(random_state=0, quantile=0.8),
    "SoftmaxScore": SoftmaxScore(quantile=0.8),
    "EntropyScore": EntropyScore(quantile=0.8),
    "MarginScore": MarginScore(quantile=0.8),
    "EnergyScore": EnergyScore(temperature="fit", quantile=0.8),
    "MaxLogitScore": MaxLogitScore(quantile=0.8),
    "TemperatureScaler": TemperatureScaler(),
    "Pipeline": make_pipeline(PCA(4), EuclideanScore(quantile=0.8)),
    "softmax response": SelectiveClassifier(LogisticRegression(), random_state=0),
    "distances": SelectiveClassifier(
        LogisticRegression(), MahalanobisScore(), QuantileThreshold(0.8), random_state=0
    ),
    "outputs": SelectiveClassifier(
        LogisticRegression(),
        EnergyScore(),
        response_method="decision_function",
        random_state=0,
    ),
}
if find_spec("pyod"):
    from sklearn_seapig import PyODScore

    ESTIMATORS["PyODScore"] = PyODScore(quantile=0.8)  # PY-17


def some_rows(seed, n=400):
    random = np.random.default_rng(seed)
    y = np.repeat(np.arange(8), n // 8)
    return random.normal(size=(n, 8)) + 2 * np.eye(8)[y], y


X, Y = some_rows(0)
QUERIES = [some_rows(seed, 8 * (seed + 1))[0] for seed in range(1, 9)]  # another size each


@pytest.fixture(scope="module")
def everything():
    return {name: clone(estimator).fit(X, Y) for name, estimator in ESTIMATORS.items()}


def answers(estimator, rows):
    if isinstance(estimator, TemperatureScaler):
        return (estimator.transform(rows),)
    if hasattr(estimator, "select"):
        return (*estimator.select(rows).values(), estimator.predict(rows))
    return estimator.score_samples(rows), estimator.predict(rows)


def assert_same(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_eight_threads_get_what_one_gets(everything, name):  # SP-CC-01, PY-17, SK-10
    estimator = everything[name]
    expected = [answers(estimator, rows) for rows in QUERIES]
    together = threading.Barrier(N_THREADS)

    def work(i):
        together.wait()
        order = [(i + j) % len(QUERIES) for j in range(N_CALLS)]
        return [(j, answers(estimator, QUERIES[j])) for j in order]

    with ThreadPoolExecutor(N_THREADS) as pool:
        for found in pool.map(work, range(N_THREADS)):
            for j, answer in found:
                assert_same(answer, expected[j])


# The k-d tree of scikit-learn, on which PyOD builds, counts its queries.
@pytest.mark.parametrize("name", [name for name in ESTIMATORS if name != "PyODScore"])
def test_a_query_leaves_no_trace(everything, name):  # SP-CC-06
    estimator = everything[name]
    before = joblib.hash(estimator)
    for rows in QUERIES:
        answers(estimator, rows)
    assert joblib.hash(estimator) == before


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_joblib_workers_get_what_one_gets(everything, backend):  # SP-CC-03
    names = ("transform", "score_samples", "predict", "select")
    methods = [
        getattr(estimator, name)  # a worker could not import a function of this module
        for estimator in everything.values()
        for name in names
        if hasattr(estimator, name)
    ]
    found = joblib.Parallel(n_jobs=2, backend=backend)(
        joblib.delayed(method)(QUERIES[-1]) for method in methods
    )
    for method, answer in zip(methods, found, strict=True):
        expected = method(QUERIES[-1])
        if isinstance(expected, dict):
            assert_same(answer.values(), expected.values())
        else:
            np.testing.assert_array_equal(answer, expected)


@pytest.mark.parametrize("name", ["EuclideanScore", "EnergyScore", "distances"])
def test_who_scores_during_a_refit_gets_the_old_or_the_new_model(name):  # SP-CC-05
    data = [some_rows(0, 160), some_rows(99, 80)]
    rows = QUERIES[0]
    possible = [answers_of_one_state(clone(ESTIMATORS[name]).fit(*d), rows) for d in data]
    assert not np.array_equal(possible[0], possible[1])
    model = clone(ESTIMATORS[name]).fit(*data[0])
    done = threading.Event()

    def score():
        seen = []
        while not done.is_set():
            seen.append(answers_of_one_state(model, rows))
        return seen

    with ThreadPoolExecutor(2) as pool:
        watchers = [pool.submit(score) for _ in range(2)]
        try:
            for i in range(4):
                model.fit(*data[(i + 1) % 2])
        finally:
            done.set()
        for watcher in watchers:
            for found in watcher.result():
                assert any(np.array_equal(found, one) for one in possible)


def answers_of_one_state(model, rows):
    """Return scores and decisions of one call, which must not be of two models."""
    selection = model.select(rows)
    return np.stack([selection.score, selection.selected])


ALONE = """
import multiprocessing, threading, warnings
from concurrent.futures import ThreadPoolExecutor
import numpy as np, torch
from sklearn_seapig import (
    CosineScore, EuclideanScore, GaussianScore, MahalanobisScore, PCAScore, SoftmaxScore,
    TorchEmbedder,
)

random = np.random.default_rng(0)
X, y = random.normal(size=(1200, 32)), np.arange(1200) % 32
half = torch.randn(1200, 32, dtype=torch.bfloat16)
estimators = [
    EuclideanScore(), CosineScore(), MahalanobisScore(), GaussianScore(), PCAScore(4),
    PCAScore(4, gamma=0.1, n_features=64), SoftmaxScore(),
]
estimators = [estimator.fit(X, y, X_cal=X[:200] + 0.1) for estimator in estimators]
embedder = TorchEmbedder(torch.nn.Sequential(torch.nn.Linear(32, 64), torch.nn.ReLU()), "forward")

def answers():
    scores = [estimator.score_samples(X) for estimator in estimators]
    return [*scores, estimators[0].score_samples(half), embedder.transform(X).sum(axis=1)]

expected = answers()
threads = torch.get_num_threads()
warnings.simplefilter("ignore")  # Python 3.12 warns of forks of processes with threads
context = multiprocessing.get_context("fork")
results = context.Queue()
process = context.Process(target=lambda: results.put(answers()), daemon=True)
process.start()
found = results.get(timeout=60)
process.join(60)
for a, b in zip(expected[:-1], found[:-1], strict=True):
    assert np.array_equal(a, b)
np.testing.assert_allclose(expected[-1], found[-1], rtol=1e-6)
assert torch.get_num_threads() == threads == 2
print("forked", process.exitcode, flush=True)

begun = threading.Barrier(7)

def work(estimator):
    begun.wait()
    estimator.predict(X)
    print("done", flush=True)

pool = ThreadPoolExecutor(3)
for estimator in estimators[:3]:
    threading.Thread(target=work, args=(estimator,)).start()
    pool.submit(work, estimator)
begun.wait()
"""


@pytest.fixture(scope="module")
def alone():
    """What a process says that scores, forks, scores in threads and ends while they do."""
    return subprocess.run(
        [sys.executable, "-c", ALONE],
        env={**os.environ, "OMP_NUM_THREADS": "2"},
        timeout=180,
        capture_output=True,
        text=True,
    )


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system"
)
class TestProcessOfItsOwn:
    def test_a_forked_child_scores_as_its_parent_did(self, alone):  # SP-CC-07
        assert alone.stdout.startswith("forked 0\n"), alone.stderr

    def test_threads_that_score_finish_before_the_process_ends(self, alone):
        assert alone.stdout.count("done") == 6
        assert (alone.returncode, alone.stderr) == (0, "")
