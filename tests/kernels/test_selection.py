"""Selection against a full sort: blocks that are easy, tied, ragged, tiny or full of infinity."""

import numpy as np
import pytest
import torch

from sklearn_seapig.kernels import selection
from sklearn_seapig.kernels.selection import GROUP, merge, smallest, update, within

BLOCKS = {
    "random": lambda rng, shape: rng.normal(size=shape),
    "ties": lambda rng, shape: rng.integers(0, 3, shape).astype(float),
    "equal": lambda rng, shape: np.zeros(shape),
    "ascending": lambda rng, shape: np.sort(rng.normal(size=shape), axis=1),
    "descending": lambda rng, shape: -np.sort(rng.normal(size=shape), axis=1),
    "infinity": lambda rng, shape: np.where(rng.random(shape) < 0.9, np.inf, rng.random(shape)),
}


def block(name, n_columns=40 * GROUP, n_rows=7):
    return torch.from_numpy(BLOCKS[name](np.random.default_rng(0), (n_rows, n_columns)))


def check(values, found, size):
    """The values are the smallest ones, and each stands where its index says."""
    value, index = found
    size = min(size, values.shape[1])
    assert value.shape == index.shape == (len(values), size)
    assert torch.equal(value.sort(dim=1).values, values.sort(dim=1).values[:, :size])
    known = index >= 0
    assert torch.equal(values.gather(1, index.clamp(min=0))[known], value[known])
    assert (value[~known] == np.inf).all()  # a place where there was nothing left to stand
    for row, some in zip(index, known, strict=True):
        assert len(row[some].unique()) == some.sum()


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("n_columns", [1, 5, GROUP, 40 * GROUP, 40 * GROUP + 3])
@pytest.mark.parametrize("size", [1, 4, 30])
def test_smallest_are_those_of_a_sort(name, n_columns, size):
    values = block(name, n_columns)
    check(values, smallest(values, size), size)


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("n_columns", [3, 40 * GROUP, 40 * GROUP + 3])
@pytest.mark.parametrize("step", [1, 8 * GROUP, 12 * GROUP + 1, 10**6])
def test_blocks_one_after_the_other_are_as_one(name, n_columns, step):
    values = block(name, n_columns)
    for size in (1, 4, 30):
        best = None
        for start in range(0, n_columns, step):
            best = update(best, values[:, start : start + step].contiguous(), start, size)
        check(values, best, size)


def test_later_blocks_are_picked_from_only_where_few_entries_count(monkeypatch):
    sorts = []
    monkeypatch.setattr(selection, "smallest", lambda v, size: sorts.append(0) or smallest(v, size))
    for name, size, expected in [
        ("random", 4, 1),
        ("ascending", 4, 1),
        ("descending", 4, 4),
        ("equal", 4, 4),
        ("equal", 30, 4),  # more than there are groups in a block
        ("descending", 30, 4),
    ]:
        sorts.clear()
        best, values = None, block(name)
        for start in range(0, values.shape[1], 10 * GROUP):
            best = update(best, values[:, start : start + 10 * GROUP].contiguous(), start, size)
        assert len(sorts) == expected, (name, size)


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("n_columns", [1, GROUP, 40 * GROUP, 40 * GROUP + 3])
def test_within_finds_every_entry_up_to_the_limit(name, n_columns):
    values = block(name, n_columns)
    for limit in (-np.inf, values.median().item(), np.inf):
        limits = torch.full((len(values),), limit, dtype=values.dtype)
        row, column, value = within(values, limits)
        expected = (values <= limit).nonzero()
        order = np.lexsort((column, row))
        assert torch.equal(torch.stack([row, column], dim=1)[order], expected)
        assert torch.equal(value, values[row, column])
        assert (row.diff() >= 0).all()  # row by row, as `update` relies on


def test_within_gives_up_where_too_many_would_be_looked_into():
    values = block("equal")
    limit = torch.zeros(len(values), dtype=values.dtype)
    groups = values.numel() // GROUP
    assert within(values, limit, most=groups) is not None
    assert within(values, limit, most=groups - 1) is None
    ragged = values[:, :-1].contiguous()
    assert within(ragged, limit, most=ragged.numel()) is not None
    assert within(ragged, limit, most=ragged.numel() - 1) is None


def test_merge_takes_the_first_as_it_is_and_fills_up_to_the_size():
    new = torch.tensor([[3.0, 1.0]]), torch.tensor([[7, 8]])
    assert merge(None, new, 1) is new
    value, index = merge(new, (torch.tensor([[2.0]]), torch.tensor([[9]])), 5)
    assert sorted(zip(value[0].tolist(), index[0].tolist(), strict=True)) == [
        (1, 8),
        (2, 9),
        (3, 7),
    ]
    value, index = merge(new, (torch.tensor([[2.0]]), torch.tensor([[9]])), 2)
    assert sorted(zip(value[0].tolist(), index[0].tolist(), strict=True)) == [(1, 8), (2, 9)]
