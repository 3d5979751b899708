"""Scorers of selective models, for cross-validation and searches."""

from inspect import signature
from numbers import Real

import numpy as np
from sklearn import get_config
from sklearn.base import is_classifier
from sklearn.utils.metadata_routing import MetadataRequest

from .._validation import Range, check_parameter
from ..thresholds import check_weight
from ._registry import greater_is_better as known_direction
from ._registry import resolve
from ._response import respond
from .failure import effective_reliability_score

_CALLER = "make_selective_scorer"


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
        If `metric` is an unknown name, `greater_is_better` is missing for a metric of your own, or
        a cost is negative.
    TypeError
        If `metric` does not take what `kwargs` hold, or needs more.

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
    function = resolve(metric, "cost")
    if loss is not None:
        check_parameter("loss", loss, callable, _CALLER)
    if function == "cost":
        _check_costs(**kwargs)
        return _SelectiveScorer(metric, loss, False, kwargs)
    if greater_is_better is None:
        greater_is_better = known_direction(function)
    if greater_is_better is None:
        raise ValueError(
            f"greater_is_better is None for metric={metric!r}; say True where higher values are "
            "better, else False."
        )
    check_parameter("greater_is_better", greater_is_better, "boolean", _CALLER)
    _check_arguments(function, kwargs)
    return _SelectiveScorer(metric, loss, greater_is_better, kwargs)


class _SelectiveScorer:
    """What `make_selective_scorer` returns; plain values where the metric is a name."""

    _sample_weight_request = None

    def __init__(self, metric, loss, greater_is_better, kwargs):
        self._metric = metric
        self._loss = loss
        self._greater_is_better = greater_is_better
        self._kwargs = kwargs

    def __call__(self, estimator, X, y, sample_weight=None):
        """Return the score of a fitted selective model; greater is better."""
        response = respond(estimator, X, y, self._loss)
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        function = resolve(self._metric, "cost")
        if function == "cost":
            value = _cost(response, **self._kwargs, **weights)
        elif function is effective_reliability_score:
            # The decisions themselves, as a rule may have more than one bound.
            value = function(response.loss, response.selected, 1, **self._kwargs, **weights)
        else:
            value = function(response.loss, response.score, **self._kwargs, **weights)
        return float(value) if self._greater_is_better else 0.0 - float(value)

    def set_score_request(self, *, sample_weight):
        """Request sample weights where metadata routing is enabled.

        Parameters
        ----------
        sample_weight : bool, str or None
            Whether they are passed to the scorer, or the name that they are passed by.

        Returns
        -------
        self : object
        """
        if not get_config()["enable_metadata_routing"]:
            raise RuntimeError(
                "set_score_request needs metadata routing; enable it by "
                "sklearn.set_config(enable_metadata_routing=True)."
            )
        self._sample_weight_request = sample_weight
        self.get_metadata_routing()
        return self

    def get_metadata_routing(self):
        """Return which metadata the scorer requests."""
        request = MetadataRequest(owner=self)
        request.score.add_request(param="sample_weight", alias=self._sample_weight_request)
        return request

    def __repr__(self):
        metric = getattr(self._metric, "__name__", repr(self._metric))
        options = {**({} if self._loss is None else {"loss": self._loss}), **self._kwargs}
        if callable(self._metric) and known_direction(self._metric) is None:
            options["greater_is_better"] = self._greater_is_better
        options = "".join(f", {key}={value!r}" for key, value in options.items())
        return f"make_selective_scorer({metric}{options})"


def _check_arguments(function, kwargs):
    """Raise TypeError now where every call would, which a search reports as nan."""
    try:
        parameters = signature(function)
    except ValueError:  # of a builtin
        return
    threshold = {"threshold": 0} if function is effective_reliability_score else {}
    try:
        parameters.bind([], [], **threshold, **kwargs)
    except TypeError as error:
        raise TypeError(f"{_CALLER}: {error} of metric={function!r}.") from error


def _check_costs(reject_cost=None, error_cost=1.0):
    at_least_zero = Range(Real, 0, None, closed="left")
    check_parameter("error_cost", error_cost, at_least_zero, _CALLER)
    if reject_cost is not None:
        check_parameter("reject_cost", reject_cost, at_least_zero, _CALLER)


def _cost(response, *, reject_cost=None, error_cost=1.0, sample_weight=None):
    """Return the mean cost of a selective model: of its answers and of its abstentions."""
    if reject_cost is None:
        if not is_classifier(response.model):
            raise ValueError(
                "reject_cost is None, but only a classifier has one in units of the loss; give "
                "reject_cost to make_selective_scorer."
            )
        reject_cost = response.model.reject_cost
    if sample_weight is not None:
        sample_weight = check_weight(sample_weight, len(response.loss))
    cost = np.where(response.selected, error_cost * response.loss, float(reject_cost))
    return np.average(cost, weights=sample_weight)
