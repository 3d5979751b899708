"""RandomScore: noise, but the same noise."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from sklearn_seapig import RandomScore

X = np.random.default_rng(0).normal(size=(2000, 4))


def test_uniform_and_without_information():
    scores = RandomScore(random_state=0).fit(X).score_samples(X)
    assert kstest(scores, "uniform").pvalue > 0.01
    assert scores.min() >= 0
    assert scores.max() < 1
    assert abs(np.corrcoef(scores, X[:, 0])[0, 1]) < 0.06


def test_a_row_has_one_score_in_every_batch_and_call():
    # SP-TH-15
    fitted = RandomScore(quantile=0.7, random_state=0).fit(X)
    scores = fitted.score_samples(X)
    np.testing.assert_array_equal(fitted.score_samples(X), scores)
    np.testing.assert_array_equal(fitted.score_samples(X[::-1]), scores[::-1])
    assert fitted.score_samples(X[7:8])[0] == scores[7]
    np.testing.assert_array_equal(fitted.predict(X), np.where(scores >= fitted.offset_, 1, -1))
    assert len(np.unique(scores)) == len(X)


def test_equal_values_have_equal_scores():
    fitted = RandomScore(random_state=0).fit(X)
    half = X.astype(np.float16)
    np.testing.assert_array_equal(
        fitted.score_samples(half), fitted.score_samples(half.astype(np.float64))
    )
    np.testing.assert_array_equal(
        fitted.score_samples(torch.from_numpy(half)), fitted.score_samples(half)
    )
    assert fitted.score_samples([[0.0] * 4]) == fitted.score_samples([[-0.0] * 4])


def test_random_state_decides():
    a, b, c = (RandomScore(random_state=s).fit(X).score_samples(X) for s in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    assert (a != c).all()
    unseeded = RandomScore().fit(X)
    assert isinstance(unseeded.seed_, int)
    np.testing.assert_array_equal(unseeded.score_samples(X), unseeded.score_samples(X))
    with pytest.raises(ValueError, match="random_state"):
        RandomScore(random_state="a").fit(X)


def test_the_same_in_another_process():
    code = (
        "from sklearn_seapig import RandomScore\n"
        "X = [[0.5, 1.5], [2.0, 3.0]]\n"
        "print(RandomScore(random_state=3).fit(X).score_samples(X).tolist())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    rows = [[0.5, 1.5], [2.0, 3.0]]
    here = RandomScore(random_state=3).fit(rows).score_samples(rows)
    assert done.stdout.strip() == str(here.tolist())


def test_trim_takes_its_share():
    fitted = RandomScore(trim=0.25, random_state=0).fit(X)
    assert fitted.support_.sum() == 1500
    assert len(fitted.calibration_scores_) == 1500
