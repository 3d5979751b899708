"""What SelectiveInferenceTask reads of tasks and takes of scores, in the less common cases."""

import pickle
import threading

import numpy as np
import pytest
import torch
from lightning import LightningModule, Trainer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MeanMetric, Metric, MetricCollection, SumMetric
from torchmetrics.aggregation import RunningMean
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    MulticlassROC,
)
from torchmetrics.regression import MeanSquaredError, R2Score

from sklearn_seapig import (
    EnergyScore,
    EuclideanScore,
    GroupThreshold,
    QuantileThreshold,
    SelectiveClassifier,
    SelectiveInferenceTask,
    TorchEmbedder,
)
from sklearn_seapig.adapters._lightning_reading import paired, pick_target

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*num_workers"),
    pytest.mark.filterwarnings("ignore:.*litlogger|.*litmodels"),
]

N, D = 24, 4  # embeddings and logits have D columns too, so that a mistake is no error of shape


class Net(LightningModule):
    """A body and a head."""

    def __init__(self):
        super().__init__()
        self.body, self.head = torch.nn.Linear(D, D), torch.nn.Linear(D, D)
        self.test_acc = MulticlassAccuracy(D, average="micro")

    def embed(self, x):
        return self.body(x)

    def forward(self, x):
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
    return X, torch.randint(0, D, (N,), generator=generator)


@pytest.fixture
def score(net):
    reference = torch.randn(60, D, generator=torch.Generator().manual_seed(2))
    return EuclideanScore(k=3, quantile=0.9).fit(net.embed(reference).detach())


def trainer(**params):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return Trainer(accelerator="cpu", devices=1, enable_checkpointing=False, **quiet, **params)


def loader(*columns):
    return DataLoader(TensorDataset(*columns), batch_size=8)


def test(task, data):
    (metrics,) = trainer().test(task, loader(*data), verbose=False)
    return metrics


test.__test__ = False


def named(*metrics):
    return {f"{part}/{m}" for part in ("full", "selected", "rejected") for m in metrics}


# scores


WRAPS = {
    "frozen": lambda embedder: [FrozenEstimator(embedder), EuclideanScore(k=3)],
    "a pipeline": lambda embedder: [make_pipeline(embedder), EuclideanScore(k=3)],
    "all in a pipeline": lambda embedder: [make_pipeline(embedder, EuclideanScore(k=3))],
    "with a scaler": lambda embedder: [
        make_pipeline(embedder, StandardScaler()),
        EuclideanScore(k=3),
    ],
    "after nothing": lambda embedder: ["passthrough", embedder, EuclideanScore(k=3)],
    "frozen pipeline": lambda embedder: [
        FrozenEstimator(make_pipeline(embedder, StandardScaler()).fit(np.eye(D))),
        EuclideanScore(k=3),
    ],
}


@pytest.mark.parametrize("name", WRAPS)
def test_an_embedder_is_applied_once_wherever_a_pipeline_holds_it(net, data, name):
    X = data[0].numpy()
    score = make_pipeline(*WRAPS[name](TorchEmbedder(net))).fit(X)
    for given in (score, FrozenEstimator(score)):
        out = SelectiveInferenceTask(net, given).predict_step(data)
        np.testing.assert_allclose(out["score"], score.score_samples(X), rtol=1e-5)
    with pytest.raises(ValueError, match="no part of task"):
        SelectiveInferenceTask(Net(), score)


def test_an_embedder_of_the_task_behind_other_steps_is_refused(net, data):
    X = data[0].numpy()
    score = make_pipeline(StandardScaler(), TorchEmbedder(net), EuclideanScore(k=3)).fit(X)
    with pytest.raises(ValueError, match="TorchEmbedder of a part of the task behind"):
        SelectiveInferenceTask(net, score)


def test_an_embedder_of_another_network_may_follow(net, data, score):
    other = TorchEmbedder(torch.nn.Linear(D, 2), method="forward")
    Z = net.embed(data[0]).detach().numpy()
    score = make_pipeline(StandardScaler(), other, EuclideanScore(k=3)).fit(Z)
    out = SelectiveInferenceTask(net, score).predict_step(data)
    np.testing.assert_allclose(out["score"], score.score_samples(Z), rtol=1e-5)


@pytest.mark.parametrize(
    "wrap", [FrozenEstimator, make_pipeline, lambda s: make_pipeline(FrozenEstimator(s))]
)
def test_a_frozen_score_of_logits_sees_logits(net, data, wrap):
    logits = net(data[0]).detach()
    score = EnergyScore().fit(logits)
    out = SelectiveInferenceTask(net, wrap(score)).predict_step(data)
    np.testing.assert_allclose(out["score"], score.score_samples(logits), rtol=1e-5)


