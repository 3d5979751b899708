"""The search by images finds what the plain one finds, to the bit, and is used where it pays."""

import numpy as np
import pytest
import torch

from sklearn_seapig.kernels import images as images_module
from sklearn_seapig.kernels import neighbors, projected
from sklearn_seapig.kernels.images import Images, make_images, query_images, reach_of
from sklearn_seapig.kernels.neighbors import knn
from sklearn_seapig.kernels.projected import projected_knn

F32, F64 = np.float32, np.float64


def _steep(rng, n, d):
    return rng.normal(size=(n, d)) * np.arange(1, d + 1) ** -0.9


def _clustered(rng, n, d):
    return 1e4 * rng.choice([-1, 1], size=(n, 1)) + _steep(rng, n, d)


def _duplicated(rng, n, d):
    X = _steep(rng, n, d)
    return X[rng.integers(0, n // 8, size=n)]


def _one_hot(rng, n, d):
    return np.eye(d)[rng.integers(0, d, size=n)]


def _integers(rng, n, d):
    return rng.integers(0, 3, size=(n, d)) * (np.arange(d) < 4)


def _low_rank(rng, n, d):
    return _steep(rng, n, 3) @ np.random.default_rng(7).normal(size=(3, d))


def _constant(rng, n, d):
    X = _steep(rng, n, d)
    X[:, 1::2] = 3.7
    return X


def _one_far(rng, n, d):
    X = _steep(rng, n, d)
    X[-1] = 1e12
    return X


KINDS = {
    "random": lambda rng, n, d: rng.normal(size=(n, d)),
    "steep": _steep,
    "clustered": _clustered,
    "duplicated": _duplicated,
    "one-hot": _one_hot,
    "integers": _integers,
    "offset 1e4": lambda rng, n, d: 1e4 + _steep(rng, n, d),
    "offset 1e8": lambda rng, n, d: 1e8 + _steep(rng, n, d),
    "low rank": _low_rank,
    "constant columns": _constant,
    "equal rows": lambda rng, n, d: np.ones((n, d)),
    "one far row": _one_far,
    "scale 1e-42": lambda rng, n, d: 1e-42 * _steep(rng, n, d),
    "scale 1e-25": lambda rng, n, d: 1e-25 * _steep(rng, n, d),
    "scale 1e-18": lambda rng, n, d: 1e-18 * _steep(rng, n, d),
    "scale 1e16": lambda rng, n, d: 1e16 * _steep(rng, n, d),
    "scale 1e20": lambda rng, n, d: 1e20 * _steep(rng, n, d),
}


def make(kind, dtype=F32, n=800, d=48, n_queries=70):
    rows = KINDS[kind](np.random.default_rng(0), n + n_queries, d).astype(dtype)
    X, Q = rows[n_queries:], rows[:n_queries]
    return torch.from_numpy(np.concatenate([Q, X[:20]])), torch.from_numpy(X)


def center_of(X):
    return X.median(dim=0).values


@pytest.fixture
def forced(monkeypatch):
    """Use images for any data, in small blocks, and give no query up."""
    monkeypatch.setattr(images_module, "LEAST_ROWS", 0)
    monkeypatch.setattr(images_module, "COLUMNS", (1, 10**6))
    monkeypatch.setattr(images_module, "FEW", np.inf)
    monkeypatch.setattr(projected, "MANY", np.inf)
    monkeypatch.setattr(projected, "ROWS_PER_K", 1)
    monkeypatch.setattr(projected, "QUERY_STEP", 32)
    monkeypatch.setattr(projected, "PAIRS", 300)
    for module in (images_module, projected):
        monkeypatch.setattr(module, "ROW_STEP", 128)


@pytest.fixture
def plain(monkeypatch):
    """Count the queries that go to the plain search."""
    counts = []

    def spy(queries, *args, **kwargs):
        counts.append(len(queries))
        return knn(queries, *args, **kwargs)

    monkeypatch.setattr(projected, "knn", spy)
    return counts


def assert_same(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())  # to the last bit


def both(Q, X, k, **options):
    options = {"center": center_of(X), **options}
    images = make_images(X, center=options["center"], scale=options.get("scale"))
    return projected_knn(Q, X, k, images, **options), knn(Q, X, k, **options)


@pytest.mark.parametrize("k", [1, 40])
@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "scale 1e20"])
def test_equals_the_plain_search(kind, dtype, k, forced, plain):
    Q, X = make(kind, dtype)
    assert_same(*both(Q, X, k))
    assert not plain  # images alone have found this


