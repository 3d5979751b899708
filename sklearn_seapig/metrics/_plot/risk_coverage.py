"""Risk against coverage."""

import numpy as np
from sklearn.base import is_classifier

from ..._composition import last_step
from .._response import respond
from ..risk_coverage import augrc_score, aurc_score, risk_coverage_curve
from ._common import (
    GREY,
    by_name,
    draw_legend,
    drawing,
    dressed,
    for_each,
    limit_risk,
    need_matplotlib,
    number,
    style,
    unique_names,
)
from ._curves import decisions, line_points, operating_point, oracle_curve, same

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
    operating_points : dict of str to (coverage, selective_risk) or None
        Coverage and selective risk of the rows that are accepted, for each name; None where there
        is no decision, or no row is accepted.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the picture.
    figure_ : matplotlib Figure
        Figure of the picture.
    lines_ : dict of str to matplotlib Line2D
        The curves.
    points_ : dict of str to matplotlib Line2D
        The marks of the operating points, where there are any.
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

    The curve is that of one bound for all rows. The operating point of a rule with several
    (`GroupThreshold`) need not lie on it.

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

    def __init__(self, curves, aurc, augrc, oracles, operating_points):
        self.curves = curves
        self.aurc = aurc
        self.augrc = augrc
        self.oracles = oracles
        self.operating_points = operating_points

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
        with drawing(ax, self, figsize=(8.2, 4.6)) as self.ax_:
            self.figure_ = self.ax_.figure
            self._draw_curves(generalized, kwargs)
            self.random_lines_ = self._random(generalized) if random else []
            self.oracle_lines_ = self._oracle(generalized) if oracle else []
            limit_risk(self.ax_, self.curves.values(), generalized)
            risk = "generalized risk" if generalized else "selective risk"
            self.ax_.set(xlabel="coverage", ylabel=risk, xlim=(0, 1))
            self._legend(beside=ax is None)
        return self

    def _draw_curves(self, generalized, kwargs):
        from matplotlib.lines import Line2D

        self.lines_, self.points_ = {}, {}
        for i, (name, curve) in enumerate(self.curves.items()):
            label = f"{name} ({self._area(name, generalized)})"
            look = dressed({**style(i), "label": label}, kwargs, Line2D)
            (self.lines_[name],) = self.ax_.plot(*line_points(curve, generalized), **look)
            if self.operating_points[name] is not None:
                self._mark(name, generalized)

    def _area(self, name, generalized):
        area, value = ("AUGRC", self.augrc) if generalized else ("AURC", self.aurc)
        return f"{area} = {number(value[name])}"

    def _mark(self, name, generalized):
        coverage, risk = self.operating_points[name]
        risk = coverage * risk if generalized else risk
        (self.points_[name],) = self.ax_.plot(
            coverage, risk, color=self.lines_[name].get_color(), **_MARK
        )

    def _distinct_oracles(self):
        """Return one oracle for each set of losses: models that err alike have the same one."""
        distinct = []
        for curve in self.oracles.values():
            if not any(same(curve, other) for other in distinct):
                distinct.append(curve)
        return distinct

    def _random(self, generalized):
        risks = np.unique([curve.selective_risk[-1] for curve in self._distinct_oracles()])
        ends = [[0 if generalized else risk, risk] for risk in risks]
        return [self.ax_.plot([0, 1], y, **_RANDOM)[0] for y in ends]

    def _oracle(self, generalized):
        curves = self._distinct_oracles()
        return [self.ax_.plot(*line_points(curve, generalized), **_ORACLE)[0] for curve in curves]

    def _legend(self, beside):
        from matplotlib.lines import Line2D

        handles = list(self.lines_.values())
        if self.points_:
            handles.append(Line2D([], [], color=GREY, label="operating point", **_MARK))
        for lines, label in ((self.random_lines_, "random"), (self.oracle_lines_, "oracle")):
            if lines:
                lines[0].set_label(label)
                handles.append(lines[0])
        draw_legend(self.ax_, handles, beside)

    @classmethod
    def from_predictions(
        cls,
        loss,
        confidence,
        *,
        threshold=None,
        selected=None,
        sample_weight=None,
        name=None,
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
        selected : bool array-like of shape (n_samples,), or dict of str to such, default=None
            Which rows are accepted, in place of those that reach `threshold`.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.
        name : str, default=None
            Name of the curve, where there is one confidence; None is "confidence".
        ax, generalized, oracle, random, **kwargs
            As in :meth:`plot`.

        Returns
        -------
        display : RiskCoverageDisplay

        Raises
        ------
        ValueError
            If losses and confidences differ in length, hold NaN, their names differ, `threshold`
            is not a number, or `threshold` and `selected` are both given.
        """
        need_matplotlib(cls)
        confidence = by_name(confidence, name, "confidence", "confidence")
        losses = for_each(loss, confidence, "loss")
        without = [name for name, one in losses.items() if one is None]
        if without:
            raise ValueError(f"loss has no entry for the confidence {without[0]!r}; add one.")
        selected = decisions(confidence, threshold, selected)
        weight = {"sample_weight": sample_weight}
        pairs = {name: (losses[name], one) for name, one in confidence.items()}
        display = cls(
            curves={n: risk_coverage_curve(*pair, **weight) for n, pair in pairs.items()},
            aurc={n: aurc_score(*pair, **weight) for n, pair in pairs.items()},
            augrc={n: augrc_score(*pair, **weight) for n, pair in pairs.items()},
            oracles={n: oracle_curve(one, weight) for n, one in losses.items()},
            operating_points={
                n: operating_point(losses[n], selected.get(n), **weight) for n in confidence
            },
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
            Fitted; also at the end of a Pipeline or inside a search. The operating point of its
            own decisions is marked.
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
            Name of the curve where `estimator` is one model; by default the class of its
            confidence.
        ax : matplotlib Axes, default=None
            Axes to draw in; None makes a new figure.
        **kwargs : dict
            As in :meth:`from_predictions`. A `threshold` replaces the decisions of the models.

        Returns
        -------
        display : RiskCoverageDisplay
        """
        need_matplotlib(cls)
        models, names = _models(estimator, name)
        responses = [respond(model, X, y, loss) for model in models]
        if names is None:
            names = unique_names(_name(response.model) for response in responses)
        responses = dict(zip(names, responses, strict=True))
        if "threshold" not in kwargs:
            kwargs = {"selected": {n: r.selected for n, r in responses.items()}, **kwargs}
        return cls.from_predictions(
            {n: r.loss for n, r in responses.items()},
            {n: r.score for n, r in responses.items()},
            sample_weight=sample_weight,
            ax=ax,
            **kwargs,
        )


def _models(estimator, name):
    """Return one model or several, and their names or None."""
    if not isinstance(estimator, (dict, list, tuple)):
        return [estimator], None if name is None else [name]
    kind = type(estimator).__name__
    if not estimator:
        raise ValueError(f"estimator is an empty {kind}; give at least one model.")
    if name is not None:
        raise ValueError(
            f"name={name!r} is for one model, but estimator is a {kind}; name several by a dict."
        )
    if isinstance(estimator, dict):
        return list(estimator.values()), list(estimator)
    return list(estimator), None


def _name(model):
    if model.confidence_ is None:
        return "softmax response" if is_classifier(model) else "predicted spread"
    return type(last_step(model.confidence_)).__name__
