"""The neighbors protocol and its backends.

A score asks a backend for neighbors and knows nothing else of it. A backend is a short-lived view
of its own state, which is plain arrays and values, so that a fitted score pickles without it:

    ``add(X, scale=None)``                  take in the reference rows, return self
    ``search(Q, k, exclude=None)``          (distances, indices), ascending by (distance, index)
    ``exact``                               whether the neighbors are the true ones
    ``spec()``                              name, parameters, n and d as a dict
    ``state()`` / ``from_state(state, device)``   to and from plain arrays

Distances are plain Euclidean and those of the rows returned, whatever the search; cosine and
Mahalanobis are transformations made by the score. Past the end of the reference set, distances are
inf and indices -1. A state has the reference rows ``X`` and their ``scale``, whatever the search.
"""

from ._exact import ExactNeighbors
from ._repeated import search_cache

ALGORITHMS = ("exact", "hnsw", "ivf")

__all__ = ["ALGORITHMS", "ExactNeighbors", "find_backend", "search_cache"]


def find_backend(algorithm):
    """Return the class of backends that an ``algorithm`` parameter names."""
    if algorithm == "exact":
        return ExactNeighbors
    from ._faiss import HNSWNeighbors, IVFNeighbors  # faiss loads only where it is asked for

    return {"hnsw": HNSWNeighbors, "ivf": IVFNeighbors}[algorithm]
