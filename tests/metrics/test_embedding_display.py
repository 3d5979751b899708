"""EmbeddingDisplay reduces all sets together, as the score sees them."""

import sys
from types import SimpleNamespace

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sklearn_seapig import EuclideanScore, SelectiveClassifier, SoftmaxScore
from sklearn_seapig.metrics import EmbeddingDisplay

IDENTITY = FunctionTransformer()


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
def plane():
    """Two-dimensional rows, which need no reduction."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(80, 2)), rng.normal(size=(40, 2)), rng.normal(3, 1, size=(30, 2))


def labels(display):
    return [text.get_text() for text in display.ax_.get_legend().get_texts()]


def test_each_set_keeps_its_own_rows(plane):
    display = EmbeddingDisplay.from_embeddings(*plane, reducer=IDENTITY)
    for name, rows in zip(("reference", "calibration", "query"), plane, strict=True):
        np.testing.assert_array_equal(display.points[name], rows)
        np.testing.assert_array_equal(display.scatters_[name].get_offsets(), rows)
    assert labels(display) == ["reference (80)", "calibration (40)", "query (30)"]


def test_sets_are_reduced_together(digits):
    X, _, unknown = digits
    display = EmbeddingDisplay.from_embeddings(X[:100], query=unknown[:50], reducer=PCA(2))
    expected = PCA(2).fit_transform(np.vstack([X[:100], unknown[:50]]))
    together = np.vstack([display.points["reference"], display.points["query"]])
    np.testing.assert_allclose(np.abs(together), np.abs(expected), atol=1e-8)


def test_tsne_repeats_and_parts_what_is_apart(digits):
    X = digits[0]
    sets = {"reference": X[:60], "query": X[60:100] + 200.0}
    one, two = (EmbeddingDisplay.from_embeddings(**sets, random_state=0) for _ in range(2))
    np.testing.assert_array_equal(one.points["query"], two.points["query"])
    reference, query = one.points["reference"], one.points["query"]
    gap = np.linalg.norm(reference.mean(axis=0) - query.mean(axis=0))
    assert gap > reference.std(axis=0).max()
    assert one.ax_.get_xlabel() == "t-SNE 1"
    assert len(one.ax_.get_xticks()) == 0


@pytest.mark.parametrize("shape", [(3, 5), (5, 1), (12, 70)])
def test_tsne_with_few_rows_or_features(shape):
    X = np.random.default_rng(0).normal(size=shape)
    display = EmbeddingDisplay.from_embeddings(X, random_state=0)
    assert np.isfinite(display.points["reference"]).all()


@pytest.mark.parametrize("reducer", ["tsne", "pca"])
@pytest.mark.parametrize("X", [np.ones((10, 3)), np.zeros((500, 64)), np.full((20, 3), 0.1)])
def test_equal_rows_are_no_picture(X, reducer):
    # t-SNE would divide by their spread and crash Python.
    with pytest.raises(ValueError, match=f"All {len(X)} rows to draw are equal"):
        EmbeddingDisplay.from_embeddings(X, reducer=reducer, random_state=0)
    assert plt.get_fignums() == []


@pytest.mark.parametrize("scale", [1e-300, 1e200])
def test_tsne_does_not_depend_on_the_scale_of_the_rows(scale):
    X = np.random.default_rng(0).normal(size=(30, 3))
    X = X / np.abs(X).max()
    points = [
        EmbeddingDisplay.from_embeddings(X * s, random_state=0).points["reference"]
        for s in (1.0, 2.0 ** np.round(np.log2(scale)))
    ]
    np.testing.assert_allclose(*points)


def test_tsne_of_dead_units_and_rows_that_occur_often():
    X = np.zeros((300, 64))
    X[:5, 0] = np.arange(5)
    display = EmbeddingDisplay.from_embeddings(X, random_state=0)
    assert np.isfinite(display.points["reference"]).all()


def test_umap_gets_a_seed_and_no_more_neighbors_than_there_are(plane, monkeypatch):
    # A stand-in, as umap-learn takes twenty seconds to compile itself.
    seen = []

    class UMAP:
        def __init__(self, **parameters):
            seen.append(parameters)

        def fit_transform(self, X):
            return X[:, :2]

    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=UMAP))
    for n in (3, 3, 80):
        display = EmbeddingDisplay.from_embeddings(
            plane[0][:n], reducer="umap", random_state=np.random.RandomState(0)
        )
    assert [parameters["n_neighbors"] for parameters in seen] == [2, 2, 15]
    assert seen[0] == seen[1]
    assert isinstance(seen[0]["random_state"], int)
    assert display.ax_.get_ylabel() == "UMAP 2"


def test_missing_umap_says_what_to_install(plane, monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ImportError, match="pip install umap-learn"):
        EmbeddingDisplay.from_embeddings(plane[0], reducer="umap")
    assert plt.get_fignums() == []


def test_missing_matplotlib_names_the_extra(plane, monkeypatch):
    for name in ("matplotlib", "matplotlib.pyplot"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"EmbeddingDisplay.*sklearn-seapig\[plot\]"):
        EmbeddingDisplay.from_embeddings(plane[0])


def test_reducer_of_the_user_is_not_fitted(digits):
    reducer = PCA(2)
    EmbeddingDisplay.from_embeddings(digits[0][:20], reducer=reducer)
    assert not hasattr(reducer, "components_")


def test_at_most_max_rows_of_a_set_are_drawn_and_the_legend_says_so(plane):
    selected = plane[2][:, 0] > 3
    display = EmbeddingDisplay.from_embeddings(
        *plane, selected=selected, reducer=IDENTITY, max_rows=20, random_state=0
    )
    drawn = display.points["query"]
    assert {len(points) for points in display.points.values()} == {20}
    np.testing.assert_array_equal(display.selected["query"], drawn[:, 0] > 3)
    n_accepted = display.selected["query"].sum()
    assert labels(display) == [
        "reference (20 of 80)",
        "calibration (20 of 40)",
        f"query, accepted ({n_accepted} of 20 drawn)",
        f"query, rejected ({20 - n_accepted} of 20 drawn)",
    ]
    everything = EmbeddingDisplay.from_embeddings(*plane, reducer=IDENTITY, max_rows=None)
    assert len(everything.points["reference"]) == 80


def test_accepted_and_rejected_rows_differ_in_more_than_colour(plane):
    selected = np.arange(30) < 10
    display = EmbeddingDisplay.from_embeddings(*plane, selected=selected, reducer=IDENTITY)
    accepted = display.scatters_["query, accepted"]
    rejected = display.scatters_["query, rejected"]
    np.testing.assert_array_equal(accepted.get_offsets(), plane[2][:10])
    np.testing.assert_array_equal(rejected.get_offsets(), plane[2][10:])
    assert len(accepted.get_facecolor()) == 0  # hollow
    assert len(rejected.get_facecolor()) == 1


def test_several_query_sets_have_their_own_markers(plane):
    queries = {"a": plane[1], "b": plane[2]}
    display = EmbeddingDisplay.from_embeddings(plane[0], query=queries, reducer=IDENTITY)
    a, b = (display.scatters_[name].get_paths()[0].vertices for name in "ab")
    assert a.shape != b.shape


def test_name_with_an_underscore_stands_in_the_legend(plane):
    display = EmbeddingDisplay.from_embeddings(
        plane[0],
        query={"_q": plane[1], "_r": plane[2]},
        selected={"_q": plane[1][:, 0] > 0},
        reducer=IDENTITY,
    )
    assert [label.split(" ")[0] for label in labels(display)] == ["reference", "_q,", "_q,", "_r"]


@pytest.mark.parametrize(
    "look",
    [{"linewidth": 2, "color": "red"}, {"lw": 2, "c": "red"}, {"linewidths": 2, "ec": "red"}],
)
def test_keywords_reach_the_points_under_any_of_their_names(plane, look):
    display = EmbeddingDisplay.from_embeddings(
        plane[0], query=plane[2], selected=np.arange(30) < 10, reducer=IDENTITY, **look
    )
    accepted = display.scatters_["query, accepted"]
    assert accepted.get_linewidth() == [2]
    assert accepted.get_edgecolor().tolist() == [[1, 0, 0, 1]]
    assert len(accepted.get_facecolor()) == 0  # still hollow


def test_color_by_two_names_is_refused(plane):
    with pytest.raises(ValueError, match="not both"):
        EmbeddingDisplay.from_embeddings(*plane, reducer=IDENTITY, c="red", color="blue")
    assert plt.get_fignums() == []


@pytest.mark.parametrize("n_classes", [2, 3])
def test_classifier_is_refused(plane, n_classes):
    model = LogisticRegression().fit(plane[0], np.arange(80) % n_classes)
    check_refused(model, plane)


def test_density_without_a_bound_and_detector_of_another_sign_are_refused(plane):
    check_refused(GaussianMixture().fit(plane[0]), plane)
    knn = pytest.importorskip("pyod.models.knn").KNN()
    check_refused(knn.fit(plane[0]), plane)


def check_refused(model, plane):
    with pytest.raises(TypeError, match=f"{type(model).__name__} does not accept or reject rows"):
        EmbeddingDisplay.from_estimator(model, plane[0], query=plane[2], reducer=IDENTITY)
    assert plt.get_fignums() == []


def test_fitted_transform_is_applied_to_all_sets_alike(digits):
    # SP-PC-13
    X, _, unknown = digits
    pipe = make_pipeline(StandardScaler(), PCA(2), EuclideanScore(quantile=0.9)).fit(X[:600])
    display = EmbeddingDisplay.from_estimator(
        pipe, X[:600], X[600:900], unknown, reducer=IDENTITY, max_rows=None
    )
    for name, rows in {"reference": X[:600], "calibration": X[600:900], "query": unknown}.items():
        np.testing.assert_allclose(display.points[name], pipe[:-1].transform(rows))
    np.testing.assert_array_equal(display.selected["query"], pipe.predict(unknown) == 1)


def test_bare_score_marks_its_decisions(digits):
    X, _, unknown = digits
    score = EuclideanScore(quantile=0.9).fit(X[:600])
    display = EmbeddingDisplay.from_estimator(
        score, X[:600], query={"known": X[600:], "unknown": unknown}, reducer="pca"
    )
    accepted = score.select(unknown).selected.sum()
    assert f"unknown, accepted ({accepted})" in labels(display)
    assert "known, rejected" in display.scatters_


def test_detector_of_scikit_learn(plane):
    forest = IsolationForest(n_estimators=10, random_state=0).fit(plane[0])
    display = EmbeddingDisplay.from_estimator(forest, *plane, reducer=IDENTITY)
    np.testing.assert_array_equal(display.selected["query"], forest.predict(plane[2]) == 1)


def test_selective_model_shows_what_its_confidence_sees(digits):
    X, y, unknown = digits
    classifier = LogisticRegression(max_iter=500)
    inner = make_pipeline(StandardScaler(), PCA(2), EuclideanScore(quantile=0.9))
    model = make_pipeline(
        FunctionTransformer(lambda X: X / 16),
        SelectiveClassifier(classifier, inner, random_state=0),
    ).fit(X, y)
    display = EmbeddingDisplay.from_estimator(
        model, X, query=unknown, reducer=IDENTITY, max_rows=None
    )
    head = model[-1].confidence_[:-1]
    np.testing.assert_allclose(display.points["query"], head.transform(unknown / 16))
    selected = model[-1].select(unknown / 16).selected
    np.testing.assert_array_equal(display.selected["query"], selected)


def test_selective_model_with_a_response_shows_the_response(digits):
    X, y, unknown = digits
    model = SelectiveClassifier(
        LogisticRegression(max_iter=500),
        SoftmaxScore(),
        response_method="decision_function",
        random_state=0,
    ).fit(X / 16, y)
    display = EmbeddingDisplay.from_estimator(
        model, X[:50] / 16, query=unknown[:50] / 16, reducer="pca"
    )
    logits = model.estimator_.decision_function(np.vstack([X[:50], unknown[:50]]) / 16)
    expected = PCA(2).fit_transform(logits)[50:]
    np.testing.assert_allclose(np.abs(display.points["query"]), np.abs(expected), atol=1e-8)


def test_best_model_of_a_search(digits):
    X, y, unknown = digits
    model = SelectiveClassifier(LogisticRegression(max_iter=500), EuclideanScore(), random_state=0)
    search = GridSearchCV(model, {"confidence__k": [1, 5]}, cv=2).fit(X[:300] / 16, y[:300])
    display = EmbeddingDisplay.from_estimator(search, X / 16, query=unknown / 16, reducer="pca")
    selected = search.best_estimator_.select(unknown / 16).selected
    assert display.selected["query"].sum() == selected.sum()


def test_tensors_of_half_precision(plane):
    tensor = torch.tensor(plane[0]).to(torch.bfloat16).requires_grad_()
    display = EmbeddingDisplay.from_embeddings(tensor, reducer=IDENTITY)
    np.testing.assert_array_equal(display.points["reference"], tensor.detach().float().numpy())


def test_given_axes_are_used_and_no_figure_is_left_open(plane):
    figure, ax = plt.subplots()
    display = EmbeddingDisplay.from_embeddings(*plane, reducer=IDENTITY, ax=ax)
    assert display.ax_ is ax
    assert display.figure_ is figure
    assert plt.get_fignums() == [figure.number]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query": np.ones((4, 3))}, "query has 3 features and reference 2"),
        ({"query": {"reference": np.ones((4, 2))}}, "'reference'; give it another name"),
        ({"selected": np.ones(30)}, "selected of 'query' must be a bool array"),
        ({"selected": {"fresh": np.ones(30, bool)}}, "selected has 'fresh'"),
        ({"query": None, "selected": np.ones(30, bool)}, "selected is given without query"),
        ({"reference": None}, "reference is None"),
        ({"reducer": FunctionTransformer(lambda X: X * np.inf)}, "numbers that are not finite"),
        ({"max_rows": 0}, "'max_rows' parameter"),
        ({"max_rows": True}, "'max_rows' parameter"),
        ({"reducer": "isomap"}, "'isomap'"),
        ({"reducer": PCA(1)}, "PCA must return two columns"),
        ({"calibration": np.full((4, 2), np.nan)}, "calibration contains NaN"),
    ],
)
def test_what_cannot_be_drawn_is_refused(plane, change, message):
    sets = dict(zip(("reference", "calibration", "query"), plane, strict=True))
    with pytest.raises(ValueError, match=message):
        EmbeddingDisplay.from_embeddings(**{**sets, **change})
    assert plt.get_fignums() == []


def test_two_rows_are_no_picture():
    with pytest.raises(ValueError, match="needs at least 3"):
        EmbeddingDisplay.from_embeddings([[0.0, 1.0], [1.0, 0.0]])
