"""SelectiveClassifier as scikit-learn users meet it; the ids are fault cases of a test."""

import inspect
import warnings
from collections import Counter

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, clone, is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris
from sklearn.decomposition import TruncatedSVD
from sklearn.ensemble import BaggingClassifier, IsolationForest, VotingClassifier
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.naive_bayes import GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, StandardScaler
from sklearn.utils import get_tags

from sklearn_seapig import EuclideanScore, QuantileThreshold, RandomScore, SelectiveClassifier

X, Y = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])[Y]
COLUMNS = ["a", "b", "c", "d"]
FAR = np.vstack([X, X + 100])


def selective(confidence="euclid", threshold=None, **params):
    if confidence == "euclid":
        confidence = EuclideanScore(quantile=0.7)
    return SelectiveClassifier(GaussianNB(), confidence, threshold, random_state=0, **params)


def one_third_rejected():
    return selective(threshold=QuantileThreshold(0.7))


# --- the parts of the contract ----------------------------------------------------------------


def test_the_constructor_only_stores():  # FB-28
    signature = inspect.signature(SelectiveClassifier)
    assert list(signature.parameters) == [
        "estimator",
        "confidence",
        "threshold",
        "response_method",
        "calibration_size",
        "cv",
        "group_by",
        "reject_label",
        "reject_cost",
        "random_state",
    ]
    values = {name: object() for name in signature.parameters}
    model = SelectiveClassifier(**values)
    assert vars(model) == values
    assert model.get_params(deep=False) == values


def test_parameters_of_the_parts_can_be_reached():
    model = selective(make_pipeline(StandardScaler(), EuclideanScore()), QuantileThreshold())
    model.set_params(
        confidence__euclideanscore__k=2, estimator__var_smoothing=0.1, threshold__q=0.5
    )
    assert model.confidence[-1].k == 2
    assert model.estimator.var_smoothing == 0.1
    assert model.get_params()["threshold__q"] == 0.5
    copy = clone(model.fit(X, Y))
    assert copy.confidence is not model.confidence
    assert not [name for name in vars(copy) if name.endswith("_")]
    np.testing.assert_array_equal(copy.fit(X, Y).predict(FAR), model.predict(FAR))


@pytest.mark.parametrize("method", ["predict", "select", "score_samples", "predict_proba"])
def test_unfitted(method):  # SP-TK-11
    with pytest.raises(NotFittedError):
        getattr(selective(), method)(X)
    with pytest.raises(NotFittedError):
        selective().score(X, Y)
    with pytest.raises(NotFittedError):
        _ = selective().threshold_


@pytest.mark.parametrize("confidence", [None, "euclid", IsolationForest(n_estimators=5)])
@pytest.mark.parametrize("threshold", [None, QuantileThreshold(0.7)])
def test_predict_select_and_score_agree(confidence, threshold):
    model = selective(confidence, threshold, reject_cost=0.3).fit(X, NAMES)
    selection = model.select(FAR)
    assert list(selection) == ["predictions", "score", "selected"]
    for name, dtype in [("score", np.float64), ("selected", bool)]:
        assert selection[name].shape == (300,)
        assert selection[name].dtype == dtype
    np.testing.assert_array_equal(selection.predictions, model.estimator_.predict(FAR))
    np.testing.assert_array_equal(selection.score, model.score_samples(FAR))
    np.testing.assert_array_equal(selection.selected, selection.score >= model.threshold_)
    expected = np.where(selection.selected, selection.predictions, "rejected")
    np.testing.assert_array_equal(model.predict(FAR), expected)

    y = np.roll(np.concatenate([NAMES, NAMES]), 3)
    weight = np.linspace(0, 2, 300)
    cost = np.where(selection.selected, selection.predictions != y, 0.3)
    assert 0 < np.mean(cost == 0.3) < 1 or confidence is None
    assert model.score(FAR, y) == pytest.approx(1 - cost.mean())
    weighted = 1 - (cost * weight).sum() / weight.sum()
    assert model.score(FAR, y, sample_weight=weight) == pytest.approx(weighted)
    assert model.score(FAR, y.tolist(), sample_weight=weight.tolist()) == pytest.approx(weighted)


