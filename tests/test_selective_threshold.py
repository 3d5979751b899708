"""Rules, promises and new decisions of a fitted model; the ids are fault cases of a test."""

import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.base import BaseEstimator, clone
from sklearn.datasets import load_digits, load_iris
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, train_test_split
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_seapig import (
    CostThreshold,
    EuclideanScore,
    GroupThreshold,
    QuantileThreshold,
    RiskThreshold,
    SelectiveClassifier,
    SoftmaxScore,
)

X, Y = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])[Y]
FAR = np.vstack([X, X + 100])
FITTED = ("scores", "errors", "groups", "weight")


def selective(confidence="euclid", threshold=None, **params):
    if confidence == "euclid":
        confidence = EuclideanScore(quantile=0.7)
    return SelectiveClassifier(GaussianNB(), confidence, threshold, random_state=0, **params)


def assert_same_decision(one, other):
    for name in FITTED:
        np.testing.assert_array_equal(
            getattr(one, f"calibration_{name}_"), getattr(other, f"calibration_{name}_")
        )
    assert one.threshold_ == other.threshold_
    assert one.coverage_ == other.coverage_
    assert one.guarantee_ == other.guarantee_
    np.testing.assert_array_equal(one.select(FAR).selected, other.select(FAR).selected)
    np.testing.assert_array_equal(one.predict(FAR), other.predict(FAR))


class Strictest(BaseEstimator):
    """A rule of someone else: accepts what beats every error by `margin`."""

    def __init__(self, margin=0.0):
        self.margin = margin

    def fit(self, confidence, error):
        if error is None:
            raise ValueError("Strictest needs the errors of the rows.")
        worst = confidence[error > 0].max() if error.any() else -np.inf
        self.threshold_ = np.nextafter(worst + self.margin, np.inf)
        return self


class OneBoundAGroup(BaseEstimator):
    """The median of each group."""

    def fit(self, confidence, error=None, *, groups=None, sample_weight=None):
        self.threshold_ = float(np.median(confidence))
        self.bounds_ = {g: np.median(confidence[groups == g]) for g in np.unique(groups)}
        self.guarantee_ = "accepts half of each group"
        return self

    def accept(self, confidence, groups=None):
        bounds = [self.bounds_.get(group, self.threshold_) for group in groups]
        return confidence >= np.array(bounds)


# --- what is promised -------------------------------------------------------------------------


@pytest.mark.parametrize("confidence", [None, "euclid", IsolationForest(n_estimators=5)])
def test_the_promise_is_that_of_the_rule(confidence):
    model = selective(confidence, QuantileThreshold(0.6)).fit(X, Y)
    assert model.guarantee_ == model.rule_.guarantee_
    assert "probability >= 0.6 (30 calibration rows)" in model.guarantee_


@pytest.mark.parametrize(
    "wrap", [lambda part: part, lambda part: make_pipeline(StandardScaler(), part)]
)
def test_a_confidence_that_decides_itself_promises_by_its_quantile(wrap):
    model = selective(wrap(EuclideanScore(quantile=0.7))).fit(X, Y)
    as_rule = selective(wrap(EuclideanScore()), QuantileThreshold(0.7)).fit(X, Y)
    assert model.guarantee_ == as_rule.guarantee_
    assert model.threshold_ == as_rule.threshold_


def test_a_detector_with_an_offset_of_its_own_promises_nothing():
    model = selective(IsolationForest(n_estimators=5)).fit(X, Y)
    assert model.guarantee_.startswith("none: IsolationForest keeps an offset_ of its own")


def test_a_promise_from_out_of_fold_rows_says_so():
    model = selective(threshold=QuantileThreshold(0.6), cv=3).fit(X, Y)
    assert model.guarantee_.startswith(model.rule_.guarantee_)
    assert "out of fold, so approximate" in model.guarantee_
    assert "approximate" in model.set_threshold(0.5).guarantee_
    assert "approximate" not in model.set_threshold(0.5, X, Y).guarantee_


# --- a new decision ---------------------------------------------------------------------------


