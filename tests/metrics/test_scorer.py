"""Scorers of selective models, bare and composed."""

import pickle

import numpy as np
import pytest
import sklearn
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import BayesianRidge, LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    cross_val_score,
    cross_validate,
    train_test_split,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_seapig import (
    EuclideanScore,
    QuantileThreshold,
    SelectiveClassifier,
    SelectiveRegressor,
)
from sklearn_seapig.metrics import (
    augrc_score,
    aurc_score,
    coverage_at_risk,
    effective_reliability_score,
    make_selective_scorer,
)

NAMES = ["aurc", "eaurc", "naurc", "augrc", "failure_auroc", "cost"]


@pytest.fixture(scope="module")
def data():
    X, y = load_breast_cancer(return_X_y=True)
    return train_test_split(X[:, :6], y, random_state=0)


@pytest.fixture(scope="module")
def fitted(data):
    X, _, y, _ = data
    return SelectiveClassifier(GaussianNB(), threshold=QuantileThreshold(0.8), random_state=0).fit(
        X, y
    )


def by_hand(model, X, y, name):
    selection = model.select(X)
    wrong = selection.predictions != y
    if name == "cost":
        return -np.mean(np.where(selection.selected, wrong, model.reject_cost))
    return -aurc_score(wrong, selection.score)


@pytest.mark.parametrize("name", ["aurc", "cost"])
def test_bare_piped_frozen_and_searched_models_score_alike(data, fitted, name):
    X_train, X, y_train, y = data
    scorer = make_selective_scorer(name)
    expected = by_hand(fitted, X, y, name)
    assert scorer(fitted, X, y) == pytest.approx(expected)
    assert scorer(FrozenEstimator(fitted), X, y) == pytest.approx(expected)
    assert pickle.loads(pickle.dumps(scorer))(fitted, X, y) == pytest.approx(expected)
    scaler = StandardScaler().fit(X_train)
    piped = make_pipeline(
        FrozenEstimator(scaler),
        SelectiveClassifier(GaussianNB(), threshold=QuantileThreshold(0.8), random_state=0),
    ).fit(X_train, y_train)
    expected = by_hand(piped[-1], scaler.transform(X), y, name)
    assert scorer(piped, X, y) == pytest.approx(expected)
    search = GridSearchCV(piped, {"selectiveclassifier__reject_cost": [0.2]}, scoring=scorer, cv=3)
    search.fit(X_train, y_train)
    assert search.score(X, y) == pytest.approx(expected)
    assert scorer(search, X, y) == pytest.approx(expected)
    assert scorer(make_pipeline(search).fit(X_train, y_train), X, y) == pytest.approx(expected)


@pytest.mark.parametrize("name", NAMES)
def test_greater_is_better_and_both_kinds_of_parts_can_be_searched(data, name):
    X, _, y, _ = data
    model = make_pipeline(
        StandardScaler(),
        SelectiveClassifier(LogisticRegression(), EuclideanScore(), random_state=0),
    )
    grid = {"selectiveclassifier__confidence__k": [1, 5], "selectiveclassifier__reject_cost": [0.1]}
    search = GridSearchCV(model, grid, scoring=make_selective_scorer(name), cv=3).fit(X, y)
    scores = search.cv_results_["mean_test_score"]
    assert np.isfinite(scores).all()
    assert (scores >= 0).all() if name == "failure_auroc" else (scores <= 0).all()
    assert search.best_score_ == scores.max()


def test_cost_chooses_a_quantile_where_rankings_cannot(data):
    X, _, y, _ = data
    model = SelectiveClassifier(
        GaussianNB(), threshold=QuantileThreshold(), reject_cost=0.02, random_state=0
    )
    scoring = {name: make_selective_scorer(name) for name in NAMES}
    search = GridSearchCV(model, {"threshold__q": [0.3, 0.6, 1.0]}, scoring=scoring, refit="cost")
    results = search.fit(X, y).cv_results_
    for name in ("aurc", "augrc", "eaurc"):
        assert len(set(results[f"mean_test_{name}"])) == 1
    assert len(set(results["mean_test_cost"])) == 3
    assert search.best_params_["threshold__q"] < 1


