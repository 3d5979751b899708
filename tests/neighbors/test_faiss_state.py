"""States of approximate searches that anyone may have written: none reaches faiss unchecked."""

import pickle
from importlib import import_module

import numpy as np
import pytest
import torch

from sklearn_seapig import EuclideanScore, load, save
from sklearn_seapig.neighbors import find_backend

faiss = pytest.importorskip("faiss")
_faiss = import_module("sklearn_seapig.neighbors._faiss")

NAMES = ["hnsw", "ivf"]


def rows(n, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 12))


def backend(name, X):
    return find_backend(name)().add(X)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", [1, 1e-25])
def test_the_index_built_again_proposes_what_the_one_of_faiss_does(name, scale):
    X, Q = scale * rows(3000), scale * rows(200, seed=1)
    made = backend(name, X)
    queries, data = made._centered(Q), made._centered(X)
    again = find_backend(name).from_state(pickle.loads(pickle.dumps(made.state())))
    with _faiss._one_thread():
        if name == "hnsw":
            index = faiss.IndexHNSWFlat(12, _faiss.LINKS)
            index.hnsw.efConstruction = _faiss.BUILD_WIDTH
            index.add(data)
        else:
            index = faiss.index_factory(12, f"IVF{made._n_lists()},Flat")
            index.train(data[:: max(1, 3000 // (made._n_lists() * _faiss.TRAIN_ROWS))])
            index.add(data)
            index.nprobe = _faiss._lists_read(index.nlist)
        expected = made._candidates(index, queries, 20)
    np.testing.assert_array_equal(again._candidates(again.live_index(), queries, 20), expected)


@pytest.mark.parametrize("name", NAMES)
def test_the_index_in_use_goes_with_its_state(name):
    # SP-CC-06: and using it leaves no trace in the score.
    fitted = EuclideanScore(algorithm=name).fit(rows(300))
    before = pickle.dumps(fitted)
    fitted.score_samples(rows(10, seed=1))
    assert pickle.dumps(fitted) == before
    key = id(fitted._index_[{"hnsw": "neighbors", "ivf": "means"}[name]])
    assert key in _faiss._live_indexes._indexes
    del fitted
    assert key not in _faiss._live_indexes._indexes


def changed(array, at, value):
    array = array.copy()
    array[at] = value
    return array


def upper_link_to_a_row_of_one_level(state):
    """Return neighbors of which the first above the lowest level leads to a row not there."""
    row = np.flatnonzero(state["levels"] > 1)[0]
    start = 2 * _faiss.LINKS * (row + 1)  # the rows before it are on one level only
    return changed(state["neighbors"], start, np.flatnonzero(state["levels"] == 1)[0])


FORGED = {
    "hnsw": {
        "neighbor past the rows": lambda s: {"neighbors": changed(s["neighbors"], 7, 600)},
        "neighbor below -1": lambda s: {"neighbors": changed(s["neighbors"], 7, -2)},
        "neighbor not on its level": lambda s: {"neighbors": upper_link_to_a_row_of_one_level(s)},
        "few neighbors": lambda s: {"neighbors": s["neighbors"][:-1].copy()},
        "wide neighbors": lambda s: {"neighbors": s["neighbors"].astype(np.int64)},
        "no neighbors": lambda s: {"neighbors": None},
        "few levels": lambda s: {"levels": s["levels"][:-1].copy()},
        "level 0": lambda s: {"levels": changed(s["levels"], 3, 0)},
        "high level": lambda s: {"levels": changed(s["levels"], 3, 10**6)},
        "one level more": lambda s: {"levels": s["levels"] + np.int32(1)},
        "huge entry": lambda s: {"entry": 10**18},
        "negative entry": lambda s: {"entry": -1},
        "low entry": lambda s: {"entry": int(np.argmin(s["levels"]))},
        "entry of text": lambda s: {"entry": "0"},
    },
    "ivf": {
        "list past the last": lambda s: {"list": changed(s["list"], 3, len(s["means"]))},
        "negative list": lambda s: {"list": changed(s["list"], 3, -1)},
        "few rows in lists": lambda s: {"list": s["list"][:-1].copy()},
        "wide lists": lambda s: {"list": s["list"].astype(np.int64)},
        "nan in means": lambda s: {"means": changed(s["means"], (2, 3), np.nan)},
        "few means": lambda s: {"means": s["means"][:-1].copy()},
        "narrow means": lambda s: {"means": s["means"][:, 1:].copy()},
        "flat means": lambda s: {"means": s["means"].ravel()},
        "no means": lambda s: {"means": None},
    },
}
FORGED_ANY = {
    "rows of nan": lambda s: {"X": changed(s["X"], (4, 4), np.nan)},
    "few rows": lambda s: {"X": s["X"][:500]},
    "no rows": lambda s: {"X": s["X"][:0]},
    "unit 0": lambda s: {"unit": 0.0},
    "unit nan": lambda s: {"unit": np.nan},
    "no unit": lambda s: {"unit": None},
    "center of many rows": lambda s: {"center": np.zeros((3, 600, 12))},
}


@pytest.mark.parametrize(
    ("name", "forge"),
    [
        pytest.param(name, forge, id=f"{name}-{what}")
        for name in NAMES
        for what, forge in {**FORGED[name], **FORGED_ANY}.items()
    ],
)
def test_a_forged_state_is_refused_before_faiss_walks_it(name, forge):
    state = pickle.loads(pickle.dumps(backend(name, rows(600)).state()))
    restore = find_backend(name).from_state
    query = torch.from_numpy(rows(3, seed=1))
    assert np.isfinite(restore(state).search(query, 1)[0]).all()
    state = pickle.loads(pickle.dumps(state))  # the index above is kept by its arrays
    with pytest.raises(ValueError, match=rf"The {name} index is corrupted: .*; fit again\.$"):
        restore({**state, **forge(state)}).search(query, 1)


@pytest.mark.parametrize("name", NAMES)
def test_bytes_of_faiss_in_a_state_are_never_read(name, monkeypatch):
    state = backend(name, rows(200)).state()
    old = {key: state[key] for key in ("X", "scale", "center", "unit")}
    monkeypatch.setattr(faiss, "deserialize_index", None)
    with pytest.raises(ValueError, match=f"The {name} index is corrupted"):
        find_backend(name).from_state({**old, "index": np.zeros(9, np.uint8)}).search(
            torch.zeros(1, 12), 1
        )


@pytest.mark.parametrize(("name", "array"), [("hnsw", "neighbors"), ("ivf", "list")])
def test_a_forged_file_loads_and_is_refused_when_it_is_used(name, array, tmp_path):
    # SEC-08: what `load` trusts by itself is arrays, and arrays are all that a state has.
    pytest.importorskip("skops")
    fitted = EuclideanScore(algorithm=name).fit(rows(600))
    fitted._index_[array] = changed(fitted._index_[array], 5, 10**9)
    save(fitted, tmp_path / "forged.skops")
    loaded = load(tmp_path / "forged.skops")
    with pytest.raises(ValueError, match=f"The {name} index is corrupted: .*; fit again"):
        loaded.score_samples(rows(3, seed=1))