@pytest.mark.parametrize("cv", [None, 3])
@pytest.mark.parametrize(
    "confidence", [None, "euclid", IsolationForest(n_estimators=5, random_state=0)]
)
@pytest.mark.parametrize("rule", [QuantileThreshold(0.5), Strictest(), OneBoundAGroup()])
def test_a_new_rule_is_as_if_fitted_with_it(confidence, rule, cv):
    model = selective(confidence, cv=cv).fit(X, NAMES)
    fresh = clone(model).set_params(threshold=rule).fit(X, NAMES)
    assert model.set_threshold(rule) is model
    assert_same_decision(model, fresh)
    assert_same_decision(clone(model).fit(X, NAMES), fresh)  # the rule is a parameter now


@pytest.mark.parametrize("rule", [0.5, QuantileThreshold(0.5), Strictest(), OneBoundAGroup()])
@pytest.mark.parametrize("method", [None, "predict_proba"])
def test_fresh_rows_replace_the_calibration_rows(rule, method):
    model = selective(threshold=QuantileThreshold(0.9), response_method=method)
    model.fit(X[::2], NAMES[::2]).set_threshold(rule, X[1::2], NAMES[1::2])
    by_hand = SelectiveClassifier(
        FrozenEstimator(model.estimator_),
        FrozenEstimator(model.confidence_),
        QuantileThreshold(rule) if rule == 0.5 else rule,
        response_method=method,
    ).fit(X[1::2], NAMES[1::2])
    assert_same_decision(model, by_hand)
    assert len(model.calibration_scores_) == 75


def test_a_share_to_accept_becomes_a_quantile_rule():
    model = selective().fit(X, Y)
    before = joblib.hash(model.confidence_)
    for q in (0.5, np.float64(0.9), 1):
        model.set_threshold(q)
        assert isinstance(model.threshold, QuantileThreshold)
        assert model.rule_.q == q
        assert q <= model.coverage_ <= q + 0.1
    assert model.coverage_ == 1
    assert joblib.hash(model.confidence_) == before


def test_neither_the_rule_nor_a_frozen_confidence_is_changed():  # FB-13
    rule = QuantileThreshold(0.5)
    score = EuclideanScore(quantile=0.7).fit(X)
    before = joblib.hash(score)
    model = selective(FrozenEstimator(score)).fit(X, Y).set_threshold(rule)
    model.set_threshold(rule, X[:50], Y[:50])
    assert model.threshold is rule
    assert model.rule_ is not rule
    assert list(vars(rule)) == ["q"]
    assert joblib.hash(score) == before


def test_without_a_rule_the_present_one_is_fitted_with_its_present_parameters():
    model = selective(threshold=QuantileThreshold(0.9)).fit(X, Y)
    model.set_params(threshold__q=0.5)
    assert model.rule_.q == 0.9  # a fitted model is not changed by a parameter
    assert_same_decision(
        model.set_threshold(), selective(threshold=QuantileThreshold(0.5)).fit(X, Y)
    )
    default = selective(None).fit(X, Y)
    default.set_threshold(X=X[:100], y=Y[:100])
    assert default.threshold is None
    assert default.rule_.n_calibration_ == 100


def test_rows_without_labels_are_for_rules_without_errors():
    model = selective(threshold=QuantileThreshold(0.5)).fit(X, Y).set_threshold(0.8, X[:99])
    assert model.calibration_errors_ is None
    assert model.rule_.n_calibration_ == len(model.calibration_scores_) == 99
    with pytest.raises(ValueError, match="needs the errors"):
        model.set_threshold(Strictest())


def test_a_refit_forgets_the_rows_of_a_new_decision():  # SP-TH-11, SP-TH-12
    model = selective().fit(X, Y).set_threshold(0.6, X[:99] + 1, Y[:99])
    assert_same_decision(model.fit(X, Y), selective(threshold=QuantileThreshold(0.6)).fit(X, Y))


