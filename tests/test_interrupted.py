"""Work that is interrupted at any line leaves everything as it was, or finished.

A trace function raises at a chosen line of this package, as Ctrl-C or a lack of memory would. The
lines are spread over the whole of the work, and what is left must be the state before it or the
state after it. Only what cleans up (``finally``, ``__exit__``) is not stopped: nothing could clean
up after that.
"""

import ast
import copy
import functools
import hashlib
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from pyod.models.knn import KNN
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import sklearn_seapig
from sklearn_seapig import (
    ConformalThreshold,
    CosineScore,
    CostThreshold,
    EnergyScore,
    EntropyScore,
    EuclideanScore,
    GaussianScore,
    MahalanobisScore,
    MarginScore,
    MaxLogitScore,
    PCAScore,
    PyODScore,
    QuantileThreshold,
    RandomScore,
    RiskThreshold,
    SelectiveClassifier,
    SelectiveRegressor,
    SoftmaxScore,
    TemperatureScaler,
    TorchEmbedder,
    save,
)

PACKAGE = str(Path(sklearn_seapig.__file__).parent)
ERRORS = (KeyboardInterrupt, MemoryError, ZeroDivisionError)
N_POINTS = 15

SCORES = [
    EuclideanScore(k=3, trim=0.1),
    CosineScore(k=3),
    MahalanobisScore(k=3),
    GaussianScore(relative=True),
    PCAScore(2),
    PCAScore(2, gamma=0.1, n_features=8, normalize=True, random_state=0),
    SoftmaxScore(temperature="fit"),
    EntropyScore(),
    MarginScore(),
    EnergyScore(trim=0.1),
    MaxLogitScore(),
    RandomScore(random_state=0),
    PyODScore(KNN(n_neighbors=3)),
]
MODELS = [
    SelectiveClassifier(LogisticRegression(), EuclideanScore(k=3), random_state=0),
    SelectiveClassifier(
        make_pipeline(StandardScaler(), LogisticRegression()), None, RiskThreshold(0.9), cv=2
    ),
    SelectiveRegressor(Ridge(), PCAScore(2), ConformalThreshold(0.7), random_state=0),
]
RULES = [QuantileThreshold(0.5), RiskThreshold(0.5, 0.3), CostThreshold()]

RNG = np.random.default_rng(0)
X, OTHER = RNG.normal(size=(60, 4)) + 2, RNG.normal(size=(40, 4))
Y, OTHER_Y = np.arange(60) % 3, np.arange(40) % 3


@functools.cache
def cleaning(path):
    """Return the lines of a file that clean up, and those with a `try`, which does nothing."""
    blocks, tries = [], set()
    for node in ast.walk(ast.parse(Path(path).read_text())):
        if isinstance(node, ast.Try):
            tries.add(node.lineno)
            blocks += node.finalbody
        elif isinstance(node, ast.FunctionDef) and node.name == "__exit__":
            blocks.append(node)
    return tries | {line for block in blocks for line in range(block.lineno, block.end_lineno + 1)}


def lines(call, at=0, error=None):
    """Run a call; return how many lines of the package ran, raising at the line `at`."""
    count = 0

    def local(frame, event, argument):
        nonlocal count
        code = frame.f_code
        if event == "line" and frame.f_lineno not in cleaning(code.co_filename):
            count += 1
            if count == at:
                raise error(f"interrupted in {code.co_name}, line {frame.f_lineno}")
        return local

    def trace(frame, event, argument):
        return local if frame.f_code.co_filename.startswith(PACKAGE) else None

    former = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(former)
    return count


def interrupt(call, at, error):
    """Run a call and raise at a line; return where, or nothing if it ended before."""
    try:
        n_lines = lines(call, at, error)
    except (error, TypeError, ValueError) as raised:  # or an error that tells what was done
        if "interrupted" in str(raised):
            return str(raised)
        raise
    assert n_lines < at, f"the {error.__name__} at line {at} was swallowed"
    return ""


def points(n_lines):
    """Return lines to stop at: all over, and the first and the last few."""
    spread = np.linspace(4, n_lines - 3, N_POINTS).astype(int)
    return sorted({1, 2, 3, *spread.tolist(), n_lines - 2, n_lines - 1, n_lines} - {0})


def check_every_interruption(make, work, state=lambda estimator: joblib.hash(vars(estimator))):
    """Interrupt `work(estimator)` everywhere; `make` returns the estimator as it is before."""
    finished = make()
    n_lines = lines(lambda: work(finished))
    allowed = {state(make()), state(finished)}
    assert len(allowed) == 2, "the work must show in the state"
    n_interrupted = 0
    for i, at in enumerate(points(n_lines)):
        estimator = make()
        where = interrupt(lambda e=estimator: work(e), at, ERRORS[i % 3])
        n_interrupted += bool(where)
        assert state(estimator) in allowed, where
    assert n_interrupted >= N_POINTS


