"""Whitening with a covariance matrix, singular ones included, and without one of its rows."""

import math

import torch

from .neighbors import euclidean_norm

NULL = 1e-10  # an eigenvalue of the correlation matrix below this is rounding, not variation
FLOOR = 1e-6  # variance given to directions without variation, relative to the largest
SLACK = 16  # candidates beyond k
BLOCK_BYTES = 2**24  # size of one block of products or differences


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
    variance[constant] = 0  # not the rounding that a computed variance of equal numbers may hold
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


def nearest_without_row(points, row, candidates, k, weight):
    """Return distances and indices of the k nearest candidates of some points.

    Each distance is under the covariance of all points but the one that it is measured from.

    Parameters
    ----------
    points : float64 tensor of shape (n, d)
        All points, whitened and centred with the covariance of all of them.
    row : int64 tensor of shape (m,)
        The points to measure from.
    candidates : int64 tensor of shape (m, c)
        The points to measure to; of equally distant ones the earlier column comes first.
    k : int
    weight : float in [0, 1]
        Weight of the sample covariance where it was shrunk, else 1.
    """
    step = max(1, BLOCK_BYTES // (8 * candidates.shape[1] * points.shape[1]))
    distances = []
    for some, others in zip(row.split(step), candidates.split(step), strict=True):
        origin = points[some].unsqueeze(1)
        gap = origin - points[others]
        along = (gap @ origin.mT).squeeze(2)
        distances.append(_without(euclidean_norm(gap), along, origin[:, 0], len(points), weight))
    distances, order = torch.cat(distances).sort(dim=1, stable=True)
    return distances[:, :k], candidates.gather(1, order[:, :k])


def candidates_without_row(points, row, k, weight):
    """Return the points, a few more than k, that `nearest_without_row` finds nearest among all.

    They are chosen by matrix products, which measure all of them up to rounding, and come in
    ascending order.
    """
    n = len(points)
    square = points.square().sum(dim=1)
    chosen = []
    for some in row.split(max(1, BLOCK_BYTES // (8 * n))):
        origin = points[some]
        product = origin @ points.T
        own = square[some].unsqueeze(1)
        distance = (own + square - 2 * product).clamp_min_(0).sqrt_()
        distance = _without(distance, own - product, origin, n, weight)
        distance[torch.arange(len(some), device=row.device), some] = math.inf
        size = min(k + SLACK, n - 1)
        chosen.append(distance.topk(size, dim=1, largest=False, sorted=False).indices)
    return torch.cat(chosen).sort(dim=1).values


def least_without_row(n):
    """Return the least ratio of a distance without a row to the one with it."""
    return math.sqrt((n - 1) / n)


def _without(distance, along, origin, n, weight):
    """Return Mahalanobis distances under the covariance of all points but the origin.

    `along` is the inner product of the origin v and the gap to the other point, both whitened.
    Without v the covariance is n / (n - 1) (S - weight v v' / (n - 1)), and its inverse follows
    from Sherman and Morrison. The shrinkage itself is kept.
    """
    leverage = origin.square().sum(dim=1, keepdim=True)  # at most n - 1
    room = (n - 1 - weight * leverage).clamp_min(FLOOR * (n - 1))
    return (distance.square() + along.square() * (weight / room)).sqrt() * least_without_row(n)
