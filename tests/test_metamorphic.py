"""What must not change a score, and what must change it in a known way."""

import warnings
from contextlib import contextmanager

import numpy as np
import pytest
from pyod.models.knn import KNN
from scipy.stats import ortho_group
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from sklearn_seapig import (
    CosineScore,
    EnergyScore,
    EntropyScore,
    EuclideanScore,
    GaussianScore,
    MahalanobisScore,
    MarginScore,
    MaxLogitScore,
    PCAScore,
    PyODScore,
    RandomScore,
    SelectiveClassifier,
    SoftmaxScore,
    TemperatureScaler,
)

EUCLIDEAN = [EuclideanScore(k=3, stat=stat) for stat in ("max", "mean", "median", "min")]
COSINE = [CosineScore(k=3), CosineScore(k=2, stat="mean")]
MAHALANOBIS = [MahalanobisScore(k=3), MahalanobisScore(k=2, stat="mean")]
GAUSSIAN = [GaussianScore(), GaussianScore(relative=True)]
LINEAR_PCA = [PCAScore(2), PCAScore(0.7)]
DIRECTIONS = [PCAScore(2, normalize=True)]
FOURIER = [PCAScore(2, gamma=0.1, n_features=16, random_state=0)]
PYOD = [PyODScore(KNN(n_neighbors=3))]
SHIFTED = [SoftmaxScore(), EntropyScore(), MarginScore(), MarginScore(kind="probability")]
SIZED = [EnergyScore(), MaxLogitScore(), EnergyScore(temperature=2.0)]
LABELS = [
    cls(task="multilabel", aggregate=aggregate)
    for cls in (SoftmaxScore, EntropyScore, MarginScore, EnergyScore, MaxLogitScore)
    for aggregate in ("min", "sum")
]
DISTANCES = [*EUCLIDEAN, *COSINE, *MAHALANOBIS, *PYOD]
FEATURES = [*DISTANCES, *GAUSSIAN, *LINEAR_PCA, *DIRECTIONS]
LOGITS = [*SHIFTED, *SIZED, *LABELS]
EVERY = [*FEATURES, *FOURIER, *LOGITS, RandomScore(random_state=0)]

RNG = np.random.default_rng(0)
AXES = RNG.normal(size=(4, 4))
X = RNG.normal(size=(90, 4)) @ AXES + 3
C = RNG.normal(size=(40, 4)) @ AXES + 3
Q = np.vstack([RNG.normal(size=(30, 4)) @ AXES + 3, RNG.normal(size=(10, 4)) * 9])
Y = np.arange(90) % 3
ROTATION = ortho_group.rvs(4, random_state=0)
AFFINE = RNG.normal(size=(4, 4)) + 3 * np.eye(4)


def over(*groups):
    scores = [score for group in groups for score in group]
    return pytest.mark.parametrize("score", scores, ids=repr)


@contextmanager
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def confidences(score, X=X, Q=Q, y=Y, C=C):
    """Return confidences of the queries and the bound, of a score fitted anew."""
    with quiet():
        fitted = clone(score).fit(X, y, X_cal=C)
        return np.append(fitted.score_samples(Q), fitted.offset_)


def mapped(score, change):
    return confidences(score, change(X), change(Q), C=change(C))


def close(a, b, rtol=1e-8):
    np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max())


# Rows


@over(EVERY)
def test_the_order_of_rows_does_not_matter(score):
    order = np.random.default_rng(1).permutation
    p, c, q = order(len(X)), order(len(C)), order(len(Q))
    expected = confidences(score)
    found = confidences(score, X[p], Q[q], Y[p], C[c])
    close(found[:-1], expected[:-1][q])
    close(found[-1], expected[-1])


@over(EVERY)
def test_a_row_has_one_confidence_alone_in_a_batch_and_repeated(score):
    with quiet():
        fitted = clone(score).fit(X, Y, X_cal=C)
    expected = fitted.score_samples(Q)
    for size in (1, 7, 39):
        parts = [fitted.score_samples(Q[i : i + size]) for i in range(0, len(Q), size)]
        close(np.concatenate(parts), expected)
    close(fitted.score_samples(np.repeat(Q, 3, axis=0)), np.repeat(expected, 3))
    close(fitted.score_samples(np.vstack([Q, X, 1e6 + Q]))[: len(Q)], expected)


