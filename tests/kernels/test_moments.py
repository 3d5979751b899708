"""Streaming mean and covariance against numpy."""

import numpy as np
import pytest
import torch

from sklearn_seapig.kernels import moments
from sklearn_seapig.kernels.moments import Moments


def _expected(X):
    X = X.astype(np.float64)
    return X.mean(axis=0), np.cov(X.T, bias=True).reshape(X.shape[1], X.shape[1])


@pytest.mark.parametrize("offset", [0.0, 1e4, 1e8])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("d", [1, 5])
def test_update_equals_numpy_far_from_the_origin(offset, dtype, d):
    X = (offset + np.random.default_rng(0).normal(size=(20_000, d))).astype(dtype)
    mean, covariance = Moments(d).update(torch.from_numpy(X)).finalize()
    np.testing.assert_allclose(mean, _expected(X)[0], rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(covariance, _expected(X)[1], rtol=1e-7, atol=1e-9)
    assert covariance.dtype == torch.float64


def test_blocks_streams_and_merges_are_one_thing(monkeypatch):
    monkeypatch.setattr(moments, "BLOCK_ROWS", 64)
    X = torch.from_numpy(1e6 + np.random.default_rng(0).normal(size=(1000, 4)))
    whole = Moments(4).update(X)
    parts = Moments(4).update(X[:7]).update(X[7:300])
    parts.merge(Moments(4).update(X[300:])).merge(Moments(4))
    reverse = Moments(4).merge(Moments(4).update(X[300:])).merge(Moments(4).update(X[:300]))
    for state in (parts, reverse):
        assert state.count == whole.count == 1000
        np.testing.assert_allclose(state.mean, whole.mean, rtol=1e-14)
        np.testing.assert_allclose(state.scatter, whole.scatter, rtol=1e-9, atol=1e-6)
