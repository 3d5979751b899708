"""SelectiveRegressor as scikit-learn users meet it; the ids are fault cases of a test."""

import inspect
import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import BaseEstimator, RegressorMixin, clone, is_regressor
from sklearn.datasets import load_diabetes
from sklearn.ensemble import GradientBoostingRegressor, IsolationForest, VotingRegressor
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.linear_model import BayesianRidge, LinearRegression, LogisticRegression, Ridge
from sklearn.metrics import mean_absolute_error, r2_score
from sklearn.model_selection import GridSearchCV, KFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags

from sklearn_seapig import (
    EuclideanScore,
    QuantileThreshold,
    RiskThreshold,
    SelectiveRegressor,
    SoftmaxScore,
)

X, Y = load_diabetes(return_X_y=True)
FAR = np.vstack([X, X + 1])
TWO = np.column_stack([Y, 400 - 2 * Y])


def selective(confidence="euclid", threshold=None, estimator=None, **params):
    if confidence == "euclid":
        confidence = EuclideanScore(quantile=0.7)
    estimator = BayesianRidge() if estimator is None else estimator
    return SelectiveRegressor(estimator, confidence, threshold, random_state=0, **params)


def far_off(y_true, y_pred):
    return np.abs(y_true - y_pred) > 50


# --- predictions, decisions and costs ---------------------------------------------------------


def test_the_constructor_only_stores():  # FB-28
    names = list(inspect.signature(SelectiveRegressor).parameters)
    assert names == [
        "estimator",
        "confidence",
        "threshold",
        "loss",
        "calibration_size",
        "cv",
        "group_by",
        "reject_value",
        "reject_cost",
        "random_state",
    ]
    values = {name: object() for name in names}
    assert vars(SelectiveRegressor(**values)) == values


@pytest.mark.parametrize("confidence", [None, "euclid", IsolationForest(n_estimators=5)])
@pytest.mark.parametrize("threshold", [None, QuantileThreshold(0.7)])
@pytest.mark.parametrize("cv", [None, 3])
def test_predict_select_and_score_agree(confidence, threshold, cv):
    model = selective(confidence, threshold, reject_cost=0.3, cv=cv).fit(X, Y)
    selection = model.select(FAR)
    assert list(selection) == ["predictions", "score", "selected"]
    np.testing.assert_array_equal(selection.predictions, model.estimator_.predict(FAR))
    np.testing.assert_array_equal(selection.score, model.score_samples(FAR))
    np.testing.assert_array_equal(selection.selected, selection.score >= model.threshold_)
    assert 0 < selection.selected.mean() < 1
    expected = np.where(selection.selected, selection.predictions, np.nan)
    np.testing.assert_array_equal(model.predict(FAR), expected)
    assert len(model.calibration_scores_) == (89 if cv is None else 442)

    y, weight = np.concatenate([Y, Y]), np.linspace(0, 2, 884)
    for w in (None, weight):
        guess = np.average((y - np.average(y, weights=w)) ** 2, weights=w)
        cost = np.where(selection.selected, (y - selection.predictions) ** 2, 0.3 * guess)
        expected = 1 - np.average(cost, weights=w) / guess
        assert model.score(FAR, y, sample_weight=w) == pytest.approx(expected)


def test_score_is_r2_where_nothing_is_rejected():
    model = selective(reject_value=None).fit(X, Y)
    predicted = model.predict(FAR)
    np.testing.assert_array_equal(predicted, model.estimator_.predict(FAR))
    assert not model.select(FAR).selected.all()
    y, weight = np.concatenate([Y, Y]), np.linspace(0, 2, 884)
    assert model.score(FAR, y) == pytest.approx(r2_score(y, predicted))
    weighted = r2_score(y, predicted, sample_weight=weight)
    assert model.score(FAR, y, sample_weight=weight) == pytest.approx(weighted)
    accepting = selective(EuclideanScore(quantile=1.0), calibration_size=0.5).fit(X, Y)
    inside = accepting.select(X).selected
    predicted = accepting.estimator_.predict(X[inside])
    assert accepting.score(X[inside], Y[inside]) == pytest.approx(r2_score(Y[inside], predicted))


