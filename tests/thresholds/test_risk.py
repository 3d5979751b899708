"""The certified bound on the risk of accepted rows."""

import itertools
import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from scipy.special import factorial

from sklearn_seapig import RiskThreshold, certifiable_risk
from sklearn_seapig.thresholds._search import RiskTest, ladder
from sklearn_seapig.thresholds._tails import betting_pvalues, binomial_pvalue, first_size

METHODS = ["fallback", "fixed_sequence", "sgr"]


def sample(n, seed=0):
    """Return confidences that are the probability of being right, and errors."""
    rng = np.random.default_rng(seed)
    confidence = rng.random(n)
    return confidence, (rng.random(n) > confidence).astype(float)


@pytest.mark.parametrize(("n", "errors", "p"), [(59, 0, 0.0484945), (100, 2, 0.118263)])
def test_pvalue(n, errors, p):
    assert binomial_pvalue(errors, n, 0.05) == pytest.approx(p, abs=5e-7)


def test_published_hoeffding_value_is_looser_than_the_exact_tail():
    kl = 0.02 * math.log(0.02 / 0.05) + 0.98 * math.log(0.98 / 0.95)
    assert math.exp(-100 * kl) == pytest.approx(0.296919, abs=5e-7)
    assert binomial_pvalue(2, 100, 0.05) < 0.296919


@pytest.mark.parametrize("errors", [0, 1, 5])
def test_a_pvalue_of_delta_is_an_upper_limit_of_the_risk(errors):
    limit = certifiable_risk(100, errors, 0.05)
    assert binomial_pvalue(errors, 100, limit) == pytest.approx(0.05)
    assert (
        binomial_pvalue(errors, 100, limit * 1.001)
        < 0.05
        < binomial_pvalue(errors, 100, limit * 0.999)
    )


def brute_force(confidence, error, max_risk, delta):
    """The fixed sequence as the textbook has it: loop over all distinct confidences."""
    best = np.inf
    for bound in np.unique(confidence)[::-1]:
        accepted = confidence >= bound
        n, e = accepted.sum(), error[accepted].sum()
        if n < max(len(error) / 10, math.log(delta) / math.log(1 - max_risk)):
            continue
        if stats.binom.cdf(e, n, max_risk) > delta:
            break
        best = bound
    return best


@pytest.mark.parametrize("levels", [3, 20, 10**6])
@pytest.mark.parametrize("max_risk", [0.05, 0.2, 0.4])
def test_fixed_sequence_equals_brute_force(max_risk, levels):
    for seed in range(10):
        confidence, error = sample(300, seed)
        confidence = np.round(confidence * levels) / levels
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rule = RiskThreshold(max_risk, 0.1, "fixed_sequence", n_steps=None)
            rule.fit(confidence, error)
        assert rule.threshold_ == brute_force(confidence, error, max_risk, 0.1)


def test_steps_are_shares_of_the_rows_with_their_ties():
    confidence = np.repeat(np.arange(20.0), 10)  # 200 rows; a share k / 8 ends inside of a block
    rule = RiskThreshold(0.3, 0.05, n_steps=8).fit(confidence, np.zeros(200))
    assert rule.n_accepted_ == 200
    error = (confidence < 14).astype(float)  # 60 right rows; the share 3 / 8 is 75 rows
    rule = RiskThreshold(0.3, 0.05, n_steps=8).fit(confidence, error)
    assert rule.n_accepted_ == 50  # the share 2 / 8; the next has 80 rows, 20 of them wrong
    assert rule.threshold_ == 15
    assert RiskThreshold(0.3, 0.05, n_steps=None).fit(confidence, error).n_accepted_ == 70


@pytest.mark.parametrize(
    ("n", "steps", "starts"),
    [
        (58, 100, []),
        (59, 100, [59]),
        (143, 100, [59]),  # two starts need 72 rows each at delta / 2
        (144, 100, [72, 144]),
        (500, 100, [80, 200, 500]),
        (1000, None, [100, 216, 465, 1000]),
        (1000, 100, [100, 220, 470, 1000]),  # the next of the shares k / 100
        (500, 4, [125, 250, 500]),
        (500, 1, [500]),
        (100_000, 100, [10_000, 22_000, 47_000, 100_000]),
    ],
)
def test_fallback_divides_delta_among_starts_at_doubled_sizes(n, steps, starts):
    test = RiskTest(np.zeros(n), np.arange(1, n + 1), 0.05)
    at, added = ladder(test, 0.05, steps, climb=True)
    assert test.sizes[at[added > 0]].tolist() == starts
    assert added.sum() == pytest.approx(0.05 if starts else 0)
    at, added = ladder(test, 0.05, steps, climb=False)
    assert np.flatnonzero(added).tolist() == [0][: len(starts)]


