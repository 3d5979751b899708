"""Principal axes and what they leave over."""

import math

import torch

BLOCK_ROWS = 4096


def principal_axes(covariance):
    """Return eigenvalues, descending and not negative, and eigenvectors as columns."""
    values, vectors = torch.linalg.eigh(covariance)
    return values.flip(0).clamp_min(0), vectors.flip(1)


def effective_rank(values, n_rows):
    """Return how many eigenvalues are more than rounding error."""
    if values[0] == 0:
        return 0
    tolerance = max(len(values), n_rows) * torch.finfo(values.dtype).eps * values[0]
    return int((values > tolerance).sum())


def reconstruction_error(rows, mean, axes):
    """Return the distance of each row from the subspace through `mean` spanned by `axes`.

    The residual is formed row by row, not as a difference of squared lengths, which would lose
    the digits of a small error beside a large row.
    """
    parts = []
    for block in rows.split(BLOCK_ROWS):
        residual = block.to(mean.dtype) - mean
        residual = residual - (residual @ axes) @ axes.T
        parts.append(torch.linalg.vector_norm(residual, dim=1))
    return torch.cat(parts)


def random_fourier_features(rows, frequencies, phases):
    """Return features whose inner products approximate a Gaussian kernel (Rahimi and Recht 2007).

    With frequencies of variance 2 gamma, ``phi(x) . phi(y)`` is exp(-gamma ||x - y||^2) on average.
    """
    projected = torch.addmm(phases, rows, frequencies)
    return projected.cos_().mul_(math.sqrt(2 / len(phases)))