@pytest.mark.parametrize("kind", ["steep", "duplicated", "one-hot", "low rank", "equal rows"])
def test_leave_one_out_excludes_the_row_itself_by_index(kind, forced, plain):
    _, X = make(kind)
    own = torch.arange(0, len(X), 20)
    found, expected = both(X[own], X, 10, exclude=own)
    assert_same(found, expected)
    assert not (found[1] == own.unsqueeze(1)).any()
    assert not plain


@pytest.mark.parametrize("kind", ["steep", "low rank", "offset 1e4"])
def test_scaled_reference_points(kind, forced, plain):
    Q, X = make(kind)
    scale = torch.from_numpy(np.random.default_rng(3).uniform(0.1, 10, size=len(X)))
    assert_same(*both(Q, X, 10, scale=scale))
    assert not plain


def test_equals_differences_in_float64(forced):
    Q, X = make("steep")
    distances, indices = both(Q, X, 7)[0]
    expected = (X.double() - Q.double().unsqueeze(1)).square().sum(dim=2).sqrt()
    value, order = expected.sort(dim=1, stable=True)
    np.testing.assert_array_equal(indices.numpy(), order[:, :7].numpy())
    np.testing.assert_allclose(distances.numpy(), value[:, :7].numpy(), rtol=1e-12)


@pytest.mark.parametrize("d", [1, 2, 3, 17, 200])
@pytest.mark.parametrize("n", [30, 255, 257, 1000])
def test_any_shape(n, d, forced):
    Q, X = make("steep", n=n, d=d)
    assert_same(*both(Q, X, 5))


def test_a_row_alone_and_in_a_batch_and_threads(forced):
    Q, X = make("steep", n_queries=200)
    center = center_of(X)
    images = make_images(X, center=center)
    whole = projected_knn(Q, X, 5, images, center=center)
    for i in (0, 31, 150):
        alone = projected_knn(Q[i : i + 1], X, 5, images, center=center)
        assert_same(alone, [part[i : i + 1] for part in whole])
    before = torch.get_num_threads()
    try:
        for n_threads in (1, 2):
            torch.set_num_threads(n_threads)
            assert_same(projected_knn(Q, X, 5, images, center=center), whole)
    finally:
        torch.set_num_threads(before)


# The bound


def _bounds(Q, X, axes, m, monkeypatch):
    """Bounds of short and of long images, and the largest that true distances can have."""
    monkeypatch.setattr(images_module, "_axes", lambda *_: axes)
    center = center_of(X)
    images = make_images(X, center=center)
    queries = query_images(Q, center, images.axes, m)
    short = queries.short @ images.short.T
    distance = (X.double() - Q.double().unsqueeze(1)).square().sum(dim=2).sqrt()
    norm = queries.norm.unsqueeze(1)
    reaches = [reach_of(factor * distance, norm, images.axes) for factor in (1, 0.99)]
    return short, short + queries.more @ images.more.T, *reaches