def brute_fallback(confidence, error, max_risk, delta, starts):
    """The fallback procedure on every bound, whose weights are given as their sizes."""
    best, level, n = np.inf, 0.0, 0
    for bound in np.unique(confidence)[::-1]:
        accepted = confidence >= bound
        before, n, e = n, accepted.sum(), error[accepted].sum()
        level += delta / len(starts) * sum(before < start <= n for start in starts)
        if stats.binom.cdf(e, n, max_risk) <= level:
            best = bound
        else:
            level = 0.0
    return best


@pytest.mark.parametrize("levels", [7, 30, 10**6])
def test_fallback_equals_brute_force(levels):
    found = []
    for seed in range(40):
        confidence, error = sample(300, seed)
        confidence = np.round(confidence * levels) / levels
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rule = RiskThreshold(0.2, 0.1, n_steps=None).fit(confidence, error)
        starts = np.geomspace(30, 300, 4)
        assert rule.threshold_ == brute_fallback(confidence, error, 0.2, 0.1, starts)
        found.append(rule.threshold_)
    assert len(np.unique(found)) > 3


def test_sgr_returns_the_best_bound_that_passed():
    confidence, error = sample(1000)
    rule = RiskThreshold(0.2, 0.05, "sgr").fit(confidence, error)
    accepted = confidence >= rule.threshold_
    level = 0.05 / math.ceil(math.log2(1001))
    assert certifiable_risk(int(accepted.sum()), int(error[accepted].sum()), level) <= 0.2
    assert rule.risk_ == error[accepted].mean()


def test_fallback_and_sgr_get_over_a_stretch_that_ends_the_sequence():
    confidence = np.arange(2000.0)
    error = np.zeros(2000)
    error[-200:-170] = 1
    with pytest.warns(UserWarning, match="everything is rejected"):
        assert not RiskThreshold(0.05, method="fixed_sequence").fit(confidence, error).feasible_
    assert RiskThreshold(0.05, method="sgr").fit(confidence, error).n_accepted_ == 2000
    assert RiskThreshold(0.05).fit(confidence, error).n_accepted_ == 2000


@pytest.mark.parametrize(
    ("method", "least"), [("fallback", 59), ("fixed_sequence", 59), ("sgr", 97)]
)
def test_too_few_rows_reject_everything_and_say_how_many_do(method, least):
    right = np.zeros(least)
    with pytest.warns(UserWarning, match=rf"max_risk=0\.05.*at least {least} rows are needed"):
        rule = RiskThreshold(0.05, method=method).fit(np.arange(least - 1.0), right[1:])
    assert rule.threshold_ == np.inf
    assert rule.feasible_ is False
    assert not rule.accept([1e300]).any()
    assert np.isnan(rule.risk_)
    assert rule.n_accepted_ == 0
    assert rule.guarantee_.startswith("rejects everything")
    rule = RiskThreshold(0.05, method=method).fit(np.arange(float(least)), right)
    assert rule.feasible_ is True
    assert rule.threshold_ == 0
    assert rule.accept([0.0, -1.0]).tolist() == [True, False]


@pytest.mark.parametrize(
    ("method", "every", "text"),
    [
        (
            "fallback",
            25,
            r"about 2142 rows would do if the 100% most .* keep their risk of 0\.04\.",
        ),
        ("fixed_sequence", 25, r"about 4441 rows would do if the 12% most .* risk of 0\.0339\."),
        ("sgr", 25, r"about 4843 rows would do if the 60% most .* keep their risk of 0\.03987\."),
        ("fallback", 10, r"no bound that was tested has a risk below 0\.1 .* better model"),
        ("fixed_sequence", 10, r"no bound that was tested has a risk below 0\.08475 .* better"),
    ],
)
def test_too_many_errors_reject_everything_and_say_what_would_do(method, every, text):
    row = np.arange(500.0)
    with pytest.warns(UserWarning, match=text):
        assert not RiskThreshold(0.05, method=method).fit(row, row % every == 0).feasible_


