"""RiskCoverageDisplay draws the exact curve, its references and the chosen operating point."""

import subprocess
import sys

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.linear_model import BayesianRidge, LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_seapig import (
    EuclideanScore,
    GroupThreshold,
    QuantileThreshold,
    SelectiveClassifier,
    SelectiveRegressor,
)
from sklearn_seapig.metrics import (
    RiskCoverageDisplay,
    augrc_score,
    aurc_score,
    risk_coverage_curve,
)


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def sample():
    rng = np.random.default_rng(0)
    confidence = rng.random(500)
    return (rng.random(500) > confidence).astype(float), confidence


@pytest.fixture(scope="module")
def models():
    X, y = load_breast_cancer(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.5, random_state=0)

    def fit(confidence, threshold=None):
        classifier = LogisticRegression(C=0.001)
        selective = SelectiveClassifier(classifier, confidence, threshold, random_state=0)
        return make_pipeline(StandardScaler(), selective).fit(X, y)

    return [fit(None, QuantileThreshold(0.8)), fit(EuclideanScore(quantile=0.9))], X_test, y_test


def labels(display):
    return [text.get_text() for text in display.ax_.get_legend().get_texts()]


def test_line_passes_through_the_ends_of_all_blocks(sample):
    loss, confidence = sample
    confidence = confidence.round(1)
    display = RiskCoverageDisplay.from_predictions(loss, confidence)
    curve = risk_coverage_curve(loss, confidence)
    x, y = display.lines_["confidence"].get_data()
    at = np.searchsorted(x, curve.coverage)
    np.testing.assert_allclose(x[at], curve.coverage)
    np.testing.assert_allclose(y[at], curve.selective_risk)


def test_line_inside_a_tied_block_is_the_mean_over_orders():
    # one row without error, then four that tie and hold two errors
    display = RiskCoverageDisplay.from_predictions([0, 1, 0, 1, 0], [2, 1, 1, 1, 1])
    x, y = display.lines_["confidence"].get_data()
    assert np.interp(0.6, x, y) == pytest.approx((2 * 0.5) / 3)
    assert np.interp(0.8, x, y) == pytest.approx((3 * 0.5) / 4)


def test_one_block_is_a_flat_line():
    display = RiskCoverageDisplay.from_predictions([0, 1, 0, 1], [1, 1, 1, 1])
    x, y = display.lines_["confidence"].get_data()
    assert (x[0], x[-1]) == pytest.approx((0, 1), abs=0.01)
    np.testing.assert_allclose(y, 0.5)


def test_many_rows_are_thinned_on_the_line_and_kept_in_the_attribute():
    rng = np.random.default_rng(0)
    loss, confidence = rng.integers(0, 2, 50_000), rng.random(50_000)
    display = RiskCoverageDisplay.from_predictions(loss, confidence)
    assert len(display.curves["confidence"].coverage) == 50_000
    x, y = display.lines_["confidence"].get_data()
    assert len(x) <= 2001
    assert x[0] == 1 / 50_000
    assert y[-1] == pytest.approx(loss.mean())


@pytest.mark.parametrize(("generalized", "score"), [(False, aurc_score), (True, augrc_score)])
def test_legend_holds_the_exact_area(sample, generalized, score):
    loss, confidence = sample
    display = RiskCoverageDisplay.from_predictions(
        loss, {"good": confidence, "bad": -confidence}, generalized=generalized
    )
    word = "AUGRC" if generalized else "AURC"
    good, bad, random, oracle = labels(display)
    assert good == f"good ({word} = {score(loss, confidence):#.3g})"
    assert bad == f"bad ({word} = {score(loss, -confidence):#.3g})"
    assert (random, oracle) == ("random", "oracle")
    assert ("generalized" in display.ax_.get_ylabel()) == generalized


def test_several_curves_differ_in_line_style_too(sample):
    loss, confidence = sample
    scores = {f"score {i}": confidence**i for i in range(1, 12)}
    lines = RiskCoverageDisplay.from_predictions(loss, scores).lines_.values()
    looks = {(line.get_color(), str(line._dash_pattern)) for line in lines}
    assert len(looks) == 11


