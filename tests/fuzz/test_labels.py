"""Labels and single logits in any form, by what takes them: temperatures, classes, models."""

import functools
import re

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, Ridge

from sklearn_seapig import (
    EnergyScore,
    EntropyScore,
    EuclideanScore,
    GaussianScore,
    MarginScore,
    MaxLogitScore,
    QuantileThreshold,
    RiskThreshold,
    SelectiveClassifier,
    SelectiveRegressor,
    SoftmaxScore,
    TemperatureScaler,
)

from .forms import COLUMNS, FRAMES, LAYOUTS, NO_NUMBERS, TABLES, in_form, outcome, plain, values

N = 40
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 3))
CLASSES = np.arange(N) % 3
Q = RNG.normal(size=(6, 3))
CULPRIT = re.compile(r"\b(X|y|labels?|target|classes|samples|n_features)\b", re.IGNORECASE)
# How scikit-learn speaks of a y with more than two axes, and of a complex one.
OF_SCIKIT_LEARN = re.compile("Found array with dim 3|Complex data not supported")

ESTIMATORS = {
    "temperature": TemperatureScaler(),
    "fitted temperature": EnergyScore(temperature="fit"),
    "gaussian": GaussianScore(),
    "softmax response": SelectiveClassifier(LogisticRegression(), random_state=0),
    "distance": SelectiveClassifier(
        LogisticRegression(), EuclideanScore(k=2), RiskThreshold(0.9, 0.9), random_state=0
    ),
    "logits": SelectiveClassifier(
        LogisticRegression(),
        SoftmaxScore(temperature="fit"),
        response_method="decision_function",
        cv=2,
    ),
}
REGRESSOR = SelectiveRegressor(Ridge(), EuclideanScore(k=2), QuantileThreshold(0.7), random_state=0)
SINGLE = [SoftmaxScore("binary"), EntropyScore("binary"), EnergyScore("binary"),
          MaxLogitScore("binary"), MarginScore(task="binary")]  # fmt: skip

LABELS = {
    "int64": lambda y: y,
    "int8": lambda y: y.astype(np.int8),
    "uint16": lambda y: y.astype(np.uint16),
    "float": lambda y: y.astype(float),
    "words": lambda y: np.array(["a", "b", "c"])[y],
    "list": lambda y: y.tolist(),
    "tuple": tuple,
    "column": lambda y: y[:, None],
    "series": lambda y: pd.Series(y, index=np.arange(len(y))[::-1]),
    "tensor": torch.tensor,
    "tensor int8": lambda y: torch.tensor(y).to(torch.int8),
    "read-only": lambda y: np.broadcast_to(y, y.shape),
    "negative strides": lambda y: y[::-1].copy()[::-1],
    "swapped": lambda y: y.astype(y.dtype.newbyteorder()),
}
NO_LABELS = {
    "short": lambda y: y[:-1],
    "long": lambda y: np.append(y, 0),
    "empty": lambda y: y[:0],
    "continuous": lambda y: y + 0.5 * RNG.random(len(y)),
    "nan": lambda y: np.where(y == 0, np.nan, y),
    "infinity": lambda y: np.where(y == 0, np.inf, y),
    "one hot": lambda y: np.eye(3)[y],
    "3-D": lambda y: y[:, None, None],
    "number": lambda y: 1,
    "mixed": lambda y: np.where(y == 0, None, y.astype(object)),
    "words and numbers": lambda y: np.array(["a", *y[1:].tolist()], dtype=object),
    "dict": lambda y: {"y": y},
    "object": lambda y: object(),
    "complex": lambda y: y + 1j,
    "sparse tensor": lambda y: torch.tensor(y).to_sparse(),
    "meta": lambda y: torch.tensor(y).to("meta"),
}

every_estimator = pytest.mark.parametrize("name", ESTIMATORS)


@functools.cache
def _fitted(name):
    return joblib.hash(vars(fitted(name)))


def fitted(name):
    return outcome(clone(ESTIMATORS[name]).fit, X[::-1], CLASSES)


