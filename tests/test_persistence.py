"""A fitted estimator comes back as it was; the ids are fault cases of a test."""

import collections
import contextlib
import copy
import functools
import inspect
import io
import json
import os
import pickle
import stat
import subprocess
import sys
import warnings
from importlib.util import find_spec
from zipfile import ZipFile

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import sklearn_seapig
from sklearn_seapig import (
    BaseLogitScore,
    BaseScore,
    ConformalThreshold,
    CosineScore,
    CostThreshold,
    EnergyScore,
    EntropyScore,
    EuclideanScore,
    GaussianScore,
    GroupThreshold,
    MahalanobisScore,
    MarginScore,
    MaxLogitScore,
    PCAScore,
    QuantileThreshold,
    RandomScore,
    RiskThreshold,
    SelectiveClassifier,
    SelectiveRegressor,
    SoftmaxScore,
    TemperatureScaler,
    TorchEmbedder,
    load,
    metrics,
    save,
)
from sklearn_seapig._state import OnDevice
from sklearn_seapig._torch import from_numpy
from sklearn_seapig.metrics import make_selective_scorer

X, Y = load_iris(return_X_y=True)
FAR = np.vstack([X, X + 100])
NAMES = np.array(["setosa", "versicolor", "virginica"])[Y]

MODELS = {
    "softmax": SelectiveClassifier(GaussianNB(), random_state=0),
    "euclidean": SelectiveClassifier(GaussianNB(), EuclideanScore(quantile=0.8), random_state=0),
    "cosine": SelectiveClassifier(GaussianNB(), CosineScore(quantile=0.8), cv=3),
    "mahalanobis": SelectiveClassifier(
        GaussianNB(), MahalanobisScore(), QuantileThreshold(0.8), random_state=0
    ),
    "random": SelectiveClassifier(
        GaussianNB(), RandomScore(random_state=0, quantile=0.8), random_state=0
    ),
    "pipeline": SelectiveClassifier(
        make_pipeline(StandardScaler(), GaussianNB()),
        make_pipeline(StandardScaler(), EuclideanScore(quantile=0.8)),
        random_state=0,
    ),
    "outputs": SelectiveClassifier(
        GaussianNB(), EuclideanScore(), response_method="predict_proba", random_state=0
    ),
    "forest": SelectiveClassifier(
        GaussianNB(), IsolationForest(n_estimators=5, random_state=0), random_state=0
    ),
    "frozen": SelectiveClassifier(
        FrozenEstimator(GaussianNB().fit(X, NAMES)),
        FrozenEstimator(EuclideanScore(quantile=0.8).fit(X)),
    ),
}

LOGITS = X[:, :3] - X[:, :3].mean(axis=0)  # as if they were: some rows right, some wrong
OTHERS = {
    "EuclideanScore": EuclideanScore(k=3, stat="mean", quantile=0.8),
    "trimmed": EuclideanScore(trim=0.1),
    "CosineScore": CosineScore(quantile=0.8),
    "MahalanobisScore": MahalanobisScore(quantile=0.8),
    "GaussianScore": GaussianScore(quantile=0.8),
    "relative": GaussianScore(relative=True),
    "PCAScore": PCAScore(quantile=0.8),
    "Fourier": PCAScore(gamma=0.5, n_features=20, normalize=True, random_state=0),
    "RandomScore": RandomScore(random_state=0, quantile=0.8),
    "SoftmaxScore": SoftmaxScore(temperature="fit", quantile=0.8),
    "EntropyScore": EntropyScore(temperature="fit"),
    "MarginScore": MarginScore(temperature=2.0),
    "EnergyScore": EnergyScore(temperature="fit"),
    "MaxLogitScore": MaxLogitScore(),
    "TemperatureScaler": TemperatureScaler(),
    "SelectiveRegressor": SelectiveRegressor(
        LinearRegression(), EuclideanScore(quantile=0.8), random_state=0
    ),
    "logits": SelectiveClassifier(
        LogisticRegression(C=0.01),
        EnergyScore(temperature="fit"),
        response_method="decision_function",
        random_state=0,
    ),
    "Pipeline": make_pipeline(StandardScaler(), PCA(2), EuclideanScore(quantile=0.8)),
    "FrozenEstimator": FrozenEstimator(EuclideanScore(quantile=0.8)),
    "GridSearchCV": GridSearchCV(
        SelectiveClassifier(LogisticRegression(), EuclideanScore(), random_state=0),
        {"confidence__k": [1, 5]},
        scoring=make_selective_scorer("aurc"),
        cv=StratifiedKFold(2),
    ),
}
RULES = {
    "QuantileThreshold": QuantileThreshold(0.8),
    "ConformalThreshold": ConformalThreshold(0.8),
    "CostThreshold": CostThreshold(),
    "GroupThreshold": GroupThreshold(QuantileThreshold(0.8)),
    "RiskThreshold": RiskThreshold(0.5, 0.1),
}
GROUPS = {GroupThreshold: {"groups": [*NAMES, *NAMES]}}
if find_spec("pyod"):
    from sklearn_seapig import PyODScore

    OTHERS["PyODScore"] = PyODScore(quantile=0.8)

