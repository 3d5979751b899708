"""The finite-sample quantile and its rule."""

import math
import time
import warnings
from fractions import Fraction

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import DataConversionWarning, NotFittedError

from sklearn_seapig import EuclideanScore, QuantileThreshold
from sklearn_seapig.thresholds import quantile_bound, quantile_rank, weighted_quantile_bound


@pytest.mark.parametrize(
    ("n", "q", "rank"),
    [
        (24, 0.56, 14),  # 25 * 0.56 is 14.000000000000002 in binary
        (8, 0.9, 8),
        (9, 0.9, 9),
        (99, 0.9, 90),
        (100, 0.9, 91),
        (1000, 0.9, 901),
        (10, 1.0, 10),
        (1, 0.5, 1),
        (5, 1e-12, 1),
        (1, 1e-300, 1),
        (17_000_000, 0.99, 16_830_001),
    ],
)
def test_rank(n, q, rank):
    assert quantile_rank(n, q) == rank


def test_rank_equals_exact_arithmetic_for_all_hundredths():
    for n in range(1, 400):
        for percent in range(1, 101):
            exact = min(n, math.ceil((n + 1) * Fraction(percent, 100)))
            assert quantile_rank(n, percent / 100) == exact


@pytest.mark.parametrize("q", [1e-12, 0.1, 0.5, 0.56, 0.9, 1.0])
@pytest.mark.parametrize("n", [1, 2, 24, 999])
def test_bound_is_minus_the_kth_smallest_uncertainty(n, q):
    confidence = np.random.default_rng(n).normal(size=n)
    expected = -np.sort(-confidence)[quantile_rank(n, q) - 1]
    assert quantile_bound(confidence, q) == expected
    assert (confidence >= expected).sum() == quantile_rank(n, q)


@pytest.mark.filterwarnings("ignore:ties")
@pytest.mark.parametrize("q", [0.5, 0.8, 0.9, 0.95])
def test_ties_are_accepted(q):
    # SP-TH-03
    confidence = np.random.default_rng(0).integers(0, 5, size=200).astype(float)
    rule = QuantileThreshold(q).fit(confidence)
    assert rule.accept(confidence).mean() >= q
    assert QuantileThreshold(q).fit(np.full(50, 0.3)).accept([0.3, 0.2]).tolist() == [True, False]


