"""Decisions, points and lines in the plane of coverage and risk."""

import numpy as np

from ..._validation import check_parameter
from ...thresholds import check_confidence, check_weight
from .._sample import check_loss
from ..risk_coverage import risk_coverage_curve
from ._common import BOUND, check_decisions, for_each

POINTS = 1000  # of one drawn line


def decisions(confidence, threshold, selected):
    """Return which rows are accepted, for each name of which it is known."""
    sizes = {name: len(one) for name, one in confidence.items()}
    selected = for_each(selected, confidence, "selected")
    kept = check_decisions({n: one for n, one in selected.items() if one is not None}, sizes)
    for name, bound in for_each(threshold, confidence, "threshold").items():
        if bound is None:
            continue
        if name in kept:
            raise ValueError(f"threshold and selected are both given for {name!r}; give one.")
        check_parameter("threshold", bound, BOUND, "RiskCoverageDisplay")
        kept[name] = check_confidence(confidence[name]) >= bound
    return kept


def operating_point(loss, selected, sample_weight):
    """Return coverage and selective risk of the accepted rows, None where there are none."""
    if selected is None:
        return None
    weight = np.ones(len(selected))
    if sample_weight is not None:
        weight = check_weight(sample_weight, len(selected))
        weight = weight / weight.max()  # or their sum may overflow
    accepted = weight * selected
    if not accepted.any():
        return None
    risk = np.average(check_loss(loss), weights=accepted)
    return float(accepted.sum() / weight.sum()), float(risk)


def oracle_curve(loss, weight):
    """Return the curve of the best possible confidence, which is minus the loss."""
    return risk_coverage_curve(loss, -check_loss(loss), **weight)


def same(a, b):
    """Return whether two curves are equal."""
    return all(np.array_equal(x, y) for x, y in zip(a[:3], b[:3], strict=True))


def line_points(curve, generalized):
    """Return the points to draw: the loss grows evenly within a block of tied rows."""
    grid = np.linspace(0, 1, POINTS + 1)[1:]
    first = min(curve.coverage[0], grid[0])
    ends = curve.coverage
    if len(ends) > POINTS:  # the left end, where the risk jumps, is kept in full
        ends = np.geomspace(first, 1, POINTS)
    grid = np.union1d(grid[grid >= first], ends)
    total = np.interp(grid, np.append(0, curve.coverage), np.append(0, curve.generalized_risk))
    return grid, total if generalized else total / grid
