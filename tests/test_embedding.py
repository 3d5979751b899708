"""TorchEmbedder; the ids in the comments are the fault cases that a test holds."""

import collections
import copy
import gc
import multiprocessing
import os
import pickle
import threading
import warnings
import weakref

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn.utils.estimator_checks as checks
import torch
from scipy.sparse import csr_array, dok_array
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from sklearn_seapig import TorchEmbedder
from sklearn_seapig._extraction import move

Pair = collections.namedtuple("Pair", ["image", "label"])


class Net(nn.Module):
    """A body with BatchNorm, Dropout and an in-place activation, and a head."""

    def __init__(self, n_in=4, width=3):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(n_in, width), nn.BatchNorm1d(width), nn.ReLU(inplace=True), nn.Dropout(0.5)
        )
        self.head = nn.Linear(width, 2)
        self.seen = []

    def embed(self, images):  # SP-LD-11: not called x
        self.seen.append((images.dtype, len(images), self.training))
        return self.body(images)

    def logits(self, *args):
        return self.head(self.body(*args))

    def forward(self, inputs):
        return self.logits(inputs)


class Lambda(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class CountingCopies(nn.Linear):
    copies = 0

    def __deepcopy__(self, memo):
        type(self).copies += 1
        return type(self)(self.in_features, self.out_features)


class Stream(IterableDataset):
    def __init__(self, X):
        self.X = X

    def __iter__(self):
        return iter(self.X)


class OneShot(Stream):
    def __init__(self, X):
        self.rows = iter(X)

    def __iter__(self):
        return self.rows


class Items(Dataset):
    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


@pytest.fixture
def X():
    return np.random.default_rng(0).normal(size=(23, 4)).astype(np.float32)


@pytest.fixture
def net():
    torch.manual_seed(0)
    net = Net()
    with torch.no_grad():
        net(torch.randn(50, 4))  # statistics that differ from the initial ones
    net.seen.clear()
    return net


@pytest.fixture
def expected(net, X):
    reference = copy.deepcopy(net).eval()
    with torch.no_grad():
        return reference.body(torch.tensor(X)).numpy()


def forward(function, **params):
    return TorchEmbedder(Lambda(function), method="forward", **params)


def assert_close(actual, desired):
    np.testing.assert_allclose(actual, desired, rtol=1e-5, atol=1e-6)


# --- scikit-learn's contract


@parametrize_with_checks([TorchEmbedder(nn.Identity(), method="forward")])
def test_every_estimator_check_passes(estimator, check):
    check(estimator)


@pytest.mark.filterwarnings("ignore:X (has|does not have valid) feature names")
@pytest.mark.parametrize(
    "name",
    [
        "check_dataframe_column_names_consistency",
        "check_inplace_ensure_writeable",
        "check_param_validation",
        "check_set_output_transform",
        "check_set_output_transform_pandas",
        "check_global_output_transform_pandas",
        "check_transformer_get_feature_names_out",
        "check_transformer_get_feature_names_out_pandas",
    ],
)
def test_checks_that_scikit_learn_does_not_yield(name):
    embedder = TorchEmbedder(nn.Identity(), method="forward")
    getattr(checks, name)("TorchEmbedder", embedder)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("module", "net"),
        ("module", Net),
        ("module", None),
        ("method", None),
        ("layer", 3),
        ("batch_size", 0),
        ("batch_size", True),
        ("batch_size", 2.5),
        ("device", 0),
        ("input_key", 1.5),
        ("input_key", -1),
        ("input_key", True),
        ("progress", "yes"),
        ("output", 3),
    ],
)
@pytest.mark.parametrize("call", ["fit", "transform", "fit_transform"])
def test_parameters_out_of_range_are_named(net, X, name, value, call):
    embedder = TorchEmbedder(net).set_params(**{name: value})
    with pytest.raises(ValueError, match=f"The '{name}' parameter of TorchEmbedder") as caught:
        getattr(embedder, call)(X)
    assert isinstance(caught.value, TypeError)  # module of a wrong type is a TypeError too


def test_transform_works_unfitted_and_leaves_the_state_untouched(net, X, expected):
    embedder = TorchEmbedder(net)
    before = dict(vars(embedder))
    assert_close(embedder.transform(X), expected)
    assert_close(embedder.transform(pd.DataFrame(X, columns=list("abcd"))), expected)
    assert vars(embedder) == before
    with pytest.raises(NotFittedError):
        embedder.get_feature_names_out()


def test_unfitted_transform_of_a_data_frame_does_not_warn(net, X):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TorchEmbedder(net).transform(pd.DataFrame(X, columns=list("abcd")))
        TorchEmbedder(net).fit(TensorDataset(torch.tensor(X))).transform(
            pd.DataFrame(X, columns=list("abcd"))
        )


def test_fit_runs_one_batch_and_learns_the_width(net, X):
    embedder = TorchEmbedder(net, batch_size=5).fit(X, np.zeros(len(X)))
    assert [n for _, n, _ in net.seen] == [5]
    assert embedder.n_features_in_ == 4
    assert list(embedder.get_feature_names_out()) == [f"torchembedder{i}" for i in range(3)]
    with pytest.raises(ValueError, match="X has 3 features, but TorchEmbedder is expecting 4"):
        embedder.transform(X[:, :3])


