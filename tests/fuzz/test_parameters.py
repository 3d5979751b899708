"""A parameter of the wrong type or range is named, and nothing changes; a good one works."""

import contextlib
import re
from inspect import signature

import joblib
import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, Ridge

from sklearn_seapig import (
    ConformalThreshold,
    CosineScore,
    CostThreshold,
    EnergyScore,
    EntropyScore,
    EuclideanScore,
    GaussianScore,
    GroupThreshold,
    MahalanobisScore,
    MarginScore,
    MaxLogitScore,
    PCAScore,
    PyODScore,
    QuantileThreshold,
    RandomScore,
    RiskThreshold,
    SelectiveClassifier,
    SelectiveRegressor,
    SoftmaxScore,
    TemperatureScaler,
    TorchEmbedder,
)

from .forms import outcome

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3))
Y = np.arange(40) % 3
SCORES = [EuclideanScore(), CosineScore(), MahalanobisScore(), GaussianScore(), PCAScore(),
          SoftmaxScore(), EntropyScore(), MarginScore(), EnergyScore(), MaxLogitScore(),
          RandomScore(), PyODScore()]  # fmt: skip
RULES = [QuantileThreshold(), ConformalThreshold(), RiskThreshold(), CostThreshold(),
         GroupThreshold(QuantileThreshold(0.5))]  # fmt: skip
ESTIMATORS = [
    *SCORES,
    *RULES,
    TemperatureScaler(),
    SelectiveClassifier(LogisticRegression(), EuclideanScore()),
    SelectiveRegressor(Ridge(), EuclideanScore()),
    TorchEmbedder(torch.nn.Linear(3, 2), method="forward"),
]
JUNK = [
    None, True, False, 0, 1, 2, -1, 3.5, 0.5, 1.0, np.nan, np.inf, -np.inf, 10**30, 1e-320,
    np.int64(2), np.int8(1), np.float32(0.5), np.bool_(True), np.str_("max"), "", "max", "mean",
    "0.9", "junk", "cuda:99", "meta", "binary", "multilabel", b"max", 1j, (), (1,), [], [0.5], {},
    {"k": 1}, {1}, np.array(0.5), np.array([1, 2]), np.array([]), torch.tensor(1.0),
    torch.tensor([1, 2]), float, len, object(), np.dtype(float), range(3), lambda X: X,
]  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def folder_of_its_own(tmp_path_factory):
    """Words are good paths for what an embedder writes."""
    with contextlib.chdir(tmp_path_factory.mktemp("parameters")):
        yield


def work(estimator):
    """Fit on data that suit the defaults and return answers as one array of floats."""
    if hasattr(estimator, "accept"):
        estimator.fit(X[:, 0], Y == 0, groups=Y)
        return np.array(estimator.accept(X[:, 0], groups=Y), dtype=float)
    estimator.fit(X, X[:, 0] if isinstance(estimator, SelectiveRegressor) else Y)
    if hasattr(estimator, "select"):
        selection = estimator.select(X)
        return np.concatenate([selection.score, selection.selected])
    return np.asarray(estimator.transform(X)).ravel()


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
@given(data=st.data())
def test_a_parameter_is_good_or_named(estimator, data):
    names = sorted(signature(type(estimator)).parameters)
    name = data.draw(st.sampled_from(names))
    junk = data.draw(st.sampled_from(JUNK))
    assume(not (name == "cv" and isinstance(junk, (int, np.integer)) and junk > 40))
    used = clone(estimator)
    outcome(work, used)
    setattr(used, name, junk)
    before = joblib.hash(vars(used)) if _hashable(junk) else None
    found = outcome(work, used)
    if isinstance(found, Exception):
        assert re.search(_words(name), str(found)), f"{name}={junk!r}: {found}"
        if before is not None:
            assert joblib.hash(vars(used)) == before
    else:
        assert not np.isnan(found).any(), f"{name}={junk!r} gives NaN"


@pytest.mark.parametrize("estimator", SCORES + RULES, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("yes", [True, np.bool_(True)])
def test_a_boolean_is_no_number(estimator, yes):
    numbers = set(signature(type(estimator)).parameters) & {
        "k", "quantile", "trim", "temperature", "n_components", "gamma", "n_features", "q", "delta",
        "max_risk", "max_loss", "n_steps", "reject_cost", "error_cost", "min_size", "shrinkage",
    }  # fmt: skip
    for name in numbers:
        found = outcome(work, clone(estimator).set_params(**{name: yes}))
        assert isinstance(found, ValueError), f"{name}={yes!r}"
        assert name in str(found)


def _words(name):
    # A parameter that is right for other data may show in them first.
    others = {
        "task": "columns|y |classes",
        "members": "members|n_features|array with dim",
        "device": "device",
        "estimator": "estimator|confidence|fit",
        "confidence": "confidence|fit",
        "threshold": "threshold|rule",
        "base": "base|max_risk",
        "temperature": "temperature|X",  # too small a one shows as logits that are too large
        "calibration_size": "calibration_size|test_size",  # scikit-learn splits the rows
        # Any iterable may be splits, and any function groups or losses: they tell themselves.
        "cv": "",
        "group_by": "",
        "loss": "",
    }
    return rf"\b{name}\b|{others.get(name, name)}"


def _hashable(junk):
    return not callable(junk) and type(junk) is not object
