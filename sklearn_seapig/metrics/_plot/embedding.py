"""Rows in two dimensions."""

from numbers import Integral

import numpy as np
import torch
from sklearn.utils import check_array, check_random_state

from ..._composition import decisions_of, response
from ..._torch import to_numpy
from ..._validation import Range, check_parameter
from .._response import innermost
from ._common import (
    COLORS,
    by_name,
    check_decisions,
    draw_legend,
    drawing,
    dressed,
    need_matplotlib,
)
from ._reduction import REDUCERS, reduce_rows

# Sets differ in marker as well as in colour.
_LOOKS = {
    "reference": {"color": "0.62", "marker": ".", "s": 30, "linewidth": 0},
    "calibration": {"color": COLORS[0], "marker": "+", "s": 22, "linewidth": 0.8},
}
ROWS = Range(Integral, 1, None, closed="left")
_QUERY_MARKERS = ("o", "s", "^", "D", "v")


class EmbeddingDisplay:
    """Reference, calibration and query rows in two dimensions.

    It is recommended to use :meth:`from_estimator` or :meth:`from_embeddings`. All parameters are
    stored as attributes.

    Parameters
    ----------
    points : dict of str to ndarray of shape (n_samples, 2)
        The rows that are drawn, "reference", "calibration" and the names of the query sets.
    selected : dict of str to bool ndarray of shape (n_samples,), default=None
        Which of these rows are accepted, for query sets that were judged.
    n_rows : dict of str to int, default=None
        Size of each set before rows were drawn from it.
    method : str, default="component"
        Name of the reduction, for the axes.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the picture.
    figure_ : matplotlib Figure
        Figure of the picture.
    scatters_ : dict of str to matplotlib PathCollection
        The points; of a judged set "<name>, accepted" and "<name>, rejected".

    See Also
    --------
    ConfidenceDisplay : How far the rows are, as the score sees it.

    Notes
    -----
    All sets are reduced together: t-SNE has no place for rows that it was not fitted on. It and
    UMAP keep neighbors, not distances, so that gaps and areas in the picture say little; the
    confidences do. With more than 50 features they are given 50 principal components.

    A score that measures in another space than the rows are given in (cosine, Mahalanobis) shows
    it here only where that is a step of the Pipeline or ``metric`` of the reducer.

    References
    ----------
    van der Maaten, L. and Hinton, G. "Visualizing Data using t-SNE", Journal of Machine Learning
    Research, 2008.

    McInnes, L., Healy, J. and Melville, J. "UMAP: Uniform Manifold Approximation and Projection
    for Dimension Reduction", 2018, arXiv:1802.03426.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> import numpy as np
    >>> from sklearn_seapig import EuclideanScore
    >>> from sklearn_seapig.metrics import EmbeddingDisplay
    >>> X = np.random.default_rng(0).normal(size=(60, 4))
    >>> score = EuclideanScore(quantile=0.9).fit(X)
    >>> display = EmbeddingDisplay.from_estimator(score, X, query=X[:9] + 9, reducer="pca")
    >>> sorted(display.scatters_)
    ['query, accepted', 'query, rejected', 'reference']
    """

    def __init__(self, points, *, selected=None, n_rows=None, method="component"):
        self.points = points
        self.selected = selected
        self.n_rows = n_rows
        self.method = method

    def plot(self, ax=None, **kwargs):
        """Draw the points.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw in; None makes a new figure.
        **kwargs : dict
            Passed to ``ax.scatter`` for each set.

        Returns
        -------
        display : EmbeddingDisplay
            This object.
        """
        queries = [name for name in self.points if name not in _LOOKS]
        with drawing(ax, self, figsize=(8.2, 5.2)) as self.ax_:
            self.figure_ = self.ax_.figure
            self.scatters_ = {}
            for name, points in self.points.items():
                look = _LOOKS.get(name) or _query_look(queries.index(name))
                selected = (self.selected or {}).get(name)
                if selected is None:
                    self._scatter(name, points, self._size(name), look, kwargs)
                else:
                    self._scatter_judged(name, points, selected, look, kwargs)
            self.ax_.set(xlabel=f"{self.method} 1", ylabel=f"{self.method} 2")
            if self.method in (REDUCERS["tsne"], REDUCERS["umap"]):  # the numbers mean nothing
                self.ax_.set(xticks=[], yticks=[])
            draw_legend(self.ax_, [*self.scatters_.values()], ax is None, markerscale=1.3)
        return self

    def _scatter(self, name, points, label, look, kwargs):
        from matplotlib.collections import PathCollection

        look = dressed({"label": label, **look}, kwargs, PathCollection)
        if "c" in kwargs and "color" not in kwargs:  # scatter takes one of the two
            look["color"] = look.pop("c")
        self.scatters_[name] = self.ax_.scatter(points[:, 0], points[:, 1], **look)

    def _scatter_judged(self, name, points, selected, look, kwargs):
        """Rejected rows are filled, as they are what one looks for; accepted ones are hollow."""
        drawn = len(points)
        of_drawn = "" if self._total(name) == drawn else f" of {drawn:,} drawn"
        hollow = {**look, "facecolor": "none"}
        for mask, word, dress in ((selected, "accepted", hollow), (~selected, "rejected", look)):
            label = f"{name}, {word} ({mask.sum():,}{of_drawn})"
            self._scatter(f"{name}, {word}", points[mask], label, dress, kwargs)

    def _total(self, name):
        return (self.n_rows or {}).get(name, len(self.points[name]))

    def _size(self, name):
        drawn = len(self.points[name])
        total = self._total(name)
        return f"{name} ({drawn:,})" if drawn == total else f"{name} ({drawn:,} of {total:,})"

    @classmethod
    def from_embeddings(
        cls,
        reference,
        calibration=None,
        query=None,
        *,
        selected=None,
        reducer="tsne",
        random_state=None,
        max_rows=500,
        ax=None,
        **kwargs,
    ):
        """Reduce rows to two dimensions and draw them.

        Parameters
        ----------
        reference : array-like or tensor of shape (n_samples, n_features)
            Rows that the score was fitted on.
        calibration : array-like or tensor of shape (n_samples, n_features), default=None
            Rows that the bound was learned from.
        query : array-like or tensor of shape (n_samples, n_features), or dict of str to such, \
                default=None
            Rows to look at; a dict for several sets.
        selected : bool array-like of shape (n_samples,), or dict of str to such, default=None
            Which query rows are accepted.
        reducer : {"tsne", "umap", "pca"} or estimator, default="tsne"
            How the rows are reduced; an estimator is cloned, and its ``fit_transform`` returns two
            columns. "umap" needs umap-learn.
        random_state : int, RandomState instance or None, default=None
            Draws the rows and seeds the reducers that are named by a string.
        max_rows : int or None, default=500
            Rows of each set that are drawn at most, chosen at random; None draws all.
        ax, **kwargs
            As in :meth:`plot`.

        Returns
        -------
        display : EmbeddingDisplay

        Raises
        ------
        ValueError
            If the sets differ in their number of features, there are fewer than three rows, all are
            equal, or a parameter is out of its range.
        ImportError
            If the reducer is "umap" and umap-learn is not installed.
        """
        need_matplotlib(cls)
        _check_given(reference)
        if max_rows is not None:
            check_parameter("max_rows", max_rows, ROWS, f"{cls.__name__}.from_embeddings")
        random_state = check_random_state(random_state)
        sets = {"reference": reference, "calibration": calibration}
        sets = {name: rows for name, rows in sets.items() if rows is not None}
        queries = {} if query is None else by_name(query, None, "query", "query")
        for name in queries:
            if name in _LOOKS:
                raise ValueError(f"query has a set called {name!r}; give it another name.")
        sets = {name: _as_rows(rows, name) for name, rows in {**sets, **queries}.items()}
        _check_widths(sets)
        selected = _check_selected(selected, queries, sets)
        n_rows = {name: len(rows) for name, rows in sets.items()}
        for name, rows in sets.items():
            if max_rows is not None and len(rows) > max_rows:
                some = np.sort(random_state.permutation(len(rows))[:max_rows])
                sets[name] = rows[some]
                if name in selected:
                    selected[name] = selected[name][some]
        method, points = reduce_rows(np.concatenate(list(sets.values())), reducer, random_state)
        ends = np.cumsum([len(rows) for rows in sets.values()])[:-1]
        points = dict(zip(sets, np.split(points, ends), strict=True))
        return cls(points, selected=selected, n_rows=n_rows, method=method).plot(ax, **kwargs)

    @classmethod
    def from_estimator(cls, estimator, reference, calibration=None, query=None, **kwargs):
        """Draw rows as a fitted score sees them, and which query rows it accepts.

        Parameters
        ----------
        estimator : score, outlier detector, selective model, or Pipeline ending in one
            Fitted. What comes before its last step is applied to all sets alike: the steps of
            a Pipeline, and the response of the model that a selective model's confidence sees.
        reference, calibration, query
            As in :meth:`from_embeddings`, but rows as the estimator takes them.
        **kwargs : dict
            As in :meth:`from_embeddings`.

        Returns
        -------
        display : EmbeddingDisplay

        Raises
        ------
        TypeError
            If the estimator does not accept or reject rows.
        """
        need_matplotlib(cls)
        _check_given(reference)
        _check_decides(innermost(estimator)[0])
        queries = {} if query is None else by_name(query, None, "query", "query")
        queries = {name: innermost(estimator, rows) for name, rows in queries.items()}
        selected = {name: _accepted(part, rows) for name, (part, rows) in queries.items()}
        return cls.from_embeddings(
            _seen(*innermost(estimator, reference)),
            None if calibration is None else _seen(*innermost(estimator, calibration)),
            {name: _seen(part, rows) for name, (part, rows) in queries.items()} or None,
            **{"selected": selected or None, **kwargs},
        )


