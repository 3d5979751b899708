"""All speed benchmarks in one run, written to docs/benchmarks.md with the machine described.

The table of searches is measured here: every system in turn in one process, medians of several
runs. The other tables are the output of their scripts. What the page says below its marker is
written by hand and kept.

Run on an idle machine:  python tests/benchmarks/run.py
"""

import argparse
import datetime
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import faiss
import numpy as np
import pyod
import sklearn
import torch
from pyod.models.knn import KNN
from sklearn.neighbors import NearestNeighbors

import sklearn_seapig
from sklearn_seapig import EuclideanScore

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "benchmarks.md"
MARKER = "<!-- written by hand from here on -->"
PRODUCT = "one bare matrix product"
ALLOCATED = "the same into new memory"
SIZES = [(20_000, 64), (50_000, 512)]
STEEP = ["--image-sizes", "200000", "--queries", "1000", "--repeats", "3"]
MOST_OF_PYOD = 2_000_000  # numbers; its fit scores every row by a tree
SCRIPTS = [
    ("Steep spectra", ["bench_neighbors.py", "--images", *STEEP]),
    ("A grid search over k, stat and quantile", ["bench_search_cache.py"]),
    ("The same in float64", ["bench_search_cache.py", "--dtype", "float64"]),
    ("Logit scores and PCA", ["bench_scores.py"]),
    ("Metrics", ["bench_metrics.py"]),
    ("Lightning", ["bench_lightning.py"]),
]
IMPORTS = {
    "nothing": "pass",
    "sklearn_seapig": "import sklearn_seapig",
    "sklearn.base and torch": "import sklearn.base, torch",
    "EuclideanScore": "from sklearn_seapig import EuclideanScore",
}


def seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def systems(X, k):
    """Return for each system how it is fitted, which returns how it searches."""

    def own(algorithm):
        # A calibration set spares fit the leave-one-out search, which the others do not make.
        return EuclideanScore(k=k, algorithm=algorithm).fit(X, X_cal=X[:10] + 1).kneighbors

    def of_faiss(index):
        index.add(X)
        return lambda Q: index.search(Q, k)

    brute = NearestNeighbors(n_neighbors=k, algorithm="brute")
    return {
        "sklearn_seapig, exact": lambda: own("exact"),
        "sklearn_seapig, hnsw": lambda: own("hnsw"),
        "sklearn_seapig, ivf": lambda: own("ivf"),
        "scikit-learn, brute force": lambda: brute.fit(X).kneighbors,
        "faiss, flat": lambda: of_faiss(faiss.IndexFlatL2(X.shape[1])),
        "faiss, HNSW": lambda: of_faiss(hnsw(X.shape[1])),
        "PyOD, KNN": lambda: KNN(n_neighbors=k).fit(X).decision_function,
    }


def hnsw(d):
    index = faiss.IndexHNSWFlat(d, 32)
    index.hnsw.efConstruction, index.hnsw.efSearch = 100, 128
    return index


