"""Scores of logits: their numbers, tasks, ensembles, input, state and place in a classifier."""

import copy
import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import entr, logsumexp, softmax
from scipy.stats import spearmanr
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils._param_validation import InvalidParameterError

from sklearn_seapig import (
    BaseLogitScore,
    EnergyScore,
    EntropyScore,
    MarginScore,
    MaxLogitScore,
    SelectiveClassifier,
    SoftmaxScore,
    TemperatureScaler,
)

SCORES = {
    "softmax": SoftmaxScore(),
    "entropy": EntropyScore(),
    "energy": EnergyScore(),
    "margin": MarginScore(),
    "margin_p": MarginScore("probability"),
    "max_logit": MaxLogitScore(),
}
NAMES = list(SCORES)
UNBOUNDED = ["energy", "margin", "max_logit"]


def make(name, **params):
    return clone(SCORES[name]).set_params(**params)


def normal(*shape, seed=0, scale=2.0):
    return np.random.default_rng(seed).normal(size=shape) * scale


def reference(name, z):
    """Confidence of logits on the last axis, by the definition, in float64."""
    z = np.asarray(z, dtype=np.float64)
    p = softmax(z, axis=-1)
    first, second = -1, -2
    z, p = np.sort(z, axis=-1), np.sort(p, axis=-1)
    return {
        "softmax": lambda: p[..., first] - 1,
        "entropy": lambda: -entr(p).sum(axis=-1),
        "energy": lambda: logsumexp(z, axis=-1),
        "margin": lambda: z[..., first] - z[..., second],
        "margin_p": lambda: p[..., first] - p[..., second],
        "max_logit": lambda: z[..., first],
    }[name]()


class TestNumbers:
    @pytest.mark.parametrize(
        ("score", "value"),
        [
            (SoftmaxScore(), -0.334759),
            (MaxLogitScore(), 2.0),
            (EntropyScore(), -0.832396),
            (MarginScore(kind="logit"), 1.0),
            (MarginScore(kind="probability"), 0.420512),
            (EnergyScore(), 2.407606),
            (EnergyScore(temperature=2), 3.360539),
        ],
        ids=str,
    )
    def test_formula_table(self, score, value):
        score.fit(normal(20, 3))
        assert score.score_samples([[2.0, 1.0, 0.0]])[0] == pytest.approx(value, abs=1e-6)

    @pytest.mark.parametrize("temperature", [1.0, 0.3, 7])
    @pytest.mark.parametrize("name", NAMES)
    def test_agreement_with_scipy(self, name, temperature):
        Z = normal(300, 7)
        got = make(name, temperature=temperature).fit(Z).score_samples(Z)
        expected = reference(name, Z / temperature)
        if name in ("energy", "max_logit"):
            expected = expected * temperature
        np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-13)
        assert got.dtype == np.float64
        assert got.shape == (300,)

    @pytest.mark.parametrize("name", NAMES)
    def test_more_rows_than_a_block_holds(self, name):
        Z = normal(1000, 700)
        score = make(name).fit(Z[:10])
        np.testing.assert_allclose(score.score_samples(Z), reference(name, Z), rtol=1e-9)
        np.testing.assert_array_equal(
            score.score_samples(Z[500:503]), score.score_samples(Z)[500:503]
        )

    @pytest.mark.parametrize("name", NAMES)
    def test_shift_and_order_of_classes(self, name):
        Z = normal(50, 5)
        score = make(name).fit(Z)
        got = score.score_samples(Z)
        np.testing.assert_allclose(score.score_samples(Z[:, ::-1]), got, rtol=1e-12)
        moved = 3.0 if name in ("energy", "max_logit") else 0.0
        np.testing.assert_allclose(score.score_samples(Z + 3), got + moved, rtol=1e-11)

    @pytest.mark.parametrize("name", UNBOUNDED)
    def test_huge_logits_keep_their_order(self, name):
        """SP-LG-10: softmax, entropy and margin of probabilities may underflow to ties."""
        Z = normal(500, 10)
        got = make(name).fit(Z).score_samples(Z * 1e4)
        assert np.isfinite(got).all()
        assert spearmanr(got, reference(name, Z * 1e4)).statistic > 0.999
        assert len(np.unique(got)) > 495

    @pytest.mark.parametrize("name", ["softmax", "entropy"])
    def test_confident_rows_stay_apart_where_max_p_is_one(self, name):
        Z = np.c_[np.linspace(40, 700, 100), np.zeros(100)]
        got = make(name).fit(Z).score_samples(Z)
        assert (np.diff(got) > 0).all()
        assert (got < 0).all()

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("scale", [1e4, 1e300])
    def test_no_logit_is_too_large(self, name, scale):
        Z = np.array([[1.0, 0.0, 0.5], [0.0, 0.0, 0.0], [-1.0, -0.5, -0.9]]) * scale
        assert np.isfinite(make(name).fit(Z).score_samples(Z)).all()

    def test_certain_row_of_many_classes(self):
        """SP-LG-17"""
        Z = np.zeros((2, 100_000), dtype=np.float32)
        Z[:, 3] = 1000
        assert abs(EntropyScore().fit(Z).score_samples(Z)).max() < 1e-9


