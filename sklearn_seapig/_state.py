"""Fitted state: how it is replaced, viewed and stamped."""

import contextlib
import contextvars
import re

import torch

from . import __version__
from ._torch import is_here
from ._warn import warn


class VersionStamp:
    """Stamp saved state with the version of this package; scikit-learn does it for its own only."""

    def __getstate__(self):
        return {**super().__getstate__(), "_sklearn_seapig_version": __version__}

    def __setstate__(self, state):
        state = dict(state)
        check_version(state.pop("_sklearn_seapig_version", __version__), type(self).__name__)
        super().__setstate__(state)


def check_version(written, name):
    """Judge what another version has saved, before anything of it is restored.

    Releases that share the first two numbers understand each other's state. An older one is read
    with a warning. Of a newer one nobody here knows what its state means, so it is a ValueError.
    """
    saved, here = _release(written), _release(__version__)
    if saved > here:
        raise ValueError(
            f"{name} was saved with sklearn_seapig {written}, which is newer than {__version__}, "
            f"the version here; install sklearn_seapig {written}, or fit and save with "
            f"{__version__}."
        )
    if saved < here:
        warn(
            f"{name} was saved with sklearn_seapig {written} and is loaded with {__version__}; "
            f"results may differ, refit it or install {written}."
        )


def _release(version):
    numbers = re.match(r"(\d+)\.(\d+)", str(version))
    if numbers is None:
        raise ValueError(f"{version!r} is no version of sklearn_seapig; the state is corrupted.")
    return tuple(map(int, numbers.groups()))


class OnDevice(VersionStamp):
    """What an estimator with a `device` does where it is loaded and its device is missing.

    Its state is arrays, so it computes on the CPU there, after one warning: `device` stays what it
    was and counts again where it exists. `fit` drops the note and refuses a missing device.
    """

    def __getstate__(self):
        state = super().__getstate__()
        if isinstance(state.get("device"), torch.device):
            state["device"] = str(state["device"])  # a plain value, as all state is
        return state

    def __setstate__(self, state):
        super().__setstate__(state)
        told = vars(self).pop("_absent_device_", None)
        fitted = any(name.endswith("_") for name in vars(self))
        if not fitted or is_here(self.device):
            return
        self._absent_device_ = self.device
        if told is None:  # not a copy of what was loaded before
            warn(
                f"{type(self).__name__} was fitted with device={self.device!r}, which is not "
                "available here; it computes on the CPU. Set device='cpu' to keep it there."
            )

    @property
    def _device(self):
        """Where to compute: `device`, or the CPU where that was missing when this was loaded."""
        absent = vars(self).get("_absent_device_")
        return "cpu" if absent is not None and absent == self.device else self.device


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