def test_references_bound_every_curve_and_can_be_left_out(sample):
    loss, confidence = sample
    display = RiskCoverageDisplay.from_predictions(loss, confidence)
    (oracle,), (random,) = display.oracle_lines_, display.random_lines_
    np.testing.assert_allclose(random.get_ydata(), loss.mean())
    curve = display.curves["confidence"]
    assert (curve.selective_risk >= np.interp(curve.coverage, *oracle.get_data()) - 1e-12).all()
    bare = display.plot(oracle=False, random=False)
    assert bare.oracle_lines_ == bare.random_lines_ == []
    assert len(labels(bare)) == 1


def test_generalized_random_line_rises_from_the_origin(sample):
    display = RiskCoverageDisplay.from_predictions(*sample, generalized=True)
    np.testing.assert_allclose(display.random_lines_[0].get_ydata(), [0, sample[0].mean()])


def test_one_reference_for_real_losses_summed_in_any_order():
    rng = np.random.default_rng(0)
    scores = {f"score {i}": rng.random(1000) for i in range(5)}
    display = RiskCoverageDisplay.from_predictions(rng.random(1000), scores)
    assert len(display.oracle_lines_) == len(display.random_lines_) == 1


def test_losses_of_several_models_have_one_reference_each(sample):
    loss, confidence = sample
    losses = {"a": loss, "b": 1 - loss, "c": loss}
    display = RiskCoverageDisplay.from_predictions(losses, dict.fromkeys("abc", confidence))
    assert len(display.oracle_lines_) == len(display.random_lines_) == 2
    assert labels(display).count("oracle") == labels(display).count("random") == 1


def test_operating_point_is_where_the_accepted_rows_are(sample):
    loss, confidence = sample
    display = RiskCoverageDisplay.from_predictions(loss, confidence, threshold=0.7)
    accepted = confidence >= 0.7
    x, y = display.points_["confidence"].get_data()
    assert x.item() == pytest.approx(accepted.mean())
    assert y.item() == pytest.approx(loss[accepted].mean())
    x, y = display.plot(generalized=True).points_["confidence"].get_data()
    assert y.item() == pytest.approx((loss * accepted).mean())


def test_threshold_above_all_rows_marks_nothing(sample):
    display = RiskCoverageDisplay.from_predictions(*sample, threshold=np.inf)
    assert display.points_ == {}
    assert display.operating_points == {"confidence": None}
    assert "operating point" not in labels(display)


def test_operating_point_is_that_of_the_decisions_given(sample):
    loss, confidence = sample
    selected, weight = confidence > np.where(np.arange(500) < 250, 0.3, 0.8), np.arange(500.0)
    display = RiskCoverageDisplay.from_predictions(
        loss, confidence, selected=selected, sample_weight=weight
    )
    coverage, risk = display.operating_points["confidence"]
    assert coverage == pytest.approx(weight[selected].sum() / weight.sum())
    assert risk == pytest.approx(np.average(loss[selected], weights=weight[selected]))
    assert display.points_["confidence"].get_data() == ([coverage], [risk])
    assert "operating point" in labels(display)


def test_rule_with_several_bounds_is_marked_where_its_own_decisions_are(models):
    _, X, y = models
    rule = GroupThreshold(QuantileThreshold(0.8), min_size=10)
    selective = SelectiveClassifier(LogisticRegression(C=0.001), threshold=rule, random_state=0)
    model = make_pipeline(StandardScaler(), selective).fit(X, y)
    display = RiskCoverageDisplay.from_estimator(model, X, y, name="mine")
    selection = model[-1].select(model[:-1].transform(X))
    coverage, risk = display.operating_points["mine"]
    assert coverage == selection.selected.mean() != (selection.score >= model[-1].threshold_).mean()
    assert risk == pytest.approx((selection.predictions != y)[selection.selected].mean())


def test_threshold_of_the_user_replaces_the_decisions_of_the_models(models):
    models, X, y = models
    models = {"a": models[0], "b": models[1]}
    display = RiskCoverageDisplay.from_estimator(models, X, y, threshold={"a": 0.7, "b": None})
    score = models["a"].score_samples(X)
    assert display.operating_points["a"][0] == pytest.approx((score >= 0.7).mean())
    assert display.operating_points["b"] is None