def test_refit_on_a_dataset_forgets_the_columns_of_a_frame(net, X, expected):
    embedder = TorchEmbedder(net).fit(pd.DataFrame(X, columns=list("abcd")))
    assert list(embedder.feature_names_in_) == list("abcd")
    with pytest.raises(ValueError, match="feature names should match"):
        embedder.transform(pd.DataFrame(X, columns=list("abce")))
    embedder.fit(TensorDataset(torch.tensor(X)))
    assert not hasattr(embedder, "feature_names_in_")
    assert not hasattr(embedder, "n_features_in_")
    assert_close(embedder.transform(pd.DataFrame(X, columns=list("abce"))), expected)


def test_another_width_than_fitted_is_refused(net, X):
    embedder = TorchEmbedder(net).fit(X).set_params(layer="head")
    with pytest.raises(ValueError, match=r"2 columns, expected 3 .* call fit again"):
        embedder.transform(X)
    assert embedder.fit_transform(X).shape == (23, 2)


def test_set_output_pandas_through_a_pipeline(net, X):
    frame = pd.DataFrame(X, columns=list("abcd"), index=np.arange(23) + 100)
    pipe = make_pipeline(StandardScaler(), TorchEmbedder(net), KNeighborsClassifier(1))
    pipe.set_output(transform="pandas").fit(frame, np.arange(23) % 2)
    names = [f"torchembedder{i}" for i in range(3)]
    assert list(pipe[-1].feature_names_in_) == names
    out = pipe[:-1].transform(frame)
    assert list(out.columns) == names
    assert list(out.index) == list(frame.index)
    assert clone(pipe[1]).fit_transform(frame).columns.tolist() == names


def test_clone_shares_the_module_and_drops_the_state(net, X):
    embedder = TorchEmbedder(net, batch_size=7, input_key=len).fit(X).set_output(transform="pandas")
    cloned = clone(embedder)
    assert cloned.module is net
    assert cloned.get_params() == embedder.get_params()
    with pytest.raises(NotFittedError):
        cloned.get_feature_names_out()
    assert isinstance(cloned.fit(X).transform(X), pd.DataFrame)


def test_a_search_never_copies_the_module(X):
    CountingCopies.copies = 0
    embedder = TorchEmbedder(CountingCopies(4, 3), method="forward")
    grid = {"torchembedder__batch_size": [3, 8], "logisticregression__C": [0.1, 1.0]}
    search = GridSearchCV(make_pipeline(embedder, LogisticRegression()), grid, cv=2)
    search.fit(X, np.arange(23) % 2)
    assert CountingCopies.copies == 0
    assert search.best_estimator_[0].module is embedder.module


@pytest.mark.parametrize(
    "roundtrip",
    [
        lambda e, path: pickle.loads(pickle.dumps(e)),
        lambda e, path: copy.deepcopy(e),
        lambda e, path: joblib.load(joblib.dump(e, path / "e.joblib")[0]),
    ],
    ids=["pickle", "deepcopy", "joblib"],
)
def test_a_fitted_embedder_survives(roundtrip, net, X, tmp_path):
    embedder = TorchEmbedder(net, layer="body.0").fit(X)
    loaded = roundtrip(embedder, tmp_path)
    np.testing.assert_array_equal(loaded.transform(X), embedder.transform(X))
    assert list(loaded.get_feature_names_out()) == list(embedder.get_feature_names_out())


def test_parallel_workers_agree(net, X, expected):
    embedder = TorchEmbedder(net)
    jobs = (joblib.delayed(embedder.transform)(X) for _ in range(2))
    for result in joblib.Parallel(n_jobs=2, backend="threading")(jobs):
        assert_close(result, expected)


# --- method and layer


@pytest.mark.parametrize(
    ("params", "part"),
    [
        ({}, lambda net, x: net.body(x)),
        ({"method": "logits"}, lambda net, x: net(x)),
        ({"method": "forward"}, lambda net, x: net(x)),
        ({"method": "body"}, lambda net, x: net.body(x)),
        ({"layer": "body.3"}, lambda net, x: net.body(x)),
        ({"layer": "head", "method": "missing"}, lambda net, x: net(x)),
        ({"layer": ""}, lambda net, x: net(x)),
        # Followed by an in-place ReLU: must be copied when it is captured.
        ({"layer": "body.1"}, lambda net, x: net.body[1](net.body[0](x))),
    ],
)
def test_method_and_layer(net, X, params, part):
    result = TorchEmbedder(net, batch_size=5, **params).transform(X)
    reference = copy.deepcopy(net).eval()
    with torch.no_grad():
        assert_close(result, part(reference, torch.tensor(X)).numpy())


