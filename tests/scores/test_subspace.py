"""PCAScore: its numbers, its calibration, streams, random features, input and state."""

import hashlib
import pickle
import subprocess
import sys

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score
from sklearn.utils._param_validation import InvalidParameterError

from sklearn_seapig import PCAScore

RFF = {"gamma": 0.1, "n_features": 64, "random_state": 0}
VARIANTS = {
    "linear": {},
    "CoP": {"normalize": True},
    "rff": RFF,
    "CoRP": {"normalize": True, **RFF},
}
UNTRUSTED = ["sklearn_seapig.scores.subspace.PCAScore"]
variants = pytest.mark.parametrize("params", VARIANTS.values(), ids=VARIANTS)


def sample(n=400, d=10, seed=0, offset=0.0):
    """Return anisotropic rows."""
    random = np.random.default_rng(seed)
    return random.normal(size=(n, d)) * np.geomspace(5, 0.1, d) + offset


def reference(X, Q, n_components):
    """Return minus the reconstruction error by scikit-learn, in float64."""
    X, Q = np.asarray(X, dtype=np.float64), np.asarray(Q, dtype=np.float64)
    pca = PCA(n_components, svd_solver="full").fit(X)
    return -np.linalg.norm(Q - pca.inverse_transform(pca.transform(Q)), axis=1)


class TestNumbers:
    @pytest.mark.parametrize("offset", [0.0, 1e2, 1e4])
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("n_components", [1, 4, 9])
    def test_agreement_with_scikit_learn(self, n_components, dtype, offset):
        """SP-PC-01, row 14 of the formula table"""
        X, Q = (sample(4000, seed=s, offset=offset).astype(dtype) for s in (0, 1))
        got = PCAScore(n_components).fit(X, X_cal=Q).score_samples(Q)
        np.testing.assert_allclose(got, reference(X, Q, n_components), rtol=1e-4)
        assert got.dtype == np.float64

    def test_isotropic_rows_far_from_the_origin(self):
        """SP-PC-01, with the numbers of the case"""
        X = np.random.default_rng(0).normal(1e4, 1, (4000, 16)).astype(np.float32)
        got = PCAScore(8).fit(X, X_cal=X).score_samples(X)
        np.testing.assert_allclose(got, reference(X, X, 8), rtol=1e-4)

    def test_ranking_does_not_depend_on_the_offset(self):
        """SP-PC-02"""
        normal, odd = sample(500), sample(300, seed=1) + np.r_[np.zeros(7), 0.5, 0.5, 0.5]
        truth = np.repeat([1, 0], [500, 300])
        auroc = []
        for offset in (0.0, 1e3, 1e4):
            X = (normal + offset).astype(np.float32)
            Q = np.r_[X, (odd + offset).astype(np.float32)]
            auroc.append(roc_auc_score(truth, PCAScore(6).fit(X).score_samples(Q)))
        assert auroc[0] > 0.8
        np.testing.assert_allclose(auroc, auroc[0], atol=0.005)

    def test_symmetric_about_the_mean(self):
        """PY-06"""
        score = PCAScore(3).fit(sample(offset=5))
        step = sample(50, seed=1)
        np.testing.assert_allclose(
            score.score_samples(score.mean_ + step), score.score_samples(score.mean_ - step)
        )

    def test_attributes(self):
        X = sample()
        score, pca = PCAScore(4).fit(X), PCA(4, svd_solver="full").fit(X)
        np.testing.assert_allclose(score.mean_, pca.mean_)
        np.testing.assert_allclose(np.abs(score.components_), np.abs(pca.components_), atol=1e-10)
        np.testing.assert_allclose(score.explained_variance_ratio_, pca.explained_variance_ratio_)
        assert (score.n_components_, score.n_samples_seen_) == (4, 400)

    @variants
    def test_a_row_has_one_score_in_every_batch(self, params):
        X = sample(3000)
        score = PCAScore(5, **params).fit(X[:500])
        together = score.score_samples(X)
        alone = np.concatenate([score.score_samples(row[None]) for row in X[:40]])
        np.testing.assert_allclose(alone, together[:40], rtol=1e-9)
        np.testing.assert_allclose(score.score_samples(X[::-1])[::-1], together, rtol=1e-9)

    def test_rows_of_the_subspace_have_no_error(self):
        """SP-PC-13: query rows go through the fitted transform, as the reference set did."""
        score = PCAScore(4).fit(sample(offset=7))
        inside = score.mean_ + sample(20, 4) @ score.components_
        assert np.abs(score.score_samples(inside)).max() < 1e-12


