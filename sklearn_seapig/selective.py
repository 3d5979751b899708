"""A classifier that predicts or abstains."""

from numbers import Integral, Real

import numpy as np
from sklearn.base import ClassifierMixin, _fit_context, clone, is_regressor
from sklearn.utils import get_tags, indexable
from sklearn.utils._param_validation import HasMethods, RealNotInt, StrOptions
from sklearn.utils.metadata_routing import _raise_for_params, process_routing
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from . import _composition as parts
from ._calibrate import calibrate
from ._reject_label import resolve_reject_label, with_rejections
from ._selective_model import SelectiveModel
from ._state import blank_twin, snapshot
from ._validation import Range
from .thresholds import QuantileThreshold


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
        Turns the confidences of calibration rows into a bound, e.g. `QuantileThreshold`. None
        leaves the decision to the confidence (its ``decision_function``, so its ``quantile``);
        with ``confidence=None`` it is ``QuantileThreshold()``.
    response_method : {"predict_proba", "decision_function", "transform"}, default=None
        The output of the fitted estimator that the confidence sees in place of X.
    calibration_size : float in (0, 1) or int, default=0.2
        Share or number of rows held out for calibration. Not used where nothing is fitted (both
        parts are frozen) or `cv` is given.
    cv : int, cross-validation generator or iterable, default=None
        Calibrate on out-of-fold confidences of all rows, then fit both parts on all rows.
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
        The bound on ``score_samples``; rows that reach it are accepted.
    coverage_ : float
        Share of calibration rows accepted, by the bound of `fit`.
    calibration_scores_ : ndarray of shape (n_calibration,)
        Confidences of the calibration rows.
    calibration_errors_ : ndarray of shape (n_calibration,)
        1 where the estimator was wrong on the calibration row, else 0.
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

    Notes
    -----
    A confidence with ``set_threshold`` (every score of this package, also at the end of a
    Pipeline) gets its bound from the calibration rows. Any other detector keeps its own
    ``offset_``. A frozen confidence is never changed: without a `threshold` it keeps its decision,
    and the rows given to `fit` only measure ``coverage_``.

    With `response_method`, a confidence is fitted on the outputs for training rows and bounded on
    those for calibration rows; one with ``fits_on_calibration`` (logit scores) is fitted on the
    outputs for calibration rows alone, with the column of the true class as y.

    The bound of ``cv`` comes from models fitted on fewer rows than the final one, so it tends to
    accept a little more than asked for.

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
        "estimator": [HasMethods(["fit", "predict"])],
        "confidence": [HasMethods("fit"), None],
        "threshold": [HasMethods("fit"), None],
        "response_method": [StrOptions({"predict_proba", "decision_function", "transform"}), None],
        "calibration_size": [
            Range(RealNotInt, 0, 1, closed="neither"),
            Range(Integral, 1, None, closed="left"),
        ],
        "cv": ["cv_object"],
        "reject_label": "no_validation",
        "reject_cost": [Range(Real, 0, None, closed="left")],
        "random_state": ["random_state"],
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
        self.reject_label = reject_label
        self.reject_cost = reject_cost
        self.random_state = random_state

    # Parts are validated when they are fitted, frozen ones never: no need to skip their checks.
    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y, **params):
        """Fit the parts and learn the threshold.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Rows, in any form that the parts understand.
        y : array-like of shape (n_samples,)
            Class labels.
        **params : dict
            Metadata for the ``fit`` of the parts and the ``split`` of `cv`, routed by request;
            an entry with one value a row is split like X. An ``X_cal`` is passed on whole, and a
            confidence that takes it is bounded on it in place of the calibration rows.

        Returns
        -------
        self : SelectiveClassifier
            The fitted classifier.

        Raises
        ------
        ValueError
            If the rows cannot be split, `cv` is given with a frozen part, the reject label is a
            class, or a part refuses its input. The classifier is then as it was before.
        TypeError
            If the confidence cannot score new rows.
        """
        _raise_for_params(params, self, None)
        twin = blank_twin(self)
        twin._fit(X, y, params)
        self.__dict__ = twin.__dict__
        return self

    def _fit(self, X, y, params):
        X, y = validate_data(self, X, y, skip_check_array=True)
        X, y = indexable(X, y)
        y = column_or_1d(y, warn=True)
        check_consistent_length(X, y)
        check_classification_targets(y)
        if is_regressor(self.estimator):
            raise ValueError(
                f"estimator must be a classifier, got the regressor {type(self.estimator).__name__}"
                "; its predictions are no classes."
            )
        if self.confidence is None and self.response_method is not None:
            raise ValueError(
                f"response_method={self.response_method!r} is for a confidence to see, but "
                "confidence is None (softmax response); give a confidence or drop it."
            )
        routed = process_routing(self, "fit", **params)
        self.estimator_, self.confidence_, calibration = calibrate(self, X, y, routed)
        # A frozen estimator has classes of its own; another one has seen every class of y.
        self.classes_ = np.asarray(getattr(self.estimator_, "classes_", np.unique(y)))
        self.reject_label_ = resolve_reject_label(self.reject_label, self.classes_)
        self.calibration_scores_ = calibration.scores
        self.calibration_errors_ = calibration.errors
        self.rule_, accepted = None, calibration.accepted
        if accepted is None:
            rule = QuantileThreshold() if self.threshold is None else clone(self.threshold)
            self.rule_ = rule.fit(calibration.scores, calibration.errors)
            accepted = calibration.scores >= self.rule_.threshold_
        self.coverage_ = float(np.mean(accepted))

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
        y = column_or_1d(y, warn=True)
        check_consistent_length(X, y, sample_weight)
        if state.reject_label_ is None:
            cost = parts.errors(np.asarray(state.estimator_.predict(X)), y)
        else:
            selection = state.select(X)
            wrong = parts.errors(selection.predictions, y)
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
