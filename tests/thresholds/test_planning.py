"""How many rows a promise needs, against the definition and the published values."""

import numpy as np
import pytest
from scipy import stats

from sklearn_seapig import certifiable_risk, required_calibration_size


@pytest.mark.parametrize(
    ("max_risk", "delta", "expected_error", "size"),
    [
        (0.05, 0.05, 0, 59),
        (0.05, 0.1, 0, 45),
        (0.01, 0.05, 0, 299),
        (0.01, 0.001, 0, 688),
        (0.001, 0.05, 0, 2995),
        (0.05, 0.05, 0.02, 124),
        (0.05, 0.05, 0.03, 311),
        (0.05, 0.05, 0.04, 1237),
        (0.01, 0.05, 0.005, 1049),
        (0.5, 0.25, 0, 2),  # 0.5**2 is exactly 0.25
        (0.5, 0.9, 0, 1),
    ],
)
def test_size(max_risk, delta, expected_error, size):
    assert required_calibration_size(max_risk, delta, expected_error) == size


def test_size_is_the_smallest_of_all():
    rng = np.random.default_rng(0)
    m = np.arange(1, 20_000)
    for _ in range(100):
        risk, share, delta = rng.uniform(0.01, 0.6), rng.random() * 0.85, rng.uniform(0.001, 0.9)
        passed = stats.binom.cdf(np.round(m * risk * share), m, risk) <= delta
        assert required_calibration_size(risk, delta, risk * share) == m[passed.argmax()]


@pytest.mark.parametrize(
    ("max_risk", "expected"), [(0.05, 0.0499), (0.05, 0.049999), (0.2, 0.19999), (0.5, 0.49999)]
)
def test_size_for_rates_that_lie_close_is_exact_and_quick(max_risk, expected):
    m = required_calibration_size(max_risk, 0.05, expected)
    near = np.arange(m - 1000, m + 1)
    passed = stats.binom.cdf(np.round(near * expected), near, max_risk) <= 0.05
    assert m > 10_000_000
    assert np.flatnonzero(passed).tolist() == [1000]


def test_size_may_be_huge_but_not_endless():
    with pytest.raises(ValueError, match=r"expected_error=0\.04999999 is too close to max_risk"):
        required_calibration_size(0.05, 0.05, 0.04999999)
    for expected in (0.05, 0.2):
        with pytest.raises(ValueError, match="is not below max_risk"):
            required_calibration_size(0.05, 0.05, expected)


@pytest.mark.parametrize(
    ("n", "errors", "delta", "risk"),
    [
        (100, 0, 0.05, 0.029513),
        (1000, 0, 0.001, 0.006884),
        (100, 1, 0.05, 0.046560),
        (100, 5, 0.05, 0.102253),
        (1000, 10, 0.001, 0.023964),
        (1, 0, 0.05, 0.95),
        (3, 3, 0.05, 1.0),
    ],
)
def test_certifiable_risk(n, errors, delta, risk):
    assert certifiable_risk(n, errors, delta) == pytest.approx(risk, abs=5e-7)


def test_certifiable_risk_is_where_the_binomial_tail_is_delta():
    for n, errors in [(10, 0), (10, 9), (500, 40), (100_000, 300)]:
        risk = certifiable_risk(n, errors, 0.05)
        assert stats.binom.cdf(errors, n, risk) == pytest.approx(0.05)


@pytest.mark.parametrize("value", [0, 1, -0.1, 2, "0.1", True, None, np.nan])
def test_bad_shares_are_refused(value):
    with pytest.raises(ValueError, match="'max_risk' parameter"):
        required_calibration_size(value, 0.05)
    with pytest.raises(ValueError, match="'delta' parameter"):
        required_calibration_size(0.05, value)
    with pytest.raises(ValueError, match="'delta' parameter"):
        certifiable_risk(10, 1, value)
    if value != 0:
        with pytest.raises(ValueError, match="expected_error"):
            required_calibration_size(0.05, 0.05, value)


def test_bad_counts_are_refused():
    with pytest.raises(ValueError, match=r"'errors' parameter .* \[0, 10\]"):
        certifiable_risk(10, 11, 0.05)
    with pytest.raises(ValueError, match="'n' parameter"):
        certifiable_risk(0, 0, 0.05)
    with pytest.raises(ValueError, match="'errors' parameter"):
        certifiable_risk(10, 0.5, 0.05)
