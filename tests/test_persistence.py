"""A fitted SelectiveClassifier comes back as it was; the ids are fault cases of a test."""

import copy
import os
import pickle
import subprocess
import sys

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.ensemble import IsolationForest
from sklearn.frozen import FrozenEstimator
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_seapig import (
    CosineScore,
    EuclideanScore,
    MahalanobisScore,
    QuantileThreshold,
    RandomScore,
    SelectiveClassifier,
)

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


READER = """
import sys, joblib, numpy as np
from pathlib import Path
folder = Path(sys.argv[1])
rows = np.load(folder / "rows.npy")
for path in sorted(folder.glob("*.joblib")):
    model = joblib.load(path)
    selection = model.select(rows)
    np.savez(
        path.with_suffix(".npz"), labels=model.predict(rows), score=selection.score,
        selected=selection.selected, threshold=model.threshold_,
    )
"""


def test_another_process_reads_what_this_one_wrote(tmp_path):  # SP-TK-16, SP-PS-06
    np.save(tmp_path / "rows.npy", FAR)
    fitted = {name: clone(model).fit(X, NAMES) for name, model in MODELS.items()}
    for name, model in fitted.items():
        joblib.dump(model, tmp_path / f"{name}.joblib")
    subprocess.run(
        [sys.executable, "-c", READER, str(tmp_path)],
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    for name, model in fitted.items():
        found = np.load(tmp_path / f"{name}.npz")
        selection = model.select(FAR)
        np.testing.assert_array_equal(found["labels"], model.predict(FAR))
        np.testing.assert_array_equal(found["score"], selection.score)
        np.testing.assert_array_equal(found["selected"], selection.selected)
        assert found["threshold"] == model.threshold_


@pytest.mark.parametrize("name", ["softmax", "euclidean", "mahalanobis", "pipeline", "frozen"])
def test_skops(name, tmp_path):  # SP-PS-08, SEC-09, SP-TK-16
    skops = pytest.importorskip("skops.io")
    model = clone(MODELS[name]).fit(X, NAMES)
    data = skops.dumps(model)
    unknown = skops.get_untrusted_types(data=data)
    assert all(kind.startswith("sklearn_seapig.") for kind in unknown)
    assert_equal(model, skops.loads(data, trusted=unknown))


def test_a_dump_of_another_version_is_warned_of():
    model = clone(MODELS["softmax"]).fit(X, NAMES)
    state = model.__getstate__()
    state["_sklearn_seapig_version"] = "0.0.1"
    with pytest.warns(UserWarning, match=r"SelectiveClassifier was saved with .* 0\.0\.1"):
        SelectiveClassifier(None).__setstate__(state)
