"""Distributions of confidences."""

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ...thresholds import check_confidence
from ._common import (
    TAIL,
    by_name,
    innermost,
    need_matplotlib,
    number,
    open_axes,
    shown_range,
    style,
)


class ConfidenceDisplay:
    """Distributions of the confidences of calibration and query rows, and the threshold.

    It is recommended to use :meth:`from_estimator` or :meth:`from_predictions`. All parameters are
    stored as attributes.

    Parameters
    ----------
    calibration_scores : ndarray of shape (n_calibration,) or None
        Confidences that the threshold was learned from.
    scores : dict of str to ndarray of shape (n_samples,)
        Confidences of query rows, for each name; may be empty.
    threshold : float, default=None
        The bound: rows that reach it are accepted.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the picture.
    figure_ : matplotlib Figure
        Figure of the picture.
    stairs_ : dict of str to matplotlib StepPatch
        The histograms, "calibration" and the names of `scores`.
    threshold_line_ : matplotlib Line2D or None
        The threshold.
    rejected_ : dict of str to int
        Number of rows below the threshold, where there is one.

    See Also
    --------
    EmbeddingDisplay : Where the rows lie.
    ThresholdDisplay : What a threshold costs.

    Notes
    -----
    The bars of each set sum to 1, so that sets of unequal size compare. Rows beyond the
    ends of the axis (infinite ones, or far from the others of their set) are counted in the bar at
    the end; a note below the axis says so.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> import numpy as np
    >>> from sklearn_seapig import EuclideanScore
    >>> from sklearn_seapig.metrics import ConfidenceDisplay
    >>> X = np.random.default_rng(0).normal(size=(300, 4))
    >>> score = EuclideanScore(quantile=0.9).fit(X[:100], X_cal=X[100:200])
    >>> display = ConfidenceDisplay.from_estimator(score, {"fresh": X[200:], "far": X[200:] + 9})
    >>> display.rejected_
    {'calibration': 9, 'fresh': 8, 'far': 100}
    """

    def __init__(self, calibration_scores, scores, *, threshold=None):
        self.calibration_scores = calibration_scores
        self.scores = scores
        self.threshold = threshold

    def plot(self, ax=None, *, bins=40, limits=None, **kwargs):
        """Draw the histograms.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw in; None makes a new figure.
        bins : int, default=40
            Number of bars.
        limits : tuple of two floats, default=None
            Confidences at which the axis ends; None finds them.
        **kwargs : dict
            Passed to ``ax.stairs`` for each histogram.

        Returns
        -------
        display : ConfidenceDisplay
            This object.
        """
        self.ax_ = open_axes(ax, self)
        self.figure_ = self.ax_.figure
        sets = dict(self.scores)
        if self.calibration_scores is not None:
            sets = {"calibration": self.calibration_scores, **sets}
        limits = self._limits(sets.values()) if limits is None else limits
        edges = np.linspace(*limits, bins + 1)
        self.stairs_, self.rejected_ = {}, {}
        for name, scores in sets.items():
            look = {"fill": True, "color": "0.8"} if name == "calibration" else self._look(name)
            counts = np.histogram(np.clip(scores, edges[0], edges[-1]), edges)[0]
            look = {**look, "label": self._label(name, scores), **kwargs}
            self.stairs_[name] = self.ax_.stairs(counts / len(scores), edges, **look)
        self.threshold_line_ = self._draw_threshold()
        self.ax_.set(xlabel=self._xlabel(sets.values(), edges), ylabel="share of rows")
        self.ax_.set_xlim(edges[0], edges[-1])
        top = max(stairs.get_data().values.max() for stairs in self.stairs_.values())
        self.ax_.set_ylim(0, top * (1.1 + 0.08 * len(sets)))  # the legend stands above the bars
        self.ax_.legend(loc="upper left", fontsize="small")
        return self

    def _look(self, name):
        return {**style(list(self.scores).index(name)), "linewidth": 1.6}

    def _label(self, name, scores):
        if self.threshold is None:
            return f"{name} ({len(scores):,} rows)"
        self.rejected_[name] = int((scores < self.threshold).sum())
        share = self.rejected_[name] / len(scores)
        return f"{name}: {self.rejected_[name]:,} of {len(scores):,} rejected ({share:.1%})"

    def _limits(self, sets):
        """Return a range with all sets and the threshold, but without single far outliers."""
        finite = [scores[np.isfinite(scores)] for scores in sets]
        finite = [scores for scores in finite if len(scores)]
        marks = [self.threshold] if self.threshold is not None else []
        marks = [mark for mark in marks if np.isfinite(mark)]
        ranges = [shown_range(s, *np.quantile(s, [TAIL, 1 - TAIL])) for s in finite]
        ends = [*marks, *(end for pair in ranges for end in pair)] or [0.0]
        left, right = min(ends), max(ends)
        margin = 0.02 * (right - left) or 0.5
        return left - margin, right + margin

    def _xlabel(self, sets, edges):
        label = "confidence (higher is more normal)"
        low = sum(int((scores < edges[0]).sum()) for scores in sets)
        high = sum(int((scores > edges[-1]).sum()) for scores in sets)
        if low:
            label += f"\nfirst bar: with {low:,} rows below {number(edges[0])}"
        if high:
            label += f"\nlast bar: with {high:,} rows above {number(edges[-1])}"
        return label

    def _draw_threshold(self):
        if self.threshold is None:
            return None
        look = {"color": "black", "linestyle": (0, (6, 2)), "linewidth": 1.4}
        label = f"threshold ({number(self.threshold, 4)})"
        if not np.isfinite(self.threshold):  # all or nothing is accepted: named, not drawn
            return self.ax_.plot([], [], label=label, **look)[0]
        return self.ax_.axvline(self.threshold, label=label, **look)

    @classmethod
    def from_predictions(
        cls, calibration_scores, scores=None, threshold=None, *, name="query", ax=None, **kwargs
    ):
        """Draw the histograms of given confidences.

        Parameters
        ----------
        calibration_scores : array-like of shape (n_calibration,) or None
            Confidences of calibration rows.
        scores : array-like of shape (n_samples,), or dict of str to such, default=None
            Confidences of query rows; a dict for several sets.
        threshold : float, default=None
            The bound: rows that reach it are accepted.
        name : str, default="query"
            Name of the query rows, where there is one set.
        ax, **kwargs
            As in :meth:`plot`.

        Returns
        -------
        display : ConfidenceDisplay

        Raises
        ------
        ValueError
            If there is nothing to draw, or a confidence is NaN.
        """
        need_matplotlib(cls)
        if scores is None and calibration_scores is None:
            raise ValueError("calibration_scores and scores are both None; give one of them.")
        scores = {} if scores is None else by_name(scores, name, "scores")
        if "calibration" in scores:
            raise ValueError("scores has a set called 'calibration'; give it another name.")
        if calibration_scores is not None:
            calibration_scores = check_confidence(calibration_scores, "calibration_scores")
        scores = {name: check_confidence(s, f"scores of {name!r}") for name, s in scores.items()}
        return cls(calibration_scores, scores, threshold=threshold).plot(ax, **kwargs)

    @classmethod
    def from_estimator(cls, estimator, X_query=None, *, name="query", ax=None, **kwargs):
        """Draw the histograms of a fitted score or selective model, with its threshold.

        Parameters
        ----------
        estimator : score, outlier detector, selective model, or Pipeline ending in one
            Fitted. Its ``calibration_scores_`` are drawn where it has them, and its bound is
            ``threshold_`` or ``offset_``.
        X_query : array-like of shape (n_samples, ...), or dict of str to such, default=None
            Rows to score, as the estimator takes them; a dict for several sets.
        name : str, default="query"
            Name of the query rows, where there is one set.
        ax, **kwargs
            As in :meth:`plot`.

        Returns
        -------
        display : ConfidenceDisplay

        Raises
        ------
        ValueError
            If the estimator holds no calibration scores and no rows are given.
        """
        need_matplotlib(cls)
        check_is_fitted(estimator)
        part = innermost(estimator)
        bound = "threshold_" if hasattr(part, "threshold_") else "offset_"
        rows = {} if X_query is None else by_name(X_query, name, "X_query")
        return cls.from_predictions(
            getattr(part, "calibration_scores_", None),
            {name: estimator.score_samples(X) for name, X in rows.items()} or None,
            np.asarray(getattr(part, bound)).item() if hasattr(part, bound) else None,
            ax=ax,
            **kwargs,
        )
