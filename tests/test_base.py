"""BaseScore's contract, held by every score and by one written by a user."""

import copy
import io
import pickle
import sys
import threading
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

import sklearn_seapig
from sklearn_seapig import (
    BaseScore,
    CosineScore,
    EuclideanScore,
    MahalanobisScore,
    RandomScore,
)
from sklearn_seapig._validation import check_features
from sklearn_seapig.thresholds import quantile_bound

SCORES = [
    EuclideanScore(),
    EuclideanScore(k=3, stat="median", quantile=0.9, trim=0.1),
    CosineScore(),
    MahalanobisScore(),
    RandomScore(random_state=0),
]
NEIGHBORS = SCORES[:4]


class RadiusScore(BaseScore):
    """Minus the distance from the mean; what a user would write."""

    def _fit(self, Z, y):
        self.center_ = Z.mean(dim=0).numpy().copy()

    def _score(self, Z):
        return -(Z - torch.from_numpy(self.center_)).norm(dim=1)


every_score = pytest.mark.parametrize("score", [*SCORES, RadiusScore()], ids=repr)
neighbor_score = pytest.mark.parametrize("score", NEIGHBORS, ids=repr)


def rows(n=120, d=5, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)) + 2


X, Q = rows(), rows(50, seed=1)


def same(a, b, queries=Q):
    np.testing.assert_array_equal(a.score_samples(queries), b.score_samples(queries))
    np.testing.assert_array_equal(a.calibration_scores_, b.calibration_scores_)
    np.testing.assert_array_equal(a.predict(queries), b.predict(queries))
    assert a.offset_ == b.offset_
    assert a.quantile == b.quantile


# One sign, one decision


@every_score
def test_the_decisions_are_one(score):
    # SP-IN-14, -40, SP-TH-15, SP-TH-19
    fitted = clone(score).fit(X)
    scores = fitted.score_samples(Q)
    np.testing.assert_array_equal(fitted.decision_function(Q), scores - fitted.offset_)
    np.testing.assert_array_equal(fitted.predict(Q), np.where(scores >= fitted.offset_, 1, -1))
    selection = fitted.select(Q)
    np.testing.assert_array_equal(selection.score, scores)
    np.testing.assert_array_equal(selection.selected, fitted.predict(Q) == 1)
    assert scores.shape == (50,)
    assert scores.dtype == fitted.decision_function(Q).dtype == np.float64
    assert fitted.predict(Q).dtype == np.int64
    assert selection.selected.dtype == bool
    assert type(fitted.offset_) is float
    np.testing.assert_array_equal(clone(score).fit_predict(X), fitted.predict(X))


@every_score
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64, np.longdouble])
def test_scores_are_float64_for_every_input(score, dtype):
    fitted = clone(score).fit(X.astype(dtype))
    assert fitted.score_samples(Q.astype(dtype)).dtype == np.float64
    assert fitted.calibration_scores_.dtype == np.float64


@every_score
def test_rows_at_the_bound_are_accepted(score):
    # SP-PC-12
    C = rows(99, seed=5)
    fitted = clone(score).set_params(quantile=0.9).fit(X, X_cal=C)
    at = fitted.score_samples(C) == fitted.offset_
    assert at.sum() == 1
    assert fitted.predict(C[at]) == 1
    assert fitted.decision_function(C[at]) == 0
    assert (fitted.predict(C) == 1).sum() == 90


# quantile and set_threshold


@every_score
def test_quantile_takes_effect_without_a_new_fit(score):
    fitted = clone(score).fit(X)
    for q in (0.5, 0.56, 0.9, 1.0):
        expected = quantile_bound(fitted.calibration_scores_, q)
        assert fitted.set_params(quantile=q).offset_ == expected
        assert fitted.set_threshold(q) is fitted
        assert fitted.get_params()["quantile"] == q
        assert clone(fitted).quantile == q
        assert fitted.set_threshold().offset_ == expected
    assert clone(score).set_params(quantile=0.5).fit(X).offset_ == fitted.set_threshold(0.5).offset_


def test_rank_of_the_bound():
    fitted = EuclideanScore(k=1).fit(X, X_cal=rows(24, seed=3))
    expected = -np.sort(-fitted.calibration_scores_)
    assert fitted.set_threshold(0.56).offset_ == expected[13]
    assert fitted.set_threshold(0.99).offset_ == expected[23]
    assert fitted.set_threshold(1e-9).offset_ == expected[0]