@pytest.mark.parametrize(
    "values", [[0, 0, 0, 0, 0, 0, 0, 1, 0, 0], [0.09, 0.095], [0.0, 0.15, 0.1]]
)
def test_the_rows_advised_pass_if_the_losses_stay_and_fewer_do_not(values):
    losses = np.tile(values, 50_000).astype(float)
    test = RiskTest(losses[:60], np.array([30, 60]), 0.11)
    n, width = test.rows_needed(1, 0.05), len(values)
    sizes = np.array([(n - 1) // width * width, -(-n // width) * width], dtype=int)
    fewer, enough = RiskTest(losses, sizes, 0.11).pvalues(np.array([0, 1]))
    assert n > 60
    assert enough <= 0.05 < fewer
    assert test.rows_needed(0, 0.05) == 2 * n  # half of the rows are accepted


@pytest.mark.parametrize("method", METHODS)
def test_a_failure_by_chance_is_told_as_such(method):
    confidence, error = np.arange(100.0), np.zeros(100)
    error[np.r_[98, 96, 30]] = 1  # 3 errors of 100 pass 0.08 at 0.05, but not at 0.05 / 2
    error[np.r_[99, 60]] = method != "fallback"
    max_risk = {"fallback": 0.08, "fixed_sequence": 0.11, "sgr": 0.105}[method]
    with pytest.warns(
        UserWarning, match=r"accepts 100% would have passed .* more rows or on fresh"
    ):
        assert not RiskThreshold(max_risk, method=method).fit(confidence, error).feasible_


def test_losses_that_vary_too_much_get_no_number_of_rows():
    loss = np.where(np.arange(300) % 20 == 0, 0.99, 0.0)  # the mean is 0.0495
    with pytest.warns(UserWarning, match="or vary too much, for any number of rows"):
        RiskThreshold(0.0496, n_steps=1).fit(np.arange(300.0), loss)


def test_one_row():
    with pytest.warns(UserWarning, match="1 calibration row,"):
        assert not RiskThreshold(0.5, 0.4).fit([1.0], [0]).feasible_
    assert RiskThreshold(0.5, 0.5).fit([1.0], [0]).feasible_  # P(Bin(1, 0.5) = 0) = delta


def test_guarantee_names_its_numbers():
    rule = RiskThreshold(0.2).fit(*sample(1000))
    assert rule.guarantee_.startswith("risk among accepted rows <= 0.2 with certainty 0.95")
    assert f"1000 calibration rows, {rule.n_accepted_} accepted" in rule.guarantee_
    assert rule.n_calibration_ == 1000
    assert type(rule.threshold_) is float


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=30, deadline=None)
@given(
    confidence=arrays(float, 80, elements=st.integers(-20, 20).map(float)),
    error=arrays(float, 80, elements=st.sampled_from([0.0, 0.0, 0.0, 1.0, 0.3])),
    seed=st.integers(0, 100),
)
def test_order_of_rows_and_scale_of_confidence_do_not_matter(method, confidence, error, seed):
    order = np.random.default_rng(seed).permutation(80)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rule = RiskThreshold(0.4, 0.2, method).fit(confidence, error)
        other = RiskThreshold(0.4, 0.2, method).fit(confidence[order], error[order])
        scaled = RiskThreshold(0.4, 0.2, method).fit(np.exp(confidence / 7) - 5, error)
    assert vars(rule) == pytest.approx(vars(other), nan_ok=True)
    np.testing.assert_array_equal(
        rule.accept(confidence), scaled.accept(np.exp(confidence / 7) - 5)
    )


def test_errors_of_another_size_are_the_same_rule():
    confidence, error = sample(500)
    small = RiskThreshold(0.3).fit(confidence, error)
    large = RiskThreshold(30, max_loss=100).fit(confidence, 100 * error)
    assert small.threshold_ == large.threshold_
    assert large.risk_ == pytest.approx(100 * small.risk_)


def test_losses_that_vary_little_certify_more_than_a_binomial_tail_would():
    rng = np.random.default_rng(0)
    confidence, loss = rng.random(400), 0.01 + 0.02 * rng.random(400)
    rule = RiskThreshold(0.05, n_steps=None).fit(confidence, loss)
    assert rule.n_accepted_ == 400
    assert rule.risk_ == pytest.approx(loss.mean())


@pytest.mark.parametrize("values", [(0.0, 1.0), (0.0, 0.5, 1.0), (0.02, 0.9)])
@pytest.mark.parametrize("risk", [0.05, 0.3])
def test_betting_pvalue_is_one_for_every_law_of_mean_risk(risk, values):
    """Complete enumeration of the counts of n losses with few values."""
    n, low, high = 30, values[0], values[-1]
    share = (risk - low) / (high - low)
    chances = [1 - share, share]
    if len(values) == 3:
        chances = [1 - share - share / 3, 2 * share / 3, 2 * share / 3]
    assert np.dot(values, chances) == pytest.approx(risk)
    pvalues, weights = [], []
    for counts in itertools.product(range(n + 1), repeat=len(values) - 1):
        counts = (n - sum(counts), *counts)
        if counts[0] >= 0:
            losses = np.repeat(values, counts)
            pvalues.append(betting_pvalues(losses, np.array([n]), risk)[0])
            weights.append(stats.multinomial.pmf(counts, n, chances))
    pvalues, weights = np.array(pvalues), np.array(weights)
    assert weights.sum() == pytest.approx(1)
    for level in pvalues[pvalues < 0.6]:
        assert weights[pvalues <= level].sum() <= level


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize(("risk", "delta"), [(0.05, 0.05), (0.5, 0.25), (0.3, 0.9), (1e-4, 1e-3)])
def test_first_size_is_the_first_that_can_pass(binary, risk, delta):
    n = first_size([0.0], binary, risk, lambda n: delta)
    sizes = np.array([n - 1, n]) if n > 1 else np.array([n])
    if binary:
        p = binomial_pvalue(np.zeros(len(sizes)), sizes, risk)
    else:
        p = betting_pvalues(np.zeros(n), sizes, risk)
    assert p[-1] <= delta * (1 + 1e-9)
    assert n == 1 or p[0] > delta


@pytest.mark.parametrize(
    "params", [{}, {"n_steps": 3}, {"method": "fixed_sequence"}, {"method": "sgr"}]
)
def test_tied_confidences_keep_the_promise_by_complete_enumeration(params):
    """All samples of 8 rows with three confidences, under laws at the edge of the limit."""
    n, limit, delta = 8, 0.3, 0.3
    cuts = np.array(list(itertools.combinations(range(n + 5), 5)))
    edges = np.column_stack([np.full(len(cuts), -1), cuts, np.full(len(cuts), n + 5)])
    counts = np.diff(edges) - 1  # right and wrong rows of confidence 2, 1 and 0
    ways = factorial(n) / factorial(counts).prod(axis=1)
    values, wrong = np.array([2.0, 2, 1, 1, 0, 0]), np.array([0, 1, 0, 1, 0, 1])
    rule = RiskThreshold(limit, delta, **params)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bounds = [rule.fit(np.repeat(values, c), np.repeat(wrong, c)).threshold_ for c in counts]
    rng, worst = np.random.default_rng(0), 0
    for _ in range(300):
        mass, rate = rng.dirichlet(np.ones(3)), rng.random(3) ** 2
        at = rng.integers(1, 4)  # the risk of the `at` highest confidences is just too large
        rate[at - 1] = (limit * mass[:at].sum() - mass[: at - 1] @ rate[: at - 1]) / mass[at - 1]
        if not 0 <= rate[at - 1] <= 1:
            rate[:] = limit
        rate = np.minimum(1, rate + 1e-9)
        risk = np.cumsum(mass * rate) / np.cumsum(mass)
        false = [bound < np.inf and risk[2 - int(bound)] > limit for bound in bounds]
        chances = np.column_stack([mass * (1 - rate), mass * rate]).ravel()
        worst = max(worst, (ways * np.prod(chances**counts, axis=1))[false].sum())
    assert 0.1 < worst <= delta


@pytest.mark.parametrize("params", [{}, {"n_steps": 4}, {"method": "fixed_sequence"}])
def test_confidences_without_ties_keep_the_promise_by_complete_enumeration(params):
    """All orders of right and wrong of 8 rows, under laws whose risk crosses the limit."""
    n, limit, delta = 8, 0.5, 0.8  # three starts: 2, 4 and 8 rows
    errors = np.array(list(itertools.product([0, 1], repeat=n)))
    rule = RiskThreshold(limit, delta, **params)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        accepted = [rule.fit(-np.arange(n), error).n_accepted_ for error in errors]
    accepted = np.array(accepted)
    rng, worst = np.random.default_rng(0), 0
    for _ in range(60):
        # Two rates in each of two stretches that average to the limit: a false one falls within,
        # a true one rises; all of it is a hair above the limit, so that the cuts are false too.
        low = limit * rng.random(2) ** 0.2
        false = rng.random(2) < 0.8
        rate = np.ravel(
            [
                (2 * limit - x, x) if f else (x, 2 * limit - x)
                for x, f in zip(low, false, strict=True)
            ]
        )
        mass = np.repeat(rng.dirichlet(np.ones(2)) / 2, 2)
        broken = 0.0
        for counts in itertools.product(range(n + 1), repeat=3):
            counts = (*counts, n - sum(counts))
            if counts[3] < 0:
                continue
            at = np.repeat(np.arange(4), counts)
            chance = np.prod(np.where(errors == 1, rate[at], 1 - rate[at]), axis=1)
            is_false = np.append(False, np.repeat(false, 2)[at])
            broken += stats.multinomial.pmf(counts, n, mass) * chance[is_false[accepted]].sum()
        worst = max(worst, broken)
    assert 0.3 < worst <= delta


# How the error rate depends on the confidence.
SHAPES = {
    "flat": lambda c: np.full_like(c, 0.2),
    "rising": lambda c: 0.4 * (1 - c),
    "jump": lambda c: np.where(c > 0.5, 0.05, 0.4),
    "spike then nothing": lambda c: np.where((c < 0.6) & (c > 0.55), 1.0, 0.13),
    "bad top": lambda c: np.where(c > 0.8, 0.5, 0.1),
    "bands": lambda c: np.where((10 * c).astype(int) % 2 == 1, 0.4, 0.0),
}


@pytest.mark.parametrize("levels", [None, 4, 60])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", SHAPES)
def test_risk_exceeds_the_limit_as_seldom_as_promised(shape, method, levels):
    grid = (np.arange(100_000) + 0.5) / 100_000
    if levels is not None:
        grid = np.ceil(grid * levels) / levels
    # Selective risk of the law itself at every bound.
    risk = np.cumsum(SHAPES[shape](grid)[::-1])[::-1] / np.arange(100_000, 0, -1)
    rng, delta, broken = np.random.default_rng(0), 0.2, 0
    for _ in range(150):
        confidence = grid[rng.integers(0, 100_000, size=60)]
        error = rng.random(60) < SHAPES[shape](confidence)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            bound = RiskThreshold(0.2, delta, method).fit(confidence, error).threshold_
        broken += bound < np.inf and risk[np.searchsorted(grid, bound)] > 0.2 + 1e-9
    assert broken / 150 <= delta + 3 * math.sqrt(delta * (1 - delta) / 150)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (None, "RiskThreshold needs error, the loss of each calibration row"),
        ([0, np.nan, 1], "error contains NaN in 1 of 3 rows"),
        ([0, -1, 0], r"error must lie in \[0, 1\], got -1 in row 1"),
        ([0, 0, 2], r"error must lie in \[0, 1\], got 2 in row 2; clip the loss or raise max_loss"),
        ([0, 1], "inconsistent numbers of samples"),
        ([[0, 1], [0, 1], [0, 1]], "error should be a 1d array"),
    ],
)
def test_bad_errors_are_refused_and_leave_the_rule_alone(error, text):
    # FB-20: an undefined loss is never the best one.
    rule = RiskThreshold(0.5, 0.5).fit([1.0], [0])
    before = dict(vars(rule))
    with pytest.raises(ValueError, match=text):
        rule.fit([1.0, 2.0, 3.0], error)
    assert vars(rule) == before


