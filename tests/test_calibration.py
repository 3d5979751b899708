"""Temperature: closed forms, the optimum at any scale, its bounds, and what labels may be."""

import pickle
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax, softmax
from sklearn.base import clone
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.utils._param_validation import InvalidParameterError

from sklearn_seapig import EnergyScore, SoftmaxScore, TemperatureScaler
from sklearn_seapig.calibration import HIGHEST, LOWEST, check_targets

UNTRUSTED = ["sklearn_seapig.calibration.TemperatureScaler"]


def sample(temperature, n=2000, n_classes=5, seed=0):
    """Return logits and labels for which `temperature` is the truth."""
    random = np.random.default_rng(seed)
    Z = random.normal(size=(n, n_classes)) * 2
    y = np.array([random.choice(n_classes, p=p) for p in softmax(Z, axis=1)])
    return Z * temperature, y


def best_temperature(Z, y):
    """Return the temperature of least NLL by golden section over its logarithm, in float64."""
    rows = np.arange(len(y))
    found = minimize_scalar(
        lambda t: -log_softmax(Z / np.exp(t), axis=1)[rows, y].sum(),
        bounds=(np.log(LOWEST), np.log(HIGHEST)),
        method="bounded",
        options={"xatol": 1e-10},
    )
    return np.exp(found.x)


class TestClosedForms:
    """Row 10 of the formula table."""

    @pytest.mark.parametrize(
        ("n_classes", "a", "share", "expected"),
        [(3, 4, 0.75, 2.232443), (3, 1, 0.5, None), (10, 20, 0.2, None), (100, 4, 0.99, None)],
    )
    def test_multiclass(self, n_classes, a, share, expected):
        n = 400
        Z = np.zeros((n, n_classes))
        Z[:, 0] = a
        y = np.zeros(n, dtype=int)
        y[: round(n * (1 - share))] = 1
        got = TemperatureScaler().fit(Z, y).temperature_
        assert got == pytest.approx(a / np.log(share * (n_classes - 1) / (1 - share)), rel=1e-9)
        if expected:
            assert got == pytest.approx(expected, abs=1e-5)

    @pytest.mark.parametrize("shape", [(100,), (100, 1), (100, 2)])
    def test_binary(self, shape):
        z = np.tile([3.0, -3.0], 50)
        y = (z > 0).astype(int)
        y[:10] = 1 - y[:10]
        Z = np.c_[0 * z, z] if shape[1:] == (2,) else z.reshape(shape)
        got = TemperatureScaler("binary").fit(Z, y).temperature_
        assert got == pytest.approx(1.365359, abs=1e-5)
        assert got == pytest.approx(3 / np.log(9), rel=1e-9)

    def test_labels_of_multilabel_count_alike(self):
        z = np.tile([3.0, -3.0], 50)
        y = (z > 0).astype(int)
        y[:10] = 1 - y[:10]
        Z, Y = z.reshape(25, 4), y.reshape(25, 4)
        for given in (Y, pd.DataFrame(Y), Y.astype(bool), Y.tolist()):
            got = TemperatureScaler("multilabel").fit(Z, given).temperature_
            assert got == pytest.approx(3 / np.log(9), rel=1e-9)


class TestOptimum:
    @pytest.mark.parametrize("temperature", [0.01, 0.1, 0.5, 1, 3, 20, 200])
    def test_within_one_percent_at_any_scale(self, temperature):
        """SP-LG-24"""
        Z, y = sample(temperature)
        got = TemperatureScaler().fit(Z, y).temperature_
        assert got == pytest.approx(best_temperature(Z, y), rel=1e-5)
        assert got == pytest.approx(temperature, rel=0.1)

    def test_it_is_linear_in_the_scale_of_the_logits_and_blind_to_shifts(self):
        Z, y = sample(1.5)
        once = TemperatureScaler().fit(Z, y).temperature_
        moved = np.random.default_rng(0).normal(size=(len(Z), 1)) * 100
        assert TemperatureScaler().fit(Z * 8, y).temperature_ == pytest.approx(8 * once, rel=1e-9)
        assert TemperatureScaler().fit(Z + moved, y).temperature_ == pytest.approx(once, rel=1e-9)

    def test_a_masked_class_takes_no_part(self):
        Z, y = sample(2.0, n_classes=3)
        masked = np.c_[Z, np.full(len(Z), -np.inf)]
        expected = TemperatureScaler().fit(Z, y).temperature_
        assert TemperatureScaler().fit(masked, y).temperature_ == pytest.approx(expected, rel=1e-12)
        with pytest.raises(ValueError, match="class whose logit is -inf"):
            TemperatureScaler().fit(masked, np.where(np.arange(len(y)) == 5, 3, y))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
    def test_precision_of_the_logits(self, dtype):
        Z, y = sample(2.0)
        rounded = torch.from_numpy(Z).to(dtype)
        got = TemperatureScaler().fit(rounded, y).temperature_
        assert got == pytest.approx(best_temperature(rounded.double().numpy(), y), rel=1e-5)

    def test_more_rows_than_a_block_holds(self):
        Z, y = sample(2.0, n=1000, n_classes=300)
        assert TemperatureScaler().fit(Z, y).temperature_ == pytest.approx(
            best_temperature(Z, y), rel=1e-5
        )