def test_editing_rows_afterwards_changes_nothing():  # SP-IN-36
    class FirstColumn(IsolationForest):
        def score_samples(self, X):
            return X[:, 0]

    rows, weight = X.copy(), np.ones(150)
    model = selective(FirstColumn(n_estimators=2), group_by=lambda X: X[:, 1]).fit(X, Y)
    model.set_threshold(0.8, rows, Y, sample_weight=weight)
    rows[:], weight[:] = 0, 0
    np.testing.assert_array_equal(model.calibration_scores_, X[:, 0])
    np.testing.assert_array_equal(model.calibration_groups_, X[:, 1])
    np.testing.assert_array_equal(model.calibration_weight_, np.ones(150))


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((1.5,), "'q' parameter of QuantileThreshold"),  # SP-TH-07
        ((True,), "'q' parameter of QuantileThreshold"),
        (("0.9",), "'threshold' parameter of SelectiveClassifier.set_threshold"),
        ((None,), "its confidence decides itself; give a rule"),
        ((0.9, None, Y), "y is given without X"),
        ((0.9, X, Y[:3]), "inconsistent numbers of samples"),
        ((0.9, X, NAMES), r"predicts classes such as \[0\].*'setosa'"),
        ((0.9, X[:, :2], Y), "2 features"),
        ((0.9, np.where(X > 7, np.nan, X), Y), "NaN"),  # SP-TH-06
        ((0.9, X[:0], Y[:0]), "0 sample"),
        ((Strictest(), X), "needs the errors"),
    ],
)
def test_a_decision_that_fails_leaves_the_model_as_it_was(args, said):
    model = selective().fit(X, Y)
    before, state = joblib.hash(model), dict(vars(model))
    with pytest.raises(ValueError, match=said):
        model.set_threshold(*args)
    assert joblib.hash(model) == before
    assert all(vars(model)[name] is value for name, value in state.items())


def test_unfitted():
    with pytest.raises(NotFittedError):
        selective().set_threshold(0.9)


def test_a_new_decision_during_a_prediction_changes_nothing_in_it():  # SP-CC-05
    class Interrupted(GaussianNB):
        def predict(self, X):
            if meanwhile:
                meanwhile.pop()()
            return super().predict(X)

    meanwhile = []
    model = SelectiveClassifier(Interrupted(), EuclideanScore(quantile=0.7)).fit(X, Y)
    before = model.predict(X)
    meanwhile.append(lambda: model.set_threshold(0.1))
    np.testing.assert_array_equal(model.predict(X), before)
    assert np.sum(model.predict(X) == -1) > np.sum(before == -1)


# --- rules of any make ------------------------------------------------------------------------


def test_a_rule_needs_no_more_than_a_bound():
    model = selective(None, Strictest(0.01)).fit(X, Y)
    assert model.rule_.threshold_ == model.threshold_
    np.testing.assert_array_equal(
        model.select(X).selected, model.score_samples(X) >= model.threshold_
    )
    assert not model.calibration_errors_[model.calibration_scores_ >= model.threshold_].any()
    assert model.guarantee_ == "none: Strictest promises nothing"


def test_a_rule_may_accept_without_knowing_of_groups():
    class Band(QuantileThreshold):
        def accept(self, confidence):
            return (confidence >= self.threshold_) & (confidence < 1)

    model = selective(None, Band(0.9)).fit(X, Y)
    score = model.score_samples(X)
    assert (score == 1).any()
    np.testing.assert_array_equal(
        model.select(X).selected, (score >= model.threshold_) & (score < 1)
    )
    inside = (model.calibration_scores_ >= model.threshold_) & (model.calibration_scores_ < 1)
    assert model.coverage_ == inside.mean()


def test_a_rule_fitted_elsewhere_is_frozen():
    rule = QuantileThreshold(0.5).fit(np.linspace(0.5, 1, 100))
    model = selective(None, FrozenEstimator(rule)).fit(X, Y)
    assert model.threshold_ == rule.threshold_
    assert model.guarantee_ == rule.guarantee_
    assert model.coverage_ == np.mean(model.calibration_scores_ >= rule.threshold_)


# --- limits on errors -------------------------------------------------------------------------


def test_what_cannot_be_promised_is_not_answered():  # FB-12, FB-11
    with pytest.warns(UserWarning, match="no bound keeps max_risk=0.01.*everything is rejected"):
        model = selective(None, RiskThreshold(max_risk=0.01)).fit(X, Y)
    assert model.coverage_ == 0
    assert not model.rule_.feasible_
    assert model.guarantee_.startswith("rejects everything")
    np.testing.assert_array_equal(model.predict(X), np.full(150, -1))
    assert model.score(X, Y) == pytest.approx(0.8)  # each abstention costs 0.2


