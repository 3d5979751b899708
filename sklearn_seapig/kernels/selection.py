"""The few smallest entries of each row of a large block, for less than a sort of them all.

Entries are looked at in groups of columns that lie a stride apart: the minima of groups cost little
more than reading the block, and most groups are left out by theirs.
"""

import torch

GROUP = 16  # columns that share one minimum; top-k then sorts minima instead of columns


def smallest(values, size):
    """Return the `size` smallest values of each row and their columns, in any order.

    The smallest values lie in the `size` groups with the smallest minima.
    """
    groups = values.shape[1] // GROUP
    if groups < 2 * size:
        return values.topk(min(size, values.shape[1]), dim=1, largest=False, sorted=False)
    grouped = values[:, : groups * GROUP].unflatten(1, (GROUP, groups))
    chosen = grouped.amin(dim=1).topk(size, dim=1, largest=False, sorted=False).indices
    column = _members(chosen, groups).flatten(1)
    rest = torch.arange(groups * GROUP, values.shape[1], device=values.device)
    column = torch.cat([column, rest.expand(len(values), -1)], dim=1)
    value, at = values.gather(1, column).topk(size, dim=1, largest=False, sorted=False)
    return value, column.gather(1, at)


def merge(old, new, size):
    """Return the `size` smallest of two sets of (values, indices), or all where they are fewer."""
    if old is None:
        return new
    value, index = (torch.cat(pair, dim=1) for pair in zip(old, new, strict=True))
    value, at = value.topk(min(size, value.shape[1]), dim=1, largest=False, sorted=False)
    return value, index.gather(1, at)


def update(best, values, start, size):
    """Return the `size` smallest of `best`, None at first, and of the block that starts there.

    Once `size` are known, the largest of them bounds what is still of interest: from then on the
    entries of a block that reach it are picked out, as long as they are few. NaN counts as large;
    after a row of nothing else, nothing more is taken for that row.
    """
    full = best is not None and best[0].shape[1] == size
    most = min(size, values.shape[1] // GROUP // 2) * len(values)
    near = within(values, best[0].amax(dim=1), most) if full else None
    if near is None:
        value, column = smallest(values, size)
        return merge(best, (value, column + start), size)
    row, column, value = near
    if len(row) == 0:
        return best
    # The finds come row by row; each goes to the next free place of its row.
    count = row.bincount(minlength=len(values))
    width = int(count.max())
    place = torch.arange(width, device=row.device).expand(len(values), -1) < count.unsqueeze(1)
    found = values.new_full(place.shape, torch.inf).masked_scatter_(place, value)
    index = column.new_full(place.shape, -1).masked_scatter_(place, column + start)
    return merge(best, (found, index), size)


def within(values, limit, most=None):
    """Return rows, columns and values of the entries up to the limit of their row, row by row.

    None where more than `most` groups (entries, where columns are no whole groups) reach it.
    """
    n_columns = values.shape[1]
    groups = n_columns // GROUP
    if n_columns % GROUP:
        reached = values <= limit.unsqueeze(1)
        if most is not None and reached.sum() > most:
            return None
        row, column = reached.nonzero().T.contiguous()
        return row, column, _take(values, row * n_columns + column)
    minima = values.unflatten(1, (GROUP, groups)).amin(dim=1)
    reached = minima <= limit.unsqueeze(1)
    if most is not None and reached.sum() > most:
        return None
    row, group = reached.nonzero().T.contiguous()
    column = _members(group, groups)
    value = _take(values, ((row * n_columns).unsqueeze(1) + column).flatten()).view(column.shape)
    hit = (value <= limit.index_select(0, row).unsqueeze(1)).flatten().nonzero()[:, 0]
    row = row.index_select(0, hit // GROUP)
    return row, column.flatten().index_select(0, hit), value.flatten().index_select(0, hit)


def _members(group, groups):
    """Return the columns of each group, along a new last axis."""
    return group.unsqueeze(-1) + torch.arange(GROUP, device=group.device) * groups


def _take(values, place):
    # index_select: it is several times faster than an index in brackets.
    return values.flatten().index_select(0, place)
