"""Risk-coverage metrics against hand-made values, a plain numpy reference and published numbers."""

import json
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from sklearn.exceptions import DataConversionWarning
from sklearn.metrics import roc_auc_score

from sklearn_seapig.metrics import (
    augrc_score,
    aurc_score,
    coverage_at_risk,
    excess_aurc_score,
    failure_auroc_score,
    fpr_at_tpr,
    normalized_aurc_score,
    risk_at_coverage,
    risk_coverage_curve,
)

AREAS = [aurc_score, excess_aurc_score, normalized_aurc_score, augrc_score]

# Errors from the most to the least confident row, with the exact values of the literature's
# definitions: AURC, E-AURC, NAURC, AUGRC, AUROC of failures.
GOLDEN = {
    (1, 0, 0, 0): ("25/48", "11/24", "22/9", "7/32", "0"),
    (0, 0, 0, 1): ("1/16", "0", "0", "1/32", "1"),
    (0, 0, 1, 1): ("5/24", "0", "0", "1/8", "1"),
    (0, 0, 1): ("1/9", "0", "0", "1/18", "1"),
}


def falling(n):
    return -np.arange(n, dtype=float)


def reference(loss, confidence):
    """AURC and AUGRC by loops over ranks, tied rows at their mean loss."""
    order = np.argsort(-confidence, kind="stable")
    loss, confidence = loss[order], confidence[order]
    smooth = np.array([loss[confidence == c].mean() for c in confidence])
    n = len(loss)
    cumulated = np.cumsum(smooth)
    aurc = np.mean(cumulated / np.arange(1, n + 1))
    heights = np.append(0, cumulated) / n
    return aurc, np.sum((heights[1:] + heights[:-1]) / 2) / n


def fast_reference(loss, confidence):
    """The same for many rows, in extended precision."""
    _, block = np.unique(-confidence, return_inverse=True)
    mean = np.bincount(block, loss) / np.bincount(block)
    ordered = np.sort(block)
    cumulated = np.cumsum(mean[ordered].astype(np.longdouble))
    return float(np.mean(cumulated / np.arange(1, len(loss) + 1)))


def harmonic(n):
    return sum(Fraction(1, k) for k in range(1, n + 1))


@pytest.mark.parametrize(("errors", "expected"), GOLDEN.items())
def test_golden_values(errors, expected):
    metrics = [*AREAS, failure_auroc_score]
    for metric, value in zip(metrics, expected, strict=True):
        assert metric(errors, falling(len(errors))) == pytest.approx(
            float(Fraction(value)), abs=1e-15
        )


def test_values_of_the_reference_implementation_with_ties():
    labels = np.tile([0, 1], 50)
    wrong = 1 - labels
    assert aurc_score(wrong, np.ones(100)) == pytest.approx(0.5, abs=1e-15)
    assert augrc_score(wrong, np.ones(100)) == 0.25
    assert augrc_score(wrong, labels) == 0.125


@pytest.mark.parametrize(("n", "f"), [(10, 5), (100, 10), (7, 7), (25, 1)])
def test_closed_forms_of_the_best_and_the_worst_order(n, f):
    errors = np.r_[np.zeros(n - f), np.ones(f)]
    r = Fraction(f, n)
    best = r - (1 - r) * (harmonic(n) - harmonic(n - f))
    worst = r * (1 + harmonic(n) - harmonic(f))
    assert aurc_score(errors, falling(n)) == pytest.approx(float(best), abs=1e-14)
    assert aurc_score(errors, -falling(n)) == pytest.approx(float(worst), abs=1e-14)
    assert augrc_score(errors, falling(n)) == pytest.approx(float(r * r / 2), abs=1e-14)
    assert augrc_score(errors, -falling(n)) == pytest.approx(float(r - r * r / 2), abs=1e-14)
    assert excess_aurc_score(errors, falling(n)) == 0  # SP-RC-03
    if f < n:
        assert normalized_aurc_score(errors, falling(n)) == 0
        assert normalized_aurc_score(errors, np.zeros(n)) == pytest.approx(1, abs=1e-12)


def test_the_oracle_is_that_of_the_finite_sample():
    # SP-RC-04: the asymptotic r + (1 - r) ln(1 - r) would give .153426
    errors = np.r_[np.zeros(5), np.ones(5)]
    assert aurc_score(errors, falling(10)) == pytest.approx(0.177183, abs=1e-6)


