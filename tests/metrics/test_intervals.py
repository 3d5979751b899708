"""Bootstrap intervals and the paired comparison."""

import numpy as np
import pytest
from scipy.stats import binom

from sklearn_seapig.metrics import (
    aurc_score,
    bootstrap_interval,
    compare_scores,
    coverage_at_risk,
    failure_auroc_score,
    fpr_at_tpr,
    risk_at_coverage,
)
from sklearn_seapig.metrics.intervals import _VECTORIZED

KWARGS = {coverage_at_risk: {"target": 0.1}, risk_at_coverage: {"coverage": 0.7}}


def rows(n, seed=0, n_values=None):
    rng = np.random.default_rng(seed)
    confidence = rng.random(n)
    loss = (rng.random(n) < 0.5 * (1 - confidence) ** 2).astype(float)
    if n_values is not None:
        confidence = np.floor(confidence * n_values)
    return loss, confidence


@pytest.mark.parametrize("metric", _VECTORIZED, ids=lambda metric: metric.__name__)
@pytest.mark.parametrize("n_values", [None, 7])
@pytest.mark.parametrize("weighted", [False, True])
def test_many_resamples_at_once_are_each_the_metric_of_the_repeated_rows(
    metric, n_values, weighted
):
    loss, confidence = rows(60, n_values=n_values)
    weight = np.random.default_rng(1).integers(1, 4, 60) if weighted else None
    common = {"sample_weight": weight, "random_state": 3, "n_resamples": 40, "stratify": True}
    fast = bootstrap_interval(metric, loss, confidence, **common, **KWARGS.get(metric, {}))

    def plain(*args, **kwargs):  # a function that is not known to be a metric of ours
        return metric(*args, **kwargs)

    slow = bootstrap_interval(plain, loss, confidence, **common, **KWARGS.get(metric, {}))
    if weighted and "aurc" in metric.__name__:
        # A row of weight w counts w times the risk at its end, which repetition does not.
        assert fast.estimate == slow.estimate
        np.testing.assert_allclose(fast, slow, rtol=0.1)
    else:
        np.testing.assert_allclose(fast, slow, atol=1e-12)


def test_interval_holds_the_value_of_the_population():
    # The stratified one does not, as its docstring says: the error rate is uncertain too.
    truth = aurc_score(*rows(1_000_000, seed=99))
    held = {False: 0, True: 0}
    for seed in range(200):
        for stratify in held:
            interval = bootstrap_interval(
                "aurc", *rows(300, seed), n_resamples=300, stratify=stratify, random_state=seed
            )
            held[stratify] += interval.low <= truth <= interval.high
    assert held[False] >= binom.ppf(0.001, 200, 0.93)
    assert held[True] < 170


def test_comparison_rejects_no_difference_as_rarely_as_it_says():
    rejected = 0
    for seed in range(200):
        loss, confidence = rows(300, seed)
        rng = np.random.default_rng(seed)
        a, b = (confidence + rng.normal(scale=0.2, size=300) for _ in range(2))
        result = compare_scores(loss, a, b, n_resamples=200, random_state=seed)
        rejected += result.pvalue < 0.05
        assert result.low <= result.high
    assert rejected <= binom.ppf(0.999, 200, 0.06)


def test_comparison_finds_a_difference_and_its_sign():
    loss, confidence = rows(800)
    noisy = confidence + np.random.default_rng(0).normal(size=800)
    worse = compare_scores(loss, noisy, confidence, random_state=0)
    assert worse.difference == aurc_score(loss, noisy) - aurc_score(loss, confidence)
    assert worse.low > 0
    assert worse.pvalue == 2 / 2001  # the smallest there is
    better = compare_scores(loss, confidence, noisy, random_state=0)
    np.testing.assert_allclose(better[:3], [-worse.difference, -worse.high, -worse.low])
    by_auroc = compare_scores(loss, confidence, noisy, metric="failure_auroc", random_state=0)
    assert by_auroc.low > 0


def test_monotone_transformations_are_no_difference():
    loss, confidence = rows(200)
    result = compare_scores(loss, confidence, np.exp(5 * confidence), random_state=0)
    assert result == (0, 0, 0, 1)


def test_same_seed_same_interval():
    loss, confidence = rows(200)
    first = bootstrap_interval("augrc", loss, confidence, random_state=0)
    assert bootstrap_interval("augrc", loss, confidence, random_state=0) == first
    assert bootstrap_interval("augrc", loss, confidence, random_state=1) != first


def test_level_widens_the_interval():
    loss, confidence = rows(300)
    narrow, wide = (
        bootstrap_interval("aurc", loss, confidence, level=level, random_state=0)
        for level in (0.5, 0.99)
    )
    assert wide.low < narrow.low < narrow.estimate < narrow.high < wide.high


def test_undefined_resamples_are_left_out():
    # FB-20: with one error, a third of the resamples hold none
    loss = np.r_[1.0, np.zeros(30)]
    confidence = np.random.default_rng(0).random(31)
    interval = bootstrap_interval(failure_auroc_score, loss, confidence, random_state=0)
    assert 0 <= interval.low <= interval.high <= 1
    with pytest.warns(UserWarning, match="undefined"):
        nothing = bootstrap_interval(fpr_at_tpr, np.zeros(5), confidence[:5], random_state=0)
    assert np.isnan(nothing).all()
    with pytest.warns(UserWarning, match="undefined"):
        nothing = compare_scores(
            np.zeros(5), confidence[:5], confidence[5:10], metric="failure_auroc"
        )
    assert np.isnan(nothing).all()


def test_chunks_do_not_change_what_is_measured():
    loss, confidence = rows(200_000)  # five resamples a chunk
    interval = bootstrap_interval("augrc", loss, confidence, n_resamples=12, random_state=0)
    assert interval.low < interval.estimate * 1.02
    assert interval.high > interval.estimate * 0.98


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"metric": "auroc"}, "metric='auroc' is unknown; give one of"),
        ({"metric": None}, "metric=None is unknown"),
        ({"metric": ["aurc"]}, "is unknown"),
        ({"level": 95}, "level"),
        ({"level": 1}, "level"),
        ({"n_resamples": 0}, "n_resamples"),
        ({"n_resamples": True}, "n_resamples"),
        ({"stratify": "yes"}, "stratify"),
        ({"random_state": "a"}, "seed"),
    ],
)
def test_parameters_out_of_range_are_named(kwargs, message):
    loss, confidence = rows(20)
    kwargs = {"metric": "aurc", **kwargs}
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(loss=loss, confidence=confidence, **kwargs)
    with pytest.raises(ValueError, match=message):
        compare_scores(loss, confidence, confidence, **kwargs)


def test_functions_need_not_be_hashable():
    class Worst(dict):
        def __call__(self, loss, confidence):
            return float(loss.max())

    assert bootstrap_interval(Worst(), *rows(20), n_resamples=5).estimate == 1
