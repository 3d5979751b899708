"""Losses in order of confidence, where rows that tie are one block.

Every metric is a function of blocks that lie along the last axis. One row of blocks is a data set,
many rows are resamples of it: both are measured by the same code.
"""

from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.special import digamma

from ..thresholds import check_confidence, check_weight

_SUMMED = 1024  # numbers that are added one after the other


class Blocks(NamedTuple):
    """Blocks of tied rows, the most confident first; each array of shape (..., n_blocks)."""

    rows: np.ndarray
    weight: np.ndarray
    loss: np.ndarray  # weighted
    confidence: np.ndarray  # of shape (n_blocks,)


class Sample:
    """Checked losses and confidences, which are sorted once.

    Parameters
    ----------
    loss, confidence : array-like of shape (n_samples,)
    sample_weight : array-like of shape (n_samples,), default=None
        Rows of weight 0 are left out.
    """

    def __init__(self, loss, confidence, sample_weight=None):
        confidence, loss = check_confidence(confidence), check_loss(loss)
        if len(loss) != len(confidence):
            raise ValueError(
                f"loss has {len(loss)} rows and confidence has {len(confidence)}; give one of each "
                "for every row."
            )
        self.counts, self.weight = None, None
        if sample_weight is not None:
            weight = check_weight(sample_weight, len(loss))
            loss, confidence, weight = loss[weight > 0], confidence[weight > 0], weight[weight > 0]
            # A power of two, so that nothing rounds: their scale does not matter, sums overflow.
            self.weight = np.ldexp(weight, -np.frexp(weight.max())[1])
        self.loss, self.confidence = loss, confidence

    @property
    def is_binary(self):
        """Whether every loss is 0 or 1."""
        return bool(((self.loss == 0) | (self.loss == 1)).all())

    @cached_property
    def _by_confidence(self):
        return _tied_order(self.confidence)

    @cached_property
    def _by_loss(self):
        if self.weight is None:
            return _tied_order(-self.loss)
        # Rows of equal loss stay in their order: with weights it makes a difference.
        order = np.lexsort((-self.confidence, self.loss))
        loss, confidence = self.loss[order], self.confidence[order]
        new = (loss[1:] != loss[:-1]) | (confidence[1:] != confidence[:-1])
        starts = np.flatnonzero(np.append(True, new))
        return order, starts, -loss[starts]

    @cached_property
    def blocks(self):
        """Blocks of equal confidence."""
        return self._blocks(*self._by_confidence)

    @cached_property
    def oracle(self):
        """Blocks of the best possible confidence, which is minus the loss."""
        return self._blocks(*self._by_loss)

    def resampled(self, counts):
        """Return the samples that hold row i ``counts[..., i]`` times."""
        other = object.__new__(Sample)
        # The orders are found here, so that every resample shares them.
        shared = {"_by_confidence": self._by_confidence, "_by_loss": self._by_loss}
        vars(other).update(shared, loss=self.loss, weight=self.weight, counts=counts)
        return other

    def _blocks(self, order, starts, keys):
        if self.counts is None and self.weight is None:
            rows = np.diff(starts, append=len(order)).astype(np.float64)
            return Blocks(rows, rows, _block_sums(self.loss[order], starts), keys)
        rows = np.ones(len(order)) if self.counts is None else self.counts[..., order]
        weight = rows if self.weight is None else rows * self.weight[order]
        loss = weight * self.loss[order]
        return Blocks(*(_block_sums(values, starts) for values in (rows, weight, loss)), keys)


def _block_sums(values, starts):
    if len(starts) == values.shape[-1]:
        return values
    return np.add.reduceat(values, starts, axis=-1)


def _tied_order(key):
    """Return the order of falling keys, where a new key starts in it, and these keys."""
    order = np.argsort(key)[::-1]
    keys = key[order]
    starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
    return order, starts, keys if len(starts) == len(keys) else keys[starts]


def check_loss(loss):
    """Return losses as a float64 vector of finite numbers that are not negative."""
    loss = check_confidence(loss, name="loss")
    bad = ~((loss >= 0) & (loss < np.inf))
    if bad.any():
        raise ValueError(
            f"loss holds {loss[bad.argmax()]} in row {bad.argmax()}; every loss must be finite and "
            "not negative, such as 0 or 1 for an error, or an absolute residual."
        )
    with np.errstate(over="ignore"):
        if not np.isfinite(loss.sum()):
            raise ValueError(
                f"loss holds {loss.max():.6g} and its sum is infinite; divide it by a constant."
            )
    return loss


def harmonic_span(start, count):
    """Return the sum of 1 / (start + j) over j = 1 ... count, to nearly full precision.

    A difference of harmonic numbers cancels where `start` is large; there it is the difference of
    the expansion of the digamma function, taken term by term.
    """
    # At 100 the first term that is left out is below the rounding.
    low = np.maximum(start, 100) + 0.5
    span = np.log1p(count / low)
    low, high = low**-2, (low + count) ** -2
    power = [1, 1]
    for factor in (1 / 24, -7 / 960, 31 / 8064):
        power = [power[0] * low, power[1] * high]
        span += factor * (power[1] - power[0])
    few = start < 100
    span[few] = digamma(start[few] + count[few] + 1) - digamma(start[few] + 1)
    return span


def cumulative_sum(values):
    """Return the cumulative sum over the last axis, which does not drift.

    Adding a million equal numbers one by one loses five digits; sums of blocks lose one or two.
    """
    n = values.shape[-1]
    if n <= _SUMMED:
        return np.cumsum(values, axis=-1)
    blocks = np.zeros((*values.shape[:-1], -(-n // _SUMMED), _SUMMED))
    flat = blocks.reshape(*values.shape[:-1], -1)
    flat[..., :n] = values
    np.cumsum(blocks, axis=-1, out=blocks)
    ends = np.cumsum(blocks[..., :-1, -1], axis=-1)
    blocks[..., 1:, :] += ends[..., None]
    return flat[..., :n]
