"""SelectiveInferenceTask: one pass, any batch, any score, metrics by part, checkpoints."""

import collections
import copy
import importlib
import pickle
import sys

import lightning
import numpy as np
import pytest
import torch
from lightning import LightningModule, Trainer
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import Accuracy, MeanSquaredError, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

import sklearn_seapig
from sklearn_seapig import (
    EnergyScore,
    EuclideanScore,
    GroupThreshold,
    PCAScore,
    QuantileThreshold,
    SelectiveClassifier,
    SelectiveInferenceTask,
    TorchEmbedder,
)
from sklearn_seapig.adapters._lightning_judge import _view_on

pytestmark = [
    # Lightning warns of its own code, of logging and of workers.
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*num_workers"),
    pytest.mark.filterwarnings("ignore:.*litlogger|.*litmodels"),
]

N, D, C = 24, 6, 3


class Net(LightningModule):
    """A body, a head, and counts of what ran."""

    def __init__(self, width=5):
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Linear(D, width), torch.nn.Tanh())
        self.head = torch.nn.Sequential(torch.nn.ReLU(inplace=True), torch.nn.Linear(width, C))
        self.test_metrics = MulticlassAccuracy(C, average="micro")
        self.n_embed = self.n_forward = 0

    def embed(self, x):
        self.n_embed += 1
        return self.body(x)

    def forward(self, x):
        self.n_forward += 1
        return self.head(self.embed(x))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net()


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(1)
    X = torch.randn(N, D, generator=generator)
    X[::3] *= 8
    return X, torch.randint(0, C, (N,), generator=generator)


@pytest.fixture
def score(net):
    reference = torch.randn(60, D, generator=torch.Generator().manual_seed(2))
    return EuclideanScore(k=3, quantile=0.9).fit(embedding(net, reference))


def embedding(net, X):
    with torch.no_grad():
        return net.body(X)


def rows(n, d):
    return np.random.default_rng(0).normal(size=(n, d))


def trainer(**params):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return Trainer(accelerator="cpu", devices=1, enable_checkpointing=False, **quiet, **params)


def loader(*columns, batch_size=8):
    return DataLoader(TensorDataset(*columns), batch_size=batch_size)


def predict(task, batches):
    """Return what trainer.predict gives, joined along the rows."""
    outputs = trainer().predict(task, batches)
    return {name: torch.cat([output[name] for output in outputs]) for name in outputs[0]}


def test(task, batches):
    return trainer().test(task, batches, verbose=False)


test.__test__ = False


def expected_accuracy(net, X, y, selected):
    with torch.no_grad():
        correct = (net.head(net.body(X).clone()).argmax(1) == y).double()
    return {
        "full/MulticlassAccuracy": correct.mean(),
        "selected/MulticlassAccuracy": correct[selected].mean(),
        "rejected/MulticlassAccuracy": correct[~selected].mean(),
        "coverage": selected.double().mean(),
    }


# predict


def test_the_example_of_the_seeds_runs_as_it_stands():
    # SP-TK-05: no predict_step of its own, (x, y) batches
    class Model(LightningModule):
        def __init__(self):
            super().__init__()
            self.test_metrics = Accuracy("binary")

        def forward(self, x):
            pred = torch.randint(0, 2, (x.shape[0],))
            return pred

        def embed(self, x):
            return torch.randn(x.shape[0], 32)

        def test_step(self, batch, batch_idx):
            image = batch[0]
            label = batch[1]
            pred = self.forward(image)
            self.test_metrics.update(pred, label)
            self.log_dict(self.test_metrics.compute(), sync_dist=True)

    score = EuclideanScore(k=3).fit(X=torch.randn(100, 32)).set_threshold(q=0.8)
    test_loader = loader(torch.randn(10, 32), torch.randint(0, 2, (10,)), batch_size=64)
    sel_task = SelectiveInferenceTask(task=Model(), score=score)
    (metrics,) = test(sel_task, test_loader)
    names = {f"{part}/BinaryAccuracy" for part in ("full", "selected", "rejected")}
    assert set(metrics) == names | {"coverage"}
    (batch,) = trainer().predict(sel_task, dataloaders=test_loader)
    assert set(batch) == {"predictions", "score", "selected"}
    assert len(batch["predictions"]) == len(batch["score"]) == len(batch["selected"]) == 10


