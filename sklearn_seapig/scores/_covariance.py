"""What the scores with a covariance say of data that have none worth the name."""

import numpy as np
import torch

from .._warn import warn


def check_scale(variance, constant):
    """Raise ValueError where a variance is out of the range of float64."""
    bad = ~torch.isfinite(variance) | ((variance < np.finfo(np.float64).tiny) & ~constant)
    if bad.any():
        raise ValueError(
            f"Input X has values too large or too small for a covariance in float64 in feature "
            f"{int(bad.nonzero()[0])}; rescale X, e.g. with StandardScaler."
        )


def warn_singular(what, constant, n_null, where=""):
    """Warn of constant features, or of collinear ones, behind the covariance of a score."""
    if len(constant):
        reason = f"features {constant.tolist()} are constant{where}"
    elif n_null:
        reason = f"{n_null} linear combinations of the features are constant (collinear features)"
    else:
        return
    warn(
        f"The {what} is singular: {reason}. Rows that deviate there will be far from all others; "
        "drop the features if that is not wanted."
    )