class TestBounds:
    @pytest.mark.parametrize(
        ("Z", "y", "bound"),
        [
            ([[4.0, 0, 0]] * 9, [0] * 9, LOWEST),  # all right
            ([[4e4, 0, 0]] * 9, [0] * 9, LOWEST),  # so right that the slope underflows
            ([[4.0, 0, 0]] * 9, [1, 2, 1] * 3, HIGHEST),  # all wrong
            ([[4.0, 0, 0]] * 9, [0, 1, 2] * 3, HIGHEST),  # no better than guessing: P = 1 / K
            ([[1.0, 1, 1]] * 9, [0, 1, 2] * 3, HIGHEST),  # nothing to see
        ],
    )
    def test_without_an_optimum_the_end_is_taken_and_said(self, Z, y, bound):
        with pytest.warns(UserWarning, match=f"ends at {bound}, the end of its range"):
            scaler = TemperatureScaler().fit(Z, y)
        assert scaler.temperature_ == bound

    def test_an_optimum_beyond_the_range_is_not_put_down_to_right_rows(self):
        Z, y = sample(1.0)
        with pytest.warns(UserWarning, match="X is tiny"):
            assert TemperatureScaler().fit(Z * 1e-4, y).temperature_ == LOWEST
        with pytest.warns(UserWarning, match="or huge"):
            assert TemperatureScaler().fit(Z * 1e5, y).temperature_ == HIGHEST

    def test_one_row(self):
        """SP-LG-31"""
        with pytest.warns(UserWarning, match="end of its range"):
            score = EnergyScore("binary", temperature="fit").fit([[1.0]], [1])
        assert np.isfinite(score.score_samples([[1.0]]))


class TestLabels:
    Z, y = sample(2.0, n=300, n_classes=3)
    z, b = Z[:, 1] - Z[:, 0], (expit(Z[:, 1]) > 0.5).astype(int)

    @pytest.mark.parametrize(
        "labels",
        [
            np.array([-1, 1]),  # SP-LG-07
            np.array([1, 2]),  # SP-LG-07
            np.array([0.0, 1.0]),
            np.array([False, True]),
            np.array(["no", "yes"]),
            np.array([0, 1], dtype=object),
            np.array(["no", "yes"], dtype=object),
            np.array([0, 1], dtype=np.uint8),
        ],
        ids=repr,
    )
    def test_binary_labels_of_any_kind(self, labels):
        expected = TemperatureScaler("binary").fit(self.z, self.b)
        got = TemperatureScaler("binary").fit(self.z, labels[self.b])
        assert got.temperature_ == expected.temperature_
        assert got.classes_.tolist() == labels.tolist()

    def test_containers(self):
        expected = TemperatureScaler().fit(self.Z, self.y).temperature_
        for y in (self.y.tolist(), torch.tensor(self.y), pd.Series(self.y, dtype="category")):
            assert TemperatureScaler().fit(self.Z, y).temperature_ == expected
        names = pd.Series(np.array(["x", "y", "z"])[self.y], dtype="category")
        assert TemperatureScaler().fit(self.Z, names).temperature_ == expected

    def test_column_indices_need_not_show_every_class(self):
        keep = self.y != 0
        scaler = TemperatureScaler().fit(self.Z[keep], self.y[keep])
        expected = best_temperature(self.Z[keep], self.y[keep])
        assert scaler.temperature_ == pytest.approx(expected, rel=1e-5)
        assert scaler.classes_.tolist() == [0, 1, 2]

    def test_classes_stand_for_the_columns_in_sorted_order(self):
        target, classes = check_targets(["b", "c", "a", "b"], 3, "multiclass")
        assert target.tolist() == [1, 2, 0, 1]
        assert classes.tolist() == ["a", "b", "c"]

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda y: np.where(np.arange(300) == 0, 5, y), "y has 4 classes.*columns for 3"),
            (lambda y: np.where(np.arange(300) == 0, -1, y), "y has 4 classes.*columns for 3"),
            (lambda y: np.where(np.arange(300) == 0, -100, y), "y holds -100"),  # SP-LG-06
            (lambda y: np.where(y == 2, -100, y), "y holds -100"),
            (lambda y: np.full(300, -100), "y holds -100"),
            (lambda y: y + 0.7, "continuous"),  # SP-LG-07
            (lambda y: np.where(y == 1, np.nan, y), "NaN"),
            (lambda y: np.eye(3)[y], "y should be a 1d array"),  # SP-LG-34
            (lambda y: np.array(["a", "b"])[y % 2], "y has 2 classes"),
            (lambda y: y[:-1], "300 rows and y has 299"),
            (lambda y: None, "requires y to be passed"),
        ],
    )
    @pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning")
    def test_labels_that_fit_no_column(self, change, message):
        """SP-LG-05"""
        scaler = TemperatureScaler()
        with pytest.raises(ValueError, match=message):
            scaler.fit(self.Z, change(self.y))
        with pytest.raises(NotFittedError):
            scaler.transform(self.Z)

    def test_a_column_of_labels_is_flattened(self):
        """SP-LG-34"""
        with pytest.warns(DataConversionWarning):
            scaler = TemperatureScaler().fit(self.Z, self.y[:, None])
        assert scaler.temperature_ == TemperatureScaler().fit(self.Z, self.y).temperature_

    @pytest.mark.parametrize("Y", [np.zeros(300), np.zeros((300, 2)), np.full((300, 3), 2)])
    def test_multilabel_wants_zeros_and_ones(self, Y):
        with pytest.raises(ValueError, match="y must hold 0 or 1 for each of the 3 labels"):
            TemperatureScaler("multilabel").fit(self.Z, Y)


