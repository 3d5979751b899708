"""A wrapped task against the plain task and the score, each alone.

Side by side in one process, several times in turn. The score alone works on the same embeddings in
the same batches, with warm caches; "by hand" is a predict_step that calls network and score in
turn, as anybody would write it. Nothing is asserted.

Batches of 256 take at most 1.1 times the two alone (1.01 to 1.03 on two CPU cores). Batches of 32,
which this network passes in 1.5 ms, take 1.15 to 1.5 times, by hand as well (0.96 to 1.04).

Run:  python tests/benchmarks/bench_lightning.py
"""

import argparse
import logging
import statistics
import time
import warnings

import torch
from lightning import LightningModule, Trainer
from torch.utils.data import DataLoader

from sklearn_seapig import EnergyScore, EuclideanScore, SelectiveInferenceTask


class Net(LightningModule):
    """A small convolutional network for images of 32 x 32 pixels."""

    def __init__(self, channels=16, width=128, n_classes=10):
        super().__init__()
        self.body = torch.nn.Sequential(
            torch.nn.Conv2d(3, channels, 3, padding=1),
            torch.nn.ReLU(),
            torch.nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1),
            torch.nn.ReLU(),
            torch.nn.AdaptiveAvgPool2d(4),
            torch.nn.Flatten(),
            torch.nn.Linear(2 * channels * 16, width),
        )
        self.head = torch.nn.Linear(width, n_classes)

    def embed(self, x):
        return self.body(x)

    def forward(self, x):
        return self.head(self.embed(x))


class ByHand(LightningModule):
    """The predict_step that the wrapped task spares."""

    def __init__(self, net, score, of_logits):
        super().__init__()
        self.net, self.score, self.of_logits = net, score, of_logits

    def predict_step(self, x):
        z = self.net.embed(x)
        logits = self.net.head(z)
        chosen = self.score.select(logits if self.of_logits else z)
        return {
            "predictions": logits,
            "score": torch.from_numpy(chosen.score),
            "selected": torch.from_numpy(chosen.selected),
        }


def seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def compare(title, net, score, inputs, loader, repeats):
    """Print the medians of four calls, taken in turn, and of their ratios."""
    task = SelectiveInferenceTask(net, score)
    by_hand = ByHand(net, score, isinstance(score, EnergyScore))
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    calls = (
        lambda: trainer.predict(task, loader),
        lambda: trainer.predict(net, loader),
        lambda: [score.select(rows) for rows in inputs],
        lambda: trainer.predict(by_hand, loader),
    )
    for call in calls:
        call()
    times = [[seconds(call) for call in calls] for _ in range(repeats)]
    wrapped, plain, alone, hand = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(w / (p + s) for w, p, s, _ in times)
    to_hand = statistics.median(w / h for w, _, _, h in times)
    print(
        f"  {title:<36} wrapped {wrapped:6.3f} s  plain {plain:6.3f} s  score {alone:6.3f} s  "
        f"by hand {hand:6.3f} s  wrapped / (plain + score) {ratio:5.2f}  / by hand {to_hand:5.2f}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rows", type=int, default=2048)
    args = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    net = Net().eval()
    images = torch.randn(args.rows, 3, 32, 32)
    with torch.no_grad():
        reference = net.embed(torch.randn(10_000, 3, 32, 32))
        embeddings = net.embed(images)
        logits = net.head(embeddings)
    distance = EuclideanScore(k=5).fit(reference, X_cal=embeddings[:500])
    energy = EnergyScore().fit(logits)
    print(f"{args.rows} images of 3 x 32 x 32, a network of two convolutions; trainer.predict")
    for batch_size in (256, 32):
        loader = DataLoader(images, batch_size=batch_size)
        for name, score, inputs in (
            ("5 of 10,000 neighbors", distance, embeddings),
            ("energy of logits", energy, logits),
        ):
            title = f"{name}, batches of {batch_size}"
            compare(title, net, score, inputs.split(batch_size), loader, args.repeats)


if __name__ == "__main__":
    main()