@pytest.mark.filterwarnings("ignore:no bound keeps")
def test_a_rule_that_rejects_a_whole_fold_has_a_score_like_any_other():  # FB-20
    grid = {"threshold__max_risk": [0.001, 0.2]}
    model = selective(None, RiskThreshold(), calibration_size=0.5)
    search = GridSearchCV(model, grid, cv=3, error_score="raise").fit(X, Y)
    means = search.cv_results_["mean_test_score"]
    assert means[0] == pytest.approx(0.8)
    assert means[1] > 0.85
    assert search.best_params_ == {"threshold__max_risk": 0.2}
    hopeless = GridSearchCV(clone(model), {"threshold__max_risk": [0.001]}, cv=3).fit(X, Y)
    assert hopeless.best_score_ == pytest.approx(0.8)  # defined, and no nan wins


def test_the_promise_holds_on_fresh_rows():
    digits, labels = load_digits(return_X_y=True)
    model = selective(None, RiskThreshold(max_risk=0.05), calibration_size=0.5)
    model.set_params(estimator=LogisticRegression(max_iter=5000))
    broken = coverage = 0
    for seed in range(6):
        train, test, y, truth = train_test_split(digits, labels, train_size=800, random_state=seed)
        selection = model.set_params(random_state=seed).fit(train, y).select(test)
        wrong = (selection.predictions != truth)[selection.selected]
        broken += wrong.mean() > 0.05
        coverage += selection.selected.mean() / 6
        assert model.rule_.risk_ == pytest.approx(
            model.calibration_errors_[model.calibration_scores_ >= model.threshold_].mean()
        )
    assert broken <= 1
    assert coverage > 0.8


def test_ties_that_accept_much_more_than_asked_for_are_told():  # FB-21
    knn = KNeighborsClassifier(5)  # six different confidences at most
    model = SelectiveClassifier(knn, threshold=QuantileThreshold(0.5), random_state=0)
    with pytest.warns(UserWarning, match="ties.*achieved coverage is 0.8"):
        model.fit(X, Y)
    assert model.coverage_ > 0.8
    as_confidence = SelectiveClassifier(
        knn, SoftmaxScore(quantile=0.5), response_method="predict_proba", random_state=0
    )
    with pytest.warns(UserWarning, match="ties"):
        as_confidence.fit(X, Y)


# --- groups -----------------------------------------------------------------------------------


@pytest.mark.parametrize("cv", [None, 3])
def test_the_predicted_class_is_the_group(cv):
    model = selective(threshold=OneBoundAGroup(), cv=cv).fit(X, NAMES)
    assert set(model.rule_.bounds_) == set(NAMES)
    selection = model.select(X)
    bounds = np.array([model.rule_.bounds_[group] for group in selection.predictions])
    np.testing.assert_array_equal(selection.selected, selection.score >= bounds)
    groups, scores = model.calibration_groups_, model.calibration_scores_
    for group, bound in model.rule_.bounds_.items():
        assert np.mean(scores[groups == group] >= bound) == pytest.approx(0.5, abs=0.1)
    np.testing.assert_array_equal(model.predict(FAR) == "rejected", ~model.select(FAR).selected)


def region(frame):
    return np.where(frame["a"] > 5.8, "east", "west")


@pytest.mark.parametrize("cv", [None, 3])
def test_groups_of_the_users_own_come_from_the_rows(cv):
    frame = pd.DataFrame(X, columns=list("abcd"))
    model = selective(threshold=OneBoundAGroup(), group_by=region, cv=cv).fit(frame, Y)
    assert set(model.rule_.bounds_) == {"east", "west"}
    bounds = [model.rule_.bounds_[group] for group in region(frame)]
    selection = model.select(frame)
    np.testing.assert_array_equal(selection.selected, selection.score >= np.array(bounds))
    if cv is not None:
        np.testing.assert_array_equal(model.calibration_groups_, region(frame))
    west = frame[frame["a"] <= 5.8]
    model.set_threshold(OneBoundAGroup(), west, Y[frame["a"] <= 5.8])
    assert set(model.rule_.bounds_) == {"west"}


def test_groups_are_those_of_the_calibration_rows_until_there_are_new_ones():
    model = selective(threshold=OneBoundAGroup()).fit(X, Y)
    before = model.predict(X)
    model.set_params(group_by=first_half)
    np.testing.assert_array_equal(model.predict(X), before)
    with pytest.raises(ValueError, match=r"group_by was None for the calibration rows.*fit again"):
        model.set_threshold(0.9)
    assert set(model.set_threshold(None, X, Y).rule_.bounds_) == {False, True}
    assert model.set_threshold().calibration_groups_.tolist() == first_half(X).tolist()