def test_selected_rows_are_of_the_calibration_rows_share():
    model = selective().fit(X, Y)
    assert 0.7 <= model.coverage_ < 1
    assert model.coverage_ == np.mean(model.calibration_scores_ >= model.threshold_)
    assert model.select(X).selected.mean() == pytest.approx(0.7, abs=0.15)
    assert not model.select(X + 100).selected.any()


def test_score_is_accuracy_where_nothing_is_rejected():
    model = selective(EuclideanScore(quantile=1.0), calibration_size=0.5).fit(X, Y)
    inside = model.select(X).selected
    assert inside.mean() > 0.9
    predicted = model.estimator_.predict(X[inside])
    assert model.score(X[inside], Y[inside]) == accuracy_score(Y[inside], predicted)
    plain = selective(reject_label=None).fit(X, Y)
    assert plain.score(FAR, np.tile(Y, 2)) == plain.estimator_.score(FAR, np.tile(Y, 2))


def test_all_rows_rejected():  # FB-11, FB-12
    model = selective().fit(X, Y)
    np.testing.assert_array_equal(model.predict(X + 100), np.full(150, -1))
    assert model.score(X + 100, Y) == pytest.approx(0.8)
    assert model.predict(X[:1] + 100).tolist() == [-1]


def test_reject_label_none_never_abstains():
    model = selective(reject_label=None).fit(X, Y)
    assert model.reject_label_ is None
    np.testing.assert_array_equal(model.predict(FAR), model.estimator_.predict(FAR))
    assert not model.select(X + 100).selected.any()


def test_a_decision_is_aligned_with_its_row():  # FB-14, SP-LD-01
    model = selective().fit(X, Y)
    order = np.random.default_rng(0).permutation(300)
    np.testing.assert_array_equal(model.predict(FAR)[order], model.predict(FAR[order]))
    assert type(model.predict(FAR)) is np.ndarray
    singly = np.concatenate([model.predict(row[None]) for row in FAR[140:160]])
    np.testing.assert_array_equal(singly, model.predict(FAR)[140:160])


def test_outputs_of_the_estimator_are_untouched():  # FB-23
    model = SelectiveClassifier(
        make_pipeline(StandardScaler(), GaussianNB()), EuclideanScore(), random_state=0
    ).fit(X, Y)
    for method in ("predict_proba", "predict_log_proba"):
        np.testing.assert_array_equal(
            getattr(model, method)(FAR), getattr(model.estimator_, method)(FAR)
        )
    assert not hasattr(model, "decision_function")
    assert not hasattr(SelectiveClassifier(Ridge()), "predict_proba")
    assert hasattr(selective(), "predict_proba")


class Counting(GaussianNB):
    calls = Counter()

    def predict(self, X):
        self.calls["predict"] += 1
        return super().predict(X)

    def predict_proba(self, X):
        self.calls["predict_proba"] += 1
        return super().predict_proba(X)


@pytest.mark.parametrize(
    ("confidence", "method", "n"),
    [(None, None, 1), (EuclideanScore(), "predict_proba", 1), (EuclideanScore(), None, 0)],
)
def test_the_estimator_is_asked_once(confidence, method, n):  # SP-TK-13
    model = SelectiveClassifier(Counting(), confidence, response_method=method).fit(X, Y)
    for call in (model.predict, model.select, lambda X: model.score(X, Y)):
        Counting.calls.clear()
        call(X)
        assert Counting.calls == Counter(predict=1, predict_proba=n)


def test_the_confidence_is_asked_once():
    calls = []

    class Recorded(EuclideanScore):
        def score_samples(self, X):
            calls.append(len(X))
            return super().score_samples(X)

    model = selective(Recorded()).fit(X, Y)
    for call in (model.predict, model.select, model.score_samples):
        calls.clear()
        call(X)
        assert calls == [150]


def test_a_failing_fit_leaves_the_model_as_it_was():  # SP-TH-12
    model = selective(threshold=QuantileThreshold(0.7)).fit(X, Y)
    before, labels = dict(vars(model)), model.predict(FAR)
    for params in ({"reject_label": 1}, {"threshold": QuantileThreshold(2)}, {"cv": 400}):
        bad = {name: getattr(model, name) for name in params}
        with pytest.raises(ValueError, match=r"reject_label|'q' parameter|n_splits"):
            model.set_params(**params).fit(X, NAMES if "cv" in params else Y)
        model.set_params(**bad)
        assert dict(vars(model)) == before
    with pytest.raises(ValueError, match="NaN"):
        model.fit(np.where(X > 7, np.nan, X), Y)
    assert dict(vars(model)) == before
    np.testing.assert_array_equal(model.predict(FAR), labels)