def test_a_sum_over_errors_gives_the_same():
    rng = np.random.default_rng(0)
    n = 200
    errors = rng.random(n) < 0.2
    ranks = np.flatnonzero(errors) + 1
    weights = [float(harmonic(n) - harmonic(rank - 1)) for rank in ranks]
    assert aurc_score(errors, falling(n)) == pytest.approx(sum(weights) / n, abs=1e-13)


losses_and_confidences = st.integers(1, 40).flatmap(
    lambda n: st.tuples(
        npst.arrays(float, n, elements=st.sampled_from([0.0, 0.0, 1.0, 0.5, 3.25])),
        npst.arrays(float, n, elements=st.sampled_from([0.0, 0.25, 0.5, 1.0, -np.inf, np.inf, 7])),
    )
)


@settings(deadline=None)
@given(losses_and_confidences, st.integers(0, 1000))
def test_areas_equal_a_plain_reference_in_every_row_order(data, seed):
    loss, confidence = data
    aurc, augrc = reference(loss, confidence)
    best, _ = reference(loss, -loss)
    order = np.random.default_rng(seed).permutation(len(loss))
    for at in (slice(None), order):
        assert aurc_score(loss[at], confidence[at]) == pytest.approx(aurc, abs=1e-12)
        assert augrc_score(loss[at], confidence[at]) == pytest.approx(augrc, abs=1e-12)
        assert excess_aurc_score(loss[at], confidence[at]) == pytest.approx(aurc - best, abs=1e-12)


@settings(deadline=None)
@given(losses_and_confidences)
def test_curve_equals_a_loop_over_thresholds(data):
    # FB-08, FB-09, SP-RC-05
    loss, confidence = data
    curve = risk_coverage_curve(loss, confidence)
    thresholds = np.unique(confidence)[::-1]
    np.testing.assert_array_equal(curve.threshold, thresholds)
    for i, threshold in enumerate(thresholds):
        accepted = confidence >= threshold
        assert curve.coverage[i] == pytest.approx(accepted.mean(), abs=1e-12)
        assert curve.selective_risk[i] == pytest.approx(loss[accepted].mean(), abs=1e-12)
        assert curve.generalized_risk[i] == pytest.approx(
            loss[accepted].sum() / len(loss), abs=1e-12
        )
    assert curve.coverage[-1] == 1
    assert (np.diff(curve.coverage) > 0).all()


@settings(deadline=None)
@given(losses_and_confidences, st.integers(1, 10))
def test_operating_points_equal_a_loop_over_thresholds(data, tenths):
    loss, confidence = data
    points = [
        ((confidence >= t).mean(), loss[confidence >= t].mean())
        for t in np.unique(confidence)[::-1]
    ]
    wanted = tenths / 10
    expected = next(risk for coverage, risk in points if coverage >= wanted - 1e-12)
    assert risk_at_coverage(loss, confidence, wanted) == pytest.approx(expected, abs=1e-12)
    allowed = [coverage for coverage, risk in points if risk <= wanted + 1e-12]
    assert coverage_at_risk(loss, confidence, wanted) == pytest.approx(max(allowed, default=0))


def test_identities_of_zero_one_errors_hold_with_ties():
    rng = np.random.default_rng(1)
    for ties in (3, 30, 10**9):
        confidence = rng.integers(0, ties, 500).astype(float)
        wrong = rng.random(500) < 0.3
        r = wrong.mean()
        auroc = roc_auc_score(~wrong, confidence)
        assert failure_auroc_score(wrong, confidence) == pytest.approx(auroc, abs=1e-12)
        augrc = r * (1 - r) * (1 - auroc) + r * r / 2
        assert augrc_score(wrong, confidence) == pytest.approx(augrc, abs=1e-12)


def test_random_order_has_the_mean_loss_on_average():
    rng = np.random.default_rng(2)
    wrong = np.r_[np.ones(3), np.zeros(17)]
    values = [aurc_score(wrong, rng.permutation(20)) for _ in range(20000)]
    error = 4 * np.std(values) / np.sqrt(len(values))
    assert np.mean(values) == pytest.approx(0.15, abs=error)
    # Which is exactly what a constant confidence gets.
    assert aurc_score(wrong, np.zeros(20)) == pytest.approx(0.15, abs=1e-14)


