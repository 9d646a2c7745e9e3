"""Centroids, and how much of the filters' spread they explain."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pdc_core.clustering.labels import FloatArray, IntArray, cluster_count


def centroids(t: Tensor, a: Tensor, k: int, d: Tensor) -> Tensor:
    """Return the weighted mean of every cluster, C = (M^T D M)^-1 M^T D t.

    Parameters
    ----------
    t : Tensor, shape (n, m)
        One row per channel.
    a : Tensor of int64, shape (n,)
        Labels 0..k-1; no cluster is empty.
    k : int
        Number of clusters.
    d : Tensor, shape (n,)
        Diagonal of D, 0 or more; a cluster of total weight 0 counts as uniform.

    Returns
    -------
    Tensor, shape (k, m)
        The rows of C.

    Examples
    --------
    >>> t, a = torch.tensor([[1.0], [3.0], [8.0]]), torch.tensor([0, 0, 1])
    >>> centroids(t, a, 2, torch.ones(3)).tolist()
    [[2.0], [8.0]]
    """
    total = torch.zeros(k, dtype=d.dtype, device=d.device).index_add_(0, a, d)  # the diagonal of M^T D M
    d = torch.where(total[a] > 0, d, torch.ones_like(d))
    share = d / torch.zeros_like(total).index_add_(0, a, d)[a]  # each filter's share of its cluster, sums to 1
    return t.new_zeros(k, t.shape[1]).index_add_(0, a, share[:, None] * t)


def cluster_means(vectors: FloatArray, labels: IntArray, weights: FloatArray | None = None) -> FloatArray:
    """Return the `centroids` of vectors in NumPy arrays.

    Parameters
    ----------
    vectors : array of float, shape (n, m)
        One row per filter.
    labels : array of int, shape (n,)
        Labels 0..k-1; no cluster is empty.
    weights : array of float, shape (n,), optional
        Diagonal of D, 0 or more; uniform by default.

    Returns
    -------
    array of float64, shape (k, m)
        The weighted mean of every cluster.

    Examples
    --------
    >>> cluster_means(np.array([[1.0], [3.0], [8.0]]), np.array([0, 0, 1])).tolist()
    [[2.0], [8.0]]
    """
    t, a = torch.from_numpy(np.array(vectors, dtype=np.float64)), torch.from_numpy(np.array(labels, dtype=np.int64))
    d = np.ones(len(vectors)) if weights is None else np.array(weights, dtype=np.float64)
    return np.asarray(centroids(t, a, cluster_count(labels), torch.from_numpy(d)).numpy())


def spread_lost(vectors: FloatArray, labels: IntArray, weights: FloatArray | None = None) -> float:
    """Return the share of the filters' spread that the centroids do not explain.

    sum_i D_ii ||w_i - c_(a_i)||^2 / sum_i D_ii ||w_i - c||^2, with c the weighted mean of all filters.

    Parameters
    ----------
    vectors : array of float, shape (n, m)
        The rows w_i.
    labels : array of int, shape (n,)
        Labels 0..k-1; no cluster is empty.
    weights : array of float, shape (n,), optional
        Diagonal of D, 0 or more; uniform by default.

    Returns
    -------
    float
        0 (every filter is its cluster's centroid) to 1 (one cluster); 0 if all filters are equal.

    Examples
    --------
    >>> round(spread_lost(np.array([[0.0], [2.0], [9.0], [11.0]]), np.array([0, 0, 1, 1])), 4)
    0.0471
    """
    d = np.ones(len(vectors)) if weights is None else weights

    def inertia(a: IntArray) -> float:
        return float(d @ ((vectors - cluster_means(vectors, a, d)[a]) ** 2).sum(axis=1))

    spread = inertia(np.zeros(len(vectors), dtype=np.int64))
    return inertia(labels) / spread if spread > 0 else 0.0
