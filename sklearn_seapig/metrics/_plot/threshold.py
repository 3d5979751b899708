"""Risk and coverage against the threshold."""

from numbers import Real

import numpy as np

from ..._validation import Range, check_parameter
from .._response import respond
from ..risk_coverage import risk_coverage_curve
from ._common import (
    BOUND,
    COLORS,
    TAIL,
    can_be_shown,
    draw_bound,
    drawing,
    dressed,
    has_one_bound,
    legend_of,
    limit_risk,
    need_matplotlib,
    number,
    shown_range,
    thin,
    with_margin,
)

POINTS = 2000  # steps of one drawn line; the attributes keep every one
RISK = Range(Real, 0, None, closed="left")


class ThresholdDisplay:
    """Selective risk and coverage against the threshold on the confidence.

    It is recommended to use :meth:`from_estimator` or :meth:`from_predictions`. All parameters are
    stored as attributes.

    Parameters
    ----------
    curve : RiskCoverageCurve
        What `risk_coverage_curve` returns.
    threshold : float, default=None
        The chosen bound on the confidence.
    certified : float, default=None
        The smallest threshold that a rule vouches for: all from there on are shaded. Infinity says
        that there is none, which the legend then tells.
    max_risk : float, default=None
        The risk that is allowed, drawn as a line.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the risk.
    ax_coverage_ : matplotlib Axes
        Axes of the coverage, on the right side.
    figure_ : matplotlib Figure
        Figure of the picture.
    risk_line_, coverage_line_ : matplotlib Line2D
        The two curves.
    threshold_line_, max_risk_line_ : matplotlib Line2D or None
        The chosen threshold and the allowed risk.
    certified_region_ : matplotlib Patch or None
        The shaded thresholds.

    See Also
    --------
    RiskCoverageDisplay : Risk against coverage.

    Notes
    -----
    Both curves are steps: a row is accepted where its confidence is at least the threshold. The
    risk of no row is not defined, so that its curve ends at the largest confidence. The axis of
    the risk ends where the risk does from a coverage of 5 % on.

    The further right in the shaded part, the fewer rows are accepted; a rule does not test bounds
    that accept too few of them.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> from sklearn_seapig.metrics import ThresholdDisplay
    >>> display = ThresholdDisplay.from_predictions(
    ...     [0, 0, 1, 0, 1], [0.9, 0.8, 0.7, 0.6, 0.5], threshold=0.75
    ... )
    >>> display.curve.coverage[display.curve.threshold >= display.threshold].max()
    np.float64(0.4)
    """

    def __init__(self, curve, *, threshold=None, certified=None, max_risk=None):
        self.curve = curve
        self.threshold = threshold
        self.certified = certified
        self.max_risk = max_risk

    def plot(self, ax=None, **kwargs):
        """Draw the two curves, the risk on the left axis and the coverage on the right one.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw in; None makes a new figure.
        **kwargs : dict
            Passed to ``ax.plot`` for both curves.

        Returns
        -------
        display : ThresholdDisplay
            This object.
        """
        self._check()
        own = ax is not None and ax is getattr(self, "ax_", None)
        with drawing(ax, self) as self.ax_:
            self.figure_ = self.ax_.figure
            self.ax_coverage_ = self.ax_coverage_ if own else self.ax_.twinx()
            self._draw_curves(kwargs)
            self._draw_bounds(*self._limits())
        return self

    def _check(self):
        for name, allowed in (("threshold", BOUND), ("certified", BOUND), ("max_risk", RISK)):
            if getattr(self, name) is not None:
                check_parameter(name, getattr(self, name), allowed, f"{type(self).__name__}.plot")

    def _draw_curves(self, kwargs):
        from matplotlib.lines import Line2D

        # A step holds down to the next smaller confidence, which it does not include.
        rows = thin(len(self.curve.threshold), POINTS)[::-1]
        x = self.curve.threshold[rows]
        x = np.where(can_be_shown(x), x, np.copysign(np.inf, x))
        looks = [
            {"color": COLORS[0], "drawstyle": "steps-pre", "label": "selective risk"},
            {"color": COLORS[1], "drawstyle": "steps-pre", "label": "coverage", "linestyle": "--"},
        ]
        risk, coverage = (dressed(look, kwargs, Line2D) for look in looks)
        (self.risk_line_,) = self.ax_.plot(x, self.curve.selective_risk[rows], **risk)
        (self.coverage_line_,) = self.ax_coverage_.plot(x, self.curve.coverage[rows], **coverage)
        limit_risk(self.ax_, [self.curve])
        if self.max_risk is not None:
            self.ax_.set_ylim(0, max(self.ax_.get_ylim()[1], 1.08 * self.max_risk))
        self.ax_coverage_.set_ylim(0, 1.08)
        self.ax_.set_ylabel("selective risk", color=self.risk_line_.get_color())
        self.ax_coverage_.set_ylabel("coverage", color=self.coverage_line_.get_color())

    def _limits(self):
        """Return where the x axis ends: it shows the chosen threshold, but no far outlier."""
        at = np.searchsorted(self.curve.coverage, [TAIL, 1 - TAIL])
        left, right = shown_range(self.curve.threshold, *self.curve.threshold[at[::-1]])
        marks = [t for t in (self.threshold, self.certified) if t is not None and can_be_shown(t)]
        return with_margin(min([left, *marks]), max([right, *marks]))

    def _draw_bounds(self, left, right):
        handles = [self.risk_line_, self.coverage_line_]
        self.threshold_line_ = self.max_risk_line_ = self.certified_region_ = None
        if self.threshold is not None:
            label = f"chosen threshold ({number(self.threshold)})"
            look = {"color": "black", "linestyle": "-.", "linewidth": 1.2}
            self.threshold_line_ = draw_bound(self.ax_, self.threshold, label=label, **look)
            handles.append(self.threshold_line_)
        if self.max_risk is not None:
            look = {"color": COLORS[0], "linestyle": ":", "label": "allowed risk"}
            self.max_risk_line_ = self.ax_.axhline(self.max_risk, **look)
            handles.append(self.max_risk_line_)
        if self.certified is not None:
            handles.append(self._draw_certified(left, right))
        self.ax_.set(xlabel="threshold on the confidence", xlim=(left, right))
        # On the upper of the two axes, so that no curve runs over it. Both curves fall, mostly.
        place = {"loc": "lower left", "fontsize": "small", "framealpha": 0.9}
        legend_of(self.ax_coverage_, handles, **place)

    def _draw_certified(self, left, right):
        """Shade what is certified, and return what stands for it in the legend."""
        from matplotlib.patches import Patch

        look = {"color": COLORS[2], "alpha": 0.15}
        if self.certified >= right:
            return Patch(fill=False, label="certified: no threshold", **look)
        look["label"] = "certified"
        self.certified_region_ = self.ax_.axvspan(max(self.certified, left), right, **look)
        return self.certified_region_

    @classmethod
    def from_predictions(
        cls,
        loss,
        confidence,
        *,
        threshold=None,
        certified=None,
        max_risk=None,
        sample_weight=None,
        ax=None,
        **kwargs,
    ):
        """Draw the curves of given losses and confidences.

        Parameters
        ----------
        loss : array-like of shape (n_samples,)
            Loss of each row, e.g. 1 where the model is wrong, else 0.
        confidence : array-like of shape (n_samples,)
            Confidence of each row, higher is more normal.
        threshold, certified, max_risk : float, default=None
            What is drawn beside the curves, see the class.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.
        ax, **kwargs
            As in :meth:`plot`.

        Returns
        -------
        display : ThresholdDisplay

        Raises
        ------
        ValueError
            If `loss` and `confidence` differ in length or hold NaN, or a parameter is out of its
            range.
        """
        need_matplotlib(cls)
        curve = risk_coverage_curve(loss, confidence, sample_weight=sample_weight)
        display = cls(curve, threshold=threshold, certified=certified, max_risk=max_risk)
        return display.plot(ax, **kwargs)

    @classmethod
    def from_estimator(cls, estimator, X, y, *, loss=None, ax=None, **kwargs):
        """Draw the curves of a fitted selective model, with its own threshold.

        Where its rule limits the risk (`RiskThreshold`), the risk that it allows and the thresholds
        that it certifies are drawn too. A rule with several bounds (`GroupThreshold`) has no
        threshold to draw.

        Parameters
        ----------
        estimator : selective model
            Fitted; also at the end of a Pipeline or inside a search.
        X : array-like of shape (n_samples, ...)
            Rows that the model was not fitted on.
        y : array-like of shape (n_samples,)
            True targets.
        loss : callable, default=None
            ``loss(y, predictions)`` returns the loss of each row; None is 1 for a wrong class,
            else 0, and for a regressor its own loss.
        ax : matplotlib Axes, default=None
            Axes to draw in; None makes a new figure.
        **kwargs : dict
            As in :meth:`from_predictions`. A `threshold`, `certified` or `max_risk` replaces that
            of the model.

        Returns
        -------
        display : ThresholdDisplay
        """
        need_matplotlib(cls)
        response = respond(estimator, X, y, loss)
        kwargs = {**_known_of(response), **kwargs}
        return cls.from_predictions(response.loss, response.score, ax=ax, **kwargs)


def _known_of(response):
    """Return what is drawn beside the curves of a model."""
    rule, threshold = response.model.rule_, response.threshold
    if not has_one_bound(response.model, threshold, response.score, response.selected):
        return {}
    known = {"threshold": threshold}
    if hasattr(rule, "max_risk") and hasattr(rule, "feasible_"):
        known["max_risk"] = rule.max_risk
        known["certified"] = threshold if rule.feasible_ else np.inf
    return known