class TestBinary:
    Z = normal(60, scale=4)

    @pytest.mark.parametrize("name", NAMES)
    def test_one_logit_in_any_shape_equals_two(self, name):
        """SP-LG-09, SP-LG-14"""
        z, task = self.Z, "binary"
        expected = reference(name, np.c_[0 * z, z])
        columns = [z, z[:, None], list(z), torch.tensor(z), pd.Series(z), np.c_[0 * z, z]]
        for X in columns:
            got = make(name, task=task).fit(X).score_samples(X)
            assert got.shape == (60,)
            np.testing.assert_allclose(got, expected, rtol=1e-9)

    @pytest.mark.parametrize("name", ["softmax", "entropy", "margin", "margin_p"])
    def test_both_classes_are_alike(self, name):
        """SP-LG-02"""
        z = np.array([0.1, 1.0, 5.0, 17.0, 40.0])
        score = make(name, task="binary").fit(z)
        np.testing.assert_allclose(score.score_samples(-z), score.score_samples(z), rtol=1e-12)

    def test_entropy_of_confident_positives(self):
        """SP-LG-01"""
        z = np.float32([0, 1, 5, 15, 17, 20, 40, 100, 1e4])
        score = EntropyScore("binary", quantile=0.9).fit(normal(500, scale=4))
        got = score.score_samples(z)
        assert np.isfinite(got).all()
        assert (np.diff(got)[:-1] > 0).all()
        assert score.predict([30.0, 0.0]).tolist() == [1, -1]

    @pytest.mark.parametrize("name", NAMES)
    def test_one_row(self, name):
        """SP-LG-31"""
        score = make(name, task="binary").fit([[1.0]], [1])
        assert score.predict([[1.0]]).tolist() == [1]


class TestMultilabel:
    Z = normal(40, 4, scale=5)

    @pytest.mark.parametrize("aggregate", ["min", "mean", "max", "sum", None])
    @pytest.mark.parametrize("name", NAMES)
    def test_labels_are_aggregated(self, name, aggregate):
        labels = reference(name, np.stack([0 * self.Z, self.Z], axis=-1))
        if name == "max_logit":
            labels = self.Z
        score = make(name, task="multilabel")
        if aggregate is None:
            defaults = {"energy": "sum", "max_logit": "max"}
            aggregate = defaults.get(name, "min")
        else:
            score.set_params(aggregate=aggregate)
        got = score.fit(self.Z).score_samples(self.Z)
        np.testing.assert_allclose(
            got, getattr(np, aggregate)(labels, axis=1), rtol=1e-9, atol=1e-15
        )

    def test_confident_labels(self):
        """SP-LG-02"""
        Z = np.array([[40.0, -40.0], [-40.0, 40.0], [0.0, 40.0]])
        got = EntropyScore("multilabel").fit(Z).score_samples(Z)
        assert got[0] == got[1] > got[2] == pytest.approx(-np.log(2))

    def test_energy_counts_positives_only(self):
        """SP-LG-16, as documented"""
        got = EnergyScore("multilabel").fit(self.Z).score_samples([[-20.0] * 4, [0.0] * 4])
        np.testing.assert_allclose(got, [4 * np.log1p(np.exp(-20)), 4 * np.log(2)])

    @pytest.mark.parametrize("name", [n for n in NAMES if n != "max_logit"])
    def test_a_single_label_is_binary(self, name):
        z = self.Z[:, :1]
        one = make(name, task="multilabel").fit(z).score_samples(z)
        np.testing.assert_array_equal(one, make(name, task="binary").fit(z).score_samples(z))