def test_a_refit_remembers_nothing():  # SP-TH-09, SP-NN-26
    frame = pd.DataFrame(X, columns=COLUMNS)
    model = selective().fit(frame, NAMES).set_params(confidence=None).fit(X[:100, :2], Y[:100])
    fresh = selective(None).fit(X[:100, :2], Y[:100])
    assert vars(model).keys() == vars(fresh).keys()
    assert not hasattr(model, "feature_names_in_")
    assert model.threshold_ == fresh.threshold_
    np.testing.assert_array_equal(model.predict(X[:, :2]), fresh.predict(X[:, :2]))


def test_two_models_share_no_state():  # PY-18
    detector = EuclideanScore(quantile=0.7)
    one = selective(detector).fit(X, Y)
    labels = one.predict(FAR)
    selective(detector).fit(X + 100, Y)
    np.testing.assert_array_equal(one.predict(FAR), labels)


def test_editing_the_rows_afterwards_changes_nothing():  # SP-IN-36
    rows, y = X.copy(), Y.copy()
    model = selective().fit(rows, y)
    labels = model.predict(FAR)
    rows[:], y[:] = 0, 0
    np.testing.assert_array_equal(model.predict(FAR), labels)


# --- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["predict", "score_samples", "select"])
@pytest.mark.parametrize("confidence", [None, "euclid"])
def test_nan_rows_are_refused(name, confidence):  # FB-25
    model = selective(confidence).fit(X, Y)
    with pytest.raises(ValueError, match="NaN"):
        getattr(model, name)(np.where(X > 7, np.nan, X))


@pytest.mark.parametrize("name", ["predict", "score_samples", "select"])
def test_rows_of_another_width_are_refused(name):
    model = selective().fit(X, Y)
    with pytest.raises(ValueError, match=r"2 features.*4 features"):
        getattr(model, name)(X[:, :2])


def test_labels_of_another_length_or_kind_are_refused():
    model = selective().fit(X, Y)
    for y in (Y[:1], Y[:10]):
        with pytest.raises(ValueError, match="inconsistent numbers of samples"):
            model.score(X, y)
    with pytest.raises(ValueError, match="sample_weight must hold 150"):
        model.score(X, Y, sample_weight=np.ones(3))
    for other in (model, selective(reject_label=None).fit(X, Y)):
        with pytest.raises(ValueError, match=r"predicts classes such as \[0\].*'setosa'"):
            other.score(X, NAMES)


def test_a_column_of_labels_is_a_vector():  # SP-TK-14
    with pytest.warns(DataConversionWarning, match="column-vector y"):
        model = selective().fit(X, Y[:, None])
    np.testing.assert_array_equal(model.predict(FAR), selective().fit(X, Y).predict(FAR))
    with pytest.warns(DataConversionWarning, match="column-vector y"):
        assert model.score(X, Y[:, None]) == model.score(X, Y)


@pytest.mark.parametrize(
    ("y", "said"),
    [
        (None, "requires y to be passed"),
        (Y + 0.5, "continuous"),
        (np.column_stack([Y, Y]), "1d array"),
        (np.where(Y == 1, np.nan, Y), "NaN"),
        (Y[:10], "inconsistent numbers of samples"),
    ],
)
def test_labels_that_are_none(y, said):
    with pytest.raises(ValueError, match=said):
        selective().fit(X, y)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"estimator": Ridge()}, "must be a classifier, got the regressor Ridge"),
        ({"estimator": FrozenEstimator(Ridge().fit(X, Y))}, "must be a classifier"),
        ({"estimator": "bayes"}, "'estimator' parameter"),
        ({"confidence": "euclid"}, "'confidence' parameter"),
        ({"threshold": 0.5}, "'threshold' parameter"),
        ({"reject_cost": -0.1}, "'reject_cost' parameter"),
        ({"reject_cost": True}, "'reject_cost' parameter"),
        ({"cv": "five"}, "'cv' parameter"),
        ({"random_state": "seed"}, "'random_state' parameter"),
    ],
)
def test_parameters_are_checked_in_fit(params, said):
    with pytest.raises(ValueError, match=said):
        selective().set_params(**params).fit(X, Y)