def test_forward_is_a_call_so_that_hooks_run(X):
    module = nn.Identity()
    module.register_forward_hook(lambda m, args, out: out + 1)
    result = TorchEmbedder(module, method="forward").transform(X)
    assert_close(result, X + 1)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"method": "encode"}, r"method='encode' .* Net.*\['embed', 'forward', 'logits'\]"),
        ({"method": "seen"}, "method='seen'"),
        ({"layer": "body.9"}, r"layer='body.9' .* Net.*'body', 'body.0'.*'head'"),
    ],
)
def test_a_missing_method_or_layer_is_named_with_what_there_is(net, X, params, message):
    with pytest.raises(ValueError, match=message):
        TorchEmbedder(net, **params).transform(X)


def test_a_module_without_embed_is_told_what_it_has(X):
    with pytest.raises(ValueError, match=r"method='embed' .*\['forward'\], or give .* a layer"):
        TorchEmbedder(nn.Sequential(nn.Linear(4, 2))).transform(X)


class Reuses(nn.Module):
    def __init__(self):
        super().__init__()
        self.twice, self.never = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        return self.twice(self.twice(x))


@pytest.mark.parametrize(("layer", "times"), [("twice", 2), ("never", 0)])
def test_a_layer_must_run_once(X, layer, times):
    module = Reuses()
    with pytest.raises(ValueError, match=f"layer='{layer}' ran {times} times"):
        TorchEmbedder(module, layer=layer).transform(X)
    assert not module.get_submodule(layer)._forward_hooks


def test_a_shared_layer_is_found_by_each_of_its_names(X):
    module = nn.Sequential(nn.Linear(4, 4))
    module.add_module("again", nn.Identity())
    module.add_module("other", module.again)
    with pytest.raises(ValueError, match="layer='other' ran 2 times"):
        TorchEmbedder(module, layer="other").transform(X)


def test_another_thread_that_calls_the_module_is_not_captured(X):
    module = nn.Sequential(nn.Linear(4, 3))

    def embed(x):
        stranger = threading.Thread(target=lambda: module[0](torch.zeros(1, 4)))
        stranger.start()
        stranger.join()
        return module(x)

    outer = Lambda(embed)
    outer.inner = module
    result = TorchEmbedder(outer, layer="inner.0").transform(X)
    with torch.no_grad():
        assert_close(result, module(torch.tensor(X)).numpy())


# --- what the module must give (SP-LD-03, SP-LD-10, SP-TK-17)


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda x: x[:, 0], ValueError, r"shape \(B, D\), got shape \(8,\)"),
        (lambda x: x[:, :, None], ValueError, r"shape \(B, D\), got shape \(8, 4, 1\)"),
        (lambda x: x.sum(), ValueError, r"shape \(B, D\), got shape \(\)"),
        (lambda x: (x, x), TypeError, r"shape \(B, D\), got a tuple of \(Tensor of"),
        (lambda x: {"z": x}, TypeError, r"shape \(B, D\), got a dict with keys \['z'\]"),
        (lambda x: None, TypeError, r"shape \(B, D\), got a NoneType"),
        (lambda x: x.to(torch.complex64), TypeError, r"real tensor or array of shape \(B, D\)"),
        (lambda x: torch.cat([x, x]), ValueError, "16 rows for a batch of 8"),
        (lambda x: x[:3], ValueError, "3 rows for a batch of 8"),
        (lambda x: x[0], ValueError, r"shape \(B, D\)"),
    ],
)
@pytest.mark.parametrize("call", ["fit", "transform"])
def test_outputs_that_are_not_one_row_each_are_refused(X, function, error, message, call):
    with pytest.raises(error, match=message):
        getattr(forward(function, batch_size=8), call)(X)


@pytest.mark.parametrize(
    ("function", "dtype"),
    [
        (lambda x: x.numpy(), np.float32),
        (lambda x: x.double(), np.float64),
        (lambda x: x.half(), np.float32),
        (lambda x: x.bfloat16(), np.float32),
        (lambda x: x.numpy().astype(np.float16), np.float32),
        (lambda x: x.long(), np.float64),
        (lambda x: x > 0, np.float64),
    ],
)
@pytest.mark.parametrize("known", [True, False])
def test_results_are_float32_or_float64(X, function, dtype, known):
    source = X if known else Stream(X)
    result = forward(function, batch_size=8).transform(source)
    assert type(result) is np.ndarray
    assert result.dtype == dtype
    expected = function(torch.tensor(X))
    expected = expected.float().numpy() if isinstance(expected, torch.Tensor) else expected
    assert_close(result, expected)


@pytest.mark.parametrize("known", [True, False])
def test_batches_of_unequal_width_are_refused(X, known):
    ragged = forward(lambda x: x[:, : max(1, len(x) - 4)], batch_size=8)
    with pytest.raises(ValueError, match="3 columns, expected 4"):
        ragged.transform(X if known else Stream(X))


# --- what X may be