class TestMembers:
    @pytest.mark.parametrize(
        ("task", "shape"),
        [
            ("multiclass", (30, 4, 5)),
            ("binary", (30, 5)),
            ("binary", (30, 1, 5)),
            ("binary", (30, 2, 5)),
            ("multilabel", (30, 4, 5)),
        ],
    )
    @pytest.mark.parametrize("name", NAMES)
    def test_scores_are_the_mean_over_members(self, name, task, shape):
        Z = normal(*shape)
        params = {"task": task, "aggregate": "sum"}  # commutes with the mean
        single = make(name, **params).fit(Z[..., 0])
        expected = np.mean([single.score_samples(Z[..., i]) for i in range(5)], axis=0)
        got = make(name, members=True, **params).fit(Z).score_samples(Z)
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-14)

    def test_labels_are_aggregated_after_members(self):
        Z = np.array([[[5.0, 0.0], [0.0, 5.0]]])  # (row, label, member)
        got = SoftmaxScore("multilabel", members=True).fit(Z).score_samples(Z)
        p = 1 / (1 + np.exp(5))
        np.testing.assert_allclose(got, [-(0.5 + p) / 2])

    def test_predictive_entropy_and_mutual_information(self):
        Z = normal(50, 4, 6)
        p = softmax(Z, axis=1)
        total = entr(p.mean(axis=2)).sum(axis=1)
        expected = entr(p).sum(axis=1).mean(axis=1)
        score = {
            m: EntropyScore(members=m).fit(Z) for m in (True, "predictive", "mutual_information")
        }
        got = {m: -s.score_samples(Z) for m, s in score.items()}
        np.testing.assert_allclose(got[True], expected)
        np.testing.assert_allclose(got["predictive"], total)
        np.testing.assert_allclose(got["mutual_information"], total - expected)
        assert (got["mutual_information"] >= 0).all()

    @pytest.mark.parametrize("masked", [-np.inf, -1000.0])
    def test_certain_members_that_disagree(self, masked):
        """Row 21 of the formula table."""
        Z = np.array([[[0.0, masked], [masked, 0.0]]])
        values = {"predictive": np.log(2), "mutual_information": np.log(2), True: 0.0}
        for members, value in values.items():
            got = EntropyScore(members=members).fit(Z).score_samples(Z)
            np.testing.assert_allclose(got, [-value], atol=1e-12)

    @pytest.mark.parametrize("members", [True, "predictive", "mutual_information"])
    def test_missing_axis(self, members):
        """SP-LG-28"""
        with pytest.raises(ValueError, match=r"X has shape \(30, 4\).*n_members"):
            EntropyScore(members=members).fit(normal(30, 4))

    def test_number_of_members_may_change(self):
        Z = normal(30, 4, 5)
        score = SoftmaxScore(members=True).fit(Z)
        single = SoftmaxScore().fit(Z[..., 0]).score_samples(Z[..., 0])
        np.testing.assert_allclose(score.score_samples(Z[..., :1]), single)