def test_ties_that_overshoot_by_more_than_five_points_are_told():
    # FB-21
    with pytest.warns(UserWarning, match=r"ties: 60 of .* achieved coverage is 1 where 0\.51"):
        QuantileThreshold(0.5).fit(np.repeat([0.0, 1.0], [60, 40]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        QuantileThreshold(0.95).fit(np.repeat([0.0, 1.0], [60, 40]))
        QuantileThreshold(0.01).fit(np.arange(3.0))


def test_17_million_scores():
    # SP-TH-05: torch.quantile stops at 2**24.
    confidence = np.random.default_rng(0).random(17_000_000)
    fitted = EuclideanScore().fit(np.arange(20.0)[:, None])
    start = time.perf_counter()
    fitted.set_threshold(0.99, scores=confidence)
    assert time.perf_counter() - start < 30
    accepted = (confidence >= fitted.offset_).sum()
    assert accepted == 16_830_001
    assert QuantileThreshold(0.99).fit(confidence).threshold_ == fitted.offset_


@pytest.mark.parametrize("q", [1e-12, 0.3, 0.56, 0.9, 1.0])
@pytest.mark.filterwarnings("ignore:ties")
def test_integer_weights_are_repetitions(q):
    rng = np.random.default_rng(0)
    confidence, weight = rng.integers(0, 9, size=30) / 8, rng.integers(0, 4, size=30)
    weight[confidence.argmax()] = 0
    expected = quantile_bound(np.repeat(confidence, weight), q)
    assert weighted_quantile_bound(confidence, weight.astype(float), q) == expected
    assert QuantileThreshold(q).fit(confidence, sample_weight=weight).threshold_ == expected


@pytest.mark.parametrize("weight", [np.full(5, 0.1), np.array([1e-9, 1, 1e9, 1, 1])])
def test_any_weights_give_one_of_the_confidences(weight):
    confidence = np.array([0.1, 0.5, 0.2, 0.9, 0.4])
    for q in (0.01, 0.5, 0.99, 1.0):
        assert weighted_quantile_bound(confidence, weight, q) in confidence


def test_attributes():
    rule = QuantileThreshold(0.9).fit(np.arange(99.0))
    assert rule.feasible_ is True
    assert rule.n_calibration_ == 99
    assert rule.guarantee_ == (
        "accepts a fresh exchangeable row with probability >= 0.9 (99 calibration rows)"
    )
    assert "0.5 (1 calibration row)" in QuantileThreshold(0.99).fit([1.0]).guarantee_
    assert type(rule.threshold_) is float
    assert clone(rule).q == 0.9
    with pytest.raises(NotFittedError):
        QuantileThreshold().accept([1.0])


def test_weights_make_the_share_an_estimate_and_ones_are_no_weights():
    confidence = np.random.default_rng(0).random(1000)
    rule = QuantileThreshold(0.9).fit(confidence, sample_weight=confidence > 0.8)
    assert rule.guarantee_ == (
        "estimate, no promise: accepts a share 0.9 of the weight (1000 calibration rows)"
    )
    assert (confidence >= rule.threshold_).mean() < 0.25
    ones = QuantileThreshold(0.9).fit(confidence, sample_weight=np.ones(1000))
    assert vars(ones) == vars(QuantileThreshold(0.9).fit(confidence))


def test_infinite_confidences_are_honest_bounds():
    assert QuantileThreshold(1.0).fit([-np.inf, 1.0]).threshold_ == -np.inf


@pytest.mark.parametrize("q", [0, 1.5, -0.1, 90, "0.9", None, np.nan, True, np.inf])
def test_bad_q_is_refused(q):
    # SP-TH-07
    with pytest.raises(ValueError, match=r"'q' parameter .*\(0, 1\]"):
        QuantileThreshold(q).fit([1.0, 2.0])


@pytest.mark.parametrize(
    ("confidence", "text"),
    [
        ([], "confidence has 0 samples"),
        ([0.1, np.nan, np.nan], "confidence contains NaN in 2 of 3 rows"),
        (np.ones((3, 2)), r"confidence should be a 1d array, got .*\(3, 2\)"),
        (np.ones((1, 3)), "confidence should be a 1d array"),
        (1.0, "confidence should be a 1d array"),
        (["a"], "could not convert"),
    ],
)
def test_bad_confidences_are_refused(confidence, text):
    with pytest.raises(ValueError, match=text):
        QuantileThreshold().fit(confidence)
    with pytest.raises(ValueError, match=text):
        QuantileThreshold().fit([1.0]).accept(confidence)


@pytest.mark.parametrize(
    ("weight", "text"),
    [
        ([0, 0], "sample_weight must hold 2 .* from 0 to 0"),
        ([1, -1], "sample_weight must hold 2 .* from -1 to 1"),
        ([1, 2, 3], "sample_weight"),
        ([1, np.nan], "NaN"),
    ],
)
def test_bad_weights_are_refused(weight, text):
    with pytest.raises(ValueError, match=text):
        QuantileThreshold().fit([1.0, 2.0], sample_weight=weight)


def test_tensors_lists_and_columns():
    confidence = np.random.default_rng(0).normal(size=20)
    expected = QuantileThreshold(0.5).fit(confidence).threshold_
    tensor = torch.tensor(confidence, requires_grad=True)
    assert QuantileThreshold(0.5).fit(tensor).threshold_ == expected
    assert QuantileThreshold(0.5).fit(confidence.tolist()).threshold_ == expected
    with pytest.warns(DataConversionWarning):
        assert QuantileThreshold(0.5).fit(confidence[:, None]).threshold_ == expected
