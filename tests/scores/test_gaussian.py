"""GaussianScore: its numbers, labels, calibration, few or flat rows, and state."""

import json
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.base import clone
from sklearn.covariance import EmpiricalCovariance, ledoit_wolf, shrunk_covariance
from sklearn.metrics import roc_auc_score
from sklearn.utils._param_validation import InvalidParameterError

from sklearn_seapig import GaussianScore

CROSS = np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
TOY = np.r_[CROSS, CROSS + [10, 0]], np.repeat([0, 1], 4)
relatives = pytest.mark.parametrize("relative", [False, True])


def sample(n=300, d=6, n_classes=3, seed=0, offset=0.0):
    """Return correlated rows around class means, and their classes."""
    random = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(d, d)) + 2 * np.eye(d)
    means = np.random.default_rng(98).normal(size=(n_classes, d)) * 3
    y = np.arange(n) % n_classes
    return random.normal(size=(n, d)) @ mixing + means[y] + offset, y


def squared(Q, mean, covariance):
    """Return squared Mahalanobis distances by a linear solve."""
    gap = Q - mean
    return np.sum(gap * np.linalg.solve(covariance, gap.T).T, axis=1)


def reference(X, y, Q, relative=False, shrinkage=0.0):
    """Return the confidences by plain numpy and scikit-learn's shrinkage."""
    means = {c: X[y == c].mean(axis=0) for c in np.unique(y)}
    tied = sum(np.cov(X[y == c].T, bias=True) * np.mean(y == c) for c in means)
    tied = shrunk_covariance(tied, shrinkage)
    square = np.min([squared(Q, mean, tied) for mean in means.values()], axis=0)
    if relative:
        everything = shrunk_covariance(np.cov(X.T, bias=True), shrinkage)
        square -= squared(Q, X.mean(axis=0), everything)
    return -square


