"""Threshold rules and metrics give the reference answer for vectors in any form, or name them."""

import re

import joblib
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.base import clone

from sklearn_seapig import (
    ConformalThreshold,
    CostThreshold,
    GroupThreshold,
    QuantileThreshold,
    RiskThreshold,
    benjamini_hochberg,
    conformal_pvalues,
)
from sklearn_seapig import metrics as m

from .forms import COLUMNS, NO_NUMBERS, in_form, outcome, plain, values

RULES = [
    QuantileThreshold(0.8),
    ConformalThreshold(0.5),
    RiskThreshold(0.4, 0.4),
    CostThreshold(),
    GroupThreshold(QuantileThreshold(0.5), min_size=2),
]
METRICS = {
    "curve": lambda loss, c, **w: np.concatenate(m.risk_coverage_curve(loss, c, **w)[:3]),
    "aurc": m.aurc_score,
    "excess": m.excess_aurc_score,
    "normalized": m.normalized_aurc_score,
    "augrc": m.augrc_score,
    "coverage": lambda loss, c, **w: m.coverage_at_risk(loss, c, 0.3, **w),
    "risk": lambda loss, c, **w: m.risk_at_coverage(loss, c, 0.5, **w),
    "auroc": m.failure_auroc_score,
    "fpr": m.fpr_at_tpr,
    "reliability": lambda loss, c, **w: m.effective_reliability_score(loss, c, 0.0, **w),
}
PAIRS = {"pvalues": conformal_pvalues, "hochberg": lambda p, _: benjamini_hochberg(p, 0.5)}
CULPRIT = re.compile(
    r"\b(confidence|error|loss|sample_weight|groups|calibration_scores|scores|pvalues"
    r"|inconsistent numbers of samples)\b"
)

every_rule = pytest.mark.parametrize("rule", RULES, ids=repr)
every_metric = pytest.mark.parametrize("metric", METRICS)
a_form = st.sampled_from(sorted(COLUMNS))
# A vector in a list or in words is an array of numbers too, as long as numpy reads it as one.
no_numbers = st.sampled_from(
    sorted(set(NO_NUMBERS) - {"None", "sparse", "structured", "frame of words", "frame of dates"})
)
length = st.shared(st.integers(0, 8), key="length")


def check_same(found, expected):
    if isinstance(expected, Exception):
        assert isinstance(found, Exception), f"refused as float64: {expected}"
        assert CULPRIT.search(str(found)), str(found)
        return
    if isinstance(found, Exception):
        raise AssertionError(f"taken as float64, but here: {found}") from found
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=0)


@st.composite
def vectors(draw):
    """Confidences in any form, and zeros and ones in any form, mostly of one length."""
    n = draw(st.integers(0, 8))
    confidence = draw(values(n))
    errors = np.array(draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=n, max_size=n)))
    if draw(st.integers(0, 5)) == 5:
        errors = draw(values((0, 8)))
    forms = [COLUMNS[draw(a_form)] for _ in range(2)]
    return in_form(forms[0], confidence), in_form(forms[1], errors)


def learned(rule, *arguments, **named):
    rule.fit(*arguments, **named)
    bounds = getattr(rule, "thresholds_", [])
    return np.array([rule.threshold_, rule.feasible_, *bounds], dtype=np.float64)


@every_rule
@given(pair=vectors(), with_weight=st.booleans())
def test_rules(rule, pair, with_weight):
    confidence, error = pair
    named = {}
    if isinstance(rule, GroupThreshold):
        named["groups"] = np.arange(len(plain(confidence))) % 2
    if with_weight:
        named["sample_weight"] = [1.0] * len(plain(confidence))
    used = clone(rule).fit(np.arange(9.0), np.zeros(9), groups=[0] * 9)
    before = joblib.hash(vars(used))
    expected = outcome(learned, clone(rule), plain(confidence), plain(error), **named)
    found = outcome(learned, used, confidence, error, **named)
    check_same(found, expected)
    if isinstance(found, Exception):
        assert joblib.hash(vars(used)) == before


@every_metric
@given(pair=vectors(), with_weight=st.booleans())
def test_metrics(metric, pair, with_weight):
    confidence, loss = pair
    weight = {"sample_weight": [2] * len(plain(loss))} if with_weight else {}
    expected = outcome(METRICS[metric], plain(loss), plain(confidence), **weight)
    check_same(outcome(METRICS[metric], loss, confidence, **weight), expected)


@pytest.mark.parametrize("function", PAIRS)
@given(pair=vectors())
def test_pvalues(function, pair):
    assume(len(plain(pair[0])))
    expected = outcome(PAIRS[function], *map(plain, pair))
    check_same(outcome(PAIRS[function], *pair), expected)


@every_rule
@given(kind=no_numbers, where=st.sampled_from(["confidence", "error", "accept"]))
def test_what_is_no_vector_is_named_by_rules(rule, kind, where):
    good = {"confidence": np.arange(6.0), "error": np.zeros(6), "sample_weight": np.ones(6)}
    groups = {"groups": [0] * 6} if isinstance(rule, GroupThreshold) else {}
    assume(where != "error" or isinstance(rule, (RiskThreshold, CostThreshold)))
    used = clone(rule).fit(**good, **groups)
    before = joblib.hash(vars(used))
    bad = in_form(NO_NUMBERS[kind], np.arange(6.0))
    if where == "accept":
        found = outcome(used.accept, bad, **groups)
    else:
        found = outcome(used.fit, **{**good, where: bad}, **groups)
    assert isinstance(found, Exception), f"took {kind} for numbers"
    assert CULPRIT.search(str(found)), str(found)
    assert joblib.hash(vars(used)) == before


@every_metric
@given(kind=no_numbers, where=st.sampled_from(["loss", "confidence", "sample_weight"]))
def test_what_is_no_vector_is_named_by_metrics(metric, kind, where):
    good = {"loss": np.array([0, 1.0] * 3), "c": np.arange(6.0), "sample_weight": np.ones(6)}
    bad = in_form(NO_NUMBERS[kind], np.arange(6.0))
    good["c" if where == "confidence" else where] = bad
    found = outcome(METRICS[metric], good["loss"], good["c"], sample_weight=good["sample_weight"])
    assert isinstance(found, Exception), f"took {kind} for numbers"
    assert CULPRIT.search(str(found)), str(found)
