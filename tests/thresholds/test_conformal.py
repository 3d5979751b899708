"""The conformal bound: its ranks, its promise over draws, weights, and too few rows."""

import math
import warnings
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats
from sklearn.exceptions import NotFittedError

from sklearn_seapig import ConformalThreshold, EuclideanScore, MarginScore, QuantileThreshold
from sklearn_seapig.thresholds._conformal import conformal_rank, conformal_size


@pytest.mark.parametrize(
    ("n", "q", "rank"),
    [(8, 0.9, 9), (9, 0.9, 9), (99, 0.9, 90), (100, 0.9, 91), (1000, 0.9, 901), (24, 0.56, 14)],
)
def test_marginal_rank(n, q, rank):
    assert conformal_rank(n, q) == rank


def test_marginal_rank_equals_exact_arithmetic():
    for n in range(1, 300):
        for percent in range(1, 101):
            assert conformal_rank(n, percent / 100) == math.ceil((n + 1) * Fraction(percent, 100))


@pytest.mark.parametrize(("n", "rank"), [(100, 96), (500, 462), (1000, 916)])
def test_rank_given_the_calibration_set(n, rank):
    assert conformal_rank(n, 0.9, 0.05) == rank


@pytest.mark.parametrize("delta", [0.001, 0.05, 0.5, 0.9])
@pytest.mark.parametrize("q", [0.01, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("n", [1, 2, 30, 501])
def test_rank_is_the_smallest_by_the_law_of_the_coverage(n, q, delta):
    ranks = np.arange(1, n + 1)
    kept = stats.beta.sf(q, ranks, n + 1 - ranks) >= 1 - delta
    assert conformal_rank(n, q, delta) == (1 + kept.argmax() if kept.any() else n + 1)


@pytest.mark.parametrize("delta", [None, 0.2, 0.05])
@pytest.mark.parametrize("q", [0.01, 0.5, 0.9, 0.95, 0.99])
def test_size_is_the_smallest_that_bounds_anything(q, delta):
    n = conformal_size(q, delta)
    assert conformal_rank(n, q, delta) <= n
    assert n == 1 or conformal_rank(n - 1, q, delta) > n - 1


@pytest.mark.parametrize("delta", [None, 0.05])
def test_bound_is_the_kth_largest_confidence(delta):
    confidence = np.random.default_rng(0).normal(size=200)
    rule = ConformalThreshold(0.9, delta).fit(confidence)
    k = conformal_rank(200, 0.9, delta)
    assert rule.threshold_ == np.sort(confidence)[-k]
    assert rule.accept(confidence).sum() == k
    assert rule.feasible_ is True
    assert type(rule.threshold_) is float


@pytest.mark.parametrize(
    ("n", "q", "delta", "needed"),
    [(8, 0.9, None, "9"), (28, 0.9, 0.05, "29"), (10, 0.95, None, "19"), (1, 0.99, None, "99")],
)
def test_too_few_rows_accept_everything_and_say_how_many_do(n, q, delta, needed):
    # SP-TH-04
    with pytest.warns(UserWarning, match=rf"n={n}\) are too few for q={q}.*at least {needed}\."):
        rule = ConformalThreshold(q, delta).fit(np.arange(float(n)))
    assert rule.threshold_ == -np.inf
    assert rule.feasible_ is False
    assert rule.accept([-1e300, -np.inf]).all()
    assert "accepts everything" in rule.guarantee_
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        enough = ConformalThreshold(q, delta).fit(np.arange(float(needed)))
    assert enough.threshold_ == 0


def test_q_of_one_can_only_accept_everything():
    with pytest.warns(UserWarning, match=r"q=1\.0.*take q < 1"):
        assert ConformalThreshold(1.0).fit(np.arange(9.0)).threshold_ == -np.inf


@pytest.mark.parametrize(("n", "q"), [(10, 0.9), (19, 0.95), (50, 0.95)])
def test_mean_coverage_of_fresh_rows(n, q):
    # SP-TH-04: uniform confidences, so that the coverage of a bound is 1 - bound.
    draws = np.random.default_rng(0).random((2000, n))
    coverage = [1 - ConformalThreshold(q).fit(row).threshold_ for row in draws]
    spread = np.std(coverage) / np.sqrt(2000)
    assert q - 3 * spread <= np.mean(coverage) <= q + 1 / (n + 1) + 3 * spread


def test_coverage_given_the_calibration_set_fails_as_often_as_delta():
    draws = np.random.default_rng(0).random((2000, 100))
    coverage = np.array([1 - ConformalThreshold(0.9, 0.05).fit(row).threshold_ for row in draws])
    exact = stats.beta.cdf(0.9, 96, 5)
    assert exact <= 0.05
    assert abs(np.mean(coverage < 0.9) - exact) < 3 * np.sqrt(exact / 2000)


@pytest.mark.filterwarnings("ignore:ties")
@pytest.mark.parametrize("q", [0.5, 0.8, 0.9, 0.95])
def test_discrete_scores_are_accepted_with_their_ties(q):
    # SP-TH-03
    logits = np.random.default_rng(0).integers(0, 5, size=(200, 3)).astype(float)
    confidence = MarginScore(kind="logit").fit(logits).score_samples(logits)
    assert len(np.unique(confidence)) == 5
    assert ConformalThreshold(q).fit(confidence).accept(confidence).mean() >= q


@pytest.mark.filterwarnings("ignore:ties")
def test_equal_confidences_are_all_accepted():
    # SP-TH-01
    X = np.ones((50, 3))
    confidence = EuclideanScore().fit(X).score_samples(X)
    assert ConformalThreshold(0.9).fit(confidence).accept(confidence).all()


def test_ties_that_overshoot_are_told():
    # FB-21
    with pytest.warns(UserWarning, match=r"ties: 60 of .* achieved coverage is 1 where 0\.51"):
        ConformalThreshold(0.5).fit(np.repeat([0.0, 1.0], [60, 40]))


def test_weighted_value():
    with pytest.warns(UserWarning, match="too few for q=0.7"):  # for the largest weight
        rule = ConformalThreshold(0.7).fit([-1, -2, -3, -4], sample_weight=[4, 1, 1, 1])
    near = [-3.5, -3, -2]
    assert rule.accept(near, sample_weight=[1, 1, 1]).tolist() == [False, True, True]
    # 0.7 of (7 + 4) is 7.7, beyond the 7 of all calibration rows.
    assert rule.accept([-9], sample_weight=[4]).all()


@pytest.mark.parametrize("scale", [1e-3, 1, 7, 1e6])
@pytest.mark.parametrize("q", [0.1, 0.56, 0.9, 0.95])
@pytest.mark.parametrize("n", [24, 99, 1000])
def test_equal_weights_are_no_weights(n, q, scale):
    confidence = np.random.default_rng(n).normal(size=n)
    plain = ConformalThreshold(q).fit(confidence)
    rule = ConformalThreshold(q).fit(confidence, sample_weight=np.full(n, scale))
    assert rule.threshold_ == plain.threshold_
    query = np.random.default_rng(1).normal(size=50)
    exact = rule.accept(query, sample_weight=np.full(50, scale))
    np.testing.assert_array_equal(exact, plain.accept(query))


@pytest.mark.parametrize(("n", "q", "w"), [(999_999, 0.9, 0.1), (199_999, 0.1, 1 / 3)])
def test_equal_weights_of_many_rows_are_no_weights(n, q, w):
    confidence = np.random.default_rng(0).permutation(float(n) + np.arange(n))
    rule = ConformalThreshold(q).fit(confidence, sample_weight=np.full(n, w))
    assert rule.threshold_ == ConformalThreshold(q).fit(confidence).threshold_


def test_largest_weight_covers_less_where_fresh_rows_weigh_more():
    # Confidence 1 where the weight is 0.5; a weight of 50 is seen in 1 % of the rows, and makes up
    # half of the fresh ones, which lie lower.
    rng, got = np.random.default_rng(0), []
    for _ in range(200):
        heavy = rng.random(20) < 0.01
        confidence = np.where(heavy, -1, 1) + rng.random(20) / 2
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rule = ConformalThreshold(0.9).fit(confidence, sample_weight=np.where(heavy, 50.0, 0.5))
        fresh = np.concatenate([1 + rng.random(50) / 2, -1 + rng.random(50) / 2])
        weight = np.repeat([0.5, 50.0], 50)
        got.append([rule.accept(fresh).mean(), rule.accept(fresh, sample_weight=weight).mean()])
        if not heavy.any():
            assert "if no fresh row weighs more than 0.5 (" in rule.guarantee_
    default, exact = np.mean(got, axis=0)
    assert default < 0.7 < 0.9 < exact


def test_default_bound_is_that_of_the_largest_weight_and_rejects_least():
    rng = np.random.default_rng(0)
    confidence, weight, query = rng.normal(size=300), rng.random(300), rng.normal(size=1000)
    rule = ConformalThreshold(0.8).fit(confidence, sample_weight=weight)
    largest = np.full(1000, weight.max())
    np.testing.assert_array_equal(rule.accept(query), rule.accept(query, sample_weight=largest))
    assert (rule.accept(query) >= rule.accept(query, sample_weight=rng.random(1000) * 0.9)).all()
    assert (
        "a fresh reweighted row with probability >= 0.8 if no fresh row weighs more than 0.9"
        in rule.guarantee_
    )
    assert "effective size" in rule.guarantee_
    assert rule.feasible_ is True


def test_rows_of_weight_zero_count_for_nothing():
    confidence, weight = np.arange(30.0), np.repeat([0.0, 1.0], 15)
    rule = ConformalThreshold(0.9).fit(confidence, sample_weight=weight)
    assert rule.threshold_ == ConformalThreshold(0.9).fit(confidence[15:]).threshold_


def test_weights_keep_the_coverage_under_covariate_shift():
    # Confidence X uniform; fresh rows have density 2 x, so the likelihood ratio is x.
    rng, covered, plain = np.random.default_rng(0), [], []
    for _ in range(1000):
        confidence, query = 1 - rng.random(40), 1 - np.sqrt(rng.random(1))
        rule = ConformalThreshold(0.8).fit(confidence, sample_weight=1 - confidence)
        covered.append(rule.accept(query, sample_weight=1 - query)[0])
        plain.append(ConformalThreshold(0.8).fit(confidence).accept(query)[0])
    assert np.mean(covered) >= 0.8 - 3 * np.sqrt(0.16 / 1000)
    assert np.mean(plain) < 0.75


def test_too_little_weight_accepts_everything():
    with pytest.warns(UserWarning, match=r"q=0\.9.*at least 9 times the largest"):
        rule = ConformalThreshold(0.9).fit(np.arange(50.0), sample_weight=[100] + [1] * 49)
    assert rule.threshold_ == -np.inf
    assert not rule.feasible_


def test_weights_where_they_mean_nothing_are_refused():
    with pytest.raises(ValueError, match=r"sample_weight has no form with delta=0\.1"):
        ConformalThreshold(0.5, 0.1).fit([1.0, 2.0], sample_weight=[1, 1])
    rule = ConformalThreshold(0.5).fit([1.0, 2.0])
    with pytest.raises(ValueError, match="sample_weight is given to accept but was not"):
        rule.accept([1.0], sample_weight=[1.0])
    with pytest.raises(NotFittedError):
        ConformalThreshold().accept([1.0], sample_weight=[1.0])


def test_a_refit_without_weights_forgets_them():
    rule = ConformalThreshold(0.5).fit([1.0, 2.0], sample_weight=[1, 1]).fit([1.0, 2.0])
    with pytest.raises(ValueError, match="not given to fit"):
        rule.accept([1.0], sample_weight=[1.0])


@pytest.mark.parametrize("delta", [0, 1, -0.1, "0.1", True, np.nan])
def test_bad_delta_is_refused(delta):
    with pytest.raises(ValueError, match="'delta' parameter"):
        ConformalThreshold(0.9, delta).fit([1.0, 2.0])


@pytest.mark.parametrize("q", [0, 1.5, "0.9", None, np.nan, True])
def test_bad_q_is_refused(q):
    # SP-TH-07
    with pytest.raises(ValueError, match=r"'q' parameter .*\(0, 1\]"):
        ConformalThreshold(q).fit([1.0, 2.0])


def test_a_million_rows():
    confidence = np.random.default_rng(0).random(1_000_000)
    bound = ConformalThreshold(0.99).fit(confidence).threshold_
    assert bound == QuantileThreshold(0.99).fit(confidence).threshold_
    assert ConformalThreshold(0.99, 0.001).fit(confidence).threshold_ < bound
    equal = ConformalThreshold(0.99).fit(confidence, sample_weight=np.full(1_000_000, 0.1))
    assert equal.threshold_ == bound
