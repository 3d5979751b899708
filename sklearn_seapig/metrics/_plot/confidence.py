"""Distributions of confidences."""

from numbers import Integral, Real

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ..._validation import Range, check_parameter
from ...thresholds import accepted_by, check_confidence
from .._response import innermost
from ._common import (
    BOUND,
    LARGEST,
    TAIL,
    by_name,
    can_be_shown,
    check_decisions,
    draw_bound,
    drawing,
    dressed,
    has_one_bound,
    legend_of,
    need_matplotlib,
    number,
    shown_range,
    style,
    with_margin,
)

BARS = Range(Integral, 1, None, closed="left")
END = Range(Real, -LARGEST, LARGEST, closed="both")


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
    selected : dict of str to bool ndarray of shape (n_samples,), default=None
        Which rows are accepted, for "calibration" and the names of `scores`; of the others, those
        that reach `threshold` are.

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
        Number of rows that are not accepted, where this is known.

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

    def __init__(self, calibration_scores, scores, *, threshold=None, selected=None):
        self.calibration_scores = calibration_scores
        self.scores = scores
        self.threshold = threshold
        self.selected = selected

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
        self._check(bins, limits)
        sets = dict(self.scores)
        if self.calibration_scores is not None:
            sets = {"calibration": self.calibration_scores, **sets}
        edges = np.linspace(*(self._limits(sets.values()) if limits is None else limits), bins + 1)
        with drawing(ax, self) as self.ax_:
            self.figure_ = self.ax_.figure
            self._draw_stairs(sets, edges, kwargs)
            self.threshold_line_ = self._draw_threshold()
            self.ax_.set(xlabel=self._xlabel(sets.values(), edges), ylabel="share of rows")
            self.ax_.set_xlim(edges[0], edges[-1])
            top = max(stairs.get_data().values.max() for stairs in self.stairs_.values())
            self.ax_.set_ylim(0, top * (1.1 + 0.08 * len(sets)))  # the legend is above the bars
            line = [] if self.threshold_line_ is None else [self.threshold_line_]
            legend_of(self.ax_, [*self.stairs_.values(), *line], loc="upper left", fontsize="small")
        return self

    def _check(self, bins, limits):
        caller = f"{type(self).__name__}.plot"
        check_parameter("bins", bins, BARS, caller)
        if self.threshold is not None:
            check_parameter("threshold", self.threshold, BOUND, caller)
        if limits is None:
            return
        two = isinstance(limits, (tuple, list, np.ndarray)) and len(limits) == 2
        if not (two and all(map(END.is_satisfied_by, limits)) and limits[0] < limits[1]):
            raise ValueError(f"limits must be two numbers, the smaller one first, got {limits!r}.")

    def _draw_stairs(self, sets, edges, kwargs):
        from matplotlib.patches import StepPatch

        self.stairs_, self.rejected_ = {}, {}
        for name, scores in sets.items():
            look = {"fill": True, "color": "0.8"} if name == "calibration" else self._look(name)
            counts = np.histogram(np.clip(scores, edges[0], edges[-1]), edges)[0]
            look = dressed({**look, "label": self._label(name, scores)}, kwargs, StepPatch)
            self.stairs_[name] = self.ax_.stairs(counts / len(scores), edges, **look)

    def _look(self, name):
        return {**style(list(self.scores).index(name)), "linewidth": 1.6}

    def _label(self, name, scores):
        selected = (self.selected or {}).get(name)
        if selected is None and self.threshold is None:
            return f"{name} ({len(scores):,} rows)"
        rejected = scores < self.threshold if selected is None else ~selected
        self.rejected_[name] = int(rejected.sum())
        share = rejected.mean()
        return f"{name}: {self.rejected_[name]:,} of {len(scores):,} rejected ({share:.1%})"

    def _limits(self, sets):
        """Return a range with all sets and the threshold, but without single far outliers."""
        finite = [scores[can_be_shown(scores)] for scores in sets]
        finite = [scores for scores in finite if len(scores)]
        ranges = [shown_range(s, *np.quantile(s, [TAIL, 1 - TAIL])) for s in finite]
        ends = [end for pair in ranges for end in pair]
        if self.threshold is not None and can_be_shown(self.threshold):
            ends.append(self.threshold)
        return with_margin(min(ends, default=0.0), max(ends, default=0.0))

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
        return draw_bound(
            self.ax_, self.threshold, label=f"threshold ({number(self.threshold, 4)})", **look
        )

    @classmethod
    def from_predictions(
        cls,
        calibration_scores,
        scores=None,
        *,
        threshold=None,
        selected=None,
        name=None,
        ax=None,
        **kwargs,
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
        selected : dict of str to bool array-like of shape (n_samples,), default=None
            Which rows are accepted, where it is not as `threshold` says: for "calibration" and the
            names of the query sets.
        name : str, default=None
            Name of the query rows, where there is one set; None is "query".
        ax, **kwargs
            As in :meth:`plot`.

        Returns
        -------
        display : ConfidenceDisplay

        Raises
        ------
        ValueError
            If there is nothing to draw, a confidence is NaN, or a parameter is out of its range.
        """
        need_matplotlib(cls)
        if scores is None and calibration_scores is None:
            raise ValueError("calibration_scores and scores are both None; give one of them.")
        scores = {} if scores is None else by_name(scores, name, "scores", "query")
        if "calibration" in scores:
            raise ValueError("scores has a set called 'calibration'; give it another name.")
        if calibration_scores is not None:
            calibration_scores = check_confidence(calibration_scores, "calibration_scores")
        scores = {name: check_confidence(s, f"scores of {name!r}") for name, s in scores.items()}
        sizes = {name: len(one) for name, one in scores.items()}
        if calibration_scores is not None:
            sizes["calibration"] = len(calibration_scores)
        selected = check_decisions(selected or {}, sizes)
        display = cls(calibration_scores, scores, threshold=threshold, selected=selected)
        return display.plot(ax, **kwargs)

    @classmethod
    def from_estimator(cls, estimator, X_query=None, *, name=None, ax=None, **kwargs):
        """Draw the histograms of a fitted score or selective model, with its threshold.

        A rule with several bounds (`GroupThreshold`) has no threshold to draw; the rows that it
        rejects are counted all the same.

        Parameters
        ----------
        estimator : score, outlier detector, selective model, or Pipeline ending in one
            Fitted. Its ``calibration_scores_`` are drawn where it has them, and its bound is
            ``threshold_`` or ``offset_``.
        X_query : array-like of shape (n_samples, ...), or dict of str to such, default=None
            Rows to score, as the estimator takes them; a dict for several sets.
        name : str, default=None
            Name of the query rows, where there is one set; None is "query".
        ax : matplotlib Axes, default=None
            Axes to draw in; None makes a new figure.
        **kwargs : dict
            As in :meth:`from_predictions`. A `threshold` replaces the decisions of the estimator.

        Returns
        -------
        display : ConfidenceDisplay

        Raises
        ------
        TypeError
            If the estimator does not score rows.
        ValueError
            If the estimator holds no calibration scores and no rows are given.
        """
        need_matplotlib(cls)
        check_is_fitted(estimator)
        part = innermost(estimator)[0]
        if not hasattr(part, "score_samples"):
            raise TypeError(
                f"{type(part).__name__} does not score rows (score_samples); give a score, an "
                "outlier detector or a selective model."
            )
        rows = {} if X_query is None else by_name(X_query, name, "X_query", "query")
        judged = {name: _judge(*innermost(estimator, X)) for name, X in rows.items()}
        if "threshold" not in kwargs:
            kwargs = {**_decided(part, judged), **kwargs}
        return cls.from_predictions(
            getattr(part, "calibration_scores_", None),
            {name: scores for name, (scores, _) in judged.items()} or None,
            ax=ax,
            **kwargs,
        )


def _judge(part, X):
    """Return the confidences of rows, and the decisions of a part that has its own."""
    if not hasattr(part, "select"):
        return part.score_samples(X), None
    selection = part.select(X)
    return selection.score, selection.selected


def _decided(part, judged):
    """Return the decisions of a part, and its bound if that is how it decides."""
    if getattr(part, "rule_", None) is not None:
        scores = part.calibration_scores_
        kept = accepted_by(part.rule_, scores, part.calibration_groups_)
        judged = {**judged, "calibration": (scores, kept)}
    judged = {name: (scores, kept) for name, (scores, kept) in judged.items() if kept is not None}
    bound = getattr(part, "threshold_", getattr(part, "offset_", None))
    if bound is not None:
        bound = np.asarray(bound).item()
        if not all(has_one_bound(part, bound, *pair) for pair in judged.values()):
            bound = None
    return {"selected": {name: kept for name, (_, kept) in judged.items()}, "threshold": bound}
