"""The bound that keeps the errors among accepted rows below a limit, with a stated certainty."""

import math
from numbers import Integral, Real

import numpy as np
from sklearn.utils._param_validation import StrOptions

from .._validation import Range
from .._warn import warn
from ._base import ThresholdRule, blocks, check_error, rows
from ._planning import required_calibration_size
from ._tails import betting_pvalues, binomial_pvalue, first_size


class RiskThreshold(ThresholdRule):
    """Bound that keeps the risk among accepted rows below a limit, with a stated certainty.

    The selective risk is the error rate, or the mean loss, of the rows that are accepted. Among the
    bounds that calibration rows certify, the one that accepts most is taken.

    Parameters
    ----------
    max_risk : float in (0, max_loss), default=0.05
        The largest selective risk to allow.
    delta : float in (0, 1), default=0.05
        Probability, over calibration sets, that the risk is larger all the same.
    method : {"fixed_sequence", "sgr"}, default="fixed_sequence"
        How bounds are searched. "fixed_sequence" tests them from the most confident rows on and
        stops at the first that fails. "sgr" is a binary search that pays for its
        ``log2`` steps by a union bound; it can jump over a stretch where the risk is too high, but
        needs more rows.
    n_steps : int or None, default=100
        "fixed_sequence" only: how finely the coverage is stepped. The shares k / `n_steps` of the
        calibration rows that are at least a tenth are tested, each with the rows tied to it. None
        tests all.
    max_loss : float, default=1.0
        The largest possible loss; an `error` above it is refused.

    Attributes
    ----------
    threshold_ : float
        A row is accepted where its confidence is at least this; infinity where nothing could be
        certified, which rejects everything.
    feasible_ : bool
        Whether any bound was certified.
    guarantee_ : str
        What the bound promises, with its numbers.
    n_calibration_ : int
        Number of calibration rows.
    n_accepted_ : int
        Number of calibration rows that the bound accepts.
    risk_ : float
        Mean loss of these rows, nan if there are none. It is below `max_risk` by a margin.

    See Also
    --------
    required_calibration_size : How many accepted rows a promise needs.
    certifiable_risk : What one fixed bound lets promise.
    ConformalThreshold : Bounds the share of accepted rows.

    Notes
    -----
    The promise is for rows that are independent and of one distribution with the calibration rows,
    which neither the model nor the confidence was fitted on. It does not survive a shift, and it
    is about all accepted rows together, not about each class (see `GroupThreshold`).

    A bound that accepts n rows with e errors passes where P(Bin(n, max_risk) <= e) <= delta, which
    is the same as an upper limit of Clopper and Pearson of at most `max_risk`. Tied confidences
    pass or fail together. The first bound tested accepts at least ln(delta) / ln(1 - max_risk)
    rows, before which no bound can pass, and a tenth of all rows, because the sequence would often
    end early on the chance errors of a few rows. (For other losses, see below, the first is where
    a loss of half of `max_risk` in each row would pass.) The ranks do not depend on the errors.

    The bound is a calibration confidence itself, so the accepted rows are not plainly a sample of
    the accepted region. The test is exact all the same for confidences without ties, whatever the
    error rate as a function of the confidence. Cut the confidences into the stretches in which the
    selective risk is above `max_risk` and the others. It equals `max_risk` at every cut, so each
    whole stretch has this very error rate. Which tested bound is the first false one depends only
    on how many rows fall into each stretch. Given these numbers, the rows at and above it make up
    whole stretches and the upper part of one in which the risk is too high; their errors are at
    least as many as Bin(n, max_risk), by the order of distributions, and the test of the first
    false bound passes with probability at most `delta`. For tied confidences the same was found by
    complete enumeration of small cases and by simulation. The same holds for "sgr" where the
    selective risk crosses `max_risk` once, as that of a sensible confidence does.

    Losses other than 0 and `max_loss` are tested by betting (averaged over 20 fixed stakes), which
    is valid for every distribution on [0, `max_loss`] and strong where losses vary little. Losses
    that are all 0 or `max_loss` count as 0/1 errors.

    The selective risk is not monotone in the bound, so conformal risk control, which wants that,
    does not apply. The published tables of SGR (arXiv:1705.08500) report smaller limits than its
    own Lemma 3.1 gives for these numbers of rows, and cannot be reproduced by it; this is the
    lemma, with tied rows kept together and the best bound that passed returned.

    `sample_weight` has no exact form here; weights that differ are refused.

    References
    ----------
    Angelopoulos, A. N., Bates, S., Candès, E. J., Jordan, M. I. and Lei, L. "Learn then Test:
    Calibrating Predictive Algorithms to Achieve Risk Control", 2021, arXiv:2110.01052.

    Geifman, Y. and El-Yaniv, R. "Selective Classification for Deep Neural Networks", NeurIPS 2017,
    arXiv:1705.08500.

    Waudby-Smith, I. and Ramdas, A. "Estimating means of bounded random variables by betting",
    Journal of the Royal Statistical Society B, 2024, arXiv:2010.09686.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_seapig import RiskThreshold
    >>> rng = np.random.default_rng(0)
    >>> confidence = rng.random(1000)
    >>> error = rng.random(1000) > confidence
    >>> rule = RiskThreshold(max_risk=0.2, delta=0.05).fit(confidence, error)
    >>> print(rule.guarantee_)
    risk among accepted rows <= 0.2 with certainty 0.95 (1000 calibration rows, 340 accepted,
    risk 0.1588 on these)
    """

    _parameter_constraints = {
        "max_risk": [Range(Real, 0, None, closed="neither")],
        "delta": [Range(Real, 0, 1, closed="neither")],
        "method": [StrOptions({"fixed_sequence", "sgr"})],
        "n_steps": [Range(Integral, 1, None, closed="left"), None],
        "max_loss": [Range(Real, 0, None, closed="neither")],
    }

    def __init__(
        self, max_risk=0.05, delta=0.05, method="fixed_sequence", *, n_steps=100, max_loss=1.0
    ):
        self.max_risk = max_risk
        self.delta = delta
        self.method = method
        self.n_steps = n_steps
        self.max_loss = max_loss

    def _learn(self, confidence, error, groups, weight):
        if self.max_risk >= self.max_loss:
            raise ValueError(
                f"max_risk={self.max_risk} is not below max_loss={self.max_loss}, so every bound "
                "keeps it; lower max_risk."
            )
        error = check_error(error, confidence, type(self).__name__, self.max_loss)
        if weight is not None and np.ptp(weight) > 0:
            raise ValueError(
                f"sample_weight has no exact form in {type(self).__name__}; leave it out, or use "
                "ConformalThreshold for a share of accepted rows."
            )
        bounds, sizes, losses = blocks(confidence, error / self.max_loss)
        test = _Test(losses, sizes, self.max_risk / self.max_loss)
        level = self._level(len(bounds))
        if self.method == "sgr":
            best = _binary_search(test, level)
        else:
            best = _fixed_sequence(test, level, self.n_steps)
        n, size = len(confidence), 0 if best is None else int(sizes[best])
        risk = self.max_loss * float(np.mean(losses[:size])) if size else math.nan
        if best is None:
            self._warn_infeasible(test, level)
        return {
            "threshold_": math.inf if best is None else float(bounds[best]),
            "feasible_": best is not None,
            "guarantee_": self._guarantee(n, size, risk),
            "n_accepted_": size,
            "risk_": risk,
        }

    def _guarantee(self, n, size, risk):
        promise = f"<= {self.max_risk:.4g} with certainty {1 - self.delta:.4g}"
        if not size:
            return f"rejects everything: no bound has a risk {promise} ({rows(n)})"
        seen = f"{rows(n)}, {size} accepted, risk {risk:.4g} on these"
        return f"risk among accepted rows {promise} ({seen})"

    def _warn_infeasible(self, test, level):
        n = len(test.losses)
        least = first_size(test.risk, test.binary, self._level)
        text = f"no bound keeps max_risk={self.max_risk} at delta={self.delta} with {rows(n)}, "
        text += "so everything is rejected; "
        if n < least:
            text += f"at least {least} rows are needed, without any error among them"
        else:
            text += self._advice(test, level)
        warn(text + ".")

    def _level(self, n_blocks):
        return self.delta / _n_halvings(n_blocks) if self.method == "sgr" else self.delta

    def _advice(self, test, level):
        """Say how many rows would do if the error rate of the best tested bound stayed."""
        sizes = test.sizes[test.candidates(level, self.n_steps)]
        seen = np.cumsum(test.losses)[sizes - 1] / sizes
        at = int(seen.argmin())
        rate, share = float(seen[at]), sizes[at] / len(test.losses)
        if rate >= test.risk:
            return (
                f"the lowest risk of any bound is {rate * self.max_loss:.4g} on these rows, so a "
                "better model or confidence is needed, or a larger max_risk"
            )
        try:
            needed = required_calibration_size(test.risk, level, rate)
        except ValueError:
            return "their risk is too close to it for any number of rows"
        needed = max(len(test.losses) + 1, math.ceil(needed / share))
        return (
            f"about {needed} rows would do if the risk of the {share:.0%} most confident stays at "
            f"{rate * self.max_loss:.4g}"
        )