def as_kinds(X):
    t = torch.tensor(X)
    y = torch.arange(len(X))
    return {
        "array": X,
        "float64": X.astype(np.float64),
        "fortran": np.asfortranarray(X),
        "strided": np.repeat(X, 2, axis=0)[::2],
        "big_endian": X.astype(">f4"),
        "frame": pd.DataFrame(X),
        "list": X.tolist(),
        "list_of_arrays": list(X),
        "list_of_tensors": list(t),
        "tensor": t,
        "requires_grad": t.clone().requires_grad_(),  # SP-IN-28
        "non_leaf": t.clone().requires_grad_() * 1.0,
        "tensor_dataset": TensorDataset(t),
        "labelled_dataset": TensorDataset(t, y),  # SP-LG-18
        "grad_dataset": TensorDataset(t.clone().requires_grad_(), y),
        "subset": Subset(TensorDataset(t, y), range(len(X))),
        "array_items": Items(list(X)),
        "dict_items": Items([{"x": row, "y": 0} for row in t]),  # SP-TK-03, SP-LD-05
        "pixel_values": Items([{"y": 0, "pixel_values": row} for row in t]),
        "namedtuple": Items([Pair(row, 0) for row in t]),
        "dict_and_label": Items([({"x": row}, 0) for row in t]),
        "stream": Stream(X),
        "loader": DataLoader(TensorDataset(t, y), batch_size=6),
        "loader_of_tensors": DataLoader(t, batch_size=6),
        "loader_of_arrays": DataLoader(Items(list(X)), batch_size=6, collate_fn=np.stack),
        "loader_of_stream": DataLoader(Stream(X), batch_size=6),
        "loader_unbatched": DataLoader(Items([t[:20], t[20:]]), batch_size=None),
        "batch_sampler": DataLoader(t, batch_sampler=[[*range(9)], [*range(9, 23)]]),
        "drop_last_that_drops_none": DataLoader(t, batch_size=23, drop_last=True),
    }


@pytest.mark.parametrize("kind", as_kinds(np.zeros((23, 4), np.float32)))
@pytest.mark.parametrize("call", ["transform", "fit_transform", "fit"])
def test_every_kind_of_input_gives_the_same_rows(net, X, expected, kind, call):
    embedder = TorchEmbedder(net, batch_size=5)
    source = as_kinds(X)[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = getattr(embedder, call)(source)
        if call == "fit":
            result = result.transform(source)
    assert_close(result, expected)
    assert result.shape == (23, 3)
    if call != "transform":
        assert len(embedder.get_feature_names_out()) == 3


def test_the_input_is_not_written_to():
    X = np.array([[-1.0, 2.0]], dtype=np.float32)
    X.flags.writeable = False
    t = torch.tensor([[-1.0, 2.0]])
    embedder = TorchEmbedder(nn.ReLU(inplace=True), method="forward")
    for source in (X, t, TensorDataset(t), DataLoader(Items([t]), batch_size=None)):
        np.testing.assert_array_equal(embedder.transform(source), [[0.0, 2.0]])
    assert X[0, 0] == t[0, 0] == -1.0


@pytest.mark.parametrize(
    "key",
    ["second", 1, lambda batch: batch[1]],
    ids=["field", "position", "callable"],
)
def test_input_key_in_tuples(key):
    rows = torch.randn(9, 2)
    batches = collections.namedtuple("Two", ["first", "second"])
    data = Items([batches(torch.zeros(5), row) for row in rows])
    result = forward(lambda x: x, input_key=key).transform(data)
    assert_close(result, rows.numpy())


def test_input_key_in_dicts_and_a_callable_for_nested_batches(X):
    named = Items([{"x": np.zeros(2), "mine": row} for row in X])
    assert_close(forward(lambda x: x, input_key="mine").transform(named), X)
    nested = Items([((row, row + 1), 0) for row in X])
    second = forward(lambda x: x, input_key=lambda batch: batch[0][1])
    assert_close(second.transform(nested), X + 1)


@pytest.mark.parametrize(
    ("items", "key", "error", "message"),
    [
        # SP-LD-05
        ([((torch.zeros(2), torch.zeros(3)), 0)], None, TypeError, r"list of \(.* of \(Tensor of"),
        ([{"a": torch.zeros(2), "b": 1}], None, ValueError, r"input_key .* keys \['a', 'b'\]"),
        # SP-TK-15
        ([{"a": torch.zeros(2)}], "b", ValueError, r"no key 'b'; .* keys \['a'\]"),
        ([({"a": torch.zeros(2)}, 0)], "b", ValueError, r"no key 'b'; .* keys \['a'\]"),
        ([(torch.zeros(2), 0)], "b", ValueError, "input_key='b' but a batch of X is a list of"),
        ([(torch.zeros(2), 0)], 2, ValueError, "input_key=2 but a batch of X is a list of"),
        ([torch.zeros(2)], "b", ValueError, "input_key='b' but a batch of X is a Tensor"),
        ([{"x": "text"}], None, TypeError, "got a list"),
        ([(torch.zeros(2), 0)], len, TypeError, "got a int from a list of"),
    ],
)
def test_batches_without_a_clear_input_are_described(items, key, error, message):
    with pytest.raises(error, match=message):
        forward(lambda x: x, input_key=key).transform(Items(items))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "NoneType"),
        ("rows", "str"),
        ({"val": torch.zeros(2, 2)}, r"dict with keys \['val'\]"),  # SP-LD-12
        ((x for x in [torch.zeros(2, 2)]), "generator"),
        ([DataLoader(torch.zeros(2, 2))], "list that holds a DataLoader"),
        ([TensorDataset(torch.zeros(2, 2))], "list that holds a TensorDataset"),
        ([(torch.zeros(2, 2), torch.zeros(2))], r"list that holds a tuple of \(Tensor"),
        ([{"x": torch.zeros(2, 2)}], "list that holds a dict"),
        (Dataset(), "Dataset without a length"),
        (csr_array(np.eye(2)), r"Sparse data .* X\.toarray"),
        (dok_array(np.eye(2)), r"Sparse data .* X\.toarray"),
        (torch.eye(2).to_sparse(), "sparse"),
        (torch.zeros(2, 2, device="meta"), "meta"),
        (torch.zeros(2, 2, 2, device="meta"), "meta"),
        (torch.zeros(2, 2, 2, dtype=torch.complex64), "complex"),
    ],
)
@pytest.mark.parametrize("call", ["fit", "transform"])
def test_anything_else_is_a_type_error_that_names_it(value, message, call):
    with pytest.raises(TypeError, match=message):
        getattr(forward(lambda x: x), call)(value)


