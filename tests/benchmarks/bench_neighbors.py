"""Exact neighbor search against scikit-learn's brute force and one bare matrix product.

All three run side by side in one process, several times in turn; a ratio compares medians, since
the machine may be noisy. Nothing is asserted.

Run:  python tests/benchmarks/bench_neighbors.py
"""

import argparse
import statistics
import time

import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors

from sklearn_seapig import EuclideanScore

SIZES = [(20_000, 64), (50_000, 512)]


def seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def run(n, d, n_queries, k, repeats):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d), dtype=np.float32)
    Q = rng.standard_normal((n_queries, d), dtype=np.float32)
    X_torch, Q_torch = torch.from_numpy(X), torch.from_numpy(Q)
    # A calibration set spares fit the leave-one-out search, which is not what is compared.
    ours = EuclideanScore(k=k).fit(X, X_cal=Q[:10])
    theirs = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(X)
    calls = {
        "bare matrix product": lambda: torch.mm(Q_torch, X_torch.T),
        "sklearn_seapig, exact": lambda: ours.kneighbors(Q),
        "scikit-learn, brute": lambda: theirs.kneighbors(Q),
    }
    for call in calls.values():
        call()
    times = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            times[name].append(seconds(call))
    medians = {name: statistics.median(values) for name, values in times.items()}
    base = medians["bare matrix product"]
    print(
        f"\n{n:,} x {d}, {n_queries:,} queries, k={k}, float32, {torch.get_num_threads()} threads"
    )
    for name, value in medians.items():
        print(f"  {name:<22} {value:8.3f} s  {value / base:5.2f} x the product")
    ours_found = ours.kneighbors(Q)[1]
    share = (ours_found == theirs.kneighbors(Q)[1]).mean()
    print(f"  the same neighbors in {share:.4%} of the places")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    for n, d in SIZES:
        run(n, d, args.queries, args.k, args.repeats)


if __name__ == "__main__":
    main()