@pytest.mark.parametrize("good", [True, False])
@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "scale 1e20"])
def test_no_bound_exceeds_what_the_distance_allows(kind, dtype, good, forced, monkeypatch):
    Q, X = make(kind, dtype, n=300)
    rows = X.double() - center_of(X).double()
    if good:
        axes = torch.linalg.eigh(rows.T @ rows).eigenvectors.flip(1)[:, :8].contiguous()
    else:
        matrix = torch.randn(48, 8, generator=torch.Generator().manual_seed(0))
        axes = torch.linalg.qr(matrix.double()).Q
    short, long, reach, less = _bounds(Q, X, axes, 4, monkeypatch)
    assert (short <= reach).all()
    assert (long <= reach).all()
    if kind == "low rank" and good:  # all the variance is on the axes: the bound is the distance
        apart = (X.unsqueeze(0) != Q.unsqueeze(1)).any(dim=2)
        assert (short > less)[apart].double().mean() > 0.9
    if kind == "steep" and good:
        assert (long > less).double().mean() > (short > less).double().mean()


# Where it is used


@pytest.fixture
def chosen(monkeypatch):
    monkeypatch.setattr(images_module, "LEAST_ROWS", 3000)

    def images(kind, n=3000, d=256, by=1.0):
        X = torch.from_numpy(by * KINDS[kind](np.random.default_rng(0), n, d))
        return make_images(X, center=center_of(X))

    return images


def test_chosen_for_a_steep_spectrum_at_a_quarter_of_the_memory(chosen):
    found = chosen("steep")
    assert isinstance(found, Images)
    assert found.axes.shape == (256, 60)
    assert found.short.shape == found.more.shape == (3000, 32)
    assert found.short.dtype == found.more.dtype == torch.float32


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("random", {}),
        ("equal rows", {}),
        ("steep", {"n": 2999}),
        ("steep", {"d": 255}),
        ("steep", {"d": 2049}),
        ("steep", {"by": 1e-25}),
        ("steep", {"by": 1e25}),
        ("steep", {"by": 1e300}),
        ("one far row", {"by": 1e10}),
    ],
)
def test_not_chosen_where_it_would_not_pay(kind, options, chosen):
    assert chosen(kind, **options) is None


def _steep_and_far():
    Q, X = make("steep", n=5000, d=256)
    far = 0.2 * torch.randn(70, 256, generator=torch.Generator().manual_seed(0))
    return Q, far, X


def test_queries_that_would_be_left_with_many_rows_go_to_the_plain_search(
    chosen, plain, monkeypatch
):
    monkeypatch.setattr(projected, "ROWS_PER_K", 100)
    Q, far, X = _steep_and_far()
    assert_same(*both(Q, X, 5))
    assert not plain
    assert_same(*both(torch.cat([Q, far[:5]]), X, 5))
    assert plain == [5]
    assert_same(*both(far, X, 5))  # those tried first are enough to know
    assert plain[1:] == [70]
    assert_same(*both(Q, X, 51))
    assert plain[2:] == [90]


def test_far_queries_that_float32_does_not_hold(forced, plain):
    Q, X = make("steep", F64)
    Q[3] *= 1e25
    Q[4] *= 1e200
    assert_same(*both(Q, X, 5))
    assert plain == [2]


def test_ties_without_end_go_to_the_plain_search(forced, plain, monkeypatch):
    monkeypatch.setattr(projected, "MOST_PAIRS", 10_000)
    Q, X = make("equal rows")
    assert_same(*both(Q, X, 5))
    assert plain == [90]


def test_products_that_torch_may_round_are_not_used(forced, plain, monkeypatch):
    monkeypatch.setattr(neighbors, "products_are_rounded", lambda: True)
    Q, X = make("steep")
    assert_same(*both(Q, X, 5))
    assert plain == [90]


def test_default_dtype_and_device_of_torch_change_nothing(forced, plain):
    Q, X = make("steep")
    expected = knn(Q, X, 5, center=center_of(X))
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        assert_same(both(Q, X, 5)[0], expected)
    finally:
        torch.set_default_dtype(before)
    with torch.device("meta"):
        assert_same(both(Q, X, 5)[0], expected)
    assert not plain