def test_all_rows_rejected():  # FB-11, FB-12
    model = selective(reject_cost=0.3).fit(X, Y)
    assert np.isnan(model.predict(X + 100)).all()
    assert model.score(X + 100, Y) == pytest.approx(0.7)


def test_score_where_the_target_is_constant():
    ones = np.ones(442)
    model = selective().fit(X, ones)
    assert model.score(X, ones) == 1
    assert model.score(X, ones * 2) == 0
    assert model.score(X + 100, ones * 2) == 1  # no answer and a free abstention


@pytest.mark.parametrize("value", [-1.0, 0, np.inf - np.inf])
def test_reject_value(value):
    model = selective(reject_value=value).fit(X, Y)
    rejected = ~model.select(FAR).selected
    np.testing.assert_array_equal(model.predict(FAR)[rejected], np.full(rejected.sum(), value))
    assert model.predict(FAR).dtype == np.float64


@pytest.mark.parametrize("value", [np.inf, "nan", True])
def test_reject_values_that_are_none(value):
    with pytest.raises(ValueError, match="'reject_value' parameter"):
        selective(reject_value=value).fit(X, Y)


class Rounds(RegressorMixin, BaseEstimator):
    """Predicts whole numbers, as a column where `column` says so."""

    def __init__(self, column=False):
        self.column = column

    def fit(self, X, y):
        self.fitted_ = True
        return self

    def predict(self, X):
        values = np.round(100 + 1000 * np.asarray(X)[:, 2]).astype(np.int32)
        return values[:, None] if self.column else values


def test_predictions_of_any_dtype_can_be_nan():
    model = selective(estimator=Rounds()).fit(X, Y)
    np.testing.assert_array_equal(np.isnan(model.predict(FAR)), ~model.select(FAR).selected)
    plain = selective(estimator=Rounds(), reject_value=None).fit(X, Y)
    assert plain.predict(X).dtype == np.int32


def test_a_column_of_predictions_is_no_matrix_of_differences():
    column, plain = (selective(estimator=Rounds(c)).fit(X, Y) for c in (True, False))
    np.testing.assert_array_equal(column.calibration_errors_, plain.calibration_errors_)
    assert column.score(FAR, np.tile(Y, 2)) == plain.score(FAR, np.tile(Y, 2))
    np.testing.assert_array_equal(column.predict(FAR)[:, 0], plain.predict(FAR))


# --- losses -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("squared_error", lambda y, p: (y - p) ** 2),
        ("absolute_error", lambda y, p: abs(y - p)),
        (far_off, far_off),
    ],
)
def test_the_rule_sees_the_losses_of_calibration_rows(loss, expected):
    class Recorder(QuantileThreshold):
        def fit(self, confidence, error=None, **kwargs):
            super().fit(confidence, error, **kwargs)
            self.error_ = np.array(error)
            return self

    model = selective(None, Recorder(0.5), FrozenEstimator(Ridge().fit(X, Y)), loss=loss)
    model.set_params(confidence=FrozenEstimator(EuclideanScore().fit(X))).fit(X, Y)
    losses = expected(Y, model.estimator_.predict(X))
    np.testing.assert_array_equal(model.calibration_errors_, losses)
    np.testing.assert_array_equal(model.rule_.error_, losses)
    assert model.calibration_errors_.dtype == np.float64
    accepted = model.select(X).selected
    of_guess = expected(Y, Y.mean()).mean()
    cost = np.where(accepted, losses, 0.2 * of_guess).mean()
    assert model.score(X, Y) == pytest.approx(1 - cost / of_guess)


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        ("hinge", "'loss' parameter"),
        (lambda y, p: 1.0, r"one finite number for each of 89 rows, got an array of shape \(\)"),
        (lambda y, p: (y - p)[:5], r"shape \(5,\)"),
        (lambda y, p: np.log(y - y), "89 values that are not finite"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_losses_that_are_none(loss, said):
    with pytest.raises(ValueError, match=said):
        selective(loss=loss).fit(X, Y)


# --- confidences ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "estimator",
    [
        BayesianRidge(),
        GaussianProcessRegressor(alpha=10.0, optimizer=None),
        make_pipeline(StandardScaler(), make_pipeline(StandardScaler(), BayesianRidge())),
        FrozenEstimator(make_pipeline(StandardScaler(), BayesianRidge()).fit(X, Y)),
    ],
    ids=["ridge", "process", "pipeline", "frozen"],
)
def test_the_standard_deviation_is_the_default_confidence(estimator):
    model = selective(None, estimator=estimator).fit(X, Y)
    fitted = getattr(model.estimator_, "estimator", model.estimator_)
    std = fitted.predict(FAR, return_std=True)[1]
    np.testing.assert_array_equal(model.score_samples(FAR), -std)
    assert model.rule_.q == 0.99
    assert not model.select(X + 1).selected.any()


