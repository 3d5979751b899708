"""What the displays share: axes, colours, and arguments that are one thing or several by name."""

import numpy as np

from ..._composition import last_step
from ..._optional import extra

# Okabe and Ito's colours, which colour-blind readers tell apart, without the two palest.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
LINESTYLES = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1)), (0, (6, 3)))
GREY = "0.45"
TAIL = 0.05  # share of the rows that a picture need not be scaled to


def open_axes(ax, display, figsize=None):
    """Return the axes to draw in, those of a new figure where none are given."""
    if ax is not None:
        return ax
    with extra("plot", f"{type(display).__name__}.plot"):
        import matplotlib.pyplot as plt
    return plt.subplots(figsize=figsize, layout="constrained")[1]


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


def innermost(estimator):
    """Return the part that holds the bound: inside a search, a Pipeline or a FrozenEstimator."""
    part = last_step(estimator)
    while hasattr(part, "best_estimator_"):
        part = last_step(part.best_estimator_)
    return part


def number(value, digits=3):
    """Return a number with so many digits and with the minus sign that the axes have."""
    return f"{value:#.{digits}g}".replace("-", "\N{MINUS SIGN}")


def draw_legend(ax, beside, **kwargs):
    """Draw the legend beside the axes of a new figure, and inside where others may be beside."""
    if beside:
        place = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0), "frameon": False}
        ax.legend(**place, **{"fontsize": "small", **kwargs})
    else:
        legend = ax.legend(loc="best", framealpha=0.9, **{"fontsize": "small", **kwargs})
        # Where it is best depends on the layout, which must not depend on where it is.
        legend.set_in_layout(False)


def limit_risk(ax, curves, generalized=False):
    """End the y axis where the risks end, but for the noise of the few most confident rows."""
    top = 0.0
    for curve in curves:
        risk = curve.generalized_risk if generalized else curve.selective_risk
        top = max(top, risk[curve.coverage >= TAIL].max())
    ax.set_ylim(0, 1.08 * top if top > 0 else 1.0)


def thin(n, n_points):
    """Return at most n_points indices out of n, ends included."""
    return np.unique(np.linspace(0, n - 1, min(n, n_points)).round().astype(int))


def shown_range(values, low, high):
    """Return the range of the finite values, without those far outside of [low, high].

    Far is more than the length of that range, which holds most of the values.
    """
    finite = values[np.isfinite(values)]
    if not len(finite):
        return 0.0, 0.0
    least, most = finite.min(), finite.max()
    low, high = np.clip([low, high], least, most)
    reach = high - low
    return (max(least, low - reach), min(most, high + reach)) if reach > 0 else (least, most)