def test_frozen_parts_are_cross_validated(data):
    X, X_test, y, y_test = data
    model = SelectiveClassifier(
        FrozenEstimator(GaussianNB().fit(X, y)), FrozenEstimator(EuclideanScore().fit(X))
    )
    scores = cross_val_score(model, X_test, y_test, scoring=make_selective_scorer("aurc"), cv=3)
    assert (scores < 0).all()


def test_functions_of_the_module_know_their_sign(data, fitted):
    _, X, _, y = data
    selection = fitted.select(X)
    wrong = selection.predictions != y
    assert make_selective_scorer(coverage_at_risk, target=0.05)(fitted, X, y) == pytest.approx(
        coverage_at_risk(wrong, selection.score, 0.05)
    )
    reliability = effective_reliability_score(wrong, selection.score, fitted.threshold_, cost=4)
    scorer = make_selective_scorer(effective_reliability_score, cost=4)
    assert scorer(fitted, X, y) == pytest.approx(reliability)
    assert repr(scorer) == "make_selective_scorer(effective_reliability_score, cost=4)"


def test_a_metric_and_a_loss_of_ones_own(data, fitted):
    _, X, _, y = data

    def worst(loss, confidence, sample_weight=None):
        return loss.max()

    scorer = make_selective_scorer(worst, loss=lambda y, p: 7.0 * (y != p), greater_is_better=False)
    assert scorer(fitted, X, y) == -7
    with pytest.raises(ValueError, match="greater_is_better is None"):
        make_selective_scorer(worst)


def test_regressors_are_scored_by_their_loss():
    X, y = load_diabetes(return_X_y=True)
    model = SelectiveRegressor(
        BayesianRidge(), threshold=QuantileThreshold(0.8), loss="absolute_error", random_state=0
    ).fit(X, y)
    selection = model.select(X)
    residual = np.abs(y - selection.predictions)
    assert make_selective_scorer("augrc")(model, X, y) == pytest.approx(
        -augrc_score(residual, selection.score)
    )
    cost = make_selective_scorer("cost", reject_cost=30)(model, X, y)
    assert cost == pytest.approx(-np.where(selection.selected, residual, 30).mean())
    with pytest.raises(ValueError, match="reject_cost"):
        make_selective_scorer("cost")(model, X, y)


def test_sample_weight_by_call_and_by_routing(data, fitted):
    X, X_test, y, y_test = data
    weight = np.random.default_rng(0).integers(0, 3, len(y_test))
    scorer = make_selective_scorer("augrc")
    expected = scorer(fitted, np.repeat(X_test, weight, axis=0), np.repeat(y_test, weight))
    assert scorer(fitted, X_test, y_test, sample_weight=weight) == pytest.approx(expected)
    with sklearn.config_context(enable_metadata_routing=True):
        model = SelectiveClassifier(
            GaussianNB().set_fit_request(sample_weight=False),
            threshold=QuantileThreshold(0.8).set_fit_request(sample_weight=False),
            random_state=0,
        )
        weight = np.random.default_rng(1).random(len(y))
        scoring = make_selective_scorer("augrc").set_score_request(sample_weight=True)
        weighted = cross_validate(
            model, X, y, scoring=scoring, params={"sample_weight": weight}, cv=3
        )
        plain = cross_validate(model, X, y, scoring=make_selective_scorer("augrc"), cv=3)
    assert np.isfinite(weighted["test_score"]).all()
    assert (weighted["test_score"] != plain["test_score"]).all()