def test_predict_gives_the_plain_predictions_and_what_the_score_says(net, data, score):
    X, y = data
    out = predict(SelectiveInferenceTask(net, score), loader(X, y))
    want = score.select(embedding(net, X))
    assert torch.equal(out["predictions"], torch.cat(trainer().predict(net, loader_of_inputs(X))))
    np.testing.assert_allclose(out["score"], want.score, rtol=1e-6)
    assert out["score"].dtype == torch.float64
    assert out["selected"].tolist() == want.selected.tolist()
    assert 0 < want.selected.mean() < 1


def loader_of_inputs(X):
    return DataLoader(X, batch_size=8)


@pytest.mark.parametrize("how", [{}, {"method": "embed"}, {"layer": "body"}, {"layer": "body.1"}])
def test_one_pass_for_each_batch(net, data, score, how):
    # SP-TK-13. The head works in place on what the score sees.
    X, y = data
    task = SelectiveInferenceTask(net, score, **how)
    out = predict(task, loader(X, y))
    assert net.n_forward == net.n_embed == 3
    np.testing.assert_allclose(out["score"], score.score_samples(embedding(net, X)), rtol=1e-6)
    test(task, loader(X, y))
    assert net.n_forward == net.n_embed == 6


def test_the_score_sees_the_very_pass_that_predicts(net, data, score):
    # SP-TK-13: with dropout left on, a second pass would be of another network.
    net.body.append(torch.nn.Dropout(0.5))
    net.on_predict_model_eval = lambda: net.train()
    seen = []
    net.head.register_forward_pre_hook(lambda _module, args: seen.append(args[0].clone()))
    out = predict(SelectiveInferenceTask(net, score), loader(*data))
    np.testing.assert_allclose(out["score"], score.score_samples(torch.cat(seen)), rtol=1e-6)
    assert bool((torch.cat(seen) == 0).any())


def test_a_method_that_forward_does_not_call_is_called_once_more(data, score):
    class Apart(Net):
        def forward(self, x):
            self.n_forward += 1
            return self.head(self.body(x))

    net = Apart()
    out = predict(SelectiveInferenceTask(net, score), loader(*data))
    assert net.n_forward == net.n_embed == 3
    np.testing.assert_allclose(out["score"], score.score_samples(embedding(net, data[0])), 1e-6)


def test_an_embedding_that_is_a_module_is_read_on_the_way(net, data, score):
    class Branches(LightningModule):
        def __init__(self):
            super().__init__()
            self.embed, self.head, self.n = net.body, net.head, 0
            self.embed.register_forward_hook(self.count)

        def count(self, *_):
            self.n += 1

        def forward(self, x):
            return self.head(self.embed(x))

    branches = Branches()
    out = predict(SelectiveInferenceTask(branches, score), loader(*data))
    assert branches.n == 3
    np.testing.assert_allclose(out["score"], score.score_samples(embedding(net, data[0])), 1e-6)


@pytest.mark.parametrize("signature", ["batch", "batch_idx", "dataloader_idx", "any"])
def test_a_predict_step_of_the_task_is_what_predicts(data, score, signature):
    class Own(Net):
        def answer(self, batch):
            return self.forward(batch[0]).argmax(1)

    steps = {
        "batch": lambda self, batch: self.answer(batch),
        "batch_idx": lambda self, batch, i, more=None: self.answer(batch) + 0 * i,
        "dataloader_idx": lambda self, batch, i, dataloader_idx=0: self.answer(batch) + 0 * i,
        "any": lambda self, *args, **kwargs: self.answer(args[0]),
    }
    Own.predict_step = steps[signature]
    net = Own()
    out = predict(SelectiveInferenceTask(net, score), loader(*data))
    assert net.n_forward == net.n_embed == 3
    assert out["predictions"].dtype == torch.int64
    assert len(out["score"]) == len(out["predictions"]) == N