class TestInput:
    @pytest.mark.parametrize("name", NAMES)
    def test_masked_classes(self, name):
        """SP-LG-12, SP-LG-13"""
        Z = normal(30, 4)
        Z[:, 2] = -np.inf
        score = make(name).fit(Z)
        np.testing.assert_allclose(
            score.score_samples(Z), make(name).fit(Z[:, [0, 1, 3]]).score_samples(Z[:, [0, 1, 3]])
        )
        alone = score.score_samples([[-np.inf, 1.0, -np.inf, -np.inf]])
        certain = {"softmax": 0, "entropy": 0, "energy": 1, "margin": 1e300, "margin_p": 1}
        assert alone[0] == certain.get(name, 1)

    @pytest.mark.parametrize("row", [[-np.inf] * 3, [np.inf, 0, 0], [np.nan, 0, 0]])
    @pytest.mark.parametrize("name", NAMES)
    def test_rows_without_a_distribution_are_refused_everywhere(self, name, row):
        """SP-LG-12, SP-TH-06"""
        Z = normal(20, 3)
        bad = np.r_[Z, [row]]
        score = make(name)
        with pytest.raises(ValueError, match=r"X contains NaN.*1 of 21 rows.*row 20"):
            score.fit(bad)
        with pytest.raises(NotFittedError):
            score.score_samples(Z)
        score.fit(Z)
        before = score.offset_
        for call in (score.score_samples, score.predict, lambda X: score.set_threshold(0.9, X=X)):
            with pytest.raises(ValueError, match="X contains NaN"):
                call(bad)
        assert score.offset_ == before

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    @pytest.mark.parametrize("name", NAMES)
    def test_half_precision_is_scored_in_double(self, name, dtype):
        """SP-LG-36"""
        Z = torch.from_numpy(normal(200, 5, scale=1)).to(dtype)
        score = make(name).fit(Z)
        got = score.score_samples(Z)
        np.testing.assert_allclose(got, reference(name, Z.double().numpy()), rtol=1e-9, atol=1e-15)
        assert np.isfinite(score.set_threshold(0.9, X=Z).offset_)

    @pytest.mark.parametrize("name", NAMES)
    def test_tensors_frames_lists_and_integers(self, name):
        """SP-IN-13, SP-IN-14, SP-IN-28, SP-LG-21"""
        Z = np.random.default_rng(0).integers(-5, 5, (30, 3))
        Z[0] = [0, 0, 9]
        expected = make(name).fit(Z.astype(float)).score_samples(Z.astype(float))
        tensor = torch.tensor(Z, dtype=torch.float64, requires_grad=True)
        frame = pd.DataFrame(Z, columns=list("abc"))
        for X in (Z, Z.tolist(), tensor, frame, Z.astype(">f8"), Z.astype(float)[::-1][::-1]):
            got = make(name).fit(X).score_samples(X)
            assert isinstance(got, np.ndarray)
            np.testing.assert_array_equal(got, expected)

    @pytest.mark.parametrize("name", NAMES)
    def test_what_is_given_stays_untouched_and_unreferenced(self, name):
        """SP-IN-36"""
        Z = normal(30, 3)
        given = Z.copy()
        score = make(name, temperature=2.0).fit(given)
        first = score.score_samples(given)
        np.testing.assert_array_equal(given, Z)
        offset = score.offset_
        given[:] = 0
        assert score.offset_ == offset
        np.testing.assert_array_equal(score.score_samples(Z), first)

    @pytest.mark.parametrize("name", NAMES)
    def test_wrong_shapes(self, name):
        """SP-LG-30, SP-IN-31, SP-IN-32"""
        with pytest.raises(ValueError, match=r"dim 4.*expected 2D"):
            make(name).fit(normal(2, 3, 4, 4))
        with pytest.raises(ValueError, match=r"dim 3.*expected 2D"):
            make(name).fit(normal(2, 3, 4))
        with pytest.raises(ValueError, match=r'n_features=1 .*task="binary"|n_features=1 .*binary'):
            make(name).fit(normal(5, 1))
        with pytest.raises(ValueError, match=r"3 columns.*binary.*multiclass"):
            make(name, task="binary").fit(normal(5, 3))
        with pytest.raises(ValueError, match=r"4 features.*3 features"):
            make(name).fit(normal(5, 3)).score_samples(normal(5, 4))

    @pytest.mark.parametrize(
        ("task", "p", "members"),
        [
            ("multiclass", softmax(normal(30, 4), axis=1), False),
            ("multiclass", softmax(normal(30, 900), axis=1).astype(np.float16), False),
            ("multiclass", np.eye(3)[[0, 1, 2, 0]], False),
            ("multiclass", softmax(normal(30, 4, 5), axis=1), True),
            ("binary", softmax(normal(30, 2), axis=1), False),
        ],
    )
    @pytest.mark.parametrize("name", NAMES)
    def test_probabilities_warn(self, name, task, p, members):
        """SP-LG-27"""
        with pytest.warns(UserWarning, match="X looks like probabilities"):
            make(name, task=task, members=members).fit(p)

    @pytest.mark.filterwarnings("error")
    @pytest.mark.parametrize("name", NAMES)
    def test_logits_and_multilabel_probabilities_do_not_warn(self, name):
        make(name).fit(normal(30, 4))
        make(name).fit(np.r_[softmax(normal(30, 4), axis=1), normal(1, 4, scale=9)])
        make(name, task="multilabel").fit(softmax(normal(30, 4), axis=1))
        make(name, task="binary").fit(np.ones(3))
        make(name, task="binary", members=True).fit(np.full((5, 2), 0.5))

    @pytest.mark.parametrize(
        ("params", "named"),
        [
            ({"task": "Multiclass"}, "task.*'multiclass'"),  # SP-LG-32
            ({"task": "regression"}, "task.*'multiclass'"),
            ({"temperature": 0}, "temperature"),  # SP-LG-23
            ({"temperature": -1}, "temperature"),
            ({"temperature": np.nan}, "temperature"),
            ({"temperature": np.inf}, "temperature"),
            ({"temperature": "a"}, "temperature.*'fit'"),
            ({"temperature": True}, "temperature"),
            ({"temperature": None}, "temperature"),
            ({"aggregate": "avg"}, "aggregate.*'mean'"),  # SP-IN-35
            ({"members": "yes"}, "members"),
            ({"quantile": 0}, "quantile"),
        ],
    )
    @pytest.mark.parametrize("name", NAMES)
    def test_parameters_out_of_range(self, name, params, named):
        with pytest.raises(InvalidParameterError, match=named):
            make(name, **params).fit(normal(20, 3))

    def test_kinds_of_margin(self):
        with pytest.raises(InvalidParameterError, match=r"kind.*'logit'.*|kind.*'probability'"):
            MarginScore("difference").fit(normal(20, 3))


