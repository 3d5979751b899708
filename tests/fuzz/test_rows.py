"""Every score gives the reference answer for rows in any form, or names what is wrong with them.

The reference answer is that for the same values as a float64 array in C order. A longer run:
``pytest tests/fuzz --hypothesis-profile=long``.
"""

import copy
import functools
import re

import joblib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyod.models.iforest import IForest
from pyod.models.knn import KNN
from sklearn.base import clone

from sklearn_seapig import (
    CosineScore,
    EnergyScore,
    EntropyScore,
    EuclideanScore,
    GaussianScore,
    MahalanobisScore,
    MarginScore,
    MaxLogitScore,
    PCAScore,
    PyODScore,
    RandomScore,
    SoftmaxScore,
)

from .forms import NO_NUMBERS, TABLES, in_form, outcome, plain, values

SCORES = [
    EuclideanScore(k=2),
    EuclideanScore(k=1, stat="median", trim=0.2, quantile=0.5),
    CosineScore(k=2, stat="mean"),
    MahalanobisScore(k=2),
    GaussianScore(),
    GaussianScore(relative=True, shrinkage=0.1),
    PCAScore(),
    PCAScore(2, normalize=True),
    PCAScore(gamma=0.5, n_features=8, random_state=0),
    SoftmaxScore(),
    SoftmaxScore("binary"),
    EntropyScore(),
    EntropyScore("multilabel", aggregate="mean"),
    MarginScore(),
    MarginScore(kind="probability", temperature=2.0),
    EnergyScore(),
    EnergyScore("multilabel"),
    MaxLogitScore(),
    RandomScore(random_state=0),
    PyODScore(KNN(n_neighbors=2)),
    PyODScore(IForest(n_estimators=3, random_state=0)),
]
WIDTH = 3
CULPRIT = re.compile(r"\bX\b|\bX_cal\b|n_samples|n_features|n_components|\bk=")

every_score = pytest.mark.parametrize("score", SCORES, ids=repr)
a_form = st.sampled_from(sorted(TABLES))
no_numbers = st.sampled_from(sorted(NO_NUMBERS))


@functools.cache
def _fitted(score):
    rows = np.random.default_rng(0).normal(size=(12, 2 if "binary" in repr(score) else WIDTH))
    return outcome(clone(score).fit, rows)


def fitted(score):
    return copy.copy(_fitted(score))


def state(score):
    """Return a hash of all that a score holds, but for the tree of a detector that counts calls."""
    return joblib.hash({k: v for k, v in vars(score).items() if k != "detector_"})


def check_same(found, expected):
    """Compare two outcomes: equal numbers, or two errors of which the first names the culprit."""
    if isinstance(expected, Exception):
        assert isinstance(found, Exception), f"refused as float64: {expected}"
        assert CULPRIT.search(str(found)), str(found)
        return
    if isinstance(found, Exception):
        raise AssertionError(f"taken as float64, but here: {found}") from found
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=0)


def everything(score, X, **named):
    score.fit(X, **named)
    return np.concatenate([score.calibration_scores_, [score.offset_], score.support_])


@every_score
@given(array=values((0, 9), (0, 4)), form=a_form)
def test_fit_on_rows_in_any_form(score, array, form):
    X = in_form(TABLES[form], array)
    expected = outcome(everything, clone(score), plain(X))
    used = fitted(score)
    before = state(used)
    found = outcome(everything, used, X)
    check_same(found, expected)
    if isinstance(found, Exception):
        assert state(used) == before


@every_score
@given(array=values((1, 6), WIDTH), form=a_form)
def test_calibration_rows_in_any_form(score, array, form):
    used = fitted(score)
    X = in_form(TABLES[form], array)
    before, expected = state(used), fitted(score)
    found = outcome(used.set_threshold, 0.6, X)
    expected = outcome(expected.set_threshold, 0.6, plain(X))
    if isinstance(found, Exception):
        assert state(used) == before
        check_same(found, expected)
    else:
        check_same(found.calibration_scores_, expected.calibration_scores_)
        assert found.offset_ == expected.offset_
        assert found.quantile == 0.6


@every_score
@given(array=values((0, 6), (1, 4)), form=a_form)
def test_queries_in_any_form(score, array, form):
    used = fitted(score)
    before = state(used)
    X = in_form(TABLES[form], array)
    expected = outcome(used.score_samples, plain(X))
    check_same(outcome(used.score_samples, X), expected)
    if not isinstance(expected, Exception):
        selection = outcome(used.select, X)
        check_same(selection.score, expected)
        np.testing.assert_array_equal(selection.selected, selection.score >= used.offset_)
    assert state(used) == before


@every_score
@given(kind=no_numbers, method=st.sampled_from(["fit", "X_cal", "set_threshold", "select"]))
def test_what_is_no_table_of_numbers_is_named(score, kind, method):
    used = fitted(score)
    before = state(used)
    array = np.ones((5, used.n_features_in_))
    X = in_form(NO_NUMBERS[kind], array)
    if method == "X_cal":
        found = None if X is None else outcome(used.fit, array + np.arange(5)[:, None], X_cal=X)
    elif method == "set_threshold":
        found = None if X is None else outcome(used.set_threshold, 0.5, X)
    else:
        found = outcome(getattr(used, method), X)
    if found is not None:
        assert isinstance(found, Exception), f"took {kind} for numbers"
        assert CULPRIT.search(str(found)), str(found)
    assert state(used) == before


@every_score
@given(
    array=st.integers(0, 4).flatmap(lambda ndim: values(*[(0, 3)] * ndim)),
    method=st.sampled_from(["fit", "score_samples", "set_threshold"]),
)
def test_any_number_of_dimensions(score, array, method):
    used = fitted(score)
    before = state(used)
    call = getattr(used, method)
    found = outcome(call, X=array)
    if isinstance(found, Exception):
        assert CULPRIT.search(str(found)), str(found)
        assert state(used) == before
    else:
        # A vector of single logits is the one other shape there is.
        assert array.ndim == 2 or (array.ndim == 1 and "binary" in repr(score))