@over(EVERY)
def test_float32_rows_are_scored_as_their_float64_values(score):
    narrow = [array.astype(np.float32) for array in (X, Q, C)]
    wide = [array.astype(np.float64) for array in narrow]
    found = confidences(score, narrow[0], narrow[1], C=narrow[2])
    close(found, confidences(score, wide[0], wide[1], C=wide[2]), 1e-9)


@over(EVERY)
def test_a_larger_share_never_raises_the_bound(score):
    with quiet():
        fitted = clone(score).fit(X, Y, X_cal=C)
    bounds = [fitted.set_threshold(q).offset_ for q in np.linspace(0.05, 1, 20)]
    assert (np.diff(bounds) <= 0).all()
    assert bounds[-1] == fitted.calibration_scores_.min()


@over(EVERY)
def test_calibration_rows_given_twice_move_the_bound_by_one_rank_at_most(score):
    scores = np.sort(clone(score).fit(X, Y, X_cal=C).calibration_scores_)
    once = confidences(score)[-1]
    twice = confidences(score, C=np.vstack([C, C]))[-1]
    ranks = np.searchsorted(scores, [once, twice])
    assert 0 <= abs(ranks[0] - ranks[1]) <= 1


# Reference rows


@over(EUCLIDEAN, COSINE, PYOD)
def test_further_reference_rows_never_lower_a_confidence(score):
    before = confidences(score)[:-1]
    more = confidences(score, np.vstack([X, C[:20]]), y=np.arange(110) % 3)[:-1]
    assert (more >= before - 1e-12 * np.abs(before)).all()


@over(EUCLIDEAN, PYOD)
def test_a_far_reference_row_changes_nothing(score):
    far = np.vstack([X, np.full((1, 4), 1e6)])
    close(confidences(score, far, y=np.append(Y, 0)), confidences(score))


@over(EUCLIDEAN, COSINE)
def test_every_reference_row_twice_and_twice_the_neighbors_are_the_same(score):
    twice = clone(score).set_params(k=2 * score.k)
    close(confidences(twice, np.repeat(X, 2, axis=0), y=np.repeat(Y, 2)), confidences(score))


@over(MAHALANOBIS, GAUSSIAN, LINEAR_PCA, DIRECTIONS, FOURIER)
def test_statistics_of_all_rows_twice_are_the_same(score):
    twice = clone(score)
    if isinstance(score, MahalanobisScore):
        twice.set_params(k=2 * score.k)
    close(confidences(twice, np.repeat(X, 2, axis=0), y=np.repeat(Y, 2)), confidences(score))


# Features


@over(EUCLIDEAN, PYOD, LINEAR_PCA)
def test_rotation_and_shift_change_nothing(score):
    close(mapped(score, lambda A: A @ ROTATION + [5, -7, 100, 0]), confidences(score))


@over(EUCLIDEAN, PYOD)
@pytest.mark.parametrize("factor", [1e-6, 3.0, 1e9])
def test_distances_scale_with_the_data(score, factor):
    close(mapped(score, lambda A: factor * A), factor * confidences(score))


@over(LINEAR_PCA)
@pytest.mark.parametrize("factor", [1e-6, 3.0, 1e9])
def test_decisions_of_components_do_not_see_the_unit(score, factor):
    before, after = confidences(score), mapped(score, lambda A: factor * A)
    close(after / after[-1], before / before[-1])


@over(COSINE, DIRECTIONS)
def test_the_length_of_a_row_does_not_matter_to_directions(score):
    def lengthen(A):
        return A * np.random.default_rng(len(A)).uniform(1e-3, 1e3, size=(len(A), 1))

    close(mapped(score, lengthen), confidences(score))
    close(mapped(score, lambda A: A @ ROTATION), confidences(score))


@over(MAHALANOBIS, GAUSSIAN)
def test_affine_maps_change_nothing(score):
    close(mapped(score, lambda A: A @ AFFINE + [1, -20, 300, 0]), confidences(score), 1e-6)
    units = [1e-3, 1, 1e3, 1e5]
    close(mapped(score, lambda A: A * units), confidences(score), 1e-6)


