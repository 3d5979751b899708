"""What test_lightning_processes.py runs as a script, for Lightning to start it once a process."""

import sys
from pathlib import Path

import torch
from lightning import LightningModule, Trainer
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassAUROC

from sklearn_seapig import EuclideanScore, SelectiveInferenceTask, SelectivePredictionWriter

D, C = 5, 3


class Net(LightningModule):
    def __init__(self):
        super().__init__()
        self.body, self.head = torch.nn.Linear(D, 4), torch.nn.Linear(4, C)
        # Counts, and lists of rows.
        self.test_metrics = MetricCollection([MulticlassAccuracy(C), MulticlassAUROC(C)])

    def embed(self, x):
        return self.body(x)

    def forward(self, x):
        return self.head(self.embed(x))


def make_task():
    torch.manual_seed(0)
    net = Net()
    score = EuclideanScore(k=3, quantile=0.9).fit(net.embed(torch.randn(60, D)))
    return SelectiveInferenceTask(net, score)


def make_loader(n):
    """Every second row is far away: of two processes, one sees the rejected rows only."""
    X = torch.randn(n, D, generator=torch.Generator().manual_seed(n))
    X[1::2] += 30
    return DataLoader(TensorDataset(X, torch.arange(n) % C), batch_size=4)


def evaluate(folder, **params):
    """Test on 24 rows and predict 19 and 5 rows; write what came out into the folder."""
    folder = Path(folder)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    writer = SelectivePredictionWriter(folder / "deep" / "predictions.pt")
    trainer = Trainer(
        accelerator="cpu", enable_checkpointing=False, callbacks=[writer], **quiet, **params
    )
    task = make_task()
    (metrics,) = trainer.test(task, make_loader(24), verbose=False)
    trainer.predict(task, [make_loader(19), make_loader(5)], return_predictions=False)
    if trainer.is_global_zero:
        torch.save(metrics, folder / "metrics.pt")


if __name__ == "__main__":
    evaluate(sys.argv[1], strategy=sys.argv[2], devices=2)