@every_score
def test_new_calibration_rows_replace_the_old_ones_until_the_next_fit(score):
    # SP-TH-09, -11, -12
    C, fresh = rows(60, seed=4), clone(score).fit(Q)
    fitted = clone(score).fit(X, X_cal=C)
    np.testing.assert_array_equal(fitted.calibration_scores_, fitted.score_samples(C))
    fitted.set_threshold(X=Q)
    np.testing.assert_array_equal(fitted.calibration_scores_, fitted.score_samples(Q))
    same(fitted.fit(Q), fresh, X)


@every_score
def test_scores_calibrated_elsewhere(score):
    fitted = clone(score).fit(X)
    scores = -np.arange(1.0, 100.0)
    assert fitted.set_threshold(0.9, scores=scores).offset_ == -90
    assert fitted.set_threshold(0.9, scores=scores.tolist()).offset_ == -90
    assert fitted.set_threshold(0.9, scores=torch.tensor(scores, requires_grad=True)).offset_ == -90
    with pytest.raises(ValueError, match="Both X and scores"):
        fitted.set_threshold(0.9, X=Q, scores=scores)


@every_score
@pytest.mark.parametrize("q", [0, 1.5, -0.1, 90, "0.9", np.nan, True, np.inf])
def test_a_quantile_out_of_range_is_refused(score, q):
    # SP-TH-07
    fitted = clone(score).fit(X)
    before = fitted.offset_
    with pytest.raises(ValueError, match=r"'q' parameter .*\(0, 1\]"):
        fitted.set_threshold(q)
    assert fitted.offset_ == before
    with pytest.raises(ValueError, match=r"'quantile' parameter .*\(0, 1\]"):
        clone(score).set_params(quantile=q).fit(X)
    with pytest.raises(ValueError, match=r"'quantile' parameter .*\(0, 1\]"):
        fitted.set_params(quantile=q).predict(Q)


@every_score
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"X": np.empty((0, 5))}, r"X.*0 sample"),  # SP-IN-22
        ({"X": np.where(np.arange(50)[:, None] % 7, Q, np.nan)}, "X contains NaN in 8 of 50 rows"),
        ({"X": Q[:, :4]}, "4 features.*5"),  # SP-IN-32
        ({"scores": []}, "scores has 0 samples"),
        ({"scores": [0.1, np.nan]}, "scores contains NaN in 1 of 2"),
        ({"scores": np.ones((2, 2))}, r"scores should be a 1d array, got .*\(2, 2\)"),
    ],
)
def test_bad_calibration_rows_leave_the_bound_as_it_was(score, arguments, text):
    # SP-IN-05, -37, SP-TH-06
    fitted = clone(score).fit(X)
    before = copy.deepcopy(fitted)
    with pytest.raises(ValueError, match=text):
        fitted.set_threshold(0.5, **arguments)
    same(fitted, before)


def test_a_warning_that_is_an_error_leaves_the_bound_as_it_was():
    fitted = EuclideanScore(k=1).fit(X)
    before = copy.deepcopy(fitted)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="overlap"):
            fitted.set_threshold(0.5, X=X)
        with pytest.raises(UserWarning, match="duplicates"):
            fitted.set_threshold(0.5, scores=[0.0, 0.0, 0.0, -1.0])
    same(fitted, before)


# Input


@every_score
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("n", [1, 30])
def test_values_that_are_not_finite_are_refused_everywhere(score, bad, n):
    # SP-IN-01, -03, -06, PY-01
    kind = "NaN" if np.isnan(bad) else "infinity"
    text = rf"Input X contains {kind} in 1 of {n} rows \(the first is row {n - 1}\)"
    broken = X[:n].copy()
    broken[-1, 2] = bad
    fitted = clone(score).fit(X)
    for method in ("score_samples", "predict", "decision_function", "select"):
        with pytest.raises(ValueError, match=text):
            getattr(fitted, method)(broken)
        with pytest.raises(ValueError, match=text):
            getattr(fitted, method)(torch.from_numpy(broken))
    fresh = clone(score)
    if n > 1:
        with pytest.raises(ValueError, match=text):
            fresh.fit(broken)
        with pytest.raises(NotFittedError):
            fresh.score_samples(X)
    with pytest.raises(ValueError, match=text.replace("X", "X_cal")):
        fresh.fit(X, X_cal=broken)