def test_outputs_of_the_task_are_never_overwritten(data, net, score):
    # SP-TK-06
    class Rich(Net):
        def forward(self, x):
            return {"logits": super().forward(x), "score": x[:, 0], "selected": x[:, 1]}

    X, y = data
    rich = Rich()
    rich.load_state_dict(net.state_dict())
    task = SelectiveInferenceTask(rich, score, output_key="logits")
    (batch,) = trainer().predict(task, loader(X, y, batch_size=N))
    assert torch.equal(batch["predictions"]["score"], X[:, 0])
    assert torch.equal(batch["predictions"]["selected"], X[:, 1])
    np.testing.assert_allclose(batch["score"], score.score_samples(embedding(net, X)), rtol=1e-6)
    (metrics,) = test(task, loader(X, y))
    want = expected_accuracy(net, X, y, batch["selected"])
    assert metrics == pytest.approx({k: float(v) for k, v in want.items()})


@pytest.mark.parametrize("keys", [(0, 1), ("logits", "embedding"), "functions"])
def test_forward_may_return_predictions_and_embedding_at_once(net, data, score, keys):
    class Both(Net):
        def forward(self, x):
            self.n_forward += 1
            z = self.body(x)
            both = self.head(z.clone()), z
            return dict(zip(keys, both, strict=True)) if keys == ("logits", "embedding") else both

    both = Both()
    both.load_state_dict(net.state_dict())
    if keys == "functions":
        named = {"output_key": lambda out: out[0], "features_key": lambda out: out[1]}
    else:
        named = dict(zip(("output_key", "features_key"), keys, strict=True))
    X, y = data
    task = SelectiveInferenceTask(both, score, method="forward", **named)
    (metrics,) = test(task, loader(X, y))
    assert both.n_forward == 3
    want = expected_accuracy(net, X, y, torch.from_numpy(score.select(embedding(net, X)).selected))
    assert metrics == pytest.approx({k: float(v) for k, v in want.items()})


def test_a_part_that_the_output_lacks_is_named(net, data, score):
    task = SelectiveInferenceTask(net, score, features_key="embedding")
    with pytest.raises(ValueError, match=r"features_key='embedding'.*Tensor of shape"):
        task.predict_step(data)


# batches

Pair = collections.namedtuple("Pair", ["image", "label"])
BATCHES = {
    "tuple": (lambda x, y: (x, y), {}),
    "list": (lambda x, y: [x, y], {}),
    "reversed": (lambda x, y: (y, x), {"input_key": 1, "target_key": 0}),
    "namedtuple": (Pair, {}),
    "namedtuple by name": (Pair, {"input_key": "image", "target_key": "label"}),
    "dict": (lambda x, y: {"image": x, "label": y}, {}),
    "dict of other names": (
        lambda x, y: {"mri": x, "age": y},
        {"input_key": "mri", "target_key": "age"},
    ),
    "nested dict": (lambda x, y: ({"pixel_values": x}, y), {}),
    "all in a nested dict": (lambda x, y: ({"x": x, "y": y}, "meta"), {}),
    "nested tuple": (
        lambda x, y: ((x, x + 1), y),
        {"input_key": lambda batch: batch[0][0], "target_key": lambda batch: batch[1]},
    ),
}  # fmt: skip


class Batches(torch.utils.data.IterableDataset):
    def __init__(self, make, X, y):
        self.batches = [make(X[i : i + 8], y[i : i + 8]) for i in range(0, len(X), 8)]

    def __iter__(self):
        return iter(self.batches)


@pytest.mark.parametrize("name", BATCHES)
def test_batches_of_any_structure(net, data, score, name):
    # SP-TK-03, SP-LD-05
    make, keys = BATCHES[name]
    X, y = data
    batches = DataLoader(Batches(make, X, y), batch_size=None)
    task = SelectiveInferenceTask(net, score, **keys)
    out = predict(task, batches)
    want = score.select(embedding(net, X))
    np.testing.assert_allclose(out["score"], want.score, rtol=1e-6)
    (metrics,) = test(task, batches)
    want = expected_accuracy(net, X, y, torch.from_numpy(want.selected))
    assert metrics == pytest.approx({k: float(v) for k, v in want.items()})


def test_an_input_of_several_tensors_is_passed_on_as_it_is(net, data, score):
    class Two(Net):
        def embed(self, pair):
            return self.body(pair[0] + pair[1])

    out = SelectiveInferenceTask(Two(), score, lambda batch: batch[0]).predict_step(
        ((data[0], data[0]), data[1])
    )
    assert len(out["score"]) == N


