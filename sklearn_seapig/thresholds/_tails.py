"""p-values for "the mean loss is above a risk", small where losses are too small for that."""

from bisect import bisect_left

import numpy as np
from scipy.special import bdtr, betainc

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
    for gains in _gains(losses, risk):
        log_wealth = np.logaddexp(log_wealth, np.cumsum(gains)[sizes - 1])
    return np.exp(np.minimum(0, np.log(len(_BETS)) - log_wealth))


def first_size(losses, binary, risk, level, *, most=2**40):
    """Return the least n for which n rows with losses like these have a p-value <= ``level(n)``.

    The number of errors among n rows (`binary`) may be a broken one. Where no n up to `most` will
    do, this is `most` + 1.
    """
    if binary:
        rate = np.mean(losses)

        def log_pvalue(n):
            return np.log(betainc(n - n * rate, n * rate + 1, 1 - risk))
    else:
        growth = np.array([np.mean(gains) for gains in _gains(losses, risk)])

        def log_pvalue(n):
            return np.log(len(_BETS)) - np.logaddexp.reduce(n * growth)

    # The slack lets n be the exact solution, which rounding may put a hair above.
    with np.errstate(divide="ignore"):
        return 1 + bisect_left(
            range(1, most + 1), True, key=lambda n: log_pvalue(n) <= np.log(level(n)) + 1e-12
        )


def _gains(losses, risk):
    """Yield the logarithms of what each bet gains by each loss."""
    for bet in _BETS / (1 - risk):
        with np.errstate(divide="ignore"):
            yield np.log1p(np.maximum(bet * (risk - np.asarray(losses)), -1))
