"""Exact nearest neighbors: matrix products choose candidates, differences measure them.

A matrix product is fast and rounds; a difference is slow and exact. So each query takes the rows
with the smallest *lower bounds* of its distance, computed from matrix products of centred rows
with the rounding error subtracted, measures these candidates from their differences in float64,
and is done if its k-th distance lies below every bound that was left out. That is nearly always
so in float32. What remains (ties, far offsets, extreme scales) is searched again in float64, and
what remains then (many equal distances) by measuring every row that could still be a neighbor.

The result does not depend on how queries are batched, and memory does not grow with n. It grows
with the number of queries by about 12 bytes for each candidate.
"""

import math

import torch

from .selection import update

SLACK = 16  # candidates beyond k: the excluded row, and room up to the first bound left out
TILE = {"cpu": (256, 4096), "other": (4096, 32768)}  # queries x rows of one matrix product
TIE_ROWS = (64, 4096)  # rows per step of the exhaustive search: the first, the largest
MEASURED_BYTES = 2**21  # size of one block of differences: it should stay in the cache


def knn(queries, reference, k, *, center, scale=None, exclude=None, device=None):
    """Return distances and indices of the k nearest rows, ascending by (distance, index).

    Parameters
    ----------
    queries : tensor of shape (q, d)
        Rows to look up.
    reference : tensor of shape (n, d), n >= k (n > k with `exclude`)
        The rows searched.
    k : int
        Number of neighbors.
    center : tensor of shape (d,), of the dtype of `reference`
        Any point amid the reference rows; the closer, the fewer queries are searched twice.
    scale : float64 tensor of shape (n,), default=None
        Reference point j is ``scale[j] * reference[j]`` in float64.
    exclude : int64 tensor of shape (q,), default=None
        Index of a reference row that is no neighbor of the query (leave-one-out).
    device : torch.device, default=None
        Where the float32 products run; None: where `reference` is. The float64 part always runs
        where `reference` is.

    Returns
    -------
    distances : float64 tensor of shape (q, k)
    indices : int64 tensor of shape (q, k)
    """
    points = Points(reference, scale, center)
    pending = torch.arange(len(queries), device=queries.device)
    distances = torch.full((len(queries), k), math.inf, dtype=torch.float64, device=queries.device)
    indices = torch.full((len(queries), k), -1, dtype=torch.int64, device=queries.device)
    for dtype, where in [(torch.float32, device), (torch.float64, None)]:
        q, skip = queries[pending], None if exclude is None else exclude[pending]
        candidates, left_out = _candidates(q, points, k + max(SLACK, k // 4), dtype, where)
        near, index = _nearest(q, points, candidates, k, skip)
        distances[pending], indices[pending] = near, index
        # The factor covers the rounding of the measured distances themselves.
        certain = near[:, -1].square() * (1 + 1e-12) < left_out
        pending = pending[~certain]
        if len(pending) == 0:
            return distances, indices
    q, skip = queries[pending], None if exclude is None else exclude[pending]
    near, index = _exhaustive(q, points, k, distances[pending, -1], skip)
    distances[pending], indices[pending] = near, index
    return distances, indices


def measure(queries, reference, candidates, k, *, scale=None, exclude=None):
    """Return distances and indices of the k nearest of some rows that another search proposes.

    Parameters
    ----------
    queries, reference, k, scale, exclude
        As for `knn`.
    candidates : int64 tensor of shape (q, c), c >= k
        Rows of the reference, each at most once for a query; -1 stands for none.

    Returns
    -------
    distances : float64 tensor of shape (q, k)
        inf where there are fewer candidates.
    indices : int64 tensor of shape (q, k)
        -1 there.
    """
    points = Points(reference, scale, None)
    distances, indices = _nearest(queries, points, candidates, k, exclude)
    return distances, indices.where(distances < math.inf, -1)


class Points:
    """The reference points, read in blocks: centred for products, as they are for differences."""

    def __init__(self, reference, scale, center):
        self.reference, self.scale, self.center = reference, scale, center

    def __len__(self):
        return len(self.reference)

    def minus(self, index, queries):
        """Return the differences of points and queries in float64, exactly.

        By index_select and in place: brackets and new memory take twice as long.
        """
        gap = self.reference.index_select(0, index.flatten()).to(torch.float64)
        if self.scale is not None:
            gap *= self.scale.index_select(0, index.flatten()).unsqueeze(1)
        gap = gap.view(*index.shape, self.reference.shape[1])
        gap -= queries
        return gap

    def centered(self, block, dtype):
        """Return the points of a slice minus the centre."""
        rows = self.reference[block]
        if self.scale is not None:
            rows = rows.to(torch.float64) * self.scale[block].unsqueeze(1)
        elif dtype == torch.float64:
            rows = rows.to(torch.float64)
        return (rows - self.center).to(dtype)


def _candidates(queries, points, size, dtype, device):
    """Return the `size` rows of smallest lower bound, and the squared distance all others exceed.

    For centred a and b the product form ||b||^2 - 2 a.b misses ||a - b||^2 - ||a||^2 by at most
    (d + 8) u (||a||^2 + 2 ||b||^2), u the unit roundoff: (Higham 2002, section 3.1) for the sums
    in any order and the rounding of a, b. The part with ||b||^2 is subtracted from each row's
    term, so a far row loosens no bound but its own; the part with ||a||^2 from the final bound.
    """
    n, size = len(points), min(size, len(points))
    device = points.reference.device if device is None else device
    error = (queries.shape[1] + 8) * _unit_roundoff(dtype)
    centered = queries.to(torch.float64) - points.center
    norm = centered.square().sum(dim=1)
    centered = centered.to(dtype).to(device)
    query_step, row_step = TILE.get(device.type, TILE["other"])
    best = [None] * math.ceil(len(queries) / query_step)
    largest = torch.zeros((), dtype=dtype, device=device)
    buffer = torch.empty(query_step * row_step, dtype=dtype, device=device)
    for start in range(0, n, row_step):
        rows = points.centered(slice(start, start + row_step), dtype).to(device)
        bias = rows.square().sum(dim=1)
        largest = torch.maximum(largest, bias.max())
        bias *= 1 - 2 * error
        for i, a in enumerate(centered.split(query_step)):
            bounds = buffer[: len(a) * len(rows)].view(len(a), len(rows))
            torch.addmm(bias, a, rows.T, alpha=-2, out=bounds)
            best[i] = update(best[i], bounds, start, size)
    value = torch.cat([v for v, _ in best]).to(norm)
    index = torch.cat([i for _, i in best]).to(norm.device)
    if size == n:
        return index, torch.full_like(norm, math.inf)
    info = torch.finfo(dtype)
    underflow = 8 * queries.shape[1] * info.tiny * (1 + norm.sqrt())
    left_out = value.amax(dim=1) + norm * (1 - error) - underflow
    safe = (norm < info.max / 8) & (largest.to(norm) < info.max / 8)  # no sum can overflow
    return index, torch.where(safe, left_out, -math.inf)


def _unit_roundoff(dtype):
    if dtype == torch.float32 and products_are_rounded():
        return 2.0**-8  # to bfloat16, at worst
    return torch.finfo(dtype).eps / 2


def products_are_rounded():
    try:
        return torch.get_float32_matmul_precision() != "highest"
    except RuntimeError:  # set for one backend only, with which torch refuses to answer
        return True


def _nearest(queries, points, candidates, k, exclude):
    """Measure the candidates of each query and return the k nearest by (distance, index)."""
    candidates = candidates.sort(dim=1).values
    step = max(1, MEASURED_BYTES // (8 * candidates.shape[1] * queries.shape[1]))
    # Allocated before: small results between large blocks would keep the heap from shrinking.
    distance = torch.empty(candidates.shape, dtype=torch.float64, device=candidates.device)
    for start in range(0, len(queries), step):
        some = slice(start, start + step)
        gap = points.minus(
            candidates[some].clamp(min=0), queries[some].to(torch.float64).unsqueeze(1)
        )
        distance[some] = euclidean_norm(gap)
    distance[candidates < 0] = math.inf
    if exclude is not None:
        distance[candidates == exclude.unsqueeze(1)] = math.inf
    distance, order = distance.sort(dim=1, stable=True)
    return distance[:, :k], candidates.gather(1, order[:, :k])


def euclidean_norm(rows):
    """Return the norm over the last axis, also where the squares would overflow or underflow."""
    if rows.shape[:-1].numel() == 1:
        # torch splits the sum of one long row between its threads, and those of several rows not.
        return euclidean_norm(rows.expand(2, *rows.shape))[0]
    square = rows.square().sum(dim=-1)
    norm = square.sqrt()
    extreme = (square < 1e-280) | (square > 1e300)
    if extreme.any() and rows[extreme].count_nonzero():
        peak = rows[extreme].abs().amax(dim=-1, keepdim=True)
        peak[peak == 0] = 1
        norm[extreme] = (rows[extreme] / peak).square().sum(dim=-1).sqrt() * peak[:, 0]
    return norm


def _exhaustive(queries, points, k, farthest, exclude):
    """Measure every row whose lower bound reaches `farthest`, the k-th smallest distance so far.

    Blocks come in the order of the rows, so a later row never displaces an equally distant one,
    and a query with k neighbors at distance zero is done.
    """
    width = queries.shape[1]
    error = (width + 8) * _unit_roundoff(torch.float64)
    centered = queries.to(torch.float64) - points.center
    norm = centered.square().sum(dim=1)
    slack = norm * error + 8 * width * torch.finfo(torch.float64).tiny * (1 + norm.sqrt())
    reach = farthest.square() * (1 + 1e-12) - norm + slack
    distance = torch.full((len(queries), k), math.inf, dtype=torch.float64, device=queries.device)
    index = torch.full((len(queries), k), -1, dtype=torch.int64, device=queries.device)
    start, step = 0, TIE_ROWS[0]
    while start < len(points):
        active = (distance[:, -1] > 0).nonzero()[:, 0]
        if len(active) == 0:
            break
        rows = points.centered(slice(start, start + step), torch.float64)
        bias = rows.square().sum(dim=1) * (1 - 2 * error)
        for a in active.split(TILE["cpu"][0]):
            bounds = torch.addmm(bias, centered[a], rows.T, alpha=-2)
            # Written so that NaN, the sign of an overflow, counts as within reach.
            reached = ~(bounds > reach[a].unsqueeze(1))
            if exclude is not None:
                _exclude_reached(reached, exclude[a], start)
            for block in reached.nonzero().split(max(1, MEASURED_BYTES // (8 * width))):
                pair = (a[block[:, 0]], block[:, 1] + start)
                gap = points.minus(pair[1], queries.index_select(0, pair[0]).to(torch.float64))
                measured = euclidean_norm(gap)
                closer = measured < distance[pair[0], -1]
                if closer.any():
                    pair = pair[0][closer], pair[1][closer]
                    insert(distance, index, pair, measured[closer])
        start, step = start + step, min(2 * step, TIE_ROWS[1])
    return distance, index


def _exclude_reached(reached, exclude, start):
    row = ((exclude >= start) & (exclude < start + reached.shape[1])).nonzero()[:, 0]
    reached[row, exclude[row] - start] = False


def insert(distance, index, pair, measured):
    """Merge measured (query, row) pairs into the k best of their queries, in place."""
    k = distance.shape[1]
    query = pair[0].unique()
    owner = torch.cat([query.repeat_interleave(k), pair[0]])
    value = torch.cat([distance[query].flatten(), measured])
    row = torch.cat([index[query].flatten(), pair[1]])
    order = torch.arange(len(owner), device=owner.device)
    for key in (row, value, owner):  # stable sorts from the least to the most significant key
        order = order[key[order].sort(stable=True).indices]
    owner, value, row = owner[order], value[order], row[order]
    first = torch.searchsorted(owner, query)
    take = first.unsqueeze(1) + torch.arange(k, device=first.device)
    distance[query], index[query] = value[take], row[take]