@pytest.mark.parametrize(
    ("batch", "keys", "message"),
    [
        ({"mri": 1, "age": 2}, {}, r"\['mri', 'age'\]"),
        ({"mri": 1, "age": 2}, {"input_key": "image"}, r"no key 'image'.*\['mri', 'age'\]"),
        ((1, 2), {"input_key": 2}, "input_key=2"),
        (((1, 2), 3), {}, r"tuple of \(tuple of"),
    ],
)
def test_a_missing_input_is_an_error_that_shows_the_batch(net, score, batch, keys, message):
    # SP-TK-15, SP-LD-05
    with pytest.raises((ValueError, TypeError), match=message):
        SelectiveInferenceTask(net, score, **keys).predict_step(batch)


@pytest.mark.parametrize(
    ("make", "keys", "message"),
    [
        (lambda x, y: {"x": x, "age": y}, {}, r"no target.*target_key.*\['x', 'age'\]"),
        (lambda x, y: {"x": x, "age": y}, {"target_key": "label"}, "target_key='label'.*'age'"),
        (lambda x, y: (x,), {}, "no target"),
        (lambda x, y: (x, y), {"target_key": 5}, r"target_key=5.*\[0, 1\]"),
    ],
)
def test_a_missing_target_is_an_error_that_shows_the_batch(net, data, score, make, keys, message):
    task = SelectiveInferenceTask(net, score, **keys)
    with pytest.raises(ValueError, match=message):
        task.test_step(make(*data))


def test_hooks_that_transfer_batches_stay_those_of_the_task(data, score):
    class Scaling(Net):
        def on_after_batch_transfer(self, batch, dataloader_idx):
            return batch[0] / 8, batch[1]

        def predict_dataloader(self):
            return loader(*data)

    net = Scaling()
    out = predict(SelectiveInferenceTask(net, score), None)
    want = score.score_samples(embedding(net, data[0] / 8))
    np.testing.assert_allclose(out["score"], want, rtol=1e-6)


# test


def test_metrics_of_all_selected_and_rejected_rows(net, data, score):
    X, y = data
    task = SelectiveInferenceTask(net, score)
    (metrics,) = test(task, loader(X, y))
    want = expected_accuracy(net, X, y, torch.from_numpy(score.select(embedding(net, X)).selected))
    assert metrics == pytest.approx({k: float(v) for k, v in want.items()})
    assert net.test_metrics.update_count == 0


def test_metrics_are_computed_once_an_epoch(net, data, score, monkeypatch):
    # SP-MT-12
    logged = []
    task = SelectiveInferenceTask(net, score)
    log = task.log_dict
    monkeypatch.setattr(task, "log_dict", lambda *a, **k: (logged.append(a[0]), log(*a, **k)))
    test(task, loader(*data))
    assert len(logged) == 1


def test_a_second_evaluation_knows_nothing_of_the_first(net, data, score):
    # SP-TK-02
    X, _ = data
    right = net.head(net.body(X)).argmax(1)
    task = SelectiveInferenceTask(net, score)
    assert test(task, loader(X, right))[0]["full/MulticlassAccuracy"] == 1
    assert test(task, loader(X[:4], (right[:4] + 1) % C))[0]["full/MulticlassAccuracy"] == 0


def test_each_data_loader_has_metrics_of_its_own(net, data, score):
    # SP-TK-18
    X, _ = data
    right = net.head(net.body(X)).argmax(1)
    found = test(
        SelectiveInferenceTask(net, score),
        [loader(X, right), loader(X[:4] * 100, (right[:4] + 1) % C)],
    )
    assert found[0]["full/MulticlassAccuracy/dataloader_idx_0"] == 1
    assert found[0]["full/MulticlassAccuracy/dataloader_idx_1"] == 0
    assert 0 < found[0]["coverage/dataloader_idx_0"] < 1
    assert found[0]["coverage/dataloader_idx_1"] == 0
    assert np.isnan(found[0]["selected/MulticlassAccuracy/dataloader_idx_1"])


def named(*metrics):
    return {f"{part}/{m}" for part in ("full", "selected", "rejected") for m in metrics}


