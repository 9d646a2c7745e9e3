"""Maps of filters in the plane: PCA at once, UMAP on request. For looking, never for clustering.

A map is drawn from the vectors of `pdc_core.filter_vectors`; `trustworthiness` tells how far it can be trusted.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from pdc_core.clustering.distances import squared_distances
from pdc_core.clustering.labels import FloatArray
from pdc_core.errors import PDCError

# numba's workqueue threading layer aborts the process when two UMAP fits overlap.
_UMAP_LOCK = threading.Lock()
_NEIGHBOURS_UMAP = 15
_NEIGHBOURS_TRUST = 5
_WHOLE_SVD = 512  # of the smaller side; beyond, only the two axes that are drawn are computed


def _checked(vectors: FloatArray) -> FloatArray:
    vectors = np.asarray(vectors, dtype=np.float64)
    if vectors.ndim != 2 or len(vectors) == 0:
        raise PDCError(f"A map needs vectors of shape (n, d) with n >= 1, but got shape {vectors.shape}.")
    if not np.isfinite(vectors).all():
        raise PDCError("A map needs finite vectors, but some entries are NaN or infinite.")
    return vectors


def _principal(vectors: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the coordinates along two principal axes, (n, 2), and the share of variance of each, (2,)."""
    centred = vectors - vectors.mean(axis=0)
    u, s, vt = _svd(centred) if min(centred.shape) <= _WHOLE_SVD else _leading_svd(centred)
    points, share = np.zeros((len(vectors), 2)), np.zeros(2)
    r = min(2, len(s))
    # The sign of a principal axis is arbitrary: make its largest loading positive, so that maps do not flip.
    sign = np.sign(vt[np.arange(r), np.abs(vt[:r]).argmax(axis=1)])
    points[:, :r] = u[:, :r] * s[:r] * np.where(sign == 0, 1.0, sign)
    total = float((centred**2).sum())
    if total > 0:
        share[:r] = s[:r] ** 2 / total
    return points, share


