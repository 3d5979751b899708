"""Fit a model and a confidence on some rows and judge them on others."""

from dataclasses import dataclass

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.model_selection import check_cv

from . import _composition as parts


@dataclass
class Calibration:
    """What calibration rows said of a model and a confidence that had not seen them.

    `inputs` is what the confidence sees of the rows; `accepted` is its own decision, None where a
    rule is to decide; `groups` are for a rule, None where there are none. `n_moved` rows of rare
    classes would have been among them, but were needed for training.
    """

    rows: np.ndarray
    inputs: object
    errors: np.ndarray
    groups: np.ndarray = None
    scores: np.ndarray = None
    accepted: np.ndarray = None
    n_moved: int = 0


def calibrate(spec, X, y, routed):
    """Fit the parts of a selective model and calibrate on rows that they were not fitted on.

    Parameters
    ----------
    spec : SelectiveModel
        Says which parts there are, how rows are split and what an error is.
    X, y : indexable
        All rows.
    routed : Bunch
        Metadata for the ``fit`` of the parts.

    Returns
    -------
    estimator, confidence : fitted parts
    calibration : Calibration
    """
    fitting = _Fitting(spec, X, y, routed)
    return fitting.hold_out() if spec.cv is None else fitting.cross_fit()


class _Fitting:
    def __init__(self, spec, X, y, routed):
        self.spec, self.X, self.y, self.routed = spec, X, y, routed
        self.by_class = is_classifier(spec)
        self.by_rule = spec.threshold is not None
        self.on_calibration = spec.confidence is not None and parts.fits_on_calibration(
            spec.confidence
        )

    def hold_out(self):
        spec = self.spec
        fits_confidence = not (
            spec.confidence is None or parts.is_frozen(spec.confidence) or self.on_calibration
        )
        if parts.is_frozen(spec.estimator) and not fits_confidence:
            train, rows, n_moved = np.arange(0), np.arange(len(self.y)), 0
        else:
            train, rows, n_moved = parts.split_rows(
                self.y, spec.calibration_size, spec.random_state, self.by_class
            )
        estimator = self._fit_estimator(train)
        calibration = self._errors(estimator, rows)
        calibration.n_moved = n_moved
        if self.on_calibration:
            confidence = self._fit_on_calibration(estimator, calibration)
        else:
            confidence = self._fit_confidence(estimator, train, calibration)
        self._judge(calibration, estimator, confidence)
        return estimator, confidence, calibration

    def cross_fit(self):
        spec = self.spec
        if parts.is_frozen(spec.estimator) or parts.is_frozen(spec.confidence):
            raise ValueError(
                f"cv={spec.cv!r} refits both parts, but one of them is a FrozenEstimator; leave cv "
                "out to calibrate on the rows given."
            )
        folds = []
        splitter = check_cv(spec.cv, self.y, classifier=self.by_class)
        for train, rows in splitter.split(self.X, self.y, **self.routed.splitter.split):
            estimator = self._fit_estimator(train)
            self._check_columns(estimator)
            fold = self._errors(estimator, rows)
            if not self.on_calibration:
                confidence = self._fit_confidence(estimator, train, fold)
                self._judge(fold, estimator, confidence)
            folds.append(fold)
        pooled = self._pool(folds)
        everything = np.arange(len(self.y))
        estimator = self._fit_estimator(everything)
        if self.on_calibration:
            confidence = self._fit_on_calibration(estimator, pooled)
            self._judge(pooled, estimator, confidence)
        else:
            confidence = self._refit_confidence(estimator, everything, pooled)
        return estimator, confidence, pooled

    def _fit_estimator(self, train):
        estimator = clone(self.spec.estimator)
        if parts.is_frozen(estimator):
            return estimator.fit(None, None)  # fits nothing; refuses one that is not fitted
        params = parts.metadata_rows(self.X, self.routed.estimator.fit, train)
        return estimator.fit(parts.rows(self.X, train), self.y[train], **params)

    def _inputs(self, estimator, rows):
        """Return what the confidence sees of some rows."""
        X = parts.rows(self.X, rows)
        if self.spec.response_method is None:
            return X
        return parts.response(estimator, X, self.spec.response_method)

    def _errors(self, estimator, rows):
        X = parts.rows(self.X, rows)
        predictions = np.asarray(estimator.predict(X))
        return Calibration(
            rows=rows,
            inputs=self._inputs(estimator, rows),
            errors=self.spec._errors(predictions, self.y[rows]),
            groups=self.spec._groups(X, predictions),
        )

    def _judge(self, calibration, estimator, confidence):
        """Score calibration rows, and let the confidence decide unless a rule will."""
        inputs = calibration.inputs
        if confidence is None:
            calibration.scores = self.spec._own_confidence(estimator, inputs)
            return
        parts.check_scores_new_rows(confidence)
        calibration.scores = parts.scores_of(confidence, inputs)
        if not self.by_rule:
            calibration.accepted = parts.decisions_of(confidence, inputs, calibration.scores)

    def _confidence_params(self, estimator, rows):
        params = parts.metadata_rows(self.X, self.routed.confidence.fit, rows)
        method = self.spec.response_method
        if method is not None and params.get("X_cal") is not None:
            params["X_cal"] = parts.response(estimator, params["X_cal"], method)
        return params

    def _fit_confidence(self, estimator, train, calibration):
        if self.spec.confidence is None:
            return None
        confidence = clone(self.spec.confidence)
        if parts.is_frozen(confidence):
            return confidence.fit(None, None)
        return parts.fit_confidence(
            confidence,
            self._inputs(estimator, train),
            self.y[train],
            calibration.inputs,
            self._confidence_params(estimator, train),
        )

    def _fit_on_calibration(self, estimator, calibration):
        """Fit a confidence on calibration outputs, with the column of the true class as y."""
        y, classes = self.y[calibration.rows], np.asarray(estimator.classes_)
        unknown = np.setdiff1d(y, classes)
        if len(unknown):
            raise ValueError(
                f"y has the classes {unknown.tolist()[:10]}, which the estimator does not know; "
                f"{type(parts.last_step(self.spec.confidence)).__name__} cannot be fitted on them."
            )
        params = self._confidence_params(estimator, calibration.rows)
        order = np.argsort(classes)  # a frozen estimator may have its own order of columns
        column = order[np.searchsorted(classes, y, sorter=order)]
        return clone(self.spec.confidence).fit(calibration.inputs, column, **params)

    def _refit_confidence(self, estimator, rows, pooled):
        """Fit the confidence on all rows, bounded by the pooled scores where it can be."""
        if self.spec.confidence is None:
            return None
        params = self._confidence_params(estimator, rows)
        inputs = self._inputs(estimator, rows)
        # One row bounds it for now, which spares scores a leave-one-out pass over all rows.
        confidence = parts.fit_confidence(
            clone(self.spec.confidence), inputs, self.y[rows], parts.rows(inputs, [0]), params
        )
        if parts.takes_bound(confidence, params):
            last = parts.last_step(confidence).set_threshold(scores=pooled.scores)
            if not self.by_rule:  # the folds were judged by bounds of their own
                pooled.accepted = pooled.scores >= last.offset_
        return confidence

    def _check_columns(self, estimator):
        """Refuse outputs of a fold that lack the column of a class, where folds are pooled."""
        if not self.on_calibration:
            return
        missing = np.setdiff1d(self.y, estimator.classes_)
        if len(missing):
            raise ValueError(
                f"cv={self.spec.cv!r} leaves the classes {missing.tolist()[:10]} without a "
                "training row in some fold, whose outputs then lack a column; use fewer folds, or "
                "give more rows of these classes."
            )

    def _pool(self, folds):
        """Return the folds as one calibration of all rows, in their order."""
        rows = np.concatenate([fold.rows for fold in folds])
        order = np.argsort(rows, kind="stable")
        if not np.array_equal(rows[order], np.arange(len(self.y))):
            raise ValueError(
                f"cv={self.spec.cv!r} tests some rows never or more than once; use one that "
                "partitions the rows, such as StratifiedKFold."
            )

        def pool(name):
            values = [getattr(fold, name) for fold in folds]
            return None if values[0] is None else np.concatenate(values)[order]

        inputs = None
        if self.on_calibration:
            inputs = self.X if self.spec.response_method is None else pool("inputs")
        pooled = {name: pool(name) for name in ("errors", "groups", "scores", "accepted")}
        return Calibration(rows[order], inputs, **pooled)
