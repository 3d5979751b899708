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

from sklearn_seapig import EuclideanScore, SelectiveClassifier
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


def test_nothing_certified_is_no_region(sample):
    display = ThresholdDisplay.from_predictions(*sample, certified=np.inf, max_risk=0.1)
    assert display.certified_region_ is None
    assert "certified" not in labels(display)


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


def test_from_estimator_takes_the_threshold_of_the_model():
    X, y = load_breast_cancer(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.5, random_state=0)
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