class TestNumberOfComponents:
    @pytest.mark.parametrize("share", [0.3, 0.5, 0.9, 0.99])
    def test_a_share_takes_as_few_as_explain_it(self, share):
        X = sample()
        assert (
            PCAScore(share).fit(X).n_components_
            == PCA(share, svd_solver="full").fit(X).n_components_
        )

    def test_the_default_share_is_ninety_percent(self):
        assert PCAScore().get_params()["n_components"] == 0.9

    def test_a_share_always_leaves_a_residual(self):
        X = np.c_[sample(100, 3), np.zeros(100)]
        assert PCAScore(0.999999999).fit(X).n_components_ == 2
        assert PCAScore(0.9).fit(X[:, :1]).n_components_ == 0

    @pytest.mark.parametrize(
        ("X", "n_components", "rank"),
        [
            (sample(50, 8), 8, 8),
            (sample(50, 8), 50, 8),  # SP-PC-06
            (sample(6, 20), 5, 5),
            (sample(50, 3) @ np.ones((3, 5)), 1, 1),
            (np.ones((20, 3)), 1, 0),
        ],
    )
    def test_a_number_that_leaves_no_residual_is_refused(self, X, n_components, rank):
        """SP-PC-03"""
        with pytest.raises(ValueError, match=f"n_components={n_components} leaves no.*rank {rank}"):
            PCAScore(n_components).fit(X)

    @pytest.mark.parametrize("n_components", [1.0, 0, -1, 1.5, 0.0, True, "mle", None, np.nan])
    def test_out_of_range(self, n_components):
        """SP-PC-03"""
        with pytest.raises(InvalidParameterError, match="n_components"):
            PCAScore(n_components).fit(sample())

    def test_numpy_numbers(self):
        X = sample()
        for n in (np.int64(3), np.float64(0.5)):
            assert clone(PCAScore(n)).fit(X).n_components_ >= 1