def test_metrics_are_found_or_given(net, data, score):
    def names(**params):
        (metrics,) = test(SelectiveInferenceTask(net, score, **params), loader(*data))
        return set(metrics) - {"coverage"}

    net.train_acc = MulticlassAccuracy(C)
    net.acc = MulticlassAccuracy(C)
    assert names() == named("MulticlassAccuracy")
    net.test_top2 = MulticlassAccuracy(C, top_k=2)
    assert names() == named("test_metrics", "test_top2")
    assert names(metrics="acc") == named("MulticlassAccuracy")
    both = {"a": MulticlassAccuracy(C), "b": MulticlassAccuracy(C, top_k=2)}
    assert names(metrics=both) == named("a", "b")
    prefixed = MetricCollection([MulticlassAccuracy(C)], prefix="test_")
    assert names(metrics=prefixed) == named("test_MulticlassAccuracy")
    del net.test_metrics, net.test_top2
    assert names() == named("MulticlassAccuracy")
    del net.acc
    with pytest.raises(ValueError, match=r"no metrics.*\['train_acc'\].*metrics="):
        names()


def test_targets_of_one_column_are_ravelled(net, data, score):
    # SP-TK-14
    X, y = data
    task = SelectiveInferenceTask(net, score)
    with pytest.warns(DataConversionWarning, match=r"\(8, 1\)"):
        (column,) = test(task, loader(X, y[:, None]))
    (plain,) = test(task, loader(X, y))
    assert column == plain


@pytest.mark.parametrize("columns", [(1, 1), (1, 0), (0, 1), (0, 0)])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.DataConversionWarning")
def test_regression_with_and_without_a_last_axis(net, data, score, columns):
    class Regressor(Net):
        def forward(self, x):
            out = super().forward(x)[:, 0]
            return out[:, None] if columns[0] else out

    regressor = Regressor()
    regressor.load_state_dict(net.state_dict())
    X, y = data[0], data[1].float()
    task = SelectiveInferenceTask(regressor, score, metrics=MeanSquaredError())
    (metrics,) = test(task, loader(X, y[:, None] if columns[1] else y))
    want = ((net(X)[:, 0] - y) ** 2).mean().detach()
    assert metrics["full/MeanSquaredError"] == pytest.approx(float(want), rel=1e-6)


# scores


@pytest.mark.parametrize(
    "detector",
    [
        IsolationForest(random_state=0, n_estimators=20),
        LocalOutlierFactor(novelty=True),
        make_pipeline(StandardScaler(), EuclideanScore(k=3)),
        make_pipeline(StandardScaler(), LocalOutlierFactor(novelty=True)),
    ],
    ids=lambda detector: type(detector).__name__,
)
@pytest.mark.parametrize("frozen", [False, True])
def test_any_fitted_detector_is_a_score(net, data, detector, frozen):
    reference = embedding(net, torch.randn(60, D))
    detector = copy.deepcopy(detector).fit(reference.numpy())
    given = FrozenEstimator(detector) if frozen else detector
    out = predict(SelectiveInferenceTask(net, given), loader(*data))
    Z = embedding(net, data[0]).numpy()
    np.testing.assert_allclose(out["score"], detector.score_samples(Z), rtol=1e-6)
    assert out["selected"].tolist() == (detector.predict(Z) == 1).tolist()


def test_scores_of_logits_see_the_output_of_the_task(net, data):
    logits = net(data[0]).detach()
    score = EnergyScore(quantile=0.7).fit(logits)
    out = predict(SelectiveInferenceTask(net, score), loader(*data))
    np.testing.assert_allclose(out["score"], score.score_samples(logits), rtol=1e-6)


def test_a_pipeline_says_itself_what_it_reads(net, data):
    # One pass here, too: the embedder does not run.
    reference = torch.randn(60, D)
    for embedder in (
        TorchEmbedder(net),
        TorchEmbedder(net, layer="body"),
        TorchEmbedder(net.body, method="forward"),
        TorchEmbedder(net.body, layer="1"),
    ):
        for steps in ([], [StandardScaler()]):
            score = make_pipeline(embedder, *steps, EuclideanScore(k=3)).fit(reference.numpy())
            net.n_forward = net.n_embed = 0
            out = predict(SelectiveInferenceTask(net, score), loader(*data))
            assert net.n_forward == net.n_embed == 3
            want = score.score_samples(data[0].numpy())
            np.testing.assert_allclose(out["score"], want, rtol=1e-6)