# What the KNN of PyOD holds, and trees, skops leaves to the user to trust: see `load`.
TRUSTED = [
    "pyod.models.knn.KNN",
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.tree._tree.Tree",
]
needs_skops = pytest.mark.skipif(not find_spec("skops"), reason="skops is not installed")


def fitted(name):
    estimator = OTHERS.get(name) or RULES.get(name) or MODELS[name]
    if name in RULES:
        groups = NAMES if name == "GroupThreshold" else None
        return clone(estimator).fit(-X[:, 0], Y == 2, groups=groups)
    if name == "FrozenEstimator":
        return FrozenEstimator(clone(estimator.estimator).fit(LOGITS))
    return clone(estimator).fit(LOGITS, Y) if name in OTHERS else clone(estimator).fit(X, NAMES)


def numbers(estimator):
    """Return all that an estimator says of rows and of itself, as arrays."""
    rows = FAR[:, :3]
    if hasattr(estimator, "accept"):  # a rule
        accepted = estimator.accept(-FAR[:, 0], **GROUPS.get(type(estimator), {}))
        known = {name: value for name, value in vars(estimator).items() if name[-1] == "_"}
        return [accepted, *(np.array(known[name]) for name in sorted(known))]
    methods = ("score_samples", "decision_function", "predict", "transform")
    found = [getattr(estimator, name)(rows) for name in methods if hasattr(estimator, name)]
    if hasattr(estimator, "select"):
        found += estimator.select(rows).values()
    learned = ("offset_", "threshold_", "coverage_", "temperature_", "calibration_scores_")
    return found + [np.array(getattr(estimator, name, None)) for name in learned]


def assert_same(one, other):
    for a, b in zip(numbers(one), numbers(other), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)  # to the last bit


def by_skops(estimator, folder):
    save(estimator, folder / "estimator.skops")
    return load(folder / "estimator.skops", trusted=TRUSTED)


@pytest.fixture(params=MODELS)
def model(request):
    return clone(MODELS[request.param]).fit(X, NAMES)


def everything(model):
    """Return all that a user can see of a fitted model, as arrays."""
    selection = model.select(FAR)
    return [
        *selection.values(),
        model.predict(FAR),
        model.predict_proba(FAR),
        np.array([model.threshold_, model.coverage_, model.score(X, NAMES)]),
        model.calibration_scores_,
        model.calibration_errors_,
        model.classes_,
        np.array([model.reject_label_]),
    ]


def assert_equal(one, other):
    for a, b in zip(everything(one), everything(other), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)  # to the last bit


def by_joblib(model, folder, **options):
    joblib.dump(model, folder / "model.joblib")
    return joblib.load(folder / "model.joblib", **options)