class TestLabels:
    @pytest.mark.parametrize("name", NAMES)
    def test_they_are_ignored_unless_a_temperature_is_fitted(self, name):
        """SP-LG-25, SP-IN-39, SP-TH-19"""
        Z = normal(50, 3)
        plain = make(name).fit(Z)
        for y in (np.zeros(50), Z.argmax(1), Z[:, :1], ["a"] * 50):
            other = make(name).fit(Z, y)
            assert other.offset_ == plain.offset_
            assert other.temperature_ == 1.0
            assert not hasattr(other, "classes_")
            np.testing.assert_array_equal(other.score_samples(Z), plain.score_samples(Z))

    @pytest.mark.parametrize("name", NAMES)
    def test_the_fitted_temperature_is_that_of_the_scaler(self, name):
        Z = normal(300, 3)
        y = np.where(np.random.default_rng(1).uniform(size=300) < 0.7, Z.argmax(1), 0)
        score = make(name, temperature="fit").fit(Z, y)
        scaler = TemperatureScaler().fit(Z, y)
        assert score.temperature_ == scaler.temperature_ != 1
        assert score.get_params()["temperature"] == "fit"
        assert clone(score).temperature == "fit"
        assert score.classes_.tolist() == [0, 1, 2]
        expected = reference(name, Z / score.temperature_)
        if name in ("energy", "max_logit"):
            expected = expected * score.temperature_
        np.testing.assert_allclose(score.score_samples(Z), expected, rtol=1e-9)

    def test_members_of_an_ensemble_are_fitted_together(self):
        Z = normal(200, 3, 4)
        y = np.where(np.random.default_rng(1).uniform(size=200) < 0.6, Z[..., 0].argmax(1), 0)
        together = EnergyScore(temperature="fit", members=True).fit(Z, y)
        rows = np.moveaxis(Z, 2, 1).reshape(-1, 3)
        apart = EnergyScore(temperature="fit").fit(rows, np.repeat(y, 4))
        assert together.temperature_ == pytest.approx(apart.temperature_, rel=1e-9)

    def test_labels_are_needed_and_as_many_as_rows(self):
        Z = normal(20, 3)
        with pytest.raises(ValueError, match="requires y to be passed"):
            EnergyScore(temperature="fit").fit(Z)
        with pytest.raises(ValueError, match="y has 19 entries for 20 rows"):
            EnergyScore(temperature="fit").fit(Z, np.arange(19) % 3)

    def test_a_refit_forgets_the_temperature(self):
        """SP-LG-37, SP-TH-12"""
        Z = normal(300, 3)
        y = np.where(np.random.default_rng(1).uniform(size=300) < 0.7, Z.argmax(1), 0)
        score = EnergyScore(temperature="fit").fit(Z, y).set_params(temperature=1.0).fit(Z[:50])
        assert vars(score).keys() == vars(EnergyScore().fit(Z[:50])).keys()
        assert score.temperature_ == 1.0
        assert score.offset_ == EnergyScore().fit(Z[:50]).offset_

    def test_another_model_is_never_answered_from_a_cache(self):
        """SP-LG-22"""
        score = SoftmaxScore().fit(normal(50, 3)).fit(normal(80, 7))
        assert score.n_features_in_ == 7
        assert score.calibration_scores_.shape == (80,)

    def test_trimmed_rows_take_no_part(self):
        Z = normal(100, 3)
        score = SoftmaxScore(trim=0.1).fit(Z)
        scores = reference("softmax", Z)
        np.testing.assert_allclose(np.sort(score.calibration_scores_), np.sort(scores)[10:])


