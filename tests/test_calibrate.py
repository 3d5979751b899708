"""Which rows fit what, and where the bound comes from; the ids are fault cases of a test."""

import warnings

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, OutlierMixin, TransformerMixin, clone
from sklearn.covariance import EllipticEnvelope
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import SGDOneClassSVM
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    LeaveOneOut,
    ShuffleSplit,
    StratifiedKFold,
    cross_val_predict,
)
from sklearn.naive_bayes import GaussianNB, MultinomialNB
from sklearn.neighbors import KernelDensity, KNeighborsClassifier, LocalOutlierFactor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC, OneClassSVM

from sklearn_seapig import (
    BaseScore,
    EnergyScore,
    EuclideanScore,
    QuantileThreshold,
    SelectiveClassifier,
    SoftmaxScore,
)
from sklearn_seapig.thresholds import quantile_bound

X, Y = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])[Y]
IDS = np.column_stack([np.arange(150.0), X])  # the first column says which row it is


def bayes():
    return GaussianNB()


class SpyClassifier(ClassifierMixin, BaseEstimator):
    """Remembers the rows that it was fitted on; is wrong on every tenth row."""

    def fit(self, X, y, **params):
        self.seen_, self.params_ = X[:, 0], params
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        ids = X[:, 0].astype(int)
        return self.classes_[(Y[ids % 150] + (ids % 10 == 0)) % len(self.classes_)]


class SpyScore(OutlierMixin, BaseEstimator):
    """Remembers the rows that it was fitted on; the confidence of a row is its number."""

    def __init__(self, offset=0.0):
        self.offset = offset

    def fit(self, X, y=None):
        self.seen_, self.labels_, self.offset_ = np.asarray(X)[:, 0], y, self.offset
        return self

    def score_samples(self, X):
        return np.asarray(X)[:, 0]

    def decision_function(self, X):
        return self.score_samples(X) - self.offset_


class BoundedSpyScore(SpyScore):
    """One with a bound to set; says where it came from."""

    def set_threshold(self, q=None, X=None, *, scores=None):
        self.calibrated_on_ = np.sort(self.score_samples(X) if scores is None else scores)
        self.offset_ = 42.0
        return self


class TopOutput(BaseScore):
    """Stands for a logit score: fitted on calibration outputs, with columns as y."""

    fits_on_calibration = True

    def _fit(self, Z, y):
        self.outputs_, self.columns_ = Z.numpy().copy(), np.asarray(y).copy()

    def _score(self, Z):
        return Z.max(dim=1).values


# --- rows -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "n"), [(0.2, 30), (0.5, 75), (30, 30), (1, 1), (0.211, 32)])
@pytest.mark.parametrize("stratified", [True, False])
def test_no_row_is_fitted_on_and_calibrated_on(size, n, stratified):
    y = Y if stratified else np.where(np.arange(150) == 7, 9, Y)
    model = SelectiveClassifier(
        SpyClassifier(), SpyScore(), calibration_size=size, random_state=3
    ).fit(IDS, y)
    calibration = model.calibration_scores_
    # The one row of class 9 is a training row even where it was drawn for calibration.
    assert n - (not stratified) <= len(calibration) <= n
    np.testing.assert_array_equal(model.estimator_.seen_, model.confidence_.seen_)
    assert not np.isin(calibration, model.estimator_.seen_).any()
    everything = np.sort(np.concatenate([calibration, model.estimator_.seen_]))
    np.testing.assert_array_equal(everything, np.arange(150))
    np.testing.assert_array_equal(
        model.calibration_errors_,
        model.estimator_.predict(IDS[calibration.astype(int)]) != y[calibration.astype(int)],
    )
    assert model.coverage_ == 1


def test_calibration_rows_keep_the_shares_of_the_classes():
    y = np.repeat([0, 1, 2], [100, 40, 10])
    model = SelectiveClassifier(SpyClassifier(), SpyScore(), random_state=0).fit(IDS, y)
    rows = model.calibration_scores_.astype(int)
    np.testing.assert_array_equal(np.bincount(y[rows]), [20, 8, 2])


@pytest.mark.parametrize("seed", range(8))
def test_a_rare_class_stays_in_training(seed):
    y = Y.copy()
    y[[0, 1]] = 7, 8
    model = SelectiveClassifier(
        SpyClassifier(), SpyScore(), calibration_size=0.9, random_state=seed
    ).fit(IDS, y)
    np.testing.assert_array_equal(model.classes_, [0, 1, 2, 7, 8])
    assert np.isin([0, 1], model.estimator_.seen_).all()
    assert len(model.calibration_scores_) in (133, 134, 135)


@pytest.mark.parametrize("size", [150, 200])
def test_no_training_rows_is_an_error(size):
    with pytest.raises(ValueError, match=rf"calibration_size={size} leaves no training rows.*150"):
        SelectiveClassifier(bayes(), calibration_size=size).fit(X, Y)


def test_no_calibration_rows_is_an_error():
    with pytest.raises(ValueError, match=r"no calibration rows.*n_samples=3 and 3 classes"):
        SelectiveClassifier(KNeighborsClassifier(1)).fit(X[[0, 60, 120]], Y[[0, 60, 120]])