@pytest.mark.parametrize(
    "route",
    [
        lambda model, folder: pickle.loads(pickle.dumps(model)),
        lambda model, folder: copy.deepcopy(model),
        lambda model, folder: copy.copy(model),
        by_joblib,
        lambda model, folder: by_joblib(model, folder, mmap_mode="r"),
        lambda model, folder: clone(model).fit(X, NAMES),
    ],
    ids=["pickle", "deepcopy", "copy", "joblib", "mmap", "clone"],
)
def test_round_trips(model, route, tmp_path):  # SP-PS-01, SP-PS-04, SP-PS-06, SP-TK-16, FB-29
    other = route(model, tmp_path)
    assert_equal(model, other)
    assert other.get_params().keys() == model.get_params().keys()


def test_a_copy_is_independent(model):
    other = copy.deepcopy(model)
    before = everything(model)
    other.fit(X[::2], NAMES[::2])
    for a, b in zip(everything(model), before, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "route",
    [
        lambda estimator, folder: pickle.loads(pickle.dumps(estimator)),
        by_joblib,
        lambda estimator, folder: by_joblib(estimator, folder, mmap_mode="r"),
        lambda estimator, folder: by_joblib(estimator, folder, mmap_mode="c"),
        pytest.param(by_skops, marks=needs_skops),
    ],
    ids=["pickle", "joblib", "mmap-r", "mmap-c", "skops"],
)
@pytest.mark.parametrize("name", [*OTHERS, *RULES])
def test_every_estimator_round_trips(name, route, tmp_path):
    # SP-PS-03, SP-PS-04, SP-PS-06, SP-PS-08, SEC-05, SEC-07, SEC-08
    estimator = fitted(name)
    assert_same(estimator, route(estimator, tmp_path))


def test_every_public_estimator_is_tried_here():
    tried = {type(estimator) for estimator in [*OTHERS.values(), *RULES.values(), *MODELS.values()]}
    base = {BaseScore, BaseLogitScore, TorchEmbedder}  # abstract, or holds a network
    for name in sklearn_seapig.__all__:
        found = getattr(sklearn_seapig, name)
        if inspect.isclass(found) and issubclass(found, BaseEstimator):
            assert found in tried | base, f"{name} needs a line in OTHERS or RULES"


READER = """
import sys, joblib, numpy as np
from pathlib import Path
folder = Path(sys.argv[1])
rows = np.load(folder / "rows.npy")
if list(folder.glob("*.skops")):
    from sklearn_seapig import load
trusted = sys.argv[2:]
for path in sorted(folder.glob("*.*")):
    if path.suffix not in (".joblib", ".skops"):
        continue
    model = joblib.load(path) if path.suffix == ".joblib" else load(path, trusted=trusted)
    if path.stem.startswith("score "):
        known = rows[:, :3]
        np.savez(path.with_suffix(".npz"), score=model.score_samples(known),
                 decision=model.decision_function(known), labels=model.predict(known))
        continue
    selection = model.select(rows)
    np.savez(
        path.with_suffix(".npz"), labels=model.predict(rows), score=selection.score,
        selected=selection.selected, threshold=model.threshold_,
    )
"""