def test_tied_block_is_the_mean_over_its_orders():
    rng = np.random.default_rng(3)
    loss, confidence = np.array([0, 2.0, 1, 0, 5]), np.array([3, 2, 2, 2, 1.0])
    values = [aurc_score(loss, confidence + 1e-6 * rng.permutation(5)) for _ in range(20000)]
    error = 4 * np.std(values) / np.sqrt(len(values))
    assert aurc_score(loss, confidence) == pytest.approx(np.mean(values), abs=error)


@pytest.mark.parametrize("n", [1, 2, 5, 10, 100, 1000])
def test_constant_loss_is_the_aurc(n):
    # SP-RC-16, SP-RC-11
    rng = np.random.default_rng(n)
    for confidence in (rng.random(n), rng.integers(0, 3, n), np.zeros(n)):
        assert aurc_score(np.full(n, 0.3), confidence) == pytest.approx(0.3, abs=1e-12)


def test_constant_confidence_has_the_mean_loss_in_any_order():
    # SP-RC-06
    loss = np.r_[np.ones(100), np.zeros(900)]
    for order in (slice(None), slice(None, None, -1), np.random.default_rng(0).permutation(1000)):
        assert aurc_score(loss[order], np.full(1000, 0.7)) == pytest.approx(0.1, abs=1e-12)


def test_real_valued_losses_without_information():
    # SP-RC-02
    rng = np.random.default_rng(5)
    loss = np.abs(rng.normal(size=5000))
    assert aurc_score(loss, np.zeros(5000)) == pytest.approx(loss.mean(), abs=1e-12)
    ordered = np.linspace(1, 0, 2001)
    assert augrc_score(ordered, ordered * -1) == pytest.approx(1 / 6, abs=1e-3)
    assert aurc_score(ordered, ordered * -1) == pytest.approx(1 / 4, abs=1e-3)


def test_rare_confident_errors_are_not_lost():
    # SP-RC-21
    rng = np.random.default_rng(6)
    for rate in (0.01, 0.001):
        wrong = (rng.random(10_000) < rate).astype(float)
        wrong[:3] = 1
        confidence = np.r_[1 - 1e-9 * np.arange(3), rng.random(9997)]
        assert aurc_score(wrong, confidence) == pytest.approx(
            fast_reference(wrong, confidence), rel=1e-9
        )


def test_large_samples_with_ties_keep_their_precision():
    rng = np.random.default_rng(7)
    for n_values in (3, 1000, 300_000):
        loss, confidence = rng.exponential(size=500_000), rng.integers(0, n_values, 500_000)
        assert aurc_score(loss, confidence) == pytest.approx(
            fast_reference(loss, confidence), rel=1e-12
        )


@pytest.mark.parametrize("n", [10_000, 1_000_000])
def test_sums_of_many_rows_do_not_drift(n):
    confidence = np.random.default_rng(0).random(n)
    assert coverage_at_risk(np.full(n, 0.1), confidence, 0.1) == 1
    constant = np.full(n, 0.7)
    assert aurc_score(constant, confidence) == pytest.approx(0.7, rel=1e-13)
    assert augrc_score(constant, confidence) == pytest.approx(0.35, rel=1e-13)
    assert excess_aurc_score(constant, confidence) == 0
    loss = np.random.default_rng(1).random(n)
    for metric in (aurc_score, augrc_score):
        weighted = metric(loss, confidence, sample_weight=np.full(n, 0.1))
        assert weighted == pytest.approx(metric(loss, confidence), rel=1e-12)


