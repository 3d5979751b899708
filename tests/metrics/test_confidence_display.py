"""ConfidenceDisplay draws distributions that compare, and counts the rejected rows."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.ensemble import IsolationForest
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from sklearn_seapig import (
    CosineScore,
    EuclideanScore,
    GroupThreshold,
    QuantileThreshold,
    SelectiveClassifier,
)
from sklearn_seapig.metrics import ConfidenceDisplay


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    known = y < 8
    return X[known], y[known], X[~known]


@pytest.fixture
def scores():
    rng = np.random.default_rng(0)
    return rng.normal(size=500), rng.normal(loc=-2, size=300)


def labels(display):
    return [text.get_text() for text in display.ax_.get_legend().get_texts()]


def heights(display, name):
    return display.stairs_[name].get_data().values


def test_rejected_rows_are_counted_and_ties_with_the_threshold_are_not():
    calibration = np.array([-1.0, 0.0, 0.0, 1.0])
    query = np.array([-2.0, -1.0, 0.0])
    display = ConfidenceDisplay.from_predictions(calibration, query, threshold=0.0)
    assert display.rejected_ == {"calibration": 1, "query": 2}
    assert labels(display)[:2] == [
        "calibration: 1 of 4 rejected (25.0%)",
        "query: 2 of 3 rejected (66.7%)",
    ]
    assert list(display.threshold_line_.get_xdata()) == [0.0, 0.0]


def test_bars_of_each_set_sum_to_one(scores):
    display = ConfidenceDisplay.from_predictions(*scores, bins=25)
    for name in ("calibration", "query"):
        assert heights(display, name).sum() == pytest.approx(1)
        assert len(heights(display, name)) == 25


def test_no_threshold_counts_rows_only(scores):
    display = ConfidenceDisplay.from_predictions(*scores)
    assert display.threshold_line_ is None
    assert display.rejected_ == {}
    assert labels(display) == ["calibration (500 rows)", "query (300 rows)"]


def test_legend_stands_above_the_bars(scores):
    display = ConfidenceDisplay.from_predictions(
        scores[0], {f"set {i}": scores[1] for i in range(4)}, threshold=-1.0
    )
    display.figure_.canvas.draw()
    legend = display.ax_.get_legend().get_window_extent()
    bottom = display.ax_.transData.inverted().transform((0, legend.y0))[1]
    assert bottom > max(heights(display, name).max() for name in display.stairs_)


def test_several_sets_differ_in_line_style_too(scores):
    display = ConfidenceDisplay.from_predictions(None, {"a": scores[0], "b": scores[1]})
    styles = {stairs.get_linestyle() for stairs in display.stairs_.values()}
    assert len(styles) == 2


def test_far_rows_are_in_the_first_bar_and_a_note_says_so(scores):
    far = np.r_[scores[1], -1e6, -np.inf]
    display = ConfidenceDisplay.from_predictions(scores[0], far, threshold=-1.0)
    left = display.ax_.get_xlim()[0]
    assert left > -10
    assert f"first bar: with {(far < left).sum()} rows below" in display.ax_.get_xlabel()
    assert heights(display, "query").sum() == pytest.approx(1)
    assert display.rejected_["query"] == (far < -1).sum()


def test_a_whole_set_that_is_far_is_in_view(scores):
    display = ConfidenceDisplay.from_predictions(scores[0], scores[1] - 100)
    assert display.ax_.get_xlim()[0] < -100
    assert "bar" not in display.ax_.get_xlabel()


def test_limits_are_those_asked_for(scores):
    display = ConfidenceDisplay.from_predictions(*scores, limits=(-3, 0))
    pooled = np.concatenate(scores)
    below, above = (pooled < -3).sum(), (pooled > 0).sum()
    assert display.ax_.get_xlim() == (-3, 0)
    assert f"first bar: with {below} rows below" in display.ax_.get_xlabel()
    assert f"last bar: with {above} rows above" in display.ax_.get_xlabel()


@pytest.mark.parametrize("threshold", [np.inf, -np.inf])
def test_infinite_threshold_is_named_only(scores, threshold):
    display = ConfidenceDisplay.from_predictions(*scores, threshold=threshold)
    assert len(display.threshold_line_.get_xdata()) == 0
    assert "inf" in labels(display)[-1]
    assert display.rejected_["query"] == (300 if threshold > 0 else 0)


@pytest.mark.parametrize("scores", [[1.0, 1.0, 1.0], [-np.inf, np.inf], [0.5]])
def test_degenerate_confidences_can_be_drawn(scores):
    display = ConfidenceDisplay.from_predictions(scores)
    left, right = display.ax_.get_xlim()
    assert left < right
    assert heights(display, "calibration").sum() == pytest.approx(1)


def test_score_of_the_package(digits):
    X, _, unknown = digits
    score = EuclideanScore(quantile=0.95).fit(X[:700], X_cal=X[700:1000])
    queries = {"known": X[1000:], "unknown": unknown}
    display = ConfidenceDisplay.from_estimator(score, queries)
    assert display.threshold == score.offset_
    np.testing.assert_array_equal(display.calibration_scores, score.calibration_scores_)
    for name, rows in queries.items():
        assert display.rejected_[name] == (score.predict(rows) == -1).sum()


def test_stored_scores_alone(digits):
    score = EuclideanScore().fit(digits[0])
    display = ConfidenceDisplay.from_estimator(score)
    assert list(display.stairs_) == ["calibration"]


def test_pipeline_transforms_the_query(digits):
    X, _, unknown = digits
    pipe = make_pipeline(MinMaxScaler(), CosineScore(quantile=0.9)).fit(X)
    for estimator in (pipe, FrozenEstimator(pipe)):
        display = ConfidenceDisplay.from_estimator(estimator, unknown)
        assert display.threshold == pipe[-1].offset_
        assert display.rejected_["query"] == (pipe.predict(unknown) == -1).sum()


def test_selective_classifier_bare_and_in_a_pipeline(digits):
    X, y, unknown = digits
    model = SelectiveClassifier(
        LogisticRegression(max_iter=200), EuclideanScore(quantile=0.9), random_state=0
    )
    pipe = make_pipeline(MinMaxScaler(), model).fit(X, y)
    selective = pipe[-1]
    display = ConfidenceDisplay.from_estimator(pipe, unknown, name="unknown")
    assert display.threshold == selective.threshold_
    np.testing.assert_array_equal(display.calibration_scores, selective.calibration_scores_)
    rows = pipe[:-1].transform(unknown)
    assert display.rejected_["unknown"] == (~selective.select(rows).selected).sum()
    bare = ConfidenceDisplay.from_estimator(selective, rows)
    np.testing.assert_array_equal(bare.scores["query"], display.scores["unknown"])


def test_detector_without_calibration_scores(digits):
    X, _, unknown = digits
    forest = IsolationForest(n_estimators=10, random_state=0).fit(X)
    display = ConfidenceDisplay.from_estimator(forest, unknown)
    assert list(display.stairs_) == ["query"]
    assert display.rejected_["query"] == (forest.predict(unknown) == -1).sum()
    with pytest.raises(ValueError, match="both None"):
        ConfidenceDisplay.from_estimator(forest)


def test_rule_with_several_bounds_counts_its_own_decisions_and_draws_no_threshold(digits):
    X, y, unknown = digits
    rule = GroupThreshold(QuantileThreshold(0.8), min_size=10)
    model = SelectiveClassifier(LogisticRegression(max_iter=200), threshold=rule, random_state=0)
    model.fit(X / 16, y)
    display = ConfidenceDisplay.from_estimator(model, {"known": X / 16, "unknown": unknown / 16})
    selected = model.select(unknown / 16).selected
    assert not np.array_equal(selected, model.score_samples(unknown / 16) >= model.threshold_)
    assert display.rejected_["unknown"] == (~selected).sum()
    share = display.rejected_["calibration"] / len(model.calibration_scores_)
    assert share == pytest.approx(1 - model.coverage_)
    assert display.threshold is display.threshold_line_ is None
    assert labels(display)[2] == (
        f"unknown: {(~selected).sum()} of {len(unknown)} rejected ({(~selected).mean():.1%})"
    )
    pooled = ConfidenceDisplay.from_estimator(model, unknown / 16, threshold=model.threshold_)
    below = model.score_samples(unknown / 16) < model.threshold_
    assert pooled.rejected_["query"] == below.sum()
    assert list(pooled.threshold_line_.get_xdata()) == [model.threshold_] * 2


def test_threshold_of_the_user_replaces_that_of_the_estimator(digits):
    score = EuclideanScore().fit(digits[0])
    display = ConfidenceDisplay.from_estimator(score, digits[2], threshold=-20.0)
    assert display.threshold == -20.0
    assert display.rejected_["query"] == (score.score_samples(digits[2]) < -20.0).sum()
    without = ConfidenceDisplay.from_estimator(score, digits[2], threshold=None)
    assert without.rejected_ == {}


def test_decisions_of_the_user(scores):
    kept = scores[1] > -2
    display = ConfidenceDisplay.from_predictions(*scores, threshold=0.0, selected={"query": kept})
    assert display.rejected_ == {"calibration": (scores[0] < 0).sum(), "query": (~kept).sum()}
    with pytest.raises(ValueError, match="selected of 'query' must be a bool array"):
        ConfidenceDisplay.from_predictions(*scores, selected={"query": kept[:-1]})
    with pytest.raises(ValueError, match="selected has 'far'"):
        ConfidenceDisplay.from_predictions(*scores, selected={"far": kept})


def test_name_with_an_underscore_stands_in_the_legend(scores):
    display = ConfidenceDisplay.from_predictions(scores[0], {"_q": scores[1]}, threshold=-1.0)
    assert len(labels(display)) == 3
    assert labels(display)[1].startswith("_q: ")


def test_keywords_reach_the_bars_under_any_of_their_names(scores):
    display = ConfidenceDisplay.from_predictions(*scores, lw=5, ls=":", ec="red")
    bars = display.stairs_["query"]
    assert (bars.get_linewidth(), bars.get_linestyle()) == (5, ":")
    assert bars.get_edgecolor() == (1, 0, 0, 1)


@pytest.mark.parametrize(
    "scores",
    [
        [-1.7e308, 0.0, 1.7e308],
        [1e308, 1e308],
        [1e20, 1e20],
        [-1e20, -1e20],
        [1.0, 1 + 2.3e-16],
        [0.0, 5e-324],
    ],
)
def test_confidences_at_the_ends_of_the_float_range_are_drawn_without_a_warning(scores):
    for threshold in (None, 0.5, scores[0]):
        display = ConfidenceDisplay.from_predictions(scores, threshold=threshold)
        display.figure_.canvas.draw()
        left, right = display.ax_.get_xlim()
        assert left < right
        assert heights(display, "calibration").sum() == pytest.approx(1)


def test_tensors_are_taken(scores):
    tensor = torch.tensor(scores[1], requires_grad=True)
    display = ConfidenceDisplay.from_predictions(torch.tensor(scores[0]), tensor, threshold=-1.0)
    assert display.rejected_["query"] == (scores[1] < -1).sum()


def test_given_axes_are_used_and_no_figure_is_left_open(scores):
    figure, ax = plt.subplots()
    display = ConfidenceDisplay.from_predictions(*scores, ax=ax)
    assert display.ax_ is ax
    assert display.figure_ is figure
    assert plt.get_fignums() == [figure.number]


def test_what_cannot_be_drawn_is_refused(scores):
    with pytest.raises(ValueError, match="NaN"):
        ConfidenceDisplay.from_predictions([0.0, np.nan])
    with pytest.raises(ValueError, match="'calibration'"):
        ConfidenceDisplay.from_predictions(scores[0], {"calibration": scores[1]})
    with pytest.raises(ValueError, match="empty dict"):
        ConfidenceDisplay.from_predictions(scores[0], {})
    assert plt.get_fignums() == []


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"threshold": np.nan}, "'threshold' parameter"),
        ({"threshold": "0.5"}, "'threshold' parameter"),
        ({"bins": 0}, "'bins' parameter"),
        ({"bins": "auto"}, "'bins' parameter"),
        ({"bins": True}, "'bins' parameter"),
        ({"limits": (0,)}, "limits must be two numbers"),
        ({"limits": (1, 0)}, "limits must be two numbers"),
        ({"limits": (0, np.inf)}, "limits must be two numbers"),
        ({"limits": 3}, "limits must be two numbers"),
    ],
)
def test_parameters_are_checked_before_a_figure_is_made(scores, kwargs, message, monkeypatch):
    monkeypatch.setattr(plt, "subplots", None)
    with pytest.raises(ValueError, match=message):
        ConfidenceDisplay.from_predictions(*scores, **kwargs)


def test_failed_drawing_leaves_no_figure_open(scores):
    with pytest.raises(AttributeError, match="colour"):
        ConfidenceDisplay.from_predictions(*scores, colour="red")
    assert plt.get_fignums() == []


def test_name_is_for_one_set(digits):
    X = digits[0]
    score = EuclideanScore().fit(X)
    with pytest.raises(ValueError, match="name='known' is for one entry"):
        ConfidenceDisplay.from_estimator(score, {"a": X}, name="known")
    with pytest.raises(ValueError, match="name='known' is for one entry"):
        ConfidenceDisplay.from_predictions(None, {"a": [1.0]}, name="known")


def test_estimator_that_does_not_score_rows_is_refused(digits):
    model = LogisticRegression(max_iter=200).fit(digits[0] / 16, digits[1])
    with pytest.raises(TypeError, match="LogisticRegression does not score rows"):
        ConfidenceDisplay.from_estimator(model, digits[0])