def test_another_process_reads_what_this_one_wrote(tmp_path):  # SP-TK-16, SP-PS-06, SP-PS-08
    np.save(tmp_path / "rows.npy", FAR)
    models = {name: fitted(name) for name in MODELS}
    scores = {f"score {name}": fitted(name) for name in OTHERS if name.endswith("Score")}
    for name, estimator in {**models, **scores}.items():
        if find_spec("skops") and name != "softmax":
            save(estimator, tmp_path / f"{name}.skops")
        else:
            joblib.dump(estimator, tmp_path / f"{name}.joblib")
    subprocess.run(
        [sys.executable, "-c", READER, str(tmp_path), *TRUSTED],
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    for name, model in models.items():
        found = np.load(tmp_path / f"{name}.npz")
        selection = model.select(FAR)
        np.testing.assert_array_equal(found["labels"], model.predict(FAR))
        np.testing.assert_array_equal(found["score"], selection.score)
        np.testing.assert_array_equal(found["selected"], selection.selected)
        assert found["threshold"] == model.threshold_
    for name, score in scores.items():
        found = np.load(tmp_path / f"{name}.npz")
        np.testing.assert_array_equal(found["score"], score.score_samples(FAR[:, :3]))
        np.testing.assert_array_equal(found["decision"], score.decision_function(FAR[:, :3]))
        np.testing.assert_array_equal(found["labels"], score.predict(FAR[:, :3]))


@needs_skops
@pytest.mark.parametrize("as_path", [str, lambda path: path], ids=["str", "PathLike"])
def test_save_takes_paths_of_both_kinds_and_leaves_one_file(as_path, tmp_path):  # SP-CA-07
    path = tmp_path / "score.skops"
    score = EuclideanScore(k=3).fit(LOGITS)
    save(EuclideanScore(), as_path(path))  # unfitted, and replaced
    save(score, as_path(path))
    assert load(as_path(path)).k == 3
    assert os.listdir(tmp_path) == [path.name]


@needs_skops
def test_save_that_is_interrupted_leaves_the_old_file(tmp_path, monkeypatch):  # SP-CA-06
    path = tmp_path / "score.skops"
    score = EuclideanScore().fit(LOGITS)
    save(score, path)
    before = path.read_bytes()

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(ZipFile, "writestr", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save(PCAScore().fit(LOGITS), path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


@needs_skops
def test_save_names_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"path=.*nowhere.*folder that exists"):
        save(EuclideanScore(), tmp_path / "nowhere" / "score.skops")
    with pytest.raises(ValueError, match=r"path=.*folder that exists"):
        save(EuclideanScore(), tmp_path)
    with pytest.raises(TypeError, match="must be an estimator, got ndarray"):
        save(X, tmp_path / "array.skops")


def a_network():
    return torch.nn.Linear(3, 2)


def an_array(*values):
    found = np.empty(len(values), dtype=object)
    for i, value in enumerate(values):
        found[i] = value
    return found


UNSAVABLE = {
    "module": (
        lambda folder: make_pipeline(TorchEmbedder(a_network(), "forward"), EuclideanScore()),
        r"Pipeline\.steps\[0\]\[1\]\.module is a torch module .*state_dict",
    ),
    "tensor": (
        lambda folder: FunctionTransformer(kw_args={"by": torch.ones(2)}),
        r"kw_args\['by'\] is a Tensor of torch",
    ),
    "generator": (  # skops writes it and reads another one
        lambda folder: SelectiveClassifier(GaussianNB(), random_state=torch.Generator()),
        r"random_state is a Generator of torch",
    ),
    "lambda": (
        lambda folder: FunctionTransformer(lambda X: X),
        r"FunctionTransformer\.func is .*<lambda>, a function that no name leads to",
    ),
    "partial": (
        lambda folder: FunctionTransformer(functools.partial(np.clip, a_min=0)),
        r"FunctionTransformer\.func is a functools\.partial.*kw_args",
    ),
    "bool keys": (  # skops reads bool("False"), which is True
        lambda folder: SelectiveClassifier(LogisticRegression(class_weight={False: 9, True: 1})),
        r"estimator\.class_weight is a dict with the key False",
    ),
    "None as a key": (
        lambda folder: FunctionTransformer(kw_args={"by": {None: 1}}),
        r"kw_args\['by'\] is a dict with the key None",
    ),
    "keys of one text": (  # skops keeps one of them
        lambda folder: FunctionTransformer(kw_args={"by": {1: 2, "1": 3}}),
        r"kw_args\['by'\] is a dict with keys \[1, '1'\] of which two have the same text",
    ),
    "defaultdict": (  # skops gives its keys as keywords
        lambda folder: FunctionTransformer(kw_args={"by": collections.defaultdict(int, {1: 2})}),
        r"kw_args\['by'\] is a defaultdict with the key 1",
    ),
    "tensor in an array": (
        lambda folder: FunctionTransformer(kw_args={"by": an_array(torch.ones(()), None)}),
        r"kw_args\['by'\]\.flat\[0\] is a Tensor of torch",
    ),
    "lists in a table": (
        lambda folder: FunctionTransformer(kw_args={"by": an_array([1], (2, 3)).reshape(1, 2)}),
        r"kw_args\['by'\] is an object array of 2 dimensions that holds a list",
    ),
    "no dimensions": (
        lambda folder: FunctionTransformer(kw_args={"by": np.array(None, dtype=object)}),
        r"kw_args\['by'\] is an object array of no dimensions",
    ),
    "no name": (
        lambda folder: FunctionTransformer(kw_args={"by": ...}),
        r"FunctionTransformer holds objects of builtins\.ellipsis, which no import finds",
    ),
    "memory map": (
        lambda folder: by_joblib(EuclideanScore().fit(LOGITS), folder, mmap_mode="r"),
        r"is a memory map.*without mmap_mode",
    ),
}


@needs_skops
@pytest.mark.parametrize("name", UNSAVABLE)
def test_save_refuses_what_load_could_not_read(name, tmp_path):
    make, message = UNSAVABLE[name]
    estimator = make(tmp_path)
    path = tmp_path / "estimator.skops"
    path.write_bytes(b"as it was")
    with pytest.raises(TypeError, match=message):
        save(estimator, path)
    assert path.read_bytes() == b"as it was"
    assert [name for name in os.listdir(tmp_path) if name.endswith(".part")] == []


@needs_skops
@pytest.mark.parametrize(
    "value",
    [
        {1: 2, -3: 4},
        {"a": 1, "b": 2},
        {0.1: 1, np.inf: 2},
        {np.str_("a"): 1, np.str_("b"): 2},
        {np.int64(3): 1, 4: 2},
        an_array("a", None, 2.5, True),
        an_array([1], (2, 3)),
        an_array("a", None, 2.5, True).reshape(2, 2),
        range(2, 9, 3),
        frozenset({1, 2}),
    ],
    ids=repr,
)
def test_parameters_return_as_they_were(value, tmp_path):
    back = by_skops(FunctionTransformer(kw_args={"by": value}), tmp_path).kw_args["by"]
    assert type(back) is type(value)
    assert repr(back) == repr(value)  # with the types of keys and items


METRICS = {
    "augrc_score": {},
    "aurc_score": {},
    "coverage_at_risk": {"target": 0.3},
    "effective_reliability_score": {"cost": 2.0},
    "excess_aurc_score": {},
    "failure_auroc_score": {},
    "fpr_at_tpr": {},
    "normalized_aurc_score": {},
    "risk_at_coverage": {"coverage": 0.5},
}


@needs_skops
@pytest.mark.parametrize("name", METRICS)
def test_a_search_by_our_metrics_loads_without_further_trust(name, tmp_path):
    search = GridSearchCV(
        SelectiveClassifier(LogisticRegression(C=0.01), EuclideanScore(), random_state=0),
        {"confidence__k": range(2, 4)},
        scoring=make_selective_scorer(getattr(metrics, name), **METRICS[name]),
        cv=StratifiedKFold(2),
    ).fit(LOGITS, Y)
    save(search, tmp_path / "search.skops")
    back = load(tmp_path / "search.skops")
    assert back.param_grid == {"confidence__k": range(2, 4)}
    assert back.score(LOGITS, Y) == search.score(LOGITS, Y)


@needs_skops
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path, monkeypatch):
    path, plain, seen = tmp_path / "score.skops", tmp_path / "plain", []
    save(EuclideanScore(), path)
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode  # what the umask leaves

    def look(file):
        seen.append(stat.S_IMODE(os.fstat(file).st_mode))

    monkeypatch.setattr("sklearn_seapig.persistence.os.fsync", look)
    for mode in (0o600, 0o640, 0o666):
        path.chmod(mode)
        save(EuclideanScore(k=3), path)
        assert seen.pop() == mode  # before it has its name
        assert stat.S_IMODE(path.stat().st_mode) == mode
    assert load(path).k == 3


@needs_skops
@pytest.mark.skipif(os.name == "nt", reason="Windows lets few users make symbolic links")
def test_save_follows_a_symbolic_link(tmp_path):
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real" / "score.skops", tmp_path / "link.skops"
    save(EuclideanScore(k=1), target)
    link.symlink_to(target)
    save(EuclideanScore(k=3), link)
    assert link.is_symlink()
    assert load(target).k == load(link).k == 3


@needs_skops
@pytest.mark.skipif(os.name == "nt", reason="whole paths are short on Windows")
def test_a_long_name_is_no_problem(tmp_path):
    path = tmp_path / ("x" * 240 + ".skops")
    save(EuclideanScore(k=3), path)
    assert load(path).k == 3


@needs_skops
@pytest.mark.parametrize("path", [None, 3, b"x", io.BytesIO()], ids=["None", "3", "bytes", "file"])
def test_what_is_no_path_is_named(path):
    for call in (lambda: save(EuclideanScore(), path), lambda: load(path)):
        with pytest.raises(TypeError, match=f"path must be .* got {type(path).__name__}"):
            call()


@needs_skops
def test_a_folder_is_no_file_to_load(tmp_path):
    with pytest.raises(ValueError, match=r"path=.* is a folder"):
        load(tmp_path)


@needs_skops
def test_a_torch_device_becomes_its_name(tmp_path):
    score = EuclideanScore(device=torch.device("cpu")).fit(LOGITS)
    assert by_skops(score, tmp_path).device == "cpu"
    assert_same(score, by_skops(score, tmp_path))


@needs_skops
def test_load_says_what_is_wrong_with_a_file(tmp_path):  # SP-PS-02, SP-CA-06
    path = tmp_path / "score.skops"
    with pytest.raises(FileNotFoundError, match=r"score\.skops"):
        load(path)
    score = EuclideanScore().fit(LOGITS)
    save(score, path)
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(whole[: random.integers(len(whole))])
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"score\.skops is corrupted"):
            load(path)
        damaged = bytearray(whole)
        damaged[random.integers(len(whole))] ^= 1 << random.integers(8)
        path.write_bytes(damaged)
        with contextlib.suppress(ValueError):  # a bit that says nothing is no damage
            assert_same(load(path), score)  # never another score
    for write in (joblib.dump, lambda s, p: joblib.dump(s, p, compress=3)):
        write(score, path)
        with pytest.raises(ValueError, match=r"pickle.*joblib\.load .*files that you trust"):
            load(path)
    torch.save({"a": 1}, path)
    with pytest.raises(ValueError, match=r"score\.skops is .*no file of .*torch\.load"):
        load(path)


