"""The metrics of this package by name, and which of them grow as a confidence gets better."""

from .failure import effective_reliability_score, failure_auroc_score, fpr_at_tpr
from .risk_coverage import (
    augrc_score,
    aurc_score,
    coverage_at_risk,
    excess_aurc_score,
    normalized_aurc_score,
    risk_at_coverage,
)

METRICS = {
    "aurc": aurc_score,
    "eaurc": excess_aurc_score,
    "naurc": normalized_aurc_score,
    "augrc": augrc_score,
    "failure_auroc": failure_auroc_score,
}
_GREATER_IS_BETTER = {
    aurc_score: False,
    excess_aurc_score: False,
    normalized_aurc_score: False,
    augrc_score: False,
    risk_at_coverage: False,
    fpr_at_tpr: False,
    failure_auroc_score: True,
    coverage_at_risk: True,
    effective_reliability_score: True,
}


def resolve(metric, *more_names):
    """Return the function that `metric` is or names; one of `more_names` as it is."""
    if isinstance(metric, str) and metric in more_names:
        return metric
    function = METRICS.get(metric) if isinstance(metric, str) else metric
    if not callable(function):
        raise ValueError(
            f"metric={metric!r} is unknown; give one of {[*METRICS, *more_names]}, or a function "
            "metric(loss, confidence)."
        )
    return function


def greater_is_better(function):
    """Return whether a metric of this package is, and None for any other one."""
    return entry_of(_GREATER_IS_BETTER, function)


def entry_of(table, function):
    """Return what a table holds of a function, which need not be hashable, or None."""
    return next((value for known, value in table.items() if known is function), None)