def _query_look(i):
    marker = _QUERY_MARKERS[i % len(_QUERY_MARKERS)]
    return {"color": COLORS[(i + 1) % len(COLORS)], "marker": marker, "s": 18, "linewidth": 0.9}


def _as_rows(rows, name):
    if isinstance(rows, torch.Tensor):
        rows = to_numpy(rows, name)
    return check_array(rows, dtype=[np.float64, np.float32], input_name=name)


def _check_widths(sets):
    width = sets["reference"].shape[1]
    for name, rows in sets.items():
        if rows.shape[1] != width:
            raise ValueError(
                f"{name} has {rows.shape[1]} features and reference {width}; transform all sets "
                "alike first, or use from_estimator."
            )


def _check_selected(selected, queries, sets):
    if selected is None:
        return {}
    if not queries:
        raise ValueError("selected is given without query, the rows that it speaks of; give both.")
    selected = by_name(selected, None, "selected", next(iter(queries)))
    return check_decisions(selected, {name: len(sets[name]) for name in queries})


def _check_given(reference):
    if reference is None:
        raise ValueError("reference is None; give the rows that the score was fitted on.")


def _check_decides(part):
    # A detector of another sign, such as one of PyOD, has no score_samples.
    bounded = hasattr(part, "offset_") or hasattr(part, "decision_function")
    if not hasattr(part, "select") and not (hasattr(part, "score_samples") and bounded):
        raise TypeError(
            f"{type(part).__name__} does not accept or reject rows; give a score, an outlier "
            "detector or a selective model, or draw its rows by from_embeddings."
        )


def _seen(part, X):
    """Return rows as the score measures them, which in a selective model is further inside."""
    if not hasattr(part, "confidence_"):
        return X
    if part.response_method is not None:
        X = response(part.estimator_, X, part.response_method)
    return X if part.confidence_ is None else _seen(*innermost(part.confidence_, X))


def _accepted(part, X):
    if hasattr(part, "select"):
        return part.select(X).selected
    return decisions_of(part, X, part.score_samples(X))
