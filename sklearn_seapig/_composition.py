"""How a model, a confidence and calibration rows are put together; no estimator lives here."""

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _check_method_params, _num_samples, has_fit_parameter

from ._state import fresh_calibration_rows
from ._warn import warn


def is_frozen(estimator):
    """Return whether an estimator is fitted already and is to stay as it is."""
    return isinstance(estimator, FrozenEstimator)


def last_step(confidence):
    """Return the part of a confidence that decides: the last step of a Pipeline, else itself."""
    if is_frozen(confidence):
        return last_step(confidence.estimator)
    return last_step(confidence[-1]) if isinstance(confidence, Pipeline) else confidence


def decides_anew(confidence):
    """Return whether the part of a confidence that decides is not frozen."""
    if isinstance(confidence, Pipeline):
        return decides_anew(confidence[-1])
    return not is_frozen(confidence)


def takes_bound(confidence, params):
    """Return whether a confidence gets its bound from calibration rows of the classifier.

    It needs ``set_threshold``. A frozen one keeps its bound, and one to which the user routes a
    calibration set of their own takes it from there.
    """
    can = hasattr(last_step(confidence), "set_threshold") and decides_anew(confidence)
    return can and "X_cal" not in params


def fits_on_calibration(confidence):
    """Return whether a confidence asks to be fitted on calibration outputs (logit scores do)."""
    wants = getattr(last_step(confidence), "fits_on_calibration", False)
    return bool(wants) and decides_anew(confidence)


def rows(X, index):
    """Return some rows of an array, frame, sparse matrix, tensor or list."""
    return _safe_indexing(X, index)


def metadata_rows(X, params, index):
    """Return fit metadata for some rows; a calibration set is passed on whole."""
    whole = {name: value for name, value in params.items() if name == "X_cal"}
    cut = {name: value for name, value in params.items() if name != "X_cal"}
    return {**_check_method_params(X, cut, indices=index), **whole}


def split_rows(y, size, random_state, by_class):
    """Return the indices of training and calibration rows, and how many were moved to the former.

    `by_class`: classes keep their shares where each has enough rows, and a class that would be left
    without a training row keeps one, so that the estimator learns every class of `y`. What is moved
    for that leaves calibration rows that are no fair sample: a promise does not hold for such rows.
    """
    n = len(y)
    n_calibration = int(np.ceil(round(size * n, 9))) if size < 1 else int(size)
    if n_calibration >= n:
        raise ValueError(
            f"calibration_size={size} leaves no training rows with n_samples={n}; lower it or "
            "give more rows."
        )
    if not by_class:
        drawn = train_test_split(np.arange(n), test_size=n_calibration, random_state=random_state)
        return *drawn, 0
    _, column, count = np.unique(y, return_inverse=True, return_counts=True)
    enough = count.min() >= 2 and min(n_calibration, n - n_calibration) >= len(count)
    train, calibration = train_test_split(
        np.arange(n),
        test_size=n_calibration,
        random_state=random_state,
        stratify=column if enough else None,
    )
    _, first = np.unique(column[calibration], return_index=True)
    missing = first[~np.isin(column[calibration[first]], column[train])]
    if len(missing) == len(calibration):
        raise ValueError(
            f"calibration_size={size} leaves no calibration rows: with n_samples={n} and "
            f"{len(count)} classes every row is needed for training; give more rows."
        )
    moved = calibration[missing]
    return np.append(train, moved), np.delete(calibration, missing), len(moved)


def response(estimator, X, method):
    """Return the output of a fitted estimator that a confidence sees, as columns."""
    if not hasattr(estimator, method):
        raise ValueError(
            f"response_method={method!r}, but {type(estimator).__name__} has no such method; "
            "choose one that it has, or None for a confidence that sees X."
        )
    output = getattr(estimator, method)(X)
    if method == "transform":  # may be a data frame or sparse; the confidence checks its own input
        return output
    output = np.asarray(output)
    _check_output(output, estimator, method)
    if output.ndim == 1:
        output = np.column_stack([np.zeros_like(output), output])
    return output


