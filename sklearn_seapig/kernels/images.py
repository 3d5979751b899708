"""Lower bounds of distances from images of the points, an eighth or a quarter as wide as these.

The image of a point is its coordinates on some orthonormal axes and the length of what they leave
out. Images are no farther apart than their points, whatever the axes. Where a few axes hold most
of the variance, as in embeddings, the distances of short images leave about one row in a hundred
as a possible neighbor, and those of long ones, on twice as many axes, one in a thousand.
"""

import math
from typing import NamedTuple

import torch

from .neighbors import TILE, Points, knn

LEAST_ROWS, COLUMNS = 100_000, (256, 2048)  # where it can pay
WIDTH = 8  # a short image has one number for so many columns, and a long one two
SAMPLE, SAMPLE_BYTES = 8192, 2**26  # rows that show the axes, and how many rows these would leave
POWER = 4  # steps of subspace iteration
TRIALS = 256  # of which so many are looked up
FEW = 0.05  # the mean burden of these, at most
MEASURING = 5  # what a row to be measured costs, against one whose long image is compared
ROW_STEP = TILE["cpu"][1]


class Images(NamedTuple):
    """Images of the reference points, in the form that a product with those of queries takes.

    Attributes
    ----------
    axes : float64 tensor of shape (d, m2)
        Orthonormal columns, the first m of which make the short images.
    short : float32 tensor of shape (n, m + 2)
        The m coordinates, the length of the rest, the squared length of the whole.
    more : float32 tensor of shape (n, m2 - m + 2)
        The other coordinates, the length of what they leave, that of the rest of before.
    """

    axes: torch.Tensor
    short: torch.Tensor
    more: torch.Tensor


class Queries(NamedTuple):
    """Queries and their images: ``short @ images.short.T`` are bounds, see `reach_of`.

    With ``more @ images.more.T`` added to them they are the bounds of long images.
    """

    rows: torch.Tensor
    norm: torch.Tensor
    short: torch.Tensor
    more: torch.Tensor
    exclude: torch.Tensor | None

    def only(self, which):
        """Return some of the queries."""
        return Queries(*(None if part is None else part[which] for part in self))


