"""Scorers of selective models, for cross-validation and searches."""

import numpy as np
from sklearn.base import is_classifier
from sklearn.utils.metadata_routing import MetadataRequest

from ._response import respond
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
_LOWER_IS_BETTER = {
    aurc_score,
    excess_aurc_score,
    normalized_aurc_score,
    augrc_score,
    risk_at_coverage,
    fpr_at_tpr,
}
_HIGHER_IS_BETTER = {failure_auroc_score, coverage_at_risk, effective_reliability_score}


def make_selective_scorer(metric, *, loss=None, greater_is_better=None, **kwargs):
    """Make a scorer of selective models, for `GridSearchCV`, `cross_val_score` and the like.

    ===================  ===============================================  ==================
    ``metric``           the scorer returns                               sees the threshold
    ===================  ===============================================  ==================
    ``"aurc"``           minus `aurc_score`: the model and its ranking    no
    ``"augrc"``          minus `augrc_score`: the same, tamer at the top  no
    ``"eaurc"``          minus `excess_aurc_score`: the ranking           no
    ``"naurc"``          minus `normalized_aurc_score`: the ranking       no
    ``"failure_auroc"``  `failure_auroc_score`: the ranking of errors     no
    ``"cost"``           minus the mean cost of answers and abstentions   yes
    ===================  ===============================================  ==================

    Parameters
    ----------
    metric : str or callable
        One of the names above, or ``metric(loss, confidence, **kwargs)`` -> float, such as
        `coverage_at_risk` with ``target=0.05``.
    loss : callable, default=None
        ``loss(y_true, y_pred)`` -> array of shape (n_samples,). None is the 0/1 error of a
        classifier, or the ``loss`` of a selective regressor.
    greater_is_better : bool, default=None
        Needed for a metric of your own; those of this package know.
    **kwargs : dict
        Passed to `metric`. "cost" takes ``reject_cost``, by default that of the model, and
        ``error_cost=1.0``, the cost of an answer of loss 1.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y, sample_weight=None)`` -> float, greater is better. The estimator
        is a `SelectiveClassifier` or `SelectiveRegressor`, bare, at the end of a Pipeline, in a
        search, with frozen parts or not.

    Raises
    ------
    ValueError
        If `metric` is an unknown name, or `greater_is_better` is missing for a metric of your own.

    Notes
    -----
    Only labelled rows of the usual kind are needed, no foreign ones. Metrics that do not see the
    threshold cannot choose a ``quantile``; "cost" can. Where a metric is undefined the score is
    nan, which a search ranks last.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklearn_seapig import EuclideanScore, SelectiveClassifier
    >>> from sklearn_seapig.metrics import make_selective_scorer
    >>> model = SelectiveClassifier(LogisticRegression(), EuclideanScore(), random_state=0)
    >>> search = GridSearchCV(
    ...     model, {"confidence__k": [2, 5, 10]}, scoring=make_selective_scorer("augrc")
    ... )
    >>> search.fit(*load_iris(return_X_y=True)).best_params_
    {'confidence__k': 5}
    """
    known = {**METRICS, "cost": _cost}
    function = known.get(metric) if isinstance(metric, str) else metric
    if not callable(function):
        raise ValueError(
            f"metric={metric!r} is unknown; give one of {[*known]}, or a function "
            "metric(loss, confidence)."
        )
    if greater_is_better is None:
        if function not in {*_LOWER_IS_BETTER, *_HIGHER_IS_BETTER, _cost}:
            raise ValueError(
                f"greater_is_better is None for metric={metric!r}; say True where higher values "
                "are better, else False."
            )
        greater_is_better = function in _HIGHER_IS_BETTER
    return _SelectiveScorer(function, loss, 1 if greater_is_better else -1, kwargs)


class _SelectiveScorer:
    """What `make_selective_scorer` returns."""

    _sample_weight_request = None

    def __init__(self, function, loss, sign, kwargs):
        self._function = function
        self._loss = loss
        self._sign = sign
        self._kwargs = kwargs

    def __call__(self, estimator, X, y, sample_weight=None):
        """Return the score of a fitted selective model; greater is better."""
        response = respond(estimator, X, y, self._loss)
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        if self._function is _cost:
            value = _cost(response, **self._kwargs, **weights)
        elif self._function is effective_reliability_score:
            # The decisions themselves, as a rule may have more than one bound.
            value = self._function(response.loss, response.selected, 1, **self._kwargs, **weights)
        else:
            value = self._function(response.loss, response.score, **self._kwargs, **weights)
        return self._sign * float(value) + 0.0  # no minus zero

    def set_score_request(self, *, sample_weight):
        """Request sample weights for metadata routing: True, False, None or another name."""
        self._sample_weight_request = sample_weight
        return self

    def get_metadata_routing(self):
        """Return which metadata the scorer requests."""
        request = MetadataRequest(owner=self)
        request.score.add_request(param="sample_weight", alias=self._sample_weight_request)
        return request

    def __repr__(self):
        name = getattr(self._function, "__name__", repr(self._function)).strip("_")
        options = "".join(f", {key}={value!r}" for key, value in self._kwargs.items())
        return f"make_selective_scorer({name}{options})"


def _cost(response, *, reject_cost=None, error_cost=1.0, sample_weight=None):
    """Return the mean cost of a selective model: of its answers and of its abstentions."""
    if reject_cost is None:
        if not is_classifier(response.model):
            raise ValueError(
                "reject_cost is None, but only a classifier has one in units of the loss; give "
                "reject_cost to make_selective_scorer."
            )
        reject_cost = response.model.reject_cost
    cost = np.where(response.selected, error_cost * response.loss, float(reject_cost))
    return np.average(cost, weights=sample_weight)
