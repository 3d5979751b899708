"""What all rules have in common: the contract of an estimator, alone and inside of a search."""

import copy
import pickle
import warnings

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.datasets import make_classification
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

from sklearn_seapig import (
    ConformalThreshold,
    CostThreshold,
    GroupThreshold,
    QuantileThreshold,
    RiskThreshold,
    SelectiveClassifier,
)
from sklearn_seapig.thresholds._base import at_least, at_most

RULES = {
    "quantile": QuantileThreshold(0.8),
    "conformal": ConformalThreshold(0.8),
    "pac": ConformalThreshold(0.8, 0.1),
    "risk": RiskThreshold(0.3),
    "sequence": RiskThreshold(0.3, method="fixed_sequence"),
    "sgr": RiskThreshold(0.3, method="sgr"),
    "cost": CostThreshold(0.3),
    "chow": CostThreshold(0.3, method="chow"),
    "group": GroupThreshold(ConformalThreshold(0.8)),
    "group risk": GroupThreshold(RiskThreshold(0.4, 0.2)),
}
RNG = np.random.default_rng(0)
CONFIDENCE = RNG.random(500)
ERROR = RNG.random(500) > CONFIDENCE
GROUPS = np.repeat(["a", "b"], 250)


@pytest.fixture(params=RULES)
def rule(request):
    return clone(RULES[request.param])


def fit(rule, rows=slice(None), scale=lambda c: c):
    return rule.fit(scale(CONFIDENCE[rows]), ERROR[rows], groups=GROUPS[rows])


def state(rule):
    return {key: value for key, value in vars(rule).items() if key.endswith("_")}


def test_fit_returns_self_and_the_documented_attributes(rule):
    assert isinstance(rule, BaseEstimator)
    assert fit(rule) is rule
    assert type(rule.threshold_) is float
    assert type(rule.feasible_) is bool
    assert rule.n_calibration_ == 500
    assert "calibration rows" in rule.guarantee_
    assert "\n" not in rule.guarantee_
    accepted = rule.accept(CONFIDENCE, groups=GROUPS)
    assert accepted.dtype == bool
    assert 0 < accepted.sum() < 500
    for name in state(rule):
        assert name in type(rule).__doc__


def test_fitted_state_is_arrays_and_plain_values(rule):
    plain = (np.ndarray, float, int, str, bool, list, type(None))
    for name, value in state(fit(rule)).items():
        assert isinstance(value, plain), name
        assert np.asarray(value).dtype.kind in "fiubU" or value is None


def test_clone_keeps_parameters_and_forgets_the_fit(rule):
    fresh = clone(fit(rule))
    assert str(fresh.get_params()) == str(rule.get_params())
    with pytest.raises(NotFittedError):
        fresh.accept([1.0], groups=["a"])


def test_refit_is_a_fresh_fit(rule):
    # SP-TH-09, SP-TH-11, SP-TH-12
    fresh = fit(clone(rule), slice(100, 400))
    np.testing.assert_equal(state(fit(fit(rule), slice(100, 400))), state(fresh))


def test_round_trips(rule, tmp_path):
    fit(rule)
    joblib.dump(rule, tmp_path / "rule")
    copies = [pickle.loads(pickle.dumps(rule)), joblib.load(tmp_path / "rule"), copy.deepcopy(rule)]
    for other in copies:
        np.testing.assert_equal(state(other), state(rule))
        np.testing.assert_array_equal(
            other.accept(CONFIDENCE, GROUPS), rule.accept(CONFIDENCE, GROUPS)
        )


def test_skops_loads_with_the_classes_of_the_rule_alone(rule):
    skops = pytest.importorskip("skops.io")
    file = skops.dumps(fit(rule))
    trusted = skops.get_untrusted_types(data=file)
    assert all(name.startswith("sklearn_seapig.thresholds.") for name in trusted)
    other = skops.loads(file, trusted=trusted)
    np.testing.assert_equal(state(other), state(rule))


def test_a_failed_fit_leaves_the_rule_as_it_was(rule):
    before = dict(vars(fit(rule)))
    for bad in ([], [np.nan] * 500, np.ones((500, 2))):
        with pytest.raises(ValueError, match="confidence"):
            rule.fit(bad, ERROR, groups=GROUPS)
    with pytest.raises(ValueError, match="sample_weight"):
        rule.fit(CONFIDENCE, ERROR, groups=GROUPS, sample_weight=np.ones(3))
    assert vars(rule) == before


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        (0.95, "0.95", "0.95"),
        (0.02, "0.02", "0.02"),
        (1 - 0.9, "0.1", "0.1"),
        (1, "1", "1"),
        (30, "30", "30"),
        (0.123449, "0.1234", "0.1235"),
        (1 - 1e-5, "0.99999", "0.99999"),
        (1e5 / (1e5 + 1), "0.99999", "0.999990001"),
        (100 / 101, "0.990099", "0.9901"),
        (2 / 3, "0.6666", "0.6667"),
        (1234.5678, "1234", "1235"),
    ],
)
def test_numbers_of_promises_are_rounded_to_the_weaker_side(value, least, most):
    assert (at_least(value), at_most(value)) == (least, most)