def test_a_pipeline_of_another_network_is_refused(net):
    score = make_pipeline(TorchEmbedder(net), EuclideanScore(k=3)).fit(rows(30, D))
    with pytest.raises(ValueError, match=r"no part of task=Net.*score\[1:\]"):
        SelectiveInferenceTask(copy.deepcopy(net), score)
    with pytest.raises(ValueError, match=r"layer='body'.*TorchEmbedder"):
        SelectiveInferenceTask(net, score, layer="body")
    SelectiveInferenceTask(copy.deepcopy(net), score[1:])


@pytest.mark.parametrize("threshold", [None, QuantileThreshold(0.6)])
@pytest.mark.parametrize("confidence", ["score", "pipeline", None])
def test_a_selective_classifier_lends_its_confidence_and_threshold(
    net, data, threshold, confidence
):
    X, y = data[0].numpy(), data[1].numpy()
    Z = embedding(net, data[0]).numpy()
    if confidence == "pipeline":  # fitted on images, as in the quickstart
        chosen, seen = make_pipeline(TorchEmbedder(net), EuclideanScore(k=3)), X
    else:
        chosen, seen = EuclideanScore(k=3) if confidence else None, Z
    model = SelectiveClassifier(LogisticRegression(), chosen, threshold, random_state=0)
    model.fit(seen, y)
    net.n_forward = 0
    out = predict(SelectiveInferenceTask(net, model), loader(*data))
    assert net.n_forward == 3
    want = model.select(seen)
    np.testing.assert_allclose(out["score"], want.score, rtol=1e-5)
    assert out["selected"].tolist() == want.selected.tolist()
    assert torch.equal(out["predictions"], net(data[0]))


@pytest.mark.parametrize("confidence", [EuclideanScore(k=3), None])
def test_bounds_that_need_a_group_are_refused_as_the_task_has_none(net, data, confidence):
    Z, y = embedding(net, data[0]).numpy(), data[1].numpy()
    rule = GroupThreshold(QuantileThreshold(0.5), min_size=1)
    model = SelectiveClassifier(LogisticRegression(), confidence, rule, random_state=0).fit(Z, y)
    with pytest.raises(ValueError, match=r"GroupThreshold.*group of each row.*set_threshold"):
        SelectiveInferenceTask(net, model)
    SelectiveInferenceTask(net, model.set_threshold(0.5))


def test_what_cannot_score_is_refused_when_it_is_given(net):
    # SP-TK-11
    with pytest.raises(NotFittedError, match="EuclideanScore"):
        SelectiveInferenceTask(net, EuclideanScore())
    with pytest.raises(NotFittedError, match=r"StandardScaler|EuclideanScore"):
        SelectiveInferenceTask(net, make_pipeline(StandardScaler(), EuclideanScore()))
    with pytest.raises(NotFittedError, match="set_threshold"):
        SelectiveInferenceTask(net, PCAScore(2).partial_fit(rows(30, 5)))
    with pytest.raises(TypeError, match=r"LocalOutlierFactor.*novelty"):
        SelectiveInferenceTask(net, LocalOutlierFactor().fit(rows(30, 5)))
    with pytest.raises(TypeError, match="estimator"):
        SelectiveInferenceTask(net, 3)
    with pytest.raises(ValueError, match=r"'task'.*Module.*Got 3"):
        SelectiveInferenceTask(3, EuclideanScore())


@pytest.mark.parametrize("params", [{"layer": "nonsense"}, {"method": "nonsense"}])
def test_a_layer_or_method_that_is_not_there_is_named(net, score, params):
    with pytest.raises(ValueError, match=r"'nonsense' is no .* of Net"):
        SelectiveInferenceTask(net, score, **params)


def test_a_layer_that_runs_twice_or_never_is_refused(data, score):
    class Twice(Net):
        def forward(self, x):
            return super().forward(x) + self.head(self.body(x))

    with pytest.raises(ValueError, match="body ran 2 times in one call of Twice"):
        SelectiveInferenceTask(Twice(), score, layer="body").predict_step(data)
    net = Net()
    net.spare = torch.nn.Linear(2, 2)
    with pytest.raises(ValueError, match="spare ran 0 times"):
        SelectiveInferenceTask(net, score, layer="spare").predict_step(data)