@pytest.mark.parametrize(
    "value",
    [
        np.empty((0, 3)),
        np.empty((0, 3, 2)),
        torch.empty(0, 3),
        torch.empty(0, 3, 2),
        TensorDataset(torch.empty(0, 3)),
        DataLoader(TensorDataset(torch.empty(0, 3))),
        Stream([]),
    ],
)
@pytest.mark.parametrize("call", ["fit", "transform", "fit_transform"])
def test_no_rows_is_an_error(value, call):
    with pytest.raises(ValueError, match=r"0 sample\(s\)"):
        getattr(forward(lambda x: x.flatten(1)), call)(value)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("shape", [(23, 4), (23, 2, 2)])
@pytest.mark.parametrize("make", [np.asarray, torch.tensor], ids=["array", "tensor"])
def test_values_that_are_not_finite_are_refused_with_their_row(bad, shape, make):
    X = np.zeros(shape)
    X[17] = bad
    with pytest.raises(ValueError, match=r"X contains (NaN|infinity).* row 17"):
        forward(lambda x: x.flatten(1), batch_size=5).transform(make(X))


def test_values_that_overflow_the_dtype_of_the_module_are_refused():
    with pytest.raises(ValueError, match=r"too large for torch.float32.* row 1"):
        forward(lambda x: x).transform([[0.0, 1.0], [1e300, 0.0]])


def test_rows_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match="unequal shape"):
        forward(lambda x: x).transform([[0.0, 1.0], [1.0]])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64, bool, np.float16, np.longdouble])
def test_images_of_any_dtype_reach_the_module_in_its_own(dtype):
    images = np.random.default_rng(0).integers(0, 2, size=(7, 3, 5, 5)).astype(dtype)
    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).double()
    embedder = TorchEmbedder(module, method="forward", batch_size=3).fit(images)
    assert not hasattr(embedder, "n_features_in_")
    result = embedder.transform(images)
    assert result.dtype == np.float64
    with torch.no_grad():
        assert_close(result, module(torch.tensor(images.astype(np.float64))).numpy())
    assert_close(embedder.transform(images.tolist()), result)


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8, bool, np.float64, np.float16])
def test_two_dimensional_input_is_cast_to_the_dtype_of_the_module(net, dtype):
    X = np.random.default_rng(0).integers(0, 2, size=(6, 4)).astype(dtype)
    TorchEmbedder(net).transform(X)
    TorchEmbedder(net).transform(TensorDataset(torch.tensor(X)))
    TorchEmbedder(copy.deepcopy(net).double()).transform(X)
    assert [d for d, _, _ in net.seen] == [torch.float32, torch.float32]


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.zeros(8))  # loose, and before the table
        self.table = nn.Embedding(2**24 + 10, 1)
        self.out = nn.Linear(1, 2)
        nn.init.zeros_(self.table.weight)
        with torch.no_grad():
            self.table.weight[-1] = 5.0

    def embed(self, ids):
        self.dtype = ids.dtype
        return self.table(ids).mean(dim=1)


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8, np.int16])
@pytest.mark.parametrize("wrap", [np.asarray, pd.DataFrame, torch.tensor, "dataset"])
def test_token_ids_stay_integers(dtype, wrap):
    module = Tokens()
    ids = np.ones((6, 3), dtype=dtype)
    if dtype in (np.int64, np.int32):
        ids[2] = 2**24 + 9  # not representable in float32
    X = TensorDataset(torch.tensor(ids)) if wrap == "dataset" else wrap(ids)
    result = TorchEmbedder(module).fit(X).transform(X)
    assert module.dtype == (torch.int32 if dtype == np.int32 else torch.int64)
    if dtype in (np.int64, np.int32):
        np.testing.assert_array_equal(result[:, 0], [0, 0, 5, 0, 0, 0])


def test_an_error_of_the_module_says_what_it_was_called_with(net):
    with pytest.raises(RuntimeError) as caught:
        TorchEmbedder(net).transform(np.zeros((2, 7)))
    assert "Net.embed with a torch.float32 tensor of shape (2, 7)" in caught.value.__notes__[0]


# --- loaders


