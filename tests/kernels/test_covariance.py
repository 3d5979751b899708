"""Whitening, and distances under the covariance of all rows but one."""

import numpy as np
import pytest
import torch

from sklearn_seapig.kernels import covariance as kernel
from sklearn_seapig.kernels.covariance import (
    FLOOR,
    candidates_without_row,
    least_without_row,
    nearest_without_row,
    whitening,
)

VARIES = torch.zeros(3, dtype=torch.bool)


def _correlated(n=200, d=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d))


@pytest.mark.parametrize("units", [1.0, 1e-6, 1e6, np.array([1e-8, 1.0, 1e8])])
def test_whitened_rows_have_unit_covariance_in_any_units(units):
    X = _correlated() * units
    matrix, n_null = whitening(torch.from_numpy(np.cov(X.T, bias=True)), VARIES)
    assert n_null == 0
    np.testing.assert_allclose(np.cov((X @ matrix.numpy()).T, bias=True), np.eye(3), atol=1e-9)


def test_distance_is_that_of_the_inverse_covariance():
    X = _correlated()
    S = np.cov(X.T, bias=True)
    matrix, _ = whitening(torch.from_numpy(S), VARIES)
    gap = X[:50] - X[50:100]
    expected = np.sqrt(np.einsum("ij,jk,ik->i", gap, np.linalg.inv(S), gap))
    np.testing.assert_allclose(np.linalg.norm(gap @ matrix.numpy(), axis=1), expected, rtol=1e-9)


@pytest.mark.parametrize("units", [1.0, 1e-7, 1e7])
def test_linear_relations_become_directions_with_the_floor(units):
    X = _correlated()
    X[:, 2] = units * (X[:, 0] - 2 * X[:, 1])
    matrix, n_null = whitening(torch.from_numpy(np.cov(X.T, bias=True)), VARIES)
    assert n_null == 1
    broken = np.array([0.0, 0.0, units]) @ matrix.numpy()
    assert np.linalg.norm(broken) > 100


def test_constant_features_get_the_floor_of_the_largest_variance():
    X = _correlated()
    X[:, 1] = 0.1  # its computed variance is rounding, not zero
    constant = torch.tensor([False, True, False])
    S = np.cov(X.T, bias=True)
    matrix, n_null = whitening(torch.from_numpy(S), constant)
    assert n_null == 0
    step = np.linalg.norm(np.array([0.0, 1.0, 0.0]) @ matrix.numpy())
    np.testing.assert_allclose(step, 1 / np.sqrt(FLOOR * S.diagonal().max()), rtol=1e-9)


@pytest.mark.parametrize("noise", [0.0, 1e-34])
def test_nothing_but_constants_are_measured_as_they_are(noise):
    S = torch.full((3, 3), noise, dtype=torch.float64)
    matrix, _ = whitening(S, ~VARIES)
    np.testing.assert_allclose(np.abs(matrix.numpy()).sum(axis=0), 1.0)


def _brute_force(X, k):
    """Refit the covariance without each row."""
    distances, indices = np.empty((len(X), k)), np.empty((len(X), k), dtype=np.int64)
    for i in range(len(X)):
        others = np.delete(X, i, axis=0)
        S = np.cov(others.T, bias=True).reshape(X.shape[1], -1)
        gap = X - X[i]
        distance = np.sqrt(np.einsum("ij,jk,ik->i", gap, np.linalg.inv(S), gap))
        distance[i] = np.inf
        indices[i] = np.argsort(distance, kind="stable")[:k]
        distances[i] = distance[indices[i]]
    return distances, indices


@pytest.mark.parametrize(("n", "d"), [(60, 1), (80, 3), (90, 40)])
@pytest.mark.parametrize("tails", [2.0, 1000.0])
def test_leave_one_out_equals_refits(monkeypatch, n, d, tails):
    monkeypatch.setattr(kernel, "BLOCK_BYTES", 8 * n * 7)  # several blocks
    X = np.random.default_rng(0).standard_t(tails, size=(n, d))
    S = torch.from_numpy(np.cov(X.T, bias=True).reshape(d, d))
    matrix, _ = whitening(S, torch.zeros(d, dtype=torch.bool))
    points = torch.from_numpy(X - X.mean(axis=0)) @ matrix
    row = torch.arange(n)
    candidates = candidates_without_row(points, row, 5, 1.0)
    assert not (candidates == row[:, None]).any()
    distances, indices = nearest_without_row(points, row, candidates, 5, 1.0)
    expected, order = _brute_force(X, 5)
    np.testing.assert_allclose(distances, expected, rtol=1e-9)
    np.testing.assert_array_equal(indices, order)


def test_no_distance_shrinks_by_more_than_the_stated_ratio():
    X = np.random.default_rng(0).normal(size=(50, 2))
    S = np.cov(X.T, bias=True)
    matrix, _ = whitening(torch.from_numpy(S), VARIES[:2])
    points = torch.from_numpy(X - X.mean(axis=0)) @ matrix
    others = torch.arange(50).expand(50, -1)
    without, index = nearest_without_row(points, torch.arange(50), others, 50, 1.0)
    with_all = (points[index] - points[:, None]).norm(dim=2)
    assert (without >= least_without_row(50) * with_all * (1 - 1e-12)).all()