class TestCalibration:
    @pytest.mark.parametrize(
        "params",
        [
            {"n_components": 0.9},
            {"n_components": 150},
            {"n_components": 0.9, "normalize": True},
            {"n_components": 100, "gamma": 1e-3, "n_features": 256, "random_state": 0},
        ],
        ids=str,
    )
    def test_fresh_coverage_in_high_dimension(self, params):
        """SP-TH-17: in-sample scores would accept 1 % of fresh rows at q = 0.9"""
        covered = []
        for seed in range(3):
            rows = np.random.default_rng(seed).normal(size=(1400, 200))
            score = PCAScore(quantile=0.9, **params).fit(rows[:400])
            covered.append((score.predict(rows[400:]) == 1).mean())
        assert np.mean(covered) == pytest.approx(0.9, abs=0.05)

    def test_fresh_coverage_at_moderate_size(self):
        """SP-TH-17, with the numbers of the case"""
        covered = []
        for seed in range(20):
            rows = np.random.default_rng(seed).normal(size=(1200, 20))
            score = PCAScore(quantile=0.9).fit(rows[:200])
            covered.append((score.predict(rows[200:]) == 1).mean())
        assert 0.87 < np.mean(covered) < 0.93

    @pytest.mark.parametrize("period", [5, 10])
    def test_rows_that_come_in_turns(self, period):
        """Folds of every fifth row would leave out whole classes."""
        random = np.random.default_rng(0)
        centers = random.normal(size=(period, 20)) * 20
        X = np.tile(centers, (600 // period, 1)) + random.normal(size=(600, 20))
        in_turns = PCAScore(period, quantile=0.9).fit(X)
        shuffled = PCAScore(period, quantile=0.9).fit(X[random.permutation(600)])
        assert in_turns.offset_ == pytest.approx(shuffled.offset_, rel=0.05)

    def test_cross_fitted_scores_are_those_of_scores_fitted_without_the_fold(self):
        X = sample(100)
        score = PCAScore(3).fit(X)
        folds = np.random.RandomState(0).permutation(100) % 5
        for fold in range(5):
            expected = reference(X[folds != fold], X[folds == fold], 3)
            np.testing.assert_allclose(score.calibration_scores_[folds == fold], expected)

    def test_calibration_rows_are_scored_as_queries(self):
        X, C = sample(), sample(seed=1)
        score = PCAScore(3, quantile=0.8).fit(X, X_cal=C)
        np.testing.assert_array_equal(score.calibration_scores_, score.score_samples(C))
        assert score.offset_ in score.calibration_scores_  # SP-PC-12
        assert (score.predict(C) == 1).sum() == 321
        assert PCAScore(3, quantile=0.8).fit(X).set_threshold(X=C).offset_ == score.offset_

    @pytest.mark.parametrize("n", [2, 3, 7])
    def test_few_rows(self, n):
        score = PCAScore().fit(sample(n))
        assert np.isfinite(score.calibration_scores_).all()
        assert score.calibration_scores_.shape == (n,)

    def test_one_row_left_is_too_few(self):
        with pytest.raises(ValueError, match="minimum of 2"):
            PCAScore().fit(sample(1))
        with (
            pytest.warns(UserWarning, match="zero norm"),
            pytest.raises(ValueError, match="n_samples=1 is left"),
        ):
            PCAScore(normalize=True).fit([[0.0, 0.0], [1.0, 1.0]])
        with pytest.raises(ValueError, match="n_samples=1 is left"):
            PCAScore(trim=0.9).fit(sample(3))

    @pytest.mark.parametrize("value", [0.0, 0.1, 1e4])
    def test_constant_rows_are_accepted(self, value):
        """PY-04, SP-TH-01"""
        X = np.full((30, 4), value)
        score = PCAScore().fit(X)
        assert (score.predict(X) == 1).all()
        assert score.predict(X + 1).tolist() == [-1] * 30
        assert score.explained_variance_ratio_.shape == (0,)

    def test_trimmed_rows_are_not_learned_from(self):
        X = sample(300)
        X[:10, -1] += 8
        score = PCAScore(3, trim=0.05).fit(X)
        assert not score.support_[:10].any()
        assert score.n_samples_seen_ == 285
        np.testing.assert_allclose(score.mean_, X[score.support_].mean(axis=0))


class TestNormalize:
    def test_length_of_a_row_does_not_matter(self):
        """Row 16 of the formula table"""
        X, Q = sample(), sample(seed=1)
        lengths = np.random.default_rng(2).uniform(0.01, 100, size=(400, 1))
        for params in (VARIANTS["CoP"], VARIANTS["CoRP"]):
            score = PCAScore(4, **params).fit(X)
            got = score.score_samples(Q)
            np.testing.assert_allclose(score.score_samples(Q * lengths), got, rtol=1e-9)
            scaled = PCAScore(4, **params).fit(X * lengths)
            np.testing.assert_allclose(scaled.score_samples(Q), got, rtol=1e-7)

    def test_it_is_pca_of_the_directions(self):
        X, Q = sample(), sample(seed=1)
        unit = X / np.linalg.norm(X, axis=1, keepdims=True)
        expected = reference(unit, Q / np.linalg.norm(Q, axis=1, keepdims=True), 4)
        got = PCAScore(4, normalize=True).fit(X).score_samples(Q)
        np.testing.assert_allclose(got, expected, rtol=1e-9)

    @pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e160, 1e300])
    def test_extreme_lengths(self, scale):
        X = sample(50)
        expected = PCAScore(4, normalize=True).fit(X).score_samples(X)
        got = PCAScore(4, normalize=True).fit(X * scale).score_samples(X * scale)
        np.testing.assert_allclose(got, expected, rtol=1e-6)

    @pytest.mark.parametrize("params", [VARIANTS["CoP"], VARIANTS["CoRP"]])
    def test_rows_of_zeros(self, params):
        X = sample(50)
        score = PCAScore(3, **params).fit(X)
        got = score.score_samples(np.r_[X, np.zeros((1, 10))])
        assert got[-1] == -3 < got[:-1].min()
        np.testing.assert_allclose(got[:-1], score.score_samples(X), rtol=1e-9)
        with_zeros = np.insert(X, [0, 7], 0.0, axis=0)
        with pytest.warns(UserWarning, match=r"zero norm in 2 of 52 rows.*index 0"):
            other = PCAScore(3, **params).fit(with_zeros)
        np.testing.assert_allclose(other.score_samples(X), got[:-1], rtol=1e-9)
        assert np.flatnonzero(~other.support_).tolist() == [0, 8]
        with pytest.raises(ValueError, match="zero norm in every row"):
            PCAScore(**params).fit(np.zeros((5, 3)))