class _Test:
    """The p-values of "the risk is above the limit" for the bounds at the ends of tied blocks."""

    def __init__(self, losses, sizes, risk):
        self.losses, self.sizes, self.risk = losses, sizes, risk
        self.binary = bool(np.isin(losses, (0, 1)).all())
        self._errors = np.cumsum(losses) if self.binary else None

    def pvalues(self, at):
        """Return the p-values of the blocks `at`."""
        sizes = self.sizes[at]
        if self.binary:
            return binomial_pvalue(self._errors[sizes - 1], sizes, self.risk)
        return betting_pvalues(self.losses[: sizes.max()], sizes, self.risk)

    def candidates(self, level, n_steps):
        """Return the blocks to test: those that could pass, on a grid that ignores the errors."""
        n = int(self.sizes[-1])
        first = first_size(self.risk, self.binary, lambda n: level, most=n)
        if first > n:
            return np.array([], dtype=np.intp)
        if not self.binary:
            # Some loss is the rule there: without it would be too early, half the limit is usual.
            half = self.risk / 2
            first = min(n, first_size(self.risk, False, lambda n: level, loss=half, most=n))
        if n_steps is None:
            return np.arange(np.searchsorted(self.sizes, first), len(self.sizes))
        share = np.arange(-(-n_steps // 10), n_steps + 1)
        # ceil(n k / steps) in integers.
        ranks = np.maximum(-(-n * share // n_steps), first)
        return np.unique(np.searchsorted(self.sizes, ranks))


def _fixed_sequence(test, level, n_steps):
    """Return the last block before the first failure, None if that is the first one."""
    at = test.candidates(level, n_steps)
    if not len(at):
        return None
    passed = test.pvalues(at) <= level
    n_passed = len(at) if passed.all() else int(passed.argmin())
    return at[n_passed - 1] if n_passed else None


def _n_halvings(n_blocks):
    """Return how many tests a binary search over blocks may take."""
    return math.ceil(math.log2(n_blocks + 1))


def _binary_search(test, level):
    """Return the block with the largest coverage among those that passed on the way."""
    at = test.candidates(level, None)
    best, low, high = None, 0, len(at)
    while low < high:
        middle = (low + high) // 2
        if test.pvalues(at[[middle]])[0] <= level:
            best, low = at[middle], middle + 1
        else:
            high = middle
    return best
