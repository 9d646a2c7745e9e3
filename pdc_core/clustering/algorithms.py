"""Clustering algorithms: n vectors, their weights and k in, labels out. Pure functions on arrays.

All of them lower the same sum, sum_i D_ii ||w_i - c_(a_i)||^2: k-means by alternating, Ward by merging greedily,
k-medoids by swapping, with the c_j among the w_i.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from pdc_core.clustering.kmeans import SMALL, kmeans
from pdc_core.clustering.labels import FloatArray, IntArray, canonical, split_to
from pdc_core.clustering.medoids import kmedoids
from pdc_core.clustering.ward import relative_weights, ward
from pdc_core.errors import PDCError


def cluster(
    vectors: FloatArray, k: int, weights: FloatArray | None = None, seed: int = 0, algorithm: str = "kmeans"
) -> IntArray:
    """Group n vectors into exactly k clusters; minimise sum_i D_ii ||w_i - c_(a_i)||^2.

    Parameters
    ----------
    vectors : array of float, shape (n, d)
        One row per filter, finite.
    k : int
        Clusters, 1 to n. None is empty: if fewer than k vectors differ, equal ones are split.
    weights : array of float, shape (n,), optional
        The diagonal of D, 0 or more; uniform by default and if all are zero.
    seed : int, default 0
        Seed of k-means++, from which k-means and k-medoids start; Ward is not random.
    algorithm : str, default "kmeans"
        A name in ALGORITHMS.

    Returns
    -------
    array of int64, shape (n,)
        Labels 0..k-1, numbered by first member.

    Raises
    ------
    PDCError
        If k is out of range, vectors are not finite, or the algorithm is unknown.

    Examples
    --------
    >>> cluster(np.array([[0.0], [5.0], [0.1], [5.2]]), k=2)
    array([0, 1, 0, 1])
    """
    n = len(vectors)
    if algorithm not in ALGORITHMS:
        raise PDCError(f"There is no clustering algorithm {algorithm!r}; there are {', '.join(ALGORITHMS)}.")
    if not 1 <= k <= n:
        raise PDCError(f"k={k} clusters of {n} filters: allowed are 1 to {n}.")
    if not np.isfinite(vectors).all():
        raise PDCError("Vectors that are not finite (NaN or infinity) cannot be clustered.")
    if k == n:
        return np.arange(n)
    if k == 1:
        return np.zeros(n, dtype=np.int64)
    points, inverse = _distinct(vectors)
    if len(points) <= k:  # fewer different filters than clusters: there is nothing to choose
        return canonical(split_to(inverse, k))
    d = np.bincount(inverse, relative_weights(weights, n)).astype(np.float64)
    points = points if algorithm == "kmeans" and len(points) > SMALL else _rotated(points)
    return canonical(split_to(ALGORITHMS[algorithm](points, k, d, seed)[inverse], k))


def _distinct(vectors: FloatArray) -> tuple[FloatArray, IntArray]:
    """Return the different rows, and for each row which of them it is."""
    if len(vectors) <= SMALL:
        points, inverse = np.unique(vectors, axis=0, return_inverse=True)
        return points, inverse.reshape(-1).astype(np.int64)
    found: dict[bytes, int] = {}
    rows = np.ascontiguousarray(vectors + 0.0)  # -0 is 0
    inverse = np.array([found.setdefault(row.tobytes(), len(found)) for row in rows])
    return rows[np.unique(inverse, return_index=True)[1]], inverse


def _rotated(points: FloatArray) -> FloatArray:
    """Return long points in coordinates of their span, n dimensions: no distance changes."""
    if points.shape[1] <= 2 * len(points):
        return points
    if len(points) <= SMALL:
        return np.transpose(np.linalg.qr(points.T, mode="r"))
    return torch.linalg.qr(torch.from_numpy(np.ascontiguousarray(points)).T, mode="r").R.T.contiguous().numpy()


def column_subset(points: FloatArray, k: int, d: FloatArray, seed: int) -> IntArray:
    """Keep the k points that recover all others best by linear combinations; each other joins the nearest in angle.

    Lowers sum_i D_ii ||w_i - (R w_S)_i||^2, see `elimination_order`. Our choice.

    Parameters
    ----------
    points : array of float, shape (n, d)
        All different.
    k : int
        Points to keep, 2 to n - 1.
    d : array of float, shape (n,)
        Weights, above 0.
    seed : int
        Not used: nothing is random.

    Returns
    -------
    array of int64, shape (n,)
        Labels.
    """
    c = points @ points.T
    stays = np.setdiff1d(np.arange(len(points)), elimination_order(c, np.diag(d), len(points) - k))
    return assign_to_representatives(c, stays)


ALGORITHMS: dict[str, Callable[[FloatArray, int, FloatArray, int], IntArray]] = {
    "kmeans": kmeans,
    "kmedoids": kmedoids,
    "ward": ward,
    "representatives": column_subset,
}


def elimination_order(c: FloatArray, h: FloatArray, count: int, a: IntArray | None = None) -> IntArray:
    """Return the channels to leave out, in order: first those that linear combinations of the others replace best.

    At each step the channel is removed that raises tr(H E[(x - R x_S)(x - R x_S)^T]) least, with R the least-squares
    coefficients of all channels on those that stay: removing j costs (R^T H R)_jj / (C_S^-1)_jj.

    Parameters
    ----------
    c : array of float, shape (n, n)
        Second moments or covariance of the channels.
    h : array of float, shape (n, n)
        The cost of errors: V V^T of the kernels v_i that read the channels, or its diagonal.
    count : int
        Channels to remove, 0 to n - 1.
    a : array of int, shape (n,), optional
        Labels; the last member of a cluster stays. By default all channels are one cluster.

    Returns
    -------
    array of int64, shape (count,)
        Channels in the order of their removal. Time grows as n^3, memory as n^2.

    Source: backward elimination for column subset selection; the trace with H is our choice.

    Examples
    --------
    >>> c = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [1.0, 1.0, 2.0]])  # the third is the sum of the others
    >>> elimination_order(c, np.diag([1.0, 1.0, 0.1]), 1)
    array([2])
    """
    n = len(c)
    a = np.zeros(n, dtype=np.int64) if a is None else a
    scale = np.trace(c) / n or 1.0
    inverse, g = np.linalg.inv(c + 1e-6 * scale * np.eye(n)), np.array(h, dtype=np.float64)
    alive, gone = np.ones(n, dtype=bool), []
    for _ in range(count):
        free = alive & (np.bincount(a[alive])[a] > 1)
        cost = np.where(free, np.diag(g), np.inf) / np.where(free, np.diag(inverse), 1.0)
        j = int(cost.argmin())
        u = inverse[j] / inverse[j, j]
        g = g - np.outer(g[:, j], u) - np.outer(u, g[j]) + g[j, j] * np.outer(u, u)  # R^T H R without column j
        inverse = inverse - np.outer(inverse[:, j], u)
        alive[j] = False
        gone.append(j)
    return np.array(gone, dtype=np.int64)


def assign_to_representatives(c: FloatArray, stays: IntArray, a: IntArray | None = None) -> IntArray:
    """Return clusters around the channels that stay: every other joins the one with the largest |correlation|.

    Parameters
    ----------
    c : array of float, shape (n, n)
        Second moments or covariance.
    stays : array of int, shape (k,)
        Channels; cluster j is that of stays[j].
    a : array of int, shape (n,), optional
        Labels; channels join only within their own cluster. By default they join anywhere.

    Returns
    -------
    array of int64, shape (n,)
        Labels 0..k-1.
    """
    size = np.sqrt(np.maximum(np.diag(c), np.finfo(float).tiny))
    near = np.abs(c[:, stays]) / size[:, None] / size[stays]
    if a is not None:
        near[a[:, None] != a[stays]] = -1
    labels = near.argmax(axis=1)
    labels[stays] = np.arange(len(stays))
    return labels