def test_the_score_is_left_as_it_was(net, data, score):
    # SP-TK-11
    before = pickle.dumps(score)
    task = SelectiveInferenceTask(net, score)
    test(task, loader(*data))
    predict(task, loader(*data))
    assert pickle.dumps(score) == before


def test_a_new_threshold_of_the_score_counts_at_once(net, data, score):
    task = SelectiveInferenceTask(net, score)
    assert not task.predict_step(data)["selected"].all()
    score.set_threshold(scores=np.full(10, -np.finfo(float).max))
    assert task.predict_step(data)["selected"].all()


@pytest.mark.parametrize("n", [(2, 8), (1, 4)])
def test_another_number_of_rows_names_both(net, data, score, n):
    # SP-TK-17, SP-LD-03
    class Crops(Net):
        def embed(self, x):
            return super().embed(torch.cat([x, x]))

        def forward(self, x):
            return self.embed(x)[: len(x)]

    batch = data[0][: n[1]], data[1][: n[1]]
    with pytest.raises(ValueError, match=f"{2 * n[1]} rows .* batch of {n[1]} rows"):
        SelectiveInferenceTask(Crops(), score).predict_step(batch)

    class Step(Crops):
        def predict_step(self, batch):
            return self(batch[0])

    with pytest.raises(ValueError, match=f"{2 * n[1]} rows .* batch of {n[1]} rows"):
        SelectiveInferenceTask(Step(), score).predict_step(batch)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda z: z[:, 0], ValueError, r"\(B, D\).*\(24,\)"),
        (lambda z: (z, z), TypeError, "tuple of .*features_key"),
        (lambda z: z[:, :2], ValueError, "2 features"),
    ],
)
def test_features_of_another_shape_are_refused(data, score, make, error, message):
    # SP-LD-10
    class Odd(Net):
        def embed(self, x):
            return make(super().embed(x))

        def forward(self, x):
            self.embed(x)
            return x

    with pytest.raises(error, match=message):
        SelectiveInferenceTask(Odd(), score).predict_step(data)


def test_features_may_be_arrays(net, data, score):
    # SP-LD-10
    class Arrays(Net):
        def embed(self, x):
            return super().embed(x).detach().numpy()

        def forward(self, x):
            return torch.from_numpy(self.embed(x))

    arrays = Arrays()
    arrays.load_state_dict(net.state_dict())
    out = SelectiveInferenceTask(arrays, score).predict_step(data)
    np.testing.assert_allclose(out["score"], score.score_samples(embedding(net, data[0])), 1e-6)


# devices, precision, state


def test_a_score_goes_where_the_features_are_and_shares_its_arrays(score):
    # SP-TK-12
    pipeline = make_pipeline(StandardScaler(), score)
    view = _view_on(torch.device("cuda", 1), pipeline)
    assert view[-1].device == "cuda:1"
    assert view[-1].calibration_scores_ is score.calibration_scores_
    assert score.device == "cpu"
    forest = IsolationForest()
    assert _view_on(torch.device("cuda"), forest) is forest


def test_a_task_without_data_is_refused_by_name(net, data, score):
    # SP-TK-12: meta stands in for an accelerator
    task = SelectiveInferenceTask(net, score).to("meta")
    with pytest.raises((ValueError, TypeError), match="meta"):
        task.predict_step((data[0].to("meta"), data[1]))


def test_half_precision(net, data, score):
    batches = loader(*data)
    (whole,) = test(SelectiveInferenceTask(net, score), batches)
    task = SelectiveInferenceTask(net, score)
    outputs = trainer(precision="bf16-mixed").predict(task, batches)
    half = torch.cat([output["score"] for output in outputs])
    np.testing.assert_allclose(half, score.score_samples(embedding(net, data[0])), atol=0.05)
    (mixed,) = trainer(precision="bf16-mixed").test(task, batches, verbose=False)
    assert mixed.keys() == whole.keys()


def test_train_flags_and_methods_are_as_before(net, data, score):
    # SP-LD-08, SP-LD-09
    net.train()
    net.head.eval()
    flags = {name: module.training for name, module in net.named_modules()}
    attributes = set(vars(net))
    for task in (
        SelectiveInferenceTask(net, score),
        SelectiveInferenceTask(net, score, layer="body"),
    ):
        predict(task, loader(*data))
        test(task, loader(*data))
    assert {name: module.training for name, module in net.named_modules()} == flags
    assert set(vars(net)) - attributes <= {"_trainer", "_fabric"}
    assert not net.body._forward_hooks