# --- metadata ---------------------------------------------------------------------------------


def test_parameters_that_nobody_takes_are_named():  # FB-27
    with pytest.raises(ValueError, match=r"Extra parameters passed are: {'sample_weight'}"):
        selective().fit(X, Y, sample_weight=np.ones(150))
    with (
        config_context(enable_metadata_routing=True),
        pytest.raises(TypeError, match=r"unexpected argument.*{'colour'}"),
    ):
        selective().fit(X, Y, colour=np.ones(150))


class Weighed(GaussianNB):
    def fit(self, X, y, sample_weight=None):
        self.weight_ = sample_weight
        return super().fit(X, y, sample_weight)


@pytest.mark.parametrize("cv", [None, 3])
def test_weights_are_routed_and_cut_with_the_rows(cv):  # FB-27
    weight = X[:, 0] * 1000  # of a row, so that one that is out of place is seen
    with config_context(enable_metadata_routing=True):
        model = SelectiveClassifier(
            Weighed().set_fit_request(sample_weight=True), EuclideanScore(), cv=cv, random_state=0
        ).fit(X, Y, sample_weight=weight)
    assert len(model.estimator_.weight_) == (120 if cv is None else 150)
    by_hand = GaussianNB().fit(X, Y, weight)
    if cv is not None:
        np.testing.assert_allclose(model.estimator_.theta_, by_hand.theta_)
    plain = SelectiveClassifier(GaussianNB(), EuclideanScore(), cv=cv, random_state=0).fit(X, Y)
    assert not np.allclose(model.estimator_.theta_, plain.estimator_.theta_)


class Aligned(GaussianNB):
    def fit(self, X, y, row=None):
        np.testing.assert_array_equal(X[:, 0], row)
        return super().fit(X, y)


@pytest.mark.parametrize("cv", [None, 3])
def test_metadata_stay_with_their_rows(cv):
    with config_context(enable_metadata_routing=True):
        SelectiveClassifier(Aligned().set_fit_request(row=True), cv=cv).fit(X, Y, row=X[:, 0])


class Told(EuclideanScore):
    def fit(self, X, y=None, *, X_cal=None):
        super().fit(X, y, X_cal=X_cal)
        self.told_ = X_cal
        return self


@pytest.mark.parametrize("cv", [None, 3])
@pytest.mark.parametrize("n", [20, 150])  # 150: as many as there are rows
@pytest.mark.parametrize("piped", [False, True])
def test_a_calibration_set_of_the_users_own_is_passed_on_whole(n, cv, piped):
    own = np.random.default_rng(0).normal(X.mean(axis=0), 2, size=(n, 4))
    with config_context(enable_metadata_routing=True):
        confidence = Told(quantile=0.6).set_fit_request(X_cal=True)
        if piped:
            confidence = make_pipeline(StandardScaler(), confidence, transform_input=["X_cal"])
        model = selective(confidence, cv=cv).fit(X, Y, X_cal=own)
    last = model.confidence_[-1] if piped else model.confidence_
    expected = model.confidence_[:-1].transform(own) if piped else own
    np.testing.assert_array_equal(last.told_, expected)
    bound = np.sort(last.score_samples(expected))[n - int(np.ceil((n + 1) * 0.6))]
    assert model.threshold_ == bound  # and not of the rows held out
    assert model.coverage_ == np.mean(model.select(X).selected) or cv is None


def test_weights_through_a_search_over_a_pipeline():
    weight = np.linspace(0.1, 2, 150)
    with config_context(enable_metadata_routing=True):
        model = SelectiveClassifier(
            GaussianNB().set_fit_request(sample_weight=True),
            EuclideanScore(quantile=0.8),
            random_state=0,
        ).set_score_request(sample_weight=True)
        pipe = make_pipeline(MinMaxScaler(), model)
        grid = {"selectiveclassifier__confidence__k": [2, 40]}
        search = GridSearchCV(pipe, grid, cv=3).fit(X, Y, sample_weight=weight)
        unweighted = GridSearchCV(clone(pipe), grid, cv=3).fit(X, Y)
        assert search.best_estimator_.score(X, Y, sample_weight=weight) > 0.8
        assert clone(pipe).fit(X, Y).score(X, Y) > 0.8  # no weight at all
    assert not np.array_equal(
        search.cv_results_["mean_test_score"], unweighted.cv_results_["mean_test_score"]
    )


