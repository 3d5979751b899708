"""SelectivePredictionWriter: every row once and in its place."""

import numpy as np
import pytest
import torch
from lightning import LightningModule, Trainer
from torch.utils.data import DataLoader, IterableDataset, SubsetRandomSampler

from sklearn_seapig import SelectivePredictionWriter
from sklearn_seapig.adapters._lightning_writer import _join_processes

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*num_workers"),
]


class Echo(LightningModule):
    """A task whose output is what a function makes of the batch."""

    def __init__(self, make):
        super().__init__()
        self.make = make

    def predict_step(self, batch):
        return self.make(batch)


def written(make, batches, path, **params):
    Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[SelectivePredictionWriter(path)],
        **params,
    ).predict(Echo(make), batches, return_predictions=False)
    return torch.load(path)


def loader(n=7, **params):
    return DataLoader(torch.arange(n) * 10, batch_size=3, **params)


def test_rows_of_any_structure_are_joined(tmp_path):
    def make(x):
        return {
            "predictions": {"logits": x[:, None] * torch.ones(2), "pair": (x, x + 1)},
            "array": x.numpy(),
            "letters": np.array(list("abcdefg"))[x.numpy() // 10],
            "names": [f"row {int(v)}" for v in x],
        }

    path = tmp_path / "new" / "folder" / "out.pt"
    found = written(make, loader(), str(path))
    x = torch.arange(7) * 10
    assert torch.equal(found["index"], torch.arange(7))
    assert torch.equal(found["predictions"]["logits"], x[:, None] * torch.ones(2))
    assert torch.equal(found["predictions"]["pair"][1], x + 1)
    assert torch.equal(found["array"], x)
    assert found["letters"] == list("abcdefg")
    assert found["names"] == [f"row {int(v)}" for v in x]
    assert [p.name for p in path.parent.iterdir()] == ["out.pt"]


def test_outputs_without_a_name_are_predictions(tmp_path):
    found = written(lambda x: x, loader(), tmp_path / "out.pt")
    assert found["predictions"].tolist() == [0, 10, 20, 30, 40, 50, 60]


def test_rows_of_a_shuffling_loader_are_in_the_order_of_the_data_set(tmp_path):
    # SP-LD-01
    found = written(lambda x: x, loader(sampler=SubsetRandomSampler([5, 2, 6, 0])), tmp_path / "o")
    assert found["index"].tolist() == [0, 2, 5, 6]
    assert found["predictions"].tolist() == [0, 20, 50, 60]


def test_an_epoch_that_is_cut_short_says_which_rows_it_saw(tmp_path):
    found = written(lambda x: x, loader(), tmp_path / "o", limit_predict_batches=2)
    assert found["index"].tolist() == list(range(6))


def test_each_data_loader_has_rows_of_its_own(tmp_path):
    class Two(Echo):
        def predict_step(self, batch, batch_idx, dataloader_idx):
            return batch + dataloader_idx

    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        callbacks=[SelectivePredictionWriter(tmp_path / "o")],
    )
    trainer.predict(Two(None), [loader(4), loader(2)])
    first, second = torch.load(tmp_path / "o")
    assert first["predictions"].tolist() == [0, 10, 20, 30]
    assert second["predictions"].tolist() == [1, 11]


class Stream(IterableDataset):
    def __iter__(self):
        return iter(torch.arange(7) * 10)


@pytest.mark.filterwarnings("ignore:.*batch indices")
def test_a_stream_is_written_as_it_comes(tmp_path):
    found = written(lambda x: {"score": x}, DataLoader(Stream(), batch_size=3), tmp_path / "o")
    assert found["index"].tolist() == list(range(7))
    assert found["score"].tolist() == [0, 10, 20, 30, 40, 50, 60]
    with pytest.raises(ValueError, match="number of rows of a batch is not known"):
        written(lambda x: {"loss": 1.0}, DataLoader(Stream(), batch_size=3), tmp_path / "o")


def test_rows_that_several_processes_saw_are_kept_once():
    def part(rows):
        return [{"score": torch.tensor(batch) * 10} for batch in rows], rows

    # A padding sampler repeats row 0 in the second process; the third has no batch at all.
    joined = _join_processes([part([[0, 2], [4]]), part([[1, 3], [0]]), part([])])
    assert joined["index"].tolist() == [0, 1, 2, 3, 4]
    assert joined["score"].tolist() == [0, 10, 20, 30, 40]
    nothing = _join_processes([part([]), part([])])
    assert nothing["index"].tolist() == []


def test_parts_of_processes_without_positions_are_refused():
    parts = [([{"score": torch.zeros(2)}], []), ([{"score": torch.zeros(2)}], [])]
    with pytest.raises(ValueError, match="2 processes cannot be put in order"):
        _join_processes(parts)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x: {"predictions": torch.cat([x, x])}, "predictions has 6 rows in a batch of 3"),
        (lambda x: {"predictions": {"loss": x.sum()}}, r"predictions\['loss'\].*row for each"),
        (lambda x: {"predictions": x, "loss": 0.5}, "loss is a float in a batch of 3 rows"),
        (lambda x: {"predictions": x, "index": x}, "'index'.*rename"),
        (lambda x: [x, x + 1, x + 2], r"predictions is a list of \(Tensor.*tuple of parts"),
    ],
)
def test_what_has_no_row_for_each_is_refused_by_name(tmp_path, make, message):
    # SP-TK-17: nothing is written in the wrong place
    with pytest.raises(ValueError, match=message):
        written(make, loader(), tmp_path / "out.pt")
    assert not (tmp_path / "out.pt").exists()