def test_the_rows_of_arrays_of_more_axes_are_named_too():
    X = np.zeros((5, 2, 3))
    X[3, 1, 2] = np.nan
    with pytest.raises(ValueError, match=r"NaN in 1 of 5 rows \(the first is row 3\)"):
        check_features(RadiusScore(), X, reset=True, max_dim=3)


@pytest.mark.parametrize("score", SCORES, ids=repr)
def test_a_finite_array_whose_sum_overflows_is_fine(score):
    big = X.astype(np.float32) * np.float32(1e37)
    assert np.isfinite(clone(score).fit(big).score_samples(big)).all()


@every_score
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_tensors_are_as_good_as_arrays(score, dtype):
    # SP-IN-08, -10, -28, SK-12
    tensor = torch.tensor(X).to(dtype).requires_grad_()
    array = tensor.detach().double().numpy()
    fitted = clone(score).fit(tensor)
    found = fitted.score_samples(tensor)
    assert isinstance(found, np.ndarray)
    expected = clone(score).fit(array).score_samples(array)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-12)
    assert isinstance(fitted.predict(tensor), np.ndarray)


@every_score
def test_views_byte_orders_and_read_only_arrays(score):
    expected = clone(score).fit(X)
    readonly = X.copy()
    readonly.flags.writeable = False
    swapped = X.astype(X.dtype.newbyteorder())
    strided = np.repeat(X, 2, axis=1)[:, ::2]
    for same_rows in (readonly, swapped, strided, np.asfortranarray(X), X[::-1][::-1], X.tolist()):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            fitted = clone(score).fit(same_rows)
            np.testing.assert_array_equal(
                fitted.score_samples(same_rows), expected.score_samples(X)
            )