@pytest.mark.parametrize(
    "make",
    [
        lambda d: DataLoader(d, shuffle=True),
        lambda d: DataLoader(d, sampler=torch.utils.data.SubsetRandomSampler(range(len(d)))),
        lambda d: DataLoader(d, sampler=torch.utils.data.WeightedRandomSampler([1.0] * 23, 23)),
        lambda d: DataLoader(
            d,
            batch_sampler=torch.utils.data.BatchSampler(
                torch.utils.data.RandomSampler(d), 5, False
            ),
        ),
        lambda d: DataLoader(
            d, sampler=torch.utils.data.DistributedSampler(d, num_replicas=1, rank=0)
        ),
        lambda d: DataLoader(d, batch_size=None, shuffle=True, collate_fn=lambda r: [r[0][None]]),
    ],
    ids=["shuffle", "subset", "weighted", "batch_sampler", "distributed", "unbatched"],
)
def test_a_shuffling_loader_warns_where_it_is_used(net, X, make):  # SP-LD-01
    loader = make(TensorDataset(torch.tensor(X)))
    with pytest.warns(UserWarning, match="shuffle=False") as caught:
        assert TorchEmbedder(net).transform(loader).shape == (23, 3)
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="shuffle"):
        TorchEmbedder(net).fit_transform(loader)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TorchEmbedder(net).fit(loader)  # the width is the same in any order


def test_drop_last_that_would_lose_rows_is_refused(net, X):  # SP-LD-02
    data = TensorDataset(torch.tensor(X))
    inner = torch.utils.data.BatchSampler(torch.utils.data.SequentialSampler(data), 5, True)
    for loader in (
        DataLoader(data, batch_size=5, drop_last=True),
        DataLoader(data, batch_sampler=inner),
    ):
        with pytest.raises(ValueError, match=r"drop_last=True .* 20 of 23 rows"):
            TorchEmbedder(net).transform(loader)
    with pytest.raises(ValueError, match="drop_last"):
        TorchEmbedder(net).transform(DataLoader(Stream(X), batch_size=5, drop_last=True))


@pytest.mark.parametrize("factor", [0.5, 2])
def test_a_collate_function_that_loses_or_adds_rows_is_refused(net, X, factor):
    def collate(rows):
        return torch.stack(rows).repeat(2, 1)[: int(len(rows) * factor)]

    loader = DataLoader(torch.tensor(X[:20]), batch_size=10, collate_fn=collate)
    with pytest.raises(ValueError, match=rf"{int(20 * factor)} rows .* promises 20"):
        TorchEmbedder(net).transform(loader)


def test_batch_size_may_be_a_numpy_integer(net, X, expected):
    for source in (X, TensorDataset(torch.tensor(X))):
        assert_close(TorchEmbedder(net, batch_size=np.int64(5)).transform(source), expected)


def test_a_loader_keeps_its_own_batch_size(net, X):
    TorchEmbedder(net, batch_size=5).transform(DataLoader(torch.tensor(X), batch_size=9))
    assert [n for _, n, _ in net.seen] == [9, 9, 5]


def test_workers(net, X, expected):
    loader = DataLoader(TensorDataset(torch.tensor(X)), batch_size=4, num_workers=1)
    assert_close(TorchEmbedder(net).fit_transform(loader), expected)


def test_a_stream_that_can_be_read_once_loses_no_row_in_fit_transform(net, X, expected):
    assert_close(TorchEmbedder(net, batch_size=5).fit_transform(OneShot(X)), expected)


def test_a_dataset_does_not_touch_the_global_generator(net, X):
    before = torch.get_rng_state()
    TorchEmbedder(net).fit(TensorDataset(torch.tensor(X))).transform(TensorDataset(torch.tensor(X)))
    assert torch.equal(before, torch.get_rng_state())


# --- the module afterwards (SP-LG-20, SP-LD-08, SP-LD-09)


def flags(module):
    return {name: m.training for name, m in module.named_modules()}


def frozen_batchnorm(net):
    net.train().body[1].eval()


def monte_carlo_dropout(net):
    net.eval().body[3].train()


MODES = [nn.Module.train, nn.Module.eval, frozen_batchnorm, monte_carlo_dropout]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("params", [{}, {"layer": "body.3"}], ids=["method", "layer"])
def test_flags_buffers_and_hooks_are_as_before(net, X, expected, mode, params):
    mode(net)
    before, state = flags(net), copy.deepcopy(net.state_dict())
    embedder = TorchEmbedder(net, batch_size=5, **params).fit(X)
    assert_close(embedder.transform(X), expected)
    assert flags(net) == before
    assert all(torch.equal(state[name], value) for name, value in net.state_dict().items())
    assert not any(m._forward_hooks for m in net.modules())
    assert not any(training for _, _, training in net.seen)
    assert set(vars(embedder)) == {*embedder.get_params(), "n_features_in_", "_n_features_out"}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("where", ["module", "loader"])