def stamped(path, version):
    """Change the version in a file of `save`."""
    with ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    old = json.loads(members["sklearn_seapig.json"])["version"]
    members["sklearn_seapig.json"] = json.dumps({"version": version}).encode()
    members["schema.json"] = members["schema.json"].replace(
        f'\\"{old}\\"'.encode(), f'\\"{version}\\"'.encode()
    )
    with ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


@needs_skops
def test_a_file_of_a_newer_version_is_refused(tmp_path):  # SP-PS-02
    path = tmp_path / "score.skops"
    save(EuclideanScore().fit(LOGITS), path)
    here = sklearn_seapig.__version__
    stamped(path, "99.1.0")
    with pytest.raises(ValueError, match=rf"score\.skops was saved .* 99\.1\.0.*newer than {here}"):
        load(path)


@needs_skops
def test_a_file_of_skops_itself_is_read_and_its_versions_are_seen(tmp_path, monkeypatch):
    import skops.io

    path = tmp_path / "score.skops"
    score = EuclideanScore().fit(LOGITS)
    skops.io.dump(score, path)
    assert_same(score, load(path))
    monkeypatch.setattr("sklearn_seapig._state.__version__", "99.1.0")
    skops.io.dump(score, path)
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"EuclideanScore was saved with sklearn_seapig 99\.1\.0"):
        load(path)