class TestWeights:
    def test_a_perfect_order_has_no_excess_whatever_the_weights(self):
        for confidence in ([3, 2, 1], [3, 1, 2]):
            for metric in (excess_aurc_score, normalized_aurc_score):
                assert metric([0, 1, 1], confidence, sample_weight=[1, 10, 1]) == 0
        worse = excess_aurc_score([0, 1, 1], [2, 3, 1], sample_weight=[1, 10, 1])
        assert worse > 0

    def test_what_beats_the_order_by_loss_is_not_called_equal_to_it(self):
        loss, weight = [0, 2, 1, 0, 1], [10, 30, 1, 1, 1]
        excess = excess_aurc_score(loss, [3, 1, 2, 1, 1], sample_weight=weight)
        assert excess == pytest.approx(
            aurc_score(loss, [3, 1, 2, 1, 1], sample_weight=weight)
            - aurc_score(loss, [5, 1, 2, 4, 2], sample_weight=weight),
            abs=1e-12,
        )
        assert excess < 0

    @pytest.mark.parametrize("scale", [1e-300, 1e-200, 1e160, 1e300])
    def test_the_scale_of_weights_does_not_matter(self, scale):
        loss, confidence, weight = [1, 0, 1], [3, 2, 1], np.array([1, 2, 3.0])
        for metric in (*AREAS, failure_auroc_score, fpr_at_tpr):
            expected = metric(loss, confidence, sample_weight=weight)
            scaled = metric(loss, confidence, sample_weight=scale * weight)
            assert scaled == pytest.approx(expected, rel=1e-12)

    def test_unit_weights_change_nothing(self):
        rng = np.random.default_rng(8)
        loss, confidence = rng.random(100), rng.integers(0, 20, 100)
        for metric in AREAS:
            weighted = metric(loss, confidence, sample_weight=np.ones(100))
            assert weighted == pytest.approx(metric(loss, confidence), abs=1e-13)

    @pytest.mark.parametrize(
        "metric",
        [
            augrc_score,
            lambda *a, **k: coverage_at_risk(*a, 0.3, **k),
            lambda *a, **k: risk_at_coverage(*a, 0.4, **k),
            failure_auroc_score,
            fpr_at_tpr,
        ],
    )
    def test_integer_weights_are_repetitions(self, metric):
        rng = np.random.default_rng(9)
        wrong, confidence = rng.random(60) < 0.3, rng.integers(0, 15, 60)
        weight = rng.integers(0, 4, 60)
        repeated = metric(np.repeat(wrong, weight), np.repeat(confidence, weight))
        assert metric(wrong, confidence, sample_weight=weight) == pytest.approx(repeated)

    def test_aurc_weighs_the_risk_at_the_end_of_each_row(self):
        loss, weight = np.array([0.0, 1, 0, 2]), np.array([1.0, 2, 3, 4])
        risk = np.cumsum(weight * loss) / np.cumsum(weight)
        expected = np.average(risk, weights=weight)
        assert aurc_score(loss, falling(4), sample_weight=weight) == pytest.approx(expected)

    def test_scale_of_weights_and_order_of_tied_rows_do_not_matter(self):
        rng = np.random.default_rng(10)
        loss, confidence = rng.random(80), rng.integers(0, 6, 80)
        weight, order = rng.random(80), rng.permutation(80)
        for metric in AREAS:
            value = metric(loss, confidence, sample_weight=weight)
            other = metric(loss[order], confidence[order], sample_weight=7e-5 * weight[order])
            assert other == pytest.approx(value, abs=1e-12)

    def test_weight_zero_is_absence(self):
        loss, confidence = [0, 1, 1, 0.5], [4, 3, 3, 1]
        for metric in AREAS:
            assert metric(loss, confidence, sample_weight=[1, 2, 0, 1]) == pytest.approx(
                metric([0, 1, 0.5], [4, 3, 1], sample_weight=[1, 2, 1])
            )

    @pytest.mark.parametrize("weight", [[0, 0], [-1, 2], [1], [np.nan, 1]])
    def test_bad_weights_are_refused(self, weight):
        with pytest.raises(ValueError, match=r"(?i)sample_weight"):
            aurc_score([0, 1], [2, 1], sample_weight=weight)


