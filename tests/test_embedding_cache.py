"""The cache of TorchEmbedder; the ids in the comments are the fault cases that a test holds."""

import copy
import os
import pickle
import threading
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.utils.estimator_checks import check_estimator
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from sklearn_seapig import TorchEmbedder

CALLS = Counter()


class Net(nn.Module):
    """Counts its calls outside of itself, where no fingerprint sees them."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
        self.head = nn.Linear(3, 2)
        self.register_buffer("scale", torch.ones(()), persistent=False)
        CALLS[id(self)] = 0

    @property
    def calls(self):
        return CALLS[id(self)]

    def embed(self, x):
        CALLS[id(self)] += 1
        return self.body(x) * self.scale

    def forward(self, x):
        return self.head(self.embed(x))


class Rows(Dataset):
    def __init__(self, X, noise=0.0):
        self.X = torch.as_tensor(X)
        self.noise = noise

    def __len__(self):
        return len(self.X)

    def __getitem__(self, i):
        return self.X[i] + self.noise * torch.rand(4)


class Stream(IterableDataset):
    def __init__(self, X):
        self.rows = iter(X)

    def __iter__(self):
        return self.rows


class ExtraState(nn.Linear):
    def get_extra_state(self):
        return self.extra


@pytest.fixture
def X():
    return np.random.default_rng(0).normal(size=(23, 4)).astype(np.float32)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net()


@pytest.fixture(autouse=True)
def no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "X is a DataLoader that shuffles")
        yield


def files(folder):
    return sorted(Path(folder).iterdir())


def spends_calls(net, embedder, X):
    before = net.calls
    rows = embedder.transform(X)
    fresh = clone(embedder).set_params(module=copy.deepcopy(net), cache=None).transform(X)
    np.testing.assert_array_equal(rows, fresh)
    assert rows.dtype == fresh.dtype
    return net.calls > before


@pytest.mark.parametrize(
    "make",
    [
        lambda X: X,
        torch.as_tensor,
        pd.DataFrame,
        np.ndarray.tolist,
        Rows,
        lambda X: TensorDataset(torch.as_tensor(X), torch.zeros(len(X))),
        lambda X: DataLoader(Rows(X), batch_size=4),
        lambda X: DataLoader(Rows(X[:, None]), batch_size=None),  # items that are batches
        lambda X: DataLoader(Rows(X), sampler=[3, 1, 2]),
    ],
)
@pytest.mark.parametrize("kind", [str, Path])  # SP-CA-07
def test_a_second_call_does_not_run_the_module(net, X, tmp_path, make, kind):
    folder = tmp_path / "made" / "here"
    embedder = TorchEmbedder(net, batch_size=5, cache=kind(folder))
    first = embedder.fit_transform(make(X))
    calls = net.calls
    second = TorchEmbedder(net, batch_size=5, cache=kind(folder)).transform(make(X))
    assert net.calls == calls
    np.testing.assert_array_equal(second, first)
    assert second.dtype == first.dtype
    second[0] = 0  # an array of its own, as without the cache
    assert len(files(folder)) == 1


def test_whatever_matters_is_computed_anew(net, X, tmp_path):
    def spends(X, **params):
        return spends_calls(net, TorchEmbedder(net, cache=tmp_path, **params), X)

    assert spends(X)
    assert not spends(X)
    assert spends(X, method="forward")
    assert spends(X, layer="head")
    assert spends(X, layer="body.0")
    assert not spends(X, layer="body.0", method="forward")  # which is not used
    assert spends(X[::-1])
    assert spends(X[:-1])
    assert spends(X.astype(np.float64))
    assert spends(X, batch_size=5)  # changes the last bits
    changed = X.copy()
    changed[-1, -1] = np.nextafter(changed[-1, -1], np.float32(9))
    assert spends(changed)
    with torch.no_grad():
        net.head.bias[0] += 1
    assert spends(X)
    net.scale.fill_(2)
    assert spends(X)
    net.double()
    assert spends(X)
    net.body[1] = nn.LeakyReLU(0.5)  # no parameters, but another class
    assert spends(X)
    net.body[1] = nn.LeakyReLU(0.25)
    assert spends(X)
    assert not spends(X)


def test_autocast_is_part_of_the_fingerprint(net, X, tmp_path):
    embedder = TorchEmbedder(net, cache=tmp_path)
    plain = embedder.transform(X)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert spends_calls(net, embedder, X)
        assert not spends_calls(net, embedder, X)
    np.testing.assert_array_equal(embedder.transform(X), plain)


def test_a_loader_of_another_length_gives_its_own_rows(net, X, tmp_path):  # SP-CA-02, SP-LG-22
    embedder = TorchEmbedder(net, cache=tmp_path)
    for rows in (X, X[:20], X[:7], X):
        assert len(embedder.transform(DataLoader(Rows(rows), batch_size=5))) == len(rows)
    assert len(files(tmp_path)) == 3


@pytest.mark.parametrize("damage", ["empty", "short", "cut", "header", "row", "digest", "longer"])
def test_a_damaged_file_is_computed_again(net, X, tmp_path, damage):  # SP-CA-06
    embedder = TorchEmbedder(net, cache=tmp_path)
    expected = embedder.transform(X)
    (path,) = files(tmp_path)
    sound = path.read_bytes()
    data = bytearray(sound)
    if damage in ("empty", "short", "cut"):
        data = data[: {"empty": 0, "short": 10, "cut": -40}[damage]]
    elif damage == "longer":
        data += b"0"
    else:
        data[{"header": 30, "row": 200, "digest": -1}[damage]] ^= 1
    path.write_bytes(data)
    with pytest.warns(UserWarning, match=f"{path.name}.*corrupted") as record:
        result = embedder.transform(X)
    assert record[0].filename == __file__
    np.testing.assert_array_equal(result, expected)
    assert path.read_bytes() == sound
    calls = net.calls
    embedder.transform(X)
    assert net.calls == calls


def test_a_file_under_the_name_of_another_is_noticed(net, X, tmp_path):
    embedder = TorchEmbedder(net, cache=tmp_path)
    embedder.transform(X)
    (path,) = files(tmp_path)
    other = X + 1
    expected = embedder.transform(other)
    (second,) = set(files(tmp_path)) - {path}
    second.write_bytes(path.read_bytes())
    with pytest.warns(UserWarning, match="corrupted"):
        np.testing.assert_array_equal(embedder.transform(other), expected)


def test_nothing_is_pickled_or_unpickled(net, X, tmp_path, monkeypatch):  # SP-PS-12
    for home in (pickle, torch):
        for name in ("load", "dump"):
            monkeypatch.setattr(home, name, None, raising=False)
    embedder = TorchEmbedder(net, cache=tmp_path)
    expected = embedder.transform(X)
    np.testing.assert_array_equal(embedder.transform(X), expected)
    (path,) = files(tmp_path)
    np.testing.assert_array_equal(np.load(path, allow_pickle=False), expected)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("where", ["module", "write", "replace"])
def test_an_interruption_leaves_no_file(net, X, tmp_path, monkeypatch, error, where):
    def fail(*_, **__):
        raise error("stop")

    embedder = TorchEmbedder(net, batch_size=5, cache=tmp_path)
    home, name = {
        "module": (Net, "embed"),
        "write": (np.lib.format, "write_array"),
        "replace": (os, "replace"),
    }[where]
    with monkeypatch.context() as patch:
        patch.setattr(home, name, fail)
        with pytest.raises(error, match="stop"):
            embedder.transform(X)
    assert files(tmp_path) == []
    assert spends_calls(net, embedder, X)


def test_a_full_disk_costs_the_file_and_not_the_result(net, X, tmp_path, monkeypatch):
    def full(*_):
        raise OSError("No space left")

    monkeypatch.setattr(os, "replace", full)
    with pytest.warns(UserWarning, match=r"could not be written.*No space left"):
        assert TorchEmbedder(net, cache=tmp_path).transform(X).shape == (23, 3)
    assert files(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_named(net, X, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ValueError, match="cache="):
            TorchEmbedder(net, cache=path).transform(X)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ValueError, match=r"cache=.*written"):
        TorchEmbedder(net, cache=tmp_path).transform(X)
    assert net.calls == 0


@pytest.mark.parametrize(
    "make",
    [
        lambda X: Stream(torch.as_tensor(X)),
        lambda X: DataLoader(Stream(torch.as_tensor(X)), batch_size=5),
        lambda X: DataLoader(Rows(X), batch_sampler=iter([[0, 1], [2]])),
        lambda X: DataLoader(Rows(X), shuffle=True),
    ],
)
def test_what_cannot_be_read_twice_is_not_kept(net, X, tmp_path, make):
    with pytest.warns(UserWarning, match="not kept"):
        rows = TorchEmbedder(net, cache=tmp_path).fit_transform(make(X))
    assert len(rows) in (3, 23)  # no row is lost to a first pass
    assert files(tmp_path) == []


def test_random_data_are_not_kept(net, X, tmp_path):
    with pytest.warns(UserWarning, match="changed between two passes"):
        TorchEmbedder(net, cache=tmp_path).transform(Rows(X, noise=1.0))
    assert files(tmp_path) == []


class Restless(Net):
    def embed(self, x):
        self.scale = self.scale + 1
        return super().embed(x)


def test_a_module_that_changes_itself_is_not_kept(X, tmp_path):
    with pytest.warns(UserWarning, match="changed between two passes"):
        TorchEmbedder(Restless(), method="forward", cache=tmp_path).transform(X)
    assert files(tmp_path) == []


def test_extra_state_is_part_of_the_fingerprint_where_it_has_one(X, tmp_path):
    linear = ExtraState(4, 2)
    embedder = TorchEmbedder(linear, method="forward", cache=tmp_path)
    for n, extra in enumerate(({"a": [1, None]}, {"a": [1, "None"]}, {"a": (1, b"x")}), start=1):
        linear.extra = extra
        embedder.transform(X)
        assert len(files(tmp_path)) == n
    linear.extra = object()
    with pytest.warns(UserWarning, match=r"not kept.*holds a object"):
        embedder.transform(X)


def test_a_callable_input_key_is_seen_by_what_it_picks(net, X, tmp_path):
    data = TensorDataset(torch.as_tensor(X), torch.as_tensor(X) + 1)
    for key in (lambda b: b[0], lambda b: b[1], 1):
        TorchEmbedder(net, input_key=key, cache=tmp_path).transform(data)
    assert len(files(tmp_path)) == 2


def test_output_is_written_from_the_cache_too(net, X, tmp_path):
    output = tmp_path / "rows.npy"
    embedder = TorchEmbedder(net, output=output, cache=tmp_path / "cache")
    first = np.array(embedder.transform(X))
    output.unlink()
    calls = net.calls
    second = embedder.transform(X)
    assert net.calls == calls
    assert isinstance(second, np.memmap)
    np.testing.assert_array_equal(second, first)
    np.testing.assert_array_equal(np.load(output), first)


def test_the_errors_are_those_without_the_cache(net, X, tmp_path):
    bad = X.copy()[:, None]
    bad[3] = np.nan
    embedder = TorchEmbedder(net, cache=tmp_path)
    for _ in range(2):
        with pytest.raises(ValueError, match="row 3"):
            embedder.transform(bad)
    with pytest.raises(ValueError, match="layer='nowhere'"):
        TorchEmbedder(net, layer="nowhere", cache=tmp_path).transform(X)
    with pytest.raises(ValueError, match="without values"):
        TorchEmbedder(nn.LazyLinear(2), method="forward", cache=tmp_path).transform(X)
    TorchEmbedder(net, layer="head", cache=tmp_path).transform(X)
    embedder.fit(X).set_params(layer="head")
    with pytest.raises(ValueError, match="expected 3"):
        embedder.transform(X)  # found in the cache, of a width that fit did not see


def test_threads_may_write_and_read_the_same_file(net, X, tmp_path):
    expected = TorchEmbedder(net).transform(X)
    failures = []

    def work():
        try:
            for _ in range(20):
                rows = TorchEmbedder(net, cache=tmp_path).transform(X)
                np.testing.assert_array_equal(rows, expected)
                for path in tmp_path.glob("*.npy"):
                    path.unlink(missing_ok=True)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert not [path for path in files(tmp_path) if path.suffix != ".npy"]


def test_clones_and_pickles_keep_the_parameter(net, X, tmp_path):
    embedder = TorchEmbedder(net, cache=tmp_path).fit(X)
    assert clone(embedder).cache == embedder.cache
    assert pickle.loads(pickle.dumps(embedder)).cache == tmp_path
    assert files(tmp_path) == []  # fit alone reads one batch and keeps nothing
    with pytest.raises(ValueError, match="'cache' parameter"):
        TorchEmbedder(net, cache=1).transform(X)


def test_every_estimator_check_passes(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_estimator(TorchEmbedder(nn.Identity(), method="forward", cache=str(tmp_path)))


class Attention(nn.Module):
    """Two of these with the same weights differ in what neither repr nor state_dict shows."""

    def __init__(self, heads):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, heads, batch_first=True)

    def embed(self, x):
        return self.attention(x[:, None], x[:, None].roll(1, 0), x[:, None])[0][:, 0]


def test_settings_that_repr_and_state_dict_leave_out_are_seen(X, tmp_path):
    one, four = Attention(1), Attention(4)
    four.load_state_dict(one.state_dict())
    assert repr(one) == repr(four)
    for module in (one, four):
        TorchEmbedder(module, cache=tmp_path).transform(X)
    assert len(list(tmp_path.iterdir())) == 2


class Unusual(nn.Module):
    """Keeps a layer in a plain list and a tensor in a plain attribute, and names no state."""

    def __init__(self):
        super().__init__()
        self.frozen = [nn.Linear(4, 3)]
        self.shift = torch.ones(3)
        self.layer = nn.Linear(3, 2)
        self.activation = torch.relu

    def state_dict(self, *args, **kwargs):
        return {}

    def embed(self, x):
        return self.layer(self.activation(self.frozen[0](x) + self.shift))


@pytest.mark.parametrize("part", ["frozen", "shift", "layer", "activation"])
def test_what_no_state_dict_holds_is_seen(part, X, tmp_path):
    module = Unusual()
    embedder = TorchEmbedder(module, cache=tmp_path)
    before = embedder.transform(X)
    with torch.no_grad():
        if part == "frozen":
            module.frozen[0].weight.mul_(3)
        elif part == "shift":
            module.shift += 2
        elif part == "layer":
            module.layer.weight.mul_(3)
        else:
            module.activation = torch.tanh
    after = embedder.transform(X)
    np.testing.assert_array_equal(after, TorchEmbedder(module).transform(X))
    assert not np.array_equal(after, before)


def test_hooks_and_objects_without_bytes_are_not_cached(net, X, tmp_path):
    net.config = object()
    with pytest.warns(UserWarning, match="holds a object, which has no fingerprint"):
        TorchEmbedder(net, cache=tmp_path).transform(X)
    del net.config
    net.body.register_forward_hook(lambda module, args, output: output + 1)
    with pytest.warns(UserWarning, match="the module has hooks"):
        TorchEmbedder(net, cache=tmp_path).transform(X)
    assert not list(tmp_path.iterdir())


def test_an_empty_folder_name_is_refused(net, X):
    with pytest.raises(ValueError, match="cache=''"):
        TorchEmbedder(net, cache="").transform(X)