@pytest.mark.parametrize("size", [0, 1.0, -3, 1.5, True, "0.2", None])
def test_calibration_size_out_of_range(size):
    with pytest.raises(ValueError, match="'calibration_size' parameter"):
        SelectiveClassifier(bayes(), calibration_size=size).fit(X, Y)


def test_random_state_draws_the_rows():
    def rows(seed):
        model = SelectiveClassifier(SpyClassifier(), SpyScore(), random_state=seed)
        return model.fit(IDS, Y).calibration_scores_.tolist()

    assert rows(0) == rows(0) != rows(1)


# --- frozen parts -----------------------------------------------------------------------------


@pytest.mark.parametrize("frozen_confidence", [False, True])
@pytest.mark.parametrize("frozen_estimator", [False, True])
@pytest.mark.parametrize("rule", [None, QuantileThreshold(0.5)])
def test_frozen_parts(frozen_estimator, frozen_confidence, rule):
    other = IDS + np.array([1000, 0, 0, 0, 0])
    estimator, confidence = SpyClassifier().fit(other, Y), SpyScore(offset=100).fit(other)
    model = SelectiveClassifier(
        FrozenEstimator(estimator) if frozen_estimator else SpyClassifier(),
        FrozenEstimator(confidence) if frozen_confidence else SpyScore(offset=100),
        rule,
        random_state=0,
    ).fit(IDS, Y)
    calibration = model.calibration_scores_
    # The split is made unless there is nothing to fit.
    assert len(calibration) == (150 if frozen_estimator and frozen_confidence else 30)
    train = np.setdiff1d(np.arange(150), calibration)
    for part, mine, frozen in (
        (model.estimator_, estimator, frozen_estimator),
        (model.confidence_, confidence, frozen_confidence),
    ):
        assert (getattr(part, "estimator", None) is mine) == frozen
        np.testing.assert_array_equal(np.sort(part.seen_), other[:, 0] if frozen else train)
    bound = 100.0 if rule is None else quantile_bound(calibration, 0.5)
    assert model.threshold_ == bound
    assert model.coverage_ == np.mean(calibration >= bound)


def test_a_frozen_estimator_without_a_confidence_calibrates_on_all_rows():
    estimator = bayes().fit(X[::2], Y[::2])
    model = SelectiveClassifier(FrozenEstimator(estimator)).fit(X[1::2], Y[1::2])
    top = estimator.predict_proba(X[1::2]).max(axis=1)
    np.testing.assert_array_equal(model.calibration_scores_, top)
    assert model.threshold_ == quantile_bound(top, 0.99)
    np.testing.assert_array_equal(model.calibration_errors_, estimator.predict(X[1::2]) != Y[1::2])


@pytest.mark.parametrize(
    "fitted",
    [
        EuclideanScore(quantile=0.7).fit(X),
        make_pipeline(StandardScaler(), EuclideanScore(quantile=0.7)).fit(X),
        make_pipeline(StandardScaler(), IsolationForest(n_estimators=5, random_state=0)).fit(X),
        OneClassSVM(nu=0.3).fit(X),
    ],
    ids=lambda part: part.__class__.__name__,
)
@pytest.mark.parametrize("frozen_estimator", [False, True])
def test_a_frozen_confidence_keeps_its_decision(fitted, frozen_estimator):
    before = fitted.score_samples(X), fitted.predict(X)
    estimator = FrozenEstimator(bayes().fit(X, Y)) if frozen_estimator else bayes()
    model = SelectiveClassifier(estimator, FrozenEstimator(fitted), random_state=0).fit(
        X[::3], Y[::3]
    )
    assert model.confidence_.estimator is fitted
    np.testing.assert_array_equal(fitted.score_samples(X), before[0])
    np.testing.assert_array_equal(fitted.predict(X), before[1])
    np.testing.assert_array_equal(model.select(X).selected, before[1] == 1)
    last = fitted[-1] if isinstance(fitted, Pipeline) else fitted
    assert model.threshold_ == np.asarray(last.offset_).item()


@pytest.mark.parametrize("cv", [None, 3])
@pytest.mark.parametrize("wrap", [lambda score: score, make_pipeline], ids=["score", "pipeline"])
def test_a_frozen_last_step_keeps_its_decision(wrap, cv):
    score = EuclideanScore(quantile=0.7).fit(StandardScaler().fit_transform(X))
    bound, scores = score.offset_, score.calibration_scores_
    confidence = make_pipeline(StandardScaler(), FrozenEstimator(wrap(score)))
    model = SelectiveClassifier(bayes(), confidence, cv=cv, random_state=0).fit(X, Y)
    assert score.offset_ == bound == model.threshold_
    assert score.calibration_scores_ is scores
    assert len(model.calibration_scores_) == (30 if cv is None else 150)


def test_a_frozen_first_step_is_as_good_as_any():
    scaler = StandardScaler().fit(X)
    model = SelectiveClassifier(
        bayes(), make_pipeline(FrozenEstimator(scaler), EuclideanScore()), random_state=0
    ).fit(X[::2], Y[::2])
    assert model.confidence_[0].estimator is scaler
    assert len(model.confidence_[-1].calibration_scores_) == 15


