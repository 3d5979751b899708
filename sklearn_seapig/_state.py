"""Fitted state: how it is replaced, viewed and stamped."""

import contextlib
import contextvars

from . import __version__
from ._warn import warn


class VersionStamp:
    """Stamp pickles with the version of this package, which scikit-learn does for its own only."""

    def __getstate__(self):
        return {**super().__getstate__(), "_sklearn_seapig_version": __version__}

    def __setstate__(self, state):
        state = dict(state)
        written = state.pop("_sklearn_seapig_version", __version__)
        if written != __version__:
            warn(
                f"{type(self).__name__} was saved with sklearn_seapig {written} and is loaded with "
                f"{__version__}; results may differ, refit it or install {written}."
            )
        super().__setstate__(state)


_fresh = contextvars.ContextVar("fresh_calibration_rows", default=False)


@contextlib.contextmanager
def fresh_calibration_rows():
    """Tell scores, in this thread, that calibration rows were held out from their fit rows.

    A score that is only given rows takes one that equals a fit row for that row. Held-out rows may
    equal fit rows as queries may, and must then be scored as queries are.
    """
    token = _fresh.set(True)
    try:
        yield
    finally:
        _fresh.reset(token)


def calibration_rows_are_fresh():
    """Return whether calibration rows are known not to be fit rows."""
    return _fresh.get()


def blank_twin(estimator):
    """Return a twin with the same parameters (not clones of them) and no fitted state.

    A fit happens on the twin, whose ``__dict__`` then replaces that of the estimator at once: a fit
    that fails leaves nothing half-done, a refit keeps nothing old, and a thread that predicts
    meanwhile sees the state before or after.
    """
    twin = object.__new__(type(estimator))
    twin.__dict__.update({k: v for k, v in vars(estimator).items() if not k.endswith("_")})
    return twin


def snapshot(estimator):
    """Return a view of the present state, which a refit in another thread does not change."""
    view = object.__new__(type(estimator))
    view.__dict__ = estimator.__dict__
    return view
