"""What every selective model shares: a fitted model, a confidence and a bound."""

from collections.abc import Mapping
from numbers import Integral, Real

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, MetaEstimatorMixin, _fit_context
from sklearn.utils import Bunch, get_tags, indexable
from sklearn.utils._param_validation import HasMethods, RealNotInt
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    _raise_for_params,
    process_routing,
)
from sklearn.utils.validation import (
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from . import _composition as parts
from ._calibrate import calibrate
from ._decision import caveats, fit_rule, promise_of, requests_of
from ._state import VersionStamp, blank_twin, snapshot
from ._validation import Range, check_parameter
from .thresholds import QuantileThreshold, accepted_by


class SelectiveModel(VersionStamp, MetaEstimatorMixin, BaseEstimator):
    """Fits the parts, and scores and decides with ``estimator_``, ``confidence_`` and ``rule_``.

    Hooks for subclasses:

    * ``_check_parts()``: refuse parts that do not go together.
    * ``_check_target(y)``: return y as an array that the parts are fitted on.
    * ``_errors(predictions, y)``: the loss of each row, float64.
    * ``_own_confidence(estimator, X)``: the confidences where `confidence` is None.
    * ``_learn_target(y)``: set what a fitted model knows of the targets.
    * ``_groups(X, predictions)``: the group of each row, or None.
    """

    _parameter_constraints = {
        "estimator": [HasMethods(["fit", "predict"])],
        "confidence": [HasMethods("fit"), None],
        "threshold": [HasMethods("fit"), None],
        "calibration_size": [
            Range(RealNotInt, 0, 1, closed="neither"),
            Range(Integral, 1, None, closed="left"),
        ],
        "cv": ["cv_object"],
        "group_by": [callable, None],
        "reject_cost": [Range(Real, 0, None, closed="left")],
        "random_state": ["random_state"],
    }
    # What the confidence sees: rows of X, unless a subclass has a parameter of this name.
    response_method = None
    # Parameters that the groups and errors of calibration rows depend on.
    _calibrates_by = ("group_by",)

    # Parts are validated when they are fitted, frozen ones never: no need to skip their checks.
    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y, **params):
        """Fit the parts and learn the threshold.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Rows, in any form that the parts understand.
        y : array-like of shape (n_samples,)
            Class labels, or targets of a regression.
        **params : dict
            Metadata for the ``fit`` of the parts and of the rule, and for the ``split`` of `cv`,
            routed by request; an entry with one value a row is split like X. An ``X_cal`` is passed
            on whole, and a confidence that takes it is bounded on it in place of the calibration
            rows. A ``sample_weight`` that the rule requests weighs the calibration rows.

        Returns
        -------
        self : object
            The fitted model.

        Raises
        ------
        ValueError
            If the rows cannot be split, `cv` is given with a frozen part, the parts do not go
            together, or one refuses its input. The model is then as it was before.
        TypeError
            If the confidence cannot score new rows.
        """
        _raise_for_params(params, self, None)
        twin = blank_twin(self)
        twin._fit(X, y, params)
        self.__dict__ = twin.__dict__
        return self

    def _fit(self, X, y, params):
        if isinstance(X, Mapping) and not issparse(X):  # one of its formats is a dict
            raise TypeError(f"X is a {type(X).__name__}, whose rows are not known; pass an array.")
        X, y = validate_data(self, X, y, skip_check_array=True)
        X, y = indexable(X, y)
        y = self._check_target(y)
        check_consistent_length(X, y)
        self._check_parts()
        routed = process_routing(self, "fit", **params)
        for_rule = {} if self.threshold is None else routed.threshold.fit
        if "groups" in for_rule:
            raise ValueError(
                "groups are needed where rows are predicted too, so they cannot be given to fit; "
                "give group_by, a function of X."
            )
        self._remember_parameters()
        self.estimator_, self.confidence_, calibration = calibrate(self, X, y, routed)
        self._learn_target(y)
        for_rule = parts.metadata_rows(X, for_rule, calibration.rows)
        self.calibration_scores_ = calibration.scores
        self.calibration_errors_ = calibration.errors
        self.calibration_groups_ = calibration.groups
        self.calibration_weight_ = _copy_of(for_rule.get("sample_weight"))
        self._caveats_ = caveats(self, calibration.n_moved)
        self._decide_by(self._rule(), for_rule, calibration.accepted)

    def _rule(self):
        return QuantileThreshold() if self.threshold is None else self.threshold

    def _decide_by(self, rule, params, accepted=None):
        """Fit a rule on the calibration rows, unless the confidence has judged them itself."""
        self.rule_ = None
        if accepted is None:
            scores, groups = self.calibration_scores_, self.calibration_groups_
            self.rule_ = fit_rule(rule, scores, self.calibration_errors_, groups, params)
            accepted = accepted_by(self.rule_, scores, groups)
        self.coverage_ = float(np.mean(accepted))
        self.guarantee_ = "; ".join([promise_of(self.rule_, self.confidence_), *self._caveats_])

    def set_threshold(self, threshold=None, X=None, y=None, *, sample_weight=None):
        """Change the decision without a new fit.

        The rule is fitted on the calibration rows of `fit`, or on fresh ones. It becomes the
        parameter `threshold`, so that clones have it; the confidence is not changed.

        Parameters
        ----------
        threshold : threshold rule or float in (0, 1], default=None
            The rule, which is cloned, or the share of rows to accept by a `QuantileThreshold`.
            None keeps the present one, with the parameters that it has now.
        X : array-like of shape (n_calibration, ...), default=None
            Calibration rows, fresh ones, which replace those before. None keeps the ones before.
        y : array-like of shape (n_calibration,), default=None
            True targets of `X`. None is for rules that need no errors; ``calibration_errors_`` is
            then None.
        sample_weight : array-like of shape (n_calibration,), default=None
            Weights for the rule. Without `X` they are of the calibration rows in their order. None
            keeps those before if the rule is kept too, and is no weights for another rule.

        Returns
        -------
        self : object
            The model with its new ``rule_``, ``guarantee_`` and ``coverage_``.

        Raises
        ------
        ValueError
            If there is no rule to keep, `y` comes without `X`, a parameter that the kept
            calibration rows depend on was changed, or the rule or a part refuses its input. The
            model is then as it was before.

        Notes
        -----
        A promise holds for a rule that was chosen without looking at the calibration rows. The best
        of several rules or scores on the same rows promises less than it says: give fresh rows.
        """
        check_is_fitted(self)
        twin = snapshot(self)
        twin.__dict__ = dict(vars(self))
        twin.threshold = self._new_rule(threshold)
        if X is None:
            twin._keep_calibration(y, sample_weight, with_weights=threshold is None)
        else:
            twin._calibrate_anew(X, y, sample_weight)
        weight = twin.calibration_weight_
        twin._decide_by(twin._rule(), {} if weight is None else {"sample_weight": weight})
        self.__dict__ = twin.__dict__
        return self

    def _new_rule(self, threshold):
        if threshold is None:
            if self.rule_ is None:
                raise ValueError(
                    f"threshold=None keeps the rule, but {type(self).__name__} has none: its "
                    "confidence decides itself; give a rule or a share of rows to accept."
                )
            return self.threshold
        if isinstance(threshold, Real):
            return QuantileThreshold(threshold)
        caller = f"{type(self).__name__}.set_threshold"
        check_parameter("threshold", threshold, HasMethods("fit"), caller)
        return threshold

    def _keep_calibration(self, y, sample_weight, with_weights):
        if y is not None:
            raise ValueError("y is given without X; set_threshold needs the rows of these targets.")
        for name, value in self._calibrated_with_.items():
            if getattr(self, name) != value:
                raise ValueError(
                    f"{name} was {value!r} for the calibration rows and is {getattr(self, name)!r} "
                    "now; give set_threshold rows as X and y, or fit again."
                )
        if sample_weight is not None or not with_weights:
            self.calibration_weight_ = _copy_of(sample_weight)

    def _remember_parameters(self):
        self._calibrated_with_ = {name: getattr(self, name) for name in self._calibrates_by}

    def _calibrate_anew(self, X, y, sample_weight):
        self._remember_parameters()
        self.calibration_errors_ = None
        predictions = np.asarray(self.estimator_.predict(X))
        if y is not None:
            y = self._check_target(y)
            check_consistent_length(X, y)
            self.calibration_errors_ = self._errors(predictions, y)
        self.calibration_scores_ = self._score(X)[0].copy()  # may be a column of X
        self.calibration_groups_ = self._groups(X, predictions)
        self.calibration_weight_ = _copy_of(sample_weight)
        self._caveats_ = []

    @property
    def threshold_(self):
        """The bound on ``score_samples``: of the rule, else the ``offset_`` of the confidence."""
        check_is_fitted(self)
        if self.rule_ is not None:
            return self.rule_.threshold_
        return np.asarray(parts.last_step(self.confidence_).offset_).item()

    def score_samples(self, X):
        """Return the confidence of each row; higher is more normal.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Rows to score.

        Returns
        -------
        scores : float64 ndarray of shape (n_samples,)
        """
        check_is_fitted(self)
        return snapshot(self)._score(X)[0]

    def select(self, X):
        """Return predictions, confidences and decisions of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
            Rows to judge.

        Returns
        -------
        selection : Bunch
            ``predictions`` of the estimator for all rows, rejected ones included; ``score``,
            float64; ``selected``, bool. All with one entry a row.
        """
        check_is_fitted(self)
        state = snapshot(self)
        predictions = np.asarray(state.estimator_.predict(X))
        score, Z = state._score(X)
        if state.rule_ is None:
            selected = parts.decisions_of(state.confidence_, Z, score)
        else:
            selected = accepted_by(state.rule_, score, state._groups(X, predictions))
        return Bunch(predictions=predictions, score=score, selected=selected)

    def _score(self, X):
        """Return the confidences, and what they were computed from."""
        if self.confidence_ is None:
            return self._own_confidence(self.estimator_, X), X
        Z = X
        if self.response_method is not None:
            Z = parts.response(self.estimator_, X, self.response_method)
        return parts.scores_of(self.confidence_, Z), Z

    def _groups(self, X, predictions):
        """Return what `group_by` makes of the rows."""
        group_by = self._calibrated_with_["group_by"]
        if group_by is None:
            return None
        groups = column_or_1d(group_by(X)).copy()
        if len(groups) != len(predictions):
            raise ValueError(
                f"group_by returned {len(groups)} groups for {len(predictions)} rows; it must "
                "return one for each."
            )
        return groups

    def get_metadata_routing(self):
        """Return how metadata are routed to the parts.

        Returns
        -------
        routing : MetadataRouter
        """
        fit = MethodMapping().add(caller="fit", callee="fit")
        # score takes sample_weight itself, so this router is a consumer as well.
        router = MetadataRouter(owner=self).add_self_request(self)
        router.add(estimator=self.estimator, method_mapping=fit)
        if self.confidence is not None:
            router.add(confidence=self.confidence, method_mapping=fit)
        if self.threshold is not None:
            router.add(threshold=requests_of(self.threshold), method_mapping=fit)
        if self.cv is not None:
            split = MethodMapping().add(caller="fit", callee="split")
            router.add(splitter=self.cv, method_mapping=split)
        return router

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        seen = [get_tags(self.estimator).input_tags]
        if self.confidence is not None and self.response_method is None:
            seen.append(get_tags(self.confidence).input_tags)
        for name in ("sparse", "allow_nan", "string", "categorical"):
            setattr(tags.input_tags, name, all(getattr(part, name) for part in seen))
        return tags


def _copy_of(weight):
    return None if weight is None else np.array(weight, dtype=np.float64)