@pytest.mark.parametrize(
    ("estimator", "confidence"),
    [
        (FrozenEstimator(bayes()), None),
        (FrozenEstimator(bayes()), EuclideanScore()),
        (bayes(), FrozenEstimator(EuclideanScore())),
        (bayes(), FrozenEstimator(make_pipeline(StandardScaler(), EuclideanScore()))),
    ],
)
def test_an_unfitted_thing_cannot_be_frozen(estimator, confidence):
    with pytest.raises(NotFittedError):
        SelectiveClassifier(estimator, confidence).fit(X, Y)


def test_what_is_given_is_never_fitted():  # FB-13, FB-28, PY-18
    detector = IsolationForest(n_estimators=5)
    pipe = make_pipeline(StandardScaler(), detector)
    estimator, rule = bayes(), QuantileThreshold()
    for confidence in (detector, pipe):
        for cv in (None, 2):
            model = SelectiveClassifier(estimator, confidence, rule, cv=cv).fit(X, Y)
            assert model.estimator is estimator
            assert model.confidence is confidence
            for part in (estimator, detector, pipe[0], rule):
                assert not [name for name in vars(part) if name.endswith("_")]


def test_a_frozen_estimator_may_meet_unknown_classes():
    known = bayes().fit(X[Y < 2], Y[Y < 2])
    model = SelectiveClassifier(FrozenEstimator(known)).fit(X, Y)
    np.testing.assert_array_equal(model.classes_, [0, 1])
    np.testing.assert_array_equal(model.calibration_errors_[Y == 2], 1)


def test_labels_of_another_kind_than_the_frozen_estimators_are_refused():
    model = SelectiveClassifier(FrozenEstimator(bayes().fit(X, Y)))
    with pytest.raises(ValueError, match=r"predicts classes such as \[0\].*labels.*'setosa'"):
        model.fit(X, NAMES)


# --- detectors and Pipelines as confidence ----------------------------------------------------

DETECTORS = [
    IsolationForest(n_estimators=10, random_state=0, contamination=0.2),
    OneClassSVM(nu=0.2),
    LocalOutlierFactor(novelty=True, contamination=0.2),  # FB-26
    EllipticEnvelope(random_state=0, contamination=0.2),
    SGDOneClassSVM(nu=0.2, random_state=0),
]


@pytest.mark.parametrize("cv", [None, 3])
@pytest.mark.parametrize("piped", [False, True])
@pytest.mark.parametrize("detector", DETECTORS, ids=lambda d: type(d).__name__)
def test_any_outlier_detector_decides_by_its_own_offset(detector, piped, cv):
    confidence = make_pipeline(StandardScaler(), detector) if piped else detector
    model = SelectiveClassifier(bayes(), confidence, cv=cv, random_state=0).fit(X, Y)
    fitted = model.confidence_
    last = fitted[-1] if piped else fitted
    assert isinstance(model.threshold_, float)
    assert model.threshold_ == np.asarray(last.offset_).item()
    far = np.vstack([X, X[:3] + 40])
    np.testing.assert_array_equal(model.score_samples(far), fitted.score_samples(far))
    selection = model.select(far)
    clear = np.abs(fitted.decision_function(far)) > 1e-9
    np.testing.assert_array_equal(selection.selected[clear], (fitted.predict(far) == 1)[clear])
    assert 0 < model.coverage_ <= 1
    assert 0 < selection.selected.mean() < 1
    if cv is None:
        assert model.coverage_ == np.mean(model.calibration_scores_ >= model.threshold_)


@pytest.mark.parametrize("wrap", [lambda part: part, lambda part: make_pipeline(PCA(2), part)])
def test_a_detector_that_scores_no_new_rows_is_refused(wrap):  # FB-26
    with pytest.raises(TypeError, match=r"LocalOutlierFactor has no score_samples.*novelty=True"):
        SelectiveClassifier(bayes(), wrap(LocalOutlierFactor())).fit(X, Y)
    frozen = FrozenEstimator(wrap(LocalOutlierFactor()).fit(X))
    with pytest.raises(TypeError, match="novelty=True"):
        SelectiveClassifier(bayes(), frozen).fit(X, Y)


@pytest.mark.parametrize("density", [KernelDensity(), GaussianMixture(2, random_state=0)])
@pytest.mark.parametrize("piped", [False, True])
@pytest.mark.parametrize("cv", [None, 3])
def test_a_density_needs_a_rule(density, piped, cv):
    confidence = make_pipeline(StandardScaler(), density) if piped else density
    model = SelectiveClassifier(bayes(), confidence, cv=cv, random_state=0)
    with pytest.raises(TypeError, match=rf"{type(density).__name__} has no decision.*threshold"):
        model.fit(X, Y)
    model.set_params(threshold=QuantileThreshold(0.8)).fit(X, Y)
    assert model.threshold_ == quantile_bound(model.calibration_scores_, 0.8)
    assert model.coverage_ == np.mean(model.calibration_scores_ >= model.threshold_) < 1


@pytest.mark.parametrize(
    "confidence", [StandardScaler(), make_pipeline(StandardScaler(), "passthrough")]
)
def test_what_cannot_score_is_refused(confidence):
    with pytest.raises(TypeError, match=r"has no score_samples.*give a score"):
        SelectiveClassifier(bayes(), confidence).fit(X, Y)