def state_of_a_score(score):
    """Return a hash of a score, but for the tree of a detector, which counts calls."""
    return joblib.hash({k: v for k, v in vars(score).items() if k != "detector_"})


every_score = pytest.mark.parametrize("score", SCORES, ids=repr)


@every_score
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("fitted", [False, True])
def test_fit(score, fitted):
    before = clone(score).fit(OTHER, OTHER_Y) if fitted else clone(score)
    check_every_interruption(
        lambda: copy.copy(before), lambda s: s.fit(X, Y, X_cal=OTHER[:9]), state_of_a_score
    )


@every_score
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_set_threshold(score):
    before = clone(score).fit(X, Y)
    check_every_interruption(
        lambda: copy.copy(before), lambda s: s.set_threshold(0.5, X=OTHER), state_of_a_score
    )


def test_partial_fit():
    before = PCAScore(2).partial_fit(X)
    check_every_interruption(
        lambda: copy.copy(before), lambda score: score.partial_fit(OTHER, X_cal=X[:9])
    )


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_fit_of_a_rule(rule):
    before = clone(rule).fit(X[:, 0], Y == 0)
    check_every_interruption(
        lambda: copy.copy(before), lambda rule: rule.fit(OTHER[:, 0], OTHER_Y == 0)
    )


def test_fit_of_a_temperature():
    before = TemperatureScaler().fit(X[:, :3], Y)
    check_every_interruption(lambda: copy.copy(before), lambda s: s.fit(OTHER[:, :3], OTHER_Y))


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model.confidence).__name__)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_fit_and_set_threshold_of_a_selective_model(model):
    before = clone(model).fit(OTHER, OTHER_Y)
    check_every_interruption(lambda: copy.copy(before), lambda model: model.fit(X, Y))
    check_every_interruption(
        lambda: copy.copy(before), lambda model: model.set_threshold(0.3, X, Y)
    )


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_parts_that_were_given_are_never_touched():
    estimator, confidence = LogisticRegression(), EuclideanScore(k=3)
    model = SelectiveClassifier(estimator, confidence, random_state=0)
    unfitted = joblib.hash((vars(estimator), vars(confidence)))
    n_lines = lines(lambda: clone(model).fit(X, Y))
    for at in points(n_lines):
        interrupt(lambda: model.fit(X, Y), at, KeyboardInterrupt)
        assert joblib.hash((vars(estimator), vars(confidence))) == unfitted


# Extraction and files


def network():
    """Return a network in train mode with a part that is frozen in eval mode."""
    net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Dropout(), torch.nn.BatchNorm1d(3))
    net[1].eval()
    return net


def contents(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in Path(folder).iterdir()}


@pytest.mark.parametrize("method", ["fit", "transform", "fit_transform"])
@pytest.mark.parametrize("where", ["output", "cache"])
def test_extraction(tmp_path, method, where):
    net = network()
    flags = [module.training for module in net.modules()]
    weights = joblib.hash([p.detach().numpy() for p in net.state_dict().values()])

    def embedder(folder):
        path = folder / "rows.npy" if where == "output" else folder
        return TorchEmbedder(net, method="forward", batch_size=16, **{where: path})

    def prepared(name):
        folder = tmp_path / name
        folder.mkdir()
        if where == "output":
            embedder(folder).transform(OTHER)
        return folder, contents(folder)

    folder, before = prepared("finished")
    finished = embedder(folder)
    n_lines = lines(lambda: getattr(finished, method)(X))
    after = contents(folder)
    for i, at in enumerate(points(n_lines)):
        folder, before = prepared(str(at))
        used = embedder(folder)
        stop = interrupt(lambda used=used: getattr(used, method)(X), at, ERRORS[i % 3])
        if not stop:
            continue
        assert contents(folder) in (before, after), stop
        assert [module.training for module in net.modules()] == flags, stop
        assert not any(module._forward_hooks for module in net.modules())
        assert joblib.hash([p.detach().numpy() for p in net.state_dict().values()]) == weights
        assert set(vars(used)) in (set(used.get_params()), set(vars(finished)))
        expected = TorchEmbedder(net, method="forward", batch_size=16).transform(X)
        np.testing.assert_array_equal(embedder(folder).transform(X), expected)


def test_save(tmp_path):
    old, new = EuclideanScore().fit(OTHER), EuclideanScore().fit(X)
    path = tmp_path / "score.skops"
    save(old, path)
    before = path.read_bytes()
    n_lines = lines(lambda: save(new, tmp_path / "other.skops"))
    (tmp_path / "other.skops").unlink()
    for i, at in enumerate(points(n_lines)):
        path.write_bytes(before)
        where = interrupt(lambda: save(new, path), at, ERRORS[i % 3])
        assert [p.name for p in tmp_path.iterdir()] == ["score.skops"], where
        found = sklearn_seapig.load(path).score_samples(X)
        assert any(np.array_equal(found, score.score_samples(X)) for score in (old, new))
