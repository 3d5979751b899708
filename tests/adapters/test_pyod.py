"""PyODScore over the detectors of PyOD: sign, batches, refits, clones and refusals."""

import importlib
import pickle
import subprocess
import sys
import warnings

import joblib
import numpy as np
import pytest
from pyod.models.knn import KNN
from pyod.models.lof import LOF
from sklearn.base import clone
from sklearn.utils._param_validation import InvalidParameterError

from sklearn_seapig import PyODScore

# PyOD and numba warn of things of their own.
pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning:pyod"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:pyod"),
]

DETECTORS = {
    "KNN": ("knn", {}),
    "LOF": ("lof", {"n_neighbors": 10}),
    "IForest": ("iforest", {"n_estimators": 20, "random_state": 0}),
    "HBOS": ("hbos", {}),
    "COPOD": ("copod", {}),
    "ECOD": ("ecod", {}),
    "PCA": ("pca", {}),
    "MCD": ("mcd", {"random_state": 0}),
    "OCSVM": ("ocsvm", {}),
    "GMM": ("gmm", {"n_components": 2, "random_state": 0}),
    "KDE": ("kde", {}),
    "ABOD": ("abod", {}),
    "CBLOF": ("cblof", {"n_clusters": 4, "alpha": 0.5, "random_state": 0}),
    "INNE": ("inne", {"n_estimators": 20, "random_state": 0}),
    "LODA": ("loda", {"random_state": 0}),
    "SOD": ("sod", {"n_neighbors": 8, "ref_set": 4}),
    "AutoEncoder": (
        "auto_encoder",
        {"epoch_num": 3, "batch_size": 16, "hidden_neuron_list": [4, 2], "verbose": 0,
         "random_state": 0},
    ),
    "COF": ("cof", {"n_neighbors": 8}),
    "LUNAR": ("lunar", {"n_neighbours": 3, "n_epochs": 2}),
}  # fmt: skip
BESIDE = {"SOD", "COF"}
ALONE = {"COPOD", "ECOD"}
detectors = pytest.mark.parametrize("name", DETECTORS)


def make(name):
    module, params = DETECTORS[name]
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")  # imports of numba and torch
        if "numba" in sys.modules:  # compiling takes half a minute, for a few rows
            patch.setattr(sys.modules["numba"].config, "DISABLE_JIT", 1)
        return getattr(importlib.import_module(f"pyod.models.{module}"), name)(**params)


