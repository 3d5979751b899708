"""Exact neighbor search against scikit-learn's brute force and one bare matrix product.

All three run side by side in one process, several times in turn; a ratio compares medians, since
the machine may be noisy. Nothing is asserted.

With --images it is the search by images, on rows with the spectrum of embeddings and on rows that
have none, against the plain exact search that it replaces.

Run:  python tests/benchmarks/bench_neighbors.py [--images]
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors

from sklearn_seapig import EuclideanScore
from sklearn_seapig.neighbors import ExactNeighbors

SIZES = [(20_000, 64), (50_000, 512)]
IMAGE_SIZES = [100_000, 200_000, 500_000]
EMBEDDINGS = "resnet18_cifar10_svhn.npz"


def seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure(calls, repeats):
    """Return the median seconds of each call, run in turn."""
    for call in calls.values():
        call()
    times = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            times[name].append(seconds(call))
    return {name: statistics.median(values) for name, values in times.items()}


def run(n, d, n_queries, k, repeats):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d), dtype=np.float32)
    Q = rng.standard_normal((n_queries, d), dtype=np.float32)
    X_torch, Q_torch = torch.from_numpy(X), torch.from_numpy(Q)
    # A calibration set spares fit the leave-one-out search, which is not what is compared.
    ours = EuclideanScore(k=k).fit(X, X_cal=Q[:10])
    theirs = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(X)
    out = torch.empty(n_queries, n)
    calls = {
        "bare matrix product": lambda: torch.mm(Q_torch, X_torch.T, out=out),
        "sklearn_seapig, exact": lambda: ours.kneighbors(Q),
        "scikit-learn, brute": lambda: theirs.kneighbors(Q),
    }
    medians = measure(calls, repeats)
    base = medians["bare matrix product"]
    print(
        f"\n{n:,} x {d}, {n_queries:,} queries, k={k}, float32, {torch.get_num_threads()} threads"
    )
    for name, value in medians.items():
        print(f"  {name:<22} {value:8.3f} s  {value / base:5.2f} x the product")
    ours_found = ours.kneighbors(Q)[1]
    share = (ours_found == theirs.kneighbors(Q)[1]).mean()
    print(f"  the same neighbors in {share:.4%} of the places")


def draw(kind, n, d=512):
    """Return Gaussian rows, n of them and 2,000 queries, some with a spectrum like embeddings."""
    rng = np.random.default_rng(0)
    shape = rng.standard_normal((d, d)) if kind == "power law" else None
    path = Path(__file__).resolve().parents[3] / "shared" / "data" / EMBEDDINGS
    if kind == "embeddings":
        if not path.exists():
            return None
        shape = np.linalg.cholesky(np.cov(np.load(path)["X"], rowvar=False) + 1e-6 * np.eye(d))
    elif shape is not None:
        shape = np.linalg.qr(shape)[0] * np.arange(1, d + 1) ** -0.9
    rows = rng.standard_normal((n + 2000, d), dtype=np.float32)
    if shape is not None:
        for start in range(0, len(rows), 10_000):
            some = slice(start, start + 10_000)
            rows[some] = rows[some] @ shape.T.astype(np.float32)
    return rows[:-2000], rows[-2000:]


def run_images(kind, n, n_queries, k, repeats):
    drawn = draw(kind, n)
    if drawn is None:
        print(f"  {kind:<12} {n:>9,}  left out: no {EMBEDDINGS} beside the repository")
        return
    X, Q = drawn[0], torch.from_numpy(drawn[1][:n_queries])
    start = time.perf_counter()
    ours = ExactNeighbors().add(X)
    fit = time.perf_counter() - start
    plain = ExactNeighbors.from_state(
        {name: ours.state()[name] for name in ("X", "scale", "center")}
    )
    far = 3 * torch.randn(Q.shape, generator=torch.Generator().manual_seed(0)) * Q.std()
    X_torch, out = torch.from_numpy(X), torch.empty(len(Q), len(X))
    times = measure(
        {
            "bare": lambda: torch.mm(Q, X_torch.T, out=out),
            "plain": lambda: plain.search(Q, k),
            "images": lambda: ours.search(Q, k),
            "plain far": lambda: plain.search(far, k),
            "images far": lambda: ours.search(far, k),
        },
        repeats,
    )
    found, expected = ours.search(Q, k), plain.search(Q, k)
    same = all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    print(
        f"  {kind:<12} {n:>9,}  {'yes' if ours.images else 'no':<6} {fit:7.2f} {times['bare']:7.2f}"
        f" {times['plain'] / times['bare']:7.2f} {times['images'] / times['bare']:7.2f}"
        f" {times['plain'] / times['images']:7.2f} {times['plain far'] / times['images far']:7.2f}"
        f"  {'yes' if same else 'NO'}"
    )


def main_images(args):
    print(f"d=512, {args.queries:,} queries, k={args.k}, {torch.get_num_threads()} threads")
    print("seconds of fit and of the product; multiples of the product; plain / in use")
    print("  rows                 n  chosen     fit product   plain  in use  faster     far  same")
    for kind in ("embeddings", "power law", "isotropic"):
        for n in args.image_sizes:
            run_images(kind, n, args.queries, args.k, args.repeats)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--images", action="store_true")
    parser.add_argument("--image-sizes", type=int, nargs="*", default=IMAGE_SIZES)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.images:
        main_images(args)
        return
    for n, d in SIZES:
        run(n, d, args.queries, args.k, args.repeats)


if __name__ == "__main__":
    main()
