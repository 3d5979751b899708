"""A regressor that predicts or abstains."""

from inspect import signature
from numbers import Real

import numpy as np
from sklearn.base import RegressorMixin, is_classifier
from sklearn.utils import check_array, get_tags
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d

from . import _composition as parts
from ._selective_model import SelectiveModel
from ._state import snapshot
from ._validation import Range, as_array
from .thresholds import check_weight

_LOSSES = {
    "squared_error": lambda y, predictions: np.square(y - predictions),
    "absolute_error": lambda y, predictions: np.abs(y - predictions),
}


class SelectiveRegressor(RegressorMixin, SelectiveModel):
    """A regressor that abstains where its confidence is below a learned threshold.

    What `SelectiveClassifier` is for classes: a model, a confidence score and a threshold,
    composed. The threshold is learned on rows that neither part was fitted on.

    Parameters
    ----------
    estimator : regressor
        The model; cloned and fitted, or used as it is inside a `FrozenEstimator`.
    confidence : score, outlier detector or Pipeline ending in one, default=None
        Scores each row, higher is more normal; cloned and fitted, or used as it is inside a
        `FrozenEstimator`. None takes minus the standard deviation of an estimator that has
        ``predict(X, return_std=True)``, such as `GaussianProcessRegressor` or `BayesianRidge`.
    threshold : threshold rule, default=None
        Turns the confidences of calibration rows, and the losses on them, into a bound, e.g.
        `RiskThreshold`. None leaves the decision to the confidence (its ``decision_function``, so
        its ``quantile``); with ``confidence=None`` it is ``QuantileThreshold()``.
    loss : {"squared_error", "absolute_error"} or callable, default="squared_error"
        The error of a prediction: for the rule, and for `score`. A callable is called with
        ``(y_true, y_pred)`` and returns one loss a row. Several outputs are averaged.
    calibration_size : float in (0, 1) or int, default=0.2
        Share or number of rows held out for calibration. Not used where nothing is fitted (both
        parts are frozen) or `cv` is given.
    cv : int, cross-validation generator or iterable, default=None
        Calibrate on out-of-fold confidences of all rows, then fit both parts on all rows.
    group_by : callable, default=None
        Called with X, returns the group of each row, for rules with a bound a group
        (`GroupThreshold`).
    reject_value : float or None, default=nan
        What `predict` returns where it abstains. None never abstains: `predict` is that of the
        estimator, and decisions are had from `select`.
    reject_cost : float, default=0.2
        Cost of an abstention in `score`, as a share of the mean loss of a constant guess.
    random_state : int, RandomState instance or None, default=None
        Draws the calibration rows.

    Attributes
    ----------
    estimator_ : regressor
        The fitted model.
    confidence_ : estimator or None
        The fitted confidence.
    rule_ : threshold rule or None
        The fitted rule; None where the confidence decides itself.
    threshold_ : float
        The bound on ``score_samples``; rows that reach it are accepted. Of a rule with a bound a
        group it is the one for groups that it does not know.
    guarantee_ : str
        What the bound promises, with its numbers, as of `fit` or `set_threshold`.
    coverage_ : float
        Share of calibration rows accepted, as of `fit` or `set_threshold`.
    calibration_scores_ : ndarray of shape (n_calibration,)
        Confidences of the calibration rows.
    calibration_errors_ : ndarray of shape (n_calibration,) or None
        Losses on the calibration rows.
    calibration_groups_ : ndarray of shape (n_calibration,) or None
        Groups of the calibration rows, where `group_by` is given.
    calibration_weight_ : ndarray of shape (n_calibration,) or None
        Weights of the calibration rows, where a rule was given any.
    n_features_in_ : int
        Number of features seen in `fit`, where X has columns.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where `fit` saw a data frame with string names.

    See Also
    --------
    SelectiveClassifier : The same for classes; its notes on confidences and promises hold here.

    Notes
    -----
    A rule that bounds the risk needs losses with a known upper end: clip them, or count as an
    error what is off by more than is tolerable, as in the example.

    Scorers of scikit-learn refuse the NaN of an abstention; `score` counts its cost.

    The standard deviation of a Gaussian process differs in its last digits with the batch that a
    row comes in, most where it is near 0; so may the decision on a row at the bound.

    References
    ----------
    Zaoui, A., Denis, C. and Hebiri, M. "Regression with reject option and application to kNN",
    NeurIPS 2020, arXiv:2006.16597.

    Examples
    --------
    A straight line through a sine: at most 5 % of the answers may be off by more than 0.25.

    >>> import numpy as np
    >>> from sklearn.linear_model import BayesianRidge
    >>> from sklearn_seapig import RiskThreshold, SelectiveRegressor
    >>> X = np.random.default_rng(0).normal(size=(1000, 1))
    >>> y = np.sin(X[:, 0])
    >>> model = SelectiveRegressor(
    ...     BayesianRidge(),
    ...     threshold=RiskThreshold(max_risk=0.05),
    ...     loss=lambda y_true, y_pred: abs(y_true - y_pred) > 0.25,
    ...     calibration_size=0.5,
    ...     random_state=0,
    ... ).fit(X, y)
    >>> model.rule_.feasible_
    True
    >>> model.predict([[0.5], [3.0]]).round(2)
    array([0.33,  nan])
    """

    _parameter_constraints = {
        **SelectiveModel._parameter_constraints,
        "loss": [StrOptions(set(_LOSSES)), callable],
        "reject_value": [Range(Real, None, None, closed="neither"), "nan", None],
    }

    _calibrates_by = ("group_by", "loss")

    def __init__(
        self,
        estimator,
        confidence=None,
        threshold=None,
        *,
        loss="squared_error",
        calibration_size=0.2,
        cv=None,
        group_by=None,
        reject_value=np.nan,
        reject_cost=0.2,
        random_state=None,
    ):
        self.estimator = estimator
        self.confidence = confidence
        self.threshold = threshold
        self.loss = loss
        self.calibration_size = calibration_size
        self.cv = cv
        self.group_by = group_by
        self.reject_value = reject_value
        self.reject_cost = reject_cost
        self.random_state = random_state

    def _check_target(self, y):
        y = as_array(y, "y")
        if np.ndim(y) != 2 or not get_tags(self.estimator).target_tags.multi_output:
            y = column_or_1d(y, warn=True)
        return check_array(y, dtype="numeric", ensure_2d=False, input_name="y")

    def _check_parts(self):
        if is_classifier(self.estimator):
            raise ValueError(
                "estimator must be a regressor, got the classifier "
                f"{type(self.estimator).__name__}; SelectiveClassifier takes it."
            )
        if self.confidence is not None and parts.fits_on_calibration(self.confidence):
            raise ValueError(
                f"confidence {type(parts.last_step(self.confidence)).__name__} is for the outputs "
                "of a classifier; give one that sees X, such as EuclideanScore()."
            )

    def _errors(self, predictions, y):
        """Return the loss of each row."""
        predictions = np.asarray(predictions, dtype=np.float64)
        if predictions.size != y.size or len(predictions) != len(y):
            raise ValueError(
                f"The estimator predicts values of shape {predictions.shape} for y of shape "
                f"{y.shape}; give y with the outputs that it was fitted on."
            )
        loss = self.loss if callable(self.loss) else _LOSSES[self.loss]
        losses = np.asarray(loss(y, predictions.reshape(y.shape)), dtype=np.float64)
        if losses.shape == y.shape and y.ndim == 2:
            losses = losses.mean(axis=1)
        if losses.shape != y.shape[:1] or not np.isfinite(losses).all():
            raise ValueError(
                f"loss={self.loss!r} must return one finite number for each of {len(y)} rows, got "
                f"an array of shape {losses.shape} with {int((~np.isfinite(losses)).sum())} values "
                "that are not finite; mend it, or the predictions that it sees."
            )
        return losses

    @staticmethod
    def _own_confidence(estimator, X):
        """Return minus the predicted standard deviation of each row."""
        last = parts.last_step(estimator)
        if "return_std" not in signature(last.predict).parameters:
            raise ValueError(
                f"confidence=None needs predict(X, return_std=True), which {type(last).__name__} "
                "does not have; give a confidence, such as EuclideanScore()."
            )
        _, std = last.predict(parts.before_last(estimator, X), return_std=True)
        std = np.asarray(std, dtype=np.float64)
        if np.isnan(std).any():
            raise ValueError(
                f"{type(last).__name__} returned NaN as a standard deviation; mend the estimator "
                "or its input."
            )
        return -(std if std.ndim == 1 else std.mean(axis=1))

    def _learn_target(self, y):
        """Nothing is learned of a target that is a number."""

    def predict(self, X):
        """Return the prediction of each accepted row and `reject_value` for the others.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Rows to predict.

        Returns
        -------
        values : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Of float64, unless `reject_value` is None.
        """
        check_is_fitted(self)
        state = snapshot(self)
        if state.reject_value is None:
            return state.estimator_.predict(X)
        selection = state.select(X)
        values = selection.predictions.astype(np.float64)
        values[~selection.selected] = state.reject_value
        return values

    def score(self, X, y, sample_weight=None):
        """Return 1 minus the mean cost, in units of the mean loss of a constant guess.

        An answer costs its loss. An abstention costs `reject_cost` times the mean loss of guessing
        the mean of `y` everywhere. This is R^2 where nothing is rejected, the loss is the squared
        error and there is one output.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Rows to predict.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            True values.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        score : float
            At most 1 (for losses of at least 0); higher is better. Where the constant guess is
            without loss it is 1 if the model is so too, else 0.
        """
        check_is_fitted(self)
        state = snapshot(self)
        y = state._check_target(y)
        check_consistent_length(X, y)
        if sample_weight is not None:
            sample_weight = check_weight(sample_weight, len(y))
        guess = np.broadcast_to(np.average(y, axis=0, weights=sample_weight), y.shape)
        of_guess = np.average(state._errors(guess, y), weights=sample_weight)
        if state.reject_value is None:
            cost = state._errors(state.estimator_.predict(X), y)
        else:
            selection = state.select(X)
            cost = state._errors(selection.predictions, y)
            cost[~selection.selected] = state.reject_cost * of_guess
        mean_cost = np.average(cost, weights=sample_weight)
        if of_guess == 0:
            return float(mean_cost == 0)
        return float(1 - mean_cost / of_guess)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        model = get_tags(self.estimator)
        if model.regressor_tags is not None:
            tags.regressor_tags = model.regressor_tags
        tags.target_tags.multi_output = model.target_tags.multi_output
        tags.target_tags.positive_only = model.target_tags.positive_only
        return tags