def test_flags_and_hooks_are_as_before_after_an_exception(net, X, mode, error, where):
    mode(net)
    before = flags(net)

    def fail(*args):
        raise error("stop")

    source = X
    if where == "module":
        net.head.forward = fail
    else:
        source = DataLoader(torch.tensor(X), collate_fn=fail)
    with pytest.raises(error, match="stop"):
        TorchEmbedder(net, layer="body").transform(source)
    assert flags(net) == before
    assert not any(m._forward_hooks for m in net.modules())


class Merges(nn.Linear):
    """train() does more than setting a flag, as in low-rank adapters."""

    merged = False

    def train(self, mode=True):
        self.merged = not mode
        return super().train(mode)


def test_a_train_method_that_does_more_is_undone_by_itself(X):
    module = nn.Sequential(Merges(4, 4), Merges(4, 3))
    module.train()
    TorchEmbedder(module, method="forward").transform(X)
    assert not module[0].merged
    assert not module[1].merged
    assert module[1].training


def test_threads_leave_the_flags_as_they_were(net, X, expected):
    monte_carlo_dropout(net)
    before = flags(net)
    embedders = [
        TorchEmbedder(net, batch_size=2),
        TorchEmbedder(net, layer="body", batch_size=3),
        TorchEmbedder(net.body, method="forward", batch_size=4),
    ]
    results = joblib.Parallel(n_jobs=6, backend="threading")(
        joblib.delayed(embedders[i % 3].transform)(X) for i in range(30)
    )
    for result in results:
        assert_close(result, expected)
    assert flags(net) == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_process_forked_during_an_extraction_does_not_wait_for_ever(X):
    started, done = threading.Event(), threading.Event()

    def hold(x):
        started.set()
        done.wait(60)
        return x

    holder = threading.Thread(target=lambda: forward(hold).transform(X))
    holder.start()
    try:
        started.wait(60)
        child = multiprocessing.get_context("fork").Process(
            target=forward(abs).transform, args=(X,)
        )
        child.start()
        child.join(60)
        exitcode = child.exitcode
        child.kill()
    finally:
        done.set()
        holder.join()
    assert exitcode == 0


def test_an_embedder_may_be_used_within_another(net, X, expected):
    inner = TorchEmbedder(net)
    outer = forward(lambda x: torch.as_tensor(inner.transform(x)))
    assert_close(outer.transform(X), expected)


def test_no_graph_and_no_trace_on_the_parameters(net, X):  # SP-LG-21
    outputs = []
    net.body.register_forward_hook(lambda m, args, out: outputs.append(out))
    TorchEmbedder(net).transform(torch.tensor(X, requires_grad=True))
    assert all(out.grad_fn is None and not out.requires_grad for out in outputs)
    assert all(p.requires_grad and p.grad is None for p in net.parameters())
    net.train()(torch.tensor(X)).sum().backward()  # it can still be trained
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


def test_a_surrounding_autocast_stays_in_force(net, X):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = TorchEmbedder(net, layer="head").transform(X)
        assert torch.is_autocast_enabled("cpu")
    assert result.dtype == np.float32
    assert not np.array_equal(result, TorchEmbedder(net, layer="head").transform(X))


def test_embeddings_are_streamed_and_never_concatenated(net, X, expected, monkeypatch):
    # SP-MM-04
    alive, most = weakref.WeakSet(), []

    def watch(module, args, output):
        gc.collect()
        most.append(len(alive))
        alive.add(output)

    net.body.register_forward_hook(watch)
    monkeypatch.setattr(torch, "cat", None)
    assert_close(TorchEmbedder(net, batch_size=2).transform(X), expected)
    assert len(most) == 12
    assert max(most) <= 1


def test_parameters_without_values_are_refused(X):
    for module in (nn.LazyLinear(3), nn.Linear(4, 3, device="meta")):
        with pytest.raises(ValueError, match="parameters without values"):
            TorchEmbedder(module, method="forward").transform(X)


@pytest.mark.parametrize("device", ["cpu", "auto", torch.device("cpu")])
def test_devices(net, X, expected, device):
    np.testing.assert_allclose(TorchEmbedder(net, device=device).transform(X), expected, rtol=1e-3)


@pytest.mark.parametrize("device", ["nowhere", "meta", "cuda:99"])
def test_a_device_that_is_not_there_is_named(net, X, device):
    with pytest.raises(ValueError, match=f"device='{device}'"):
        TorchEmbedder(net, device=device).transform(X)
    assert next(net.parameters()).device.type == "cpu"


class Elsewhere(nn.Module):
    """Stands for a network on an accelerator, which the test machine may lack."""

    moved_to = None

    def __init__(self, where):
        super().__init__()
        self.where = where

    def parameters(self, recurse=True):
        return iter([torch.empty(0, device="cpu"), type("P", (), {"device": self.where})()])

    def to(self, device):
        self.moved_to = device


