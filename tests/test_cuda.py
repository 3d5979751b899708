"""Scores on an accelerator give the numbers of the CPU. Skipped where there is none."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone

from sklearn_seapig import (
    CosineScore,
    EnergyScore,
    EntropyScore,
    EuclideanScore,
    GaussianScore,
    MahalanobisScore,
    MarginScore,
    MaxLogitScore,
    PCAScore,
    SoftmaxScore,
)

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a CUDA device, and there is none"
)

SCORES = [
    CosineScore(),
    EuclideanScore(),
    MahalanobisScore(),
    GaussianScore(),
    PCAScore(n_components=4),
    PCAScore(n_components=4, gamma=0.1, n_features=64, random_state=0),
    SoftmaxScore(),
    EntropyScore(),
    EnergyScore(),
    MarginScore(),
    MaxLogitScore(),
]


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    return rng.normal(size=(2000, 16)), rng.integers(0, 3, 2000), rng.normal(size=(300, 16))


@pytest.mark.parametrize("score", SCORES, ids=repr)
@pytest.mark.parametrize("tf32", [False, True])
def test_scores_equal_those_of_the_cpu(score, rows, tf32, monkeypatch):
    X, y, Q = rows
    # What a user has set for training must not reach distances.
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", tf32)
    labels = y if isinstance(score, GaussianScore) else None
    here = clone(score).fit(X, labels, X_cal=Q)
    there = clone(score).set_params(device="cuda").fit(X, labels, X_cal=Q)
    expected = here.score_samples(Q)
    for queries in (Q, torch.from_numpy(Q), torch.from_numpy(Q).cuda()):
        np.testing.assert_allclose(there.score_samples(queries), expected, rtol=1e-5, atol=1e-8)
    assert there.offset_ == pytest.approx(here.offset_, rel=1e-5)
    assert torch.backends.cuda.matmul.allow_tf32 is tf32


@pytest.mark.parametrize("score", SCORES, ids=repr)
def test_state_is_free_of_the_device(score, rows):
    X, y, Q = rows
    labels = y if isinstance(score, GaussianScore) else None
    fitted = clone(score).set_params(device="cuda").fit(torch.from_numpy(X).cuda(), labels)
    fitted.score_samples(Q)
    assert not any(isinstance(value, torch.Tensor) for value in vars(fitted).values())
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.score_samples(Q), fitted.score_samples(Q))


def test_the_reference_set_is_uploaded_once(rows):
    X, _, Q = rows
    score = EuclideanScore(device="cuda").fit(np.tile(X, (50, 1)), X_cal=Q)
    score.score_samples(Q)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    for _ in range(5):
        score.score_samples(Q)
    assert torch.cuda.memory_allocated() == before
