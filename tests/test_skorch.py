"""A skorch net is a classifier: it needs no code of ours."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler
from torch import nn

from sklearn_seapig import EuclideanScore, SelectiveClassifier

skorch = pytest.importorskip("skorch")

X, Y = load_digits(n_class=4, return_X_y=True)
X = (X / 16).astype(np.float32)


class Net(nn.Module):
    def __init__(self, hidden=16):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, hidden), nn.ReLU())
        self.head = nn.Linear(hidden, 4)

    def forward(self, X):
        return torch.softmax(self.head(self.body(X)), dim=1)


def net(**params):
    torch.manual_seed(0)
    return skorch.NeuralNetClassifier(
        Net, max_epochs=8, lr=0.5, batch_size=64, train_split=None, verbose=0, **params
    )


def test_net_in_selective_classifier():
    model = SelectiveClassifier(net(), EuclideanScore(quantile=0.9), random_state=0).fit(X, Y)
    np.testing.assert_array_equal(model.classes_, [0, 1, 2, 3])
    assert model.score(X, Y) > 0.9
    assert (model.predict(1 - X) == -1).all()
    np.testing.assert_array_equal(model.predict_proba(X), model.estimator_.predict_proba(X))
    other = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(other.predict(X), model.predict(X))
    np.testing.assert_array_equal(other.score_samples(X), model.score_samples(X))


def test_softmax_response_of_a_net_is_float64():
    model = SelectiveClassifier(net(), random_state=0).fit(X, Y)
    assert model.score_samples(X).dtype == np.float64
    assert model.coverage_ >= 0.95


@pytest.mark.parametrize("method", ["predict_proba", None])
def test_frozen_net(method):
    fitted = net().fit(X[::2], Y[::2])
    model = SelectiveClassifier(
        FrozenEstimator(fitted), EuclideanScore(quantile=0.9), response_method=method
    ).fit(X[1::2], Y[1::2])
    assert model.estimator_.estimator is fitted
    assert model.score(X, Y) > 0.9


def test_search_over_the_net_and_the_score():
    grid = {"estimator__module__hidden": [1, 16], "confidence__k": [1, 50]}
    model = SelectiveClassifier(net(), EuclideanScore(quantile=0.9), random_state=0)
    search = GridSearchCV(model, grid, cv=2).fit(X, Y)
    assert search.best_params_["estimator__module__hidden"] == 16
    assert len(np.unique(search.cv_results_["mean_test_score"])) > 2
    other = pickle.loads(pickle.dumps(search))
    np.testing.assert_array_equal(other.predict(X), search.predict(X))


def test_net_at_the_end_of_a_pipeline_with_out_of_fold_calibration():
    estimator = make_pipeline(
        MinMaxScaler(), FunctionTransformer(np.asarray, kw_args={"dtype": np.float32}), net()
    )
    model = SelectiveClassifier(estimator, EuclideanScore(quantile=0.9), cv=2).fit(X, Y)
    assert len(model.calibration_scores_) == len(X)
    assert model.score(X, Y) > 0.9
    assert clone(model).estimator[-1].module is Net
