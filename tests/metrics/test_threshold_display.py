"""ThresholdDisplay draws risk and coverage as the step functions that they are."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_seapig import (
    EuclideanScore,
    GroupThreshold,
    QuantileThreshold,
    RiskThreshold,
    SelectiveClassifier,
)
from sklearn_seapig.metrics import ThresholdDisplay


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def sample():
    rng = np.random.default_rng(0)
    confidence = rng.random(300).round(2)
    return (rng.random(300) > confidence).astype(float), confidence


@pytest.fixture(scope="module")
def cancer():
    X, y = load_breast_cancer(return_X_y=True)
    return train_test_split(X, y, test_size=0.5, random_state=0)


def drawn_at(line, threshold):
    """Return the height of a line with steps-pre at a threshold."""
    x, y = line.get_data()
    return y[np.searchsorted(x, threshold)]


def labels(display):
    return [text.get_text() for text in display.ax_coverage_.get_legend().get_texts()]


@pytest.mark.parametrize("threshold", [0.0, 0.305, 0.5, 0.77, 0.9])
def test_lines_say_what_a_threshold_does(sample, threshold):
    loss, confidence = sample
    display = ThresholdDisplay.from_predictions(loss, confidence)
    accepted = confidence >= threshold
    assert drawn_at(display.coverage_line_, threshold) == pytest.approx(accepted.mean())
    assert drawn_at(display.risk_line_, threshold) == pytest.approx(loss[accepted].mean())
    for line in (display.risk_line_, display.coverage_line_):
        assert line.get_drawstyle() == "steps-pre"


def test_curves_differ_in_more_than_colour(sample):
    display = ThresholdDisplay.from_predictions(*sample)
    assert display.risk_line_.get_linestyle() != display.coverage_line_.get_linestyle()


def test_chosen_threshold_is_drawn_and_named(sample):
    display = ThresholdDisplay.from_predictions(*sample, threshold=0.4)
    assert list(display.threshold_line_.get_xdata()) == [0.4, 0.4]
    assert "chosen threshold (0.400)" in labels(display)


@pytest.mark.parametrize("threshold", [np.inf, -np.inf])
def test_infinite_threshold_is_named_only(sample, threshold):
    display = ThresholdDisplay.from_predictions(*sample, threshold=threshold)
    assert len(display.threshold_line_.get_xdata()) == 0
    assert any("inf" in label for label in labels(display))
    assert np.isfinite(display.ax_.get_xlim()).all()


def test_threshold_outside_of_the_confidences_is_in_view(sample):
    display = ThresholdDisplay.from_predictions(*sample, threshold=1.5)
    assert display.ax_.get_xlim()[1] > 1.5


def test_certified_region_begins_at_the_certified_threshold(sample):
    display = ThresholdDisplay.from_predictions(*sample, certified=0.6, max_risk=0.9)
    region = display.certified_region_.get_extents().transformed(display.ax_.transData.inverted())
    assert region.x0 == pytest.approx(0.6)
    assert region.x1 == pytest.approx(display.ax_.get_xlim()[1])
    assert list(display.max_risk_line_.get_ydata()) == [0.9, 0.9]
    assert display.ax_.get_ylim()[1] > 0.9
    assert {"certified", "allowed risk"} <= set(labels(display))


def test_nothing_certified_is_no_region_and_the_legend_says_so(sample):
    display = ThresholdDisplay.from_predictions(*sample, certified=np.inf, max_risk=0.1)
    assert display.certified_region_ is None
    assert labels(display)[-1] == "certified: no threshold"


def test_everything_certified_is_the_whole_axis(sample):
    display = ThresholdDisplay.from_predictions(*sample, certified=-np.inf)
    region = display.certified_region_.get_extents().transformed(display.ax_.transData.inverted())
    assert (region.x0, region.x1) == pytest.approx(display.ax_.get_xlim())


def test_far_outliers_do_not_set_the_axis(sample):
    loss, confidence = sample
    confidence = np.r_[-1e6, -np.inf, confidence]
    display = ThresholdDisplay.from_predictions(np.r_[1, 1, loss], confidence)
    assert display.ax_.get_xlim()[0] > -2


def test_one_confidence_only():
    display = ThresholdDisplay.from_predictions([0, 1, 1], [2.0, 2.0, 2.0])
    left, right = display.ax_.get_xlim()
    assert left < 2 < right


def test_many_rows_are_thinned():
    rng = np.random.default_rng(0)
    display = ThresholdDisplay.from_predictions(rng.integers(0, 2, 30_000), rng.random(30_000))
    assert len(display.risk_line_.get_xdata()) <= 2000
    assert len(display.curve.threshold) == 30_000


def test_from_estimator_takes_the_threshold_of_the_model(cancer):
    X, X_test, y, y_test = cancer
    selective = SelectiveClassifier(
        LogisticRegression(C=0.001), EuclideanScore(quantile=0.9), random_state=0
    )
    model = make_pipeline(StandardScaler(), selective).fit(X, y)
    display = ThresholdDisplay.from_estimator(model, X_test, y_test)
    threshold = model[-1].threshold_
    assert display.threshold == threshold
    selection = model[-1].select(model[:-1].transform(X_test))
    assert drawn_at(display.coverage_line_, threshold) == selection.selected.mean()
    wrong = (selection.predictions != y_test)[selection.selected]
    assert drawn_at(display.risk_line_, threshold) == pytest.approx(wrong.mean())
    other = ThresholdDisplay.from_estimator(model, X_test, y_test, threshold=-3.0, max_risk=0.1)
    assert other.threshold == -3.0
    without = ThresholdDisplay.from_estimator(model, X_test, y_test, threshold=None)
    assert without.threshold_line_ is None


def test_rule_about_risk_shows_what_it_certifies_and_allows(cancer):
    X, X_test, y, y_test = cancer
    model = SelectiveClassifier(
        LogisticRegression(),
        threshold=RiskThreshold(max_risk=0.1),
        calibration_size=0.5,
        random_state=0,
    )
    model = make_pipeline(StandardScaler(), model).fit(X, y)
    display = ThresholdDisplay.from_estimator(model, X_test, y_test)
    assert model[-1].rule_.feasible_
    assert display.certified == display.threshold == model[-1].rule_.threshold_
    assert display.max_risk == 0.1
    assert labels(display)[-2:] == ["allowed risk", "certified"]
    other = ThresholdDisplay.from_estimator(model, X_test, y_test, max_risk=0.2, certified=None)
    assert (other.max_risk, other.certified) == (0.2, None)
    assert "certified" not in labels(other)


def test_infeasible_rule_about_risk_shades_nothing_and_says_so(cancer):
    X, X_test, y, y_test = cancer
    model = SelectiveClassifier(
        LogisticRegression(), threshold=RiskThreshold(max_risk=0.001), random_state=0
    )
    with pytest.warns(UserWarning, match="everything is rejected"):
        model = make_pipeline(StandardScaler(), model).fit(X, y)
    display = ThresholdDisplay.from_estimator(model, X_test, y_test)
    assert display.certified_region_ is None
    assert labels(display)[2:] == [
        "chosen threshold (inf)",
        "allowed risk",
        "certified: no threshold",
    ]


def test_rule_with_several_bounds_has_no_threshold_to_draw(cancer):
    X, X_test, y, y_test = cancer
    rule = GroupThreshold(QuantileThreshold(0.8), min_size=10)
    model = SelectiveClassifier(LogisticRegression(), threshold=rule, random_state=0)
    model = make_pipeline(StandardScaler(), model).fit(X, y)
    display = ThresholdDisplay.from_estimator(model, X_test, y_test)
    assert display.threshold_line_ is None
    assert labels(display) == ["selective risk", "coverage"]


@pytest.mark.parametrize(
    "kwargs",
    [
        {"threshold": np.nan},
        {"threshold": "0.5"},
        {"certified": np.nan},
        {"max_risk": np.inf},
        {"max_risk": -0.1},
    ],
)
def test_parameters_are_checked_before_a_figure_is_made(sample, kwargs, monkeypatch):
    monkeypatch.setattr(plt, "subplots", None)
    with pytest.raises(ValueError, match=f"'{next(iter(kwargs))}' parameter"):
        ThresholdDisplay.from_predictions(*sample, **kwargs)


def test_failed_drawing_leaves_no_figure_open(sample):
    with pytest.raises(AttributeError, match="colour"):
        ThresholdDisplay.from_predictions(*sample, colour="red")
    assert plt.get_fignums() == []


def test_keywords_reach_the_lines_under_any_of_their_names(sample):
    display = ThresholdDisplay.from_predictions(*sample, c="black", ls=":", lw=3, ds="steps")
    for line in (display.risk_line_, display.coverage_line_):
        assert (line.get_color(), line.get_linestyle(), line.get_linewidth()) == ("black", ":", 3)
        assert line.get_drawstyle() == "steps"


def test_plot_again_on_its_own_axes_adds_no_third_one(sample):
    display = ThresholdDisplay.from_predictions(*sample)
    first = display.figure_
    display.plot(ax=display.ax_)
    assert len(first.axes) == 2
    assert display.plot().figure_ is not first


@pytest.mark.parametrize("confidence", [[-1.7e308, 0, 1.7e308], [1e308] * 3, [1e20] * 3])
def test_confidences_at_the_ends_of_the_float_range_are_drawn_without_a_warning(confidence):
    display = ThresholdDisplay.from_predictions([0, 1, 1], confidence, threshold=confidence[0])
    display.figure_.canvas.draw()
    left, right = display.ax_.get_xlim()
    assert left < right


def test_given_axes_are_used_and_no_figure_is_left_open(sample):
    figure, ax = plt.subplots()
    display = ThresholdDisplay.from_predictions(*sample, ax=ax)
    assert display.ax_ is ax
    assert display.figure_ is figure
    assert plt.get_fignums() == [figure.number]


def test_sample_weight_counts_rows(sample):
    loss, confidence = sample
    weight = np.random.default_rng(1).integers(1, 4, 300)
    display = ThresholdDisplay.from_predictions(loss, confidence, sample_weight=weight)
    repeated = ThresholdDisplay.from_predictions(loss.repeat(weight), confidence.repeat(weight))
    np.testing.assert_allclose(display.curve.coverage, repeated.curve.coverage)
    np.testing.assert_allclose(display.curve.selective_risk, repeated.curve.selective_risk)