@every_score
@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.uint8, bool])
def test_integers_are_numbers(score, dtype):
    # SP-IN-13
    whole = np.random.default_rng(0).integers(0, 100, size=(60, 5)).astype(dtype)
    whole[:, 0] |= np.arange(60, dtype=np.uint8).astype(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        fitted = clone(score).fit(whole)
        expected = clone(score).fit(whole.astype(np.float64))
    same(fitted, expected, whole)


@every_score
@pytest.mark.parametrize(
    ("bad", "error", "text"),
    [
        (None, TypeError, "X must be a 2D array-like"),  # SP-IN-30
        ({"a": 1}, TypeError, "X must be a 2D array-like"),
        ("text", TypeError, "X must be a 2D array-like"),
        ({1, 2}, TypeError, "X must be a 2D array-like"),
        ((x for x in X), TypeError, "Input X"),
        (object(), (TypeError, ValueError), "Input X"),
        ([["a", "b"], ["c", "d"]], ValueError, "Input X"),
        ([[1.0, 2.0], [3.0]], ValueError, "X .*unequal length"),
        (scipy.sparse.csr_array(X), TypeError, r"X.*dense.*toarray"),
        (scipy.sparse.dok_array(X), TypeError, r"X.*dense.*toarray"),
        (torch.tensor(X).to_sparse(), TypeError, "X is a sparse tensor"),
        (torch.empty(9, 5, device="meta"), TypeError, "X is a tensor on the meta device"),
        (X[None], ValueError, r"X.*dim 3.*2D"),  # SP-IN-31
        (X[:, 0], ValueError, "X.*2D array"),
        (np.empty((0, 5)), ValueError, r"X.*0 sample"),  # PY-10
        (np.empty((5, 0)), ValueError, r"X.*0 feature"),
        (X + 0j, ValueError, "Complex"),
    ],
)
def test_what_is_no_table_of_numbers_is_refused(score, bad, error, text):
    with pytest.raises(error, match=text):
        clone(score).fit(bad)
    fitted = clone(score).fit(X)
    with pytest.raises(error, match=r"X|Complex"):
        fitted.score_samples(bad)
    with pytest.raises(error, match=r"X|Complex"):
        fitted.set_threshold(0.5, X=bad) if bad is not None else fitted.score_samples(bad)


@every_score
@pytest.mark.parametrize("d", [1, 4, 6])
def test_another_number_of_features_is_refused(score, d):
    # SP-IN-27
    fitted = clone(score).fit(X)
    with pytest.raises(ValueError, match=rf"{d} features.*expecting 5 features"):
        fitted.score_samples(np.ones((3, d)))
    with pytest.raises(ValueError, match=rf"Input X_cal.*{d} features"):
        clone(score).fit(X, X_cal=np.ones((30, d)))


@every_score
def test_labels_are_ignored(score):
    # SP-IN-39
    expected = clone(score).fit(X)
    y = np.arange(120) % 3
    for labels in (y, y[:, None], y.astype(str), y.tolist(), pd.Series(y)):
        same(clone(score).fit(X, labels), expected)


@pytest.mark.parametrize("trim", [None, 0.1])
def test_labels_of_another_length_are_refused(trim):
    # The second argument of seapig's fit is the calibration set, here it is y.
    with pytest.raises(ValueError, match=r"y has 7 entries for 120 rows.*X_cal"):
        EuclideanScore(trim=trim).fit(X, np.zeros(7))


def test_labels_follow_the_rows_that_are_kept():
    class Labelled(EuclideanScore):
        def _fit(self, Z, y):
            super()._fit(Z, y)
            self.labels_ = y

    fitted = Labelled(trim=0.1).fit(X, pd.Series(np.arange(120), index=np.arange(120)[::-1]))
    np.testing.assert_array_equal(fitted.labels_, np.flatnonzero(fitted.support_))


# State


@every_score
def test_unfitted(score):
    for method in ("score_samples", "predict", "decision_function", "select", "set_threshold"):
        with pytest.raises(NotFittedError):
            getattr(clone(score), method)(0.5 if method == "set_threshold" else X)
    assert not hasattr(clone(score), "offset_")


def plain(value):
    """Whether a value is an array, a plain value, or a container of these."""
    if isinstance(value, dict):
        return all(type(key) is str and plain(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return all(plain(item) for item in value)
    if type(value) is np.ndarray:
        return value.dtype.kind in "fiubU" or value.dtype == object  # names of features
    return value is None or type(value) in (bool, int, float, str)


@every_score
@pytest.mark.parametrize("as_tensor", [False, True])
def test_fitted_state_is_arrays_and_plain_values(score, as_tensor):
    fitted = clone(score).fit(torch.from_numpy(X) if as_tensor else pd.DataFrame(X).add_prefix("f"))
    for name, value in vars(fitted).items():
        assert plain(value), f"{name} is a {type(value)}"
    assert all(name.endswith("_") for name in set(vars(fitted)) - set(fitted.get_params()))


@neighbor_score
def test_the_reference_set_is_held_once(score):
    # SP-MM-03
    data = rows(2000, 40)
    fitted = clone(score).fit(data)
    assert len(pickle.dumps(fitted)) < 1.15 * data.nbytes
    small = clone(score).fit(data.astype(np.float32))
    if not isinstance(score, MahalanobisScore):
        assert len(pickle.dumps(small)) < 0.6 * data.nbytes


@every_score
@pytest.mark.parametrize("as_tensor", [False, True])
def test_no_aliasing_of_the_input(score, as_tensor):
    # SP-IN-36
    data, C = X.copy(), Q.copy()
    expected = clone(score).fit(X, X_cal=Q)
    wrap = torch.from_numpy if as_tensor else np.asarray
    fitted = clone(score).fit(wrap(data), X_cal=wrap(C))
    before = joblib.hash(fitted)
    data[:], C[:] = 0, 0
    assert joblib.hash(fitted) == before
    same(fitted, expected)
    scores = np.linspace(-1, 0, 30)
    fitted.set_threshold(0.5, scores=scores)
    offset = fitted.offset_
    scores[:] = 7
    assert fitted.set_params(quantile=0.5000001).set_params(quantile=0.5).offset_ == offset
    np.testing.assert_array_equal(fitted.calibration_scores_, np.linspace(-1, 0, 30))


@every_score
def test_the_input_is_not_written_to(score):
    data = X.copy()
    clone(score).fit(data).predict(data)
    np.testing.assert_array_equal(data, X)


@every_score
def test_queries_leave_the_state_as_it_is(score):
    # SP-CC-06
    fitted = clone(score).fit(X)
    before, names = joblib.hash(fitted), dict(vars(fitted))
    for method in ("score_samples", "predict", "decision_function", "select"):
        getattr(fitted, method)(Q)
    if hasattr(fitted, "kneighbors"):
        fitted.kneighbors(Q)
    assert joblib.hash(fitted) == before
    assert all(vars(fitted)[name] is value for name, value in names.items())


def _failing(error, after):
    class Failing(type(after)):
        armed = False

        def _fit(self, Z, y):
            super()._fit(Z, y)
            if type(self).armed:
                raise error

    return Failing


@every_score
@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), MemoryError()])
def test_a_fit_that_fails_leaves_the_score_as_it_was(score, error):
    kind = _failing(error, score)
    fitted = kind(**score.get_params()).fit(X)
    before, hashed = clone(score).fit(X), joblib.hash(vars(fitted))
    kind.armed = True
    with pytest.raises(type(error)):
        fitted.fit(pd.DataFrame(rows(30, 3)).add_prefix("f"))
    assert joblib.hash(vars(fitted)) == hashed
    same(fitted, before)
    fresh = kind(**score.get_params())
    with pytest.raises(type(error)):
        fresh.fit(X)
    assert set(vars(fresh)) == set(score.get_params())


