"""Which bounds are tested at which level, so that a false one seldom passes."""

import math

import numpy as np

from ._tails import betting_pvalues, binomial_pvalue, first_size


class RiskTest:
    """The p-values of "the risk is above the limit" for the bounds at the ends of tied blocks.

    Parameters
    ----------
    losses : ndarray of shape (n_samples,)
        Losses in [0, 1], those of the most confident rows first.
    sizes : ndarray of shape (n_blocks,)
        How many rows each bound accepts.
    risk : float in (0, 1)
        The limit.
    """

    def __init__(self, losses, sizes, risk):
        self.losses, self.sizes, self.risk = losses, sizes, risk
        self.binary = bool(np.isin(losses, (0, 1)).all())
        self._errors = np.cumsum(losses) if self.binary else None

    def pvalues(self, at):
        """Return the p-values of the blocks `at`."""
        sizes = self.sizes[at]
        if self.binary:
            return binomial_pvalue(self._errors[sizes - 1], sizes, self.risk)
        return betting_pvalues(self.losses[: sizes.max(initial=1)], sizes, self.risk)

    def first_rank(self, level):
        """Return the least number of rows that is worth a test, n + 1 where n rows are not."""
        n = int(self.sizes[-1])
        first = first_size([0.0], self.binary, self.risk, lambda n: level, most=n)
        if self.binary or first > n:
            return first
        # Some loss is the rule there: without it would be too early, half the limit is usual.
        return min(n, first_size([self.risk / 2], False, self.risk, lambda n: level, most=n))

    def rows_needed(self, block, level):
        """Return how many rows would pass if they had the losses of this block, or infinity."""
        size = self.sizes[block]
        most = 2**40
        rows = first_size(self.losses[:size], self.binary, self.risk, lambda n: level, most=most)
        return rows * len(self.losses) / size if rows <= most else math.inf


def ladder(test, delta, n_steps, *, climb):
    """Return the blocks to test, most confident first, and what each adds to the level.

    The blocks are those at the shares k / `n_steps`, of at least a tenth, of the rows. The first
    adds all of `delta`. With `climb` it is divided equally among starts that lie at least a factor
    of two apart, evenly on a logarithmic scale, from the first block that can pass to all rows.
    None of this depends on the errors.
    """
    n = int(test.sizes[-1])
    n_steps = n if n_steps is None else n_steps
    # ceil(n k / steps) in integers.
    ranks = -(-n * np.arange(-(-n_steps // 10), n_steps + 1) // n_steps)
    n_starts, first = 1, max(ranks[0], test.first_rank(delta))
    while climb:
        one_more = max(ranks[0], test.first_rank(delta / (n_starts + 1)))
        if one_more * 2**n_starts > n:
            break
        n_starts, first = n_starts + 1, one_more
    if first > n:
        return np.array([], dtype=np.intp), np.array([])
    at = np.unique(np.searchsorted(test.sizes, np.maximum(ranks, first)))
    starts = np.geomspace(first, n, n_starts).round(6)
    added = np.zeros(len(at))
    np.add.at(added, np.searchsorted(test.sizes[at], starts), delta / n_starts)
    return at, added


def search_in_sequence(test, at, added):
    """Return the last block that passed, or None, and the (block, level) that failed.

    The level of a test is what the blocks since the last failure add, this one included.
    """
    best, failed, level = None, [], 0.0
    for block, pvalue, more in zip(at, test.pvalues(at), added, strict=True):
        level += more
        if level == 0:
            continue
        if pvalue <= level:
            best = block
        else:
            failed.append((block, level))
            level = 0.0
    return best, failed


def n_halvings(n_blocks):
    """Return how many tests a binary search over blocks may take."""
    return math.ceil(math.log2(n_blocks + 1))


def binary_search(test, at, level):
    """Return the block with the largest coverage among those that passed, and those that failed."""
    best, failed, low, high = None, [], 0, len(at)
    while low < high:
        middle = (low + high) // 2
        if test.pvalues(at[[middle]])[0] <= level:
            best, low = at[middle], middle + 1
        else:
            failed.append((at[middle], level))
            high = middle
    return best, failed