def test_a_pipeline_of_two_predictors_is_refused_by_scikit_learn():
    with pytest.raises(TypeError, match="intermediate steps should be transformers"):
        SelectiveClassifier(bayes(), make_pipeline(bayes(), EuclideanScore())).fit(X, Y)


class NanScore(SpyScore):
    def score_samples(self, X):
        return np.where(np.arange(len(X)) == 3, np.nan, 1.0)


class WideScore(SpyScore):
    def score_samples(self, X):
        return X[:, :2]


@pytest.mark.parametrize(
    ("score", "said"),
    [(NanScore(), "NaN for row 3"), (WideScore(), r"shape \(30, 2\) for 30 rows")],
)
def test_scores_that_decide_nothing_are_refused(score, said):
    with pytest.raises(ValueError, match=rf"{type(score).__name__} returned .*{said}"):
        SelectiveClassifier(bayes(), score, random_state=0).fit(X, Y)


def hand_made(pipe):
    """Return a Pipeline fitted on training rows, bounded on transformed calibration rows."""
    spy = SelectiveClassifier(SpyClassifier(), SpyScore(), random_state=0).fit(IDS, Y)
    train, rows = spy.confidence_.seen_.astype(int), spy.calibration_scores_.astype(int)
    pipe = clone(pipe).fit(X[train], Y[train])
    # By scores: given the rows, a score takes one that equals a training row for that row.
    pipe[-1].set_threshold(scores=pipe.score_samples(X[rows]))
    return pipe


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize(
    "pipe",
    [
        make_pipeline(StandardScaler(), EuclideanScore(k=3, quantile=0.8)),
        make_pipeline(StandardScaler(), PCA(2), EuclideanScore(k=3, quantile=0.8)),
        make_pipeline(LinearDiscriminantAnalysis(), EuclideanScore(k=3, quantile=0.8)),
        make_pipeline(EuclideanScore(k=3, quantile=0.8)),
        make_pipeline("passthrough", StandardScaler(), None, EuclideanScore(k=3, quantile=0.8)),
        make_pipeline("passthrough", EuclideanScore(k=3, quantile=0.8)),
        make_pipeline(PCA(3), EuclideanScore(k=3, quantile=0.8)).set_output(transform="pandas"),
        make_pipeline(StandardScaler(), EuclideanScore(k=3, trim=0.1, quantile=0.8)),
    ],
    ids=lambda pipe: "+".join(
        step if step is None or isinstance(step, str) else type(step).__name__
        for _, step in pipe.steps
        if step is not None
    ),
)
def test_a_pipeline_is_bounded_on_transformed_calibration_rows(pipe, cached, tmp_path):
    expected = hand_made(pipe)
    if cached:
        pipe = clone(pipe).set_params(memory=str(tmp_path))
    model = SelectiveClassifier(bayes(), pipe, random_state=0)
    for _ in range(1 + cached):  # the second time from the cache
        model.fit(X, Y)
        assert model.threshold_ == expected[-1].offset_
        np.testing.assert_array_equal(model.score_samples(X), expected.score_samples(X))
        np.testing.assert_array_equal(model.select(X).selected, expected.predict(X) == 1)
        np.testing.assert_array_equal(
            model.confidence_[-1].calibration_scores_, expected[-1].calibration_scores_
        )


@pytest.mark.parametrize("cv", [None, 3])
def test_a_pipeline_in_a_pipeline_is_bounded_on_calibration_rows(cv):
    flat = make_pipeline(StandardScaler(), PCA(2), EuclideanScore(quantile=0.8))
    nested = make_pipeline(
        StandardScaler(), make_pipeline(PCA(2), make_pipeline(EuclideanScore(quantile=0.8)))
    )
    one, two = (
        SelectiveClassifier(bayes(), pipe, cv=cv, random_state=0).fit(X, Y)
        for pipe in (flat, nested)
    )
    assert one.threshold_ == two.threshold_
    assert one.coverage_ == two.coverage_
    np.testing.assert_array_equal(one.predict(X), two.predict(X))


class Halving(Pipeline):
    """Stands for a Pipeline of another library, which does more in `fit` than transform."""

    def fit(self, X, y=None, **params):
        return super().fit(X[::2], y[::2], **params)


def test_a_pipeline_of_another_class_is_fitted_by_its_own_fit():
    confidence = Halving([("scale", StandardScaler()), ("score", EuclideanScore())])
    model = SelectiveClassifier(bayes(), confidence, random_state=0).fit(X, Y)
    assert len(model.confidence_[-1].support_) == 60
    assert len(model.confidence_[-1].calibration_scores_) == 30


@pytest.mark.parametrize("pipe", [False, True])
@pytest.mark.parametrize("spared", [True, False])
def test_bound_comes_from_calibration_rows(pipe, spared):
    score = BoundedSpyScore()
    confidence = make_pipeline("passthrough", score) if pipe else score
    model = SelectiveClassifier(SpyClassifier(), confidence, random_state=0).fit(IDS, Y)
    last = model.confidence_[-1] if pipe else model.confidence_
    np.testing.assert_array_equal(last.calibrated_on_, np.sort(model.calibration_scores_))
    assert model.threshold_ == 42
    assert model.coverage_ == np.mean(model.calibration_scores_ >= 42)


