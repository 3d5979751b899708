"""A grid search over k, stat and quantile against one candidate and an estimator that does nothing.

What scikit-learn itself costs (splitting, cloning, scoring) is measured with the latter, on the
same grid. Neighbor searches are counted: one for each fold's reference rows and one for its test
rows are needed. Nothing is asserted.

Run:  python tests/benchmarks/bench_search_cache.py
"""

import argparse
import statistics
import time

import numpy as np
import torch
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.model_selection import GridSearchCV

from sklearn_seapig import EuclideanScore
from sklearn_seapig.neighbors import ExactNeighbors, search_cache

STATS = ["max", "mean", "median"]
QUANTILES = [0.8, 0.9, 0.95, 0.98, 0.99]


class Nothing(OutlierMixin, BaseEstimator):
    """Accepts everything."""

    def __init__(self, k=5, stat="max", quantile=0.99):
        self.k = k
        self.stat = stat
        self.quantile = quantile

    def fit(self, X, y=None):
        return self

    def predict(self, X):
        return np.ones(len(X), dtype=int)


class Counter:
    """Stands in for `ExactNeighbors.search` and counts the queries by the k asked for."""

    def __init__(self):
        self.calls, self.search = [], ExactNeighbors.search

    def __enter__(self):
        def counted(backend, Q, k, exclude=None):
            self.calls.append((k, len(Q)))
            return self.search(backend, Q, k, exclude)

        ExactNeighbors.search = counted
        return self

    def __exit__(self, *error):
        ExactNeighbors.search = self.search


def seconds(estimator, grid, X, y, max_bytes=search_cache.max_bytes):
    search_cache.clear()
    search_cache.max_bytes = max_bytes
    search = GridSearchCV(estimator, grid, cv=5, scoring="accuracy", refit=False)
    with Counter() as counter:
        start = time.perf_counter()
        search.fit(X, y)
        return time.perf_counter() - start, counter.calls


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--features", type=int, default=256)
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"])
    parser.add_argument("--largest-k", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    X = rng.standard_normal((args.rows, args.features)).astype(args.dtype)
    y = rng.choice([1, -1], size=args.rows, p=[0.9, 0.1])
    ks = [int(k) for k in np.linspace(1, args.largest_k, 20)]
    grid = {"k": ks, "stat": STATS, "quantile": QUANTILES}
    one = {name: values[-1:] for name, values in grid.items()}
    print(
        f"{args.rows:,} x {args.features} {args.dtype}, k up to {args.largest_k}, 5 folds, "
        f"{torch.get_num_threads()} threads; medians of {args.repeats} runs in turn"
    )
    calls = {}
    seconds(
        EuclideanScore(), {name: values[:1] for name, values in grid.items()}, X[:2000], y[:2000]
    )
    runs = {
        "300 candidates, nothing": (Nothing(), grid, search_cache.max_bytes),
        "1 candidate, nothing kept": (EuclideanScore(), one, 0),
        "1 candidate": (EuclideanScore(), one, search_cache.max_bytes),
        "300 candidates": (EuclideanScore(), grid, search_cache.max_bytes),
    }
    times = {name: [] for name in runs}
    for _ in range(args.repeats):
        for name, (estimator, some, max_bytes) in runs.items():
            spent, calls[name] = seconds(estimator, some, X, y, max_bytes)
            times[name].append(spent)
    base, single, _, total = (statistics.median(spent) for spent in times.values())
    for name, spent in times.items():
        count = f"{len(calls[name])} searches {sorted(set(calls[name]))}"
        print(f"  {name:<26} {statistics.median(spent):8.2f} s  {count}")
    print(f"  (300 - nothing) / 1 candidate, nothing kept = {(total - base) / single:.2f}")


if __name__ == "__main__":
    main()