def test_weights_are_refused_unless_they_are_equal():
    confidence, error = sample(300)
    with pytest.raises(ValueError, match="sample_weight has no exact form in RiskThreshold"):
        RiskThreshold(0.3).fit(confidence, error, sample_weight=1 + error)
    plain = RiskThreshold(0.3).fit(confidence, error)
    equal = RiskThreshold(0.3).fit(confidence, error, sample_weight=np.full(300, 2.0))
    assert vars(plain) == vars(equal)


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"max_risk": 0}, "'max_risk' parameter"),
        ({"max_risk": True}, "'max_risk' parameter"),
        ({"max_risk": 1.0}, r"max_risk=1\.0 is not below max_loss=1\.0"),
        ({"delta": 1}, "'delta' parameter"),
        ({"method": "ltt"}, "'method' parameter"),
        ({"n_steps": 0}, "'n_steps' parameter"),
        ({"max_loss": np.nan}, "'max_loss' parameter|max_loss"),
    ],
)
def test_bad_parameters_are_refused(params, text):
    with pytest.raises(ValueError, match=text):
        RiskThreshold(**params).fit(*sample(100))


@pytest.mark.parametrize("method", METHODS)
def test_a_million_rows(method):
    confidence, error = sample(1_000_000)
    rule = RiskThreshold(0.1, 0.05, method).fit(confidence, error)
    assert 0.18 < rule.n_accepted_ / 1e6 < 0.2


@pytest.mark.parametrize("method", METHODS)
def test_a_risk_as_good_as_the_limit_is_told_at_once(method):
    error = np.arange(10**6) < 49_999
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rule = RiskThreshold(0.05, method=method, n_steps=1).fit(np.arange(1e6), error)
    assert rule.feasible_ == (method == "sgr")
