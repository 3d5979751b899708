"""Selective inference with Lightning.

A small convolutional network learns the digits 0 to 7 with a Lightning Trainer. Its task is then
wrapped with a confidence: how close the embedding of an image is to those of the training images.
``trainer.test`` gives the accuracy on all, on the selected and on the rejected images, and
``trainer.predict`` says of each image whether its prediction is to be trusted. The digits 8 and 9
and photographs are foreign to the network: it should not answer.

Run:  python examples/lightning_selective.py  (writes predictions.pt)
"""

import logging
import warnings

import numpy as np
import torch
from lightning import LightningModule, Trainer
from sklearn.datasets import load_digits, load_sample_images
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy

from sklearn_seapig import (
    CosineScore,
    SelectiveInferenceTask,
    SelectivePredictionWriter,
    TorchEmbedder,
)

UNKNOWN = (8, 9)


class Digits(LightningModule):
    """A task as ever: nothing in it knows of selection."""

    def __init__(self, n_classes=8):
        super().__init__()
        self.body = torch.nn.Sequential(
            torch.nn.Conv2d(1, 16, 3, padding=1),
            torch.nn.ReLU(),
            torch.nn.Conv2d(16, 32, 3, stride=2, padding=1),
            torch.nn.ReLU(),
            torch.nn.Flatten(),
            torch.nn.Linear(32 * 4 * 4, 64),
        )
        self.head = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Linear(64, n_classes))
        self.test_accuracy = MulticlassAccuracy(n_classes, average="micro")

    def embed(self, x):
        return self.body(x)

    def forward(self, x):
        return self.head(self.embed(x))

    def training_step(self, batch):
        x, y = batch
        return torch.nn.functional.cross_entropy(self(x), y)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=0.003)


def load():
    """Return training, calibration and test digits, the unknown digits, and photographs."""
    X, y = load_digits(return_X_y=True)
    X = torch.from_numpy((X / 16).astype(np.float32)).reshape(-1, 1, 8, 8)
    y = torch.from_numpy(y)
    known = ~np.isin(y, UNKNOWN)
    train, rest = train_test_split(
        np.flatnonzero(known), test_size=0.5, stratify=y[known], random_state=0
    )
    cal, test = train_test_split(rest, test_size=0.5, stratify=y[rest], random_state=0)
    return X[train], y[train], X[cal], X[test], y[test], X[~known], photographs()


def photographs(size=8, step=32):
    """Return squares of the two photographs of scikit-learn, in grey and as small as the digits."""
    grey = torch.from_numpy(np.stack(load_sample_images().images)).float().mean(dim=3) / 255
    small = torch.nn.functional.avg_pool2d(grey[:, None], step // size)
    squares = small.unfold(2, size, size).unfold(3, size, size)
    return squares.reshape(-1, 1, size, size)


def loader(*tensors, **params):
    return DataLoader(TensorDataset(*tensors), batch_size=64, **params)


def main():
    torch.manual_seed(0)
    X_train, y_train, X_cal, X_test, y_test, X_unknown, X_photo = load()
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    writer = SelectivePredictionWriter("predictions.pt")

    # 1. A task, trained as ever.
    task = Digits()
    trainer = Trainer(max_epochs=20, enable_checkpointing=False, callbacks=[writer], **quiet)
    trainer.fit(task, loader(X_train, y_train, shuffle=True))

    # 2. A confidence on its embeddings, and a bound that accepts 95 % of what is normal.
    score = make_pipeline(TorchEmbedder(task), CosineScore(k=5, quantile=0.95)).fit(X_train)
    score[-1].set_threshold(X=score[:-1].transform(X_cal))

    # 3. The task and the confidence together, from one pass over each batch.
    selective = SelectiveInferenceTask(task, score)
    (metrics,) = trainer.test(selective, loader(X_test, y_test), verbose=False)
    for name in ("full", "selected", "rejected"):
        print(f"accuracy on {name:<26} {metrics[f'{name}/MulticlassAccuracy']:.3f}")
    print(f"coverage {'':<29} {metrics['coverage']:.3f}")

    # 4. Predict what is foreign; one row for each image, also from several processes.
    foreign = [loader(X_unknown), loader(X_photo)]
    trainer.predict(selective, foreign, return_predictions=False)
    digits, photos = torch.load("predictions.pt")
    for name, rows in (("unknown digits", digits), ("squares of photographs", photos)):
        share = 1 - rows["selected"].double().mean()
        print(f"rejected of {len(rows['index']):>3} {name:<22} {share:.3f}")
    print(f"keys of predictions.pt: {list(digits)}")


if __name__ == "__main__":
    # Lightning reports on hardware and workers.
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    main()