def _check_output(output, estimator, method):
    """Raise ValueError where there is NaN, warn where a probability is none."""
    name = f"{method} of {type(estimator).__name__}"
    missing = int(np.isnan(output).reshape(len(output), -1).any(axis=1).sum())
    if missing:
        raise ValueError(
            f"{name} returned NaN in {missing} of {len(output)} rows; mend the estimator or its "
            "input."
        )
    if method == "predict_proba" and (output.min() < 0 or output.max() > 1 + 1e-6):
        warn(
            f"{name} returned values outside [0, 1] (from {output.min():.4g} to "
            f"{output.max():.4g}); they are taken as they are."
        )


def fit_confidence(confidence, Z, y, Z_calibration, params):
    """Fit a confidence on training rows, and bound it on calibration rows where it can be.

    A score that can be told its calibration rows in `fit` is spared the leave-one-out pass over
    its training rows that it would otherwise calibrate with.
    """
    last = last_step(confidence)
    bounded = takes_bound(confidence, params)
    told_in_fit = bounded and has_fit_parameter(last, "X_cal")
    with fresh_calibration_rows():
        if told_in_fit and confidence is last:
            confidence.fit(Z, y, X_cal=Z_calibration, **params)
        elif told_in_fit and not params and _fits_step_by_step(confidence):
            head = confidence[:-1]
            last.fit(head.fit_transform(Z, y), y, X_cal=head.transform(Z_calibration))
        else:
            confidence.fit(Z, y, **params)
            if bounded:
                last.set_threshold(X=before_last(confidence, Z_calibration))
    return confidence


def _fits_step_by_step(pipeline):
    """Return whether all steps but the last, fitted as a Pipeline, are what `fit` makes of them.

    Steps that are cached are fitted as clones, a subclass may do more than transform, a Pipeline
    in a Pipeline has its own steps, and a step that cannot transform is for `fit` to refuse.
    """
    return (
        type(pipeline) is Pipeline
        and pipeline.memory is None
        and len(pipeline) > 1
        and not isinstance(pipeline[-1], Pipeline)
        and hasattr(pipeline[:-1], "fit_transform")
    )


def before_last(confidence, Z):
    """Return rows as `last_step` of a confidence sees them."""
    if is_frozen(confidence):
        return before_last(confidence.estimator, Z)
    if not isinstance(confidence, Pipeline):
        return Z
    if len(confidence) > 1:
        Z = confidence[:-1].transform(Z)
    return before_last(confidence[-1], Z)


def check_scores_new_rows(confidence):
    """Raise TypeError where a fitted confidence cannot score new rows, with its own reason."""
    try:
        last_step(confidence).score_samples  # noqa: B018
    except AttributeError as error:
        reason = f" ({error.__cause__})" if error.__cause__ is not None else ""
        raise TypeError(
            f"confidence {_name(confidence)} has no score_samples for new rows{reason}; give a "
            "score of this package or an outlier detector that scores new rows, such as "
            "IsolationForest() or LocalOutlierFactor(novelty=True)."
        ) from error


def scores_of(confidence, Z):
    """Return the confidences of rows as a float64 vector, refusing NaN."""
    scores = np.asarray(confidence.score_samples(Z), dtype=np.float64)
    if scores.shape != (_num_samples(Z),):
        raise ValueError(
            f"confidence {_name(confidence)} returned scores of shape {scores.shape} for "
            f"{_num_samples(Z)} rows; one score for each row is needed."
        )
    if np.isnan(scores).any():
        raise ValueError(
            f"confidence {_name(confidence)} returned NaN for row {np.isnan(scores).argmax()}; "
            "such a row can neither be accepted nor rejected."
        )
    return scores


def decisions_of(confidence, Z, scores):
    """Return where a confidence itself accepts, given the scores of the rows."""
    last = last_step(confidence)
    if hasattr(last, "offset_"):
        return scores >= last.offset_
    if hasattr(confidence, "decision_function"):
        return np.asarray(confidence.decision_function(Z)) >= 0
    raise TypeError(
        f"confidence {_name(confidence)} has no decision of its own (decision_function); give a "
        "threshold, such as QuantileThreshold()."
    )


def _name(confidence):
    return type(last_step(confidence)).__name__
