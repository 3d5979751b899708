"""Each row of the README's table: the seapig call, spelled out by hand, and ours."""

import numpy as np
import pytest
import torch
from pyod.models.knn import KNN
from sklearn import config_context
from sklearn.decomposition import PCA
from sklearn.pipeline import Pipeline, make_pipeline
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy

from sklearn_seapig import (
    EnergyScore,
    EntropyScore,
    EuclideanScore,
    PyODScore,
    RiskCoverageMetric,
    SelectiveMetric,
    TorchEmbedder,
    load,
    save,
)
from sklearn_seapig.metrics import ConfidenceDisplay, EmbeddingDisplay


@pytest.fixture
def sets():
    rng = np.random.default_rng(0)
    return tuple(rng.normal(size=(n, 16)) for n in (300, 100, 50))


def distances(X, Q, k):
    """seapig's s(x) with stat="mean": the mean distance to the k nearest rows of X."""
    all_distances = np.sqrt(((Q[:, None] - X[None]) ** 2).sum(axis=2))
    return np.sort(all_distances, axis=1)[:, :k].mean(axis=1)


def test_fit_with_calibration_rows_and_threshold(sets):
    X, Y, Q = sets
    score = EuclideanScore(k=5, stat="mean").fit(X, X_cal=Y)
    assert score.set_threshold(q=0.9) is score
    threshold = np.sort(distances(X, Y, 5))[91 - 1]  # ceil(101 * 0.9) = 91
    np.testing.assert_allclose(-score.offset_, threshold, rtol=1e-12)
    np.testing.assert_allclose(-score.score_samples(Q), distances(X, Q, 5), rtol=1e-12)
    assert score.offset_ == EuclideanScore(5, "mean", quantile=0.9).fit(X, X_cal=Y).offset_


def test_select_accepts_ties(sets):
    X, Y, _ = sets
    score = EuclideanScore(k=5, stat="mean", quantile=0.9).fit(X, X_cal=Y)
    selection = score.select(Y)
    np.testing.assert_array_equal(selection.selected, -selection.score <= -score.offset_)
    assert selection.selected.sum() == 91


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(16, 8)

    def embed(self, x):
        return self.layer(x)


def loader(X):
    data = TensorDataset(torch.from_numpy(X).float(), torch.zeros(len(X)))
    return DataLoader(data, batch_size=32)


def test_model_and_loaders(sets):
    X, Y, Q = sets
    model = Model()
    with config_context(enable_metadata_routing=True):
        pipe = Pipeline(
            [
                ("embed", TorchEmbedder(model)),
                ("score", EuclideanScore(k=3).set_fit_request(X_cal=True)),
            ],
            transform_input=["X_cal"],
        ).fit(loader(X), X_cal=loader(Y))
    embed = TorchEmbedder(model).transform
    by_hand = EuclideanScore(k=3).fit(embed(loader(X)), X_cal=embed(loader(Y)))
    assert pipe[-1].offset_ == by_hand.offset_

    selection = pipe[-1].select(pipe[:-1].transform(loader(Q)))
    np.testing.assert_array_equal(selection.score, by_hand.score_samples(embed(loader(Q))))
    np.testing.assert_array_equal(pipe.predict(loader(Q)) == 1, selection.selected)


def test_pca_before_the_score(sets):
    X, _, Q = sets
    pipe = make_pipeline(PCA(0.9, random_state=0), EuclideanScore(k=3)).fit(X)
    pca = PCA(0.9, random_state=0).fit(X)
    expected = EuclideanScore(k=3).fit(pca.transform(X)).score_samples(pca.transform(Q))
    np.testing.assert_allclose(pipe.score_samples(Q), expected, rtol=1e-10)


def test_knn_search(sets):
    X, _, Q = sets
    found, indices = EuclideanScore(k=3).fit(X).kneighbors(Q)
    np.testing.assert_allclose(found, np.sqrt(((Q[:, None] - X[indices]) ** 2).sum(axis=2)))
    np.testing.assert_allclose(found.mean(axis=1), distances(X, Q, 3))


