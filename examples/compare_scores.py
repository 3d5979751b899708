"""All confidence scores on one task: which one knows best where the model errs?

A small torch network learns handwritten digits from 400 images and is tested on noisy ones, so
that it errs. Some scores look at its logits, others at how far its embedding of an image is from
those of the training images. Each orders the test images by confidence; a good order puts the
errors last, and so has a low risk at every coverage. Whether the best score is better than the
next one, or was lucky with these images, is for a paired comparison to say.

Run:  python examples/compare_scores.py  (writes compare_scores.png)
"""

import importlib.util

import matplotlib

matplotlib.use("Agg")

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import sklearn_seapig as seapig
from sklearn_seapig.metrics import (
    RiskCoverageDisplay,
    augrc_score,
    bootstrap_interval,
    compare_scores,
    coverage_at_risk,
    failure_auroc_score,
    normalized_aurc_score,
)

OF_LOGITS = [
    seapig.SoftmaxScore(),
    seapig.EntropyScore(),
    seapig.MarginScore(),
    seapig.MaxLogitScore(),
    seapig.EnergyScore(),
]
OF_EMBEDDINGS = [
    seapig.EuclideanScore(k=5),
    seapig.CosineScore(k=5),
    seapig.MahalanobisScore(k=5),
    seapig.GaussianScore(),
    seapig.PCAScore(),
    seapig.RandomScore(random_state=0),
]
if importlib.util.find_spec("pyod"):
    OF_EMBEDDINGS.append(seapig.PyODScore())  # PyOD's own nearest neighbors

# One score of each kind for the picture: many others lie on top of these.
DRAWN = ["EntropyScore", "EnergyScore", "CosineScore", "GaussianScore", "RandomScore"]


class Network(torch.nn.Module):
    """Layers of 64 and of 32 units, the second of which is the embedding, and a linear head."""

    def __init__(self):
        super().__init__()
        layers = [torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 32)]
        self.embed = torch.nn.Sequential(*layers)
        self.head = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Linear(32, 10))

    def forward(self, x):
        return self.head(self.embed(x))


def load():
    """Return images and labels for training, calibration and test; the last with some noise."""
    X, y = load_digits(return_X_y=True)
    noise = np.random.default_rng(0).normal(scale=0.25, size=X.shape)
    X = (X / 16).astype(np.float32)
    X_train, X_rest, y_train, y_rest, _, noise = train_test_split(
        X, y, noise, train_size=400, stratify=y, random_state=0
    )
    X_rest = (X_rest + noise).astype(np.float32)
    X_cal, X_test, y_cal, y_test = train_test_split(
        X_rest, y_rest, train_size=400, stratify=y_rest, random_state=0
    )
    return X_train, y_train, X_cal, y_cal, X_test, y_test


def train(X, y, epochs=150):
    torch.manual_seed(0)
    network, X, y = Network(), torch.from_numpy(X), torch.from_numpy(y)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.003)
    for _ in range(epochs):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(X), y).backward()
        optimizer.step()
    return network


def main():
    X_train, y_train, X_cal, y_cal, X_test, y_test = load()
    network = train(X_train, y_train)
    logits = seapig.TorchEmbedder(network, method="forward").transform
    embed = seapig.TorchEmbedder(network, method="embed").transform

    # Scores of logits have nothing to learn but their threshold; the others learn the training
    # embeddings. The calibration images, which the network has not seen, set the threshold.
    confidence = {}
    for score in OF_LOGITS:
        score.fit(logits(X_cal), y_cal)
        confidence[type(score).__name__] = score.score_samples(logits(X_test))
    for score in OF_EMBEDDINGS:
        score.fit(embed(X_train), y_train, X_cal=embed(X_cal))
        confidence[type(score).__name__] = score.score_samples(embed(X_test))

    loss = (logits(X_test).argmax(axis=1) != y_test).astype(float)
    print(f"{len(loss)} test images, {loss.mean():.1%} of them misclassified")
    best, second, *_ = show(loss, confidence)
    compare(loss, confidence, best, second)
    display = RiskCoverageDisplay.from_predictions(loss, {name: confidence[name] for name in DRAWN})
    display.figure_.savefig("compare_scores.png", dpi=120)
    print("wrote compare_scores.png")


def show(loss, confidence):
    """Print one line for each score, and return their names as ordered there: best first."""
    aurc = {
        name: bootstrap_interval("aurc", loss, scores, n_resamples=500, random_state=0)
        for name, scores in confidence.items()
    }
    ordered = sorted(confidence, key=lambda name: aurc[name].estimate)
    print(f"{'score':<18}   AURC [95 % interval]   NAURC   AUGRC   AUROC   coverage at 5 % risk")
    for name in ordered:
        scores, (estimate, low, high) = confidence[name], aurc[name]
        print(
            f"{name:<18}{estimate:>7.4f} [{low:.4f}, {high:.4f}]"
            f"{normalized_aurc_score(loss, scores):>8.3f}{augrc_score(loss, scores):>8.4f}"
            f"{failure_auroc_score(loss, scores):>8.3f}{coverage_at_risk(loss, scores, 0.05):>8.3f}"
        )
    return ordered


def compare(loss, confidence, a, b):
    """Print how far two scores are apart in AURC, and whether that may be chance."""
    difference, low, high, pvalue = compare_scores(
        loss, confidence[a], confidence[b], random_state=0
    )
    print(f"{a} - {b}: AURC {difference:+.5f} [{low:+.5f}, {high:+.5f}], p = {pvalue:.3f}")


if __name__ == "__main__":
    main()