def _svd(centred: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return U (n, r), the singular values (r,) and V^T (r, d)."""
    u, s, vt = np.linalg.svd(centred, full_matrices=False)
    return u, s, vt


def _leading_svd(centred: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the two leading columns of U, singular values and rows of V^T, from the smaller Gram matrix.

    A whole decomposition of 2,048 filters takes seconds, this a tenth of it.
    """
    from scipy.linalg import eigh

    wide = centred.shape[1] > centred.shape[0]
    gram = centred @ centred.T if wide else centred.T @ centred
    values, vectors = eigh(gram, subset_by_index=[len(gram) - 2, len(gram) - 1])
    s, vectors = np.sqrt(np.maximum(values[::-1], 0)), vectors[:, ::-1]
    safe = np.where(s > 0, s, 1.0)
    if wide:
        return vectors, s, (centred.T @ vectors / safe).T
    return centred @ vectors / safe, s, vectors.T


def pca_map(vectors: FloatArray) -> FloatArray:
    """Project vectors onto their first two principal axes.

    Parameters
    ----------
    vectors : array of float, shape (n, d)
        One row per filter, n >= 1. With n = 1 or d = 1 the missing coordinates are zero.

    Returns
    -------
    array of float64, shape (n, 2)
        Coordinates in the units of the vectors; the sign of each axis makes its largest loading positive.

    Raises
    ------
    PDCError
        If the array has another shape or is not finite.

    Examples
    --------
    >>> pca_map(np.array([[0.0, 0.0], [2.0, 0.0], [4.0, 0.0]]))[:, 0]
    array([-2.,  0.,  2.])
    """
    return _principal(_checked(vectors))[0]


def pca_share(vectors: FloatArray) -> tuple[float, float]:
    """Return the shares of the variance that the two axes of `pca_map` hold.

    Parameters
    ----------
    vectors : array of float, shape (n, d)
        One row per filter, n >= 1.

    Returns
    -------
    tuple of float
        Two shares, 0 to 1.

    Raises
    ------
    PDCError
        If the array has another shape or is not finite.

    Examples
    --------
    >>> pca_share(np.array([[0.0, 0.0], [2.0, 0.0], [4.0, 0.0]]))
    (1.0, 0.0)
    """
    first, second = _principal(_checked(vectors))[1]
    return min(1.0, float(first)), min(1.0, float(second))  # rounding may leave a share a hair above 1


def umap_map(vectors: FloatArray, seed: int = 0) -> FloatArray:
    """Lay vectors out with UMAP; the same seed gives the same map.

    Three filters or fewer have no neighbourhood to preserve: they get `pca_map`. The first call of a process compiles
    for 10 to 35 seconds; calls from several threads wait for each other.

    Parameters
    ----------
    vectors : array of float, shape (n, d)
        One row per filter, n >= 1.
    seed : int, default 0
        Seed of the layout.

    Returns
    -------
    array of float64, shape (n, 2)
        Coordinates without a unit. Distances are not to scale: identical filters may be far apart.

    Raises
    ------
    PDCError
        If the array has another shape or is not finite.
    """
    vectors = _checked(vectors)
    n = len(vectors)
    if n <= 3 or np.ptp(vectors, axis=0).max() == 0:
        return pca_map(vectors)
    with _UMAP_LOCK, _same_threads(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # spectral initialisation warns about small or disconnected graphs
        from umap import UMAP

        layout = UMAP(
            n_neighbors=min(_NEIGHBOURS_UMAP, n - 1),
            init="pca" if n <= _NEIGHBOURS_UMAP else "spectral",
            random_state=seed,
            n_jobs=1,
        )
        points = np.asarray(layout.fit_transform(vectors.astype(np.float32)), dtype=np.float64)
    return points if np.isfinite(points).all() else pca_map(vectors)


@contextmanager
def _same_threads() -> Iterator[None]:
    """Give torch its number of threads back: numba sets that of the process, and torch rounds by it."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)


def trustworthiness(vectors: FloatArray, points: FloatArray) -> float:
    """Return the trustworthiness of a map: 1 if all neighbours on it are neighbours in the full space.

    With r(i, j) the rank of j among the neighbours of i in the full space, N(i) the m nearest of i on the map, and
    m = min(5, (n - 1) // 2):  1 - 2 / (n m (2n - 3m - 1)) sum_i sum_{j in N(i)} max(0, r(i, j) - m).
    Source: Venna and Kaski, Neural Networks 2006. Maps of fewer than 3 points have 1.

    Parameters
    ----------
    vectors : array of float, shape (n, d)
        The full space, one row per filter.
    points : array of float, shape (n, 2)
        The map.

    Returns
    -------
    float
        0 to 1.

    Raises
    ------
    PDCError
        If an array has another shape or is not finite.
    """
    vectors, points = _checked(vectors), _checked(points)
    n = len(vectors)
    if len(points) != n:
        raise PDCError(f"A map of {n} vectors needs {n} points, but got {len(points)}.")
    m = min(_NEIGHBOURS_TRUST, (n - 1) // 2)
    if m < 1:
        return 1.0
    order = _apart(vectors).argsort(axis=1, kind="stable")  # (n, n), each row ends with i itself
    ranks = np.empty((n, n), dtype=np.int64)
    np.put_along_axis(ranks, order, np.arange(1, n + 1)[None, :], axis=1)
    near = _apart(points).argsort(axis=1, kind="stable")[:, :m]  # (n, m)
    excess = np.maximum(0, np.take_along_axis(ranks, near, axis=1) - m).sum()
    return float(1.0 - 2.0 * excess / (n * m * (2 * n - 3 * m - 1)))


def _apart(x: FloatArray) -> FloatArray:
    """Return squared distances with infinity from each point to itself."""
    distances = squared_distances(x)
    np.fill_diagonal(distances, np.inf)
    return distances