class TestTemperatureScaler:
    def test_transform_divides(self):
        Z, y = sample(2.0)
        given = Z.copy()
        scaler = TemperatureScaler().fit(given, y)
        np.testing.assert_array_equal(scaler.transform(given), Z / scaler.temperature_)
        np.testing.assert_array_equal(given, Z)
        single = scaler.transform(torch.tensor(Z, dtype=torch.float32))
        assert isinstance(single, np.ndarray)
        assert single.dtype == np.float32

    def test_nothing_is_shared_with_what_was_given(self):
        """SP-IN-36"""
        Z, y = sample(2.0)
        scaler = TemperatureScaler().fit(Z, y)
        before = joblib.hash(scaler)
        Z[:] = 0
        y[:] = 0
        assert joblib.hash(scaler) == before
        scaler.transform(Z)
        assert joblib.hash(scaler) == before

    def test_in_a_pipeline_it_equals_the_score_that_fits_its_own(self):
        Z, y = sample(3.0)
        pipeline = make_pipeline(TemperatureScaler(), SoftmaxScore()).fit(Z, y)
        score = SoftmaxScore(temperature="fit").fit(Z, y)
        np.testing.assert_allclose(pipeline.score_samples(Z), score.score_samples(Z), rtol=1e-9)
        np.testing.assert_array_equal(pipeline.predict(Z), score.predict(Z))

    def test_names_of_columns(self):
        Z, y = sample(2.0, n_classes=3)
        frame = pd.DataFrame(Z, columns=["a", "b", "c"])
        scaler = TemperatureScaler().set_output(transform="pandas").fit(frame, y)
        assert scaler.get_feature_names_out().tolist() == ["a", "b", "c"]
        assert list(scaler.transform(frame).columns) == ["a", "b", "c"]
        with pytest.raises(ValueError, match="feature names"):
            scaler.transform(frame[["c", "b", "a"]])

    def test_a_failed_refit_leaves_the_old_state(self):
        Z, y = sample(2.0)
        scaler = TemperatureScaler().fit(Z, y)
        before = scaler.temperature_
        with pytest.raises(ValueError, match="columns"):
            scaler.fit(Z[:, :3], y)
        assert scaler.temperature_ == before
        assert scaler.transform(Z).shape == Z.shape

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_logits_that_are_not_finite(self, bad):
        Z, y = sample(2.0)
        scaler = TemperatureScaler().fit(Z, y)
        Z[3, 1] = bad
        for call in (lambda: TemperatureScaler().fit(Z, y), lambda: scaler.transform(Z)):
            with pytest.raises(ValueError, match=r"X contains NaN, \+infinity.*row 3"):
                call()

    def test_parameters(self):
        Z, y = sample(2.0)
        with pytest.raises(InvalidParameterError, match=r"task.*'multilabel'"):
            TemperatureScaler("multi").fit(Z, y)
        with pytest.raises(ValueError, match="device='gpu0' is not available"):
            TemperatureScaler(device="gpu0").fit(Z, y)
        assert clone(TemperatureScaler("binary")).get_params() == {
            "task": "binary",
            "device": "cpu",
        }

    def test_round_trips(self):
        """SP-PS-03, SP-PS-04, SP-PS-08"""
        skops = pytest.importorskip("skops.io", reason="skops is an optional extra")
        Z, y = sample(2.0)
        scaler = TemperatureScaler().fit(Z, y)
        dumped = skops.dumps(scaler)
        assert skops.get_untrusted_types(data=dumped) == UNTRUSTED
        for other in (
            pickle.loads(pickle.dumps(scaler)),
            skops.loads(dumped, trusted=UNTRUSTED),
        ):
            np.testing.assert_array_equal(other.transform(Z), scaler.transform(Z))

    @pytest.mark.parametrize("fitter", [TemperatureScaler(), EnergyScore(temperature="fit")])
    def test_warnings_point_at_the_caller(self, fitter):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fitter.fit([[4.0, 0.0]] * 5, [0] * 5)
        assert [w.filename for w in caught] == [__file__]