class TestRandomFeatures:
    @pytest.mark.parametrize(
        ("params", "missing"), [({"gamma": 1.0}, "n_features"), ({"n_features": 9}, "gamma")]
    )
    def test_both_or_none(self, params, missing):
        """SP-PC-07"""
        for method in (PCAScore(**params).fit, PCAScore(**params).partial_fit):
            with pytest.raises(ValueError, match=f"^{missing}=None.*give both or none"):
                method(sample())

    @pytest.mark.parametrize("params", [{"gamma": 0}, {"gamma": -1.0}, {"n_features": 0}])
    def test_out_of_range(self, params):
        with pytest.raises(InvalidParameterError, match=next(iter(params))):
            PCAScore(**{**RFF, **params}).fit(sample())

    @pytest.mark.parametrize("gamma", [0.02, 0.5])
    def test_they_approximate_the_kernel(self, gamma):
        """Row 16 of the formula table"""
        X = sample(8, 4)
        score = PCAScore(3, gamma=gamma, n_features=4000, random_state=0)
        score._draw(4)  # without a fit, whose eigenvectors would take minutes
        (features,) = score._features(torch.from_numpy(X))
        exact = np.exp(-gamma * ((X[:, None] - X) ** 2).sum(axis=2))
        assert np.abs((features @ features.T).numpy() - exact).max() <= 3 / np.sqrt(4000)

    def test_what_linear_components_cannot_see(self):
        angle = np.random.default_rng(0).uniform(0, 2 * np.pi, 400)
        ring = np.c_[np.cos(angle), np.sin(angle)]
        score = PCAScore(gamma=2.0, n_features=500, random_state=0).fit(ring)
        assert score.predict([[1.0, 0.0], [0.0, 0.0]]).tolist() == [1, -1]

    @variants
    def test_fits_are_identical_also_in_another_process(self, params):
        """SP-PC-08, SP-PC-14"""
        code = (
            "import hashlib, numpy as np; from sklearn_seapig import PCAScore;"
            "X = np.random.default_rng(0).normal(size=(50, 4));"
            f"s = PCAScore(3, **{params!r}).fit(X).score_samples(X);"
            "print(hashlib.sha256(s.tobytes()).hexdigest())"
        )
        X = np.random.default_rng(0).normal(size=(50, 4))
        score = PCAScore(3, **params).fit(X)
        got = score.score_samples(X)
        np.testing.assert_array_equal(score.fit(X).score_samples(X), got)
        if params == RFF:
            threads = torch.get_num_threads()
            code = f"import torch; torch.set_num_threads({threads});" + code
            run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
            assert run.stdout.strip() == hashlib.sha256(got.tobytes()).hexdigest(), run.stderr

    def test_other_seeds_other_features(self):
        X = sample(50)
        one, two = (PCAScore(3, **{**RFF, "random_state": s}).fit(X) for s in (0, 1))
        assert (one.score_samples(X) != two.score_samples(X)).all()