def first_half(X):
    return X[:, 0] < 5.8


def test_a_limit_on_errors_for_each_predicted_class():
    digits, labels = load_digits(return_X_y=True)
    model = selective(None, calibration_size=0.6).set_params(estimator__var_smoothing=0.1)
    model.fit(digits[:1200], labels[:1200])
    model.set_threshold(GroupThreshold(RiskThreshold(max_risk=0.2)))
    known, groups = model.rule_.groups_, model.calibration_groups_
    np.testing.assert_array_equal(known, np.arange(10))
    assert len(np.unique(model.rule_.thresholds_)) > 5
    selection = model.select(digits[1200:])
    by_rule = model.rule_.accept(selection.score, groups=selection.predictions)
    np.testing.assert_array_equal(selection.selected, by_rule)
    kept = model.rule_.accept(model.calibration_scores_, groups=groups)
    assert model.coverage_ == kept.mean()
    for group in known:
        assert model.calibration_errors_[kept & (groups == group)].sum() <= 0.2 * sum(
            kept & (groups == group)
        )
    assert model.guarantee_ == model.rule_.guarantee_
    fresh = clone(model)  # with its rule
    assert fresh.get_params()["threshold__base__max_risk"] == 0.2


def test_the_cheapest_bound_has_the_best_score():
    digits, labels = load_digits(return_X_y=True)
    linear = FrozenEstimator(LogisticRegression(max_iter=5000).fit(digits[:100], labels[:100]))
    model = SelectiveClassifier(linear, threshold=CostThreshold(reject_cost=0.1), reject_cost=0.1)
    model.fit(digits[300:], labels[300:])
    best = model.score(digits[300:], labels[300:])
    assert best == pytest.approx(1 - model.rule_.cost_)
    for q in (0.2, 0.5, 0.8, 0.9, 0.95, 1):
        assert model.set_threshold(q).score(digits[300:], labels[300:]) <= best + 1e-12


def test_groups_that_are_none_are_refused():
    with pytest.raises(ValueError, match="group_by returned 3 groups for 30 rows"):
        selective(threshold=OneBoundAGroup(), group_by=lambda X: X[:3, 0]).fit(X, Y)
    with pytest.raises(ValueError, match="'group_by' parameter"):
        selective(group_by="region").fit(X, Y)


def test_groups_given_to_fit_alone_are_refused():
    with config_context(enable_metadata_routing=True):
        rule = QuantileThreshold().set_fit_request(groups=True)
        with pytest.raises(ValueError, match="give group_by, a function of X"):
            selective(threshold=rule).fit(X, Y, groups=Y)


@pytest.mark.parametrize("rule", [QuantileThreshold(), OneBoundAGroup(), Strictest()])
def test_groups_of_the_splitter_are_no_matter_of_the_rule(rule):
    groups = np.arange(150) % 7
    with config_context(enable_metadata_routing=True):
        model = selective(None, rule, cv=GroupKFold(3)).fit(X, Y, groups=groups)
    np.testing.assert_array_equal(np.unique(model.calibration_groups_), [0, 1, 2])  # the classes


# --- weights ----------------------------------------------------------------------------------


@pytest.mark.parametrize("cv", [None, 3])
def test_weights_are_routed_to_the_rule_and_cut_to_the_calibration_rows(cv):  # FB-27
    weight = X[:, 0] ** 8  # of a row, so that one that is out of place is seen
    with config_context(enable_metadata_routing=True):
        rule = QuantileThreshold(0.5).set_fit_request(sample_weight=True)
        model = selective(None, rule, cv=cv, group_by=lambda X: X[:, 0])
        model.estimator.set_fit_request(sample_weight=False)
        model.fit(X, Y, sample_weight=weight)
        plain = clone(model).fit(X, Y)
    assert plain.calibration_weight_ is None
    np.testing.assert_array_equal(model.calibration_weight_, model.calibration_groups_**8)
    by_hand = QuantileThreshold(0.5).fit(
        model.calibration_scores_, sample_weight=model.calibration_weight_
    )
    assert model.threshold_ == by_hand.threshold_ != plain.threshold_
    again = QuantileThreshold(0.8).fit(
        model.calibration_scores_, sample_weight=model.calibration_weight_
    )
    model.threshold.set_params(q=0.8)
    assert model.set_threshold().threshold_ == again.threshold_  # the rule and its weights are kept
    unweighted = QuantileThreshold(0.8).fit(model.calibration_scores_)
    assert model.set_threshold(0.8).threshold_ == unweighted.threshold_