def test_an_estimator_without_a_standard_deviation_needs_a_confidence():
    for estimator in (LinearRegression(), make_pipeline(StandardScaler(), LinearRegression())):
        with pytest.raises(ValueError, match=r"return_std.*LinearRegression does not.*confidence"):
            selective(None, estimator=estimator).fit(X, Y)


def test_a_standard_deviation_that_is_nan_is_refused():
    class Unsure(BayesianRidge):
        def predict(self, X, return_std=False):
            values = super().predict(X)
            return (values, np.where(values > 200, np.nan, 1)) if return_std else values

    with pytest.raises(ValueError, match="Unsure returned NaN as a standard deviation"):
        selective(None, estimator=Unsure()).fit(X, Y)


def test_parts_of_a_classifier_are_refused():
    with pytest.raises(ValueError, match=r"classifier LogisticRegression; SelectiveClassifier"):
        selective(estimator=LogisticRegression()).fit(X, Y)
    with pytest.raises(ValueError, match=r"SoftmaxScore is for the outputs of a classifier"):
        selective(SoftmaxScore()).fit(X, Y)


# --- targets and rows -------------------------------------------------------------------------


@pytest.mark.parametrize("cv", [None, 3])
def test_several_outputs(cv):
    model = selective(estimator=Ridge(), cv=cv).fit(X, TWO)
    selection = model.select(FAR)
    values = model.predict(FAR)
    assert values.shape == selection.predictions.shape == (884, 2)
    np.testing.assert_array_equal(np.isnan(values[:, 0]), ~selection.selected)
    np.testing.assert_array_equal(np.isnan(values[:, 1]), ~selection.selected)
    np.testing.assert_array_equal(
        values[selection.selected], selection.predictions[selection.selected]
    )
    single = selective(estimator=Ridge(), cv=cv).fit(X, Y)  # the other output is a multiple
    np.testing.assert_allclose(model.calibration_errors_, 2.5 * single.calibration_errors_)
    assert model.score(FAR, np.tile(TWO, (2, 1))) == pytest.approx(single.score(FAR, np.tile(Y, 2)))
    process = GaussianProcessRegressor(alpha=10.0, optimizer=None, normalize_y=True)
    unsure = selective(None, estimator=process).fit(X, TWO)
    std = unsure.estimator_.predict(X, return_std=True)[1]
    np.testing.assert_allclose(unsure.score_samples(X), -std.mean(axis=1))


