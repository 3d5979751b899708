"""What a fitted selective model says of labelled rows, wherever it stands."""

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils import Bunch
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from .._selective_model import SelectiveModel
from ._sample import check_loss


def respond(estimator, X, y, loss=None):
    """Return losses, confidences and decisions of a selective model on labelled rows.

    Parameters
    ----------
    estimator : fitted selective model
        Bare, at the end of a Pipeline, or the best one of a search; frozen or not.
    X : array-like of shape (n_samples, ...)
        Rows as `estimator` takes them.
    y : array-like of shape (n_samples,)
        True classes or values.
    loss : callable, default=None
        ``loss(y_true, y_pred)`` -> array of shape (n_samples,). None is the 0/1 error of a
        classifier, or the loss of a selective regressor.

    Returns
    -------
    response : Bunch
        ``loss``, ``score`` and ``selected`` of shape (n_samples,); ``predictions`` of all rows;
        ``model``, the selective model itself; ``threshold``, its bound.
    """
    model, X = innermost(estimator, X)
    check_is_fitted(model)
    if not isinstance(model, SelectiveModel):
        raise TypeError(
            f"{type(model).__name__} does not predict or abstain; wrap it, as in "
            "SelectiveClassifier(FrozenEstimator(model)).fit(X_calibration, y_calibration)."
        )
    selection = model.select(X)
    check_consistent_length(selection.predictions, y)
    if loss is None:
        losses = model._errors(selection.predictions, model._check_target(y))
    else:
        losses = loss(np.asarray(y), selection.predictions)
    losses = check_loss(losses)
    if len(losses) != len(selection.predictions):
        raise ValueError(
            f"loss returned {len(losses)} losses for {len(selection.predictions)} rows; it must "
            "return one for each."
        )
    return Bunch(loss=losses, model=model, threshold=model.threshold_, **selection)


def innermost(estimator, X=None):
    """Return the model inside of searches, Pipelines and frozen wrappers, and X as it sees it."""
    while True:
        if isinstance(estimator, Pipeline):
            check_is_fitted(estimator)
            if X is not None and len(estimator) > 1:
                X = estimator[:-1].transform(X)
            estimator = estimator[-1]
        elif isinstance(estimator, FrozenEstimator):
            estimator = estimator.estimator
        elif isinstance(estimator, BaseSearchCV):
            check_is_fitted(estimator, "best_estimator_")
            estimator = estimator.best_estimator_
        else:
            return estimator, X
