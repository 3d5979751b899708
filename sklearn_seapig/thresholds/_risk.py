"""The bound that keeps the errors among accepted rows below a limit, with a stated certainty."""

import math
from numbers import Integral, Real

import numpy as np
from sklearn.utils._param_validation import StrOptions

from .._validation import Range
from .._warn import warn
from ._base import ThresholdRule, at_least, at_most, blocks, check_error, rows
from ._search import RiskTest, binary_search, ladder, n_halvings, search_in_sequence
from ._tails import first_size


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
    method : {"fallback", "fixed_sequence", "sgr"}, default="fallback"
        How bounds are searched. All three keep the promise, and none is best for all data.

        - "fixed_sequence" tests bounds from the most confident rows on, each at the full `delta`,
          and stops at the first that fails, which a few errors among the most confident rows can
          bring about.
        - "fallback" divides `delta` among a few starts, and goes on at the next one after a
          failure. This certifies more on most data, and less where only few rows can be accepted.
        - "sgr" is a binary search that pays for its ``log2`` steps by a union bound.
    n_steps : int or None, default=100
        How finely the coverage is stepped, except with "sgr". The shares k / `n_steps` of the
        calibration rows that are at least a tenth are tested, each with the rows tied to it. None
        tests all bounds from a tenth on.
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

    A bound that accepts n rows with e errors passes a test at level a where
    P(Bin(n, max_risk) <= e) <= a, which is the same as an upper limit of Clopper and Pearson of at
    most `max_risk`. Tied confidences pass or fail together. The first bound tested accepts at least
    ln(a) / ln(1 - max_risk) rows, before which no bound can pass, and, except with "sgr", a tenth
    of all rows, because chance errors are frequent among few rows. (For other losses, see below,
    the first is where a loss of half of `max_risk` in each row would pass.)

    "fallback" is the fallback procedure of Wiens. Each bound has a weight, and is tested at the sum
    of the weights since the last bound that failed, its own included. Here `delta` is divided
    equally among J starts, from the first bound that can pass at `delta` / J to all rows, each of
    at least twice the rows of the one before; J is the largest number that fits and follows from
    the number of rows, `max_risk` and `delta`. All other bounds weigh nothing: they are tested
    where the one before them passed. "fixed_sequence" gives all weight to the first bound.

    That a false bound passes has a probability of at most `delta`. Take the first false bound that
    passes. All false bounds before it failed, so its level is at most the sum of the weights after
    the false bound before it. These stretches of weights do not overlap, so over all false bounds
    the levels sum to at most `delta`, and each passes at a level a with probability at most a.

    The latter needs a proof, as the bound is a calibration confidence itself and the accepted rows
    are not plainly a sample of the accepted region. It holds for confidences without ties, whatever
    the error rate as a function of the confidence. Cut the confidences into the stretches in which
    the selective risk is above `max_risk` and the others. It equals `max_risk` at every cut, so
    each whole stretch has this very error rate. Which tested bounds are false depends only on how
    many rows fall into each stretch. Given these numbers, the rows at and above a false bound make
    up whole stretches and the upper part of one in which the risk is too high; their errors are at
    least as many as Bin(n, max_risk) in the order of distributions (couple the positions of the
    errors), and so are their losses for the betting test below. For tied confidences the same was
    found by complete enumeration of small cases and by simulation. The same holds for "sgr" where
    the selective risk crosses `max_risk` once, as that of a sensible confidence does.

    The promise is for one rule and one confidence, chosen before a look at these rows. To try
    several on the same calibration rows and keep what accepts most, or what is feasible, breaks it:
    in a simulation (400 rows, a risk just above `max_risk`, delta = 0.05) one confidence failed in
    2 % of all calibration sets, and the best of ten in 16 %. Choose on other rows, or give each of
    m tries delta / m.

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

    Wiens, B. L. "A fixed sequence Bonferroni procedure for testing multiple endpoints",
    Pharmaceutical Statistics, 2003.

    Wiens, B. L. and Dmitrienko, A. "The fallback procedure for evaluating a single family of
    hypotheses", Journal of Biopharmaceutical Statistics, 2005.

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
    risk among accepted rows <= 0.2 with certainty 0.95 (1000 calibration rows, 320 accepted,
    risk 0.1531 on these)
    """

    _parameter_constraints = {
        "max_risk": [Range(Real, 0, None, closed="neither")],
        "delta": [Range(Real, 0, 1, closed="neither")],
        "method": [StrOptions({"fallback", "fixed_sequence", "sgr"})],
        "n_steps": [Range(Integral, 1, None, closed="left"), None],
        "max_loss": [Range(Real, 0, None, closed="neither")],
    }

    def __init__(self, max_risk=0.05, delta=0.05, method="fallback", *, n_steps=100, max_loss=1.0):
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
        test = RiskTest(losses, sizes, self.max_risk / self.max_loss)
        if self.method == "sgr":
            level = self._level(len(bounds))
            at = np.arange(np.searchsorted(sizes, test.first_rank(level)), len(sizes))
            best, failed = binary_search(test, at, level)
        else:
            climb = self.method == "fallback"
            at, added = ladder(test, self.delta, self.n_steps, climb=climb)
            best, failed = search_in_sequence(test, at, added)
        n, size = len(confidence), 0 if best is None else int(sizes[best])
        risk = self.max_loss * float(np.mean(losses[:size])) if size else math.nan
        if best is None:
            self._warn_infeasible(test, at, failed)
        return {
            "threshold_": math.inf if best is None else float(bounds[best]),
            "feasible_": best is not None,
            "guarantee_": self._guarantee(n, size, risk),
            "n_accepted_": size,
            "risk_": risk,
        }

    def _guarantee(self, n, size, risk):
        promise = f"<= {at_most(self.max_risk)} with certainty {at_least(1 - self.delta)}"
        if not size:
            return f"rejects everything: no bound has a risk {promise} ({rows(n)})"
        seen = f"{rows(n)}, {size} accepted, risk {risk:.4g} on these"
        return f"risk among accepted rows {promise} ({seen})"

    def _level(self, n_blocks):
        """Return the level that the first bound needs at best."""
        return self.delta / n_halvings(n_blocks) if self.method == "sgr" else self.delta

    def _warn_infeasible(self, test, at, failed):
        n = len(test.losses)
        least = first_size([0.0], test.binary, test.risk, self._level)
        text = f"no bound keeps max_risk={self.max_risk} at delta={self.delta} with {rows(n)}, "
        text += "so everything is rejected; "
        if n < least:
            text += f"at least {least} rows are needed, without any error among them"
        else:
            text += self._advice(test, at, failed)
        warn(text + ".")

    def _advice(self, test, at, failed):
        """Say whether this was chance, or how many rows would do if the losses stayed."""
        sizes, n = test.sizes, len(test.losses)
        alone = at[test.pvalues(at) <= self.delta]
        if len(alone):
            return (
                f"the bound that accepts {sizes[alone[-1]] / n:.0%} would have passed by itself, "
                "so this may be chance: calibrate on more rows or on fresh ones (to change the "
                "rule until these rows pass would void the promise)"
            )
        rate = [self.max_loss * np.mean(test.losses[: sizes[block]]) for block, _ in failed]
        needed = [test.rows_needed(block, level) for block, level in failed]
        least = int(np.argmin(needed))
        if min(rate) >= self.max_risk:
            return (
                f"no bound that was tested has a risk below {min(rate):.4g} on these rows, so a "
                "better model or confidence is needed, or a larger max_risk"
            )
        if needed[least] == math.inf:
            return "the losses are too close to it, or vary too much, for any number of rows"
        return (
            f"about {math.ceil(needed[least])} rows would do if the "
            f"{sizes[failed[least][0]] / n:.0%} most confident keep their risk of {rate[least]:.4g}"
        )