def answers(estimator, X, y):
    """Return what a fitted estimator says, as one array of floats."""
    estimator.fit(X, y)
    if isinstance(estimator, TemperatureScaler):
        return np.append(estimator.transform(Q).ravel(), estimator.temperature_)
    if isinstance(estimator, SelectiveRegressor):
        return np.concatenate(list(estimator.select(Q).values()))
    if isinstance(estimator, SelectiveClassifier):
        found = estimator.select(Q)
        labels = np.unique(found.predictions, return_inverse=True)[1]
        parts = (labels, found.score, found.selected, [estimator.threshold_])
        return np.concatenate([np.asarray(part, dtype=np.float64) for part in parts])
    return np.append(estimator.score_samples(Q), estimator.offset_)


def check_same(found, expected):
    if isinstance(expected, Exception):
        assert isinstance(found, Exception), f"refused as plain labels: {expected}"
        assert CULPRIT.search(str(found)), str(found)
        return
    if isinstance(found, Exception):
        raise AssertionError(f"taken as plain labels, but here: {found}") from found
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-300)


@every_estimator
@given(form=st.sampled_from(sorted(LABELS)), rows=st.sampled_from(sorted(TABLES)))
def test_labels_in_any_form(name, form, rows):
    selective = "Selective" in repr(ESTIMATORS[name])
    own = rows in LAYOUTS or rows in FRAMES  # of what parts of scikit-learn take as they are
    rows = in_form(TABLES[rows], X)
    rows = plain(rows) if selective and not own else rows
    y = LABELS[form](CLASSES)
    expected = outcome(answers, clone(ESTIMATORS[name]), plain(rows), CLASSES)
    found = outcome(answers, clone(ESTIMATORS[name]), rows, y)
    if selective and not isinstance(found, Exception):
        # Parts of scikit-learn may compute in float32 where they are given it.
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    else:
        check_same(found, expected)


@every_estimator
@given(kind=st.sampled_from(sorted(NO_LABELS)))
def test_what_are_no_labels_is_named_and_changes_nothing(name, kind):
    estimator, before = fitted(name), _fitted(name)
    found = outcome(estimator.fit, X, NO_LABELS[kind](CLASSES))
    assert isinstance(found, Exception), f"took {kind} for labels"
    if "Selective" not in repr(estimator):
        assert CULPRIT.search(str(found)) or OF_SCIKIT_LEARN.match(str(found)), str(found)
    assert joblib.hash(vars(estimator)) == before


@given(array=values(N), form=st.sampled_from(sorted(set(COLUMNS) - {"bfloat16", "float8"})))
def test_targets_of_a_regression_in_any_form(array, form):
    y = in_form(COLUMNS[form], array)
    expected = outcome(answers, clone(REGRESSOR), X, plain(y).reshape(N))
    if isinstance(expected, Exception) or not np.isfinite(expected).all():
        return  # a ridge that overflows is not ours
    found = outcome(answers, clone(REGRESSOR), X, y)
    if not isinstance(found, Exception):
        np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-2 * np.abs(expected).max())
    else:
        assert CULPRIT.search(str(found)), str(found)


@pytest.mark.parametrize("name", ["softmax response", "distance", "logits"])
@given(kind=st.sampled_from(sorted(NO_NUMBERS)), method=st.sampled_from(["fit", "select"]))
def test_a_selective_model_is_as_it_was_after_rows_that_its_parts_refuse(name, kind, method):
    model, before = fitted(name), _fitted(name)
    rows = in_form(NO_NUMBERS[kind], X)
    try:
        outcome(lambda: model.fit(rows, CLASSES) if method == "fit" else model.select(rows))
    except Exception:  # of whatever kind: rows are for the parts to judge
        refused = True
    else:
        refused = joblib.hash(vars(model)) == before
    if refused or method == "select":
        assert joblib.hash(vars(model)) == before


@pytest.mark.parametrize("score", SINGLE, ids=repr)
@given(array=values((0, 6)), form=st.sampled_from(sorted(COLUMNS)))
def test_single_logits_in_any_form(score, array, form):
    z = in_form(COLUMNS[form], array)
    expected = outcome(clone(score).fit, plain(z).reshape(-1, 1))
    found = outcome(clone(score).fit, z)
    assert isinstance(found, Exception) == isinstance(expected, Exception)
    if isinstance(found, Exception):
        assert re.search(r"\bX\b", str(found)), str(found)
    else:
        np.testing.assert_allclose(found.calibration_scores_, expected.calibration_scores_, 1e-9)
        check_same(outcome(found.score_samples, z), expected.score_samples(plain(z).reshape(-1, 1)))