@needs_skops
def test_a_file_of_an_older_version_is_read_with_a_warning(tmp_path):
    path = tmp_path / "score.skops"
    score = EuclideanScore().fit(LOGITS)
    save(score, path)
    stamped(path, "0.0.1")
    with pytest.warns(UserWarning, match=r"score\.skops was saved with .* 0\.0\.1"):
        assert_same(score, load(path))


def test_a_dump_of_another_version_is_warned_of_or_refused():  # SP-PS-02
    state = fitted("softmax").__getstate__()
    state["_sklearn_seapig_version"] = "0.0.1"
    with pytest.warns(UserWarning, match=r"SelectiveClassifier was saved with .* 0\.0\.1"):
        SelectiveClassifier(None).__setstate__(state)
    for version, message in {
        "99.0.0": r"SelectiveClassifier was saved with .* 99\.0\.0, which is newer",
        "nonsense": r"'nonsense' is no version",
    }.items():
        state["_sklearn_seapig_version"] = version
        blank = SelectiveClassifier(None)
        before = dict(vars(blank))
        with pytest.raises(ValueError, match=message):
            blank.__setstate__(state)
        assert vars(blank) == before  # nothing half restored


def test_releases_that_share_two_numbers_read_each_other_in_silence():
    state = fitted("EuclideanScore").__getstate__()
    major, minor = sklearn_seapig.__version__.split(".")[:2]
    state["_sklearn_seapig_version"] = f"{major}.{minor}.99"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        EuclideanScore().__setstate__(state)