class TestInputs:
    @pytest.mark.parametrize("metric", [*AREAS, failure_auroc_score, fpr_at_tpr])
    def test_lists_arrays_and_tensors_are_the_same(self, metric):
        # SP-RC-19, SP-RC-20
        loss, confidence = [0.0, 1.0, 0.0, 1.0, 0.0], [0.9, 0.8, 0.7, 0.6, 0.5]
        expected = metric(loss, confidence)
        tensors = [torch.tensor(values, requires_grad=True) for values in (loss, confidence)]
        for values in ([np.array(loss), np.array(confidence)], tensors):
            value = metric(*values)
            assert type(value) is float
            assert value == pytest.approx(expected, abs=1e-7)
        assert isinstance(risk_coverage_curve(*tensors).coverage, np.ndarray)

    @pytest.mark.parametrize("metric", [*AREAS, risk_coverage_curve, failure_auroc_score])
    def test_bad_values_are_named(self, metric):
        # SP-RC-10, SP-RC-11, SP-RC-19
        good = np.array([0.0, 1.0, 0.0])
        with pytest.raises(ValueError, match="confidence contains NaN in 1 of 3"):
            metric(good, [1, np.nan, 2])
        with pytest.raises(ValueError, match="loss contains NaN"):
            metric([0, np.nan, 1], good)
        with pytest.raises(ValueError, match=r"loss holds -1\.0 in row 1"):
            metric([0, -1, 1], good)
        with pytest.raises(ValueError, match="loss holds inf in row 2"):
            metric([0, 0, np.inf], good)
        with pytest.raises(ValueError, match="loss has 2 rows and confidence has 3"):
            metric([0, 1], good)
        with pytest.raises(ValueError, match="loss holds 1e\\+308 and its sum is infinite"):
            metric([1e308, 1e308, 0], good)
        with pytest.raises(ValueError, match="confidence is a masked array with 1 masked"):
            metric(good, np.ma.masked_array(good, good == 1))
        with pytest.raises(TypeError, match="confidence holds dates"):
            metric(good, np.array(["2020-01-01"] * 3, dtype="datetime64[D]"))
        with pytest.raises(ValueError, match="0 sample"):
            metric([], [])

    def test_columns_are_ravelled_with_a_warning_and_little_memory(self):
        # SP-RC-12, SP-RC-13
        rng = np.random.default_rng(11)
        loss, confidence = rng.random((60_000, 1)), rng.random(60_000)
        expected = aurc_score(loss[:, 0], confidence)
        tracemalloc.start()
        with pytest.warns(DataConversionWarning):
            assert aurc_score(loss, confidence) == expected
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 50e6

    def test_wide_losses_are_refused(self):
        with pytest.raises(ValueError, match="loss should be a 1d array"):
            aurc_score(np.ones((4, 2)), np.ones(4))

    @pytest.mark.parametrize("metric", [failure_auroc_score, fpr_at_tpr])
    def test_only_zero_and_one_are_errors(self, metric):
        with pytest.raises(ValueError, match=r"loss holds 0\.5.*loss > limit"):
            metric([0, 0.5, 1], [3, 2, 1])

    @pytest.mark.parametrize("metric", [failure_auroc_score, fpr_at_tpr, normalized_aurc_score])
    @pytest.mark.parametrize("loss", [[0, 0, 0], [1, 1, 1]])
    def test_undefined_is_nan_with_a_warning(self, metric, loss):
        with pytest.warns(UserWarning, match=r"undefined \(nan\)"):
            assert np.isnan(metric(loss, [3, 2, 1]))

    @pytest.mark.parametrize("bad", [0, 1.5, -0.1, "0.5", None, True, np.nan])
    def test_shares_out_of_range_are_refused(self, bad):
        with pytest.raises(ValueError, match="coverage"):
            risk_at_coverage([0, 1], [2, 1], bad)
        with pytest.raises(ValueError, match="tpr"):
            fpr_at_tpr([0, 1], [2, 1], bad)

    @pytest.mark.parametrize("bad", [-0.1, "0.5", None, True, np.nan])
    def test_a_target_that_is_no_risk_is_refused(self, bad):
        with pytest.raises(ValueError, match="target"):
            coverage_at_risk([0, 1], [2, 1], bad)


def test_coverage_at_risk_is_the_last_that_meets_the_target():
    errors = [1, 0, 0, 0, 1, 0, 0, 0]
    assert coverage_at_risk(errors, falling(8), 0.25) == 1
    assert coverage_at_risk(errors, falling(8), 0.24) == 0
    assert coverage_at_risk([0, 0, 1], falling(3), 0) == pytest.approx(2 / 3)
    # No threshold splits a tied block.
    assert coverage_at_risk([0, 0, 1, 1], [3, 2, 2, 1], 0.2) == 0.25
    assert risk_at_coverage([0, 0, 1, 1], [3, 2, 2, 1], 0.5) == pytest.approx(1 / 3)