class TestThreshold:
    @pytest.mark.parametrize("q", [0.5, 0.8, 0.9, 0.95])
    def test_discrete_scores(self, q):
        """SP-TH-03"""
        Z = np.random.default_rng(0).integers(0, 3, (300, 3)).astype(float)
        score = MarginScore(quantile=q).fit(Z)
        assert len(np.unique(score.calibration_scores_)) <= 5
        assert (score.predict(Z) == 1).mean() >= q

    @pytest.mark.parametrize("name", NAMES)
    def test_equal_rows_are_accepted(self, name):
        """SP-TH-01, SP-PC-12"""
        Z = np.tile([[60.0, 0.0, 0.0]], (50, 1))
        score = make(name).fit(Z)
        assert (score.predict(Z) == 1).all()

    @pytest.mark.parametrize("name", NAMES)
    def test_the_bound_is_one_of_the_calibration_scores(self, name):
        Z, calibration = normal(50, 3), normal(40, 3, seed=1)
        score = make(name, quantile=0.8).fit(Z, X_cal=calibration)
        np.testing.assert_array_equal(score.calibration_scores_, score.score_samples(calibration))
        assert score.offset_ in score.calibration_scores_
        assert (score.predict(calibration) == 1).sum() == 33  # ceil(41 * 0.8)


class TestState:
    def fitted(self, name):
        Z = normal(100, 3)
        y = np.where(np.random.default_rng(1).uniform(size=100) < 0.7, Z.argmax(1), 0)
        return make(name, temperature="fit").fit(pd.DataFrame(Z, columns=list("abc")), y), Z

    @pytest.mark.filterwarnings("ignore:X does not have valid feature names:UserWarning")
    @pytest.mark.parametrize("name", NAMES)
    def test_arrays_and_plain_values_that_prediction_leaves_alone(self, name):
        """SP-PS-03, SP-CC-06, SP-LG-21"""
        score, Z = self.fitted(name)
        for value in vars(score).values():
            assert isinstance(value, (np.ndarray, float, int, str, bool, tuple, dict, type(None)))
        before = joblib.hash(score)
        keys = list(vars(score))
        score.predict(Z), score.select(Z), score.decision_function(Z)
        assert joblib.hash(score) == before
        assert list(vars(score)) == keys

    @pytest.mark.filterwarnings("ignore:X does not have valid feature names:UserWarning")
    @pytest.mark.parametrize("name", NAMES)
    def test_round_trips_are_identical(self, name, tmp_path):
        """SP-PS-04, SP-PS-06, SP-PS-08"""
        skops = pytest.importorskip("skops.io", reason="skops is an optional extra")
        score, Z = self.fitted(name)
        dumped = skops.dumps(score)
        unknown = skops.get_untrusted_types(data=dumped)
        assert unknown == [f"{type(score).__module__}.{type(score).__name__}"]
        joblib.dump(score, tmp_path / "score.joblib")
        for other in (
            pickle.loads(pickle.dumps(score)),
            joblib.load(tmp_path / "score.joblib", mmap_mode="r"),
            skops.loads(dumped, trusted=unknown),
            copy.deepcopy(score),
        ):
            assert other.temperature_ == score.temperature_
            assert other.offset_ == score.offset_
            np.testing.assert_array_equal(other.score_samples(Z), score.score_samples(Z))

    def test_pickles_hold_no_logits(self):
        """SP-PS-03"""
        Z = normal(100, 300)
        assert len(pickle.dumps(SoftmaxScore().fit(Z))) < 3000

    def test_threads(self):
        Z = normal(2000, 10)
        score = EntropyScore().fit(Z)
        expected = score.score_samples(Z)
        for got in joblib.Parallel(8, "threading")(
            joblib.delayed(score.score_samples)(Z) for _ in range(16)
        ):
            np.testing.assert_array_equal(got, expected)

    def test_grid_search_over_temperature(self):
        Z = normal(90, 3)
        search = GridSearchCV(
            EnergyScore(),
            {"temperature": np.array([0.5, 2.0]), "quantile": [0.9]},
            scoring=lambda score, X, y=None: -abs((score.predict(X) == 1).mean() - 0.9),
            cv=3,
        ).fit(Z)
        assert search.best_estimator_.offset_ < search.best_estimator_.score_samples(Z).max()