def test_from_estimator_draws_several_models_and_marks_their_points(models):
    models, X, y = models
    display = RiskCoverageDisplay.from_estimator(models, X, y)
    assert list(display.curves) == ["softmax response", "EuclideanScore"]
    for model, (x, risk) in zip(
        models, (point.get_data() for point in display.points_.values()), strict=True
    ):
        labels_ = model.predict(X)
        answered = labels_ != model[-1].reject_label_
        assert x.item() == pytest.approx(answered.mean())
        assert risk.item() == pytest.approx((labels_ != y)[answered].mean())


def test_from_estimator_names(models):
    models, X, y = models
    one = RiskCoverageDisplay.from_estimator(models[0], X, y, name="mine")
    assert list(one.curves) == ["mine"]
    by_name = RiskCoverageDisplay.from_estimator({"a": models[0], "b": models[1]}, X, y)
    assert list(by_name.curves) == ["a", "b"]
    for several in (models, {"a": models[0]}):
        with pytest.raises(ValueError, match="name='mine' is for one model"):
            RiskCoverageDisplay.from_estimator(several, X, y, name="mine")
    for nothing in ([], {}):
        with pytest.raises(ValueError, match="estimator is an empty"):
            RiskCoverageDisplay.from_estimator(nothing, X, y)
    twice = RiskCoverageDisplay.from_estimator([models[1], models[1]], X, y)
    assert list(twice.curves) == ["EuclideanScore", "EuclideanScore (2)"]


def test_from_estimator_takes_a_loss(models):
    models, X, y = models
    display = RiskCoverageDisplay.from_estimator(
        models[0], X, y, loss=lambda y, predicted: 2.0 * (y != predicted)
    )
    plain = RiskCoverageDisplay.from_estimator(models[0], X, y)
    assert display.aurc["softmax response"] == pytest.approx(2 * plain.aurc["softmax response"])


def test_selective_regressor_has_its_own_loss():
    X, y = load_diabetes(return_X_y=True)
    model = SelectiveRegressor(BayesianRidge(), threshold=QuantileThreshold(0.8), random_state=0)
    model.fit(X[:300], y[:300])
    display = RiskCoverageDisplay.from_estimator(model, X[300:], y[300:])
    assert list(display.curves) == ["predicted spread"]
    selection = model.select(X[300:])
    x, _ = display.points_["predicted spread"].get_data()
    assert x.item() == pytest.approx(selection.selected.mean())
    loss = model._errors(selection.predictions, y[300:])
    assert display.aurc["predicted spread"] == pytest.approx(aurc_score(loss, selection.score))


def test_given_axes_are_used_and_no_figure_is_left_open(sample):
    figure, ax = plt.subplots()
    display = RiskCoverageDisplay.from_predictions(*sample, ax=ax)
    assert display.ax_ is ax
    assert display.figure_ is figure
    assert plt.get_fignums() == [figure.number]


def test_one_axes_of_many_keeps_its_place(sample):
    figure, axes = plt.subplots(2, 2, figsize=(10, 8), layout="constrained")
    RiskCoverageDisplay.from_predictions(*sample, threshold=0.7, ax=axes[0, 0])
    figure.canvas.draw()
    place = axes[0, 0].get_position()
    assert min(place.width, place.height) > 0.38


def test_keywords_reach_the_lines(sample):
    display = RiskCoverageDisplay.from_predictions(*sample, color="black", linewidth=4)
    line = display.lines_["confidence"]
    assert (line.get_color(), line.get_linewidth()) == ("black", 4)


def test_keywords_reach_the_lines_under_any_of_their_names(sample):
    display = RiskCoverageDisplay.from_predictions(*sample, c="black", ls=":", lw=4)
    line = display.lines_["confidence"]
    assert (line.get_color(), line.get_linestyle(), line.get_linewidth()) == ("black", ":", 4)
    with pytest.raises(TypeError, match="aliases of one another"):
        RiskCoverageDisplay.from_predictions(*sample, c="black", color="red")
    with pytest.raises(AttributeError, match="colour"):
        RiskCoverageDisplay.from_predictions(*sample, colour="red")
    assert len(plt.get_fignums()) == 1


