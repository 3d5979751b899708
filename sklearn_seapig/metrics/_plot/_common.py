"""What the displays share: axes, colours, and arguments that are one thing or several by name."""

from contextlib import contextmanager
from numbers import Real

import numpy as np

from ..._optional import extra
from ..._validation import Range

# Okabe and Ito's colours, which colour-blind readers tell apart, without the two palest.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
LINESTYLES = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1)), (0, (6, 3)))
GREY = "0.45"
TAIL = 0.05  # share of the rows that a picture need not be scaled to
LARGEST = 1e150  # numbers beyond are drawn as infinite ones; the arithmetic of axes overflows
BOUND = Range(Real, None, None, closed="both")  # infinity is a bound, NaN is none


@contextmanager
def drawing(ax, display, figsize=None):
    """Give the axes to draw in, those of a new figure where none are given.

    The new figure is closed where the drawing fails.
    """
    if ax is not None:
        yield ax
        return
    with extra("plot", f"{type(display).__name__}.plot"):
        import matplotlib.pyplot as plt
    figure, ax = plt.subplots(figsize=figsize, layout="constrained")
    try:
        yield ax
    except BaseException:
        plt.close(figure)
        raise


def need_matplotlib(cls):
    """Raise ImportError before anything is computed for a picture that cannot be drawn."""
    with extra("plot", cls.__name__):
        import matplotlib  # noqa: F401


def style(i):
    """Return colour and line style of the i-th of several; both change, for print in grey."""
    return {"color": COLORS[i % len(COLORS)], "linestyle": LINESTYLES[i % len(LINESTYLES)]}


def dressed(look, kwargs, artist):
    """Return the looks of an artist, where those of the user win under any name they have."""
    from matplotlib.cbook import normalize_kwargs

    return {**look, **normalize_kwargs(kwargs, artist)}


def by_name(value, name, what, default):
    """Return a dict as it is, and anything else as a dict of one entry, called `name`."""
    if not isinstance(value, dict):
        return {default if name is None else name: value}
    if not value:
        raise ValueError(f"{what} is an empty dict; give at least one entry.")
    if name is not None:
        raise ValueError(f"name={name!r} is for one entry, but {what} has names of its own.")
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


def check_decisions(selected, sizes):
    """Return decisions by name as bool arrays, one entry a row of the set of that name."""
    checked = {}
    for name, one in selected.items():
        if name not in sizes:
            raise ValueError(f"selected has {name!r}, which is none of {list(sizes)}.")
        one = np.asarray(one)
        if one.shape != (sizes[name],) or one.dtype != bool:
            raise ValueError(
                f"selected of {name!r} must be a bool array of shape ({sizes[name]},), got "
                f"{one.dtype} of shape {one.shape}."
            )
        checked[name] = one
    return checked


def has_one_bound(model, threshold, score, selected):
    """Return whether a model accepts the rows that reach a bound, the same one for all rows."""
    several = hasattr(getattr(model, "rule_", None), "thresholds_")
    return not several and np.array_equal(score >= threshold, selected)


def number(value, digits=3):
    """Return a number with so many digits and with the minus sign that the axes have."""
    return f"{value:#.{digits}g}".replace("-", "\N{MINUS SIGN}")


def legend_of(ax, handles, **kwargs):
    """Draw and return a legend of these artists, also of names that start with an underscore.

    matplotlib takes an underscore for a wish to be left out.
    """
    legend = ax.legend(handles, [str(i) for i in range(len(handles))], **kwargs)
    for text, handle in zip(legend.get_texts(), handles, strict=True):
        text.set_text(handle.get_label())
    return legend


def draw_legend(ax, handles, beside, **kwargs):
    """Draw the legend beside the axes of a new figure, and inside where others may be beside."""
    kwargs = {"fontsize": "small", **kwargs}
    if beside:
        place = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0), "frameon": False}
        legend_of(ax, handles, **place, **kwargs)
    else:
        legend = legend_of(ax, handles, loc="best", framealpha=0.9, **kwargs)
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


def can_be_shown(values):
    """Return which values have a place on an axis."""
    return np.abs(values) <= LARGEST


def shown_range(values, low, high):
    """Return the range of the values that can be shown, without those far outside of [low, high].

    Far is more than the length of that range, which holds most of the values.
    """
    values = values[can_be_shown(values)]
    if not len(values):
        return 0.0, 0.0
    least, most = values.min(), values.max()
    low, high = np.clip([low, high], least, most)
    reach = high - low
    return (max(least, low - reach), min(most, high + reach)) if reach > 0 else (least, most)


def with_margin(left, right):
    """Return the ends of an axis around a range, which may be a single number."""
    size = max(abs(left), abs(right))
    margin = 0.02 * (right - left)
    if right - left <= 1e-12 * size:  # equal but for rounding
        margin = max(0.5, 0.02 * size)
    return left - margin, right + margin


def draw_bound(ax, threshold, **look):
    """Draw a bound as a line; where all or nothing is accepted, it is named only."""
    if can_be_shown(threshold):
        return ax.axvline(threshold, **look)
    return ax.plot([], [], **look)[0]
