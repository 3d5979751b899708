"""Whitening with a covariance matrix, singular ones included."""

import torch

NULL = 1e-10  # an eigenvalue of the correlation matrix below this is rounding, not variation
FLOOR = 1e-6  # variance given to directions without variation, relative to the largest


def whitening(covariance, constant):
    """Return W such that ||(a - b) W|| is the Mahalanobis distance, and the number of null directions.

    Parameters
    ----------
    covariance : float64 tensor of shape (d, d)
    constant : bool tensor of shape (d,)
        Features that do not vary at all.

    Returns
    -------
    matrix : float64 tensor of shape (d, d)
    n_null : int
        Number of directions in which the other features do not vary: linear relations that hold
        exactly. These directions get the floor, so that a row that breaks a relation is far away.

    Notes
    -----
    The eigenvalues are those of the correlation matrix, so that the units of the features do not
    decide which direction counts as null.
    """
    variance = covariance.diagonal().clone()
    largest = variance.max()
    variance[constant] = FLOOR * largest if largest > 0 else 1.0
    deviation = variance.sqrt()
    correlation = covariance / deviation / deviation.unsqueeze(1)
    correlation[constant] = 0
    correlation[:, constant] = 0
    correlation.diagonal()[:] = 1
    values, vectors = torch.linalg.eigh(correlation)
    null = values <= NULL * values[-1]
    values[null] = FLOOR * values[-1]
    return vectors / deviation.unsqueeze(1) / values.sqrt(), int(null.sum())
