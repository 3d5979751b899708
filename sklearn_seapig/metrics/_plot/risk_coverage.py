"""Risk against coverage."""

import numpy as np
from sklearn.base import is_classifier

from ..._composition import last_step
from .._response import respond
from .._sample import check_loss
from ..risk_coverage import augrc_score, aurc_score, risk_coverage_curve
from ._common import (
    GREY,
    by_name,
    draw_legend,
    for_each,
    limit_risk,
    need_matplotlib,
    number,
    open_axes,
    style,
    unique_names,
)

POINTS = 1000  # of one drawn line; the attributes keep every point
_RANDOM = {"color": GREY, "linestyle": (0, (4, 4)), "linewidth": 0.9, "zorder": 1}
_ORACLE = {"color": "black", "linestyle": (0, (1, 2)), "linewidth": 1.0, "zorder": 1}
_MARK = {
    "marker": "o",
    "markersize": 8,
    "markerfacecolor": "white",
    "markeredgewidth": 2,
    "linestyle": "none",
    "clip_on": False,
    "zorder": 5,
}


class RiskCoverageDisplay:
    """Risk against coverage, of one score or of several.

    A curve shows the mean loss on the most confident rows against their share: the lower, the
    better the confidence knows where the model errs. It is recommended to use
    :meth:`from_estimator` or :meth:`from_predictions`. All parameters are stored as attributes.

    Parameters
    ----------
    curves : dict of str to RiskCoverageCurve
        What `risk_coverage_curve` returns, for each name.
    aurc : dict of str to float
        Area under each curve of selective risk.
    augrc : dict of str to float
        Area under each curve of generalized risk.
    oracles : dict of str to RiskCoverageCurve
        Curve of the best possible confidence for the same losses, for each name.
    thresholds : dict of str to float or None
        The chosen bound on the confidence, for each name; None where there is none.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the picture.
    figure_ : matplotlib Figure
        Figure of the picture.
    lines_ : dict of str to matplotlib Line2D
        The curves.
    points_ : dict of str to matplotlib Line2D
        The marks of the chosen operating points, where there are any.
    oracle_lines_ : list of matplotlib Line2D
        One line for each set of losses.
    random_lines_ : list of matplotlib Line2D
        One line for each mean loss.

    See Also
    --------
    risk_coverage_curve : The numbers.
    ThresholdDisplay : Risk and coverage against the threshold.

    Notes
    -----
    No threshold splits rows of one confidence: a curve passes through each tied block as the mean
    over all orders of its rows does. The area is not that of the drawn line but exact, see
    `aurc_score`.

    The y axis ends where the curves do from a coverage of 5 % on; before that, the mean over a few
    rows may leave it. ``display.ax_.set_ylim`` shows all.

    References
    ----------
    Geifman, Y. and El-Yaniv, R. "Selective Classification for Deep Neural Networks", NeurIPS 2017,
    arXiv:1705.08500.

    Traub, J. et al. "Overcoming Common Flaws in the Evaluation of Selective Classification
    Systems", NeurIPS 2024, arXiv:2407.01032 (generalized risk).

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> from sklearn_seapig.metrics import RiskCoverageDisplay
    >>> loss = [0, 0, 1, 0, 1]
    >>> scores = {"good": [5, 4, 1, 3, 2], "bad": [1, 2, 5, 3, 4]}
    >>> display = RiskCoverageDisplay.from_predictions(loss, scores)
    >>> sorted(display.aurc, key=display.aurc.get)
    ['good', 'bad']
    """

    def __init__(self, curves, aurc, augrc, oracles, thresholds):
        self.curves = curves
        self.aurc = aurc
        self.augrc = augrc
        self.oracles = oracles
        self.thresholds = thresholds

    def plot(self, ax=None, *, generalized=False, oracle=True, random=True, **kwargs):
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw in; None makes a new figure.
        generalized : bool, default=False
            Draw the generalized risk (the loss of accepted rows over the number of all rows) and
            its area, the AUGRC, in place of the selective risk and AURC.
        oracle : bool, default=True
            Draw the curve of the best possible confidence.
        random : bool, default=True
            Draw what a confidence that knows nothing has on average.
        **kwargs : dict
            Passed to ``ax.plot`` for each curve.

        Returns
        -------
        display : RiskCoverageDisplay
            This object.
        """
        self.ax_ = open_axes(ax, self, figsize=(8.2, 4.6))
        self.figure_ = self.ax_.figure
        self.lines_, self.points_ = {}, {}
        for i, (name, curve) in enumerate(self.curves.items()):
            label = f"{name} ({self._area(name, generalized)})"
            look = {**style(i), "label": label, **kwargs}
            (self.lines_[name],) = self.ax_.plot(*_line(curve, generalized), **look)
            self._mark(name, generalized)
        self.random_lines_ = self._random(generalized) if random else []
        self.oracle_lines_ = self._oracle(generalized) if oracle else []
        limit_risk(self.ax_, self.curves.values(), generalized)
        risk = "generalized risk" if generalized else "selective risk"
        self.ax_.set(xlabel="coverage", ylabel=risk, xlim=(0, 1))
        self._legend(beside=ax is None)
        return self

    def _area(self, name, generalized):
        area, value = ("AUGRC", self.augrc) if generalized else ("AURC", self.aurc)
        return f"{area} = {number(value[name])}"

    def _mark(self, name, generalized):
        """Mark the operating point, which is the end of a tied block."""
        curve, threshold = self.curves[name], self.thresholds[name]
        if threshold is None or curve.threshold[0] < threshold:
            return
        at = np.flatnonzero(curve.threshold >= threshold)[-1]
        risk = curve.generalized_risk if generalized else curve.selective_risk
        (self.points_[name],) = self.ax_.plot(
            curve.coverage[at], risk[at], color=self.lines_[name].get_color(), **_MARK
        )

    def _distinct_oracles(self):
        """Return one oracle for each set of losses: models that err alike have the same one."""
        distinct = []
        for curve in self.oracles.values():
            if not any(_same(curve, other) for other in distinct):
                distinct.append(curve)
        return distinct

    def _random(self, generalized):
        risks = np.unique([curve.selective_risk[-1] for curve in self._distinct_oracles()])
        ends = [[0 if generalized else risk, risk] for risk in risks]
        return [self.ax_.plot([0, 1], y, **_RANDOM)[0] for y in ends]

    def _oracle(self, generalized):
        curves = self._distinct_oracles()
        return [self.ax_.plot(*_line(curve, generalized), **_ORACLE)[0] for curve in curves]

    def _legend(self, beside):
        from matplotlib.lines import Line2D

        handles = list(self.lines_.values())
        if self.points_:
            handles.append(Line2D([], [], color=GREY, label="chosen threshold", **_MARK))
        for lines, label in ((self.random_lines_, "random"), (self.oracle_lines_, "oracle")):
            if lines:
                lines[0].set_label(label)
                handles.append(lines[0])
        draw_legend(self.ax_, beside, handles=handles)

    @classmethod
    def from_predictions(
        cls,
        loss,
        confidence,
        *,
        threshold=None,
        sample_weight=None,
        name="confidence",
        ax=None,
        generalized=False,
        oracle=True,
        random=True,
        **kwargs,
    ):
        """Draw the curves of given losses and confidences.

        Parameters
        ----------
        loss : array-like of shape (n_samples,), or dict of str to such
            Loss of each row, e.g. 1 where the model is wrong, else 0. One for all confidences, or
            one for each name.
        confidence : array-like of shape (n_samples,), or dict of str to such
            Confidence of each row, higher is more normal; a dict for several curves.
        threshold : float or dict of str to float, default=None
            Chosen bound on the confidence; its operating point is marked.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.
        name : str, default="confidence"
            Name of the curve, where there is one confidence.
        ax, generalized, oracle, random, **kwargs
            As in :meth:`plot`.

        Returns
        -------
        display : RiskCoverageDisplay

        Raises
        ------
        ValueError
            If losses and confidences differ in length, hold NaN, or their names differ.
        """
        need_matplotlib(cls)
        confidence = by_name(confidence, name, "confidence")
        losses = for_each(loss, confidence, "loss")
        thresholds = for_each(threshold, confidence, "threshold")
        without = [name for name, one in losses.items() if one is None]
        if without:
            raise ValueError(f"loss has no entry for the confidence {without[0]!r}; add one.")
        weight = {"sample_weight": sample_weight}
        pairs = {name: (losses[name], one) for name, one in confidence.items()}
        display = cls(
            curves={n: risk_coverage_curve(*pair, **weight) for n, pair in pairs.items()},
            aurc={n: aurc_score(*pair, **weight) for n, pair in pairs.items()},
            augrc={n: augrc_score(*pair, **weight) for n, pair in pairs.items()},
            oracles={n: _oracle_curve(one, weight) for n, one in losses.items()},
            thresholds=thresholds,
        )
        return display.plot(ax, generalized=generalized, oracle=oracle, random=random, **kwargs)

    @classmethod
    def from_estimator(
        cls, estimator, X, y, *, loss=None, sample_weight=None, name=None, ax=None, **kwargs
    ):
        """Draw the curves of fitted selective models.

        Parameters
        ----------
        estimator : selective model, or dict of str to such, or list of such
            Fitted; also at the end of a Pipeline or inside a search. The chosen operating point is
            marked.
        X : array-like of shape (n_samples, ...)
            Rows that the models were not fitted on.
        y : array-like of shape (n_samples,)
            True targets.
        loss : callable, default=None
            ``loss(y, predictions)`` returns the loss of each row; None is 1 for a wrong class,
            else 0, and for a regressor its own loss.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.
        name : str, default=None
            Name of the curve of one model; by default the class of its confidence.
        ax : matplotlib Axes, default=None
            Axes to draw in; None makes a new figure.
        **kwargs : dict
            As in :meth:`plot`.

        Returns
        -------
        display : RiskCoverageDisplay
        """
        need_matplotlib(cls)
        if isinstance(estimator, dict):
            models = by_name(estimator, None, "estimator")
            names, models = list(models), list(models.values())
        else:
            models = list(estimator) if isinstance(estimator, (list, tuple)) else [estimator]
            names = None if name is None or len(models) > 1 else [name]
        responses = [respond(model, X, y, loss) for model in models]
        if names is None:
            names = unique_names(_name(response.model) for response in responses)
        return cls.from_predictions(
            {n: r.loss for n, r in zip(names, responses, strict=True)},
            {n: r.score for n, r in zip(names, responses, strict=True)},
            threshold={n: r.threshold for n, r in zip(names, responses, strict=True)},
            sample_weight=sample_weight,
            ax=ax,
            **kwargs,
        )


def _name(model):
    if model.confidence_ is None:
        return "softmax response" if is_classifier(model) else "predicted spread"
    return type(last_step(model.confidence_)).__name__


def _oracle_curve(loss, weight):
    return risk_coverage_curve(loss, -check_loss(loss), **weight)


def _same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a[:3], b[:3], strict=True))


def _line(curve, generalized):
    """Return the points to draw: the loss grows evenly within a block of tied rows."""
    grid = np.linspace(0, 1, POINTS + 1)[1:]
    first = min(curve.coverage[0], grid[0])
    ends = curve.coverage
    if len(ends) > POINTS:  # the left end, where the risk jumps, is kept in full
        ends = np.geomspace(first, 1, POINTS)
    grid = np.union1d(grid[grid >= first], ends)
    total = np.interp(grid, np.append(0, curve.coverage), np.append(0, curve.generalized_risk))
    return grid, total if generalized else total / grid
