"""A network that knows when not to answer.

A small torch network learns the digits 0 to 7. Then it is shown all ten digits: what it cannot
know, it should not answer. How far an image is from the training images, in the embedding of the
network, tells how much the network can know about it; a threshold on that confidence is learned
from calibration images.

Run:  python examples/quickstart.py  (writes quickstart.png)
"""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from skorch import NeuralNetClassifier

from sklearn_seapig import CosineScore, QuantileThreshold, SelectiveClassifier, TorchEmbedder

UNKNOWN = (8, 9)


class Network(torch.nn.Module):
    """Two convolutions, a layer of 64 units (the embedding), a linear head."""

    def __init__(self, n_classes=8):
        super().__init__()
        self.body = torch.nn.Sequential(
            torch.nn.Unflatten(1, (1, 8, 8)),
            torch.nn.Conv2d(1, 16, 3, padding=1),
            torch.nn.ReLU(),
            torch.nn.Conv2d(16, 32, 3, stride=2, padding=1),
            torch.nn.ReLU(),
            torch.nn.Flatten(),
            torch.nn.Linear(32 * 4 * 4, 64),
        )
        self.head = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Linear(64, n_classes))

    def embed(self, x):
        return self.body(x)

    def forward(self, x):
        return self.head(self.body(x))


def load():
    """Return training, calibration and test images of known digits, and images of unknown ones."""
    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype(np.float32)
    known = ~np.isin(y, UNKNOWN)
    X_train, X_rest, y_train, y_rest = train_test_split(
        X[known], y[known], test_size=0.5, stratify=y[known], random_state=0
    )
    X_cal, X_test, y_cal, y_test = train_test_split(
        X_rest, y_rest, test_size=0.5, stratify=y_rest, random_state=0
    )
    return X_train, y_train, X_cal, y_cal, X_test, y_test, X[~known]


def main():
    torch.manual_seed(0)
    X_train, y_train, X_cal, y_cal, X_test, y_test, X_unknown = load()

    # 1. A model, trained as ever.
    network = NeuralNetClassifier(
        Network,
        criterion=torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.AdamW,
        lr=0.003,
        max_epochs=20,
        batch_size=64,
        train_split=None,
        verbose=0,
    ).fit(X_train, y_train)

    # 2. A confidence: how close the embedding is to those of the training images.
    embedder = TorchEmbedder(network.module_, method="embed")
    confidence = make_pipeline(embedder, CosineScore(k=5)).fit(X_train)

    # 3. A threshold, learned on images that neither has seen: accept 95 % of what is normal.
    model = SelectiveClassifier(
        FrozenEstimator(network), FrozenEstimator(confidence), threshold=QuantileThreshold(0.95)
    ).fit(X_cal, y_cal)

    # 4. Predict or abstain.
    test, unknown = model.select(X_test), model.select(X_unknown)
    correct = test.predictions == y_test
    print(f"rule: {model.rule_.guarantee_}")
    print(f"known digits     accuracy on all rows       {correct.mean():.3f}")
    print(f"                 accuracy on accepted rows  {correct[test.selected].mean():.3f}")
    print(f"                 coverage                   {test.selected.mean():.3f}")
    print(f"unknown digits   rejected                   {1 - unknown.selected.mean():.3f}")
    print(f"first unknown digits, predicted or rejected (-1): {model.predict(X_unknown)[:12]}")
    plot(test.score, unknown, X_unknown, model.threshold_)


def plot(known_scores, unknown, X_unknown, threshold):
    """Draw the confidences of known and unknown digits, and unknown digits at both ends."""
    figure = plt.figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[1.25, 1])
    axes = left.subplots()
    bins = np.linspace(min(known_scores.min(), unknown.score.min()), 0, 40)
    axes.hist(known_scores, bins, alpha=0.7, label="known digits (0-7)")
    axes.hist(unknown.score, bins, alpha=0.7, label="unknown digits (8, 9)")
    axes.axvline(threshold, color="black", linestyle="--", label="threshold")
    axes.set(xlabel="confidence (higher is more normal)", ylabel="images")
    axes.legend(loc="upper left")
    order = np.argsort(unknown.score)
    shown = np.concatenate([order[:5], order[-5:]])
    for panel, row in zip(right.subplots(2, 5).ravel(), shown, strict=True):
        panel.imshow(X_unknown[row].reshape(8, 8), cmap="gray_r")
        panel.set_title("accepted" if unknown.selected[row] else "rejected", fontsize=8)
        panel.axis("off")
    right.suptitle("unknown digits: least and most confident", fontsize=10)
    figure.savefig("quickstart.png", dpi=120)
    print("wrote quickstart.png")


if __name__ == "__main__":
    main()