@pytest.mark.parametrize("mode", ["r", "c"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_memory_map_is_not_copied(mode, dtype, tmp_path):  # SP-PS-06, SP-MM-03
    score = EuclideanScore().fit(LOGITS.astype(dtype))
    mapped = by_joblib(score, tmp_path, mmap_mode=mode)
    reference = mapped._index_["X"]
    assert isinstance(reference, np.memmap)
    assert reference.dtype == dtype
    before = vars(mapped).copy()
    np.testing.assert_array_equal(mapped.score_samples(X[:, :3]), score.score_samples(X[:, :3]))
    assert from_numpy(mapped._index_["X"]).data_ptr() == reference.ctypes.data
    assert all(vars(mapped)[name] is before[name] for name in before)


N, D = 12_000, 16
FILES = {"pickle": pickle.dumps}
if find_spec("skops"):
    import skops.io

    FILES["skops"] = skops.io.dumps


@pytest.mark.parametrize("write", FILES.values(), ids=FILES)
@pytest.mark.parametrize("kind", [EuclideanScore, CosineScore])
def test_a_neighbor_score_holds_its_reference_once(kind, write):  # SP-PS-09, SP-MM-03
    rows = np.random.default_rng(0).normal(size=(N, D))
    score = kind().fit(rows, X_cal=rows[:50] + 0.1)
    assert len(write(score)) < 1.3 * rows.nbytes


STATISTICS = {
    "PCAScore": PCAScore(n_components=4),
    "Fourier": PCAScore(n_components=4, gamma=0.05, n_features=32),
    "SoftmaxScore": SoftmaxScore(temperature="fit"),
    "EntropyScore": EntropyScore(temperature="fit"),
    "MarginScore": MarginScore(temperature="fit"),
    "EnergyScore": EnergyScore(temperature="fit"),
    "MaxLogitScore": MaxLogitScore(temperature="fit"),
    "TemperatureScaler": TemperatureScaler(),
}


@pytest.mark.parametrize("name", STATISTICS)
def test_what_needs_no_rows_keeps_none(name):  # SP-PS-03, SP-PS-10
    n, random = 2000, np.random.default_rng(0)
    rows = random.normal(size=(n, D))
    labels = np.where(random.random(n) < 0.3, random.integers(D, size=n), rows.argmax(axis=1))
    estimator = clone(STATISTICS[name]).fit(rows, labels)
    held = arrays(estimator)
    long = [array for array in held if array.size >= n]  # confidences, and which rows were kept
    assert [array.shape for array in long] == [(n,)] * (2 if "Score" in repr(estimator) else 0)
    found = sum(np.isin(array, rows).sum() for array in held if array.dtype.kind == "f")
    assert found <= (n if name == "MaxLogitScore" else 0)  # whose confidence is one of the logits
    for write in FILES.values():
        assert len(write(estimator)) < 9 * n + 30_000  # a float and a flag a row
    if hasattr(estimator, "set_threshold"):
        estimator.set_threshold(X=rows[:100])
        assert len(estimator.calibration_scores_) == 100


def arrays(estimator):
    """Return every array that a pickle of the estimator holds."""
    found = []

    class Finder(pickle.Pickler):
        def reducer_override(self, value):
            if isinstance(value, np.ndarray):
                found.append(value)
            return NotImplemented

    with open(os.devnull, "wb") as sink:
        Finder(sink).dump(estimator)
    return found


ELSEWHERE = "cuda:99"
ON_DEVICE = [name for name in OTHERS if isinstance(OTHERS[name], OnDevice)]


def from_elsewhere(name):
    """Return an estimator as it would be after `fit` on a device that this machine lacks."""
    estimator = fitted(name)
    estimator.device = ELSEWHERE
    return estimator


@pytest.mark.parametrize("name", ON_DEVICE)
def test_what_was_fitted_on_a_missing_device_warns_once_and_computes_on_the_cpu(name):
    here, data = fitted(name), pickle.dumps(from_elsewhere(name))
    with pytest.warns(UserWarning, match=f"device='{ELSEWHERE}'.* computes on the CPU") as told:
        loaded = pickle.loads(data)
    assert len(told) == 1
    assert told[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # neither scores nor copies warn again
        assert_same(here, loaded)
        again = copy.deepcopy(pickle.loads(pickle.dumps(loaded)))
        assert_same(here, again)
        if hasattr(loaded, "set_threshold"):
            again.set_threshold(0.5, LOGITS[::2] + 0.01)  # fresh rows
    assert loaded.device == ELSEWHERE
    for refit in (loaded, clone(loaded)):
        with pytest.raises(ValueError, match=f"device='{ELSEWHERE}' is not available"):
            refit.fit(LOGITS, Y)
    assert_same(here, loaded)  # the refit that failed changed nothing
    assert_same(here, loaded.set_params(device="cpu"))
    loaded.fit(LOGITS, Y)
    assert "_absent_device_" not in vars(loaded)


def test_the_device_counts_again_where_it_is(monkeypatch):
    with pytest.warns(UserWarning, match="computes on the CPU"):
        loaded = pickle.loads(pickle.dumps(from_elsewhere("EuclideanScore")))
    data = pickle.dumps(loaded)
    monkeypatch.setattr("sklearn_seapig._state.is_here", lambda device: True)
    back = pickle.loads(data)
    assert back._device == ELSEWHERE
    assert "_absent_device_" not in vars(back)
    loaded.set_params(device="cuda:98")  # asked for by hand: not the device that was missing
    with pytest.raises(ValueError, match="device='cuda:98' is not available"):
        loaded.predict(LOGITS)


@needs_skops
def test_a_composed_model_with_a_missing_device_warns_once(tmp_path):
    score = from_elsewhere("EuclideanScore")
    model = SelectiveClassifier(
        FrozenEstimator(GaussianNB().fit(LOGITS, Y)), FrozenEstimator(score)
    )
    score.device = "cpu"
    model.fit(LOGITS, Y)
    expected = model.select(LOGITS)
    score.device = ELSEWHERE
    for route in (by_skops, by_joblib):
        with pytest.warns(UserWarning, match="computes on the CPU") as told:
            loaded = route(model, tmp_path)
        assert len(told) == 1
        np.testing.assert_array_equal(loaded.select(LOGITS).score, expected.score)
        np.testing.assert_array_equal(loaded.select(LOGITS).selected, expected.selected)


def test_an_unfitted_score_for_a_missing_device_loads_in_silence_and_refuses_to_fit():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = pickle.loads(pickle.dumps(EuclideanScore(device=ELSEWHERE)))
    with pytest.raises(ValueError, match=f"device='{ELSEWHERE}'"):
        loaded.fit(LOGITS)
