"""What every selective model shares: a fitted model, a confidence and a bound."""

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin
from sklearn.utils import Bunch, get_tags
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping
from sklearn.utils.validation import check_is_fitted

from . import _composition as parts
from ._state import VersionStamp, snapshot


class SelectiveModel(VersionStamp, MetaEstimatorMixin, BaseEstimator):
    """Scores and decides with the fitted ``estimator_``, ``confidence_`` and ``rule_``."""

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
            float64; ``selected``, bool. All of shape (n_samples,).
        """
        check_is_fitted(self)
        state = snapshot(self)
        predictions = np.asarray(state.estimator_.predict(X))
        score, selected = state._decide(X)
        return Bunch(predictions=predictions, score=score, selected=selected)

    def _score(self, X):
        """Return the confidences, and what they were computed from."""
        if self.confidence_ is None:
            return parts.softmax_response(self.estimator_, X), X
        Z = X
        if self.response_method is not None:
            Z = parts.response(self.estimator_, X, self.response_method)
        return parts.scores_of(self.confidence_, Z), Z

    def _decide(self, X):
        scores, Z = self._score(X)
        if self.rule_ is None:
            return scores, parts.decisions_of(self.confidence_, Z, scores)
        return scores, scores >= self.rule_.threshold_

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