def test_rounding_does_not_move_an_operating_point():
    # 0.29 * 100 is 28.999999999999996, and a mean of losses 0.1 may come out above 0.1.
    assert risk_at_coverage(np.r_[np.zeros(28), np.ones(72)], falling(100), 0.29) == 1 / 29
    assert risk_at_coverage(np.r_[np.zeros(28), np.ones(72)], falling(100), 0.28) == 0
    assert coverage_at_risk(np.full(1000, 0.1), falling(1000), 0.1) == 1


def test_fpr_at_tpr_accepts_ties_together():
    assert fpr_at_tpr([0, 0, 1, 0, 1], falling(5), tpr=2 / 3) == 0
    assert fpr_at_tpr([0, 0, 1, 0, 1], falling(5), tpr=0.67) == 0.5
    assert fpr_at_tpr([0, 0, 1, 0, 1], [5, 4, 4, 3, 3], tpr=2 / 3) == 0.5
    assert fpr_at_tpr([0, 0, 1, 0, 1], np.zeros(5)) == 1


@pytest.fixture(scope="module")
def published(shared_data):
    return json.loads((shared_data / "reference_values.json").read_text())["selective"]


class TestPublishedModels:
    MODELS = [
        "resnet101_tv",
        "mixnet_m",
        "mobilenetv3_large_100",
        "tf_inception_v3",
        "densenetblur121d",
    ]

    @pytest.mark.parametrize("model", MODELS)
    def test_imagenet(self, shared_data, published, model):
        data = np.load(shared_data / "imagenet_confidences.npz", allow_pickle=False)
        wrong = data[f"{model}_y_pred"] != data["y_true"]
        confidence = data[f"{model}_confidence"]
        values = published["imagenet_confidences.npz"][model]
        aurc = aurc_score(wrong, confidence)
        auroc = failure_auroc_score(wrong, confidence)
        assert aurc == pytest.approx(values["published"]["AURC"], abs=1e-4)
        assert auroc == pytest.approx(values["published"]["AUROC"], abs=1e-3)
        assert aurc == pytest.approx(values["aurc_tie_expected"], abs=1e-6)
        assert aurc == pytest.approx(fast_reference(wrong.astype(float), confidence), abs=1e-12)
        assert auroc == pytest.approx(roc_auc_score(~wrong, confidence), abs=1e-12)
        assert 1000 * augrc_score(wrong, confidence) == pytest.approx(
            values["fd_shifts_augrc_x1000"], abs=2e-3
        )
        assert excess_aurc_score(wrong, confidence) == pytest.approx(
            values["published"]["EAURC"], abs=1e-3
        )
        assert coverage_at_risk(wrong, confidence, 0.05) == pytest.approx(
            values["coverage_at_95pct_accuracy_nonstrict"], abs=1e-3
        )

    def test_tied_resnet_in_any_row_order(self, shared_data):
        data = np.load(shared_data / "cifar10_resnet110_confidences.npz", allow_pickle=False)
        wrong = data["resnet110_c10_y_pred"] != data["y_true"]
        confidence = data["resnet110_c10_confidence"]
        rng = np.random.default_rng(0)
        values = []
        for order in (np.arange(10_000), np.argsort(wrong), rng.permutation(10_000)):
            values.append(aurc_score(wrong[order], confidence[order]))
        assert values[0] == pytest.approx(8.408e-3, abs=5e-7)
        assert max(values) - min(values) < 1e-15

    @pytest.mark.parametrize("data_set", ["mnist", "cifar10"])
    def test_probabilities(self, shared_data, published, data_set):
        data = np.load(shared_data / "probs_mnist_cifar10.npz", allow_pickle=False)
        probs, y = data[f"{data_set}_probs"], data[f"{data_set}_y"]
        wrong, confidence = probs.argmax(axis=1) != y, probs.max(axis=1)
        values = published["probs_mnist_cifar10.npz"][data_set]
        assert aurc_score(wrong, confidence) == pytest.approx(values["aurc_tie_expected"], abs=1e-6)
        assert augrc_score(wrong, confidence) == pytest.approx(
            values["torch_uncertainty_AUGRC"], abs=2e-6
        )
        assert coverage_at_risk(wrong, confidence, 0.05) == pytest.approx(
            values["torch_uncertainty_CovAt5Risk"], abs=1e-3
        )
        assert risk_at_coverage(wrong, confidence, 0.8) == pytest.approx(
            values["torch_uncertainty_RiskAt80Cov"], abs=1e-4
        )