@pytest.mark.parametrize("metric", ["AURC", "accuracy", None, 3, ["aurc"]])
def test_unknown_metrics_are_refused_with_the_known_ones(metric):
    with pytest.raises(ValueError, match=r"is unknown; give one of .*'failure_auroc', 'cost'"):
        make_selective_scorer(metric)


def test_every_row_needs_its_own_target_and_loss(data, fitted):
    _, X, _, y = data
    for name in ("aurc", "cost"):
        for wrong in (y[:1], y[:5]):
            with pytest.raises(ValueError, match="inconsistent numbers of samples"):
                make_selective_scorer(name)(fitted, X, wrong)
        for loss, message in [
            (sklearn.metrics.zero_one_loss, "loss should be a 1d array"),
            (lambda y, p: np.ones(1), "loss returned 1 losses for 143 rows"),
            (lambda y, p: np.where(y == p, -1.0, 1), r"loss holds -1\.0"),
            (lambda y, p: np.full(len(y), np.nan), "loss contains NaN"),
        ]:
            with pytest.raises(ValueError, match=message):
                make_selective_scorer(name, loss=loss)(fitted, X, y)
        for weight in (np.zeros(len(y)), -np.ones(len(y)), np.full(len(y), np.nan), [1.0]):
            with pytest.raises(ValueError, match="sample_weight"):
                make_selective_scorer(name)(fitted, X, y, sample_weight=weight)


@pytest.mark.parametrize(
    ("metric", "kwargs", "message"),
    [
        ("cost", {"reject_cost": -5}, "reject_cost"),
        ("cost", {"reject_cost": np.nan}, "reject_cost"),
        ("cost", {"reject_cost": "0.3"}, "reject_cost"),
        ("cost", {"error_cost": -1}, "error_cost"),
        ("cost", {"rejct_cost": 1}, "rejct_cost"),
        ("aurc", {"loss": "abs"}, "loss"),
        ("aurc", {"target": 1}, "target"),
        (coverage_at_risk, {}, "target"),
        (augrc_score, {"greater_is_better": "no"}, "greater_is_better"),
    ],
)
def test_arguments_are_checked_when_the_scorer_is_made(metric, kwargs, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make_selective_scorer(metric, **kwargs)


def test_representation_says_how_to_make_it_again():
    def own(loss, confidence):
        return 0

    assert repr(make_selective_scorer("aurc")) == "make_selective_scorer('aurc')"
    assert repr(make_selective_scorer("cost", reject_cost=1)) == (
        "make_selective_scorer('cost', reject_cost=1)"
    )
    assert repr(make_selective_scorer(own, greater_is_better=True)) == (
        "make_selective_scorer(own, greater_is_better=True)"
    )


def test_requests_need_routing():
    with pytest.raises(RuntimeError, match="enable_metadata_routing"):
        make_selective_scorer("aurc").set_score_request(sample_weight=True)
    with (
        sklearn.config_context(enable_metadata_routing=True),
        pytest.raises(ValueError, match="alias"),
    ):
        make_selective_scorer("aurc").set_score_request(sample_weight=3)


def test_functions_need_not_be_hashable(data, fitted):
    class Worst(dict):
        def __call__(self, loss, confidence):
            return float(loss.max())

    _, X, _, y = data
    assert make_selective_scorer(Worst(), greater_is_better=False)(fitted, X, y) == -1


def test_what_does_not_abstain_is_refused(data):
    X, _, y, _ = data
    with pytest.raises(TypeError, match="LogisticRegression does not predict or abstain"):
        make_selective_scorer("aurc")(LogisticRegression(max_iter=5000).fit(X, y), X, y)
    with pytest.raises(TypeError, match="EuclideanScore does not predict or abstain"):
        make_selective_scorer("aurc")(EuclideanScore().fit(X), X, y)
    with pytest.raises(sklearn.exceptions.NotFittedError):
        make_selective_scorer("aurc")(SelectiveClassifier(GaussianNB()), X, y)