def search_table(n, d, n_queries, k, repeats, skip):
    """Yield the lines of a table of fit and search times."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d), dtype=np.float32)
    Q = rng.standard_normal((n_queries, d), dtype=np.float32)
    X_torch, Q_torch = torch.from_numpy(X), torch.from_numpy(Q)
    out = torch.empty(n_queries, n)
    fits = {}
    calls = {
        PRODUCT: lambda: torch.mm(Q_torch, X_torch.T, out=out),
        ALLOCATED: lambda: torch.mm(Q_torch, X_torch.T),
    }
    for name, fit in systems(X, k).items():
        if name not in skip and (name != "PyOD, KNN" or n * d <= MOST_OF_PYOD):
            start = time.perf_counter()
            search = fit()
            fits[name] = time.perf_counter() - start
            calls[name] = lambda search=search: search(Q)
    found = {name: call() for name, call in calls.items()}  # which warms up, too
    times = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            times[name].append(seconds(call))
    base, allocated = (statistics.median(times[name]) for name in (PRODUCT, ALLOCATED))
    true = found["sklearn_seapig, exact"][1]
    yield f"{n:,} x {d}, {n_queries:,} queries, k = {k}, float32:"
    yield ""
    yield "| system | fit, s | queries, s | x the product | x with allocation | neighbors found |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: |"
    for name, values in times.items():
        median = statistics.median(values)
        recall = ""
        if isinstance(found[name], tuple):
            pairs = zip(found[name][1], true, strict=True)
            recall = f"{np.mean([np.isin(a, b).mean() for a, b in pairs]):.2%}"
        fit = f"{fits[name]:.2f}" if name in fits else ""
        ratios = f"{median / base:.2f} | {median / allocated:.2f}"
        yield f"| {name} | {fit} | {median:.3f} | {ratios} | {recall} |"
    yield ""


def import_table(repeats):
    """Yield the lines of a table of what imports cost."""
    times = {name: [] for name in IMPORTS}
    for _ in range(repeats):
        for name, code in IMPORTS.items():
            before = os.times()
            subprocess.run([sys.executable, "-c", code], check=True)
            after = os.times()
            spent = after.children_user + after.children_system
            times[name].append(spent - before.children_user - before.children_system)
    yield "| import | CPU, s |"
    yield "| --- | ---: |"
    for name, values in times.items():
        yield f"| {name} | {statistics.median(values):.2f} |"
    yield ""


def machine():
    """Return what the numbers depend on."""
    cpu = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text().splitlines()
        cpu = next((x.partition(":")[2].strip() for x in lines if x.startswith("model name")), cpu)
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{cpu}, {os.cpu_count()} cores, {gib:.0f} GiB; Python {platform.python_version()}, "
        f"torch {torch.__version__} with {torch.get_num_threads()} threads, scikit-learn "
        f"{sklearn.__version__}, faiss {faiss.__version__}, PyOD {pyod.__version__}, "
        f"sklearn_seapig {sklearn_seapig.__version__}."
    )


def report(args):
    """Yield the lines of the page."""
    yield "# Benchmarks"
    yield ""
    yield (
        "Written by `python tests/benchmarks/run.py`; medians of several runs, all systems in turn "
        "in one process. Compare ratios, not seconds."
    )
    yield ""
    yield f"{datetime.datetime.now(datetime.UTC).date().isoformat()}. {machine()}"
    yield ""
    yield "## Neighbor search"
    yield ""
    yield (
        "Random normal rows, the hardest case for every approximation. HNSW with 32 links, width "
        "100 when built and 128 when searched. Fit times are of one run; PyOD's includes scores of "
        "all rows, by a tree, which takes too long at the larger size. Ratios are to the product "
        "into memory that is there already, and to `torch.mm(Q, X.T)` as it stands, which asks for "
        "memory each time."
    )
    yield ""
    for n, d in SIZES:
        yield from search_table(n, d, args.queries, args.k, args.repeats, args.skip)
    yield "## Imports"
    yield ""
    yield from import_table(args.repeats)
    for title, command in SCRIPTS:
        yield f"## {title}"
        yield ""
        yield f"`python tests/benchmarks/{' '.join(command)}`"
        yield ""
        path = [sys.executable, str(HERE / command[0]), *command[1:]]
        done = subprocess.run(path, check=True, capture_output=True, text=True)
        yield f"```\n{done.stdout.strip()}\n```"
        yield ""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--skip", nargs="*", default=[], help="systems to leave out")
    args = parser.parse_args()
    lines = []
    for line in report(args):
        print(line, flush=True)
        lines.append(line)
    kept = PAGE.read_text().partition(MARKER)[2] if PAGE.exists() else "\n"
    PAGE.write_text("\n".join(lines) + f"\n{MARKER}{kept}")


if __name__ == "__main__":
    main()