# --- the rest of scikit-learn -----------------------------------------------------------------


def test_it_is_a_classifier():  # FB-33
    model = selective()
    assert is_classifier(model)
    assert get_tags(model).classifier_tags == get_tags(GaussianNB()).classifier_tags
    binary = SelectiveClassifier(BinaryOnly())
    assert not get_tags(binary).classifier_tags.multi_class
    assert is_classifier(make_pipeline(StandardScaler(), model))


class BinaryOnly(ClassifierMixin, BaseEstimator):
    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags


@pytest.mark.parametrize(
    ("estimator", "confidence", "method", "sparse"),
    [
        (MultinomialNB(), None, None, True),
        (GaussianNB(), None, None, False),
        (MultinomialNB(), EuclideanScore(), None, False),
        (MultinomialNB(), EuclideanScore(), "predict_proba", True),
        (MultinomialNB(), IsolationForest(), None, True),
    ],
)
def test_sparse_tag(estimator, confidence, method, sparse):
    model = SelectiveClassifier(estimator, confidence, response_method=method)
    assert get_tags(model).input_tags.sparse is sparse


def test_search_over_k_and_quantile():
    grid = {"confidence__k": [1, 5, 20], "confidence__quantile": [0.5, 0.8, 0.95]}
    model = selective(EuclideanScore())
    search = GridSearchCV(model, grid, cv=3).fit(X, Y)
    means = search.cv_results_["mean_test_score"]
    assert len(np.unique(means)) > 6
    assert search.best_score_ == means.max() == means[search.best_index_]
    best = search.best_estimator_
    assert best.confidence_.k == search.best_params_["confidence__k"]
    assert best.confidence_.quantile == search.best_params_["confidence__quantile"]
    assert means[0] == pytest.approx(
        cross_val_score(
            clone(model).set_params(confidence__k=1, confidence__quantile=0.5), X, Y, cv=3
        ).mean()
    )
    # The higher an abstention costs, the fewer there are.
    for cost, picked in [(0.0, 0.5), (1.0, 0.95)]:
        priced = GridSearchCV(clone(model).set_params(reject_cost=cost), grid, cv=3).fit(X, Y)
        assert priced.best_params_["confidence__quantile"] == picked


def test_search_over_a_rule_and_other_parts():
    grid = {
        "threshold__q": [0.5, 1.0],
        "estimator__var_smoothing": [1e-9, 1.0],
        "confidence": [None, EuclideanScore(), IsolationForest(n_estimators=5, random_state=0)],
    }
    search = GridSearchCV(selective(threshold=QuantileThreshold()), grid, cv=2).fit(X, Y)
    assert search.best_estimator_.rule_.q == search.best_params_["threshold__q"]
    assert len(np.unique(search.cv_results_["mean_test_score"])) > 4


def test_search_in_two_processes():  # SP-CC-03
    grid = {"confidence__k": [1, 5]}
    one, two = (
        GridSearchCV(selective(EuclideanScore()), grid, cv=3, n_jobs=n).fit(X, Y) for n in (1, 2)
    )
    np.testing.assert_array_equal(
        one.cv_results_["mean_test_score"], two.cv_results_["mean_test_score"]
    )
    np.testing.assert_array_equal(one.predict(FAR), two.predict(FAR))


def test_cross_validation():  # FB-15, FB-33
    model = selective()
    by_cost = cross_val_score(model, X, Y, cv=5)
    by_accuracy = cross_val_score(model, X, Y, cv=5, scoring="accuracy")
    assert (by_accuracy <= by_cost).all()
    labels = cross_val_predict(model, X, Y, cv=5)
    assert set(labels) == {-1, 0, 1, 2}
    names = cross_val_predict(model, X, NAMES, cv=5)
    np.testing.assert_array_equal(names == "rejected", labels == -1)
    proba = cross_val_predict(model, X, Y, cv=5, method="predict_proba")
    np.testing.assert_allclose(proba.sum(axis=1), 1)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: VotingClassifier([("one", model), ("two", GaussianNB())]),
        lambda model: VotingClassifier([("one", model), ("two", GaussianNB())], voting="soft"),
        lambda model: CalibratedClassifierCV(model, cv=2),
        lambda model: BaggingClassifier(model, n_estimators=2, random_state=0),
        lambda model: SelectiveClassifier(model, RandomScore(), random_state=0),
    ],
)
@pytest.mark.filterwarnings("ignore:.*overlap")  # a bagging draws rows more than once
def test_other_meta_estimators_take_one_that_never_abstains(wrap):
    model = wrap(selective(reject_label=None)).fit(X, Y)
    assert model.score(X, Y) > 0.8


