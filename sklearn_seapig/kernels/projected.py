"""Exact nearest neighbors for less than a matrix product, where few axes hold most of the variance.

A product of short images bounds all distances, longer images bound those that it leaves, and what
these leave is measured; see `images`. A row that could be a neighbor is never left out. Queries
left with too many, since the data are not of this kind or they are far from them, go to
`neighbors.knn`. So the result is that of `knn`, to the last bit.
"""

import math

import torch

from . import neighbors
from .images import ROW_STEP, burden, query_images, reach_of
from .neighbors import MEASURED_BYTES, Points, euclidean_norm, knn, measure
from .selection import GROUP, update, within

SEED = 4  # one block of rows in so many is looked through for the first neighbors
MANY = 0.1  # the burden that a query is given up for
PILOT, GOOD = 32, 0.75  # queries tried first, and the share of them that makes the others follow
ROWS_PER_K = 2000  # with fewer rows for each neighbor, first guesses cost too much
PAIRS = 8192  # long images compared at once
MOST_PAIRS = 2**20  # left to be measured in one tile; more are ties without end
QUERY_STEP = neighbors.TILE["cpu"][0]


def projected_knn(queries, reference, k, images, *, center, scale=None, exclude=None):
    """Return what `neighbors.knn` returns, with the same parameters and `Images` of the points."""
    points = Points(reference, scale, center)
    distances = queries.new_empty((len(queries), k), dtype=torch.float64)
    indices = queries.new_empty((len(queries), k), dtype=torch.int64)
    pending = queries.new_ones(len(queries), dtype=torch.bool)
    if _pays(queries, points, k, images, exclude):
        for start in range(0, len(queries), QUERY_STEP):
            tile = slice(start, start + QUERY_STEP)
            skip = None if exclude is None else exclude[tile]
            found, near, index = _search(queries[tile], points, k, images, skip)
            distances[start + found], indices[start + found] = near, index
            pending[start + found] = False
    rest = pending.nonzero()[:, 0]
    if len(rest):
        skip = None if exclude is None else exclude[rest]
        options = {"center": center, "scale": scale, "exclude": skip}
        distances[rest], indices[rest] = knn(queries[rest], reference, k, **options)
    return distances, indices


def _pays(queries, points, k, images, exclude):
    if neighbors.products_are_rounded() or k * ROWS_PER_K > len(points):
        return False
    some = slice(None, None, max(1, math.ceil(len(queries) / PILOT)))
    skip = None if exclude is None else exclude[some]
    return len(_promising(queries[some], points, k, images, skip)[0]) >= GOOD * len(queries[some])


def _promising(rows, points, k, images, exclude):
    """Return which queries need not be given up, these, and their reach after a first guess."""
    tile = query_images(rows, points.center, images.axes, images.short.shape[1] - 2, exclude)
    reach = reach_of(_first_guess(tile, points, k, images), tile.norm, images.axes)
    some = slice(None, None, math.ceil(len(points) / ROW_STEP))
    light = burden(tile, reach, images.short[some], images.more[some]) <= MANY
    safe = tile.norm < torch.finfo(torch.float32).max / 8
    found = (light & safe).nonzero()[:, 0]
    return found, tile.only(found), reach[found]


def _search(rows, points, k, images, exclude):
    """Return which queries of a tile were not given up, their distances and their indices."""
    found, tile, reach = _promising(rows, points, k, images, exclude)
    left = _left(tile, reach, images) if len(found) else None
    if left is None:
        found = found[:0]
        return found, tile.norm.new_empty(0, k), found.new_empty(0, k)
    query, row, bound = left
    # The rows of smallest bound are nearly always the neighbors, so few of the others are left.
    _, nearest = _smallest_pairs(len(found), k, query, row, bound)
    farthest, _ = measure(
        tile.rows, points.reference, nearest, k, scale=points.scale, exclude=tile.exclude
    )
    reach = torch.minimum(reach, reach_of(farthest[:, -1], tile.norm, images.axes))
    near = (bound <= reach.index_select(0, query)).nonzero()[:, 0]
    query, row = query.index_select(0, near), row.index_select(0, near)
    return found, *_smallest_pairs(len(found), k, query, row, _measured(tile, points, query, row))


def _first_guess(tile, points, k, images):
    """Return the k-th smallest distance of a few rows, those of smallest bound in some blocks."""
    size, best = k + GROUP, None
    buffer = tile.short.new_empty(QUERY_STEP * ROW_STEP)
    for start in range(0, len(points), SEED * ROW_STEP):
        bounds = _bounds(tile, images.short[start : start + ROW_STEP], buffer)
        best = update(best, bounds, start, size)
    options = {"scale": points.scale, "exclude": tile.exclude}
    return measure(tile.rows, points.reference, best[1], k, **options)[0][:, -1]


def _left(tile, reach, images):
    """Return (query, row, bound) of the pairs that long images leave, or None if too many."""
    kept, total, buffer = [], 0, tile.short.new_empty(QUERY_STEP * ROW_STEP)
    for start in range(0, len(images.short), ROW_STEP):
        bounds = _bounds(tile, images.short[start : start + ROW_STEP], buffer)
        pairs = (part.split(PAIRS) for part in within(bounds, reach))
        for query, column, bound in zip(*pairs, strict=True):
            row = column + start
            # index_select, here and below: it is several times faster than an index in brackets.
            more = images.more.index_select(0, row)
            bound = bound + more.mul_(tile.more.index_select(0, query)).sum(dim=1)
            near = bound <= reach.index_select(0, query)
            if tile.exclude is not None:
                near &= row != tile.exclude.index_select(0, query)
            near = near.nonzero()[:, 0]
            kept.append([part.index_select(0, near) for part in (query, row, bound)])
            total += len(near)
            if total > MOST_PAIRS:
                return None
    return [torch.cat(part) for part in zip(*kept, strict=True)] if kept else None


def _bounds(tile, short, buffer):
    out = buffer[: len(tile.short) * len(short)].view(len(tile.short), len(short))
    return torch.mm(tile.short, short.T, out=out)


def _smallest_pairs(n_queries, k, query, row, value):
    """Return the k smallest values of each query and their rows, by (value, row)."""
    smallest = value.new_full((n_queries, k), math.inf)
    rows = row.new_full((n_queries, k), -1)
    neighbors.insert(smallest, rows, (query, row), value)
    return smallest, rows


def _measured(tile, points, query, row):
    distance = tile.norm.new_empty(len(query))
    step = max(1, MEASURED_BYTES // (8 * tile.rows.shape[1]))
    for start in range(0, len(query), step):
        some = slice(start, start + step)
        queries = tile.rows.index_select(0, query[some]).to(torch.float64)
        distance[some] = euclidean_norm(points.minus(row[some], queries))
    return distance
