"""p-values for "the mean loss is above a risk", small where losses are too small for that."""

from bisect import bisect_left

import numpy as np
from scipy.special import bdtr

# Shares of the largest allowed bet; the wealth is averaged over them.
_BETS = np.arange(1, 21) / 20


def binomial_pvalue(errors, n, risk):
    """Return P(Bin(n, risk) <= errors): exact for independent 0/1 errors."""
    return bdtr(np.asarray(errors, dtype=np.float64), n, risk)


def betting_pvalues(losses, sizes, risk):
    """Return a p-value for the mean of ``losses[:size]``, losses in [0, 1], for each size.

    A gambler who stakes a share on each loss being below `risk` multiplies the stake on average by
    at most 1 where the mean is `risk` or more; by Markov, 1 / wealth is a p-value. The wealth is
    averaged over fixed shares, so that the order of the losses does not matter.
    """
    log_wealth = np.full(len(sizes), -np.inf)
    with np.errstate(divide="ignore"):
        for bet in _BETS / (1 - risk):
            gains = np.log1p(np.maximum(bet * (risk - losses), -1))
            log_wealth = np.logaddexp(log_wealth, np.cumsum(gains)[sizes - 1])
    return np.exp(np.minimum(0, np.log(len(_BETS)) - log_wealth))


def first_size(risk, binary, level, *, loss=0.0, most=2**60):
    """Return the least n for which n rows with this `loss` each have a p-value <= ``level(n)``.

    0/1 errors (`binary`) have a loss of 0 here. Where no n up to `most` has, this is `most` + 1.
    """

    def passes(n):
        if binary:
            log_pvalue = n * np.log1p(-risk)
        else:
            log_wealth = np.logaddexp.reduce(n * np.log1p(_BETS / (1 - risk) * (risk - loss)))
            log_pvalue = np.log(len(_BETS)) - log_wealth
        # The slack lets n be the exact solution, which rounding may put a hair above.
        return log_pvalue <= np.log(level(n)) + 1e-12

    return 1 + bisect_left(range(1, most + 1), True, key=passes)