def test_the_leave_one_out_pass_is_spared():
    class Expensive(EuclideanScore):
        def _score_fit_rows(self, Z):
            raise RuntimeError("leave-one-out")

    for confidence in (Expensive(), make_pipeline(StandardScaler(), Expensive())):
        SelectiveClassifier(bayes(), confidence).fit(X, Y)


# --- threshold --------------------------------------------------------------------------------


@pytest.mark.parametrize("cv", [None, 4])
@pytest.mark.parametrize("q", [0.5, 0.8, 0.9, 1.0])
def test_a_rule_and_the_confidences_own_quantile_agree(q, cv):
    def fit(confidence, threshold=None):
        model = SelectiveClassifier(bayes(), confidence, threshold, cv=cv, random_state=0)
        return model.fit(X, Y)

    own, ruled = fit(EuclideanScore(quantile=q)), fit(EuclideanScore(), QuantileThreshold(q))
    assert own.rule_ is None
    assert ruled.rule_.q == q
    assert own.threshold_ == ruled.threshold_ == quantile_bound(own.calibration_scores_, q)
    assert own.coverage_ == ruled.coverage_ >= q - 1e-12
    np.testing.assert_array_equal(own.predict(X), ruled.predict(X))
    # The bound is one of the scores: the row that has it is accepted.
    assert np.min(own.calibration_scores_[own.calibration_scores_ >= own.threshold_]) == (
        own.threshold_
    )


def test_all_rows_alike_are_accepted():  # SP-TH-01
    model = SelectiveClassifier(SpyClassifier(), EuclideanScore(), random_state=0)
    model.fit(np.zeros((150, 5)), Y)
    assert model.select(np.zeros((4, 5))).selected.all()


@pytest.mark.parametrize("q", [0.5, 0.8, 0.95])
def test_ties_are_accepted(q):  # SP-TH-03, FB-21
    knn = KNeighborsClassifier(5)  # six different confidences at most
    model = SelectiveClassifier(knn, threshold=QuantileThreshold(q), random_state=0).fit(X, Y)
    assert model.coverage_ >= q
    accepted = model.score_samples(X) >= model.threshold_
    np.testing.assert_array_equal(model.select(X).selected, accepted)
    assert (model.score_samples(X) == model.threshold_).any()


def test_a_rule_sees_the_errors_of_the_estimator():
    class Recorder(QuantileThreshold):
        def fit(self, confidence, error=None, **kwargs):
            self.error_ = np.array(error)
            return super().fit(confidence, error, **kwargs)

    model = SelectiveClassifier(SpyClassifier(), SpyScore(), Recorder(), random_state=0)
    model.fit(IDS, Y)
    np.testing.assert_array_equal(model.rule_.error_, model.calibration_scores_ % 10 == 0)


def test_threshold_follows_the_confidence():
    model = SelectiveClassifier(bayes(), EuclideanScore(), random_state=0).fit(X, Y)
    model.confidence_.set_threshold(0.5)
    assert model.threshold_ == quantile_bound(model.calibration_scores_, 0.5)
    np.testing.assert_array_equal(model.select(X).selected, model.confidence_.predict(X) == 1)


# --- response_method --------------------------------------------------------------------------


def test_softmax_response():
    model = SelectiveClassifier(bayes(), random_state=0).fit(X, Y)
    top = model.estimator_.predict_proba(X).max(axis=1)
    np.testing.assert_array_equal(model.score_samples(X), top)
    assert model.score_samples(X).dtype == np.float64
    assert model.confidence_ is None
    assert model.threshold_ == quantile_bound(model.calibration_scores_, 0.99)


@pytest.mark.parametrize(
    ("estimator", "confidence", "method", "said"),
    [
        (LinearSVC(), None, None, "predict_proba.*LinearSVC.*response_method"),
        (LinearSVC(), EuclideanScore(), "predict_proba", "response_method.*LinearSVC"),
        (bayes(), EuclideanScore(), "transform", "response_method.*GaussianNB"),
        (bayes(), None, "predict_proba", "response_method.*confidence is None"),
        (bayes(), EuclideanScore(), "predict", "'response_method' parameter"),
    ],
)
def test_a_response_that_is_not_there(estimator, confidence, method, said):
    model = SelectiveClassifier(estimator, confidence, response_method=method)
    with pytest.raises(ValueError, match=said):
        model.fit(X, Y)


@pytest.mark.parametrize("cv", [None, 3])
@pytest.mark.parametrize("method", ["predict_proba", "decision_function", "transform"])
def test_the_confidence_sees_the_response(method, cv):
    model = SelectiveClassifier(
        LinearDiscriminantAnalysis(),
        EuclideanScore(quantile=0.8),
        response_method=method,
        cv=cv,
        random_state=0,
    ).fit(X, Y)
    outputs = getattr(model.estimator_, method)(X)
    assert model.confidence_.n_features_in_ == outputs.shape[1]
    np.testing.assert_array_equal(model.score_samples(X), model.confidence_.score_samples(outputs))
    np.testing.assert_array_equal(model.select(X).selected, model.confidence_.predict(outputs) == 1)


