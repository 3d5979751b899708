"""What is measured of a `Sample`: plain functions of blocks along the last axis."""

import numpy as np

from .._warn import warn
from ._sample import cumulative_sum, harmonic_span

# Absorbs the rounding of a share that is compared with a target.
SLACK = 1e-12


def cumulated(blocks):
    """Return the weight and the loss of all rows down to the end of each block."""
    return cumulative_sum(blocks.weight), cumulative_sum(blocks.loss)


def mean_loss(sample):
    """Return the risk at full coverage."""
    blocks = sample.blocks
    return blocks.loss.sum(axis=-1) / blocks.weight.sum(axis=-1)


def aurc(sample):
    """Return the mean over all rows of the selective risk at their rank."""
    return _mean_selective_risk(sample.blocks)


def oracle_aurc(sample):
    """Return the AURC of the ordering by loss, the smallest that these losses allow."""
    return _mean_selective_risk(sample.oracle)


def excess_aurc(sample):
    """Return the AURC above that of the oracle, where it is more than rounding."""
    return _more_than_rounding(aurc(sample) - oracle_aurc(sample), sample)


def normalized_aurc(sample):
    """Return the excess AURC in units of that of a random order; nan where no order matters."""
    best = oracle_aurc(sample)
    excess, room = aurc(sample) - best, mean_loss(sample) - best
    return _ratio(_more_than_rounding(excess, sample), _more_than_rounding(room, sample))


def augrc(sample):
    """Return the area below the generalized risk, by the trapezoid of block ends."""
    blocks = sample.blocks
    weight, loss = cumulated(blocks)
    height = loss - blocks.loss / 2
    return (blocks.weight * height).sum(axis=-1) / weight[..., -1] ** 2


def failure_auroc(sample):
    """Return P(a correct row is more confident than a wrong one), ties counted half."""
    blocks = sample.blocks
    right = blocks.weight - blocks.loss
    before = cumulative_sum(right) - right / 2
    ordered = (blocks.loss * before).sum(axis=-1)
    return _ratio(ordered, right.sum(axis=-1) * blocks.loss.sum(axis=-1))


def fpr_at_tpr(sample, tpr=0.95):
    """Return the share of wrong rows accepted where a share `tpr` of the correct ones is."""
    weight, loss = cumulated(sample.blocks)
    right = weight - loss
    reached = right >= right[..., -1:] * tpr * (1 - SLACK)
    return _ratio(_first(loss, reached), loss[..., -1] * (right[..., -1] > 0))


def coverage_at_risk(sample, target):
    """Return the largest coverage of a block end whose selective risk is at most `target`."""
    weight, loss = cumulated(sample.blocks)
    allowed = (loss <= weight * target * (1 + SLACK)) & (weight > 0)
    return np.where(allowed, weight, 0).max(axis=-1) / weight[..., -1]


def risk_at_coverage(sample, coverage):
    """Return the selective risk at the first block end that covers a share `coverage`."""
    weight, loss = cumulated(sample.blocks)
    reached = weight >= weight[..., -1:] * coverage * (1 - SLACK)
    return _first(loss, reached) / _first(weight, reached)


def _mean_selective_risk(blocks):
    """Return the mean of the selective risk over the ranks of all rows.

    Inside a block the loss grows linearly, row by row, which is its mean over all orders of the
    rows. With c rows of mean weight w after weight W and loss E, and loss b, the j-th of them has
    the risk (E + j b / c) / (W + j w); both sums over j are harmonic.
    """
    weight, loss = cumulated(blocks)
    mass = np.divide(blocks.weight * loss, weight, out=np.zeros_like(loss), where=weight > 0)
    tied = blocks.rows != 1
    if tied.any():
        mass[tied] = _tied_mass(*(values[tied] for values in (*blocks[:3], weight, loss)))
    return mass.sum(axis=-1) / weight[..., -1]


def _tied_mass(rows, weight, loss, weight_after, loss_after):
    counted = np.maximum(rows, 1)  # resamples leave blocks empty
    start = (weight_after - weight) * counted / np.where(rows > 0, weight, 1)
    span = harmonic_span(start, rows)
    return (loss_after - loss) * span + loss / counted * (rows - start * span)


def _more_than_rounding(gap, sample):
    return np.where(np.abs(gap) > SLACK * mean_loss(sample), gap, 0)


def _first(values, reached):
    at = reached.argmax(axis=-1)
    return np.take_along_axis(values, at[..., None], axis=-1)[..., 0]


def _ratio(numerator, denominator):
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(denominator > 0, numerator / denominator, np.nan)


def warn_if_undefined(value, name, reason):
    """Return a value, with a warning where it is nan."""
    if np.isnan(value):
        warn(f"{name} is undefined (nan) where {reason}.")
    return value