def test_pipeline_around():
    pipe = make_pipeline(StandardScaler(), selective()).fit(X, Y)
    scaled = pipe[0].transform(FAR)
    np.testing.assert_array_equal(pipe.predict(FAR), pipe[-1].predict(scaled))
    np.testing.assert_array_equal(pipe.score_samples(FAR), pipe[-1].score_samples(scaled))
    np.testing.assert_array_equal(pipe.classes_, [0, 1, 2])


# --- kinds of input ---------------------------------------------------------------------------


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize("cv", [None, 3])
def test_data_frames(library, cv):
    frames = pytest.importorskip(library)
    if library == "pandas":
        index = np.arange(150)[::-1] * 7  # labels that are no positions
        frame = frames.DataFrame(X, columns=COLUMNS, index=index)
        y = frames.Series(NAMES, index=index)
    else:
        frame, y = frames.DataFrame(X, schema=COLUMNS), frames.Series(NAMES.tolist())
    plain = selective(cv=cv).fit(X, NAMES)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # feature names are kept all the way
        model = selective(cv=cv).fit(frame, y)
        np.testing.assert_array_equal(model.predict(frame), plain.predict(X))
        assert model.score(frame, y) == plain.score(X, NAMES)
    np.testing.assert_array_equal(model.feature_names_in_, COLUMNS)
    assert model.n_features_in_ == plain.n_features_in_ == 4
    assert not hasattr(plain, "feature_names_in_")
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[COLUMNS[::-1]])


def test_categorical_labels():
    y = pd.Series(pd.Categorical(NAMES))
    np.testing.assert_array_equal(
        selective().fit(X, y).predict(FAR), selective().fit(X, NAMES).predict(FAR)
    )


@pytest.mark.parametrize("cv", [None, 3])
def test_tensors(cv):
    plain = selective(cv=cv).fit(X, Y)
    model = selective(cv=cv).fit(torch.from_numpy(X), torch.from_numpy(Y))
    np.testing.assert_array_equal(model.predict(torch.from_numpy(FAR)), plain.predict(FAR))
    assert model.score(torch.from_numpy(X), torch.from_numpy(Y)) == plain.score(X, Y)


def test_lists_of_rows():
    plain = selective().fit(X, Y)
    model = selective().fit(X.tolist(), Y.tolist())
    np.testing.assert_array_equal(model.predict(FAR.tolist()), plain.predict(FAR))


DOCUMENTS = [f"{['cat', 'dog', 'bird'][i % 3]} word{i % 5} word{i % 4}" for i in range(60)]
ANIMALS = [text.split()[0] for text in DOCUMENTS]


@pytest.mark.parametrize(
    ("confidence", "method"),
    [
        (None, None),
        (make_pipeline(TfidfVectorizer(), TruncatedSVD(3), EuclideanScore(quantile=0.9)), None),
        (EuclideanScore(quantile=0.9), "predict_proba"),
    ],
)
@pytest.mark.parametrize("cv", [None, 3])
@pytest.mark.filterwarnings("ignore:.*overlap")  # there are few different texts
def test_texts(confidence, method, cv):
    estimator = make_pipeline(CountVectorizer(), MultinomialNB())
    model = SelectiveClassifier(
        estimator, confidence, response_method=method, cv=cv, random_state=0
    ).fit(DOCUMENTS, ANIMALS)
    labels = model.predict(DOCUMENTS)
    assert labels.shape == (60,)
    assert np.mean(labels == np.array(ANIMALS)) > 0.7
    assert not hasattr(model, "n_features_in_")


def flatten(images):
    return np.asarray(images).reshape(len(images), -1)