@pytest.mark.parametrize("confidence", [SpyScore(), TopOutput()])
def test_a_binary_decision_becomes_two_columns(confidence):
    y = Y == 2
    model = SelectiveClassifier(
        LinearSVC(), confidence, response_method="decision_function", random_state=0
    ).fit(X, y)
    decision = model.decision_function(X)
    assert decision.ndim == 1
    expected = np.zeros(150) if isinstance(confidence, SpyScore) else np.maximum(decision, 0)
    np.testing.assert_allclose(model.score_samples(X), expected)


def test_other_confidences_are_fitted_on_training_outputs():
    model = SelectiveClassifier(
        FrozenEstimator(SpyTransformer().fit(IDS, Y)),
        BoundedSpyScore(),
        response_method="transform",
        random_state=0,
    ).fit(IDS, Y)
    assert len(model.confidence_.seen_) == 120
    assert not np.isin(model.confidence_.calibrated_on_, model.confidence_.seen_).any()


class SpyTransformer(TransformerMixin, SpyClassifier):
    def transform(self, X):
        return X[:, :2] + 1000


# --- confidences fitted on calibration outputs ------------------------------------------------


@pytest.mark.parametrize("names", [Y, NAMES, Y * 10 - 3, Y == 1], ids=["int", "str", "gap", "bool"])
@pytest.mark.parametrize(
    ("cv", "frozen"), [(None, False), (None, True), (StratifiedKFold(3), False)]
)
@pytest.mark.parametrize("piped", [False, True])
def test_fitted_on_calibration_outputs_alone(names, cv, frozen, piped):
    estimator = FrozenEstimator(bayes().fit(X, names)) if frozen else bayes()
    confidence = make_pipeline("passthrough", TopOutput()) if piped else TopOutput()
    model = SelectiveClassifier(
        estimator, confidence, response_method="predict_proba", cv=cv, random_state=0
    ).fit(X, names)
    score = model.confidence_[-1] if piped else model.confidence_
    if cv is not None:
        rows = np.arange(150)
        outputs = cross_val_predict(bayes(), X, names, cv=cv, method="predict_proba")
    else:
        rows = hold_out_rows(names) if not frozen else np.arange(150)
        outputs = model.estimator_.predict_proba(X[rows])
    np.testing.assert_array_equal(score.outputs_, outputs)
    np.testing.assert_array_equal(score.columns_, np.unique(names, return_inverse=True)[1][rows])
    np.testing.assert_array_equal(model.classes_[score.columns_], names[rows])
    np.testing.assert_array_equal(model.calibration_scores_, outputs.max(axis=1))
    assert model.threshold_ == quantile_bound(outputs.max(axis=1), 0.99)
    assert model.coverage_ == np.mean(model.calibration_scores_ >= model.threshold_)


def hold_out_rows(y):
    spy = SelectiveClassifier(SpyClassifier(), SpyScore(), random_state=0).fit(IDS, y)
    return spy.calibration_scores_.astype(int)


class Reordered(ClassifierMixin, BaseEstimator):
    """Has its columns in an order of its own."""

    def fit(self, X, y):
        self.model_ = bayes().fit(X, y)
        self.classes_ = self.model_.classes_[[2, 0, 1]]
        return self

    def predict(self, X):
        return self.model_.predict(X)

    def predict_proba(self, X):
        return self.model_.predict_proba(X)[:, [2, 0, 1]]


@pytest.mark.parametrize("cv", [None, 3])
def test_columns_follow_classes_in_any_order(cv):
    model = SelectiveClassifier(
        Reordered(), TopOutput(), response_method="predict_proba", cv=cv, random_state=0
    ).fit(X, NAMES)
    named = model.classes_[model.confidence_.columns_]
    guessed = model.classes_[model.confidence_.outputs_.argmax(axis=1)]
    assert np.mean(named == guessed) > 0.9


@pytest.mark.parametrize("names", [NAMES, NAMES == "virginica"], ids=["three", "two"])
@pytest.mark.parametrize("score", [EnergyScore, SoftmaxScore])
def test_a_logit_score_learns_its_temperature_from_calibration_rows(score, names):
    estimator = LinearDiscriminantAnalysis().fit(X[::2], names[::2])
    rows, y = X[1::2], names[1::2]
    model = SelectiveClassifier(
        FrozenEstimator(estimator),
        score(temperature="fit", quantile=0.8),
        response_method="decision_function",
    ).fit(rows, y)
    logits = estimator.decision_function(rows)
    logits = logits if logits.ndim == 2 else np.column_stack([np.zeros(len(y)), logits])
    by_hand = score(temperature="fit", quantile=0.8).fit(
        logits, np.searchsorted(estimator.classes_, y)
    )
    assert model.confidence_.temperature_ == by_hand.temperature_ != 1
    assert model.threshold_ == by_hand.offset_
    np.testing.assert_array_equal(model.score_samples(rows), by_hand.score_samples(logits))


def test_classes_unknown_to_the_estimator_have_no_column():
    known = FrozenEstimator(bayes().fit(X[Y < 2], Y[Y < 2]))
    model = SelectiveClassifier(known, TopOutput(), response_method="predict_proba")
    with pytest.raises(ValueError, match=r"classes \[2\], which the estimator does not know"):
        model.fit(X, Y)