@every_score
def test_bad_calibration_rows_at_fit_leave_the_score_as_it_was(score):
    fitted = clone(score).fit(X)
    with pytest.raises(ValueError, match="X_cal"):
        fitted.fit(rows(30, 3), X_cal=np.full((3, 3), np.nan))
    same(fitted, clone(score).fit(X))


@every_score
def test_a_refit_keeps_nothing_of_the_fit_before(score):
    # SP-NN-26, SP-TH-12, SP-PC-14
    frame = pd.DataFrame(rows(60, 3)).add_prefix("f")
    fitted = clone(score).fit(frame, X_cal=frame[:9] + 1).fit(X)
    fresh = clone(score).fit(X)
    assert set(vars(fitted)) == set(vars(fresh))
    assert joblib.hash(fitted) == joblib.hash(fresh)


# Copies, files, processes, threads


def _pickled(fitted, folder):
    return pickle.loads(pickle.dumps(fitted))


def _deepcopied(fitted, folder):
    return copy.deepcopy(fitted)


def _joblib(mode):
    def load(fitted, folder):
        joblib.dump(fitted, folder / "score.joblib")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return joblib.load(folder / "score.joblib", mmap_mode=mode)

    return load


@every_score
@pytest.mark.parametrize("trip", [_pickled, _deepcopied, _joblib(None), _joblib("r"), _joblib("c")])
def test_round_trips_are_identical(score, trip, tmp_path):
    # SP-PS-02, -04, -06, SK-10
    if isinstance(score, RadiusScore) and "load" in trip.__name__:
        pytest.skip("its own code makes a view that warns on read-only arrays")
    fitted = clone(score).fit(X, X_cal=Q).set_threshold(0.7)
    again = trip(fitted, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same(again, fitted)
        assert again.set_params(quantile=0.3).offset_ == fitted.set_params(quantile=0.3).offset_
    same(clone(again).fit(X, X_cal=Q), fitted)


def test_memory_maps_are_shared_and_can_be_calibrated(tmp_path):
    joblib.dump(EuclideanScore().fit(X), tmp_path / "score")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mapped = joblib.load(tmp_path / "score", mmap_mode="r")
        assert isinstance(mapped._index_["X"], np.memmap)
        mapped.set_threshold(0.5, X=Q).predict(Q)
        mapped.set_threshold(0.6)


def test_a_pickle_of_another_version_warns(monkeypatch):
    fitted = EuclideanScore().fit(X)
    monkeypatch.setattr("sklearn_seapig._state.__version__", "0.0.9")
    file = io.BytesIO(pickle.dumps(fitted))
    monkeypatch.undo()
    with pytest.warns(UserWarning, match=rf"0\.0\.9 .*{sklearn_seapig.__version__}"):
        again = pickle.load(file)
    same(again, fitted)
    assert "_sklearn_seapig_version" not in vars(again)


@neighbor_score
def test_processes(score):
    # SP-CC-03
    fitted = clone(score).fit(X)
    parts = joblib.Parallel(n_jobs=2)(
        joblib.delayed(fitted.score_samples)(Q[i : i + 10]) for i in range(0, 50, 10)
    )
    np.testing.assert_array_equal(np.concatenate(parts), fitted.score_samples(Q))


@every_score
def test_eight_threads(score):
    # SP-CC-01, SK-10, PY-17
    fitted = clone(score).fit(X)
    expected = fitted.select(Q)
    found = joblib.Parallel(n_jobs=8, backend="threading")(
        joblib.delayed(fitted.select)(Q) for _ in range(40)
    )
    for selection in found:
        np.testing.assert_array_equal(selection.score, expected.score)
        np.testing.assert_array_equal(selection.selected, expected.selected)


def test_each_result_belongs_to_one_state_while_another_thread_fits_and_calibrates():
    # SP-CC-05
    states = {"a": (X, 0.3), "b": (3 * X, 0.9)}
    allowed = {
        name: EuclideanScore().fit(data).set_threshold(q).decision_function(Q).tobytes()
        for name, (data, q) in states.items()
    }
    fitted = EuclideanScore(quantile=0.3).fit(X)
    stop = threading.Event()

    def refit():
        while not stop.is_set():
            for data, q in states.values():
                other = EuclideanScore(quantile=q).fit(data)
                fitted.__dict__ = other.__dict__

    worker = threading.Thread(target=refit)
    worker.start()
    try:
        for _ in range(100):
            assert fitted.decision_function(Q).tobytes() in allowed.values()
    finally:
        stop.set()
        worker.join()


def test_each_bound_belongs_to_one_calibration_while_another_thread_calibrates():
    fitted = EuclideanScore().fit(X)
    sets = [(0.5, -np.arange(1.0, 100.0)), (0.9, -1000 - np.arange(1.0, 100.0))]
    allowed = {quantile_bound(scores, q) for q, scores in sets}
    fitted.set_threshold(*sets[0][:1], scores=sets[0][1])
    stop = threading.Event()

    def calibrate():
        while not stop.is_set():
            for q, scores in sets:
                fitted.set_threshold(q, scores=scores)

    worker = threading.Thread(target=calibrate)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    worker.start()
    try:
        seen = {fitted.offset_ for _ in range(20_000)}
    finally:
        stop.set()
        worker.join()
        sys.setswitchinterval(interval)
    assert seen <= allowed


# Subclasses of users


def test_a_minimal_subclass_has_the_whole_contract():
    class Minimal(BaseScore):
        def _score(self, Z):
            return -Z.norm(dim=1)

    fitted = Minimal(quantile=0.9, trim=0.1).fit(X)
    assert fitted.support_.sum() == 108
    assert (fitted.predict(X[fitted.support_]) == 1).mean() >= 0.9
    pipe = make_pipeline(Minimal())
    assert cross_val_score(pipe, X, np.ones(120), scoring="accuracy", cv=2).shape == (2,)


def test_a_subclass_without_a_score_says_so():
    class Nothing(BaseScore):
        pass

    for score in (Nothing(), BaseScore()):
        with pytest.raises(
            NotImplementedError, match=rf"{type(score).__name__} must define _score"
        ):
            score.fit(X)


@pytest.mark.parametrize(
    "returned",
    [lambda Z: Z, lambda Z: Z[:, :1], lambda Z: Z.sum(), lambda Z: Z[1:, 0], lambda Z: 0.5],
)
def test_a_hook_that_returns_another_shape_is_refused(returned):
    class Wrong(BaseScore):
        def _score(self, Z):
            return returned(Z)

    with pytest.raises(ValueError, match="Wrong must return one confidence for each of 120 rows"):
        Wrong().fit(X)


def test_a_hook_may_return_any_float_vector():
    for convert in (list, np.asarray, torch.Tensor.half, lambda s: s.numpy().astype(np.float32)):

        class Any(BaseScore):
            def _score(self, Z, convert=convert):
                return convert(-Z.norm(dim=1))

        assert Any().fit(X).score_samples(Q).dtype == np.float64


def test_a_hook_that_returns_nan_is_refused():
    class Broken(BaseScore):
        def _score(self, Z):
            return Z[:, 0].log() * 0

    with pytest.raises(ValueError, match="Broken returned NaN for row"):
        Broken().fit(X - 5)


def test_hooks_run_in_full_precision_and_without_a_graph():
    # SP-LG-21
    class Product(BaseScore):
        def _score(self, Z):
            assert not torch.is_grad_enabled()
            return -(Z @ torch.ones(5, 1))[:, 0]

    data = X.astype(np.float32)
    expected = Product().fit(data).score_samples(data)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = Product().fit(data).score_samples(data)
    np.testing.assert_array_equal(found, expected)