def test_a_module_is_moved_and_leaving_an_accelerator_warns():
    cpu, cuda = torch.device("cpu"), torch.device("cuda", 0)
    module = Elsewhere(cuda)
    with pytest.warns(UserWarning, match="moved from cuda:0 to cpu; set device='cuda:0'"):
        move(module, cpu)
    assert module.moved_to == cpu
    module = Elsewhere(cpu)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        move(module, cpu)
        assert module.moved_to is None
        move(module, cuda)
    assert module.moved_to == cuda


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda(net, X, expected):
    embedder = TorchEmbedder(net, device="cuda", batch_size=5)
    for source in (X, torch.tensor(X, device="cuda"), TensorDataset(torch.tensor(X))):
        np.testing.assert_allclose(embedder.transform(source), expected, rtol=1e-3, atol=1e-4)
    assert next(net.parameters()).device.type == "cuda"
    with pytest.warns(UserWarning, match="moved from cuda:0 to cpu"):
        TorchEmbedder(net).transform(X)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda m: torch.jit.trace(m.eval(), torch.zeros(2, 4)),
        lambda m: torch.compile(m, backend="eager"),
    ],
    ids=["script", "compile"],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_scripted_and_compiled_modules(X, wrap):
    module = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5))
    wrapped = wrap(module)
    wrapped.train()
    result = TorchEmbedder(wrapped, method="forward").transform(X)
    assert all(flags(wrapped).values())
    with torch.no_grad():
        assert_close(result, module[0](torch.tensor(X)).numpy())


# --- progress and output


@pytest.mark.parametrize("known", [True, False])
def test_progress(net, X, capsys, known):
    source = X if known else Stream(X)
    for progress, shown in ((True, True), (False, False), ("auto", False)):
        TorchEmbedder(net, progress=progress).transform(source)
        captured = capsys.readouterr()
        assert ("TorchEmbedder" in captured.err) == shown
        assert captured.out == ""


@pytest.mark.parametrize("known", [True, False])
def test_output_is_a_file_that_holds_the_result(net, X, expected, tmp_path, known):
    path = tmp_path / "rows.npy"
    embedder = TorchEmbedder(net, batch_size=5, output=path)
    embedder.fit(X)
    assert not path.exists()
    result = embedder.transform(X if known else Stream(X))
    assert isinstance(result, np.memmap)
    assert_close(result, expected)
    assert_close(np.load(path), expected)
    assert result.filename == path
    with pytest.raises(ValueError, match="read-only"):
        result[0] = 0
    assert list(tmp_path.iterdir()) == [path]


def test_an_earlier_output_keeps_its_rows(net, X, expected, tmp_path):
    embedder = TorchEmbedder(net, output=str(tmp_path / "rows.npy"))
    first = embedder.fit_transform(X)
    second = embedder.transform(X[::-1][:7])
    assert_close(first, expected)
    assert_close(second, expected[::-1][:7])
    assert_close(np.load(tmp_path / "rows.npy"), second)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_run_leaves_the_file_that_was_there(net, X, expected, tmp_path, error):
    path = tmp_path / "rows.npy"
    TorchEmbedder(net, output=path).transform(X)

    def fail_late(x):
        if len(x) == 3:
            raise error("stop")
        return x

    with pytest.raises(error, match="stop"):
        forward(fail_late, batch_size=5, output=path).transform(X)
    assert_close(np.load(path), expected)
    assert list(tmp_path.iterdir()) == [path]


def test_an_output_that_cannot_be_written_is_named_before_the_work(net, X, tmp_path):
    for path in (tmp_path, tmp_path / "missing" / "rows.npy"):
        with pytest.raises(ValueError, match="output="):
            TorchEmbedder(net, output=path).transform(X)
    assert not net.seen


def test_no_file_is_unpickled(net, X, tmp_path, monkeypatch):  # SP-PS-12
    for home, name in ((torch, "load"), (pickle, "load"), (pickle, "loads"), (np, "load")):
        monkeypatch.setattr(home, name, None)
    path = tmp_path / "rows.npy"
    path.write_bytes(b"not an array")  # what is there is replaced, never read
    assert TorchEmbedder(net, output=path).fit_transform(X).shape == (23, 3)


def test_batching_changes_no_more_than_rounding(net, X):
    one = TorchEmbedder(net, batch_size=1).transform(X)
    assert_close(TorchEmbedder(net, batch_size=1000).transform(X), one)


@pytest.mark.parametrize("refit", ["fit", "fit_transform"])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failed_refit_leaves_the_fitted_embedder_as_it_was(X, refit, error):
    frame = pd.DataFrame(X, columns=list("abcd"))
    linear = nn.Linear(4, 2)
    embedder = TorchEmbedder(linear, method="forward").fit(frame)
    expected, state = embedder.transform(frame), dict(vars(embedder))

    def fail(*_):
        raise error

    with pytest.raises(RuntimeError):
        getattr(embedder, refit)(frame.iloc[:, :3])  # the module refuses the width
    handle = linear.register_forward_pre_hook(fail)
    with pytest.raises(error):
        getattr(embedder, refit)(X)
    handle.remove()
    assert vars(embedder) == state
    np.testing.assert_array_equal(embedder.transform(frame), expected)


def test_a_refit_on_images_forgets_the_columns(X):
    embedder = TorchEmbedder(nn.Flatten(), method="forward").fit(X)
    embedder.fit(X.reshape(23, 2, 1, 2)[:, :1])
    assert not hasattr(embedder, "n_features_in_")
    assert len(embedder.get_feature_names_out()) == 2