@pytest.mark.filterwarnings("ignore:The least populated class")
def test_a_fold_that_lacks_a_class_has_no_column_for_it():
    y = np.where(np.arange(150) == 0, 9, Y)
    model = SelectiveClassifier(
        KNeighborsClassifier(), TopOutput(), response_method="predict_proba", cv=3
    )
    with pytest.raises(ValueError, match=r"cv=3 leaves the classes \[9\] without a training row"):
        model.fit(X, y)
    SelectiveClassifier(KNeighborsClassifier(), EuclideanScore(), cv=3).fit(X, y)


def test_calibration_scores_of_rows_themselves():
    logits = bayes().fit(X, Y).predict_log_proba(X)
    for cv in (None, 3):
        model = SelectiveClassifier(bayes(), TopOutput(), cv=cv, random_state=0)
        model.fit(logits, Y)
        rows = hold_out_rows(Y) if cv is None else np.arange(150)
        np.testing.assert_array_equal(model.confidence_.outputs_, logits[rows])
        np.testing.assert_array_equal(model.confidence_.columns_, Y[rows])


def test_a_frozen_logit_score_keeps_its_decision():
    score = TopOutput(quantile=0.7).fit(bayes().fit(X, Y).predict_proba(X), Y)
    bound = score.offset_
    model = SelectiveClassifier(
        bayes(), FrozenEstimator(score), response_method="predict_proba", random_state=0
    ).fit(X, Y)
    assert model.threshold_ == score.offset_ == bound


# --- cv ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [None, QuantileThreshold(0.6)])
@pytest.mark.parametrize("piped", [False, True])
def test_out_of_fold_scores_bound_parts_refitted_on_all_rows(piped, rule):
    folds = StratifiedKFold(4, shuffle=True, random_state=1)
    score = EuclideanScore(quantile=0.6)
    confidence = make_pipeline(StandardScaler(), score) if piped else score
    model = SelectiveClassifier(bayes(), confidence, rule, cv=folds).fit(X, Y)

    scores, errors = np.empty(150), np.empty(150)
    for train, rows in folds.split(X, Y):
        scores[rows] = clone(confidence).fit(X[train]).score_samples(X[rows])
        errors[rows] = bayes().fit(X[train], Y[train]).predict(X[rows]) != Y[rows]
    np.testing.assert_array_equal(model.calibration_scores_, scores)
    np.testing.assert_array_equal(model.calibration_errors_, errors)
    assert model.threshold_ == quantile_bound(scores, 0.6)
    assert model.coverage_ == np.mean(scores >= model.threshold_)

    np.testing.assert_array_equal(model.estimator_.theta_, bayes().fit(X, Y).theta_)
    everything = clone(confidence).fit(X)
    np.testing.assert_array_equal(model.score_samples(X), everything.score_samples(X))
    assert errors.sum() > 0


def test_out_of_fold_softmax_response():
    model = SelectiveClassifier(bayes(), cv=StratifiedKFold(5)).fit(X, Y)
    outputs = cross_val_predict(bayes(), X, Y, cv=StratifiedKFold(5), method="predict_proba")
    np.testing.assert_array_equal(model.calibration_scores_, outputs.max(axis=1))
    np.testing.assert_array_equal(model.estimator_.theta_, bayes().fit(X, Y).theta_)


def test_cv_ignores_calibration_size():
    one, two = (
        SelectiveClassifier(SpyClassifier(), SpyScore(), cv=3, calibration_size=size).fit(IDS, Y)
        for size in (0.1, 149)
    )
    np.testing.assert_array_equal(one.calibration_scores_, np.arange(150))
    np.testing.assert_array_equal(two.calibration_scores_, np.arange(150))
    assert len(one.estimator_.seen_) == len(one.confidence_.seen_) == 150


@pytest.mark.parametrize(
    "cv",
    [
        3,
        KFold(3, shuffle=True, random_state=0),
        list(StratifiedKFold(3).split(X, Y)),
        LeaveOneOut(),
    ],
    ids=lambda cv: type(cv).__name__,
)
def test_kinds_of_cv(cv):
    score = BoundedSpyScore()
    model = SelectiveClassifier(SpyClassifier(), score, cv=cv).fit(IDS, Y)
    np.testing.assert_array_equal(model.calibration_scores_, np.arange(150))
    np.testing.assert_array_equal(model.confidence_.calibrated_on_, np.arange(150))
    assert model.coverage_ == np.mean(np.arange(150) >= 42)


def test_cv_takes_an_iterator_of_splits():
    model = SelectiveClassifier(SpyClassifier(), SpyScore(), cv=StratifiedKFold(3).split(X, Y))
    np.testing.assert_array_equal(model.fit(IDS, Y).calibration_scores_, np.arange(150))


@pytest.mark.parametrize(
    "cv", [ShuffleSplit(3, random_state=0), [(np.arange(100), np.arange(100, 150))]]
)
def test_cv_has_to_partition_the_rows(cv):
    with pytest.raises(ValueError, match="tests some rows never or more than once"):
        SelectiveClassifier(bayes(), EuclideanScore(), cv=cv).fit(X, Y)