class TestNumbers:
    def test_toy_values(self):
        """Rows 12 and 13 of the formula table"""
        score = GaussianScore().fit(*TOY)
        np.testing.assert_allclose(score.covariance_, 0.5 * np.eye(2), atol=1e-15)
        np.testing.assert_allclose(score.means_, [[0, 0], [10, 0]], atol=1e-15)
        assert score.score_samples([[3.0, 4.0]]) == pytest.approx(-50)
        score = GaussianScore(relative=True).fit(*TOY)
        np.testing.assert_allclose(score.location_, [5, 0])
        np.testing.assert_allclose(score.background_covariance_, np.diag([25.5, 0.5]), atol=1e-15)
        assert score.score_samples([[3.0, 4.0]]) == pytest.approx(-17.843137, abs=1e-6)

    @relatives
    @pytest.mark.parametrize("shrinkage", [None, 0.0, 0.3, 1.0])
    @pytest.mark.parametrize("offset", [0.0, 1e4])
    def test_agreement_with_plain_numpy(self, relative, shrinkage, offset):
        (X, y), (Q, _) = sample(offset=offset), sample(seed=1, offset=offset)
        got = GaussianScore(relative=relative, shrinkage=shrinkage).fit(X, y).score_samples(Q)
        want = reference(X, y, Q, relative, shrinkage or 0.0)
        np.testing.assert_allclose(got, want, rtol=1e-7, atol=1e-7)

    def test_one_class_is_the_empirical_covariance_of_scikit_learn(self):
        X, Q = sample()[0], sample(seed=1)[0]
        got = GaussianScore().fit(X).score_samples(Q)
        np.testing.assert_allclose(got, -EmpiricalCovariance().fit(X).mahalanobis(Q))

    @pytest.mark.parametrize(("n", "d"), [(300, 6), (60, 20), (20, 30), (50, 1)])
    def test_automatic_shrinkage_is_that_of_scikit_learn(self, n, d):
        X, y = sample(n, d)
        score = GaussianScore(shrinkage="auto").fit(X, y)
        centered = X - score.means_[y]
        covariance, weight = ledoit_wolf(centered, assume_centered=True)
        assert score.shrinkage_ == pytest.approx(weight)
        np.testing.assert_allclose(score.covariance_, covariance, rtol=1e-9, atol=1e-9)

    def test_float32_rows_far_from_the_origin(self):
        X, y = sample(offset=1e4)
        X = X.astype(np.float32)
        got = GaussianScore().fit(X, y).score_samples(X)
        np.testing.assert_allclose(got, reference(X.astype(float), y, X.astype(float)), rtol=1e-6)
        assert got.dtype == np.float64

    def test_relative_differs_in_rank(self):
        (X, y), (Q, _) = sample(), sample(seed=1)
        plain, relative = (
            GaussianScore(relative=r).fit(X, y).score_samples(Q) for r in (False, True)
        )
        assert spearmanr(plain, relative).statistic < 0.99

    def test_relative_to_itself_is_zero(self):
        X = sample()[0]
        np.testing.assert_allclose(
            GaussianScore(relative=True).fit(X).score_samples(X), 0, atol=1e-10
        )

    @relatives
    def test_affine_maps_change_nothing(self, relative):
        (X, y), (Q, _) = sample(), sample(seed=1)
        matrix = np.random.default_rng(5).normal(size=(6, 6)) * np.geomspace(1e-3, 1e3, 6)
        score = GaussianScore(relative=relative)
        want = score.fit(X, y).score_samples(Q)
        got = score.fit(X @ matrix + 7, y).score_samples(Q @ matrix + 7)
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)
        assert score.offset_ == pytest.approx(reference_offset(X, y, relative))

    @relatives
    def test_a_row_has_one_score_in_every_batch(self, relative):
        (X, y), (Q, _) = sample(d=7), sample(3000, 7, seed=1)
        score = GaussianScore(relative=relative).fit(X, y)
        together = score.score_samples(Q)
        alone = np.concatenate([score.score_samples(row[None]) for row in Q[:40]])
        np.testing.assert_array_equal(alone, together[:40])
        np.testing.assert_array_equal(score.score_samples(Q[::-1])[::-1], together)

    def test_infinitely_far_rows_are_rejected(self):
        score = GaussianScore().fit(*TOY)
        assert score.predict([[1e200, 0.0]]) == -1
        with pytest.raises(ValueError, match="rescale X"):
            score.set_params(relative=True).fit(*TOY).score_samples([[1e200, 0.0]])

    @pytest.mark.parametrize("name", ["mnist_cnn", "cifar10_cnn"])
    def test_baselines(self, shared_data, name):
        published = json.loads((shared_data / "reference_values.json").read_text())["baselines"]
        published = published[name]["scores"]["Maha-class"]
        with np.load(shared_data / f"{name}.npz") as file:
            wanted = ("emb", "y", "split", "train_emb", "train_y", "test_emb", "test_y")
            wanted += ("logits", "test_logits", "ood_fashion_emb")
            data = {k: file[k] for k in wanted if k in file}
        if name == "mnist_cnn":
            for part, split in (("train", 0), ("test", 2)):
                for kind in ("emb", "y", "logits"):
                    data[f"{part}_{kind}"] = data[kind][data["split"] == split]
        with pytest.warns(UserWarning, match="constant within the classes"):  # dead units
            score = GaussianScore().fit(data["train_emb"], data["train_y"])
        seen = score.score_samples(data["test_emb"])
        right = data["test_logits"].argmax(axis=1) == data["test_y"]
        errors = roc_auc_score(right, seen)
        assert errors == pytest.approx(published["misclass"]["AUROC_err"], abs=0.01)
        other = score.score_samples(data["ood_fashion_emb"])
        foreign = roc_auc_score(np.repeat([1, 0], [len(seen), len(other)]), np.r_[seen, other])
        assert foreign == pytest.approx(published["ood_fashion"]["AUROC"], abs=0.01)


def without_each_row(X, y, relative=False):
    """Return the confidence of each row under a fit on all others."""
    every = np.arange(len(X))
    return np.concatenate(
        [reference(X[every != i], y[every != i], X[[i]], relative) for i in every]
    )


def reference_offset(X, y, relative):
    scores = np.sort(without_each_row(X, y, relative))[::-1]
    return scores[min(len(X), int(np.ceil((len(X) + 1) * 0.99))) - 1]


