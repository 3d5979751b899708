"""The cheapest bound."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sklearn_seapig import CostThreshold


@pytest.mark.parametrize(
    ("reject_cost", "error_cost", "bound"),
    [(0.2, 1, 0.8), (0, 1, 1), (1, 4, 0.75), (1, 1, -np.inf), (3, 1, -np.inf)],
)
def test_chow(reject_cost, error_cost, bound):
    rule = CostThreshold(reject_cost, error_cost, "chow").fit([0.1, 0.9])
    assert rule.threshold_ == pytest.approx(bound)
    assert rule.feasible_
    assert np.isnan(rule.cost_)
    assert "probability of being right" in rule.guarantee_


def test_chow_is_the_cheapest_bound_on_calibrated_probabilities():
    rng = np.random.default_rng(0)
    confidence = rng.random(200_000)
    error = rng.random(200_000) > confidence
    chow = CostThreshold(0.3, method="chow").fit(confidence, error)
    empirical = CostThreshold(0.3).fit(confidence, error)
    assert empirical.threshold_ == pytest.approx(chow.threshold_, abs=0.02)
    assert empirical.cost_ <= chow.cost_ <= empirical.cost_ + 1e-3
    # The integral of min(1 - p, 0.3) over p in [0, 1].
    assert chow.cost_ == pytest.approx(0.3 - 0.3**2 / 2, abs=3e-3)


@pytest.mark.parametrize("confidence", [[-0.1, 0.5], [0.5, 1.1], [0.5, np.inf]])
def test_chow_refuses_what_is_no_probability(confidence):
    with pytest.raises(ValueError, match="method='chow' needs the probability of being right"):
        CostThreshold(method="chow").fit(confidence)


def mean_cost(rule, confidence, error, weight):
    accepted = rule.accept(confidence)
    cost = np.where(accepted, rule.error_cost * error, rule.reject_cost)
    return np.average(cost, weights=weight)


@settings(max_examples=60, deadline=None)
@given(
    confidence=arrays(float, 12, elements=st.integers(0, 5).map(float)),
    error=arrays(float, 12, elements=st.sampled_from([0.0, 1.0, 0.4, 2.5])),
    weight=arrays(float, 12, elements=st.integers(0, 3).map(float)),
    reject_cost=st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.99]),
)
def test_empirical_bound_is_the_lowest_of_the_cheapest(confidence, error, weight, reject_cost):
    weight[0] = 1
    rule = CostThreshold(reject_cost, 1.0).fit(confidence, error, sample_weight=weight)
    costs = {}
    for bound in [*np.unique(confidence[weight > 0]), np.inf]:
        accepted = confidence >= bound
        cost = np.average(np.where(accepted, error, reject_cost), weights=weight)
        costs[bound] = cost
    least = min(costs.values())
    assert rule.threshold_ == min(b for b, cost in costs.items() if cost <= least + 1e-9)
    assert rule.cost_ == pytest.approx(least)
    assert rule.cost_ == pytest.approx(mean_cost(rule, confidence, error, weight))


def test_integer_weights_are_repetitions():
    rng = np.random.default_rng(0)
    confidence, error = rng.random(50), rng.random(50) < 0.3
    weight = rng.integers(0, 4, size=50)
    rule = CostThreshold().fit(confidence, error, sample_weight=weight)
    other = CostThreshold().fit(np.repeat(confidence, weight), np.repeat(error, weight))
    assert rule.threshold_ == other.threshold_
    assert rule.cost_ == pytest.approx(other.cost_)


def test_rejecting_everything_may_be_cheapest():
    rule = CostThreshold(0.2).fit([1.0, 2.0, 3.0], [1, 1, 1])
    assert rule.threshold_ == np.inf
    assert rule.cost_ == pytest.approx(0.2)
    assert not rule.accept([1e300]).any()


def test_a_rejection_that_costs_as_much_as_an_error_accepts_everything():
    rule = CostThreshold(1.0).fit([1.0, 2.0], [1, 0])
    assert rule.threshold_ == -np.inf
    assert rule.cost_ == 0.5
    # Losses above 1 may still cost more than the rejection.
    assert CostThreshold(1.0).fit([1.0, 2.0], [5, 0]).threshold_ == 2


def test_ties_of_confidence_stay_together_and_ties_of_cost_accept_more():
    assert CostThreshold(0.5).fit([1.0, 1.0, 1.0], [0, 1, 0]).threshold_ == 1
    assert CostThreshold(0.5).fit([3.0, 2.0, 1.0], [0, 1, 0]).threshold_ == 1
    # 0.1 * 3 and 0.3 * 1 tie, whatever binary fractions have it.
    assert CostThreshold(0.1, 0.4).fit([4.0, 3.0, 2.0, 1.0], [1, 0, 0, 0]).threshold_ == 1


def test_errors_are_needed_and_checked():
    with pytest.raises(ValueError, match="CostThreshold needs error"):
        CostThreshold().fit([1.0])
    with pytest.raises(ValueError, match=r"error must lie in \[0, inf\], got -1 in row 0"):
        CostThreshold().fit([1.0], [-1])
    with pytest.raises(ValueError, match="error contains NaN"):  # FB-20
        CostThreshold(method="chow").fit([1.0], [np.nan])


@pytest.mark.parametrize(
    ("params", "name"),
    [
        ({"reject_cost": -1}, "reject_cost"),
        ({"reject_cost": None}, "reject_cost"),
        ({"error_cost": 0}, "error_cost"),
        ({"error_cost": True}, "error_cost"),
        ({"method": "bayes"}, "method"),
    ],
)
def test_bad_parameters_are_refused(params, name):
    with pytest.raises(ValueError, match=f"'{name}' parameter"):
        CostThreshold(**params).fit([1.0], [0])