@pytest.mark.parametrize(
    ("estimator", "confidence"),
    [
        (FrozenEstimator(bayes().fit(X, Y)), None),
        (FrozenEstimator(bayes().fit(X, Y)), EuclideanScore()),
        (bayes(), FrozenEstimator(EuclideanScore().fit(X))),
    ],
)
def test_cv_refuses_frozen_parts(estimator, confidence):
    with pytest.raises(ValueError, match=r"cv=3 refits both parts.*FrozenEstimator"):
        SelectiveClassifier(estimator, confidence, cv=3).fit(X, Y)


def test_cv_gets_groups_by_routing():
    groups = np.arange(150) % 10
    with config_context(enable_metadata_routing=True):
        model = SelectiveClassifier(bayes(), EuclideanScore(), cv=GroupKFold(5))
        model.fit(X, Y, groups=groups)
    expected = np.empty(150)
    for train, rows in GroupKFold(5).split(X, Y, groups):
        expected[rows] = EuclideanScore().fit(X[train]).score_samples(X[rows])
    np.testing.assert_array_equal(model.calibration_scores_, expected)


# --- inputs of the estimator's kind -----------------------------------------------------------


class NanProba(GaussianNB):
    def predict_proba(self, X):
        P = super().predict_proba(X)
        P[np.arange(len(P)) % 7 == 0] = np.nan
        return P


@pytest.mark.parametrize(
    ("confidence", "method"), [(None, None), (EuclideanScore(), "predict_proba")]
)
def test_nan_probabilities_are_refused(confidence, method):  # FB-01
    model = SelectiveClassifier(NanProba(), confidence, response_method=method)
    with pytest.raises(ValueError, match=r"predict_proba of NanProba returned NaN in .* rows"):
        model.fit(X, Y)
    frozen = FrozenEstimator(bayes().fit(X, Y))
    model = SelectiveClassifier(frozen, confidence, response_method=method).fit(X, Y)
    model.estimator_ = NanProba().fit(X, Y)
    for call in (model.predict, model.select, model.score_samples):
        with pytest.raises(ValueError, match=r"predict_proba.*NaN"):
            call(X)


class Overconfident(GaussianNB):
    def predict_proba(self, X):
        return 2 * super().predict_proba(X)


@pytest.mark.parametrize(
    ("confidence", "method"), [(None, None), (EuclideanScore(), "predict_proba")]
)
def test_probabilities_out_of_range_are_warned_of(confidence, method):  # FB-31
    model = SelectiveClassifier(Overconfident(), confidence, response_method=method)
    with pytest.warns(UserWarning, match=r"predict_proba of Overconfident .* outside \[0, 1\]"):
        model.fit(X, Y)


def test_sparse_rows():
    counts = csr_array(np.round(4 * X))
    for cv in (None, 3):
        model, dense = (
            SelectiveClassifier(MultinomialNB(), cv=cv, random_state=0).fit(rows, Y)
            for rows in (counts, counts.toarray())
        )
        np.testing.assert_allclose(model.calibration_scores_, dense.calibration_scores_)
        np.testing.assert_array_equal(model.predict(counts), dense.predict(counts.toarray()))


def test_a_kernel_matrix_is_not_cut_in_silence():
    svc = SVC(kernel="precomputed")
    with pytest.raises(ValueError, match="square"):
        SelectiveClassifier(svc, EuclideanScore()).fit(X @ X.T, Y)


@pytest.mark.parametrize("q", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("pipe", [False, True])
def test_held_out_rows_that_equal_training_rows_are_fresh_all_the_same(q, pipe):
    # Queries will equal training rows as often; leave-one-out scores would not be exchangeable.
    rng = np.random.default_rng(0)
    templates = rng.normal(size=(300, 4))
    repeated = np.r_[templates[rng.integers(0, 300, 700)], rng.normal(size=(700, 4))]
    y = (repeated[:, 0] > 0).astype(int)
    score = EuclideanScore(k=5, stat="mean", quantile=q)
    confidence = make_pipeline(StandardScaler(), score) if pipe else score
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # there is nothing that a user could mend
        model = SelectiveClassifier(bayes(), confidence, random_state=0).fit(repeated, y)
    rule = QuantileThreshold(q).fit(model.calibration_scores_)
    assert model.threshold_ == rule.threshold_


def test_a_routed_calibration_set_is_seen_as_the_confidence_sees_rows():
    score = EuclideanScore(k=3, quantile=0.9)
    with config_context(enable_metadata_routing=True):
        model = SelectiveClassifier(
            bayes(), score.set_fit_request(X_cal=True), response_method="predict_proba"
        )
        model.fit(X, Y, X_cal=X[:60])
    assert -1.5 < model.threshold_ <= 0  # distances of probabilities


def test_the_last_fit_of_cv_is_spared_the_leave_one_out_pass(monkeypatch):
    def refuse(self, Z):
        raise AssertionError("a leave-one-out pass whose result is thrown away")

    monkeypatch.setattr(EuclideanScore, "_score_fit_rows", refuse)
    model = SelectiveClassifier(bayes(), EuclideanScore(quantile=0.8), cv=3).fit(X, Y)
    assert model.confidence_.calibration_scores_ is not None
    np.testing.assert_array_equal(model.confidence_.calibration_scores_, model.calibration_scores_)