class TestCalibration:
    @relatives
    @pytest.mark.parametrize("n_classes", [1, 3])
    def test_scores_are_those_without_the_row(self, relative, n_classes):
        X, y = sample(60, 5, n_classes)
        got = GaussianScore(relative=relative).fit(X, y).calibration_scores_
        np.testing.assert_allclose(got, without_each_row(X, y, relative), atol=1e-9)

    def test_a_row_alone_in_its_class_is_scored_against_the_others(self):
        X, y = sample(60, 5)
        y[7] = 9
        score = GaussianScore().fit(X, y)
        assert score.counts_.tolist()[-1] == 1
        np.testing.assert_allclose(score.calibration_scores_, without_each_row(X, y), atol=1e-9)
        assert score.score_samples(X[[7]]) == pytest.approx(0, abs=1e-12)

    @pytest.mark.parametrize(("n_classes", "relative"), [(1, False), (3, False), (3, True)])
    @pytest.mark.parametrize(("n", "d"), [(200, 20), (100, 10), (60, 20)])
    def test_coverage_of_fresh_rows(self, n, d, n_classes, relative):
        accepted = []
        for seed in range(30):
            X, y = sample(n, d, n_classes, seed=seed)
            score = GaussianScore(relative=relative, quantile=0.9).fit(X, y)
            Q = sample(999, d, n_classes, seed=1000 + seed)[0]
            accepted.append(np.mean(score.predict(Q) == 1))
        assert np.mean(accepted) == pytest.approx(0.9, abs=0.03)

    @pytest.mark.parametrize("n_classes", [1, 3])
    def test_coverage_where_rows_are_few(self, n_classes):
        accepted = []
        for seed in range(30):
            X, y = sample(30, 25, n_classes, seed=seed)
            with pytest.warns(UserWarning, match="shrunk"):
                score = GaussianScore(quantile=0.9).fit(X, y)
            Q = sample(999, 25, n_classes, seed=1000 + seed)[0]
            accepted.append(np.mean(score.predict(Q) == 1))
        assert np.mean(accepted) == pytest.approx(0.9, abs=0.05)

    @pytest.mark.parametrize("kind", [list, pd.Series, np.asarray])
    def test_trim_leaves_out_the_farthest(self, kind):
        X, y = sample()
        X[5] += 100
        score = GaussianScore(trim=0.05).fit(X, kind(y))
        assert not score.support_[5]
        assert score.support_.sum() == 285 == score.counts_.sum()
        kept = GaussianScore().fit(X[score.support_], y[score.support_])
        np.testing.assert_array_equal(kept.calibration_scores_, score.calibration_scores_)

    def test_calibration_rows(self):
        (X, y), (Q, _) = sample(), sample(seed=1)
        score = GaussianScore().fit(X, y, X_cal=Q)
        np.testing.assert_array_equal(score.calibration_scores_, score.score_samples(Q))


class TestLabels:
    def test_none_is_one_class(self):
        X = sample()[0]
        without, constant = GaussianScore().fit(X), GaussianScore().fit(X, np.full(300, 4))
        np.testing.assert_array_equal(without.calibration_scores_, constant.calibration_scores_)
        assert without.classes_.tolist() == [0]
        assert constant.classes_.tolist() == [4]

    @pytest.mark.parametrize(
        "convert",
        [
            list,
            torch.tensor,
            pd.Series,
            lambda y: y.astype(float),
            lambda y: y.astype(object),
            lambda y: np.array(["a", "b", "c"])[y],
            lambda y: ["a" * (i + 1) for i in y],
            lambda y: pd.Series(["a", "b", "c"], dtype=object)[y],
            lambda y: pd.Categorical.from_codes(y, ["a", "b", "c"]),
            lambda y: pd.array(y, dtype="Int64"),
        ],
    )
    def test_kinds_of_labels(self, convert):
        X, y = sample()
        want, got = GaussianScore().fit(X, y), GaussianScore().fit(X, convert(y))
        np.testing.assert_array_equal(got.calibration_scores_, want.calibration_scores_)
        assert got.classes_.dtype != object
        assert len(got.classes_) == 3

    def test_booleans(self):
        X, y = sample(n_classes=2)
        want, got = GaussianScore().fit(X, y), GaussianScore().fit(X, y == 1)
        np.testing.assert_array_equal(got.calibration_scores_, want.calibration_scores_)

    @pytest.mark.parametrize(
        ("y", "message"),
        [
            (np.linspace(0, 1, 300), "y is continuous"),
            (np.r_[np.zeros(299), np.nan], "y contains NaN or infinity in 1 of 300 rows"),
            (np.zeros(299), "y has 299 .* for 300 rows"),
            ([0], "y has 1 .* for 300 rows"),
            (["a"] * 299 + [None], "one kind, strings or numbers, got NoneType, str"),
            (["a"] * 299 + [float("nan")], "y "),
            (np.zeros((300, 2)), "y should be a 1d array"),
        ],
    )
    def test_other_y_are_errors(self, y, message):
        y = y if isinstance(y, np.ndarray) else np.array(y, dtype=object)
        score = GaussianScore().fit(*TOY)
        with pytest.raises(ValueError, match=message):
            score.fit(sample()[0], y)
        assert len(score.classes_) == 2  # as it was before


