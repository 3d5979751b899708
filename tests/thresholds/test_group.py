"""One bound for each group."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from sklearn_seapig import (
    ConformalThreshold,
    CostThreshold,
    GroupThreshold,
    QuantileThreshold,
    RiskThreshold,
)

RNG = np.random.default_rng(0)
GROUPS = np.repeat(["cat", "dog", "owl"], [100, 200, 10])
CONFIDENCE = RNG.normal(size=310) + np.repeat([0.0, 5.0, 9.0], [100, 200, 10])
SMALL = pytest.mark.filterwarnings("ignore:groups 'owl'")


@SMALL
def test_each_group_has_the_bound_of_its_rows():
    rule = GroupThreshold(ConformalThreshold(0.9)).fit(CONFIDENCE, groups=GROUPS)
    assert rule.groups_.tolist() == ["cat", "dog"]
    assert rule.group_sizes_.tolist() == [100, 200]
    for name, bound in zip(rule.groups_, rule.thresholds_, strict=True):
        alone = ConformalThreshold(0.9).fit(CONFIDENCE[name == GROUPS])
        assert bound == alone.threshold_
        assert alone.guarantee_ in rule.group_guarantees_
    assert rule.threshold_ == ConformalThreshold(0.9).fit(CONFIDENCE).threshold_
    assert rule.feasible_ is True
    assert rule.group_feasible_.all()
    query = RNG.normal(size=310) + 3
    bounds = np.repeat([*rule.thresholds_, rule.threshold_], [100, 200, 10])
    np.testing.assert_array_equal(rule.accept(query, GROUPS), query >= bounds)
    shuffled = RNG.permutation(310)
    np.testing.assert_array_equal(
        rule.accept(query[shuffled], GROUPS[shuffled]), (query >= bounds)[shuffled]
    )


@SMALL
def test_coverage_holds_in_each_group_where_the_pooled_bound_fails():
    rule = GroupThreshold(ConformalThreshold(0.9)).fit(CONFIDENCE, groups=GROUPS)
    cats = RNG.normal(size=20_000)
    assert rule.accept(cats, np.full(20_000, "cat")).mean() >= 0.85
    assert ConformalThreshold(0.9).fit(CONFIDENCE).accept(cats).mean() < 0.75


def test_small_groups_are_told_and_get_the_bound_of_all():
    with pytest.warns(UserWarning, match="groups 'owl' have fewer than min_size=30 .* all rows"):
        rule = GroupThreshold(QuantileThreshold(0.9)).fit(CONFIDENCE, groups=GROUPS)
    at = [rule.threshold_, np.nextafter(rule.threshold_, -np.inf)]
    assert rule.accept(at, ["owl", "owl"]).tolist() == [True, False]
    assert rule.accept(at, ["zebu", "ant"]).tolist() == [True, False]
    assert "2 of 3 groups" in rule.guarantee_
    assert "share the bound of all rows: accepts" in rule.guarantee_
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        own = GroupThreshold(QuantileThreshold(0.9), min_size=10).fit(CONFIDENCE, groups=GROUPS)
    assert own.groups_.tolist() == ["cat", "dog", "owl"]


@SMALL
def test_unseen_groups_may_be_rejected_or_refused():
    rule = GroupThreshold(QuantileThreshold(), unseen="reject").fit(CONFIDENCE, groups=GROUPS)
    high = [99.0, 99.0, 99.0]
    assert rule.accept(high, ["dog", "owl", "zebu"]).tolist() == [True, False, False]
    assert "rejected" in rule.guarantee_
    rule = GroupThreshold(QuantileThreshold(), unseen="error").fit(CONFIDENCE, groups=GROUPS)
    assert rule.accept(high[:1], ["dog"]).all()
    with pytest.raises(ValueError, match="groups holds 'owl', 'zebu' without a bound of its own"):
        rule.accept(high, ["zebu", "owl", "dog"])


def test_no_group_of_its_own():
    with pytest.warns(UserWarning, match="'cat', 'dog', 'owl' have fewer"):
        rule = GroupThreshold(QuantileThreshold(), min_size=999).fit(CONFIDENCE, groups=GROUPS)
    assert rule.thresholds_.shape == (0,)
    pooled = QuantileThreshold().fit(CONFIDENCE).accept(CONFIDENCE)
    np.testing.assert_array_equal(rule.accept(CONFIDENCE, GROUPS), pooled)


@pytest.mark.parametrize(
    "groups",
    [
        np.repeat([3, -1], 50),
        np.repeat([3.5, -1.0], 50),
        np.repeat([True, False], 50),
        np.repeat(["b", "a"], 50).astype(object),
        pd.Series(np.repeat(["b", "a"], 50), dtype="category"),
        torch.tensor([3, -1]).repeat_interleave(50),
        ["long name", "b"] * 50,
    ],
)
def test_groups_of_every_kind(groups):
    confidence = np.arange(100.0)
    rule = GroupThreshold(QuantileThreshold(0.5)).fit(confidence, groups=groups)
    names = np.asarray(groups)
    accepted = rule.accept(confidence, groups)
    for name in set(names.tolist()):
        assert accepted[names == name].sum() == 26
    assert rule.groups_.dtype != object


@pytest.mark.parametrize(
    ("groups", "text"),
    [
        (None, "GroupThreshold needs groups"),
        ([1, 2], "inconsistent numbers of samples"),
        ([1, "a", 2], "groups mixes strings"),
        ([1.0, np.nan, 2.0], "groups contains NaN"),
        (np.array(["a", None, "b"], dtype=object), "groups mixes strings"),
        (np.array([1, None, 2], dtype=object), "groups must be strings or numbers"),
        ([[1, 2], [1, 2], [1, 2]], "1d array"),
    ],
)
def test_bad_groups_are_refused(groups, text):
    confidence = [1.0, 2.0, 3.0]
    with pytest.raises(ValueError, match=text):
        GroupThreshold(QuantileThreshold()).fit(confidence, groups=groups)
    rule = GroupThreshold(QuantileThreshold(), min_size=1).fit(confidence, groups=[1, 1, 2])
    with pytest.raises(ValueError, match=text):
        rule.accept(confidence, groups)


def test_groups_of_another_kind_than_in_fit_are_refused():
    rule = GroupThreshold(QuantileThreshold(), min_size=1).fit([1.0, 2.0], groups=[1, 2])
    with pytest.raises(ValueError, match="groups are <U1, but fit saw int64"):
        rule.accept([1.0], ["1"])


@pytest.mark.filterwarnings("ignore:no bound keeps")
def test_risk_is_bounded_in_each_group_and_a_hopeless_group_is_named():
    confidence, groups = np.tile(np.arange(200.0), 2), np.repeat([0, 1], 200)
    error = np.where(groups == 1, 1.0, 0.0)
    with pytest.warns(UserWarning, match=r"groups 1 have .* too many errors, for RiskThreshold"):
        rule = GroupThreshold(RiskThreshold(0.05)).fit(confidence, error, groups=groups)
    assert rule.group_feasible_.tolist() == [True, False]
    assert rule.feasible_ is False
    assert rule.thresholds_.tolist() == [0, np.inf]
    assert rule.accept([0.0, 1e9], [0, 1]).tolist() == [True, False]


def test_weights_and_errors_reach_their_group():
    error, weight = RNG.random(300) < 0.3, RNG.random(300)
    confidence, groups = CONFIDENCE[:300], GROUPS[:300]
    rule = GroupThreshold(CostThreshold()).fit(
        confidence, error, groups=groups, sample_weight=weight
    )
    cats = groups == "cat"
    alone = CostThreshold().fit(confidence[cats], error[cats], sample_weight=weight[cats])
    assert rule.thresholds_[0] == alone.threshold_
    with pytest.raises(ValueError, match="RiskThreshold needs error"):
        GroupThreshold(RiskThreshold()).fit(confidence, groups=groups)
    with pytest.raises(ValueError, match="inconsistent"):
        GroupThreshold(RiskThreshold()).fit(confidence, error[1:], groups=groups)


def test_base_is_not_fitted():
    base = QuantileThreshold(0.5)
    GroupThreshold(base).fit(CONFIDENCE[:300], groups=GROUPS[:300])
    with pytest.raises(NotFittedError):
        base.accept([1.0])
    with pytest.raises(NotFittedError):
        GroupThreshold(base).accept([1.0], ["cat"])
    with pytest.raises(ValueError, match="'base' parameter"):
        GroupThreshold(3).fit(CONFIDENCE, groups=GROUPS)
    with pytest.raises(ValueError, match="'min_size' parameter"):
        GroupThreshold(base, min_size=0).fit(CONFIDENCE, groups=GROUPS)


def test_many_groups_and_rows():
    groups = RNG.integers(0, 1000, size=200_000)
    rule = GroupThreshold(ConformalThreshold(0.9)).fit(RNG.random(200_000), groups=groups)
    assert len(rule.groups_) == 1000
    assert abs(rule.thresholds_.mean() - 0.1) < 0.01


def test_a_rule_without_any_bound_is_not_feasible():
    for unseen, feasible in (("reject", False), ("error", False), ("pooled", True)):
        rule = GroupThreshold(QuantileThreshold(), min_size=999, unseen=unseen)
        with pytest.warns(UserWarning, match="'cat', 'dog', 'owl' have fewer"):
            rule.fit(CONFIDENCE, groups=GROUPS)
        assert rule.feasible_ is feasible


def test_a_pooled_bound_that_judges_no_row_does_not_warn():
    # The 100 rows of group 0 are right, so that only the pooled rows have too many errors.
    groups, confidence = np.repeat([0, 1], [100, 900]), np.arange(1000.0)
    for unseen, n_warnings in (("reject", 1), ("pooled", 2)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            rule = GroupThreshold(RiskThreshold(0.05), min_size=100, unseen=unseen)
            rule.fit(confidence, groups == 1, groups=np.where(groups == 1, confidence, 0))
        assert len(caught) == n_warnings
        assert any("have fewer than min_size" in str(w.message) for w in caught)


class Band(BaseEstimator):
    """A rule of someone else: two bounds, no weights, no promise."""

    def fit(self, confidence, error=None):
        self.threshold_, self.highest_ = float(np.min(confidence)), float(np.max(confidence))
        return self

    def accept(self, confidence):
        return (confidence >= self.threshold_) & (confidence <= self.highest_)


class Least(BaseEstimator):
    """A rule of someone else that is a bound and no more."""

    def fit(self, confidence, error=None):
        self.threshold_ = np.min(confidence)
        return self


def test_rules_of_others_decide_themselves():
    groups = np.repeat([0, 1], 50)
    confidence = np.concatenate([np.arange(50.0), 100 + np.arange(50)])
    query, of = [-1.0, 0, 49, 50, 100, 149, 150, 50, 150], [0, 0, 0, 0, 1, 1, 1, 2, 2]
    rule = GroupThreshold(Band()).fit(confidence, groups=groups)
    assert rule.accept(query, of).tolist() == [
        False,
        True,
        True,
        False,
        True,
        True,
        False,
        True,
        False,
    ]
    assert rule.feasible_ is True
    assert rule.group_guarantees_ == ["none: Band promises nothing"] * 2
    rule = GroupThreshold(Least()).fit(confidence, groups=groups)
    assert rule.accept(query, of).tolist() == [False] + 8 * [True]
    with pytest.raises(TypeError, match="sample_weight"):
        GroupThreshold(Band()).fit(confidence, groups=groups, sample_weight=np.ones(100))