def test_labels_fit_a_temperature_on_request_only():
    logits = np.tile([4.0, 0.0, 0.0], (100, 1))
    labels = np.repeat([0, 1], [75, 25])
    assert EnergyScore().fit(logits, labels).temperature_ == 1.0
    fitted = EnergyScore(temperature="fit").fit(logits, labels)
    assert fitted.temperature_ == pytest.approx(2.232443, abs=1e-5)


def test_members_of_an_ensemble(sets):
    X = sets[0]
    score = EntropyScore("binary", members=True).fit(X)
    p = 1 / (1 + np.exp(-X))
    entropy = -(p * np.log(p) + (1 - p) * np.log(1 - p))
    np.testing.assert_allclose(-score.score_samples(X), entropy.mean(axis=1), rtol=1e-12)


def test_pyod_detectors_change_their_sign(sets):
    X, _, Q = sets
    ours = PyODScore(KNN(n_neighbors=3)).fit(X).score_samples(Q)
    np.testing.assert_array_equal(-ours, KNN(n_neighbors=3).fit(X).decision_function(Q))


def test_outlier_filter_drops_the_farthest_rows(sets):
    X, Y, _ = sets
    X = X.copy()
    X[:15] += 100 * np.arange(1, 16)[:, None]
    score = EuclideanScore(k=3, trim=0.05).fit(X, X_cal=Y)
    np.testing.assert_array_equal(np.flatnonzero(~score.support_), np.arange(15))
    assert score.offset_ == EuclideanScore(k=3).fit(X[15:], X_cal=Y).offset_


def test_embeddings_are_kept_in_a_folder(sets, tmp_path):
    X, _, Q = sets
    embedder = TorchEmbedder(Model(), cache=tmp_path)
    first = embedder.transform(X)
    embedder.transform(Q)
    assert len(list(tmp_path.iterdir())) == 2
    np.testing.assert_array_equal(embedder.transform(X), first)
    assert len(list(tmp_path.iterdir())) == 2


def test_progress_is_switched_by_a_parameter(sets, capsys):
    X, _, _ = sets
    TorchEmbedder(Model(), progress=False).transform(X)
    assert capsys.readouterr().err == ""
    TorchEmbedder(Model(), progress=True).transform(X)
    assert "TorchEmbedder" in capsys.readouterr().err


def test_search_is_exact_unless_asked():
    X = np.random.default_rng(0).normal(size=(10_100, 4))
    exact = EuclideanScore().fit(X, X_cal=X[:10] + 1)
    assert exact.search_spec_["exact"]
    named = EuclideanScore(algorithm="hnsw").fit(X, X_cal=X[:10] + 1)
    assert not named.search_spec_["exact"]
    assert named.recall_check(X[:200] + 0.1) > 0.95


def test_scores_are_saved_and_loaded(sets, tmp_path):
    X, Y, Q = sets
    score = EuclideanScore().fit(X, X_cal=Y)
    save(score, tmp_path / "score.skops")
    np.testing.assert_array_equal(
        load(tmp_path / "score.skops").score_samples(Q), score.score_samples(Q)
    )


def test_plots_show_threshold_and_sets(sets):
    X, Y, Q = sets
    score = EuclideanScore().fit(X, X_cal=Y)
    plt = pytest.importorskip("matplotlib.pyplot")
    shown = ConfidenceDisplay.from_estimator(score, Q)
    assert shown.threshold == score.offset_
    embedded = EmbeddingDisplay.from_estimator(score, X, Y, Q, reducer="pca")
    labels = [text.get_text() for text in embedded.ax_.get_legend().get_texts()]
    assert any(label.startswith("calibration (100)") for label in labels)
    plt.close("all")


def test_metrics_have_the_names_of_seapig():
    preds, target = torch.tensor([0, 1, 5, 1]), torch.tensor([0, 1, 0, 1])
    confidence = torch.tensor([0.9, 0.8, 0.1, 0.7])
    curve = RiskCoverageMetric()
    curve.update(preds, target, confidence)
    # The error of class 5 for class 0 is 1, not 5.
    np.testing.assert_allclose(curve.curve().selective_risk, [0, 0, 0, 0.25])
    metric = SelectiveMetric(MulticlassAccuracy(6, average="micro"))
    metric.update(preds, target, confidence > 0.5)
    assert metric.compute()["selected/MulticlassAccuracy"] == 1
    assert metric.compute()["rejected/MulticlassAccuracy"] == 0
