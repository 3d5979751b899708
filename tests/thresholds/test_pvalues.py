"""Conformal p-values and the step-up rule."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sklearn_seapig import ConformalThreshold, benjamini_hochberg, conformal_pvalues


def test_values():
    p = conformal_pvalues(-np.arange(1.0, 20), [-20, -18.5, -5])
    np.testing.assert_array_equal(p, [0.05, 0.1, 0.8])


def test_pvalues_equal_the_definition_with_ties():
    rng = np.random.default_rng(0)
    calibration, scores = rng.integers(0, 6, size=40) / 5, rng.integers(-1, 8, size=100) / 5
    expected = [(1 + (calibration <= s).sum()) / 41 for s in scores]
    np.testing.assert_array_equal(conformal_pvalues(calibration, scores), expected)
    assert conformal_pvalues([1.0, 1.0], [-np.inf, 1.0, np.inf]).tolist() == [1 / 3, 1, 1]
    assert conformal_pvalues([1.0], [0.0]).tolist() == [0.5]


@pytest.mark.parametrize("q", [0.5, 0.56, 0.9, 0.95])
def test_a_pvalue_above_1_minus_q_is_the_conformal_bound(q):
    rng = np.random.default_rng(0)
    calibration, scores = rng.random(124), rng.random(1000)
    accepted = ConformalThreshold(q).fit(calibration).accept(scores)
    p = conformal_pvalues(calibration, scores)
    np.testing.assert_array_equal(p > 1 - q + 1e-12, accepted)


def test_pvalues_of_like_rows_are_at_most_as_small_as_they_say():
    rng = np.random.default_rng(0)
    for levels in (4, 10**9):
        draws = rng.integers(0, levels, size=(3000, 20)).astype(float)
        p = np.array([conformal_pvalues(row[1:], row[:1])[0] for row in draws])
        for t in (0.05, 0.1, 0.5):
            assert np.mean(p <= t) <= t + 3 * np.sqrt(t * (1 - t) / 3000)


@settings(max_examples=100, deadline=None)
@given(
    p=st.lists(st.one_of(st.floats(0, 1), st.sampled_from([0.01, 0.02, 0.05])), max_size=30),
    alpha=st.sampled_from([0.01, 0.05, 0.3, 1.0]),
)
def test_step_up_equals_scipy(p, alpha):
    rejected = benjamini_hochberg(p, alpha)
    assert rejected.dtype == bool
    if not p:
        assert rejected.shape == (0,)
        return
    adjusted = stats.false_discovery_control(p)
    clear = np.abs(adjusted - alpha) > 1e-9
    np.testing.assert_array_equal(rejected[clear], (adjusted <= alpha)[clear])


def test_step_up_reaches_its_levels_exactly():
    for m in range(1, 200):
        assert benjamini_hochberg(np.arange(1, m + 1) / m * 0.05, 0.05).all()
        assert benjamini_hochberg(np.full(m, 3) / 60, 0.05).all()
    assert not benjamini_hochberg([0.0500001], 0.05).any()
    assert benjamini_hochberg([0.04, 0.04, 0.04, 0.9], 0.06).tolist() == [True, True, True, False]


def test_false_discovery_rate():
    rng, alpha, share = np.random.default_rng(0), 0.2, []
    for _ in range(500):
        scores = np.concatenate([rng.normal(size=80), rng.normal(-3, size=20)])
        rejected = benjamini_hochberg(conformal_pvalues(rng.normal(size=300), scores), alpha)
        share.append(rejected[:80].sum() / max(1, rejected.sum()))
    assert np.mean(share) <= alpha + 3 * np.std(share) / np.sqrt(500)
    assert np.mean(share) > 0.5 * alpha  # the rule is not idle


def test_millions():
    rng = np.random.default_rng(0)
    p = conformal_pvalues(rng.random(1_000_000), rng.random(1_000_000))
    assert abs(p.mean() - 0.5) < 0.01
    assert benjamini_hochberg(np.append(p, np.zeros(100)), 0.1)[-100:].all()


@pytest.mark.parametrize(
    ("p", "alpha", "text"),
    [
        ([0.1, 1.2], 0.1, "pvalues lie in"),
        ([-0.1], 0.1, "pvalues lie in"),
        ([np.nan], 0.1, "pvalues contains NaN"),
        ([[0.1, 0.2]], 0.1, "1d array"),
        ([0.1], 0, r"'alpha' parameter .*\(0, 1\]"),
        ([0.1], 2, "'alpha' parameter"),
        ([0.1], True, "'alpha' parameter"),
    ],
)
def test_bad_input_is_refused(p, alpha, text):
    with pytest.raises(ValueError, match=text):
        benjamini_hochberg(p, alpha)


@pytest.mark.parametrize("bad", [[], [np.nan], [[1.0, 2.0]]])
def test_bad_scores_are_refused(bad):
    with pytest.raises(ValueError, match="calibration_scores"):
        conformal_pvalues(bad, [1.0])
    with pytest.raises(ValueError, match=r"^scores"):
        conformal_pvalues([1.0], bad)


@pytest.mark.parametrize("nothing", [[], np.array([]), torch.tensor([])])
def test_no_pvalues_reject_nothing(nothing):
    assert benjamini_hochberg(nothing, 0.5).shape == (0,)
