"""Principal axes, residuals and random Fourier features."""

import numpy as np
import pytest
import torch

from sklearn_seapig.kernels.subspace import (
    effective_rank,
    principal_axes,
    random_fourier_features,
    reconstruction_error,
)


def normal(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def test_axes_are_orthonormal_and_sorted_by_falling_variance():
    A = normal(30, 6) * torch.arange(1.0, 7.0)
    covariance = A.T @ A
    values, axes = principal_axes(covariance)
    assert (values[:-1] >= values[1:]).all()
    torch.testing.assert_close(axes.T @ axes, torch.eye(6, dtype=axes.dtype))
    torch.testing.assert_close(axes @ torch.diag(values) @ axes.T, covariance)


def test_rounding_does_not_make_variances_negative():
    A = normal(3, 8)
    values, _ = principal_axes(A.T @ A)
    assert (values >= 0).all()


@pytest.mark.parametrize(
    ("values", "n", "rank"),
    [([4.0, 1.0, 1e-20], 10, 2), ([4.0, 1.0, 1e-9], 10, 3), ([0.0, 0.0], 10, 0)],
)
def test_rank_ignores_rounding_error(values, n, rank):
    assert effective_rank(torch.tensor(values, dtype=torch.float64), n) == rank


def test_residual_is_the_root_of_the_discarded_squared_projections():
    rows, mean = normal(9000, 6), normal(6, seed=1)
    axes = torch.linalg.qr(normal(6, 6, seed=2)).Q
    discarded = ((rows - mean) @ axes[:, 2:]).pow(2).sum(dim=1).sqrt()
    torch.testing.assert_close(reconstruction_error(rows, mean, axes[:, :2]), discarded)


def test_all_axes_leave_nothing_and_no_axes_leave_the_distance():
    rows, mean = normal(20, 4), normal(4, seed=1)
    axes = torch.linalg.qr(normal(4, 4, seed=2)).Q
    assert float(reconstruction_error(rows, mean, axes).max()) < 1e-14
    expected = torch.linalg.vector_norm(rows - mean, dim=1)
    torch.testing.assert_close(reconstruction_error(rows, mean, axes[:, :0]), expected)


def test_a_small_residual_beside_a_large_row_keeps_its_digits():
    axes = torch.eye(3, dtype=torch.float64)[:, :1]
    rows = torch.tensor([[1e9, 1e-3, 0.0]], dtype=torch.float64)
    error = reconstruction_error(rows, torch.zeros(3, dtype=torch.float64), axes)
    assert float(error) == pytest.approx(1e-3, rel=1e-12)


@pytest.mark.parametrize("n_features", [500, 20_000])
def test_random_fourier_features_approximate_the_gaussian_kernel(n_features):
    """Row 16 of the formula table: within 3 / sqrt(M)."""
    gamma, rows, random = 0.4, normal(8, 5), np.random.default_rng(1)
    frequencies = torch.from_numpy(random.normal(scale=np.sqrt(2 * gamma), size=(5, n_features)))
    phases = torch.from_numpy(random.uniform(0, 2 * np.pi, n_features))
    features = random_fourier_features(rows, frequencies, phases)
    kernel = torch.exp(-gamma * torch.cdist(rows, rows) ** 2)
    assert float((features @ features.T - kernel).abs().max()) <= 3 / np.sqrt(n_features)