@pytest.mark.parametrize("confidence", [EuclideanScore(k=3), None])
@pytest.mark.parametrize("wrap", [lambda m: m, FrozenEstimator])
def test_a_new_threshold_of_a_selective_classifier_counts_at_once(net, data, confidence, wrap):
    Z, y = net.embed(data[0]).detach().numpy(), data[1].numpy()
    model = SelectiveClassifier(LogisticRegression(), confidence, QuantileThreshold(0.9))
    model.set_params(random_state=0, calibration_size=0.5).fit(Z, y)
    task = SelectiveInferenceTask(net, wrap(model))
    before = task.predict_step(data)["selected"].sum()
    model.set_threshold(0.3)
    selected = task.predict_step(data)["selected"]
    assert selected.tolist() == model.select(Z).selected.tolist()
    assert 0 < selected.sum() < before
    model.set_threshold(GroupThreshold(QuantileThreshold(0.5), min_size=1))
    with pytest.raises(ValueError, match=r"GroupThreshold.*group of each row"):
        task.predict_step(data)


def test_a_selective_classifier_may_end_a_pipeline(net, data):
    Z, y = net.embed(data[0]).detach().numpy(), data[1].numpy()
    model = SelectiveClassifier(LogisticRegression(), EuclideanScore(k=3), random_state=0)
    pipeline = Pipeline([("scale", StandardScaler()), ("model", model)]).fit(Z, y)
    out = SelectiveInferenceTask(net, pipeline).predict_step(data)
    want = pipeline[-1].select(pipeline[0].transform(Z))
    np.testing.assert_allclose(out["score"], want.score, rtol=1e-5)
    assert out["selected"].tolist() == want.selected.tolist()


# hooks and steps


def test_what_a_hook_does_at_the_start_is_undone_at_the_end(data, score):
    class Swapping(Net):
        swapped = 0

        def on_test_start(self):
            self.swapped += 1

        def on_test_end(self):
            self.swapped -= 1

        on_predict_start, on_predict_end = on_test_start, on_test_end

        def on_predict_epoch_start(self):
            self.swapped += 10

        def on_predict_epoch_end(self):
            self.swapped -= 10

        def predict_step(self, batch):
            seen.append(self.swapped)
            return self(batch[0])

    seen, swapping = [], Swapping()
    task = SelectiveInferenceTask(swapping, score)
    trainer().predict(task, loader(*data))
    test(task, data)
    assert set(seen) == {11}
    assert swapping.swapped == 0


@pytest.mark.parametrize("n_loaders", [1, 2])
def test_a_predict_step_is_called_as_lightning_calls_it(data, score, n_loaders):
    class Other(Net):
        def predict_step(self, batch, i=-1, dl=-1):
            seen.append((i, dl))
            return self(batch[0])

    class Named(Net):
        def predict_step(self, batch, batch_idx, **kwargs):
            seen.append((batch_idx, kwargs))
            return self(batch[0])

    class Several(Net):
        def predict_step(self, batch, i, dataloader_idx):
            seen.append((i, dataloader_idx))
            return self(batch[0])

    for net in (Other(), Named()) if n_loaders == 1 else (Several(),):
        seen = []
        trainer().predict(net, [loader(*data)] * n_loaders)
        plain, seen = seen, []
        trainer().predict(SelectiveInferenceTask(net, score), [loader(*data)] * n_loaders)
        assert seen == plain
        assert [index for index, _ in seen] == [0, 1, 2] * n_loaders


@pytest.mark.parametrize("pack", [dict, tuple, list])
def test_rows_are_counted_whatever_a_predict_step_returns(data, score, pack):
    # SP-TK-17
    class Crops(Net):
        def embed(self, x):
            return self.body(torch.cat([x, x]))

        def predict_step(self, batch):
            logits = self(batch[0])[: len(batch[0])]
            return {"logits": logits} if pack is dict else pack([logits, batch[1]])

    with pytest.raises(ValueError, match=r"48 rows .* batch of 24 rows"):
        SelectiveInferenceTask(Crops(), score).predict_step(data)


def test_predictions_may_have_their_rows_on_another_axis(data, score):
    class Stacked(Net):
        def predict_step(self, batch):
            return torch.stack([self(batch[0])] * 3)

    out = SelectiveInferenceTask(Stacked(), score).predict_step(data)
    assert out["predictions"].shape == (3, N, D)
    assert len(out["score"]) == N


