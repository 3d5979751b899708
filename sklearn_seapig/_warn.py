"""Warnings that point at the user's own line."""

import sys
import warnings


def warn(message):
    """Issue a UserWarning for the nearest caller outside of libraries that call this package."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and _is_library(frame):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, UserWarning, stacklevel=level)


def _is_library(frame):
    return frame.f_globals.get("__name__", "").partition(".")[0] in (
        "sklearn_seapig",
        "sklearn",
        "contextlib",
        "copy",
        "joblib",
        "pickle",
        "skops",
    )
