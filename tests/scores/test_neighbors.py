"""EuclideanScore, CosineScore and MahalanobisScore."""

import copy
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn import config_context
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_seapig import CosineScore, EuclideanScore, MahalanobisScore
from sklearn_seapig.scores import _neighbors

SCORES = [EuclideanScore, CosineScore, MahalanobisScore]
AGGREGATE = {
    "max": lambda d: d[:, -1],
    "mean": lambda d: d.mean(axis=1),
    "median": lambda d: np.median(d, axis=1),
    "min": lambda d: d[:, 0],
}


def rows(n=300, d=6, seed=0, offset=0.0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return (offset + rng.normal(size=(n, d))).astype(dtype)


def all_distances(score, Q, X):
    """Every distance in the space of a score, in float64 and by differences."""
    Q, X = Q.astype(np.float64), X.astype(np.float64)
    if score is CosineScore:
        Q, X = (A / np.linalg.norm(A, axis=1, keepdims=True) for A in (Q, X))
        return cdist(Q, X, "sqeuclidean") / 2
    if score is MahalanobisScore:
        S = np.cov(X.T, bias=True).reshape(X.shape[1], -1)
        return cdist(Q, X, "mahalanobis", VI=np.linalg.inv(S))
    return cdist(Q, X)


def unseen_distances(score, X):
    """The same for each row of X, from the other rows only."""
    X = X.astype(np.float64)
    out = []
    for i in range(len(X)):
        others = np.delete(X, i, axis=0)
        out.append(all_distances(score, X[i : i + 1], others)[0])
    return np.array(out)


def quiet(score, *args, **kwargs):
    """Fit without the warnings that a test is not about."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return score.fit(*args, **kwargs)


# Values


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("stat", AGGREGATE)
@pytest.mark.parametrize("k", [1, 5, 50])
@pytest.mark.parametrize(
    ("dtype", "offset", "rtol"),
    [(np.float64, 0, 1e-9), (np.float32, 0, 1e-5), (np.float32, 9, 1e-5)],
)
def test_scores_and_calibration_equal_the_reference(score, stat, k, dtype, offset, rtol):
    X, Q = rows(120, dtype=dtype, offset=offset), rows(40, seed=1, dtype=dtype, offset=offset)
    fitted = score(k=k, stat=stat).fit(X)
    found = np.sort(all_distances(score, Q, X), axis=1)[:, :k]
    np.testing.assert_allclose(fitted.score_samples(Q), -AGGREGATE[stat](found), rtol=rtol)
    found = np.sort(unseen_distances(score, X), axis=1)[:, :k]
    np.testing.assert_allclose(fitted.calibration_scores_, -AGGREGATE[stat](found), rtol=rtol)


@pytest.mark.parametrize("score", SCORES)
def test_kneighbors_are_ascending_rows_of_the_x_given_to_fit(score):
    X, Q = rows(), rows(40, seed=1)
    fitted = score(k=3).fit(X)
    for k in (None, 1, 20):
        distances, indices = fitted.kneighbors(Q, k=k)
        expected = np.argsort(all_distances(score, Q, X), axis=1)[:, : k or 3]
        np.testing.assert_array_equal(indices, expected)
        assert distances.dtype == np.float64
        assert (np.diff(distances, axis=1) >= 0).all()
    with pytest.raises(ValueError, match=r"k=301.*n_samples=300"):
        fitted.kneighbors(Q, k=301)
    with pytest.raises(ValueError, match="'k' parameter"):
        fitted.kneighbors(Q, k=0)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("d", [3, 33])
def test_a_reference_row_is_its_own_neighbor_at_distance_zero(score, dtype, d):
    # SP-NN-03, SK-03: score_samples of a fit row includes the match with itself.
    X = rows(400, d, offset=1e3, dtype=dtype)
    fitted = score(k=1).fit(X)
    np.testing.assert_array_equal(fitted.score_samples(X), 0)
    np.testing.assert_array_equal(fitted.kneighbors(X)[1][:, 0], np.arange(400))
    assert (fitted.calibration_scores_ < 0).all()


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("offset", [0, 30, 1e3, 1e6])
@pytest.mark.parametrize("d", [6, 33])
def test_a_row_alone_and_in_a_batch_of_3000(score, offset, d):
    # SP-NN-02, -20, -36
    X, Q = rows(500, d, offset=offset, dtype=np.float32), rows(3000, d, seed=1, offset=offset)
    Q = Q.astype(np.float32)
    fitted = score(k=2, quantile=0.9).fit(X, X_cal=Q)
    whole = fitted.score_samples(Q)
    at_the_bound = np.flatnonzero(whole == fitted.offset_)
    assert len(at_the_bound) > 0
    for i in [*range(0, 3000, 500), *at_the_bound]:
        assert fitted.score_samples(Q[i : i + 1])[0] == whole[i]
        assert fitted.predict(Q[i : i + 1])[0] == fitted.predict(Q)[i]
    for size in (20, 200):
        np.testing.assert_array_equal(fitted.score_samples(Q[:size]), whole[:size])


@pytest.mark.parametrize("score", SCORES)
def test_chunks_change_nothing(score, monkeypatch):
    X, Q = rows(), rows(100, seed=1)
    expected = score().fit(X)
    monkeypatch.setattr(_neighbors, "CHUNK", 7)
    fitted = score().fit(X)
    np.testing.assert_array_equal(fitted.score_samples(Q), expected.score_samples(Q))
    np.testing.assert_array_equal(fitted.calibration_scores_, expected.calibration_scores_)


@pytest.mark.parametrize("score", SCORES)
def test_row_order_and_refits_give_the_same_scores(score):
    # SP-NN-24, -26, -35
    X, Q = rows(), rows(100, seed=1)
    X[:100] += 5
    expected = score().fit(X).score_samples(Q)
    order = np.random.default_rng(0).permutation(300)
    np.testing.assert_allclose(score().fit(X[order]).score_samples(Q), expected, rtol=1e-9)
    again = score().fit(Q).fit(X)
    np.testing.assert_array_equal(again.score_samples(Q), expected)
    np.testing.assert_array_equal(again.calibration_scores_, score().fit(X).calibration_scores_)


def test_exact_at_every_size_and_says_so():
    # SP-NN-11, -30, -33, -34
    X = np.concatenate([rows(10_001, 16), rows(12, 16, seed=3, offset=50.0)]).astype(np.float32)
    Q = np.concatenate([rows(20, 16, seed=1), rows(20, 16, seed=2, offset=50.0)])
    Q = np.concatenate([Q, rows(20, 16, seed=4) * 5]).astype(np.float32)
    fitted = EuclideanScore(k=10).fit(X, X_cal=Q)
    assert fitted.search_spec_ == {"name": "exact", "exact": True, "n": 10_013, "d": 16}
    distances, indices = fitted.kneighbors(Q)
    every = all_distances(EuclideanScore, Q, X)
    np.testing.assert_array_equal(indices, np.argsort(every, axis=1, kind="stable")[:, :10])
    np.testing.assert_allclose(distances, np.sort(every, axis=1)[:, :10], rtol=1e-9)


@pytest.mark.parametrize(
    ("dtype", "offset", "rtol"),
    [(np.float32, 1e4, 1e-5), (np.float64, 1e6, 1e-9), (np.float64, 1e8, 1e-9), (float, 1e9, 1e-6)],
)
def test_far_from_the_origin(dtype, offset, rtol):
    # SP-NN-01, SP-NN-04, SP-IN-29, SK-05
    X, Q = rows(1000, 64, offset=offset, dtype=dtype), rows(100, 64, 1, offset=offset, dtype=dtype)
    fitted = EuclideanScore().fit(X)
    expected = np.sort(all_distances(EuclideanScore, Q, X), axis=1)[:, 4]
    np.testing.assert_allclose(fitted.score_samples(Q), -expected, rtol=rtol)
    expected = np.sort(all_distances(EuclideanScore, X, X), axis=1)[:, 5]
    np.testing.assert_allclose(fitted.calibration_scores_, -expected, rtol=rtol)


@pytest.mark.parametrize("scale", [1e-25, 1e20])
def test_euclidean_scores_scale_with_the_data(scale):
    # SP-NN-05, -06
    X, Q = rows(d=16), rows(50, 16, seed=1)
    expected = scale * EuclideanScore().fit(X).score_samples(Q)
    for dtype in (np.float32, np.float64):
        found = EuclideanScore().fit((scale * X).astype(dtype))
        np.testing.assert_allclose(
            found.score_samples((scale * Q).astype(dtype)), expected, rtol=1e-5
        )


# Duplicates, ties, overlap


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("k", [1, 5])
def test_duplicates_are_each_others_neighbors_and_ties_are_accepted(score, k):
    # SP-NN-08
    X = rows(200, 4, offset=3.0)
    X[:120] = X[0]
    with pytest.warns(UserWarning, match="duplicate"):
        fitted = score(k=k, quantile=0.5).fit(X)
    assert (fitted.calibration_scores_[:120] == 0).all()
    assert (fitted.predict(X) == 1).mean() >= 0.5
    with pytest.warns(UserWarning, match="duplicate"):
        fitted.set_threshold(0.55)


def test_more_duplicates_than_k_do_not_harm_fresh_rows():
    # SK-04
    X, Q = rows(2000, 4), rows(2000, 4, seed=1)
    clean = (EuclideanScore(quantile=0.9).fit(X).predict(Q) == 1).mean()
    some = np.concatenate([X, np.tile(X[:1], (50, 1))])
    assert abs((EuclideanScore(quantile=0.9).fit(some).predict(Q) == 1).mean() - clean) < 0.05


@pytest.mark.parametrize("score", [EuclideanScore, MahalanobisScore])
def test_equal_rows_are_all_accepted(score):
    # SP-TH-01, PY-04
    X = np.full((30, 3), 0.1)
    fitted = quiet(score(quantile=0.9), X)
    np.testing.assert_array_equal(fitted.predict(X), 1)
    np.testing.assert_array_equal(fitted.predict(X + 1), -1)
    assert np.isfinite(fitted.score_samples(X + 1)).all()


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("n", [400, 2000])
@pytest.mark.parametrize("shuffled", [False, True])
def test_calibration_on_the_fit_rows_is_leave_one_out_with_a_warning(score, n, shuffled):
    # SP-NN-09, -10
    X, fresh = rows(n, 9), rows(2000, 9, seed=1)
    fitted = score().fit(X)
    own = np.sort(fitted.calibration_scores_)
    order = np.random.default_rng(0).permutation(n) if shuffled else np.arange(n)
    with pytest.warns(UserWarning, match=rf"{n} of {n} .*overlap.*leave-one-out"):
        fitted.set_threshold(0.9, X=X[order])
    np.testing.assert_allclose(np.sort(fitted.calibration_scores_), own, rtol=1e-9)
    assert 0.86 <= (fitted.predict(fresh) == 1).mean() <= 0.94
    with pytest.warns(UserWarning, match="overlap"):
        again = score(quantile=0.9).fit(X, X_cal=X)
    assert again.offset_ == pytest.approx(fitted.offset_, rel=1e-9)


def test_a_few_equal_rows_do_not_warn():
    X, C = rows(), rows(100, seed=1)
    C[:3] = X[:3]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted = EuclideanScore(k=1).fit(X, X_cal=C)
    assert (fitted.calibration_scores_ < 0).all()


# Coverage and threshold


@pytest.mark.parametrize("score", SCORES)
def test_coverage_without_calibration_rows(score):
    # SP-TH-17, SP-TH-09
    covered = []
    for seed in range(8):
        X, fresh = rows(200, 20, seed=seed), rows(1000, 20, seed=100 + seed)
        fitted = score(quantile=0.9).fit(rows(50, 20, seed=99, offset=7.0)).fit(X)
        covered.append((fitted.predict(fresh) == 1).mean())
    assert 0.87 <= np.mean(covered) <= 0.93


@pytest.mark.parametrize(("n", "q"), [(10, 0.9), (20, 0.95), (50, 0.95)])
def test_finite_sample_coverage(n, q):
    # SP-TH-04
    rng = np.random.default_rng(0)
    fitted = EuclideanScore(k=1).fit(rng.normal(size=(100, 2)))
    draws, fresh = 600, 20
    pool = fitted.score_samples(rng.normal(size=(draws * (n + fresh), 2))).reshape(draws, -1)
    covered = [(row[n:] >= fitted.set_threshold(q, scores=row[:n]).offset_).mean() for row in pool]
    assert np.mean(covered) >= min(q, n / (n + 1)) - 0.015


@pytest.mark.parametrize("score", SCORES)
def test_quantile_one_accepts_all_calibration_rows(score):
    # SP-TH-08
    X, C = rows(), rows(100, seed=1)
    fitted = score().fit(X).set_threshold(1.0, X=C)
    np.testing.assert_array_equal(fitted.predict(C), 1)
    assert (fitted.decision_function(C) >= 0).all()


@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("quantile", [0.5, 0.8, 0.9, 0.95])
def test_discrete_scores_cover_at_least_the_quantile(k, quantile):
    # SP-TH-03
    C = np.random.default_rng(1).integers(0, 3, size=(200, 4)).astype(float)
    X = np.random.default_rng(0).integers(0, 3, size=(60, 4)).astype(float)
    fitted = quiet(EuclideanScore(k=k, quantile=quantile), X, X_cal=C)
    assert (fitted.calibration_scores_ >= fitted.offset_).mean() >= quantile


# Number of neighbors and rows


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("stat", ["max", "mean"])
@pytest.mark.parametrize(("k", "n"), [(3, 2), (10, 5), (10, 9)])
def test_more_neighbors_than_rows_is_an_error_that_names_both(score, stat, k, n):
    # SP-IN-16, -17, -18, SK-02, PY-02
    with pytest.raises(ValueError, match=rf"k={k} .*n_samples={n} \({n} samples\)"):
        quiet(score(k=k, stat=stat), rows(n), X_cal=rows(60, seed=1))


@pytest.mark.parametrize("score", SCORES)
def test_one_row_is_an_error(score):
    # SP-IN-16, SP-MD-08, PY-10
    with pytest.raises(ValueError, match=r"n_samples=1 |1 sample\(s\).*minimum of 2"):
        score(k=3).fit(rows(1))


@pytest.mark.parametrize("score", SCORES)
def test_as_many_neighbors_as_rows_needs_calibration_rows(score):
    # SP-IN-19
    X, C = rows(5), rows(40, seed=1)
    with pytest.raises(ValueError, match=r"k=5 other rows .*X_cal.*n_samples=5"):
        quiet(score(k=5), X)
    fitted = quiet(score(k=5), X, X_cal=C)
    expected = np.partition(fitted.score_samples(C), 0)[0]
    assert fitted.set_threshold(1.0).offset_ == expected


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("k", [0, -1, 2.5, "3", True, None])
def test_bad_k_is_refused(score, k):
    # SP-IN-20, -21
    with pytest.raises(
        ValueError, match=r"'k' parameter .* must be an int in the range \[1, inf\)"
    ):
        score(k=k).fit(rows())


@pytest.mark.parametrize("score", SCORES)
def test_unknown_stat_lists_the_options(score):
    # SP-IN-35
    with pytest.raises(ValueError, match=r"'stat' parameter .*'max'.*Got 'avg'"):
        score(stat="avg").fit(rows())


@pytest.mark.parametrize("score", SCORES)
def test_a_parameter_of_the_distance_changed_after_fit_is_refused(score):
    # The bound was learned with the old one; quantile alone takes effect without a new fit.
    X = rows(40)
    fitted = score(k=3).fit(X)
    with pytest.raises(ValueError, match=r"k was 3 in fit and is 2 now; fit again"):
        clone_fitted(fitted, k=2).score_samples(X)
    with pytest.raises(ValueError, match=r"stat was 'max' in fit and is 'mean' now"):
        clone_fitted(fitted, stat="mean").predict(X)
    assert clone_fitted(fitted, k=2).fit(X).offset_ == score(k=2).fit(X).offset_


def clone_fitted(fitted, **params):
    return copy.deepcopy(fitted).set_params(**params)


# trim


@pytest.mark.parametrize("score", SCORES)
def test_trim_drops_the_rows_that_look_least_normal(score):
    X = rows(200, 4, offset=4.0)
    X[[3, 50, 199]] = [[40, -40, 4, 4], [-40, 4, 40, 4], [4, 40, 4, -40.0]]
    fitted = score(trim=0.015).fit(X)
    assert np.flatnonzero(~fitted.support_).tolist() == [3, 50, 199]
    assert fitted.calibration_scores_.shape == (197,)
    kept = score().fit(X[fitted.support_])
    np.testing.assert_array_equal(fitted.score_samples(X), kept.score_samples(X))
    np.testing.assert_array_equal(fitted.calibration_scores_, kept.calibration_scores_)
    own, index = fitted.kneighbors(X[fitted.support_], k=1)
    np.testing.assert_array_equal(index[:, 0], np.flatnonzero(fitted.support_))
    np.testing.assert_array_equal(own, 0)


@pytest.mark.parametrize("trim", [1e-12, 0.3, 0.9, 1 - 1e-12])
def test_trim_keeps_equal_rows_together(trim):
    fitted = quiet(EuclideanScore(trim=trim), np.ones((50, 2)))
    assert fitted.support_.all()


@pytest.mark.parametrize("trim", [0, 1, 0.0, 1.0, -0.1, True, False, np.True_, "0.1", np.nan])
def test_bad_trim_is_refused(trim):
    with pytest.raises(ValueError, match="'trim' parameter"):
        EuclideanScore(trim=trim).fit(rows())


def test_trim_below_k_is_an_error():
    with pytest.raises(ValueError, match=r"k=5.*n_samples=1"):
        EuclideanScore(trim=0.999).fit(rows(20))


# CosineScore


def test_cosine_leaves_out_rows_without_direction():
    # SP-NN-22
    X = rows(40, 4)
    X[[7, 9]] = 0
    with pytest.warns(
        UserWarning, match=r"zero norm in 2 of 40 rows \(the first has row index 7\)"
    ):
        fitted = CosineScore(k=2).fit(X)
    assert np.flatnonzero(~fitted.support_).tolist() == [7, 9]
    assert fitted.score_samples(np.zeros((1, 4))) == -2
    assert fitted.predict(np.zeros((1, 4))) == -1
    _, index = fitted.kneighbors(X[10:], k=1)
    np.testing.assert_array_equal(index[:, 0], np.arange(10, 40))
    with pytest.raises(ValueError, match="zero norm"):
        CosineScore().fit(np.zeros((9, 4)))


@pytest.mark.parametrize("factor", [1e-30, 1e-14, 1e14, 1e30, 1e100, 1e-100])
def test_cosine_does_not_see_the_length_of_a_row(factor):
    # SP-NN-23
    X, Q = rows(), rows(50, seed=1)
    fitted = CosineScore().fit(X)
    np.testing.assert_allclose(fitted.score_samples(factor * Q), fitted.score_samples(Q), rtol=1e-6)
    other = CosineScore().fit(factor * X)
    np.testing.assert_allclose(other.score_samples(Q), fitted.score_samples(Q), rtol=1e-6)


def test_cosine_of_half_precision_rows_that_overflow_it():
    # SP-IN-09
    X = (4000 * rows(100, 512)).astype(np.float16)
    assert (np.linalg.norm(X.astype(np.float64), axis=1) > 65504).all()
    found = CosineScore().fit(X).score_samples(X)
    expected = -np.sort(all_distances(CosineScore, X, X), axis=1)[:, 4]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert (found >= -2).all()
    assert (found <= 0).all()


def test_cosine_distance_is_textbook():
    fitted = CosineScore(k=3).fit([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], X_cal=[[1.0, 2.0]])
    query = np.array([[1.0, 1.0]]) / np.sqrt(2)
    np.testing.assert_allclose(
        fitted.kneighbors(query)[0], [[0.292893, 0.292893, 1.707107]], atol=1e-6
    )
    np.testing.assert_array_equal(fitted.kneighbors(query)[1], [[0, 1, 2]])


def test_one_feature():
    # SP-NN-25
    X = rows(100, 1)
    every = np.sort(np.abs(X - X.T), axis=1)[:, 4]
    np.testing.assert_allclose(EuclideanScore().fit(X).score_samples(X), -every, rtol=1e-12)
    with pytest.warns(UserWarning, match="n_features=1"):
        fitted = CosineScore(quantile=0.9).fit(X)
    assert (fitted.predict(X) == 1).mean() >= 0.9


# MahalanobisScore


@pytest.mark.parametrize(("n", "d"), [(30, 64), (64, 64), (12, 10), (100, 51), (3, 2)])
@pytest.mark.parametrize("scale", [1.0, 1e-100, 1e100])
def test_few_rows_shrink_the_covariance_with_a_warning(n, d, scale):
    # SP-MD-02, -09
    X, Q = rows(n, d), rows(200, d, seed=1)
    with pytest.warns(UserWarning, match=rf"n_samples={n} .*n_features={d}.*shrunk"):
        fitted = MahalanobisScore(k=1).fit(scale * X)
    assert 0 < fitted.shrinkage_ <= 1
    scores = fitted.score_samples(scale * Q)
    assert np.isfinite(scores).all()
    if n >= 30:
        assert 0.3 < np.median(-scores) / np.sqrt(d) < 3
        ratio = scores / quiet(MahalanobisScore(k=1), X).score_samples(Q)
        np.testing.assert_allclose(ratio, 1, rtol=1e-6)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_collinear_features_always_have_the_same_outcome(seed, dtype):
    # SP-MD-03
    X = rows(200, 8, seed=seed, dtype=dtype)
    X[:, 7] = X[:, 2]
    Q = rows(50, 8, seed=100 + seed, dtype=dtype)
    Q[:, 7] = Q[:, 2]
    with pytest.warns(UserWarning, match="1 linear combinations .*collinear"):
        fitted = MahalanobisScore().fit(X)
    expected = MahalanobisScore().fit(X[:, :7]).score_samples(Q[:, :7])
    np.testing.assert_allclose(fitted.score_samples(Q), expected, rtol=1e-3)


@pytest.mark.parametrize("units", [1.0, 1e-6, 1e6])
def test_a_violated_linear_relation_is_far_away(units):
    # SK-07
    X, Q = rows(300, 4), rows(300, 4, seed=1)
    X[:, 3] = units * (X[:, 0] + X[:, 1])
    broken = Q * [1, 1, 1, units]
    Q[:, 3] = units * (Q[:, 0] + Q[:, 1])
    with pytest.warns(UserWarning, match="collinear"):
        fitted = MahalanobisScore(quantile=0.95).fit(X)
    assert (fitted.predict(Q) == 1).mean() > 0.9
    assert (fitted.predict(broken) == -1).mean() >= 0.95


def test_constant_features_are_named_and_deviation_is_far():
    X = rows(300, 5) * 1e3
    X[:, [1, 3]] = [7.7, 0.1]
    with pytest.warns(UserWarning, match=r"features \[1, 3\] are constant"):
        fitted = MahalanobisScore().fit(X)
    Q = rows(50, 5, seed=1) * 1e3
    Q[:, [1, 3]] = [7.7, 0.1]
    expected = MahalanobisScore().fit(X[:, [0, 2, 4]]).score_samples(Q[:, [0, 2, 4]])
    np.testing.assert_allclose(fitted.score_samples(Q), expected, rtol=1e-6)
    Q[:, 3] = 500
    np.testing.assert_array_equal(fitted.predict(Q), -1)


def test_one_feature_is_divided_by_its_deviation():
    # SP-MD-05
    for dtype in (np.float32, np.float64):
        X, Q = rows(3000, 1, dtype=dtype) * 7, rows(99, 1, seed=1, dtype=dtype)
        expected = EuclideanScore().fit(X).score_samples(Q) / X.astype(np.float64).std()
        np.testing.assert_allclose(MahalanobisScore().fit(X).score_samples(Q), expected, rtol=1e-6)


def test_float32_clusters_keep_their_digits():
    # Whitened rows that were rounded to float32 would not.
    side = np.random.default_rng(0).choice([-1, 1], size=(400, 1))
    X = (side + 1e-5 * rows(400, 1)).astype(np.float32)
    expected = EuclideanScore().fit(X).score_samples(X) / X.astype(np.float64).std()
    np.testing.assert_allclose(MahalanobisScore().fit(X).score_samples(X), expected, rtol=1e-6)


@pytest.mark.parametrize("scale", [1e200, 1e-200, 1e-160, 1e307, 1e-310])
@pytest.mark.parametrize("n", [8, 100])
def test_scales_that_no_covariance_holds_are_refused(scale, n):
    with pytest.raises(ValueError, match=r"X .*too large or too small .*feature 0.*rescale"):
        MahalanobisScore().fit(rows(n, 5) * scale)


def test_mahalanobis_does_not_see_units_nor_mixtures():
    X, Q = rows(300, 4), rows(50, 4, seed=1)
    mix = np.random.default_rng(2).normal(size=(4, 4)) * [1, 1e-6, 1e3, 1e6]
    expected = MahalanobisScore().fit(X)
    found = MahalanobisScore().fit(X @ mix + 5)
    np.testing.assert_allclose(
        found.score_samples(Q @ mix + 5), expected.score_samples(Q), rtol=1e-6
    )
    np.testing.assert_allclose(found.calibration_scores_, expected.calibration_scores_, rtol=1e-6)


def test_mahalanobis_attributes():
    X = rows(300, 4)
    fitted = MahalanobisScore().fit(X)
    np.testing.assert_allclose(fitted.location_, X.mean(axis=0))
    np.testing.assert_allclose(fitted.covariance_, np.cov(X.T, bias=True))
    assert fitted.shrinkage_ == 0


@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize(("n", "d"), [(60, 2), (80, 30), (81, 40)])
def test_mahalanobis_leave_one_out_equals_refits(n, d, k):
    X = np.random.default_rng(0).standard_t(2.0, size=(n, d))
    expected = -np.sort(unseen_distances(MahalanobisScore, X), axis=1)[:, k - 1]
    np.testing.assert_allclose(
        MahalanobisScore(k=k).fit(X).calibration_scores_, expected, rtol=1e-9
    )


# In scikit-learn


def test_routed_calibration_rows_pass_the_steps_before():
    X, C = rows(200, 4) * [1, 10, 100, 1000], rows(100, 4, seed=1) * [1, 10, 100, 1000]
    scaler = StandardScaler().fit(X)
    expected = EuclideanScore().fit(scaler.transform(X), X_cal=scaler.transform(C))
    with config_context(enable_metadata_routing=True):
        pipe = Pipeline(
            [("scale", StandardScaler()), ("score", EuclideanScore().set_fit_request(X_cal=True))],
            transform_input=["X_cal"],
        ).fit(X, X_cal=C)
    assert pipe[-1].offset_ == expected.offset_
    np.testing.assert_array_equal(pipe[-1].calibration_scores_, expected.calibration_scores_)
    np.testing.assert_array_equal(pipe.predict(C), expected.predict(scaler.transform(C)))


def test_search_over_k_and_quantile():
    # SP-IN-34
    X, y = np.concatenate([rows(150, 3), rows(50, 3, seed=1) * 4]), np.repeat([1, -1], [150, 50])
    grid = {"euclideanscore__k": np.arange(1, 4), "euclideanscore__quantile": [0.5, 0.9]}
    search = GridSearchCV(
        make_pipeline(StandardScaler(), EuclideanScore()), grid, scoring="accuracy", cv=3
    )
    search.fit(X, y)
    assert len(set(search.cv_results_["mean_test_score"])) > 1
    assert search.predict(X).shape == (200,)


def test_data_frames_keep_names():
    X = pd.DataFrame(rows(50, 3), columns=["a", "b", "c"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted = EuclideanScore().fit(X, X_cal=X + 1)
        fitted.set_threshold(0.9, X=X + 2).predict(X)
        fitted.kneighbors(X)
    assert fitted.feature_names_in_.tolist() == ["a", "b", "c"]
    for method in (fitted.predict, fitted.kneighbors, lambda X: fitted.set_threshold(X=X)):
        with pytest.raises(ValueError, match="feature names"):
            method(X[["c", "b", "a"]])
    with pytest.raises(ValueError, match=r"Input X_cal.*feature names"):
        EuclideanScore().fit(X, X_cal=X[["b", "a", "c"]])
    with pytest.warns(UserWarning, match="feature names"):
        fitted.predict(X.to_numpy())


@pytest.mark.parametrize("score", SCORES)
def test_device_parameter(score):
    X = rows(60)
    expected = score().fit(X).score_samples(X)
    for device in ("auto", "cpu", torch.device("cpu")):
        np.testing.assert_allclose(
            score(device=device).fit(X).score_samples(X), expected, rtol=1e-6
        )
    for device in ("meta", "nonsense", "cuda:99"):
        with pytest.raises(ValueError, match=rf"device='{device}'"):
            score(device=device).fit(X)


@pytest.mark.parametrize("score", [cls() for cls in SCORES])
def test_a_grid_over_numpy_integers_works(score):
    X = np.random.default_rng(0).normal(size=(60, 3))
    for k in np.arange(2, 4):
        expected = clone(score).set_params(k=int(k)).fit(X)
        fitted = clone(score).set_params(k=k).fit(X)
        np.testing.assert_array_equal(fitted.calibration_scores_, expected.calibration_scores_)


@pytest.mark.parametrize(
    ("score", "dtype"),
    [(EuclideanScore, np.float32), (EuclideanScore, np.float64), (CosineScore, np.float32)],
)
def test_values_near_the_largest_float_are_searched_without_overflow(score, dtype):
    X = np.full((6, 2), np.finfo(dtype).max / 2, dtype=dtype)
    X[::2] *= np.array([1, -1], dtype=dtype)
    with np.errstate(all="raise"):
        distances, indices = score(k=3).fit(X).kneighbors(X)
    np.testing.assert_array_equal(indices, [[0, 2, 4], [1, 3, 5]] * 3)
    np.testing.assert_allclose(distances, 0, atol=1e-12)