def test_rows_of_a_step_that_reads_its_batch_in_its_own_way(net, data, score):
    class Odd(Net):
        def predict_step(self, batch):
            return self(batch["mri"])

    odd = Odd()
    odd.load_state_dict(net.state_dict())
    out = SelectiveInferenceTask(odd, score).predict_step({"mri": data[0]})
    np.testing.assert_allclose(
        out["score"], score.score_samples(net.embed(data[0]).detach()), rtol=1e-5
    )


def test_threads_take_turns(net, data, score):
    task = SelectiveInferenceTask(net, score)
    want = task.predict_step(data)["score"]
    found = []

    def work():
        found.extend(task.predict_step(data)["score"] for _ in range(40))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 160
    assert all(torch.equal(scores, want) for scores in found)
    assert "embed" not in vars(net)
    pickle.dumps(net)


# compiled modules


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_the_output_of_a_traced_module_can_be_read(data, score):
    plain = torch.nn.Sequential(torch.nn.Linear(D, D))
    module = torch.jit.trace(plain, data[0])
    out = SelectiveInferenceTask(module, score, method="forward").predict_step(data)
    want = score.score_samples(plain(data[0]).detach())
    np.testing.assert_allclose(out["score"], want, rtol=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_what_torch_jit_does_not_show_is_refused_when_it_is_named(net, score):
    net.body = torch.jit.script(net.body)
    for how in ({"layer": "body"}, {"method": "body"}):
        with pytest.raises(ValueError, match=r"body.*torch\.jit has compiled"):
            SelectiveInferenceTask(net, score, **how)
    with pytest.raises(ValueError, match=r"'forward' of.*torch\.jit has compiled"):
        SelectiveInferenceTask(net.body, score, method="forward")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_layer_of_a_compiled_module_that_nobody_sees_says_why(net, data, score):
    traced = torch.jit.trace(torch.nn.Sequential(torch.nn.Linear(D, D)), data[0])
    with pytest.raises(ValueError, match=r"0 ran 0 times.*torch\.compile"):
        SelectiveInferenceTask(traced, score, layer="0").predict_step(data)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_compiled_task_lends_its_metrics(net, data, score):
    want = test(SelectiveInferenceTask(net, score), data)
    compiled = torch.compile(net, backend="eager")
    assert test(SelectiveInferenceTask(compiled, score), data) == want
    assert test(SelectiveInferenceTask(compiled, score, metrics="test_acc"), data) == want


# metrics


@pytest.mark.parametrize(
    "extra", [MeanMetric(), 1 - SumMetric(), RunningMean(2), MetricCollection([MeanMetric()])]
)
def test_what_does_not_compare_predictions_is_left_out_by_name(net, data, score, extra):
    net.test_loss = extra
    with pytest.warns(UserWarning, match=r"\['test_loss'\] of Net are left out.*metrics="):
        metrics = test(SelectiveInferenceTask(net, score), data)
    assert set(metrics) == named("MulticlassAccuracy") | {"coverage"}
    with pytest.raises(ValueError, match="does not compare predictions"):
        SelectiveInferenceTask(net, score, metrics="test_loss")


class OfAMean(Metric):
    """A metric of predictions and targets that keeps a mean within."""

    full_state_update = False

    def __init__(self):
        super().__init__()
        self.mean = MeanMetric()

    def update(self, preds, target):
        self.mean.update((preds.argmax(1) == target).float())

    def compute(self):
        return self.mean.compute()


def test_a_metric_that_keeps_a_mean_within_is_taken(net, data, score):
    metrics = test(SelectiveInferenceTask(net, score, metrics=[OfAMean(), net.test_acc]), data)
    for part in ("full", "selected", "rejected"):
        assert metrics[f"{part}/OfAMean"] == pytest.approx(metrics[f"{part}/MulticlassAccuracy"])


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ("nope", r"'nope' is no metric of Net.*\['test_acc'\]"),
        ("body", r"'body' is no metric"),
        ([1], r"metrics=\[1\] cannot be joined"),
        ([MulticlassAccuracy(D), MulticlassAccuracy(D)], "cannot be joined.*MulticlassAccuracy"),
        (MeanMetric(), "MeanMetric, which does not compare"),
        ([R2Score(), MeanMetric()], "MeanMetric, which does not compare"),
    ],
)
def test_metrics_that_cannot_work_are_refused_when_they_are_given(net, score, metrics, message):
    with pytest.raises(ValueError, match=message):
        SelectiveInferenceTask(net, score, metrics=metrics)


