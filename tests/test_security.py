"""Loading runs no code of a file; the ids are fault cases of a test."""

import ast
import importlib
import io
import json
import os
import pickle
import sys
from pathlib import Path
from zipfile import ZipFile

import joblib
import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import LocalOutlierFactor
from sklearn.preprocessing import FunctionTransformer

import sklearn_seapig
from sklearn_seapig import BaseScore, EuclideanScore, PCAScore, SelectiveClassifier, load, save

pytest.importorskip("skops")

X, Y = load_iris(return_X_y=True)

# A module that leaves a file behind when it is imported, and when its class is restored.
EVIL = """
from pathlib import Path
Path({mark!r} + ".imported").touch()

class Payload:
    def __init__(self):
        self.text = "hello"
    def __setstate__(self, state):
        Path({mark!r} + ".restored").touch()
    def __reduce__(self):
        return {how}
"""


def victims():
    yield "score", EuclideanScore().fit(X)  # SEC-01
    yield "scikit-learn", LocalOutlierFactor(novelty=True).fit(X)  # SEC-02, SEC-06
    yield "classifier", SelectiveClassifier(LogisticRegression(max_iter=500)).fit(X, Y)  # SEC-04
    try:
        from sklearn_seapig import PyODScore
    except ImportError:
        return
    yield "pyod", PyODScore().fit(X)  # SEC-03


VICTIMS = dict(victims())


@pytest.fixture(params=VICTIMS)
def victim(request):
    return pickle.loads(pickle.dumps(VICTIMS[request.param]))


@pytest.fixture
def plant(tmp_path, monkeypatch):
    """Return a function that puts a payload in an attribute, and one that lists what it did."""
    monkeypatch.syspath_prepend(tmp_path)
    mark = tmp_path / "mark"
    marks = lambda: sorted(path.suffix for path in tmp_path.glob("mark.*"))  # noqa: E731

    def put(estimator, how, write):
        (tmp_path / "evil.py").write_text(EVIL.format(mark=str(mark), how=how))
        importlib.invalidate_caches()
        estimator.extra_ = importlib.import_module("evil").Payload()
        write(estimator)
        del sys.modules["evil"]
        for path in tmp_path.glob("mark.*"):
            path.unlink()

    yield put, marks
    sys.modules.pop("evil", None)


TOUCH = "(Path.touch, (Path({mark!r} + '.executed'),))"


@pytest.mark.parametrize("compress", [0, 3, "gzip", "bz2", "xz", "lzma"])
def test_a_poisoned_pickle_is_refused_unread(victim, plant, tmp_path, compress):
    # SEC-01 to SEC-05
    put, marks = plant
    path = tmp_path / "model.joblib"
    how = TOUCH.replace("{mark!r}", repr(str(tmp_path / "mark")))
    put(victim, how, lambda estimator: joblib.dump(estimator, path, compress=compress))
    with pytest.raises(ValueError, match=r"model\.joblib looks like a pickle.*trust"):
        load(path)
    assert marks() == []
    if not compress:  # the payload is a live one
        joblib.load(path)
        assert marks() == [".executed"]


def test_a_poisoned_file_is_refused_before_anything_runs(victim, plant, tmp_path):
    # SEC-01 to SEC-06
    put, marks = plant
    path = tmp_path / "model.skops"
    put(victim, "super().__reduce__()", lambda estimator: save(estimator, path))
    with pytest.raises(TypeError, match=r"not trusted: evil\.Payload.*Nothing was loaded") as error:
        load(path)
    assert "trusted=['evil.Payload'" in str(error.value)
    assert marks() == []  # not even imported
    load(path, trusted=["evil.Payload", *KNEIGHBORS])
    assert marks() == [".imported", ".restored"]  # the payload is a live one


KNEIGHBORS = [
    "pyod.models.knn.KNN",
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.neighbors._kd_tree.KDTree",
]


def forge(path, estimator, change):
    """Save an estimator, then change the root of the schema of the file."""
    save(estimator, path)
    with ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    schema = json.loads(members["schema.json"])
    change(schema)
    members["schema.json"] = json.dumps(schema).encode()
    with ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


OURS_BUT_NOT_TRUSTED = [
    ("sklearn_seapig.persistence", "save"),
    ("sklearn_seapig.persistence", "load"),
    ("sklearn_seapig", "save"),
    ("sklearn_seapig", "EuclideanScore"),  # where it is not defined
    ("sklearn_seapig.persistence", "BaseEstimator"),
    ("sklearn_seapig.base", "np.load"),
    ("sklearn_seapig.persistence", "os"),
    ("sklearn_seapig._state", "blank_twin"),
    ("sklearn_seapig.scores.neighbors.EuclideanScore", "fit"),
    ("sklearn_seapig_evil", "EuclideanScore"),
    ("os", "system"),
]


@pytest.mark.parametrize("loader", ["ObjectNode", "FunctionNode", "TypeNode"])
@pytest.mark.parametrize(("module", "name"), OURS_BUT_NOT_TRUSTED)
def test_nothing_in_our_modules_is_trusted_but_public_estimators(module, name, loader, tmp_path):
    path = tmp_path / "forged.skops"

    def change(schema):
        schema.update({"__module__": module, "__class__": name, "__loader__": loader})

    forge(path, EuclideanScore(), change)
    with pytest.raises(TypeError, match="not trusted") as error:
        load(path)
    assert f"{module}.{name}" in str(error.value)