def test_name_with_an_underscore_stands_in_the_legend(sample):
    display = RiskCoverageDisplay.from_predictions(*sample, name="_q")
    assert labels(display)[0].startswith("_q (AURC")


def test_axis_is_not_scaled_to_the_first_rows():
    # the most confident row is wrong, so the curve starts at a risk of 1
    loss = np.r_[1, np.zeros(199)]
    display = RiskCoverageDisplay.from_predictions(loss, -np.arange(200))
    assert display.ax_.get_ylim()[1] < 0.12
    assert display.lines_["confidence"].get_ydata()[0] == 1


def test_no_errors_at_all_leave_a_readable_axis():
    display = RiskCoverageDisplay.from_predictions([0, 0, 0], [1, 2, 3])
    assert display.ax_.get_ylim() == (0, 1)


def test_tensors_and_weights(sample):
    loss, confidence = sample
    weight = np.random.default_rng(1).integers(1, 4, 500)
    display = RiskCoverageDisplay.from_predictions(
        torch.tensor(loss, requires_grad=True), torch.tensor(confidence), sample_weight=weight
    )
    expected = aurc_score(loss, confidence, sample_weight=weight)
    assert display.aurc["confidence"] == pytest.approx(expected)
    curve = display.curves["confidence"]
    assert curve.selective_risk[-1] == pytest.approx(np.average(loss, weights=weight))


def test_names_that_do_not_match_are_refused(sample):
    loss, confidence = sample
    with pytest.raises(ValueError, match="threshold has an entry 'b'"):
        RiskCoverageDisplay.from_predictions(loss, {"a": confidence}, threshold={"b": 0.5})
    with pytest.raises(ValueError, match="loss has no entry for the confidence 'b'"):
        RiskCoverageDisplay.from_predictions({"a": loss}, {"a": confidence, "b": confidence})
    with pytest.raises(ValueError, match="confidence is an empty dict"):
        RiskCoverageDisplay.from_predictions(loss, {})
    with pytest.raises(ValueError, match="name='b' is for one entry"):
        RiskCoverageDisplay.from_predictions(loss, {"a": confidence}, name="b")
    assert plt.get_fignums() == []


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"threshold": np.nan}, "'threshold' parameter"),
        ({"threshold": "0.5"}, "'threshold' parameter"),
        ({"selected": np.ones(500)}, "selected of 'confidence' must be a bool array"),
        ({"selected": np.ones(500, bool), "threshold": 0.5}, "are both given for 'confidence'"),
    ],
)
def test_decisions_are_checked_before_a_figure_is_made(sample, kwargs, message, monkeypatch):
    monkeypatch.setattr(plt, "subplots", None)
    with pytest.raises(ValueError, match=message):
        RiskCoverageDisplay.from_predictions(*sample, **kwargs)


def test_tied_resnet_is_drawn_with_its_published_area(shared_data):
    data = np.load(shared_data / "cifar10_resnet110_confidences.npz")
    loss = data["y_true"] != data["resnet110_c10_y_pred"]
    confidence = data["resnet110_c10_confidence"]
    display = RiskCoverageDisplay.from_predictions(loss, confidence)
    assert labels(display)[0] == "confidence (AURC = 0.00841)"


def test_missing_matplotlib_names_the_extra(sample, monkeypatch):
    display = RiskCoverageDisplay.from_predictions(*sample)
    for name in ("matplotlib", "matplotlib.pyplot"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"RiskCoverageDisplay.*sklearn-seapig\[plot\]"):
        RiskCoverageDisplay.from_predictions(*sample)
    with pytest.raises(ImportError, match=r"sklearn-seapig\[plot\]"):
        display.plot()


def test_importing_the_displays_loads_no_matplotlib():
    code = """
import sys
from sklearn_seapig.metrics import (
    ConfidenceDisplay, EmbeddingDisplay, RiskCoverageDisplay, ThresholdDisplay
)
assert not {"matplotlib", "umap"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