def test_a_batch_that_fails_leaves_no_hook(net, score):
    attributes = set(vars(net))
    for how in ({}, {"layer": "body"}):
        with pytest.raises(RuntimeError, match="shapes"):
            SelectiveInferenceTask(net, score, **how).predict_step(torch.zeros(2, D + 1))
    assert set(vars(net)) == attributes
    assert not net.body._forward_hooks


def test_checkpoints_of_the_task_are_those_of_the_wrapped_task(net, data, score, tmp_path):
    # SP-TK-16
    X, y = data
    kept = trainer()
    kept.strategy.connect(net)
    kept.save_checkpoint(tmp_path / "task.ckpt")
    want = predict(SelectiveInferenceTask(net, score), loader(X, y))

    torch.manual_seed(5)
    task = SelectiveInferenceTask(Net(), score)
    assert task.state_dict().keys() == net.state_dict().keys()
    assert not torch.equal(predict(task, loader(X, y))["score"], want["score"])
    outputs = trainer().predict(task, loader(X, y), ckpt_path=tmp_path / "task.ckpt")
    assert torch.equal(torch.cat([o["score"] for o in outputs]), want["score"])

    kept.strategy.connect(task)
    kept.save_checkpoint(tmp_path / "wrapped.ckpt")
    assert set(torch.load(tmp_path / "wrapped.ckpt", weights_only=True)["state_dict"]) == set(
        net.state_dict()
    )
    loaded = SelectiveInferenceTask.load_from_checkpoint(
        tmp_path / "wrapped.ckpt", task=Net(), score=score
    )
    for name, value in predict(loaded, loader(X, y)).items():
        assert torch.equal(value, want[name])
    Net().load_state_dict(torch.load(tmp_path / "wrapped.ckpt")["state_dict"])


def test_pickles_and_copies_predict_the_same(net, data, score):
    task = SelectiveInferenceTask(net, score)
    test(task, loader(*data))
    want = predict(task, loader(*data))
    for other in (pickle.loads(pickle.dumps(task)), copy.deepcopy(task)):
        assert other.task is not net
        for name, value in predict(other, loader(*data)).items():
            assert torch.equal(value, want[name])


# libraries


def test_a_plain_torch_module_is_a_task(data, score):
    module = torch.nn.Sequential(
        collections.OrderedDict(embed=torch.nn.Linear(D, 5), head=torch.nn.Linear(5, C))
    )
    out = predict(SelectiveInferenceTask(module, score), loader(*data))
    assert out["predictions"].shape == (N, C)


def test_a_module_of_the_other_lightning_is_told_which_trainer_runs_it(data, score):
    # As pytorch_lightning.LightningModule is, which need not be installed.
    tree = {"__module__": "pytorch_lightning.core.module"}

    class Other(type("LightningModule", (torch.nn.Module,), tree)):
        embed, forward = Net.embed, Net.forward

        def __init__(self):
            super().__init__()
            self.body, self.head = torch.nn.Linear(D, 5), torch.nn.Linear(5, C)
            self.n_embed = self.n_forward = 0

    with pytest.warns(UserWarning, match=r"Other comes from pytorch_lightning.*lightning\.Trainer"):
        task = SelectiveInferenceTask(Other(), score)
    assert len(predict(task, loader(*data))["score"]) == N
    assert isinstance(task, lightning.pytorch.LightningModule)


def test_a_missing_library_names_the_extra(monkeypatch):
    for name in ("lightning", "_lightning_writer"):
        monkeypatch.delitem(sys.modules, f"sklearn_seapig.adapters.{name}")
    monkeypatch.setitem(sys.modules, "lightning", None)
    monkeypatch.setitem(sys.modules, "lightning.pytorch.callbacks", None)
    with pytest.raises(ImportError, match=r"pip install 'sklearn-seapig\[lightning\]'"):
        importlib.import_module("sklearn_seapig.adapters.lightning")
    assert not {"SelectiveInferenceTask", "SelectivePredictionWriter"} & set(sklearn_seapig.__all__)
