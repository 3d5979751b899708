"""Score millions of rows in batches and watch memory and time: a service must not grow.

A Pipeline that ends in a score and a SelectiveClassifier judge batch after batch of fresh rows, in
one process. After each tenth of the way the script prints the time per row (the median of its
batches) and the memory of the process, and in the end how both have changed. It exits with 1 if the
memory has grown.

    python tests/benchmarks/soak.py                    # 10 million rows
    python tests/benchmarks/soak.py --rows 1000000
"""

import argparse
import ctypes
import gc
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_seapig import CosineScore, EuclideanScore, QuantileThreshold, SelectiveClassifier

D = 32
N_FIT = 2000
STAGES = 10


def memory():
    """Return the memory of this process in MiB, without what it can give back at once."""
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def rows(n, seed):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, size=n)
    return rng.normal(size=(n, D)) + 2.0 * y[:, None], y


def services():
    """Return what is called with every batch, by name."""
    X, y = rows(N_FIT, seed=0)
    pipeline = make_pipeline(StandardScaler(), EuclideanScore(quantile=0.95)).fit(X)
    model = SelectiveClassifier(
        make_pipeline(StandardScaler(), LogisticRegression()),
        make_pipeline(StandardScaler(), CosineScore()),
        QuantileThreshold(0.9),
        random_state=0,
    ).fit(X, y)
    return {"Pipeline.predict": pipeline.predict, "SelectiveClassifier.select": model.select}


def stage(calls, n_rows, batch_size, first_seed):
    """Judge some rows and return the median of the seconds of a batch, by service."""
    seconds = {name: [] for name in calls}
    for seed in range(first_seed, first_seed + n_rows // batch_size):
        X, _ = rows(batch_size, seed)
        for name, call in calls.items():
            start = time.perf_counter()
            call(X)
            seconds[name].append(time.perf_counter() - start)
    return {name: np.median(times) for name, times in seconds.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--batch-size", type=int, default=10_000)
    parser.add_argument("--growth", type=float, default=5.0, help="MiB that are still called flat")
    options = parser.parse_args()
    n_stage = options.rows // STAGES // options.batch_size * options.batch_size
    if n_stage == 0:
        parser.error("--rows must be at least ten batches")
    torch.set_num_threads(1)  # times of one thread compare better
    calls = services()
    print(f"{'rows':>12}" + "".join(f"{name + ' us/row':>36}" for name in calls) + f"{'MiB':>8}")
    history = []
    for i in range(STAGES):
        seconds = stage(calls, n_stage, options.batch_size, 1 + i * (n_stage // options.batch_size))
        per_row = [1e6 * seconds[name] / options.batch_size for name in calls]
        history.append([*per_row, memory()])
        times = "".join(f"{value:>36.3f}" for value in per_row)
        print(f"{(i + 1) * n_stage:>12,}{times}{history[-1][-1]:>8.1f}", flush=True)
    half = STAGES // 2
    first, second = np.median(history[1 : half + 1], axis=0), np.median(history[half:], axis=0)
    growth = second[-1] - first[-1]
    print(f"memory, second half - first half: {growth:+.1f} MiB")
    for name, ratio in zip(calls, second[:-1] / first[:-1], strict=True):
        print(f"{name}, second half / first half: {ratio:.2f}")
    sys.exit(int(growth > options.growth))


if __name__ == "__main__":
    main()