class TestFewOrFlatRows:
    def test_few_rows_are_shrunk_with_a_warning(self):
        X, y = sample(30, 20)
        with pytest.warns(UserWarning, match=r"n_samples=30 in 3 classes for n_features=20"):
            score = GaussianScore().fit(X, y)
        automatic = GaussianScore(shrinkage="auto").fit(X, y)
        assert score.shrinkage_ == automatic.shrinkage_ > 0
        np.testing.assert_array_equal(score.calibration_scores_, automatic.calibration_scores_)

    @pytest.mark.parametrize("shrinkage", ["auto", 0.1])
    def test_asked_for_shrinkage_does_not_warn(self, shrinkage):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            GaussianScore(shrinkage=shrinkage, relative=True).fit(*sample(30, 20))

    def test_constant_feature(self):
        X, y = sample()
        X[:, 2] = 0.1 * y  # varies between the classes only
        with pytest.warns(UserWarning, match=r"features \[2\] are constant within"):
            score = GaussianScore(quantile=0.95).fit(X, y)
        odd = X[:5] + np.eye(6)[2]
        assert (score.predict(odd) == -1).all()
        assert np.mean(score.predict(X) == 1) > 0.9

    @relatives
    def test_collinear_features(self, relative):
        X, y = sample()
        X = np.c_[X, X @ np.arange(6)]
        with pytest.warns(UserWarning, match="collinear"):
            score = GaussianScore(relative=relative).fit(X, y)
        assert np.isfinite(score.calibration_scores_).all()

    def test_all_rows_equal(self):
        with pytest.warns(UserWarning, match="constant"):
            score = GaussianScore().fit(np.full((9, 2), 0.1))
        assert score.predict([[0.1, 0.1], [3.0, 3.0]]).tolist() == [1, -1]

    def test_too_large_values(self):
        with pytest.raises(ValueError, match="rescale X"):
            GaussianScore().fit(np.array([[1e200], [0.0], [-1e200]]))

    def test_one_row(self):
        with pytest.raises(ValueError, match="1 sample"):
            GaussianScore().fit([[1.0, 2.0]])


class TestParametersAndState:
    @pytest.mark.parametrize("value", [-0.1, 1.1, "ledoit", True, np.nan])
    def test_shrinkage_is_validated(self, value):
        with pytest.raises(InvalidParameterError, match="shrinkage"):
            GaussianScore(shrinkage=value).fit(*TOY)

    @relatives
    def test_pickle(self, relative):
        X, y = sample()
        score = GaussianScore(relative=relative).fit(X, y)
        back = pickle.loads(pickle.dumps(score))
        np.testing.assert_array_equal(back.score_samples(X), score.score_samples(X))
        assert back.offset_ == score.offset_
        assert not hasattr(clone(back), "means_")

    def test_attributes_of_the_background(self):
        assert not hasattr(GaussianScore().fit(*TOY), "background_covariance_")


def test_relative_changed_after_fit_is_refused():
    X = np.random.default_rng(0).normal(size=(40, 3))
    score = GaussianScore().fit(X, np.arange(40) % 2).set_params(relative=True)
    with pytest.raises(ValueError, match="relative was False in fit and is True now; fit again"):
        score.score_samples(X)
