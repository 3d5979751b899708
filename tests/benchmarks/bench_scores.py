"""Logit scores and PCA against the plainest expression of the same quantity.

Side by side in one process, several times in turn, as ratios of medians. Nothing is asserted.

Run:  python tests/benchmarks/bench_scores.py
"""

import argparse
import statistics
import time

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.kernel_approximation import RBFSampler

from sklearn_seapig import EnergyScore, EntropyScore, MarginScore, PCAScore, SoftmaxScore


def seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def compare(title, ours, plain, repeats):
    """Print the medians of two calls, taken in turn."""
    times = [(seconds(ours), seconds(plain)) for _ in range(repeats)]
    a, b = (statistics.median(column) for column in zip(*times, strict=True))
    print(f"  {title:<44} {a:7.3f} s  plain {b:7.3f} s  ratio {a / b:5.2f}")


def plain_entropy(Z):
    p = torch.softmax(Z, dim=1)
    return -(p * torch.log(p.clamp_min(1e-30))).sum(dim=1)


def plain_margin(Z):
    top = Z.topk(2, dim=1).values
    return top[:, 0] - top[:, 1]


def logits(repeats):
    X = np.random.default_rng(0).standard_normal((50_000, 1_000), dtype=np.float32) * 3
    Z = torch.from_numpy(X).double()
    print("50,000 x 1,000 logits; plain: one torch expression in float64 on the float32 rows")
    pairs = {
        "SoftmaxScore": (SoftmaxScore(), lambda: 1 - torch.softmax(Z.clone(), 1).amax(1)),
        "EntropyScore": (EntropyScore(), lambda: plain_entropy(Z.clone())),
        "EnergyScore": (EnergyScore(), lambda: torch.logsumexp(Z.clone(), 1)),
        "MarginScore": (MarginScore(), lambda: plain_margin(Z.clone())),
    }
    for name, (score, plain) in pairs.items():
        score.fit(X[:100])
        compare(name, lambda score=score: score.score_samples(X), plain, repeats)


def linear_pca(repeats):
    X = np.random.default_rng(0).standard_normal((100_000, 512), dtype=np.float32)
    X *= np.linspace(1, 0.05, 512, dtype=np.float32)
    cal = X[:100]
    print("\nPCA of 100,000 x 512, 64 components; plain: PCA of scikit-learn in float64")
    theirs = PCA(64, svd_solver="covariance_eigh")
    compare(
        "PCAScore.fit with X_cal",
        lambda: PCAScore(64).fit(X, X_cal=cal),
        lambda: theirs.fit(X.astype(np.float64)),
        repeats,
    )
    ours = PCAScore(64).fit(X, X_cal=cal)

    def plain():
        rows = X.astype(np.float64)
        back = theirs.inverse_transform(theirs.transform(rows))
        return np.linalg.norm(rows - back, axis=1)

    compare("PCAScore.score_samples", lambda: ours.score_samples(X), plain, repeats)


def kernel_pca():
    X = np.random.default_rng(0).standard_normal((100_000, 512), dtype=np.float32) / 20
    cal = X[:100]
    print("\n4,096 Fourier features of 100,000 x 512, 64 components; plain: RBFSampler and PCA")
    features = RBFSampler(gamma=1.0, n_components=4096, random_state=0).fit(X[:10])
    theirs = PCA(64, svd_solver="covariance_eigh")
    compare(
        "PCAScore.fit with X_cal",
        lambda: PCAScore(64, gamma=1.0, n_features=4096, random_state=0).fit(X, X_cal=cal),
        lambda: theirs.fit(features.transform(X.astype(np.float64))),
        1,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    logits(args.repeats)
    linear_pca(args.repeats)
    kernel_pca()


if __name__ == "__main__":
    main()