class TestPartialFit:
    @variants
    @pytest.mark.parametrize("sizes", [[400], [200, 200], [20, 1, 1, 378], [2] + [199] * 2])
    def test_it_equals_fit_in_any_batching(self, sizes, params):
        X, C = sample(offset=100), sample(seed=1, offset=100)
        once = PCAScore(0.8, **params).fit(X, X_cal=C)
        stream = PCAScore(0.8, **params)
        for start, size in zip(np.cumsum([0, *sizes]), sizes, strict=False):
            assert stream.partial_fit(X[start : start + size]) is stream
        stream.set_threshold(X=C)
        assert stream.n_components_ == once.n_components_
        assert stream.n_samples_seen_ == 400
        np.testing.assert_allclose(stream.mean_, once.mean_, rtol=1e-10)
        np.testing.assert_allclose(stream.score_samples(C), once.score_samples(C), rtol=1e-7)
        assert stream.offset_ == pytest.approx(once.offset_, rel=1e-7)

    def test_no_bound_until_calibration_rows_are_seen(self):
        X = sample()
        score = PCAScore(3).partial_fit(X)
        assert np.isfinite(score.score_samples(X)).all()
        for call in (score.predict, score.decision_function, lambda X: score.set_threshold(0.9)):
            with pytest.raises(
                NotFittedError, match="seen no calibration rows; call set_threshold"
            ):
                call(X)
        assert score.quantile == 0.99
        assert (score.set_threshold(0.9, X=X).predict(X) == 1).mean() >= 0.9
        assert not hasattr(score.partial_fit(X), "calibration_scores_")
        assert score.partial_fit(X, X_cal=X).predict(X).sum() > 0

    def test_fit_keeps_no_sums_and_says_so(self):
        X = sample()
        score = PCAScore(3).fit(X)
        with pytest.warns(UserWarning, match="begins anew"):
            score.partial_fit(X[:100])
        assert score.n_samples_seen_ == 100
        assert not hasattr(score.fit(X), "_moments_")

    def test_a_refused_batch_changes_nothing(self):
        X = sample()
        score = PCAScore(3).partial_fit(X)
        before = joblib.hash(score)
        bad = X.copy()
        bad[5, 5] = np.nan
        with pytest.raises(ValueError, match="X contains NaN"):
            score.partial_fit(bad)
        with pytest.raises(ValueError, match="features"):
            score.partial_fit(X[:, :5])
        with pytest.raises(ValueError, match="X_cal contains NaN"):
            score.partial_fit(X, X_cal=bad)
        assert joblib.hash(score) == before

    def test_trim_needs_all_rows(self):
        with pytest.raises(ValueError, match=r"trim=0.1 needs all rows"):
            PCAScore(trim=0.1).partial_fit(sample())

    def test_a_first_batch_that_is_too_small_says_so(self):
        with pytest.raises(ValueError, match="n_components=4 leaves no residual"):
            PCAScore(4).partial_fit(sample(5))
        with pytest.raises(ValueError, match="minimum of 2"):
            PCAScore().partial_fit(sample(1))

    def test_rows_of_zeros_are_left_out(self):
        X = sample(50)
        with pytest.warns(UserWarning, match="zero norm in 1 of 51"):
            score = PCAScore(3, normalize=True).partial_fit(np.r_[X, np.zeros((1, 10))])
        assert score.n_samples_seen_ == 50