@pytest.mark.parametrize("cv", [None, 3])
def test_images(cv):
    images = X.reshape(150, 1, 2, 2)
    model = SelectiveClassifier(
        make_pipeline(FunctionTransformer(flatten), GaussianNB()),
        make_pipeline(FunctionTransformer(flatten), EuclideanScore(quantile=0.7)),
        cv=cv,
        random_state=0,
    )
    for rows in (images, torch.from_numpy(images)):
        labels = model.fit(rows, Y).predict(rows)
        np.testing.assert_array_equal(labels, selective(cv=cv).fit(X, Y).predict(X))


# --- what predict must not do -----------------------------------------------------------------


@pytest.mark.parametrize(
    "confidence",
    [
        None,
        EuclideanScore(),
        make_pipeline(StandardScaler(), EuclideanScore()),
        IsolationForest(n_estimators=5),
    ],
)
def test_predict_changes_nothing(confidence):  # SP-CC-06, SP-TK-11
    model = selective(confidence).fit(X, Y)
    names, before = list(vars(model)), joblib.hash(model)
    model.predict(FAR), model.select(FAR), model.score_samples(FAR), model.score(X, Y)
    _ = model.threshold_
    assert list(vars(model)) == names
    assert joblib.hash(model) == before


def test_threads():  # SP-CC-01
    model = selective().fit(X, Y)
    rows = [FAR[i::8] for i in range(8)]
    expected = [model.predict(part) for part in rows]
    found = joblib.Parallel(n_jobs=8, prefer="threads")(
        joblib.delayed(model.predict)(part) for part in rows * 5
    )
    for one, other in zip(found, expected * 5, strict=True):
        np.testing.assert_array_equal(one, other)


MEANWHILE = []


class Interrupted(KNeighborsClassifier):
    """Something else happens while it predicts."""

    def predict(self, X):
        labels = super().predict(X)
        if MEANWHILE:
            MEANWHILE.pop()()
        return labels


@pytest.mark.parametrize("method", ["predict", "select", "score"])
def test_a_refit_during_a_prediction_changes_nothing_in_it(method):  # SP-CC-05
    model = SelectiveClassifier(Interrupted(), EuclideanScore(quantile=0.7), random_state=0)
    args = (FAR, np.tile(Y, 2)) if method == "score" else (FAR,)
    expected = getattr(model.fit(X, Y), method)(*args)
    # The new model has another reject label (-2), other scores and another bound.
    MEANWHILE.append(lambda: model.set_params(estimator__n_neighbors=1).fit(X * 3 + 90, Y - 1))
    found = getattr(model, method)(*args)
    assert not MEANWHILE
    assert model.reject_label_ == -2
    if method == "select":
        for name in expected:
            np.testing.assert_array_equal(found[name], expected[name])
    else:
        np.testing.assert_array_equal(found, expected)


def test_representations():
    model = selective()
    assert "EuclideanScore" in repr(model)
    assert "SelectiveClassifier" in model._repr_html_()
    assert "EuclideanScore" in model.fit(X, Y)._repr_html_()


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (torch.zeros(40).to_sparse(), TypeError, "y is a sparse tensor"),
        (torch.zeros(40, device="meta"), (TypeError, ValueError), "y "),
        (np.array(["a", 1] * 20, dtype=object), ValueError, "y mixes strings"),
    ],
)
def test_targets_that_cannot_be_read_are_named(y, error, message):
    X = np.random.default_rng(0).normal(size=(40, 2))
    with pytest.raises(error, match=message):
        SelectiveClassifier(GaussianNB()).fit(X, y)


def test_tensors_as_targets_are_arrays():
    X = np.random.default_rng(0).normal(size=(80, 2))
    y = X[:, 0] > 0
    model = SelectiveClassifier(GaussianNB(), random_state=0)
    expected = clone(model).fit(X, y.astype(int))
    fitted = model.fit(X, torch.from_numpy(y).to(torch.int64))
    np.testing.assert_array_equal(fitted.classes_, [0, 1])
    assert fitted.threshold_ == expected.threshold_
    assert fitted.score(X, torch.from_numpy(y)) == expected.score(X, y)


def test_a_dict_of_columns_is_refused():
    with pytest.raises(TypeError, match="X is a dict"):
        SelectiveClassifier(GaussianNB()).fit({"X": [[1.0], [2]]}, [0, 1])