def sample(n=30, d=3, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


def rows_for(name):
    return sample(16 if name in BESIDE else 30)  # these are slow


@pytest.fixture(scope="module")
def fitted():
    """Return a function that gives the fitted score of a detector, made once."""
    scores = {}

    def get(name):
        if name not in scores:
            scores[name] = PyODScore(make(name), quantile=0.9).fit(rows_for(name))
        return scores[name]

    return get


def answer(name, X):
    """Return the decisions on the fit rows, or the message of the refusal."""
    try:
        return PyODScore(make(name)).fit(X).predict(X), ""
    except ValueError as error:
        return None, str(error)


class TestEveryDetector:
    @detectors
    def test_rows_do_not_depend_on_their_batch(self, name, fitted):
        score, Q = fitted(name), sample(3, seed=1) * 2
        together = score.score_samples(Q)
        alone = np.concatenate([score.score_samples(row[None]) for row in Q])
        np.testing.assert_allclose(alone, together, rtol=1e-5)
        np.testing.assert_allclose(score.score_samples(Q[::-1])[::-1], together, rtol=1e-5)
        expected = {**dict.fromkeys(ALONE, "alone"), **dict.fromkeys(BESIDE, "beside the fit rows")}
        assert score.scoring_ == expected.get(name, "together")
        assert together.dtype == np.float64

    @detectors
    def test_far_rows_have_less_confidence(self, name, fitted):
        if name == "LUNAR":
            pytest.skip("two epochs teach this network nothing")
        score = fitted(name)
        near, far = (
            score.score_samples(sample(5, seed=1) * 0.3),
            score.score_samples(sample(5) + 30),
        )
        assert near.mean() > far.mean()

    @detectors
    def test_numbers_are_those_of_pyod(self, name, fitted):
        score, X, Q = fitted(name), rows_for(name), sample(2, seed=1)
        theirs = score.detector_
        np.testing.assert_array_equal(score.calibration_scores_, -theirs.decision_scores_)
        if name in BESIDE:
            expected = [theirs.decision_function(np.r_[X, row[None]])[-1] for row in Q]
        elif name in ALONE:
            expected = [theirs.decision_function(row[None])[0] for row in Q]
        else:
            expected = theirs.decision_function(Q)
        np.testing.assert_array_equal(score.score_samples(Q), -np.asarray(expected, np.float64))

    @detectors
    def test_a_detector_of_its_own_gives_the_same_numbers(self, name, fitted):
        """PY-09: with the data far from the origin, too"""
        if name in BESIDE | ALONE | {"LUNAR"}:
            pytest.skip("scored row by row, or without a seed")
        own = make(name).fit(sample())
        expected = -np.asarray(own.decision_function(sample(6, seed=1)), np.float64)
        np.testing.assert_allclose(
            fitted(name).score_samples(sample(6, seed=1)), expected, rtol=1e-6
        )

    @detectors
    def test_the_callers_detector_stays_unfitted(self, name, fitted):
        """PY-18"""
        score = fitted(name)
        assert getattr(score.detector, "decision_scores_", None) is None
        assert score.detector_ is not score.detector

    @detectors
    def test_rows_that_are_not_finite(self, name, fitted):
        """PY-01, PY-10"""
        bad = sample()
        bad[3, 1] = np.inf
        score = fitted(name)
        for call in (
            PyODScore(score.detector).fit,
            score.score_samples,
            score.predict,
            lambda X: clone(score).fit(sample()[:12], X_cal=X),
        ):
            if name in BESIDE | {"AutoEncoder", "LUNAR"} and call.__name__ == "<lambda>":
                continue  # a fit that would only take time
            with pytest.raises(ValueError, match=r"X(_cal)? contains infinity"):
                call(bad)
        for empty in (np.empty((0, 3)), np.empty((2, 0))):
            with pytest.raises(ValueError, match=r"0 sample|0 feature"):
                score.score_samples(empty)

    @detectors
    def test_constant_rows_are_answered_clearly(self, name):
        """PY-04, PY-12: accepted, or refused with the name of the detector"""
        if name in BESIDE | {"AutoEncoder", "LUNAR"}:
            pytest.skip("slow, and held by the other detectors")
        X = np.ones((30, 3))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # divisions by zero inside of PyOD
            accepted, error = answer(name, X)
        if error:
            assert f"the detector {name}" in error
            assert "constant or collinear features" in error
        else:
            assert (accepted == 1).all()

    @detectors
    def test_collinear_features_are_answered_clearly(self, name):
        if name in BESIDE | {"AutoEncoder", "LUNAR"}:
            pytest.skip("slow, and held by the other detectors")
        X = np.c_[sample(40, 2), np.zeros(40)]
        X[:, 2] = X[:, 0] + X[:, 1]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MCD warns of the determinant
            _, error = answer(name, X)
        assert not error or f"the detector {name}" in error

    @detectors
    def test_joblib_round_trip(self, name, fitted, tmp_path):
        """SP-PS-06"""
        score, Q = fitted(name), sample(1, seed=1)
        joblib.dump(score, tmp_path / "score.joblib")
        other = joblib.load(tmp_path / "score.joblib")
        np.testing.assert_array_equal(other.score_samples(Q), score.score_samples(Q))
        assert other.offset_ == score.offset_

    @detectors
    def test_prediction_leaves_the_state_alone(self, name, fitted):
        score = fitted(name)
        before = {k: v for k, v in vars(score).items() if k != "detector_"}
        arrays = joblib.hash({k: v for k, v in vars(score.detector_).items() if _is_plain(v)})
        score.predict(sample(2))
        assert {k: v for k, v in vars(score).items() if k != "detector_"}.keys() == before.keys()
        assert (
            joblib.hash({k: v for k, v in vars(score.detector_).items() if _is_plain(v)}) == arrays
        )


def _is_plain(value):
    return isinstance(value, (np.ndarray, int, float, str))


class TestPyODScore:
    def test_the_default_detector_is_knn(self):
        X, Q = sample(), sample(5, seed=1)
        np.testing.assert_array_equal(
            PyODScore().fit(X).score_samples(Q), PyODScore(make("KNN")).fit(X).score_samples(Q)
        )
        assert PyODScore().get_params()["detector"] is None

    def test_two_scores_share_a_detector(self):
        """PY-18"""
        detector = make("KNN")
        one = PyODScore(detector).fit(sample())
        before = one.score_samples(sample(seed=1))
        PyODScore(detector).fit(sample() * 100)
        np.testing.assert_array_equal(one.score_samples(sample(seed=1)), before)

    def test_a_refit_is_a_fresh_fit(self):
        """SP-TH-09, SP-TH-12"""
        A, B = sample(), sample(50, 5, seed=1) * 3
        again = PyODScore(make("KNN")).fit(A).fit(B)
        fresh = PyODScore(make("KNN")).fit(B)
        assert vars(again).keys() == vars(fresh).keys()
        np.testing.assert_array_equal(again.score_samples(B), fresh.score_samples(B))
        np.testing.assert_array_equal(again.calibration_scores_, fresh.calibration_scores_)
        sod = PyODScore(make("SOD")).fit(sample(20)).set_params(detector=make("KNN")).fit(B)
        assert sod._context_ is None

    def test_calibration_rows(self):
        """SP-TH-13"""
        X, C = sample(), sample(40, seed=1)
        score = PyODScore(make("PCA"), quantile=0.8).fit(X, X_cal=C)
        np.testing.assert_array_equal(score.calibration_scores_, score.score_samples(C))
        assert (score.predict(C) == 1).sum() == 33  # ceil(41 * 0.8)
        without = PyODScore(make("PCA"), quantile=0.8).fit(X)
        assert without.calibration_scores_.shape == (30,)
        assert without.set_threshold(X=C).offset_ == score.offset_

    def test_contamination_has_no_effect(self):
        X = sample()
        strict, loose = make("KNN"), make("KNN").set_params(contamination=0.4)
        assert PyODScore(strict).fit(X).offset_ == PyODScore(loose).fit(X).offset_

    def test_what_is_given_stays_untouched_and_unreferenced(self):
        """SP-IN-36"""
        X = sample()
        given = X.copy()
        score = PyODScore(make("KNN")).fit(given)
        first = score.score_samples(given)
        np.testing.assert_array_equal(given, X)
        given[:] = 0
        np.testing.assert_array_equal(score.score_samples(X), first)

    def test_trimmed_rows_are_not_learned_from(self):
        X = np.r_[sample(28), sample(2) + 50]
        score = PyODScore(make("KNN"), trim=0.1).fit(X)
        assert not score.support_[-2:].any()
        assert score.calibration_scores_.shape == (27,)

    def test_far_from_the_origin(self):
        """PY-09"""
        X, Q = sample(100) + 1e4, sample(20, seed=1) + 1e4
        distances = np.linalg.norm(Q[:, None] - X, axis=2)
        got = PyODScore(make("KNN")).fit(X).score_samples(Q)
        np.testing.assert_allclose(got, -np.sort(distances)[:, 4], rtol=1e-5)

    def test_more_neighbors_than_rows(self):
        """PY-02"""
        knn = make("KNN").set_params(n_neighbors=10)
        with pytest.raises(ValueError, match=r"the detector KNN cannot be fitted.*n_samples=5"):
            PyODScore(knn).fit(sample(5))

    @pytest.mark.parametrize("n", [0, 1])
    def test_too_few_rows(self, n):
        """PY-10"""
        with pytest.raises(ValueError, match=f"{n} sample"):
            PyODScore().fit(sample(n))

    @pytest.mark.parametrize("detector", ["knn", 3, type])
    def test_detectors_of_another_kind(self, detector):
        with pytest.raises(InvalidParameterError, match="detector"):
            PyODScore(detector).fit(sample())

    @pytest.mark.parametrize("contamination", [0, 0.6])
    def test_invalid_parameters_of_the_detector(self, contamination):
        """PY-13"""
        detector = make("KNN")
        detector.contamination = contamination
        with pytest.raises(ValueError, match="contamination"):
            PyODScore(detector).fit(sample())

    def test_scores_that_are_not_finite_are_refused_with_the_name(self):
        knn = type(make("KNN"))

        class Broken(knn):
            def decision_function(self, X):
                scores = super().decision_function(X)
                return np.where(X[:, 0] > 5, np.nan, scores)

        class BrokenInFit(knn):
            def fit(self, X, y=None):
                super().fit(X)
                self.decision_scores_ = self.decision_scores_ + np.inf
                return self

        score = PyODScore(Broken()).fit(sample())
        with pytest.raises(ValueError, match=r"the detector Broken returned.*for 1 of 2 rows"):
            score.score_samples([[9.0, 0, 0], [0, 0, 0]])
        with pytest.raises(ValueError, match=r"X_cal|Broken returned"):
            PyODScore(Broken()).fit(sample(), X_cal=[[9.0, 0, 0]])
        with pytest.raises(ValueError, match=r"BrokenInFit returned.*30 of 30 training rows"):
            PyODScore(BrokenInFit()).fit(sample())

    @pytest.mark.parametrize("scale", [1.0, 1e-9])
    def test_a_detector_that_looks_at_its_batch_is_found_out(self, scale):
        """At any scale of its scores."""

        class Ranking(type(make("KNN"))):
            def decision_function(self, X):
                scores = super().decision_function(X)
                return (scores.argsort().argsort() + scores) * scale

        score = PyODScore(Ranking()).fit(sample())
        assert score.scoring_ == "alone"
        Q = sample(5, seed=1)
        np.testing.assert_array_equal(score.score_samples(Q)[:2], score.score_samples(Q[:2]))

    def test_a_constructor_that_changes_parameters_is_copied(self):
        class Casting(type(make("KNN"))):
            def __init__(self, n_neighbors="5"):
                super().__init__(n_neighbors=int(n_neighbors))

        detector = Casting("3")
        score = PyODScore(detector).fit(sample())
        assert score.detector_.n_neighbors == 3
        assert not hasattr(detector, "decision_scores_")

    def test_threads(self):
        """PY-17"""
        score, Q = PyODScore(make("IForest")).fit(sample()), sample(100, seed=1)
        expected = score.score_samples(Q)
        for got in joblib.Parallel(8, "threading")(
            joblib.delayed(score.score_samples)(Q) for _ in range(16)
        ):
            np.testing.assert_array_equal(got, expected)

    def test_pickle(self):
        """SP-PS-04"""
        score = PyODScore().fit(sample())
        other = pickle.loads(pickle.dumps(score))
        np.testing.assert_array_equal(other.score_samples(sample()), score.score_samples(sample()))


def test_without_pyod_the_error_names_the_extra():
    code = (
        "import sys; sys.modules['pyod'] = None\n"
        "import sklearn_seapig\n"
        "from sklearn_seapig import *\n"
        "EnergyScore\n"
        "try:\n"
        "    sklearn_seapig.PyODScore\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "PyODScore needs pyod" in run.stdout, run.stderr
    assert "pip install 'sklearn-seapig[pyod]'" in run.stdout


def test_more_duplicates_than_neighbors_warn():
    # PY-11
    X = np.r_[np.zeros((40, 3)), np.random.default_rng(0).normal(size=(60, 3))]
    with pytest.warns(UserWarning, match="40 duplicates, more than n_neighbors=10"):
        PyODScore(LOF(n_neighbors=10)).fit(X)


def test_scores_that_change_from_call_to_call_are_refused():
    class Moody(KNN):
        def decision_function(self, X):
            return np.random.default_rng().normal(size=len(X))

    with pytest.raises(ValueError, match="the detector Moody scores the same rows differently"):
        PyODScore(Moody()).fit(np.random.default_rng(0).normal(size=(50, 3)))