def test_weights_that_nobody_asked_for_are_refused():
    with config_context(enable_metadata_routing=True):
        model = selective(threshold=QuantileThreshold())
        model.estimator.set_fit_request(sample_weight=True)
        with pytest.raises(ValueError, match=r"sample_weight.*not explicitly set as requested"):
            model.fit(X, Y, sample_weight=np.ones(150))


def test_a_new_decision_may_weigh_rows():
    model = selective(None).fit(X, Y)
    weight = np.linspace(0, 3, 150)
    model.set_threshold(0.5, X, Y, sample_weight=weight)
    expected = QuantileThreshold(0.5).fit(model.score_samples(X), sample_weight=weight)
    assert model.threshold_ == expected.threshold_
    model.set_threshold(0.5, sample_weight=weight[::-1])  # of the rows that are there
    expected.fit(model.calibration_scores_, sample_weight=weight[::-1])
    assert model.threshold_ == expected.threshold_
    model.set_threshold(0.5, X[:80], Y[:80])
    assert model.calibration_weight_ is None
    with pytest.raises(ValueError, match=r"sample_weight must hold"):
        model.set_threshold(0.5, sample_weight=weight)


def test_a_promise_names_the_rows_that_it_leaves_out():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(300, 2)), np.zeros(300, dtype=int)
    y[X[:, 0] > 0] = 1
    y[:40] = np.arange(2, 42)  # classes of one row each
    model = SelectiveClassifier(GaussianNB(), threshold=QuantileThreshold(0.9), random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, y)
    n_moved = 60 - len(model.calibration_scores_)
    assert n_moved > 0
    assert f"({n_moved} calibration rows of rare classes were moved there)" in model.guarantee_
    fresh = model.set_threshold(0.9, X, y)
    assert "rare classes" not in fresh.guarantee_


def test_a_frozen_confidence_promises_nothing_of_these_rows():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 2))
    y = (X[:, 0] > 0).astype(int)
    score = FrozenEstimator(EuclideanScore(trim=0.3, quantile=0.9).fit(X))
    model = SelectiveClassifier(GaussianNB(), score, random_state=0).fit(X, y)
    assert model.guarantee_.startswith("none on these rows")


def test_a_temperature_fitted_on_the_calibration_rows_is_a_caveat():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 2))
    y = (X[:, 0] + rng.normal(size=200) > 0).astype(int)
    for temperature, said in (("fit", True), (1.0, False)):
        model = SelectiveClassifier(
            GaussianNB(),
            SoftmaxScore(temperature=temperature),
            QuantileThreshold(0.9),
            response_method="predict_proba",
            random_state=0,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # probabilities in place of logits
            model.fit(X, y)
        assert ("temperature" in model.guarantee_) == said


def test_another_rule_does_not_take_over_the_weights_of_the_one_before():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 2))
    y = (X[:, 0] > 0).astype(int)
    model = SelectiveClassifier(GaussianNB(), threshold=QuantileThreshold(0.9), random_state=0)
    model.fit(X, y)
    plain = model.threshold_
    weight = np.where(model.calibration_scores_ > np.median(model.calibration_scores_), 1, 0.01)
    assert model.set_threshold(0.9, sample_weight=weight).threshold_ > plain
    weighted = model.threshold_
    assert model.set_threshold().threshold_ == weighted
    assert model.set_threshold(0.9).threshold_ == plain
    assert model.calibration_weight_ is None


@pytest.mark.parametrize("weight", [0.0, -1.0, np.nan])
def test_weights_that_weigh_nothing_are_named(weight):
    X = np.random.default_rng(0).normal(size=(60, 2))
    y = (X[:, 0] > 0).astype(int)
    model = SelectiveClassifier(GaussianNB(), random_state=0).fit(X, y)
    with pytest.raises(ValueError, match="sample_weight"):
        model.score(X, y, sample_weight=np.full(60, weight))
