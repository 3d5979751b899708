"""A classifier that predicts or abstains."""

import numpy as np
from sklearn.base import ClassifierMixin, is_regressor
from sklearn.utils import get_tags
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d

from . import _composition as parts
from ._reject_label import resolve_reject_label, with_rejections
from ._selective_model import SelectiveModel
from ._state import snapshot
from ._validation import as_array
from .thresholds import check_weight


def _estimator_has(method):
    def has(self):
        return hasattr(getattr(self, "estimator_", self.estimator), method)

    return has


class SelectiveClassifier(ClassifierMixin, SelectiveModel):
    """A classifier that abstains where its confidence is below a learned threshold.

    A model, a confidence score and a threshold, composed. The threshold is learned on rows that the
    model was not fitted on, nor the score unless it is one that calibrates (logit scores).

    Parameters
    ----------
    estimator : classifier
        The model; cloned and fitted, or used as it is inside a `FrozenEstimator`.
    confidence : score, outlier detector or Pipeline ending in one, default=None
        Scores each row, higher is more normal; cloned and fitted, or used as it is inside a
        `FrozenEstimator`. None takes the largest class probability of the estimator (softmax
        response).
    threshold : threshold rule, default=None
        Turns the confidences of calibration rows, and the errors on them, into a bound, e.g.
        `QuantileThreshold` or `RiskThreshold`. None leaves the decision to the confidence (its
        ``decision_function``, so its ``quantile``); with ``confidence=None`` it is
        ``QuantileThreshold()``.
    response_method : {"predict_proba", "decision_function", "transform"}, default=None
        The output of the fitted estimator that the confidence sees in place of X.
    calibration_size : float in (0, 1) or int, default=0.2
        Share or number of rows held out for calibration. Not used where nothing is fitted (both
        parts are frozen) or `cv` is given.
    cv : int, cross-validation generator or iterable, default=None
        Calibrate on out-of-fold confidences of all rows, then fit both parts on all rows.
    group_by : callable, default=None
        Called with X, returns the group of each row, for rules with a bound a group
        (`GroupThreshold`). None takes the predicted class.
    reject_label : label, "auto" or None, default="auto"
        What `predict` returns where it abstains. "auto" is -1, or one below the smallest class
        where -1 is a class, or "rejected" for string classes. None never abstains: `predict` is
        that of the estimator, and decisions are had from `select`.
    reject_cost : float, default=0.2
        Cost of an abstention in `score`, where an error costs 1.
    random_state : int, RandomState instance or None, default=None
        Draws the calibration rows.

    Attributes
    ----------
    estimator_ : classifier
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
        1 where the estimator was wrong on the calibration row, else 0.
    calibration_groups_ : ndarray of shape (n_calibration,)
        Groups of the calibration rows.
    calibration_weight_ : ndarray of shape (n_calibration,) or None
        Weights of the calibration rows, where a rule was given any.
    reject_label_ : label or None
        What `reject_label` became.
    classes_ : ndarray of shape (n_classes,)
        The classes; the reject label is not among them.
    n_features_in_ : int
        Number of features seen in `fit`, where X has columns.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where `fit` saw a data frame with string names.

    See Also
    --------
    EuclideanScore : A confidence from the distance to training rows.
    QuantileThreshold : A rule that accepts a given share.
    RiskThreshold : A rule that limits the errors among accepted rows.
    SelectiveRegressor : The same for regression.

    Notes
    -----
    A confidence with ``set_threshold`` (every score of this package, also at the end of a
    Pipeline) gets its bound from the calibration rows. Any other detector keeps its own
    ``offset_``. A frozen confidence is never changed: without a `threshold` it keeps its decision,
    and the rows given to `fit` only measure ``coverage_``.

    With `response_method`, a confidence is fitted on the outputs for training rows and bounded on
    those for calibration rows; one with ``fits_on_calibration`` (logit scores) is fitted on the
    outputs for calibration rows alone, with the column of the true class as y.

    A promise (``guarantee_``) is for rows exchangeable with the calibration rows, and for parts
    that have not seen these. With ``cv`` it is approximate: scores and errors come from models
    fitted on fewer rows than the final one, which tends to err a little less and to accept a little
    more. It is approximate too for a score that learns from calibration rows (a logit score with
    ``temperature="fit"``). It does not hold for rows of classes that training rows lacked: where
    the calibration rows have all rows of a class, one of them is moved to training. And it is for
    a rule and a score chosen without the calibration rows: the best of several on the same rows,
    as a search over them picks it, promises less than it says. `set_threshold` with fresh rows
    makes the promise anew.

    Scorers of scikit-learn count an abstention as an error. `score` counts its cost.

    A `FrozenEstimator` shares the object that it wraps: refitting that object elsewhere changes
    this classifier too.

    References
    ----------
    Chow, C. K. "On optimum recognition error and reject tradeoff", IEEE Transactions on
    Information Theory, 1970.

    Geifman, Y. and El-Yaniv, R. "Selective Classification for Deep Neural Networks", NeurIPS 2017,
    arXiv:1705.08500.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn_seapig import EuclideanScore, SelectiveClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = SelectiveClassifier(
    ...     LogisticRegression(), EuclideanScore(k=5, quantile=0.9), random_state=0
    ... ).fit(X, y)
    >>> model.predict([[5.0, 3.5, 1.5, 0.2], [50.0, 3.5, 1.5, 0.2]])
    array([ 0, -1])
    """

    _parameter_constraints = {
        **SelectiveModel._parameter_constraints,
        "response_method": [StrOptions({"predict_proba", "decision_function", "transform"}), None],
        "reject_label": "no_validation",
    }

    def __init__(
        self,
        estimator,
        confidence=None,
        threshold=None,
        *,
        response_method=None,
        calibration_size=0.2,
        cv=None,
        group_by=None,
        reject_label="auto",
        reject_cost=0.2,
        random_state=None,
    ):
        self.estimator = estimator
        self.confidence = confidence
        self.threshold = threshold
        self.response_method = response_method
        self.calibration_size = calibration_size
        self.cv = cv
        self.group_by = group_by
        self.reject_label = reject_label
        self.reject_cost = reject_cost
        self.random_state = random_state

    def _check_target(self, y):
        y = column_or_1d(as_array(y, "y"), warn=True)
        if y.dtype == object and len({isinstance(label, str) for label in y}) > 1:
            raise ValueError("y mixes strings and other labels; give labels of one kind.")
        check_classification_targets(y)
        return y

    def _check_parts(self):
        if is_regressor(self.estimator):
            raise ValueError(
                f"estimator must be a classifier, got the regressor {type(self.estimator).__name__}"
                "; its predictions are no classes. SelectiveRegressor takes it."
            )
        if self.confidence is None and self.response_method is not None:
            raise ValueError(
                f"response_method={self.response_method!r} is for a confidence to see, but "
                "confidence is None (softmax response); give a confidence or drop it."
            )

    def _learn_target(self, y):
        # A frozen estimator has classes of its own; another one has seen every class of y.
        self.classes_ = np.asarray(getattr(self.estimator_, "classes_", np.unique(y)))
        self.reject_label_ = resolve_reject_label(self.reject_label, self.classes_)

    @staticmethod
    def _errors(predictions, y):
        """Return 1 where predictions differ from the true classes, else 0."""
        if isinstance(predictions[0], str) != isinstance(y[0], str):
            raise ValueError(
                f"The estimator predicts classes such as {predictions[:1].tolist()}, but y holds "
                f"labels such as {y[:1].tolist()}; give y in the classes that the estimator knows."
            )
        return (predictions != y).astype(np.float64)

    @staticmethod
    def _own_confidence(estimator, X):
        """Return the largest class probability of each row (softmax response)."""
        if not hasattr(estimator, "predict_proba"):
            raise ValueError(
                f"confidence=None needs predict_proba, which {type(estimator).__name__} does not "
                "have; give a confidence, with response_method='decision_function' if it is to see "
                "decisions."
            )
        return parts.response(estimator, X, "predict_proba").max(axis=1).astype(np.float64)

    def _groups(self, X, predictions):
        groups = super()._groups(X, predictions)
        return predictions if groups is None else groups

    def predict(self, X):
        """Return the predicted class of each accepted row and ``reject_label_`` for the others.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Rows to classify.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            Of a dtype that holds the classes and the reject label.
        """
        check_is_fitted(self)
        state = snapshot(self)
        if state.reject_label_ is None:
            return state.estimator_.predict(X)
        selection = state.select(X)
        return with_rejections(selection.predictions, selection.selected, state.reject_label_)

    def score(self, X, y, sample_weight=None):
        """Return 1 minus the mean cost: an error costs 1, an abstention `reject_cost`.

        This is the accuracy where nothing is rejected.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Rows to classify.
        y : array-like of shape (n_samples,)
            True classes.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        score : float
            At most 1; higher is better.
        """
        check_is_fitted(self)
        state = snapshot(self)
        y = state._check_target(y)
        check_consistent_length(X, y)
        if sample_weight is not None:
            sample_weight = check_weight(sample_weight, len(y))
        if state.reject_label_ is None:
            cost = state._errors(np.asarray(state.estimator_.predict(X)), y)
        else:
            selection = state.select(X)
            wrong = state._errors(selection.predictions, y)
            cost = np.where(selection.selected, wrong, float(state.reject_cost))
        return float(1 - np.average(cost, weights=sample_weight))

    @available_if(_estimator_has("predict_proba"))
    def predict_proba(self, X):
        """Return the class probabilities of the estimator, of shape (n_samples, n_classes)."""
        check_is_fitted(self)
        return self.estimator_.predict_proba(X)

    @available_if(_estimator_has("predict_log_proba"))
    def predict_log_proba(self, X):
        """Return the log class probabilities of the estimator, of shape (n_samples, n_classes)."""
        check_is_fitted(self)
        return self.estimator_.predict_log_proba(X)

    @available_if(_estimator_has("decision_function"))
    def decision_function(self, X):
        """Return the decision function of the estimator (not of the confidence)."""
        check_is_fitted(self)
        return self.estimator_.decision_function(X)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        model = get_tags(self.estimator)
        if model.classifier_tags is not None:
            tags.classifier_tags = model.classifier_tags
        return tags