class TestInput:
    @variants
    def test_rows_that_are_not_finite(self, params):
        """SP-IN-05, SP-IN-06, SP-TH-06"""
        X = sample(50)
        bad = X.copy()
        bad[3, 1] = np.nan
        with pytest.raises(ValueError, match="X contains NaN in 1 of 50"):
            PCAScore(**params).fit(bad)
        score = PCAScore(**params).fit(X)
        before = score.offset_
        with pytest.raises(ValueError, match="X contains NaN"):
            score.set_threshold(0.9, X=bad)
        with pytest.raises(ValueError, match="X_cal contains NaN"):
            PCAScore(**params).fit(X, X_cal=bad)
        assert score.offset_ == before

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_does_not_overflow(self, dtype):
        """SP-IN-10"""
        X = torch.from_numpy(np.random.default_rng(0).normal(0, 50, (2000, 16))).to(dtype)
        got = PCAScore(8).fit(X).score_samples(X)
        np.testing.assert_allclose(
            got, reference(X.float().numpy(), X.float().numpy(), 8), rtol=1e-3
        )

    @variants
    def test_integers_tensors_frames_and_lists(self, params):
        """SP-IN-13, SP-IN-14, SP-IN-28"""
        X = (sample(60) * 10).astype(np.int64)
        expected = PCAScore(4, **params).fit(X.astype(float)).score_samples(X.astype(float))
        tensor = torch.tensor(X, dtype=torch.float64, requires_grad=True)
        frame = pd.DataFrame(X, columns=list("abcdefghij"))
        for given in (X, X.tolist(), tensor, frame, X.astype(">f8")):
            score = PCAScore(4, **params).fit(given)
            np.testing.assert_array_equal(score.score_samples(given), expected)

    @variants
    def test_wrong_widths(self, params):
        """SP-IN-27, SP-IN-32"""
        score = PCAScore(**params).fit(sample(50, 8))
        for call in (score.score_samples, lambda X: score.set_threshold(0.9, X=X)):
            for width in (1, 7):
                with pytest.raises(ValueError, match=rf"{width} features.*8 features"):
                    call(np.ones((5, width)))

    @variants
    def test_what_is_given_stays_untouched_and_unreferenced(self, params):
        """SP-IN-36"""
        X = sample(60)
        given = X.copy()
        score = PCAScore(3, **params).fit(given)
        first = score.score_samples(given)
        np.testing.assert_array_equal(given, X)
        before = joblib.hash(score)
        given[:] = 0
        assert joblib.hash(score) == before
        np.testing.assert_array_equal(score.score_samples(X), first)

    def test_labels_are_ignored(self):
        """SP-IN-39"""
        X = sample(60)
        for y in (np.arange(60), np.arange(60)[:, None], ["a"] * 60):
            assert PCAScore(3).fit(X, y).offset_ == PCAScore(3).fit(X).offset_

    def test_values_too_large_for_a_covariance(self):
        with pytest.raises(ValueError, match="too large for a covariance"):
            PCAScore().fit(sample() * 1e160)

    def test_clusters(self):
        X, _ = make_blobs(500, 30, centers=4, random_state=0)
        score = PCAScore(quantile=0.95).fit(X[:400])
        assert (score.predict(X[400:]) == 1).mean() > 0.85
        assert (score.predict(X[400:] + 10 * sample(100, 30)[:, ::-1]) == -1).mean() > 0.9