@pytest.mark.parametrize("length", [10**14, 10**30])
def test_an_array_that_claims_to_be_huge_is_damage(length, tmp_path):
    path = tmp_path / "forged.skops"
    save(EuclideanScore().fit(X), path)
    with ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    header = io.BytesIO()
    claim = {"descr": "<f8", "fortran_order": False, "shape": (length,)}
    np.lib.format.write_array_header_1_0(header, claim)
    name = next(name for name in members if name.endswith(".npy"))
    members[name] = header.getvalue()
    with ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    with pytest.raises(ValueError, match=r"forged\.skops .*is corrupted"):
        load(path)


@pytest.mark.parametrize("trusted", [False, True])
def test_refusals_repeat_no_control_characters_of_a_file(trusted, tmp_path):
    path, name = tmp_path / "forged.skops", "Evil\x1b[2J\nall is\u202e fine"
    forge(path, EuclideanScore(), lambda schema: schema.update({"__class__": name}))
    names = [f"{EuclideanScore.__module__}.{name}"] if trusted else []
    with pytest.raises((TypeError, ValueError)) as error:
        load(path, trusted=names)
    assert "Evil" in str(error.value)
    assert str(error.value).isprintable()


def test_a_forged_call_of_ours_is_not_made(tmp_path):
    """skops can call a type with arguments of the file: `save` would write where the file says."""
    path, target = tmp_path / "forged.skops", tmp_path / "written"

    def change(schema):
        text = {"__class__": "str", "__module__": "builtins", "__loader__": "JsonNode"}
        arguments = [{**text, "content": json.dumps(str(target)), "is_json": True}] * 2
        content = {"__class__": "tuple", "__module__": "builtins", "__loader__": "TupleNode"}
        schema["content"] = {**content, "content": arguments}
        schema["__loader__"] = "ConstructorFromReduceNode"
        schema["__module__"], schema["__class__"] = "sklearn_seapig.persistence", "save"

    forge(path, EuclideanScore(), change)
    with pytest.raises(TypeError, match=r"not trusted: sklearn_seapig\.persistence\.save"):
        load(path)
    assert not target.exists()


def test_functions_are_not_trusted(tmp_path):
    path = tmp_path / "function.skops"
    save(FunctionTransformer(os.system), path)
    with pytest.raises(TypeError, match=rf"not trusted: {os.system.__module__}\.system"):
        load(path)
    save(FunctionTransformer(np.log1p), path)  # a ufunc of numpy computes and no more
    assert load(path).func is np.log1p


class Own(BaseScore):
    """A score that the package does not know."""

    def _score(self, Z):
        return -Z.norm(dim=1)


def test_a_score_of_ones_own_is_loaded_when_it_is_named(tmp_path):
    path = tmp_path / "own.skops"
    score = Own().fit(X)
    save(score, path)
    name = f"{Own.__module__}.Own"
    with pytest.raises(TypeError, match="not trusted") as error:
        load(path)
    assert name in str(error.value)
    for trusted in ([Own], [name], {name}, (Own, "and.another")):
        np.testing.assert_array_equal(
            load(path, trusted=trusted).score_samples(X), score.score_samples(X)
        )


@pytest.mark.parametrize("trusted", [True, False, None, "tests.Own", 1, [1], [None]])
def test_trust_is_a_list_of_names_and_never_all(trusted, tmp_path):
    path = tmp_path / "score.skops"
    save(EuclideanScore(), path)
    with pytest.raises(TypeError, match="trusted must be a list of types or of their names"):
        load(path, trusted=trusted)


def test_trees_are_left_to_the_user(tmp_path):  # SEC-02, SEC-07
    path = tmp_path / "lof.skops"
    lof = VICTIMS["scikit-learn"]
    save(lof, path)
    with pytest.raises(TypeError, match=r"not trusted: .*_kd_tree\.KDTree"):
        load(path)
    loaded = load(path, trusted=KNEIGHBORS[1:])
    np.testing.assert_array_equal(loaded.score_samples(X), lof.score_samples(X))


def test_names_in_an_estimator_make_no_paths(tmp_path):  # SP-PS-13
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    model = SelectiveClassifier(LogisticRegression(max_iter=500), reject_label="../../x")
    model.fit(X, np.array(["..", "/", "../x"])[Y])
    model.feature_names_in_ = np.array(["../../name"] * 4, dtype=object)
    save(model, inside / "model.skops")
    loaded = load(inside / "model.skops")
    assert loaded.reject_label_ == "../../x"
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["model.skops"]


PACKAGE = Path(sklearn_seapig.__file__).parent
RUNS_CODE = {"eval", "exec", "compile", "__import__"}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.stem)
def test_the_package_unpickles_no_file(path):  # SP-PS-12
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names]
            modules = names if isinstance(node, ast.Import) else [node.module or ""]
            assert not {"pickle", "joblib", "dill", "marshal", "shelve"} & {*modules, *names}
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name):
            assert node.func.id not in RUNS_CODE
        elif isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
            called = f"{node.func.value.id}.{node.func.attr}"
            options = {option.arg: option.value for option in node.keywords}
            assert called != "torch.load"
            if called in ("np.load", "np.lib.format.read_array"):
                assert "allow_pickle" not in options or options["allow_pickle"].value is False


def test_poison_in_the_parameters_of_a_part_is_found(plant, tmp_path):
    put, marks = plant
    path = tmp_path / "model.skops"
    score = PCAScore().fit(X)
    put(score, "super().__reduce__()", lambda estimator: save(estimator, path))
    with pytest.raises(TypeError, match=r"evil\.Payload"):
        load(path, trusted=["evil.Other", "evil"])
    assert marks() == []
