"""Rows of many features in two columns."""

import numpy as np
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

REDUCERS = {"tsne": "t-SNE", "umap": "UMAP", "pca": "PCA"}
MANY_FEATURES = 50  # beyond these t-SNE and UMAP are given principal components


def reduce_rows(X, reducer, random_state):
    """Return the name of the reduction and the rows in two columns."""
    if len(X) < 3:
        raise ValueError(f"There are {len(X)} rows in all; a picture needs at least 3.")
    name = reducer if isinstance(reducer, str) else type(reducer).__name__
    if isinstance(reducer, str):
        if reducer not in REDUCERS:
            raise ValueError(
                f"reducer must be an estimator or one of {sorted(REDUCERS)}, got {reducer!r}."
            )
        seed = random_state.randint(2**31 - 1)
        scaled = _scaled(X)
        X = X if reducer == "pca" else scaled
        if reducer != "pca" and min(X.shape) > MANY_FEATURES:
            X = PCA(MANY_FEATURES, random_state=seed).fit_transform(X)
        name, reducer = REDUCERS[reducer], _named_reducer(reducer, X.shape, seed)
    else:
        reducer = clone(reducer)
    points = np.asarray(reducer.fit_transform(X))
    if points.shape != (len(X), 2):
        raise ValueError(
            f"reducer {name} must return two columns for {len(X)} rows, got an array of shape "
            f"{points.shape}; set its number of components to 2."
        )
    if not np.isfinite(points).all():
        raise ValueError(
            f"reducer {name} returned numbers that are not finite, for rows from {X.min():.4g} to "
            f"{X.max():.4g}; scale the rows first."
        )
    return name, points


def _scaled(X):
    """Return rows moved and scaled to [0, 1], which are the same rows to t-SNE and UMAP.

    t-SNE divides by the spread along the first principal component: where rows are equal, or so
    small or large that their squares are 0 or infinite, its compiled code crashes Python.
    """
    X = np.asarray(X, dtype=np.float64)
    X = X / (np.abs(X).max() or 1.0)
    X -= X.min(axis=0)
    if X.max() == 0:
        raise ValueError(
            f"All {len(X)} rows to draw are equal, so there is nothing to see in a picture; look "
            "at what made them (dead units of a network?) or draw other rows."
        )
    return X / X.max()


def _named_reducer(name, shape, seed):
    n, d = shape
    if name == "pca":
        return PCA(2, random_state=seed)
    if name == "tsne":
        # A perplexity is a number of neighbors: with few rows there are no 30 that mean anything.
        perplexity = min(30.0, (n - 1) / 3)
        return TSNE(perplexity=perplexity, init="pca" if d > 1 else "random", random_state=seed)
    try:
        from umap import UMAP
    except ImportError as error:
        raise ImportError(
            "reducer='umap' needs umap-learn, which is not installed; run pip install umap-learn, "
            "or take reducer='tsne'."
        ) from error
    few = {"n_neighbors": min(15, n - 1), "init": "spectral" if n > 15 else "random"}
    return UMAP(**few, random_state=seed, n_jobs=1)
