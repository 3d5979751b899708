"""What the displays share: axes, colours, and arguments that are one thing or several by name."""

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from ..._optional import extra

# Okabe and Ito's colours, which colour-blind readers tell apart, without the two palest.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
LINESTYLES = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1)), (0, (6, 3)))
GREY = "0.45"
LEFT_OUT = 0.05  # of the rows: a mean over fewer of the most confident ones is mostly noise


def open_axes(ax, display):
    """Return the axes to draw in, new ones in a new figure where none are given."""
    if ax is not None:
        return ax
    with extra("plot", f"{type(display).__name__}.plot"):
        import matplotlib.pyplot as plt
    return plt.subplots(layout="constrained")[1]


def need_matplotlib(cls):
    """Raise ImportError before anything is computed for a picture that cannot be drawn."""
    with extra("plot", cls.__name__):
        import matplotlib  # noqa: F401


def style(i):
    """Return colour and line style of the i-th of several; both change, for print in grey."""
    return {"color": COLORS[i % len(COLORS)], "linestyle": LINESTYLES[i % len(LINESTYLES)]}


def by_name(value, name, what):
    """Return a dict as it is, and anything else as a dict of one entry called `name`."""
    if not isinstance(value, dict):
        return {name: value}
    if not value:
        raise ValueError(f"{what} is an empty dict; give at least one entry.")
    return value


def for_each(value, names, what):
    """Return one value for each name: from a dict, or the same for all."""
    if not isinstance(value, dict):
        return dict.fromkeys(names, value)
    unknown = [name for name in value if name not in names]
    if unknown:
        raise ValueError(
            f"{what} has an entry {unknown[0]!r}, which is none of {list(names)}; use their names."
        )
    return {name: value.get(name) for name in names}


def unique_names(names):
    """Return the names with a number after those that occur again."""
    seen, unique = {}, []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        unique.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return unique


def peel(estimator, X=None):
    """Return the part of a fitted estimator that holds the bound, and rows as that part sees them.

    It may be inside a search, a Pipeline or a FrozenEstimator.
    """
    while True:
        if isinstance(estimator, FrozenEstimator):
            estimator = estimator.estimator
        elif isinstance(estimator, Pipeline):
            if X is not None and len(estimator) > 1:
                X = estimator[:-1].transform(X)
            estimator = estimator[-1]
        elif hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        else:
            return estimator, X


def limit_risk(ax, curves, generalized=False):
    """End the y axis where the risks end, but for the noise of the few most confident rows."""
    top = 0.0
    for curve in curves:
        risk = curve.generalized_risk if generalized else curve.selective_risk
        top = max(top, risk[curve.coverage >= LEFT_OUT].max())
    ax.set_ylim(0, 1.08 * top if top > 0 else 1.0)


def thin(n, n_points):
    """Return at most n_points indices out of n, ends included."""
    return np.unique(np.linspace(0, n - 1, min(n, n_points)).round().astype(int))


def shown_range(values, low, high):
    """Return the range of the finite values, without those far outside of [low, high]."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return 0.0, 0.0
    least, most = finite.min(), finite.max()
    low, high = np.clip([low, high], least, most)
    reach = high - low
    return (max(least, low - reach), min(most, high + reach)) if reach > 0 else (least, most)
