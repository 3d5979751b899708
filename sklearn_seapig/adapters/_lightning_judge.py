"""Confidences and decisions for rows of features on any device."""

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from .. import _composition as parts
from .._state import snapshot
from .._torch import to_numpy
from ..embedding import TorchEmbedder
from ..thresholds import accepted_by


@dataclass(frozen=True)
class Judge:
    """A fitted score, taken apart into a confidence and what decides on it."""

    given: BaseEstimator

    @property
    def sees_logits(self):
        """Whether the score is one of logits, frozen or not."""
        _, score, _ = _take_apart(self.given)
        return bool(getattr(parts.last_step(score), "fits_on_calibration", False))

    def __call__(self, features):
        """Return confidences and decisions as arrays.

        A score of this package works where the features are, any other one on the CPU.
        """
        # Anew in each call: `set_threshold` and `fit` replace the parts of a SelectiveClassifier.
        _, score, rule = _take_apart(self.given)
        if isinstance(features, torch.Tensor):
            score = _view_on(features.device, score)
            if not _has_device(score):
                features = to_numpy(features, "The input of the score")
        scores = parts.scores_of(score, features)
        if rule is not None:
            return scores, accepted_by(rule, scores, None)
        return scores, parts.decisions_of(score, features, scores)


def take_apart(score):
    """Return the TorchEmbedder that a fitted score begins with, or None, and the judge.

    The embedding is read from the pass that makes the predictions, so that step is not needed.
    """
    check_is_fitted(parts.last_step(score))
    parts.check_scores_new_rows(score)
    embedder, confidence, rule = _take_apart(score)
    last = parts.last_step(confidence)
    if rule is None and hasattr(last, "set_threshold"):
        _ = last.offset_  # which says what is missing where there is none
    return embedder, Judge(score)


def embedders_in(score):
    """Return the TorchEmbedders among the steps of a score."""
    if parts.is_frozen(score):
        return embedders_in(score.estimator)
    if isinstance(score, Pipeline):
        return [found for _, step in score.steps for found in embedders_in(step)]
    return [score] if isinstance(score, TorchEmbedder) else []


def _take_apart(score):
    """Return the embedder that a score begins with, the confidence after it, and the rule."""
    embedder, score = _without_embedder(score)
    rule = None
    last = snapshot(parts.last_step(score))
    if not hasattr(last, "offset_") and hasattr(last, "threshold_"):
        own = getattr(last, "rule_", None)
        rule = last if own is None else own  # its decision_function is that of its classifier
        _check_needs_no_groups(rule)
    if not isinstance(score, Pipeline) and _lends_its_confidence(last):
        # A SelectiveClassifier: the task predicts in place of its estimator.
        rule, score = last.rule_, last.confidence_
        if embedder is None:
            embedder, score = _without_embedder(score)
    return embedder, score, rule


def _lends_its_confidence(last):
    return getattr(last, "confidence_", None) is not None and last.response_method is None


def _without_embedder(score):
    """Return the TorchEmbedder that a score begins with, or None, and what follows it, or None.

    It may be frozen or be in a Pipeline in a Pipeline.
    """
    while parts.is_frozen(score):
        score = score.estimator
    if isinstance(score, TorchEmbedder):
        return score, None
    if not isinstance(score, Pipeline):
        return None, score
    steps = [(name, step) for name, step in score.steps if step not in (None, "passthrough")]
    embedder, rest = _without_embedder(steps[0][1])
    if embedder is None:
        return None, score
    steps = steps[1:] if rest is None else [(steps[0][0], rest), *steps[1:]]
    if len(steps) < 2:
        return embedder, steps[0][1] if steps else None
    return embedder, _changed(score, steps=steps)


def _check_needs_no_groups(rule):
    try:
        accepted_by(rule, np.zeros(1), None)
    except ValueError as error:
        raise ValueError(
            f"score decides by {type(rule).__name__}, which needs the group of each row, and the "
            "task gives none; set a rule with one bound, by score.set_threshold."
        ) from error


def _has_device(score):
    return hasattr(score, "device")


def _view_on(device, score):
    """Return a fitted score that computes on a device and shares the arrays of the given one."""
    if parts.is_frozen(score):
        return _view_on(device, score.estimator)
    if isinstance(score, Pipeline):
        name, last = score.steps[-1]
        return _changed(score, steps=[*score.steps[:-1], (name, _view_on(device, last))])
    return _changed(score, device=str(device)) if _has_device(score) else score


def _changed(estimator, **changed):
    """Return a view of an estimator in which some parameters are others."""
    view = snapshot(estimator)
    view.__dict__ = {**vars(estimator), **changed}
    return view