def test_given_metrics_are_no_part_of_the_task_and_see_nothing(net, data, score):
    metric = MulticlassAccuracy(D)
    task = SelectiveInferenceTask(net, score, metrics=metric)
    test(task, data)
    assert all(module is not metric for module in task.modules())
    assert metric.update_count == 0


def test_a_value_for_each_class_is_logged_entry_by_entry(net, data, score):
    by_class = {"acc": MulticlassAccuracy(D, average=None)}
    metrics = test(SelectiveInferenceTask(net, score, metrics=by_class), data)
    assert set(metrics) == named(*(f"acc/{i}" for i in range(D))) | {"coverage"}
    want = by_class["acc"](net(data[0]), data[1])
    found = [metrics[f"full/acc/{i}"] for i in range(D)]
    np.testing.assert_allclose(found, want, rtol=1e-6)


def test_a_matrix_is_refused_before_the_first_batch(net, data, score):
    calls = []
    net.body.register_forward_hook(lambda *_: calls.append(1))
    metrics = [MulticlassAccuracy(D), MulticlassConfusionMatrix(D)]
    with pytest.raises(ValueError, match=r"\['MulticlassConfusionMatrix'\].*SelectiveMetric"):
        test(SelectiveInferenceTask(net, score, metrics=metrics), data)
    assert not calls


@pytest.mark.filterwarnings("ignore:No (posi|nega)tive samples")
def test_a_curve_is_left_out_and_the_other_metrics_are_logged(net, data, score):
    task = SelectiveInferenceTask(net, score, metrics=[MulticlassAccuracy(D), MulticlassROC(D)])
    with pytest.warns(UserWarning, match=r"full/MulticlassROC.*not logged"):
        metrics = test(task, data)
    assert set(metrics) == named("MulticlassAccuracy") | {"coverage"}


def test_a_metric_that_refuses_its_arguments_says_what_it_was_given(data, score):
    class Rich(Net):
        def forward(self, x):
            return {"logits": super().forward(x)}

    with pytest.raises(ValueError, match=r"dict with keys \['logits'\] and a Tensor.*output_key"):
        test(SelectiveInferenceTask(Rich(), score), data)


def test_a_target_of_one_column_stays_where_predictions_have_one_more():
    predictions, target = torch.rand(5, 3, 1), torch.zeros(5, 1)
    assert [part.shape for part in paired(predictions, target)] == [(5, 3, 1), (5, 1)]


def test_two_targets_by_default_keys_are_refused():
    x, y, other = torch.zeros(4, 2), torch.ones(4), torch.zeros(4)
    with pytest.raises(ValueError, match=r"two targets.*'y'.*target_key to 'y' or to 1"):
        pick_target(({"x": x, "y": y}, other), None)
    assert pick_target(({"x": x, "y": y}, other), "y") is y
    assert pick_target(({"x": x, "y": y}, other), 1) is other
    assert pick_target(({"x": x, "y": y}, "meta"), None) is y
    assert pick_target((x, {"y": y}), None) is y


# checkpoints


def test_hyperparameters_of_the_task_are_not_those_of_the_wrapper(net, data, score, tmp_path):
    class Hyper(Net):
        def __init__(self, layer="x", input_key=3):
            super().__init__()
            self.save_hyperparameters()

    hyper = Hyper()
    kept = trainer()
    kept.strategy.connect(hyper)
    kept.save_checkpoint(tmp_path / "task.ckpt")
    loaded = SelectiveInferenceTask.load_from_checkpoint(
        tmp_path / "task.ckpt", task=Net(), score=score
    )
    assert loaded.input_key is None
    want = SelectiveInferenceTask(hyper, score).predict_step(data)
    assert torch.equal(loaded.predict_step(data)["score"], want["score"])


def test_what_a_task_saves_in_a_checkpoint_it_finds_there(data, score, tmp_path):
    class Saving(Net):
        extra = None

        def on_save_checkpoint(self, checkpoint):
            checkpoint["extra"] = 7

        def on_load_checkpoint(self, checkpoint):
            self.extra = checkpoint["extra"]

    saving = Saving()
    kept = trainer()
    kept.strategy.connect(SelectiveInferenceTask(saving, score))
    kept.save_checkpoint(tmp_path / "wrapped.ckpt")
    task = SelectiveInferenceTask(saving, score, metrics=MeanSquaredError())
    trainer().predict(task, loader(*data), ckpt_path=tmp_path / "wrapped.ckpt")
    assert saving.extra == 7
