"""Fault cases that no other file is the place for, each with its id."""

import joblib
import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader, TensorDataset

from sklearn_seapig import (
    CosineScore,
    EuclideanScore,
    MahalanobisScore,
    QuantileThreshold,
    SelectiveClassifier,
    TorchEmbedder,
    load,
    metrics,
    save,
)

NEIGHBORS = [EuclideanScore(), CosineScore(), MahalanobisScore()]
neighbor_score = pytest.mark.parametrize("score", NEIGHBORS, ids=repr)


@pytest.mark.parametrize("k", [1, 10])
def test_every_neighbor_is_found_in_clusters_of_low_rank(k):  # SP-NN-32
    rng = np.random.default_rng(0)
    centers = 10 * rng.normal(size=(50, 16))
    axes = rng.normal(size=(16, 256))

    def draw(n):
        return (centers[rng.integers(50, size=n)] + rng.normal(size=(n, 16))) @ axes

    X, Q = draw(20_000), draw(100)
    distances, indices = EuclideanScore(k=k).fit(X, X_cal=Q).kneighbors(Q)
    reference = cdist(Q, X)
    nearest = np.argpartition(reference, k, axis=1)[:, :k]
    assert [set(row) for row in indices] == [set(row) for row in nearest]
    expected = np.sort(np.take_along_axis(reference, nearest, axis=1), axis=1)
    np.testing.assert_allclose(distances, expected, rtol=1e-9)


def test_a_bin_count_is_no_parameter_of_an_exact_curve():  # SP-RC-18
    for metric in (metrics.risk_coverage_curve, metrics.aurc_score, metrics.excess_aurc_score):
        for n_bins in (0, 1, 2.5):
            with pytest.raises(TypeError, match="n_bins"):
                metric([0, 1, 0], [0.3, 0.2, 0.1], n_bins=n_bins)


def test_neighbors_are_rows_of_what_fit_was_given():  # SP-LD-13
    X = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    data = TensorDataset(torch.from_numpy(X))
    shuffled = DataLoader(data, batch_size=7, shuffle=True, generator=torch.manual_seed(0))
    embedder = TorchEmbedder(torch.nn.Flatten(), method="forward")
    with pytest.warns(UserWarning, match="DataLoader that shuffles"):
        rows = embedder.transform(shuffled)
    assert not np.array_equal(rows, X)
    for trim in (None, 0.2):
        score = EuclideanScore(k=3, trim=trim).fit(rows)
        distances, indices = score.kneighbors(X[:9])
        found = np.linalg.norm(rows[indices] - X[:9, None], axis=2)
        np.testing.assert_allclose(found, distances, atol=1e-6)
        assert score.support_[indices].all()
    ordered = embedder.transform(DataLoader(data, batch_size=7))
    _, indices = EuclideanScore(k=1).fit(ordered).kneighbors(X)
    np.testing.assert_array_equal(indices[:, 0], np.arange(60))


@neighbor_score
@pytest.mark.parametrize("with_calibration", [False, True])
@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_a_trimmed_outlier_is_far_from_the_reference_in_every_configuration(
    score, with_calibration, device
):  # SP-CA-04
    rng = np.random.default_rng(0)
    X = np.vstack([rng.normal(loc=5, size=(200, 4)), np.full((1, 4), -50.0) * [1, 1, 1, -1]])
    fresh = rng.normal(loc=5, size=(50, 4))
    fitted = clone(score).set_params(k=1, trim=0.02, quantile=0.95, device=device)
    fitted.fit(X, X_cal=fresh if with_calibration else None)
    assert not fitted.support_[-1]
    assert fitted.score_samples(X[-1:]) < fitted.score_samples(fresh).min()
    assert fitted.predict(X[-1:]) == -1


def test_a_query_without_direction_is_rejected():  # PY-15
    X = np.random.default_rng(0).normal(loc=1, size=(100, 4))
    score = CosineScore(quantile=0.95).fit(X)
    zero = np.zeros((1, 4))
    assert score.score_samples(zero) == -2
    assert score.predict(zero) == -1
    assert score.kneighbors(zero)[0].tolist() == [[2.0] * 5]


@neighbor_score
@pytest.mark.parametrize(
    ("method", "rows", "text"),
    [
        ("fit", np.full((9, 3), np.nan), "X contains NaN in 9 of 9 rows"),
        ("fit", np.full((9, 3), np.inf), "X contains infinity in 9 of 9 rows"),
        ("fit", np.eye(3), r"k=5 .*n_samples=3 \(3 samples\)"),
        ("fit", np.ones(9), "X: Expected 2D array, got 1D array"),
        ("kneighbors", np.ones(3), "X: Expected 2D array, got 1D array"),
        ("kneighbors", np.ones((2, 4)), "X has 4 features, but .* is expecting 3 features"),
        ("kneighbors", np.full((2, 3), np.nan), "X contains NaN in 2 of 2 rows"),
    ],
)
def test_errors_name_the_rows_and_counts(score, method, rows, text):  # SK-01
    fitted = clone(score).fit(np.random.default_rng(0).normal(size=(30, 3)))
    with pytest.raises(ValueError, match=text):
        getattr(fitted, method)(rows)
    with pytest.raises(ValueError, match=r"k=31 .*n_samples=30 \(30 samples\)"):
        fitted.kneighbors(np.ones((1, 3)), k=31)


@neighbor_score
def test_workers_find_the_neighbors_that_the_parent_found(score):  # SK-09
    rng = np.random.default_rng(0)
    X, Q = rng.normal(size=(500, 4)), rng.normal(size=(40, 4))
    fitted = clone(score).fit(X)
    expected = fitted.kneighbors(Q)  # the parent has used its threads
    halves = joblib.Parallel(n_jobs=2)(
        joblib.delayed(fitted.kneighbors)(half) for half in (Q[:20], Q[20:])
    )
    for found, wanted in zip(zip(*halves, strict=True), expected, strict=True):
        np.testing.assert_array_equal(np.concatenate(found), wanted)


def test_a_selective_model_comes_back_from_a_safe_file(tmp_path):  # SEC-09
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(200, 3)), rng.integers(0, 2, size=200)
    model = SelectiveClassifier(
        make_pipeline(StandardScaler(), LogisticRegression()),
        EuclideanScore(),
        QuantileThreshold(0.7),
        random_state=0,
    ).fit(X, y)
    save(model, tmp_path / "model.skops")
    again = load(tmp_path / "model.skops")
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    np.testing.assert_array_equal(again.score_samples(X), model.score_samples(X))
    assert again.threshold_ == model.threshold_
    assert again.guarantee_ == model.guarantee_


def test_the_coverage_that_a_detector_reports_is_what_fresh_rows_show():
    # PY-12
    pytest.importorskip("pyod")
    from sklearn_seapig import PyODScore

    rng = np.random.default_rng(0)
    shares = []
    for _ in range(60):
        X, X_cal, fresh = (
            rng.normal(size=(100, 3)),
            rng.normal(size=(99, 3)),
            rng.normal(size=(200, 3)),
        )
        score = PyODScore(quantile=0.9).fit(X, X_cal=X_cal)
        shares.append(np.mean(score.predict(fresh) == 1))
    error = np.std(shares) / np.sqrt(len(shares))
    assert abs(np.mean(shares) - 0.9) <= 3 * error