def make_images(reference, *, center, scale=None):
    """Return the `Images` of reference points, or None where they would not pay.

    They pay for many rows of many columns, if those of a sample are left with few others.
    """
    n, d = reference.shape
    if n < LEAST_ROWS or not COLUMNS[0] <= d <= COLUMNS[1]:
        return None
    points = Points(reference, scale, center)
    step = math.ceil(n / min(SAMPLE, SAMPLE_BYTES // (8 * d)))
    sample = points.centered(slice(None, None, step), torch.float64)
    if not torch.linalg.vector_norm(sample) < 1e18:  # squares that float32 holds
        return None
    m = max(1, d // WIDTH - 2)
    axes = _axes(sample, min(d, 2 * m))
    if _trial(sample, axes, m) > FEW:
        return None
    options = {"dtype": torch.float32, "device": reference.device}
    short = torch.empty(n, m + 2, **options)
    more = torch.empty(n, axes.shape[1] - m + 2, **options)
    for start in range(0, n, ROW_STEP):
        rows = slice(start, start + ROW_STEP)
        short[rows], more[rows] = _row_images(points.centered(rows, torch.float64), axes, m)
    safe = short[:, -1].max() < torch.finfo(torch.float32).max / 8  # no sum can overflow
    return Images(axes, short, more) if safe else None


def query_images(rows, center, axes, m, exclude=None):
    """Return the `Queries` for images of m and of all axes."""
    a, first, last, norm = _coordinates(rows.to(torch.float64) - center, axes, m)
    a *= -2
    short = torch.cat([a[:, :m], -2 * first, torch.ones_like(norm)], dim=1)
    # A long image has no rest of before: what the short one has added is taken back.
    more = torch.cat([a[:, m:], -2 * last, 2 * first], dim=1)
    return Queries(rows, norm[:, 0], short.to(torch.float32), more.to(torch.float32), exclude)


def burden(queries, reach, short, more):
    """Return the share of rows that each query is left with, weighed by what they cost."""
    reach, bounds = reach.unsqueeze(1), queries.short @ short.T
    compared = (bounds <= reach).to(torch.float32).mean(dim=1)
    measured = (bounds.addmm_(queries.more, more.T) <= reach).to(torch.float32).mean(dim=1)
    return compared + MEASURING * measured


def reach_of(distance, norm, axes):
    """Return the largest bound that a row within a distance of the query can have, in float32.

    Let e, E be `_errors`, x, q centred points, u the unit roundoff of float32, v of float64. Axes
    are orthonormal, coordinates right and squared rests right to within 7 sqrt(m2) d v ||x||^2,
    so a computed image misses the true one by e ||x|| and 2 d tiny, float32 rounding included.
    Those of points within t are within t + e (||x|| + ||q||) + 4 d tiny, the square of which is at
    most (1 + e) (t + 4 d tiny)^2 + 2 (e + e^2) (||x||^2 + ||q||^2). Products of m2 + 4 columns,
    in whatever order, add 3 (m2 + 16) u (||q||^2 + 2 ||x||^2), as in `neighbors`, and lengths of
    images for those of points 2 e + e^2. Together that is less than E (||q||^2 + 2 ||x||^2). The
    part with ||x||^2 has been taken from the row's term, the part with ||q||^2 is added here.
    """
    (image, error), tiny = _errors(axes), 4 * len(axes) * torch.finfo(torch.float32).tiny
    reach = (1 + image) * (distance + tiny).square() - norm * (1 - error)
    reach = (reach + 2 * tiny * (1 + norm.sqrt())).to(torch.float32)
    return torch.nextafter(reach, torch.full_like(reach, math.inf))


def _axes(sample, number):
    """Return the principal axes, about: all of them would take much longer, and any are right."""
    moment = sample.T @ sample
    seed = torch.Generator(sample.device).manual_seed(0)
    axes = sample.new_empty(len(moment), number).normal_(generator=seed)
    for _ in range(POWER):
        axes = torch.linalg.qr(moment @ axes).Q
    turn = torch.linalg.eigh(axes.T @ moment @ axes).eigenvectors
    return (axes @ turn).flip(1).contiguous()


def _errors(axes):
    d, m = axes.shape
    image = 2.0**-22 + 3 * math.sqrt(math.sqrt(m) * d * 2.0**-53)
    return image, 3 * (m + 16) * 2.0**-24 + 5 * image


def _coordinates(centered, axes, m):
    """Return the coordinates, the lengths of what the first m and all of them leave, the norm."""
    a = centered @ axes
    norm = centered.square().sum(dim=1, keepdim=True)
    first = norm - a[:, :m].square().sum(dim=1, keepdim=True)
    last = first - a[:, m:].square().sum(dim=1, keepdim=True)
    return a, first.clamp_min(0).sqrt(), last.clamp_min(0).sqrt(), norm


def _row_images(centered, axes, m):
    a, first, last, norm = _coordinates(centered, axes, m)
    norm *= 1 - 2 * _errors(axes)[1]
    return torch.cat([a[:, :m], first, norm], dim=1), torch.cat([a[:, m:], last, first], dim=1)


def _trial(sample, axes, m):
    """Return the mean burden of some rows of a sample that look for the nearest other one."""
    step = math.ceil(len(sample) / TRIALS)
    own = torch.arange(0, len(sample), step, device=sample.device)
    center = torch.zeros_like(sample[0])
    queries = query_images(sample[own], center, axes, m)
    nearest, _ = knn(sample[own], sample, 1, center=center, exclude=own)
    short, more = (part.to(torch.float32) for part in _row_images(sample, axes, m))
    return burden(queries, reach_of(nearest[:, 0], queries.norm, axes), short, more).mean()