def test_several_outputs_need_an_estimator_for_them():
    with pytest.raises(ValueError, match="1d array"):
        selective().fit(X, TWO)
    with pytest.warns(DataConversionWarning, match="column-vector y"):
        model = selective().fit(X, Y[:, None])  # SP-TK-14
    np.testing.assert_array_equal(model.predict(FAR), selective().fit(X, Y).predict(FAR))
    several = selective(estimator=Ridge()).fit(X, TWO)
    with pytest.raises(ValueError, match=r"shape \(442, 2\) for y of shape \(442,\)"):
        several.score(X, Y)


@pytest.mark.parametrize(
    ("y", "said"),
    [
        (None, "requires y to be passed"),
        (np.where(Y > 300, np.nan, Y), "y contains NaN"),
        (Y[:10], "inconsistent numbers of samples"),
        (np.array(["a"] * 442), "could not convert string|numeric"),
    ],
)
def test_targets_that_are_none(y, said):
    with pytest.raises(ValueError, match=said):
        selective().fit(X, y)


def test_folds_are_not_stratified_by_values():
    model = selective(cv=5).fit(X, Y)
    same = selective(cv=KFold(5)).fit(X, Y)
    np.testing.assert_array_equal(model.calibration_scores_, same.calibration_scores_)


def test_no_training_rows_is_an_error():
    with pytest.raises(ValueError, match="calibration_size=500 leaves no training rows"):
        selective(calibration_size=500).fit(X, Y)


@pytest.mark.parametrize("cv", [None, 3])
def test_data_frames_and_tensors(cv):
    plain = selective(cv=cv).fit(X, Y)
    columns = [f"c{i}" for i in range(10)]
    frame = pd.DataFrame(X, columns=columns, index=np.arange(442)[::-1] * 7)
    model = selective(cv=cv).fit(frame, pd.Series(Y, index=frame.index))
    np.testing.assert_allclose(model.predict(frame), plain.predict(X))  # in another memory order
    np.testing.assert_array_equal(model.feature_names_in_, columns)
    rows, targets = torch.from_numpy(X), torch.from_numpy(Y)
    model = selective(cv=cv).fit(rows, targets)
    np.testing.assert_array_equal(model.predict(rows), plain.predict(X))
    assert model.score(rows, targets) == plain.score(X, Y)


# --- the same as of the classifier ------------------------------------------------------------


def test_a_new_decision_is_as_if_fitted_with_it():
    model = selective().fit(X, Y).set_threshold(0.5)
    fresh = selective(threshold=QuantileThreshold(0.5)).fit(X, Y)
    np.testing.assert_array_equal(model.predict(FAR), fresh.predict(FAR))
    assert model.guarantee_ == fresh.guarantee_
    assert "probability >= 0.5 (89 calibration rows)" in model.guarantee_
    model.set_threshold(0.9, X[:99], Y[:99])
    np.testing.assert_array_equal(
        model.calibration_errors_, (Y[:99] - model.estimator_.predict(X[:99])) ** 2
    )


def test_losses_that_are_kept_are_those_of_the_present_loss():
    model = selective().fit(X, Y).set_params(loss="absolute_error")
    with pytest.raises(ValueError, match="loss was 'squared_error' for the calibration rows"):
        model.set_threshold(0.9)
    model.set_threshold(0.9, X, Y).set_threshold(0.8)
    np.testing.assert_array_equal(
        model.calibration_errors_, np.abs(Y - model.estimator_.predict(X))
    )


def test_a_limit_on_bounded_losses():
    rows = np.random.default_rng(0).normal(size=(2000, 1))
    y = np.sin(rows[:, 0])  # a straight line is far off where rows are rare
    model = selective(
        None, RiskThreshold(max_risk=30, max_loss=100), loss=clipped, calibration_size=0.5
    )
    model.fit(rows[:1000], 200 * y[:1000])
    assert 0.3 < model.coverage_ < 1
    assert "<= 30 with certainty 0.95 (500 calibration rows" in model.guarantee_
    selection = model.select(rows[1000:])
    losses = clipped(200 * y[1000:], selection.predictions)
    assert losses[selection.selected].mean() <= 30 < losses[~selection.selected].mean()
    with pytest.raises(ValueError, match="max_loss"):
        model.set_params(loss="squared_error").fit(rows, 200 * y)