class TestState:
    @variants
    def test_arrays_and_plain_values_that_prediction_leaves_alone(self, params):
        """SP-CC-06"""
        X = sample()
        for score in (PCAScore(3, **params).fit(X), PCAScore(3, **params).partial_fit(X, X_cal=X)):
            before, keys = joblib.hash(score), list(vars(score))
            score.predict(X), score.select(X)
            assert (joblib.hash(score), list(vars(score))) == (before, keys)

            def plain(value):
                if isinstance(value, (tuple, list)):
                    return all(map(plain, value))
                if isinstance(value, dict):
                    return all(map(plain, value.values()))
                return isinstance(value, (np.ndarray, float, int, str, type(None)))

            assert all(map(plain, vars(score).values()))

    @variants
    def test_round_trips_are_identical(self, params, tmp_path):
        """SP-PC-10, SP-PS-04, SP-PS-06, SP-PS-08"""
        skops = pytest.importorskip("skops.io", reason="skops is an optional extra")
        X = sample()
        for score in (PCAScore(3, **params).fit(X), PCAScore(3, **params).partial_fit(X, X_cal=X)):
            dumped = skops.dumps(score)
            assert skops.get_untrusted_types(data=dumped) == UNTRUSTED
            joblib.dump(score, tmp_path / "score.joblib")
            for other in (
                pickle.loads(pickle.dumps(score)),
                skops.loads(dumped, trusted=UNTRUSTED),
                joblib.load(tmp_path / "score.joblib", mmap_mode="r"),
            ):
                assert vars(other).keys() == vars(score).keys()
                assert other.n_components_ == 3
                assert other.n_samples_seen_ == 400
                np.testing.assert_array_equal(other.score_samples(X), score.score_samples(X))
                assert other.offset_ == score.offset_
        more = pickle.loads(pickle.dumps(score)).partial_fit(X)
        assert more.n_samples_seen_ == 800

    def test_a_fitted_score_is_small_and_holds_no_rows(self):
        """SP-MM-02, SP-PS-10"""
        X = np.random.default_rng(0).normal(size=(60, 2048)).astype(np.float32)
        dump = pickle.dumps(PCAScore(8).fit(X, X_cal=X))
        assert len(dump) < 1e6
        assert X[0, :8].tobytes() not in dump
        assert X[0, :8].astype(np.float64).tobytes() not in dump

    @variants
    def test_a_refit_is_a_fresh_fit(self, params):
        """SP-TH-09, SP-TH-11, SP-TH-12, SP-PC-14"""
        A, B = sample(), sample(300, 6, seed=1)
        again = PCAScore(3, **params).fit(A, X_cal=A[:50]).fit(B)
        fresh = PCAScore(3, **params).fit(B)
        assert joblib.hash(vars(again)) == joblib.hash(vars(fresh))

    @variants
    def test_threads_and_processes(self, params):
        """SP-CC-01, SP-CC-03"""
        X = sample(2000)
        score = PCAScore(3, **params).fit(X[:400])
        expected = score.score_samples(X)
        for got in joblib.Parallel(8, "threading")(
            joblib.delayed(score.score_samples)(X) for _ in range(16)
        ):
            np.testing.assert_allclose(got, expected, rtol=1e-9)

    @pytest.mark.parametrize(
        ("n", "params", "limit"),
        # A float64 copy of the rows is 205 MB; their random features are 390 MB.
        [(400_000, {"normalize": True}, 180), (100_000, {**RFF, "n_features": 512}, 300)],
        ids=["normalize", "random features"],
    )
    def test_rows_are_streamed(self, n, params, limit, peak_of):
        """SP-MM-02: neither float64 copies nor features of all rows at once"""
        prepare = (
            "import numpy as np, torch; from sklearn_seapig import PCAScore\n"
            f"X = np.random.default_rng(0).standard_normal(({n}, 64), dtype=np.float32)\n"
            f"params = {params!r}\n"
            "PCAScore(8, **params).fit(X[:9000], X_cal=X[:9000])"
        )
        work = "PCAScore(8, **params).fit(X, X_cal=X[:100]).score_samples(X)"
        assert peak_of(prepare, work) < limit


def test_a_stream_refuses_a_parameter_that_changed_on_the_way():
    X = np.random.default_rng(0).normal(size=(60, 5))
    score = PCAScore(2).partial_fit(X[:30]).set_params(normalize=True)
    with pytest.raises(ValueError, match="normalize was False in fit and is True now"):
        score.partial_fit(X[30:])
