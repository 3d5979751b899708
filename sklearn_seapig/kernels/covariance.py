"""Whitening with a covariance matrix, singular ones included."""

import torch

NULL = 1e-10  # an eigenvalue of the correlation matrix below this is rounding, not variation
FLOOR = 1e-6  # variance given to directions without variation, relative to the largest


def whitening(covariance, constant):
    """Return W such that ||(a - b) W|| is the Mahalanobis distance, and how much was singular.

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


def without_row(distance, product, leverage, n, weight):
    """Return Mahalanobis distances under the covariance of all rows but one.

    Parameters
    ----------
    distance : tensor of shape (m, k)
        Distances from m fit rows to k others each, under the covariance of all n rows.
    product : tensor of shape (m, k)
        Inner products of the whitened, centred rows behind `distance`.
    leverage : tensor of shape (m, 1)
        Squared norms of the m rows, whitened and centred; at most n - 1.
    n : int
        Number of rows behind the covariance.
    weight : float in [0, 1]
        Weight of the sample covariance where it was shrunk, else 1.

    Notes
    -----
    Without row i the covariance is n / (n - 1) (S - weight v v' / (n - 1)), v the centred row; the
    inverse follows from Sherman and Morrison. The shrinkage itself is kept.
    """
    room = (n - 1 - weight * leverage).clamp_min(FLOOR * (n - 1))
    square = distance.square() + weight * (leverage - product).square() / room
    return (square * ((n - 1) / n)).sqrt()