def test_no_sentence_promises_more_than_was_asked_for():
    row = np.arange(1e5)
    assert "probability >= 0.99999 (" in QuantileThreshold(1.0).fit(row).guarantee_
    right = np.zeros(100_000)
    assert "certainty 0.99999 (" in RiskThreshold(0.1, 1e-5).fit(row, right).guarantee_
    assert "rows <= 0.1235 with" in RiskThreshold(0.123449).fit(row, right).guarantee_
    assert "share 0.7654 of" in ConformalThreshold(0.76549, 0.1).fit(row).guarantee_


def test_a_float32_loss_at_the_largest_loss_is_one():
    error = np.zeros(100, dtype=np.float32)
    error[3] = 0.1  # as a float64 0.10000000149
    rule = RiskThreshold(0.05, max_loss=0.1).fit(np.arange(100.0), error)
    assert rule.feasible_
    with pytest.raises(ValueError, match=r"\[0, 0\.1\], got 0\.10001 in row 3"):
        RiskThreshold(0.05, max_loss=0.1).fit(np.arange(100.0), np.where(error, 0.10001, 0))


def test_input_is_not_written_to_nor_kept(rule):
    confidence, error = CONFIDENCE.copy(), ERROR.astype(float)
    rule.fit(confidence, error, groups=GROUPS)
    np.testing.assert_array_equal(confidence, CONFIDENCE)
    np.testing.assert_array_equal(error, ERROR)
    before, accepted = rule.threshold_, rule.accept(CONFIDENCE, GROUPS)
    confidence[:] = 0
    assert rule.threshold_ == before
    np.testing.assert_array_equal(rule.accept(CONFIDENCE, GROUPS), accepted)


def test_order_of_the_rows_does_not_matter(rule):
    order = np.random.default_rng(1).permutation(500)
    np.testing.assert_equal(state(fit(clone(rule), order)), state(fit(rule)))


def test_only_the_ranks_of_the_confidences_matter(rule, request):
    if "chow" in request.node.name:
        pytest.skip("Chow's rule is about the probability itself")
    accepted = fit(rule).accept(CONFIDENCE, GROUPS)
    for scale in (np.log, np.exp, lambda c: 1e6 * c**3 - 5, lambda c: np.argsort(np.argsort(c))):
        scaled = fit(clone(rule), scale=scale)
        np.testing.assert_array_equal(scaled.accept(scale(CONFIDENCE), GROUPS), accepted)


def test_tensors_and_lists(rule):
    expected = state(fit(clone(rule)))
    rule.fit(torch.tensor(CONFIDENCE), torch.tensor(ERROR), groups=GROUPS.tolist())
    np.testing.assert_equal(state(rule), expected)
    rule.fit(CONFIDENCE.tolist(), ERROR.tolist(), groups=GROUPS.astype(object))
    np.testing.assert_equal(state(rule), expected)
    assert rule.accept(torch.tensor(CONFIDENCE), GROUPS).dtype == bool


@pytest.mark.parametrize(
    ("rule", "grid"),
    [
        (ConformalThreshold(), {"threshold__q": [0.5, 0.9], "threshold__delta": [None, 0.1]}),
        (RiskThreshold(), {"threshold__max_risk": [0.05, 0.2]}),
        (CostThreshold(), {"threshold__reject_cost": [0.1, 0.4]}),
    ],
)
def test_grid_search_over_the_rule_of_a_classifier(rule, grid):
    X, y = make_classification(n_samples=600, flip_y=0.2, random_state=0)
    model = SelectiveClassifier(LogisticRegression(), threshold=rule, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search = GridSearchCV(model, grid, cv=3, error_score="raise").fit(X, y)
    scores = search.cv_results_["mean_test_score"]
    assert np.isfinite(scores).all()
    assert len(np.unique(scores)) > 1
    best = search.best_estimator_
    assert best.rule_.get_params() == best.threshold.get_params()
    assert best.threshold_ == best.rule_.threshold_