def test_a_subclass_needs_one_method():
    with pytest.raises(NotImplementedError, match=r"BaseLogitScore must define _confidence"):
        BaseLogitScore().fit(normal(5, 3))


class TestInSelectiveClassifier:
    CONFIDENCES = {
        "energy": EnergyScore(quantile=0.9),
        "fitted temperature": EnergyScore(temperature="fit", quantile=0.9),
        "softmax": SoftmaxScore(quantile=0.9),
        "pipeline": Pipeline(
            [("scaler", TemperatureScaler()), ("score", EnergyScore(quantile=0.9))]
        ),
        "short pipeline": make_pipeline(TemperatureScaler(), SoftmaxScore(quantile=0.9)),
    }

    @pytest.mark.parametrize("cv", [None, 3])
    @pytest.mark.parametrize("labels", [[0, 1, 2], [-5, 3, 70], ["no", "some", "yes"]], ids=str)
    @pytest.mark.parametrize("n_classes", [2, 3])
    @pytest.mark.parametrize("confidence", CONFIDENCES)
    def test_it_accepts_the_share_it_was_told(self, confidence, n_classes, labels, cv):
        X, y = make_classification(
            1200, 8, n_informative=6, n_redundant=0, n_classes=n_classes, random_state=0
        )
        y = np.array(labels)[y]
        model = SelectiveClassifier(
            LogisticRegression(),
            self.CONFIDENCES[confidence],
            response_method="decision_function",
            calibration_size=0.4,
            cv=cv,
            random_state=0,
        ).fit(X[:700], y[:700])
        selection = model.select(X[700:])
        assert selection.selected.mean() == pytest.approx(0.9, abs=0.06)
        right = model.estimator_.predict(X[700:]) == y[700:]
        if "softmax" in confidence or "short" in confidence:
            assert right[selection.selected].mean() > right.mean()

    def test_energy_sees_two_columns_of_a_binary_model(self):
        X, y = make_classification(300, 5, random_state=0)
        model = SelectiveClassifier(
            LogisticRegression(), EnergyScore(), response_method="decision_function"
        ).fit(X, y)
        d = model.estimator_.decision_function(X)
        np.testing.assert_allclose(model.score_samples(X), np.logaddexp(0, d), rtol=1e-9)

    def test_the_temperature_is_that_of_held_out_rows(self):
        """An overfitted model is right about all of its own rows and gets its temperature from
        others."""
        X, y = make_classification(400, 200, n_informative=3, flip_y=0.2, random_state=0)
        model = SelectiveClassifier(
            LogisticRegression(C=1e4, max_iter=2000),
            EnergyScore(temperature="fit"),
            response_method="decision_function",
            calibration_size=0.5,
            random_state=0,
        ).fit(X, y)
        assert model.confidence_.temperature_ > 3


@pytest.mark.parametrize("Score", [SoftmaxScore, EntropyScore, MarginScore, EnergyScore])
def test_a_row_of_very_many_classes_scores_alone_as_among_others(Score):
    # torch splits the sum of a single row of more than 32,768 numbers between its threads.
    X = np.random.default_rng(0).normal(size=(8, 100_000)).astype(np.float32)
    score = Score().fit(X)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        alone = np.concatenate([score.score_samples(row[None]) for row in X])
        np.testing.assert_array_equal(alone, score.score_samples(X))
    finally:
        torch.set_num_threads(before)
