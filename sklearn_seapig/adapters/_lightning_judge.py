"""Confidences and decisions for rows of features on any device."""

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from .. import _composition as parts
from .._decision import accepted_by
from .._state import snapshot
from .._torch import to_numpy
from ..embedding import TorchEmbedder


@dataclass(frozen=True)
class Judge:
    """A fitted score and what decides on it: a rule, or something else with a ``threshold_``."""

    score: BaseEstimator
    rule: BaseEstimator | None  # None: the score decides itself

    def __call__(self, features):
        """Return confidences and decisions as arrays.

        A score of this package works where the features are, any other one on the CPU.
        """
        score = self.score
        if isinstance(features, torch.Tensor):
            score = _view_on(features.device, score)
            if not _has_device(score):
                features = to_numpy(features, "The input of the score")
        scores = parts.scores_of(score, features)
        if self.rule is not None:
            return scores, accepted_by(self.rule, scores, None)
        return scores, parts.decisions_of(score, features, scores)


def take_apart(score):
    """Return the TorchEmbedder that a fitted score begins with, or None, and the judge.

    The embedding is read from the pass that makes the predictions, so that step is not needed.
    """
    check_is_fitted(parts.last_step(score))
    parts.check_scores_new_rows(score)
    rule = None
    if not hasattr(parts.last_step(score), "offset_") and hasattr(score, "threshold_"):
        own = getattr(score, "rule_", None)
        rule = score if own is None else own  # its decision_function is that of its classifier
        _check_needs_no_groups(rule)
    if getattr(score, "confidence_", None) is not None and score.response_method is None:
        # A SelectiveClassifier: the task predicts in place of its estimator.
        rule = score.rule_
        score = score.confidence_
    while parts.is_frozen(score):
        score = score.estimator
    last = parts.last_step(score)
    if rule is None and hasattr(last, "set_threshold"):
        _ = last.offset_  # which says what is missing where there is none
    embedder = score[0] if isinstance(score, Pipeline) else None
    if not isinstance(embedder, TorchEmbedder):
        return None, Judge(score, rule)
    return embedder, Judge(score[1:] if len(score) > 2 else score[-1], rule)


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
        changed = {"steps": [*score.steps[:-1], (name, _view_on(device, last))]}
    elif _has_device(score):
        changed = {"device": str(device)}
    else:
        return score
    view = snapshot(score)
    view.__dict__ = {**vars(score), **changed}
    return view