@over(FEATURES)
def test_the_order_of_features_does_not_matter(score):
    close(mapped(score, lambda A: A[:, [2, 0, 3, 1]]), confidences(score))


@over(EUCLIDEAN, MAHALANOBIS, GAUSSIAN, LINEAR_PCA, PYOD)
@pytest.mark.parametrize("value", [0.0, 50.0])
def test_a_constant_feature_says_nothing(score, value):
    wider = mapped(score, lambda A: np.insert(A, 2, value, axis=1))
    close(wider, confidences(score), 1e-6)


@over(GAUSSIAN)
@pytest.mark.parametrize("names", [["c", "a", "b"], [7, -1, 3], [2, 1, 0]])
def test_what_the_classes_are_called_does_not_matter(score, names):
    close(confidences(score, y=np.array(names)[Y]), confidences(score))


# Logits


@over(LOGITS)
def test_the_order_of_classes_does_not_matter(score):
    close(mapped(score, lambda A: A[:, [3, 1, 0, 2]]), confidences(score))


@over(SHIFTED)
def test_a_shift_of_all_logits_of_a_row_changes_nothing(score):
    def shift(A):
        return A + np.random.default_rng(0).uniform(-50, 50, size=(len(A), 1))

    close(mapped(score, shift), confidences(score))


@over(SIZED)
def test_a_shift_of_all_logits_of_a_row_is_added(score):
    shift = np.random.default_rng(0).uniform(-50, 50, size=(len(Q), 1))
    close(confidences(score, Q=Q + shift)[:-1], confidences(score)[:-1] + shift[:, 0])


@over([SHIFTED[0], SHIFTED[1], SHIFTED[3]], LABELS[:4])
@pytest.mark.parametrize("factor", [0.1, 8.0])
def test_logits_and_temperature_scale_alike(score, factor):
    cooler = clone(score).set_params(temperature=factor)
    close(mapped(cooler, lambda A: factor * A), confidences(score))


@over([SoftmaxScore(), EntropyScore(), MarginScore(), EnergyScore(), MaxLogitScore()])
def test_members_may_be_in_any_order_and_equal_ones_are_one(score):
    many = clone(score).set_params(members=True)
    stack = [np.stack([A, A[:, ::-1], A + 1], axis=2) for A in (X, Q, C)]
    expected = confidences(many, stack[0], stack[1], C=stack[2])
    turned = [A[:, :, [2, 0, 1]] for A in stack]
    close(confidences(many, turned[0], turned[1], C=turned[2]), expected)
    equal = [np.repeat(A[:, :, None], 3, axis=2) for A in (X, Q, C)]
    close(confidences(many, equal[0], equal[1], C=equal[2]), confidences(score))


@pytest.mark.parametrize("factor", [0.5, 3.0])
def test_a_fitted_temperature_scales_with_the_logits(factor):
    rows = np.random.default_rng(0).normal(size=(300, 3))
    noise = np.random.default_rng(1).gumbel(size=rows.shape)
    y = (rows + noise).argmax(axis=1)  # drawn by the probabilities of the rows
    before = TemperatureScaler().fit(3 * rows, y)
    after = TemperatureScaler().fit(3 * factor * rows, y)
    assert after.temperature_ == pytest.approx(factor * before.temperature_, rel=1e-6)
    close(after.transform(3 * factor * rows), before.transform(3 * rows), 1e-6)
    turned = TemperatureScaler().fit(3 * rows[:, [2, 0, 1]], np.array([1, 2, 0])[y])
    assert turned.temperature_ == pytest.approx(before.temperature_, rel=1e-9)


# Models


@over([None, EuclideanScore(k=3), SoftmaxScore()])
def test_what_the_classes_are_called_does_not_matter_to_a_selective_model(score):
    method = "decision_function" if isinstance(score, SoftmaxScore) else None
    model = SelectiveClassifier(LogisticRegression(), score, response_method=method, random_state=0)
    plain = clone(model).fit(X, Y).select(Q)
    named = clone(model).fit(X, np.array(["a", "b", "c"])[Y]).select(Q)
    np.testing.assert_array_equal(named.predictions, np.array(["a", "b", "c"])[plain.predictions])
    np.testing.assert_array_equal(named.selected, plain.selected)
    close(named.score, plain.score)