def clipped(y_true, y_pred):
    return np.minimum(np.abs(y_true - y_pred), 100)


def test_predictions_are_no_groups():
    class Grouped(QuantileThreshold):
        def fit(self, confidence, error=None, *, groups=None):
            super().fit(confidence, error)
            self.seen_ = groups
            return self

    assert selective(threshold=Grouped()).fit(X, Y).rule_.seen_ is None
    by_sex = selective(threshold=Grouped(), group_by=lambda X: X[:, 1] > 0).fit(X, Y)
    assert set(by_sex.rule_.seen_) == {False, True}
    np.testing.assert_array_equal(by_sex.rule_.seen_, by_sex.calibration_groups_)


def test_a_failing_fit_leaves_the_model_as_it_was():  # SP-TH-12
    model = selective().fit(X, Y)
    before = joblib.hash(model)
    with pytest.raises(ValueError, match="NaN"):
        model.fit(X, np.where(Y > 300, np.nan, Y))
    assert joblib.hash(model) == before
    model.predict(FAR), model.select(FAR), model.score(X, Y)
    assert joblib.hash(model) == before  # SP-CC-06


def test_unfitted():
    for name in ("predict", "select", "score_samples"):
        with pytest.raises(NotFittedError):
            getattr(selective(), name)(X)
    with pytest.raises(NotFittedError):
        selective().score(X, Y)


def test_it_is_a_regressor():
    model = selective()
    assert is_regressor(model)
    assert not get_tags(model).target_tags.multi_output
    assert get_tags(selective(estimator=Ridge())).target_tags.multi_output
    assert get_tags(model).target_tags.required


def test_search_in_a_pipeline():
    grid = {
        "selectiveregressor__confidence__k": [2, 20],
        "selectiveregressor__confidence__quantile": [0.5, 0.95],
    }
    pipe = make_pipeline(StandardScaler(), selective(EuclideanScore()))
    search = GridSearchCV(pipe, grid, cv=3).fit(X, Y)
    assert len(np.unique(search.cv_results_["mean_test_score"])) == 4
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert np.isnan(search.predict(X)).any()
    # The higher an abstention costs, the fewer there are.
    for cost, picked in [(0.0, 0.5), (1.0, 0.95)]:
        priced = clone(pipe).set_params(selectiveregressor__reject_cost=cost)
        best = GridSearchCV(priced, grid, cv=3).fit(X, Y).best_params_
        assert best["selectiveregressor__confidence__quantile"] == picked


def test_cross_validation_and_ensembles():
    assert cross_val_score(selective(), X, Y, cv=3).min() > 0.4
    assert np.isnan(cross_val_predict(selective(), X, Y, cv=3)).any()
    never = selective(reject_value=None)
    error = -cross_val_score(never, X, Y, cv=3, scoring="neg_mean_absolute_error")
    assert error.max() < mean_absolute_error(Y, np.full(442, Y.mean()))
    vote = VotingRegressor([("one", never), ("two", GradientBoostingRegressor(n_estimators=5))])
    assert vote.fit(X, Y).score(X, Y) > 0.4


@pytest.mark.parametrize("threshold", [None, QuantileThreshold(0.8)])
def test_round_trips(threshold, tmp_path):  # SP-PS-04, SP-PS-06, FB-29
    model = selective(threshold=threshold, loss=far_off).fit(X, Y)
    joblib.dump(model, tmp_path / "model.joblib")
    for other in (
        pickle.loads(pickle.dumps(model)),
        joblib.load(tmp_path / "model.joblib", mmap_mode="r"),
        clone(model).fit(X, Y),
    ):
        np.testing.assert_array_equal(other.predict(FAR), model.predict(FAR))
        assert other.score(X, Y) == model.score(X, Y)
        assert other.guarantee_ == model.guarantee_
